package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/utils/client"
	"sigs.k8s.io/kwok/pkg/utils/gotpl"
)

//go:embed stages.yaml
var stagesYAML []byte

// kubelet plays the kubelet of every node, and a volume provisioner: stages.yaml says when, podStatus says what. It is
// kwok's engine without its command, whose HTTP server needs a newer Kubernetes than the one under test.
func kubelet(kubeconfig string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	clients, err := client.NewClientset("", kubeconfig)
	if err != nil {
		return err
	}
	configuration, err := clients.ToRESTConfig()
	if err != nil {
		return err
	}
	raw, err := rest.RESTClientFor(configuration)
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(configuration)
	if err != nil {
		return err
	}
	dynamic, err := clients.ToDynamicClient()
	if err != nil {
		return err
	}
	mapper, err := clients.ToRESTMapper()
	if err != nil {
		return err
	}
	stages, err := readStages()
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(controllers.Config{
		Clock:                      clock.RealClock{},
		DynamicClient:              dynamic,
		RESTClient:                 raw,
		RESTMapper:                 mapper,
		ImpersonatingDynamicClient: clients.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:   clients.ToImpersonatingTypedClient(),
		TypedClient:                typed,
		ManageAllNodes:             true,
		CIDR:                       "10.0.0.1/16",
		NodeIP:                     "127.0.0.1",
		LocalStages:                stages,
		PodPlayStageParallelism:    4,
		NodePlayStageParallelism:   1,
		PodsOnNodeSyncParallelism:  1,
		FuncMap:                    gotpl.FuncMap{"PodStatus": podStatus},
	})
	if err != nil {
		return err
	}
	if err := controller.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// documents splits a YAML stream.
func documents(stream []byte) ([][]byte, error) {
	var found [][]byte
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, document)
	}
}

func readStages() (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	found, err := documents(stagesYAML)
	if err != nil {
		return nil, err
	}
	for _, document := range found {
		stage, err := config.UnmarshalWithType[*internalversion.Stage](document)
		if err != nil {
			return nil, err
		}
		stages[stage.Spec.ResourceRef] = append(stages[stage.Spec.ResourceRef], stage)
	}
	return stages, nil
}
