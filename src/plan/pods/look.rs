//! What becomes of each pod storage: its actions, what must be said about them, and what the rest of the plan may count on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::around;
use super::say::{self, Held, Restart};
use super::statefulset::off_its_volume;
use super::verdict::{Applied, Recreated, Verdict, judge, touches_template, waits_for_a_delete};
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
        pods.forget(desired, observed, state);
        let wanted = wanted(desired);
        if wanted.storages.is_empty() {
            return pods;
        }
        let unread = Reading::default();
        let facts = match observed.cluster.as_ref().unwrap_or(&unread) {
            Reading::Known(facts) => facts,
            Reading::Unknown(cause) => {
                pods.findings.extend(say::cluster_unknown(cause));
                pods.refused.extend(desired.storages.values().filter(|s| s.pod.is_some()).map(|s| &s.name));
                return pods;
            }
        };
        let mut active = BTreeSet::new();
        for (name, wanted) in &wanted.storages {
            let Some((name, storage)) = desired.storages.get_key_value(name) else { continue };
            let Some(spec) = storage.pod.as_deref() else { continue };
            let before = pods.actions.len();
            let (record, namespace) = (state.storage(name), cluster_name(desired));
            let one = One { name, storage, spec, wanted, facts, observed, record, namespace, adopt };
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
    fn forget(&mut self, desired: &Desired, observed: &Observed, state: &State) {
        for (address, record) in &state.records {
            let Record::Storage(record) = record else { continue };
            let Ok(name) = StorageName::new(&*address.label) else { continue };
            if record.objects.is_empty() && record.statefulset_uid.is_none() {
                continue;
            }
            match desired.storages.get(&name) {
                None => {
                    let weight = observed.gitlab.weights.get(&name).map(|weight| weight.get());
                    let facts = observed.cluster.as_ref().and_then(Reading::known);
                    let held = held(observed, facts, &name);
                    self.findings.push(say::forgotten(&name, held, weight));
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

/// Pod storages of a state that the configuration does not declare.
pub fn undeclared(desired: &Desired, state: &State) -> BTreeSet<StorageName> {
    let records = state.records.iter().filter_map(|(address, record)| match record {
        Record::Storage(record) if !record.objects.is_empty() || record.statefulset_uid.is_some() => {
            StorageName::new(&*address.label).ok()
        }
        _ => None,
    });
    records.filter(|name| !desired.storages.contains_key(name)).collect()
}

/// The namespace that the configuration names.
fn cluster_name(desired: &Desired) -> &str {
    desired.cluster.as_ref().map_or("", |cluster| cluster.namespace.as_str())
}

/// What is known to be on a storage.
fn held(observed: &Observed, facts: Option<&ClusterFacts>, storage: &StorageName) -> Held {
    if observed.lists.contains_key(storage) {
        return Held::All(observed.repositories.iter().filter(|r| r.storage == *storage).count() as u64);
    }
    match facts.and_then(|facts| facts.held.get(storage)) {
        Some(Reading::Known(number)) => Held::Projects(*number),
        _ => Held::Unknown,
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
    namespace: &'b str,
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
        self.going(&mut found, pods);
        self.left_over(pods);
        self.claim(&mut found, pods);
        self.empty_again(&mut found, pods);
        self.volume(&mut found, pods);
        self.grow(&mut found, pods);
        let replaced = self.pod(&found, pods);
        if found.template || found.recreated || found.set == Some(ChangeClass::Create) {
            self.trial(&mut found, pods);
        }
        if found.broken {
            pods.refused.insert(self.name);
            return;
        }
        let anew = found.set.is_some_and(|class| class != ChangeClass::InPlace)
            || (found.recreated && found.template)
            || replaced;
        let starts = anew || found.recreated;
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
                (true, _) if anew => "its pod starts anew",
                (true, _) => "its StatefulSet is made anew, and takes over its pod",
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
        if let Some(why) = Some(&manifest).filter(|_| is_set).and_then(|manifest| self.off_its_volume(manifest)) {
            pods.findings.push(say::off_its_volume(self.name, &why));
            found.broken = true;
        }
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
            Verdict::Recreate(Recreated { changes, fixed, force, taken }) => {
                if force {
                    pods.findings.push(say::taken_over(&manifest.key, &taken));
                }
                if let Some(refusal) = self.other_volume(&changes) {
                    pods.findings.push(refusal);
                    found.broken = true;
                    return;
                }
                pods.findings.extend(say::recreated(self.name, &changes, &fixed));
                found.recreated = true;
                found.template = touches_template(&changes);
                let uid = live.and_then(uid).unwrap_or_default();
                let change = Change::RecreateStatefulSet { storage, manifest, uid, changes };
                let reason = if found.template {
                    "fields differ that can only be set when it is made; its volume stays, its pod restarts"
                } else {
                    "fields differ that can only be set when it is made; its pod and volume stay"
                };
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
        let bound = claim.pointer("/spec/volumeName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let never = !bound && claim.pointer("/status/phase").and_then(Value::as_str) == Some("Pending");
        if never && (part("storageClassName") || part("accessModes")) {
            return Some(say::never_bound(self.name, &self.wanted.claim, self.namespace));
        }
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
        let Some(claim) = self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim) else {
            if self.record.is_some_and(|record| record.claim_uid.is_some() || record.filesystem_id.is_some()) {
                pods.findings.push(say::claim_gone(self.name, &self.wanted.claim, self.elsewhere().as_deref()));
                found.broken = true;
            }
            return;
        };
        if claim.pointer("/metadata/deletionTimestamp").is_some() {
            let volume = claim.pointer("/spec/volumeName").and_then(Value::as_str);
            pods.findings.push(say::claim_terminating(self.name, &self.wanted.claim, volume));
            found.broken = true;
        }
        if claim.pointer("/status/phase").and_then(Value::as_str) == Some("Lost") {
            pods.findings.push(say::claim_lost(self.name, &self.wanted.claim));
            found.broken = true;
        }
        let recorded = self.record.and_then(|record| record.claim_uid.as_deref());
        let uid = uid(claim);
        let label = claim.pointer("/metadata/labels").and_then(|labels| labels.get(STORAGE_LABEL)?.as_str());
        match recorded {
            Some(recorded) if uid.as_deref() != Some(recorded) => {
                let elsewhere = self.elsewhere();
                let uid = uid.as_deref();
                let said = say::other_claim(self.name, &self.wanted.claim, recorded, uid, elsewhere.as_deref());
                pods.findings.push(said);
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

    /// Why the objects are looked for where they are not, if that can be told.
    fn elsewhere(&self) -> Option<String> {
        let record = self.record?;
        let was = record.namespace.as_deref().filter(|was| *was != self.namespace);
        if let Some(was) = was {
            return Some(format!(
                "its objects were in the namespace {was:?}, and the configuration says {:?} now",
                self.namespace
            ));
        }
        let now = self.facts.identity.as_deref();
        record.cluster_uid.as_deref().zip(now).filter(|(was, now)| was != now).map(|_| {
            "this is another cluster than the one that it was in (the namespace kube-system has another uid)".to_owned()
        })
    }

    /// A StatefulSet that somebody deletes.
    fn going(&self, found: &mut Found, pods: &mut Pods<'a>) {
        if self.set().is_some_and(|set| set.pointer("/metadata/deletionTimestamp").is_some()) {
            pods.findings.push(say::set_going(self.name));
            found.broken = true;
        }
    }

    /// A storage whose volume would be new, and on which GitLab lists repositories.
    fn empty_again(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let new = found.set == Some(ChangeClass::Create)
            && self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim).is_none();
        let held = held(self.observed, Some(self.facts), self.name);
        if new && !found.broken && matches!(held, Held::All(1..) | Held::Projects(1..)) {
            pods.findings.push(say::empty_again(self.storage, &self.wanted.claim, held));
            found.broken = true;
        }
    }

    /// What becomes of the volume when its claim is gone.
    fn volume(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let claim = self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim);
        let volume = claim.and_then(|claim| claim.pointer("/spec/volumeName")?.as_str());
        let Reading::Known(reclaim) = &self.facts.surroundings.reclaim else { return };
        let deletes = volume.filter(|volume| reclaim.get(*volume).is_some_and(|policy| policy == "Delete"));
        // `retain = false` says that this is accepted.
        let Some(volume) = deletes.filter(|_| self.spec.disk.retain) else { return };
        let level = if found.recreated { Level::Error } else { Level::Danger };
        pods.findings.push(say::volume_deletes(self.name, &self.wanted.claim, volume, level));
        found.broken |= found.recreated;
    }

    /// Why Gitaly would not have its repositories on the volume: by what is wanted, and by what others make of it.
    fn off_its_volume(&self, manifest: &Manifest) -> Option<String> {
        let answers = [&self.facts.dry_runs, &self.facts.forced, &self.facts.anew];
        let then = answers.into_iter().filter_map(|answers| match answers.get(&manifest.key)?.known()? {
            Answer::Accepted(then) => Some(then),
            Answer::Refused(_) => None,
        });
        std::iter::once(&manifest.body).chain(then).find_map(off_its_volume)
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
                if self.lacks_its_class(&refusal.message) {
                    // Told once, of all that ask for it.
                    found.broken = true;
                    return;
                }
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

    /// True for a pod that is refused for a PriorityClass that is known not to be there.
    fn lacks_its_class(&self, words: &str) -> bool {
        let known = self.facts.surroundings.priority_classes.known();
        words.contains("no PriorityClass with name")
            && self.spec.priority_class.as_ref().zip(known).is_some_and(|(class, known)| !known.contains(class))
    }

    /// What it means that the pod restarts.
    fn restart(&self, pods: &mut Pods<'a>) {
        let held = held(self.observed, Some(self.facts), self.name);
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
