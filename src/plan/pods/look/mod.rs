//! What becomes of each pod storage: its actions, what must be said about them, and what the rest of the plan may count on.

mod owner;
mod restart;
mod volume;

#[cfg(test)]
pub(super) use restart::is_otherwise;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::around;
use super::say::{self, Held};
use super::verdict::{Applied, Recreated, Verdict, judge, touches_template};
use super::{ChangeClass, WantedStorage, fitted, wanted};
use crate::model::cluster::{ClusterFacts, Counted, Manifest, ObjectKey, ObjectKind};
use crate::model::{Address, Bytes, Desired, DesiredStorage, Observed, PodSpec, Reading, StorageName};
use crate::plan::select::Selection;
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
    /// Of those, the ones whose pods were not selected: they keep the rest from nothing, and nothing goes there.
    pub(in crate::plan) left_out: BTreeSet<&'a StorageName>,
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
    /// Looks at all pod storages. `adopt`: take over what others own; `selection`: what is to be planned for.
    pub(in crate::plan) fn look(
        desired: &'a Desired,
        observed: &Observed,
        state: &State,
        adopt: bool,
        selection: &Selection<'_>,
    ) -> Self {
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
                let first = pods.findings.len();
                pods.findings.extend(say::cluster_unknown(cause));
                pods.refused.extend(desired.storages.values().filter(|s| s.pod.is_some()).map(|s| &s.name));
                let all = wanted.storages.iter().all(|(name, wanted)| selection.leaves_out_pod(name, wanted));
                if all {
                    pods.left_out.clone_from(&pods.refused);
                    pods.spare(first);
                }
                return pods;
            }
        };
        let mut active = BTreeSet::new();
        for (name, wanted) in &wanted.storages {
            let Some((name, storage)) = desired.storages.get_key_value(name) else { continue };
            let Some(spec) = storage.pod.as_deref() else { continue };
            let (before, first) = (pods.actions.len(), pods.findings.len());
            let (record, namespace) = (state.storage(name), cluster_name(desired));
            let environment = desired.environment.as_str();
            let one = One { name, storage, spec, wanted, facts, observed, record, namespace, environment, adopt };
            one.look(desired, &mut pods);
            let left_out = selection.leaves_out_pod(name, wanted);
            if pods.actions.len() > before && !left_out {
                active.insert(name);
            }
            // Errors keep an apply from beginning: half of a storage's steps would only mislead.
            if pods.refused.contains(name) {
                pods.actions.truncate(before);
                pods.growth.remove(name);
                if left_out {
                    pods.left_out.insert(name);
                    pods.spare(first);
                } else {
                    pods.point_out(first, name);
                }
            }
        }
        around::look(desired, observed, facts, &active, &mut pods.findings);
        pods
    }

    /// What is wrong with a storage whose pod was not selected is said, and stops nothing.
    fn spare(&mut self, first: usize) {
        for finding in self.findings.iter_mut().skip(first).filter(|finding| finding.level == Level::Error) {
            finding.level = Level::Danger;
        }
    }

    /// Says how the rest goes on without a storage.
    fn point_out(&mut self, first: usize, storage: &StorageName) {
        let errors = self.findings.iter_mut().skip(first).filter(|finding| finding.level == Level::Error);
        // What is told of all storages at once stays one finding.
        for finding in errors.filter(|finding| finding.subject == storage.as_str()) {
            finding.help =
                format!("{} To go on without it, moves off it among the rest: --exclude pod.{storage}", finding.help);
        }
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
        Some(Reading::Known(Counted::All(number))) => Held::All(*number),
        Some(Reading::Known(Counted::Projects(number))) => Held::Projects(*number),
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
    environment: &'b str,
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
    /// The pod that runs restarts.
    rolls: bool,
    /// The pod that runs keeps an old template until somebody deletes it.
    keeps: bool,
}

