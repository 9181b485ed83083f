//! What becomes of each pod storage: its actions, what must be said about them, and what the rest of the plan may count on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::around;
use super::say::{self, Held, Restart};
use super::verdict::{Applied, Verdict, judge, touches_template, waits_for_a_delete};
use super::{ChangeClass, WantedStorage, fitted, wanted};
use crate::model::cluster::{Answer, ClusterFacts, Manifest, ObjectKey, ObjectKind, STORAGE_LABEL};
use crate::model::quantity::Quantity;
use crate::model::{Address, Bytes, Desired, DesiredStorage, Observed, PodSpec, Reading, StorageName};
use crate::plan::{Action, Change, Drift, Finding, Level};
use crate::state::{Record, State, StorageRecord};

/// How long GitLab may take to list a storage that is ready, where it learns by itself, seconds: its settings are read
/// anew every minute. Ten times that would hide that it does not learn at all.
const KNOWN_SECONDS: u32 = 300;

/// A storage that this plan makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Coming {
    /// Of its volume, which is empty.
    pub(in crate::plan) size: Bytes,
    /// Of its Gitaly, by the image's tag.
    pub(in crate::plan) version: Option<String>,
}

/// The pod storages of a plan.
#[derive(Debug, Default)]
pub(in crate::plan) struct Pods<'a> {
    /// In no order that matters.
    pub(in crate::plan) actions: Vec<Action>,
    /// What must be said.
    pub(in crate::plan) findings: Vec<Finding>,
    /// Storages that this plan makes: they have no server, disk and filesystem id yet.
    pub(in crate::plan) coming: BTreeMap<&'a StorageName, Coming>,
    /// Storages that are away now and that this plan may bring back: nothing can be known of them before.
    pub(in crate::plan) mending: BTreeSet<&'a StorageName>,
    /// Storages of which the findings say why nothing can be done for them.
    pub(in crate::plan) refused: BTreeSet<&'a StorageName>,
    /// Bytes by which a disk grows.
    pub(in crate::plan) growth: BTreeMap<&'a StorageName, u64>,
    /// Storages that GitLab will list by then, at weight 0.
    pub(in crate::plan) learned: BTreeSet<&'a StorageName>,
    /// Objects that changed since tranship applied them.
    pub(in crate::plan) drift: Vec<Drift>,
    /// Storages with a pod that GitLab does not list and will not list by itself.
    pub(in crate::plan) unknown: BTreeSet<&'a StorageName>,
}

/// The address of an object's action: `pod.gitaly-a["StatefulSet"]`, `pod.gitaly-a["Service/gitaly-a-gitaly"]`.
fn object_address(storage: &StorageName, key: &ObjectKey) -> Address {
    let plain = key.name == storage.as_str();
    let key = if plain { key.kind.to_string() } else { key.to_string() };
    Address::new("pod", storage.as_str()).with_key(key)
}

/// All addresses that a pod storage's actions may have.
pub(in crate::plan) fn addresses(storage: &StorageName, wanted: &WantedStorage) -> Vec<Address> {
    let of = |kind: &str| Address::new(kind, storage.as_str());
    let mut addresses = vec![of("pod"), of("pod").with_key("restart"), of("disk"), of("ready"), of("known")];
    addresses.extend(wanted.manifests.iter().map(|manifest| object_address(storage, &manifest.key)));
    addresses
}

/// The version of Gitaly that an image's tag names: `v18.2.0-ubi` is 18.2.0.
pub(super) fn image_version(image: &str) -> Option<String> {
    let named = image.split('@').next()?;
    let (_, tag) = named.rsplit('/').next()?.split_once(':')?;
    let number = tag.strip_prefix('v').unwrap_or(tag).split(['-', '+', '_']).next()?;
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    (number.contains('.') && number.split('.').all(digits)).then(|| number.to_owned())
}

fn uid(object: &Value) -> Option<String> {
    object.pointer("/metadata/uid")?.as_str().map(str::to_owned)
}

fn version(object: &Value) -> Option<String> {
    object.pointer("/metadata/resourceVersion")?.as_str().map(str::to_owned)
}

