package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a loaded machine may take; it is ready after about 3 s.
const patience = 3 * time.Minute

// wanted are the controllers that tests can notice. Nodes never fail here, so nothing watches them.
var wanted = strings.Join([]string{
	"clusterrole-aggregation-controller", "deployment-controller", "disruption-controller", "endpoints-controller",
	"endpointslice-controller", "garbage-collector-controller", "job-controller", "namespace-controller",
	"persistentvolume-binder-controller", "persistentvolume-protection-controller",
	"persistentvolumeclaim-protection-controller", "pod-garbage-collector-controller", "replicaset-controller",
	"resourcequota-controller", "root-ca-certificate-publisher-controller", "serviceaccount-controller",
	"statefulset-controller",
}, ",")

// plane is what runs.
type plane struct {
	dir      string
	children []*exec.Cmd
	// ended tells which program ended, and how.
	ended chan error
}

// up starts everything, writes DIR/ready once tests may begin, and stays until it is told to end, a program ends, or
// the process OWNER is gone. Then everything is killed: nothing in it outlives a run.
func up(dir string, owner []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	gone, err := watch(owner)
	if err != nil {
		return err
	}
	var running *plane
	// Another process may take a port between its choice and its use.
	for attempt := 1; ; attempt++ {
		running = &plane{dir: dir, ended: make(chan error, 8)}
		defer running.kill()
		err := running.start(ctx)
		if err == nil {
			break
		}
		running.kill()
		if attempt == 3 || !errors.Is(err, errEnded) {
			return err
		}
		fmt.Fprintln(os.Stderr, "control-plane: again with other ports:", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o600); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-gone:
		return fmt.Errorf("ending, since process %s is gone", owner[0])
	case err := <-running.ended:
		return err
	}
}

// watch closes the channel when a process is gone.
func watch(owner []string) (<-chan struct{}, error) {
	gone := make(chan struct{})
	if len(owner) == 0 {
		return gone, nil
	}
	pid, err := strconv.Atoi(owner[0])
	if err != nil {
		return nil, fmt.Errorf("OWNER is a process id, not %q", owner[0])
	}
	go func() {
		for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			time.Sleep(500 * time.Millisecond)
		}
		close(gone)
	}()
	return gone, nil
}

func (p *plane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	etcd, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	server := "https://127.0.0.1:" + ports[2]
	in := func(name string) string { return filepath.Join(p.dir, name) }
	if err := makeCredentials(p.dir, server); err != nil {
		return err
	}
	if err := p.run("etcd",
		"--data-dir="+in("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
	); err != nil {
		return err
	}
	if err := p.run("kube-apiserver",
		"--etcd-servers="+etcd,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+ports[2],
		"--tls-cert-file="+in("server.crt"), "--tls-private-key-file="+in("server.key"),
		"--token-auth-file="+in("tokens.csv"), "--anonymous-auth=false", "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+in("accounts.key"),
		"--service-account-signing-key-file="+in("accounts.key"), "--service-cluster-ip-range=10.96.0.0/16",
		// Nothing would take away the taint of a node that is new.
		"--enable-admission-plugins=Priority,ResourceQuota,LimitRanger", "--disable-admission-plugins=TaintNodesByCondition",
		"--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
		// A loopback address cannot be published as an endpoint.
		"--endpoint-reconciler-type=none", "--profiling=false",
	); err != nil {
		return err
	}
	cluster, err := connect(in("kubeconfig"))
	if err != nil {
		return err
	}
	if err := p.until(ctx, "kube-apiserver to be ready", cluster.ready); err != nil {
		return err
	}
	if err := p.run("kube-controller-manager",
		"--kubeconfig="+in("kube-controller-manager.kubeconfig"), "--root-ca-file="+in("ca.crt"),
		"--leader-elect=false", "--secure-port=0", "--profiling=false", "--controllers="+wanted,
	); err != nil {
		return err
	}
	if err := p.run("kube-scheduler",
		"--kubeconfig="+in("kube-scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0", "--profiling=false",
	); err != nil {
		return err
	}
	if err := p.run("kubelet", in("kubelet.kubeconfig")); err != nil {
		return err
	}
	if err := p.until(ctx, "the objects of objects.yaml to be made", cluster.apply); err != nil {
		return err
	}
	return p.until(ctx, "a first pod to be ready", cluster.works)
}

// freePorts finds ports that nothing listens at.
func freePorts(count int) ([]string, error) {
	var ports []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// errEnded is a program's end that nobody asked for.
var errEnded = errors.New("ended by itself")

// run starts a program of this binary; its output goes to DIR/logs.
func (p *plane) run(name string, arguments ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.dir, "logs", name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	child := exec.Command(self, append([]string{name}, arguments...)...)
	child.Dir, child.Stdout, child.Stderr = p.dir, log, log
	child.Env = append(os.Environ(), "GOGC=50")
	// A Ctrl-C for the tests is not for the programs: `up` ends them.
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		return err
	}
	p.children = append(p.children, child)
	ended := p.ended
	go func() {
		state, _ := child.Process.Wait()
		ended <- fmt.Errorf("%s %w: %v; see %s", name, errEnded, state, log.Name())
	}()
	return nil
}

// kill ends all programs, last first, and waits for them.
func (p *plane) kill() {
	for _, child := range slices.Backward(p.children) {
		_ = child.Process.Kill()
	}
	for range p.children {
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
		}
	}
	p.children = nil
	_ = os.RemoveAll(filepath.Join(p.dir, "etcd"))
}

// until asks again and again until there is no error.
func (p *plane) until(ctx context.Context, what string, ask func(context.Context) error) error {
	for {
		last := ask(ctx)
		if last == nil {
			return nil
		}
		select {
		case err := <-p.ended:
			return err
		case <-ctx.Done():
			return fmt.Errorf("waited for %s in vain: %w", what, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