impl<'a> One<'a, '_> {
    fn live(&self, kind: ObjectKind, name: &str) -> Option<&Value> {
        self.facts.objects.get(&ObjectKey { kind, name: name.to_owned() })
    }

    fn set(&self) -> Option<&Value> {
        self.live(ObjectKind::StatefulSet, self.name.as_str())
    }

    /// The storage's claim, if there is one.
    fn claimed(&self) -> Option<&Value> {
        self.live(ObjectKind::PersistentVolumeClaim, &self.wanted.claim)
    }

    /// The storage's pod, if it is there to stay.
    fn running(&self) -> Option<&Value> {
        let pod = self.live(ObjectKind::Pod, &self.wanted.pod_name)?;
        pod.pointer("/metadata/deletionTimestamp").is_none().then_some(pod)
    }

    fn adopts(&self) -> bool {
        self.adopt || self.storage.adopt
    }

    fn look(&self, desired: &Desired, pods: &mut Pods<'a>) {
        let mut found = Found::default();
        if !self.owner(pods) {
            pods.refused.insert(self.name);
            return;
        }
        for manifest in &self.wanted.manifests {
            self.object(manifest, &mut found, pods);
        }
        self.going(&mut found, pods);
        self.left_over(pods);
        self.volumes(&mut found, pods);
        let replaced = self.pod(&found, pods);
        self.trial(&mut found, pods);
        self.nowhere(&mut found, pods);
        if found.broken {
            pods.refused.insert(self.name);
            return;
        }
        self.waits(&found, replaced, desired, pods);
        if found.rolls {
            self.restart(pods);
        }
    }

    /// Waits for the pod, and for GitLab to list the storage.
    fn waits(&self, found: &Found, replaced: bool, desired: &Desired, pods: &mut Pods<'a>) {
        let server = self.observed.storages.get(self.name).and_then(|facts| facts.server.known());
        let id = self.record.and_then(|record| record.filesystem_id.clone());
        if let Some(server) = server {
            pods.findings.extend(id.as_deref().and_then(|id| say::other_disk(self.name, id, server)));
        }
        let made = found.set == Some(ChangeClass::Create);
        let anew = found.rolls || replaced || (made && self.running().is_none());
        let starts = anew || made || found.recreated;
        let unsettled = self.unsettled();
        if starts || unsettled || id.is_none() {
            if server.is_none() {
                // A disk that nobody recorded is not known to be empty.
                if id.is_none() && (self.is_recorded() || self.claimed().is_none()) {
                    let version = image_version(&self.spec.image);
                    pods.coming.insert(self.name, Coming { size: self.wanted.size, version });
                } else {
                    pods.mending.insert(self.name);
                }
            }
            let why = self.running().and_then(restart::hindrance);
            let reason = match (starts, unsettled) {
                (true, _) if anew => "its pod starts anew".to_owned(),
                (true, _) => "its StatefulSet is made anew, and takes over its pod".to_owned(),
                (false, true) => why.map_or_else(
                    || "its pod is not ready, or has not taken the last change yet".to_owned(),
                    |why| format!("its pod is not ready ({why})"),
                ),
                (false, false) => "tranship has not seen it ready yet".to_owned(),
            };
            let change = Change::AwaitReady {
                storage: self.name.clone(),
                version: image_version(&self.spec.image).filter(|_| !found.keeps),
                filesystem_id: id,
                deadline_seconds: self.spec.ready_timeout_seconds,
            };
            pods.actions.push(self.action(Address::new("ready", self.name.as_str()), change, &reason));
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
            Verdict::Apply(Applied { class, changes, force, taken, waits }) => {
                pods.drift.extend(self.drift(&manifest, class, &changes));
                if force {
                    pods.findings.push(say::taken_over(&manifest.key, &taken));
                }
                pods.findings.extend(self.set().and_then(|_| say::reach(self.name, &manifest.key, class, &changes)));
                let class = if is_set { self.class(class, &changes, waits, found, pods) } else { class };
                let reason = match class {
                    ChangeClass::Create => "it does not exist yet",
                    ChangeClass::InPlace if changes.is_empty() => "it is adopted as it is",
                    ChangeClass::InPlace => "it differs from the configuration; nothing restarts",
                    ChangeClass::RollsPod if live.is_none() => {
                        "it is gone, and the pod that it left has another template"
                    }
                    ChangeClass::RollsPod if !found.template => "it differs, and its pod has an older template than it",
                    ChangeClass::RollsPod => "its pod's template differs from the configuration",
                };
                let (uid, resource_version) = (live.and_then(uid), live.and_then(version));
                let change = Change::ApplyObject { storage, manifest, class, uid, resource_version, changes, force };
                pods.actions.push(self.action(address, change, reason));
            }
            Verdict::Recreate(Recreated { changes, fixed, force, taken, waits }) => {
                if force {
                    pods.findings.push(say::taken_over(&manifest.key, &taken));
                }
                if let Some(refusal) = self.other_volume(&changes) {
                    pods.findings.push(refusal);
                    found.broken = true;
                    return;
                }
                found.recreated = true;
                found.template = touches_template(&changes);
                found.rolls = !waits && (found.template || self.is_outdated());
                found.keeps = waits && (found.template || self.is_outdated());
                let restarts = found.rolls;
                pods.findings.extend(say::recreated(self.name, &changes, &fixed, restarts, found.keeps));
                let uid = live.and_then(uid).unwrap_or_default();
                let change = Change::RecreateStatefulSet { storage, manifest, uid, changes, restarts };
                let reason = match (restarts, found.keeps) {
                    (true, _) => {
                        "fields differ that can only be set when it is made; its volume stays, its pod restarts"
                    }
                    (_, true) => {
                        "fields differ that can only be set when it is made; its volume stays, its pod keeps its old template"
                    }
                    _ => "fields differ that can only be set when it is made; its pod and volume stay",
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

    /// Objects that tranship applied and that the configuration does not ask for any more.
    fn left_over(&self, pods: &mut Pods<'a>) {
        let wanted: BTreeSet<String> = self.wanted.manifests.iter().map(|manifest| manifest.key.to_string()).collect();
        let recorded = self.record.into_iter().flat_map(|record| record.objects.keys());
        let live: BTreeSet<String> = self.facts.objects.keys().map(ToString::to_string).collect();
        let left = recorded.filter(|key| !wanted.contains(*key) && live.contains(*key));
        pods.findings.extend(left.map(|key| say::left_over(self.name, key)));
    }

    /// A StatefulSet that somebody deletes.
    fn going(&self, found: &mut Found, pods: &mut Pods<'a>) {
        if self.set().is_some_and(|set| set.pointer("/metadata/deletionTimestamp").is_some()) {
            pods.findings.push(say::set_going(self.name));
            found.broken = true;
        }
    }
}