impl<'a> Pods<'a> {
    /// Looks at all pod storages. `adopt`: take over what others own.
    pub(in crate::plan) fn look(desired: &'a Desired, observed: &Observed, state: &State, adopt: bool) -> Self {
        let mut pods = Self::default();
        pods.forget(desired, state);
        let wanted = wanted(desired);
        if wanted.storages.is_empty() {
            return pods;
        }
        let unread = Reading::default();
        let facts = match observed.cluster.as_ref().unwrap_or(&unread) {
            Reading::Known(facts) => facts,
            Reading::Unknown(cause) => {
                pods.findings.push(say::cluster_unknown(cause));
                pods.refused.extend(desired.storages.values().filter(|s| s.pod.is_some()).map(|s| &s.name));
                return pods;
            }
        };
        let mut active = BTreeSet::new();
        for (name, wanted) in &wanted.storages {
            let Some((name, storage)) = desired.storages.get_key_value(name) else { continue };
            let Some(spec) = storage.pod.as_deref() else { continue };
            let before = pods.actions.len();
            let one = One { name, storage, spec, wanted, facts, observed, record: state.storage(name), adopt };
            one.look(desired, &mut pods);
            if pods.actions.len() > before {
                active.insert(name);
            }
            // Errors keep an apply from beginning: half of a storage's steps would only mislead.
            if pods.refused.contains(name) {
                pods.actions.truncate(before);
                pods.growth.remove(name);
            }
        }
        around::look(desired, observed, facts, &active, &mut pods.findings);
        pods
    }

    /// Storages of the state that the configuration does not declare any more.
    fn forget(&mut self, desired: &Desired, state: &State) {
        for (address, record) in &state.records {
            let Record::Storage(record) = record else { continue };
            let Ok(name) = StorageName::new(&*address.label) else { continue };
            if record.objects.is_empty() && record.statefulset_uid.is_none() {
                continue;
            }
            match desired.storages.get(&name) {
                None => {
                    self.findings.push(say::forgotten(&name));
                    self.actions.push(Action {
                        address: Address::new("forget", name.as_str()),
                        change: Change::Forget { storage: name },
                        reason: "the configuration does not declare it any more".to_owned(),
                    });
                }
                Some(storage) if storage.pod.is_none() => self.findings.push(say::let_go(&name)),
                Some(_) => {}
            }
        }
    }
}

/// One pod storage.
struct One<'a, 'b> {
    name: &'a StorageName,
    storage: &'a DesiredStorage,
    spec: &'a PodSpec,
    wanted: &'b WantedStorage,
    facts: &'b ClusterFacts,
    observed: &'b Observed,
    record: Option<&'b StorageRecord>,
    adopt: bool,
}

/// What is planned for one storage, as it is found.
#[derive(Default)]
struct Found {
    /// Something cannot be done.
    broken: bool,
    /// What happens to the StatefulSet.
    set: Option<ChangeClass>,
    recreated: bool,
    /// Its template changes.
    template: bool,
}

