package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// users have a token each, made at start, and a kubeconfig of their name. `nobody` may do nothing.
var users = []struct{ name, file, groups string }{
	{"admin", "kubeconfig", "system:masters"},
	{"system:kube-controller-manager", "kube-controller-manager.kubeconfig", "system:masters"},
	{"system:kube-scheduler", "kube-scheduler.kubeconfig", "system:masters"},
	{"kubelet", "kubelet.kubeconfig", "system:masters"},
	{"nobody", "nobody.kubeconfig", ""},
}

// makeCredentials writes an authority, the server's certificate, the key that signs ServiceAccounts' tokens, and users.
func makeCredentials(dir, server string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := template("tranship-test")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	authority, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := template("kube-apiserver")
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	certificate, err := x509.CreateCertificate(rand.Reader, leaf, ca, serverKey.Public(), caKey)
	if err != nil {
		return err
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"ca.crt":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}),
		"server.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
	}
	for name, key := range map[string]*ecdsa.PrivateKey{"server.key": serverKey, "accounts.key": accountKey} {
		encoded, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		files[name] = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
	}
	for _, user := range users {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		token := hex.EncodeToString(secret)
		files["tokens.csv"] = fmt.Appendf(files["tokens.csv"], "%s,%s,%s,%q\n", token, user.name, user.name, user.groups)
		if files[user.file], err = kubeconfig(server, files["ca.crt"], user.name, token, "default"); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(7 * 24 * time.Hour),
	}
}

func kubeconfig(server string, authority []byte, user, token, namespace string) ([]byte, error) {
	const name = "tranship-test"
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthorityData: authority}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user, Namespace: namespace}},
		CurrentContext: name,
	})
}

// printKubeconfig asks for a token of a ServiceAccount, good for a day.
func printKubeconfig(dir, namespace, account string) error {
	configuration, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(configuration)
	if err != nil {
		return err
	}
	day := int64(24 * time.Hour / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	made, err := clients.CoreV1().ServiceAccounts(namespace).
		CreateToken(context.Background(), account, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	text, err := kubeconfig(configuration.Host, configuration.CAData, account, made.Status.Token, namespace)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
