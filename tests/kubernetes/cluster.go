package main

import (
	"context"
	_ "embed"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

//go:embed objects.yaml
var objectsYAML []byte

// cluster is the admin's view of what is being started.
type cluster struct {
	typed   *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	mapper  meta.RESTMapper
}

func connect(kubeconfig string) (*cluster, error) {
	configuration, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	configuration.QPS = -1
	typed, err := kubernetes.NewForConfig(configuration)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(configuration)
	if err != nil {
		return nil, err
	}
	discovered, err := discovery.NewDiscoveryClientForConfig(configuration)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovered))
	return &cluster{typed, untyped, mapper}, nil
}

func (c *cluster) ready(ctx context.Context) error {
	_, err := c.typed.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// apply makes the objects of objects.yaml.
func (c *cluster) apply(ctx context.Context) error {
	found, err := documents(objectsYAML)
	if err != nil {
		return err
	}
	for _, document := range found {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return err
		}
		kind := object.GroupVersionKind()
		mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		options := metav1.ApplyOptions{FieldManager: "control-plane", Force: true}
		if _, err := c.dynamic.Resource(mapping.Resource).Apply(ctx, object.GetName(), object, options); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// works answers nil once a pod went through everything: ServiceAccount, admission, scheduler, kubelet. Its annotation
// comes from its namespace.
func (c *cluster) works(ctx context.Context) error {
	const name = "first-pod"
	pods := c.typed.CoreV1().Pods(name)
	pod, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		meta := metav1.ObjectMeta{Name: name, Annotations: map[string]string{"tranship.test/ready-after": "10ms"}}
		_, _ = c.typed.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: name}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		return fmt.Errorf("the pod was just made")
	}
	if len(pod.Annotations) == 0 {
		// The policy is not heeded yet.
		now := int64(0)
		_ = pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		return fmt.Errorf("pods do not take their namespace's annotations")
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return c.typed.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		}
	}
	return fmt.Errorf("the pod is not ready: %v", pod.Status)
}
