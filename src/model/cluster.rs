//! Kubernetes objects as plain values: what we would apply, what the API server has, what it said to a dry run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::quantity::Quantity;
use super::{Reading, StorageName};

/// The field manager of everything that tranship applies.
pub const FIELD_MANAGER: &str = "tranship";
/// The label that names a storage on all its objects.
pub const STORAGE_LABEL: &str = "tranship/storage";
/// The annotation that names the environment on all objects of a storage, its claim among them: two environments may
/// share a namespace and a storage's name by mistake.
pub const ENVIRONMENT: &str = "tranship/environment";

/// The kinds that tranship applies or reads one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// Whom the pod runs as.
    ServiceAccount,
    /// Gitaly's `config.toml`.
    ConfigMap,
    /// The headless and the stable one.
    Service,
    /// What evictions may do.
    PodDisruptionBudget,
    /// Who may talk to the pod.
    NetworkPolicy,
    /// What Prometheus's operator reads.
    ServiceMonitor,
    /// The pod's owner.
    StatefulSet,
    /// The volume's claim: grown, never applied or deleted.
    PersistentVolumeClaim,
    /// Dry-run, evicted and deleted, never applied.
    Pod,
}

impl ObjectKind {
    /// What a pod storage consists of, in the order in which it is applied.
    pub const APPLIED: &'static [Self] = &[
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::ServiceMonitor,
        Self::StatefulSet,
    ];

    /// As in `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ServiceMonitor => "ServiceMonitor",
            Self::StatefulSet => "StatefulSet",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Pod => "Pod",
        }
    }

    /// As in `apiVersion:`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::ConfigMap | Self::Service | Self::PersistentVolumeClaim | Self::Pod => "v1",
            Self::PodDisruptionBudget => "policy/v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::ServiceMonitor => "monitoring.coreos.com/v1",
            Self::StatefulSet => "apps/v1",
        }
    }

    /// As in the API's paths and in RBAC.
    pub fn resource(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::NetworkPolicy => "networkpolicies",
            Self::ServiceMonitor => "servicemonitors",
            Self::StatefulSet => "statefulsets",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::Pod => "pods",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object of the configured namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// What it is.
    pub kind: ObjectKind,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// What we would apply: only our fields, with apiVersion, kind and metadata (name, namespace, labels, annotations).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which object.
    pub key: ObjectKey,
    /// The body of the server-side apply.
    pub body: Value,
}

impl Manifest {
    /// SHA-256 of the body's canonical JSON, hex: what the state records of an object that was applied.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(Sorted(&self.body).to_string()))
    }
}

/// JSON with sorted keys: whether serde_json's own map sorts is a feature that any dependency may switch.
struct Sorted<'a>(&'a Value);

impl fmt::Display for Sorted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Object(map) => {
                let sorted: BTreeMap<&String, &Value> = map.iter().collect();
                f.write_str("{")?;
                for (at, (key, value)) in sorted.into_iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{}", Value::from(key.as_str()), Sorted(value))?;
                }
                f.write_str("}")
            }
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{}", Sorted(item))?;
                }
                f.write_str("]")
            }
            other => write!(f, "{other}"),
        }
    }
}

/// What the API server said to an apply, a create, a patch or a delete, in earnest or dry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The object as it is (or would be) then; for a delete, as it was.
    Accepted(Value),
    /// Understood and refused.
    Refused(Refusal),
}

/// Why the API server refused, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of what kind.
    pub why: Why,
    /// The server's message, one line.
    pub message: String,
    /// For [`Why::Conflict`]: whose the fields are.
    pub conflicts: Vec<FieldConflict>,
}

/// Of what kind a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// 409: another field manager owns a field (conflicts), or a precondition (uid, resourceVersion) does not hold.
    Conflict,
    /// 409 AlreadyExists.
    Exists,
    /// 422: invalid, or a field that cannot be changed.
    Invalid,
    /// 403: admission (quota, priority class, policy) or missing rights: the message tells which.
    Forbidden,
    /// 404.
    NotFound,
    /// 429 with a DisruptionBudget as its cause.
    Budget,
    /// 400 and what else there is.
    Other,
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldConflict {
    /// Like `helm`, `kubectl-client-side-apply`.
    pub manager: String,
    /// Like `.spec.replicas`.
    pub field: String,
}

/// What a cluster said when it was observed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterFacts {
    /// Like `v1.34.4`.
    pub version: String,
    /// Live objects of the kinds that a pod storage consists of, its pods and claims, whole (without managedFields of
    /// no use: they stay in). From one LIST per kind in the namespace.
    pub objects: BTreeMap<ObjectKey, Value>,
    /// What the server said to the dry-run apply of each manifest.
    pub dry_runs: BTreeMap<ObjectKey, Reading<Answer>>,
    /// What it said to a forced dry run; only asked where `dry_runs` has a conflict over fields.
    pub forced: BTreeMap<ObjectKey, Reading<Answer>>,
    /// What it said to the dry-run creation of a StatefulSet that cannot be changed in place, under another name: what it
    /// would be, made anew. Only asked where `dry_runs` says so.
    pub anew: BTreeMap<ObjectKey, Reading<Answer>>,
    /// The uid of the namespace kube-system, which tells clusters apart; `None` where it may not be read.
    pub identity: Option<String>,
    /// What it said to the dry-run creation of a Pod made from each storage's template; only asked for storages whose
    /// StatefulSet is new or changes.
    pub pods: BTreeMap<StorageName, Reading<Answer>>,
    /// What it said to growing a claim (dry run); only asked where the size differs.
    pub growth: BTreeMap<StorageName, Reading<Answer>>,
    /// What GitLab lists on a storage; only asked for those whose pod would start anew, and for those that are to be
    /// forgotten.
    pub held: BTreeMap<StorageName, Reading<Counted>>,
    /// What is not ours and must be there.
    pub surroundings: Surroundings,
}

