//! Pod storages: what becomes of them in the cluster, and what of it a plan changes.

mod around;
pub(super) mod check;
pub mod declare;
mod diff;
mod fresh;
mod gitaly;
mod look;
mod merge;
mod objects;
mod say;
mod statefulset;
#[cfg(test)]
mod tests;
mod verdict;
#[cfg(test)]
pub(super) mod world;

pub use diff::changes;
pub(super) use fresh::stale;
pub use look::undeclared;
pub(super) use look::{Pods, addresses};
pub use objects::service_name;
pub use statefulset::{CONTAINER, claim_name, may_follow, may_run_on, pod_name, trial_of};
pub use verdict::{needs_anew, touches_template};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::cluster::{ENVIRONMENT, Manifest};
use crate::model::{Bytes, Desired, StorageName};
use objects::Built;

/// What applying an object does to the storage. A StatefulSet that must be made anew and a volume that grows are
/// actions of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeClass {
    /// The object does not exist.
    Create,
    /// Nothing restarts.
    InPlace,
    /// The pod restarts: the storage is away meanwhile.
    RollsPod,
}

/// One field of an object, now and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Like `.spec.template.spec.containers[gitaly].image`.
    pub path: String,
    /// `None`: the field is not there.
    pub before: Option<Value>,
    /// `None`: the field goes.
    pub after: Option<Value>,
}

/// What the configuration wants in the cluster: what an observation asks about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// By GitLab's name.
    pub storages: BTreeMap<StorageName, WantedStorage>,
    /// Secrets that pods mount: their keys are asked for, never a value.
    pub secrets: BTreeSet<String>,
    /// Storages whose projects are counted, whatever becomes of them: those that are to be forgotten.
    pub counted: BTreeSet<StorageName>,
}

/// What one pod storage consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedStorage {
    /// All objects, in the order in which they are applied. A StatefulSet is fitted to the live one before it is tried:
    /// see [`fitted`].
    pub manifests: Vec<Manifest>,
    /// A Pod of the StatefulSet's template, for a dry run.
    pub pod: Manifest,
    /// The name of the pod that the StatefulSet makes.
    pub pod_name: String,
    /// The name of the volume's claim.
    pub claim: String,
    /// The size that it should have.
    pub size: Bytes,
}

/// Makes all objects of all pod storages. The same configuration gives the same bytes.
pub fn wanted(desired: &Desired) -> Wanted {
    let Some(cluster) = &desired.cluster else { return Wanted::default() };
    let mut wanted = Wanted::default();
    for (name, storage) in &desired.storages {
        let Some(spec) = storage.pod.as_deref() else { continue };
        let (manifests, pod) = Built { storage, spec, cluster, environment: &desired.environment }.manifests();
        let (pod_name, claim) = (statefulset::pod_name(name.as_str()), statefulset::claim_name(name.as_str()));
        wanted.storages.insert(name.clone(), WantedStorage { manifests, pod, pod_name, claim, size: spec.disk.size });
    }
    if !wanted.storages.is_empty() {
        let secrets = [&cluster.gitaly_token, &cluster.shell_secret];
        wanted.secrets.extend(secrets.into_iter().flatten().map(|secret| secret.name.clone()));
    }
    wanted
}

/// A StatefulSet under a name that none has, for a dry run: what it would be if it were made anew, with nothing left of the
/// live one.
pub fn made_anew(manifest: &Manifest) -> Manifest {
    let mut anew = manifest.clone();
    anew.key.name = statefulset::trial_name(&manifest.key.name);
    if let Some(name) = anew.body.pointer_mut("/metadata/name") {
        *name = Value::from(anew.key.name.as_str());
    }
    anew
}

/// Fits a StatefulSet to the live one: a volume grows by its claim, so that the size in the claims' template stays as it
/// is there (it cannot be changed, and only says what a first claim gets), and so does the environment. Other objects stay
/// as they are.
pub fn fitted(manifest: &Manifest, live: Option<&Value>) -> Manifest {
    let mut fitted = manifest.clone();
    const SIZE: &str = "/spec/resources/requests/storage";
    let live = live.and_then(|live| live.pointer("/spec/volumeClaimTemplates")).and_then(Value::as_array);
    let ours = fitted.body.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for template in ours.into_iter().flatten() {
        let name = template.pointer("/metadata/name").cloned();
        let same = live.into_iter().flatten().find(|one| one.pointer("/metadata/name") == name.as_ref());
        if let (Some(theirs), Some(size)) = (same.and_then(|one| one.pointer(SIZE)), template.pointer_mut(SIZE)) {
            *size = theirs.clone();
        }
        if let (Some(theirs), Some(metadata)) = (same, template.get_mut("metadata")) {
            keep(metadata, theirs.pointer("/metadata/annotations").and_then(|all| all.get(ENVIRONMENT)));
        }
    }
    fitted
}

/// Gives an object the annotation that another has.
fn keep(metadata: &mut Value, environment: Option<&Value>) {
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    match environment {
        Some(environment) => drop(annotations.insert(ENVIRONMENT.to_owned(), environment.clone())),
        None => drop(annotations.remove(ENVIRONMENT)),
    }
    if annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("annotations");
    }
}
