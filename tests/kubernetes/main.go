// The real thing to test against: etcd, Kubernetes' API server, controllers and scheduler as subcommands of one
// binary, with kwok's engine in the kubelet's place. `up` starts them all; ./control-plane is how scripts call it.
package main

import (
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: control-plane up DIR [OWNER]
       control-plane kubeconfig DIR NAMESPACE SERVICEACCOUNT
       control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet ARGUMENTS...`

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("%s", usage))
	}
	name, arguments := os.Args[1], os.Args[2:]
	// The programs read their arguments from here.
	os.Args = append([]string{name}, arguments...)
	switch {
	case name == "up" && (len(arguments) == 1 || len(arguments) == 2):
		fail(up(arguments[0], arguments[1:]))
	case name == "kubeconfig" && len(arguments) == 3:
		fail(printKubeconfig(arguments[0], arguments[1], arguments[2]))
	case name == "etcd":
		endWithParent()
		etcdmain.Main(os.Args)
	case name == "kube-apiserver":
		endWithParent()
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case name == "kube-controller-manager":
		endWithParent()
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case name == "kube-scheduler":
		endWithParent()
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case name == "kubelet" && len(arguments) == 1:
		endWithParent()
		fail(kubelet(arguments[0]))
	default:
		fail(fmt.Errorf("%s", usage))
	}
}

// fail ends the process: with the error if there is one.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "control-plane:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// endWithParent makes sure that no program outlives `up`, however that ends.
func endWithParent() {
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(200 * time.Millisecond)
		}
		os.Exit(1)
	}()
}