impl<'a> One<'a, '_> {
    fn live(&self, kind: ObjectKind, name: &str) -> Option<&Value> {
        self.facts.objects.get(&ObjectKey { kind, name: name.to_owned() })
    }

    fn set(&self) -> Option<&Value> {
        self.live(ObjectKind::StatefulSet, self.name.as_str())
    }

    fn adopts(&self) -> bool {
        self.adopt || self.storage.adopt
    }

    fn look(&self, desired: &Desired, pods: &mut Pods<'a>) {
        let mut found = Found::default();
        for manifest in &self.wanted.manifests {
            self.object(manifest, &mut found, pods);
        }
        self.left_over(pods);
        self.claim(&mut found, pods);
        self.grow(&mut found, pods);
        let replaced = self.pod(&found, pods);
        if found.template || found.recreated || found.set == Some(ChangeClass::Create) {
            self.trial(&mut found, pods);
        }
        if found.broken {
            pods.refused.insert(self.name);
            return;
        }
        let starts = found.set.is_some_and(|class| class != ChangeClass::InPlace) || found.recreated || replaced;
        let server = self.observed.storages.get(self.name).and_then(|facts| facts.server.known());
        let id = self.record.and_then(|record| record.filesystem_id.clone());
        if let Some(server) = server {
            pods.findings.extend(id.as_deref().and_then(|id| say::other_disk(self.name, id, server)));
        }
        let unsettled = self.unsettled();
        if starts || unsettled || id.is_none() {
            if server.is_none() {
                if id.is_none() {
                    let version = image_version(&self.spec.image);
                    pods.coming.insert(self.name, Coming { size: self.wanted.size, version });
                } else {
                    pods.mending.insert(self.name);
                }
            }
            let reason = match (starts, unsettled) {
                (true, _) => "its pod starts anew",
                (false, true) => "its pod is not ready, or has not taken the last change yet",
                (false, false) => "tranship has not seen it ready yet",
            };
            let change = Change::AwaitReady {
                storage: self.name.clone(),
                version: image_version(&self.spec.image),
                filesystem_id: id,
                deadline_seconds: self.spec.ready_timeout_seconds,
            };
            pods.actions.push(self.action(Address::new("ready", self.name.as_str()), change, reason));
        }
        if !self.observed.gitlab.weights.contains_key(self.name) {
            if !desired.gitlab_learns {
                pods.unknown.insert(self.name);
            } else if server.is_some() || pods.coming.contains_key(self.name) {
                pods.learned.insert(self.name);
                let change = Change::AwaitKnown { storage: self.name.clone(), deadline_seconds: KNOWN_SECONDS };
                let reason = "GitLab does not list it yet, and learns of it by itself";
                pods.actions.push(self.action(Address::new("known", self.name.as_str()), change, reason));
            }
        }
        if found.set == Some(ChangeClass::RollsPod) || (found.recreated && found.template) {
            self.restart(pods);
        }
    }

    fn action(&self, address: Address, change: Change, reason: &str) -> Action {
        Action { address, change, reason: reason.to_owned() }
    }

    /// One object, as the server answered to its dry run.
    fn object(&self, manifest: &Manifest, found: &mut Found, pods: &mut Pods<'a>) {
        let recorded = self.record.is_some_and(|record| record.objects.contains_key(&manifest.key.to_string()));
        let is_set = manifest.key.kind == ObjectKind::StatefulSet;
        let live = self.facts.objects.get(&manifest.key);
        let manifest = fitted(manifest, live);
        let storage = self.name.clone();
        let address = object_address(self.name, &manifest.key);
        match judge(&manifest, self.facts, self.adopts(), recorded) {
            Verdict::Same => {}
            Verdict::Apply(Applied { class, changes, force, taken }) => {
                pods.drift.extend(self.drift(&manifest, class, &changes));
                if force {
                    pods.findings.push(say::taken_over(&manifest.key, &taken));
                }
                if is_set {
                    found.set = Some(class);
                    found.template = touches_template(&changes);
                    if found.template && class == ChangeClass::InPlace {
                        pods.findings.push(say::waits_for_a_delete(self.name));
                    }
                }
                let reason = match class {
                    ChangeClass::Create => "it does not exist yet",
                    ChangeClass::InPlace if changes.is_empty() => "it is adopted as it is",
                    ChangeClass::InPlace => "it differs from the configuration; nothing restarts",
                    ChangeClass::RollsPod => "its pod's template differs from the configuration",
                };
                let (uid, resource_version) = (live.and_then(uid), live.and_then(version));
                let change = Change::ApplyObject { storage, manifest, class, uid, resource_version, changes, force };
                pods.actions.push(self.action(address, change, reason));
            }
            Verdict::Recreate(changes) => {
                if let Some(refusal) = self.other_volume(&changes) {
                    pods.findings.push(refusal);
                    found.broken = true;
                    return;
                }
                pods.findings.extend(say::recreated(self.name, &changes));
                found.recreated = true;
                found.template = touches_template(&changes);
                let uid = live.and_then(uid).unwrap_or_default();
                let change = Change::RecreateStatefulSet { storage, manifest, uid, changes };
                let reason = "fields differ that can only be set when it is made; its pod and volume stay";
                pods.actions.push(self.action(address, change, reason));
            }
            Verdict::Foreign(managers) => {
                pods.findings.push(say::foreign(&manifest.key, self.storage, &managers));
                found.broken = true;
            }
            Verdict::Owned(fields) => {
                pods.findings.push(say::owned(&manifest.key, self.storage, &fields));
                found.broken = true;
            }
            Verdict::Refused(refusal) => {
                pods.findings.push(say::refused(&manifest.key, &refusal));
                found.broken = true;
            }
            Verdict::Unknown(cause) => {
                pods.findings.push(say::not_tried(&manifest.key, &cause));
                found.broken = true;
            }
        }
    }

    /// An object that was applied as it is wanted, and that is otherwise now.
    fn drift(&self, manifest: &Manifest, class: ChangeClass, changes: &[super::FieldChange]) -> Option<Drift> {
        let key = manifest.key.to_string();
        let recorded = self.record?.objects.get(&key)?;
        if *recorded != manifest.digest() {
            return None;
        }
        let named: Vec<&str> = changes.iter().map(|change| change.path.as_str()).take(3).collect();
        let more = if changes.len() > named.len() { ", …" } else { "" };
        let observed = match class {
            ChangeClass::Create => "gone".to_owned(),
            _ => format!("changed: {}{more}", named.join(", ")),
        };
        let address = State::storage_address(self.name);
        Some(Drift { address, fact: key, recorded: "as applied".to_owned(), observed })
    }

    /// A claim keeps its class and its modes for ever.
    fn other_volume(&self, changes: &[super::FieldChange]) -> Option<Finding> {
        let claim = self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim)?;
        let part = |field: &str| {
            changes.iter().any(|change| {
                change.path.starts_with(".spec.volumeClaimTemplates[repo-data]") && change.path.contains(field)
            })
        };
        let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str).unwrap_or_default();
        let wants = self.spec.disk.class.as_deref();
        if part("storageClassName") && wants.is_some_and(|wanted| wanted != class) {
            return Some(say::other_class(self.name, &self.wanted.claim, class, wants.unwrap_or_default()));
        }
        part("accessModes").then(|| say::other_modes(self.name, &self.wanted.claim))
    }

    /// Objects that tranship applied and that the configuration does not ask for any more.
    fn left_over(&self, pods: &mut Pods<'a>) {
        let wanted: BTreeSet<String> = self.wanted.manifests.iter().map(|manifest| manifest.key.to_string()).collect();
        let recorded = self.record.into_iter().flat_map(|record| record.objects.keys());
        let live: BTreeSet<String> = self.facts.objects.keys().map(ToString::to_string).collect();
        let left = recorded.filter(|key| !wanted.contains(*key) && live.contains(*key));
        pods.findings.extend(left.map(|key| say::left_over(self.name, key)));
    }

    /// The claim must be this storage's own.
    fn claim(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let Some(claim) = self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim) else { return };
        if claim.pointer("/status/phase").and_then(Value::as_str) == Some("Lost") {
            pods.findings.push(say::claim_lost(self.name, &self.wanted.claim));
            found.broken = true;
        }
        let recorded = self.record.and_then(|record| record.claim_uid.as_deref());
        let uid = uid(claim);
        let label = claim.pointer("/metadata/labels").and_then(|labels| labels.get(STORAGE_LABEL)?.as_str());
        match recorded {
            Some(recorded) if uid.as_deref() != Some(recorded) => {
                pods.findings.push(say::other_claim(self.name, &self.wanted.claim, recorded, uid.as_deref()));
                found.broken = true;
            }
            None if self.set().is_none() => {
                let ours = label == Some(self.name.as_str());
                pods.findings.push(say::claim_exists(self.storage, &self.wanted.claim, label, ours || self.adopts()));
                found.broken |= !ours && !self.adopts();
            }
            _ => {}
        }
    }

    /// The volume grows by its claim.
    fn grow(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let claim = &self.wanted.claim;
        let Some(live) = self.live(ObjectKind::PersistentVolumeClaim, claim) else { return };
        let size = |pointer: &str| Some(Quantity::parse(live.pointer(pointer)?.as_str()?).ok()?.bytes());
        let Some(from) = size("/spec/resources/requests/storage") else { return };
        let to = self.wanted.size;
        if to < from {
            pods.findings.push(say::shrinks(self.storage, claim, from, to));
            found.broken = true;
        }
        if to <= from {
            let conditions = live.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            let types: BTreeSet<&str> = conditions.filter_map(|c| c.get("type")?.as_str()).collect();
            if types.contains("FileSystemResizePending") {
                pods.findings.push(say::resize_pending(self.name, claim));
            }
            return;
        }
        match self.facts.growth.get(self.name) {
            Some(Reading::Known(Answer::Accepted(_))) => {
                pods.growth.insert(self.name, to.0 - from.0);
                let change = Change::GrowDisk { storage: self.name.clone(), claim: claim.clone(), from, to };
                let reason = "the configuration asks for a larger disk";
                pods.actions.push(self.action(Address::new("disk", self.name.as_str()), change, reason));
            }
            Some(Reading::Known(Answer::Refused(refusal))) => {
                pods.findings.push(say::cannot_grow(self.name, claim, refusal));
                found.broken = true;
            }
            other => {
                let cause = match other {
                    Some(Reading::Unknown(cause)) => cause.as_str(),
                    _ => "it was not asked",
                };
                let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim.clone() };
                pods.findings.push(say::not_tried(&key, cause));
                found.broken = true;
            }
        }
    }

    /// A pod that hangs in Pending keeps its old template: it is deleted, so that a new one comes. True when it is.
    fn pod(&self, found: &Found, pods: &mut Pods<'a>) -> bool {
        let Some(pod) = self.live(ObjectKind::Pod, &self.wanted.pod_name) else { return false };
        let (Some(set), Some(uid)) = (self.set(), uid(pod)) else { return false };
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let going = pod.pointer("/metadata/deletionTimestamp").is_some();
        let revision = text(pod, "/metadata/labels/controller-revision-hash");
        let old = revision.is_some() && text(set, "/status/updateRevision").is_some_and(|now| revision != Some(now));
        let pending = text(pod, "/status/phase").as_deref() == Some("Pending");
        if !pending || going {
            if old && !found.template && waits_for_a_delete(set) {
                pods.findings.push(say::waits_for_a_delete(self.name));
            }
            return false;
        }
        if !old && !found.template {
            return false;
        }
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let cause = conditions.filter_map(|condition| condition.get("message")?.as_str()).next();
        let why = match cause {
            Some(cause) => format!("it hangs in Pending with an old template ({cause})"),
            None => "it hangs in Pending with an old template".to_owned(),
        };
        let (storage, name) = (self.name.clone(), self.wanted.pod_name.clone());
        let address = Address::new("pod", self.name.as_str()).with_key("restart");
        let change = Change::ReplacePod { storage, pod: name, uid, why };
        let reason = "a pod that is Pending is not replaced by itself; a pod is not data";
        pods.actions.push(self.action(address, change, reason));
        true
    }

    /// True while the pod is not ready, or not of the StatefulSet's newest template: an apply that was cut short is
    /// taken up by waiting on.
    fn unsettled(&self) -> bool {
        let Some(set) = self.set() else { return false };
        let Some(pod) = self.live(ObjectKind::Pod, &self.wanted.pod_name) else { return true };
        let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let ready = conditions.filter(|one| text(one, "/type").as_deref() == Some("Ready"));
        let ready = ready.filter_map(|one| text(one, "/status")).any(|status| status == "True");
        let (revision, newest) =
            (text(pod, "/metadata/labels/controller-revision-hash"), text(set, "/status/updateRevision"));
        let old = newest.is_some() && revision != newest && !waits_for_a_delete(set);
        let going = pod.pointer("/metadata/deletionTimestamp").is_some();
        !ready || going || old || number("/status/observedGeneration") < number("/metadata/generation")
    }

    /// What admission said to a Pod of the template.
    fn trial(&self, found: &mut Found, pods: &mut Pods<'a>) {
        match self.facts.pods.get(self.name) {
            Some(Reading::Known(Answer::Accepted(pod))) => {
                let class = pod.pointer("/status/qosClass").and_then(Value::as_str);
                if let Some(class) = class.filter(|class| *class != "Guaranteed") {
                    pods.findings.push(say::not_guaranteed(self.name, class));
                    found.broken = true;
                }
            }
            Some(Reading::Known(Answer::Refused(refusal))) => {
                let beside = self.live(ObjectKind::Pod, &self.wanted.pod_name).is_some();
                let said = say::pod_refused(self.name, refusal, beside);
                found.broken |= said.level == Level::Error;
                pods.findings.push(said);
            }
            // Where the StatefulSet was refused, its pod does not matter.
            Some(Reading::Unknown(cause)) => {
                let key = ObjectKey { kind: ObjectKind::Pod, name: self.wanted.pod_name.clone() };
                pods.findings.push(say::not_tried(&key, cause));
                found.broken = true;
            }
            None => {}
        }
    }

    /// What it means that the pod restarts.
    fn restart(&self, pods: &mut Pods<'a>) {
        let here = || self.observed.repositories.iter().filter(|r| r.storage == *self.name).count() as u64;
        let held = match self.facts.held.get(self.name) {
            _ if self.observed.lists.contains_key(self.name) => Held::All(here()),
            Some(Reading::Known(number)) => Held::Projects(*number),
            _ => Held::Unknown,
        };
        let weight = self.observed.gitlab.weights.get(self.name).is_some_and(|weight| weight.get() > 0);
        let running = image_version(&self.spec.image).zip(
            self.observed.storages.get(self.name).and_then(|facts| facts.server.known()).map(|s| s.version.clone()),
        );
        if let Some((then, now)) = running
            && let (Some(new), Some(old)) = (crate::plan::version(&then), crate::plan::version(&now))
            && new < old
        {
            pods.findings.push(say::older(self.name, &now, &then));
        }
        if matches!(held, Held::All(0) | Held::Projects(0)) && !weight {
            return;
        }
        let seconds = self.record.and_then(|record| record.rotation_seconds);
        let budget = self.spec.rotation_budget_seconds;
        pods.findings.push(say::restarts(self.name, Restart { held, seconds, budget }));
    }
}
