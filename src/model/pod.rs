//! What the configuration says of pods: the cluster, and what a pod storage is made of. Typed, checked, defaults filled in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Address, Bytes};
use crate::diag::Span;

/// The `kubernetes` block.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSettings {
    /// The kubeconfig's file; `None`: `KUBECONFIG`, then `~/.kube/config`, then the pod's own service account.
    pub kubeconfig: Option<String>,
    /// The kubeconfig's context; `None`: its current one.
    pub context: Option<String>,
    /// Where all objects live.
    pub namespace: String,
    /// The Secret with Gitaly's token; pods refuse to start without it.
    pub gitaly_token: Option<SecretKey>,
    /// The Secret with GitLab Shell's secret.
    pub shell_secret: Option<SecretKey>,
    /// `gitlab.internal_url`: what a pod's Gitaly calls for its hooks.
    pub internal_url: Option<String>,
    /// True when there is no `kubernetes` block and the embedded fleet stands in for a cluster.
    pub embedded: bool,
    /// The block; the `sandbox` block for the embedded one.
    pub span: Span,
}

/// A key of an existing Secret. Never its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key within it.
    pub key: String,
}

/// One `pod_spec` block.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSpec {
    /// Where it is declared.
    pub address: Address,
    /// Gitaly's image.
    pub image: String,
    /// Gitaly's container, thousandths of a core; requests equal limits.
    pub cpu_millis: u64,
    /// Gitaly's container; requests equal limits.
    pub memory: Bytes,
    /// The volume.
    pub disk: DiskSpec,
    /// cgroups for git's processes.
    pub cgroups: Option<CgroupSpec>,
    /// The pods' PriorityClass.
    pub priority_class: Option<String>,
    /// Labels of the nodes that may run it.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates, as Kubernetes writes them.
    pub tolerations: Vec<Value>,
    /// Never two Gitalys on one node; false: only where there is another one.
    pub node_for_itself: bool,
    /// Seconds that Gitaly lets calls end when it stops (`graceful_restart_timeout`).
    pub graceful_restart_seconds: u32,
    /// Seconds that a restart may keep the storage away; `None`: not asked.
    pub rotation_budget_seconds: Option<u32>,
    /// `maxUnavailable` of the PodDisruptionBudget: 0 or 1.
    pub max_unavailable: u32,
    /// Seconds that an apply waits for the pod.
    pub ready_timeout_seconds: u32,
    /// The Service that GitLab dials.
    pub service: ServiceSpec,
    /// Admits only what it names, and other Gitalys of the namespace.
    pub network_policy: Option<NetworkPolicySpec>,
    /// Makes a ServiceMonitor.
    pub service_monitor: Option<MonitorSpec>,
    /// More of Gitaly's `config.toml`, merged over ours.
    pub config: Value,
    /// A strategic merge patch over the StatefulSet.
    pub extra: Value,
    /// The block.
    pub span: Span,
}

/// The `disk` block of a pod spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Of the volume.
    pub size: Bytes,
    /// StorageClass; `None`: the cluster's default.
    pub class: Option<String>,
    /// The class must keep the volume when its claim is deleted.
    pub retain: bool,
}

/// The `service` block of a pod spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSpec {
    /// How it is reached.
    pub kind: ServiceKind,
    /// For what gives it an address.
    pub annotations: BTreeMap<String, String>,
}

/// A Service's `spec.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceKind {
    /// From within the cluster.
    #[default]
    ClusterIp,
    /// By a balancer's address.
    LoadBalancer,
    /// By a port of every node.
    NodePort,
}

impl ServiceKind {
    /// As in `type:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
        }
    }
}

/// The `network_policy` block of a pod spec: who may reach the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkPolicySpec {
    /// Namespaces of GitLab's pods, which may call Gitaly.
    pub namespaces: Vec<String>,
    /// Networks that may call Gitaly: GitLab's and Gitaly's machines, tranship's own.
    pub cidrs: Vec<String>,
    /// Namespaces that may read metrics.
    pub metrics: Vec<String>,
}

/// The `service_monitor` block of a pod spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitorSpec {
    /// Labels by which Prometheus's operator selects it.
    pub labels: BTreeMap<String, String>,
    /// Seconds between two scrapes; `None`: Prometheus's own.
    pub interval_seconds: Option<u32>,
}

/// The `cgroups` block of a pod spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSpec {
    /// For all of git's processes; at least 1 GiB below the pod's memory.
    pub memory: Bytes,
    /// How many repositories' cgroups there are; at least 1.
    pub count: u32,
    /// For one of them; at most `memory`.
    pub repository_memory: Bytes,
    /// The init container's image, which gives the pod's cgroup to Gitaly.
    pub init_image: String,
}