/// How much GitLab lists on a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Repositories of every kind.
    All(u64),
    /// Projects, which GitLab counts fast; snippets and group wikis may be there too.
    Projects(u64),
}

/// What a cluster says besides the objects of pod storages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Surroundings {
    /// The Secrets asked for: their keys, never a value. `None`: there is none.
    pub secrets: BTreeMap<String, Reading<Option<BTreeSet<String>>>>,
    /// StorageClasses by name.
    pub storage_classes: Reading<BTreeMap<String, StorageClassFacts>>,
    /// PriorityClasses by name.
    pub priority_classes: Reading<BTreeSet<String>>,
    /// Nodes.
    pub nodes: Reading<Vec<NodeFacts>>,
    /// The namespace's ResourceQuotas.
    pub quotas: Reading<Vec<QuotaFacts>>,
    /// PersistentVolumes by name.
    pub volumes: Reading<BTreeMap<String, VolumeFacts>>,
}

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VolumeFacts {
    /// What becomes of it when its claim is gone: `Retain` or `Delete`.
    pub reclaim_policy: String,
    /// Terms of which a node must meet one to reach it; empty: any node does.
    pub node_terms: Vec<Value>,
}

impl VolumeFacts {
    /// From the API server's object.
    pub fn of(volume: &Value) -> Self {
        let terms = volume.pointer("/spec/nodeAffinity/required/nodeSelectorTerms").and_then(Value::as_array);
        Self {
            reclaim_policy: text(volume, "/spec/persistentVolumeReclaimPolicy").to_owned(),
            node_terms: terms.cloned().unwrap_or_default(),
        }
    }
}

/// A ResourceQuota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaFacts {
    /// Its name.
    pub name: String,
    /// What is left of each resource that it bounds (`requests.cpu`, `pods`), in thousandths. Empty for one that counts
    /// only some pods (scopes).
    pub left: BTreeMap<String, u128>,
}

impl QuotaFacts {
    /// From the API server's object.
    pub fn of(quota: &Value) -> Self {
        let scoped = quota.pointer("/spec/scopes").or_else(|| quota.pointer("/spec/scopeSelector")).is_some();
        let amount = |text: &Value| Some(Quantity::parse(text.as_str()?).ok()?.thousandths());
        let used = |name: &str| quota.pointer("/status/used").and_then(|used| amount(used.get(name)?)).unwrap_or(0);
        let hard = quota.pointer("/spec/hard").and_then(Value::as_object).into_iter().flatten();
        let left = hard.filter_map(|(name, hard)| Some((name.clone(), amount(hard)?.saturating_sub(used(name)))));
        Self { name: text(quota, "/metadata/name").to_owned(), left: left.filter(|_| !scoped).collect() }
    }
}

/// A StorageClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClassFacts {
    /// `allowVolumeExpansion`.
    pub expandable: bool,
    /// Annotated as the cluster's default.
    pub default: bool,
    /// `Retain` or `Delete`.
    pub reclaim_policy: String,
    /// `WaitForFirstConsumer` or `Immediate`.
    pub binding_mode: String,
}

/// Text at a JSON pointer; empty when there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl StorageClassFacts {
    /// From the API server's object.
    pub fn of(class: &Value) -> Self {
        let default =
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        let annotations = class.pointer("/metadata/annotations");
        Self {
            expandable: class.get("allowVolumeExpansion") == Some(&Value::Bool(true)),
            default: default.iter().any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|v| v == "true")),
            reclaim_policy: text(class, "/reclaimPolicy").to_owned(),
            binding_mode: text(class, "/volumeBindingMode").to_owned(),
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Cordoned.
    pub unschedulable: bool,
    /// The Ready condition.
    pub ready: bool,
    /// Allocatable, thousandths of a core.
    pub cpu_millis: u64,
    /// Allocatable, bytes.
    pub memory: u64,
    /// Of the kubelet's `kubeletVersion`.
    pub kubelet_version: String,
}

impl NodeFacts {
    /// From the API server's object.
    pub fn of(node: &Value) -> Self {
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let amount = |pointer: &str| Quantity::parse(text(node, pointer)).ok();
        Self {
            name: text(node, "/metadata/name").to_owned(),
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            unschedulable: node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)),
            ready: conditions.into_iter().any(|c| text(c, "/type") == "Ready" && text(c, "/status") == "True"),
            cpu_millis: amount("/status/allocatable/cpu").map_or(0, Quantity::millis),
            memory: amount("/status/allocatable/memory").map_or(0, |memory| memory.bytes().0),
            kubelet_version: text(node, "/status/nodeInfo/kubeletVersion").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_is_of_what_is_said_and_not_of_its_order() {
        let manifest = |text: &str| Manifest {
            key: ObjectKey { kind: ObjectKind::ConfigMap, name: "x".into() },
            body: serde_json::from_str(text).expect("JSON"),
        };
        let one = manifest(r#"{"b":[1,{"d":null,"c":"\u0001"}],"a":true}"#);
        let two = manifest(r#"{ "a": true, "b": [1, {"c": "\u0001", "d": null}] }"#);
        assert_eq!(one.digest(), two.digest());
        assert_ne!(one.digest(), manifest(r#"{"b":[{"d":null,"c":"\u0001"},1],"a":true}"#).digest());
        assert_eq!(Sorted(&json!({ "b": [1, "x"], "a": {} })).to_string(), r#"{"a":{},"b":[1,"x"]}"#);
    }
}
