package main

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// exitReason, an annotation of a pod: why its first container ends: Error (the default) or OOMKilled.
const exitReason = "tranship.test/exit-reason"

// podStatus says what a kubelet reports of a pod (as JSON decoded it) that comes to a step. Only a pod's first
// container ever fails.
func podStatus(decoded any, step string) (any, error) {
	var pod corev1.Pod
	encoded, err := json.Marshal(decoded)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, &pod); err != nil {
		return nil, err
	}
	status, err := report(&pod, step, metav1.NewTime(time.Now()))
	if err != nil {
		return nil, err
	}
	// What is left out of a patch stays: an empty reason must be said.
	conditions := []map[string]any{}
	for _, condition := range status.Conditions {
		conditions = append(conditions, map[string]any{
			"type": condition.Type, "status": condition.Status, "lastTransitionTime": condition.LastTransitionTime,
			"reason": condition.Reason, "message": condition.Message,
		})
	}
	encoded, err = json.Marshal(struct {
		*corev1.PodStatus
		Conditions []map[string]any `json:"conditions"`
	}{status, conditions})
	return string(encoded), err
}

func report(pod *corev1.Pod, step string, now metav1.Time) (*corev1.PodStatus, error) {
	status := &corev1.PodStatus{
		Phase:              corev1.PodRunning,
		ObservedGeneration: pod.Generation,
		HostIP:             "127.0.0.1",
		HostIPs:            []corev1.HostIP{{IP: "127.0.0.1"}},
		StartTime:          pod.Status.StartTime,
		PodIP:              podIP(pod),
		PodIPs:             []corev1.PodIP{{IP: podIP(pod)}},
	}
	if status.StartTime == nil {
		status.StartTime = &now
	}
	started := func(container *corev1.ContainerStatus) {
		container.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	}
	containers := before(pod.Spec.Containers, pod.Status.ContainerStatuses)
	first := &containers[0]
	initialised, ready := true, false
	switch step {
	case "created", "image-pull":
		status.Phase = corev1.PodPending
		initialised = len(pod.Spec.InitContainers) == 0
		status.InitContainerStatuses = before(pod.Spec.InitContainers, nil)
		reason := "ContainerCreating"
		if !initialised {
			reason = "PodInitializing"
		}
		waiting(status.InitContainerStatuses, reason)
		waiting(containers, reason)
		if step == "image-pull" {
			pulled := first
			if !initialised {
				pulled = &status.InitContainerStatuses[0]
			}
			pulled.State.Waiting.Reason = "ImagePullBackOff"
			pulled.State.Waiting.Message = fmt.Sprintf("Back-off pulling image %q", pulled.Image)
		}
	case "running":
		for i := range containers {
			started(&containers[i])
		}
	case "ready":
		ready = true
	case "unready":
	case "crashed":
		exit(pod, first, now)
		first.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off 10s restarting failed container=%s pod=%s_%s(%s)",
				first.Name, pod.Name, pod.Namespace, pod.UID),
		}}
	case "restarted":
		exit(pod, first, now)
		first.RestartCount++
		started(first)
	default:
		return nil, fmt.Errorf("no step %q", step)
	}
	if initialised {
		status.InitContainerStatuses = before(pod.Spec.InitContainers, pod.Status.InitContainerStatuses)
		for i := range status.InitContainerStatuses {
			container := &status.InitContainerStatuses[i]
			container.Ready = true
			if container.State.Terminated == nil {
				container.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					Reason: "Completed", StartedAt: now, FinishedAt: now,
				}}
			}
		}
	}
	for i := range containers {
		running := containers[i].State.Running != nil
		containers[i].Started = &running
		containers[i].Ready = running && ready
	}
	status.ContainerStatuses = containers
	status.Conditions = conditions(pod, initialised, ready, now)
	return status, nil
}

// before is what was last reported of containers, whether anything was or not.
func before(containers []corev1.Container, reported []corev1.ContainerStatus) []corev1.ContainerStatus {
	statuses := make([]corev1.ContainerStatus, len(containers))
	for i, container := range containers {
		if i < len(reported) {
			statuses[i] = reported[i]
		}
		statuses[i].Name, statuses[i].Image = container.Name, container.Image
	}
	return statuses
}

func waiting(containers []corev1.ContainerStatus, reason string) {
	for i := range containers {
		containers[i].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
}

// exit moves a running container's state to its last one.
func exit(pod *corev1.Pod, container *corev1.ContainerStatus, now metav1.Time) {
	if container.State.Running == nil {
		return
	}
	reason, code := "Error", int32(1)
	if pod.Annotations[exitReason] == "OOMKilled" {
		reason, code = "OOMKilled", 137
	}
	container.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: container.State.Running.StartedAt, FinishedAt: now,
	}}
}

func conditions(pod *corev1.Pod, initialised, ready bool, now metav1.Time) []corev1.PodCondition {
	condition := func(kind corev1.PodConditionType, holds bool, reason, message string) corev1.PodCondition {
		made := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now}
		if !holds {
			made.Status, made.Reason, made.Message = corev1.ConditionFalse, reason, message
		}
		for _, old := range pod.Status.Conditions {
			if old.Type == kind && old.Status == made.Status {
				made.LastTransitionTime = old.LastTransitionTime
			}
		}
		return made
	}
	names := func(containers []corev1.Container) (names []string) {
		for _, container := range containers {
			names = append(names, container.Name)
		}
		return names
	}
	incomplete := fmt.Sprintf("containers with incomplete status: %v", names(pod.Spec.InitContainers))
	unready := fmt.Sprintf("containers with unready status: %v", names(pod.Spec.Containers))
	return []corev1.PodCondition{
		condition(corev1.PodInitialized, initialised, "ContainersNotInitialized", incomplete),
		condition(corev1.ContainersReady, ready, "ContainersNotReady", unready),
		condition(corev1.PodReady, ready, "ContainersNotReady", unready),
	}
}

// podIP makes an address from the pod's uid: nobody answers there.
func podIP(pod *corev1.Pod) string {
	var a, b, c byte
	for i := range len(pod.UID) {
		a, b, c = b, c, c*31+a+pod.UID[i]
	}
	return fmt.Sprintf("10.%d.%d.%d", a, b, c)
}
