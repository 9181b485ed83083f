//! The engine's port onto the objects, without HTTP: what the real adapter makes of the same answers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::kind_of;
use super::status::Refused;
use super::store::{Store, VERSION};
use super::values::{items, text};
use super::verbs::{Deletion, Done, Options, Patch, Place};
use crate::apply::port::{Apply, Delete};
use crate::model::cluster::{
    Answer, FIELD_MANAGER, FieldConflict, Manifest, NodeFacts, ObjectKey, ObjectKind, QuotaFacts, Refusal,
    StorageClassFacts, Surroundings, VolumeFacts, Why,
};
use crate::model::quantity::Size;
use crate::model::{Bytes, Reading};

/// One namespace of a cluster, at some time.
pub struct Direct<'a> {
    /// The cluster.
    pub store: &'a mut Store,
    /// The namespace.
    pub namespace: &'a str,
    /// The fleet's time.
    pub now: Timestamp,
}

impl Direct<'_> {
    /// Like `v1.34.4`.
    pub fn version() -> String {
        VERSION.to_owned()
    }

    fn place<'a>(&'a self, kind: ObjectKind, name: &'a str) -> Option<Place<'a>> {
        Some(Place { kind: kind_of(kind.as_str())?, namespace: self.namespace, name })
    }

    /// All objects of a kind.
    pub fn list(&self, kind: ObjectKind) -> Vec<Value> {
        self.store.all(kind.as_str(), Some(self.namespace)).cloned().collect()
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Value> {
        self.store.named(key.kind.as_str(), self.namespace, &key.name).cloned()
    }

    /// What is not ours and must be there.
    pub fn surroundings(&self, secrets: &BTreeSet<String>) -> Surroundings {
        let keys = |name: &String| {
            let secret = self.store.named("Secret", self.namespace, name);
            let keys = secret.map(|s| {
                s.get("data").and_then(Value::as_object).into_iter().flat_map(|d| d.keys().cloned()).collect()
            });
            (name.clone(), Reading::Known(keys))
        };
        let named = |object: &Value| text(object, "/metadata/name").to_owned();
        let classes = self.store.all("StorageClass", None).map(|c| (named(c), StorageClassFacts::of(c)));
        let nodes = self.store.all("Node", None).map(NodeFacts::of);
        Surroundings {
            secrets: secrets.iter().map(keys).collect(),
            storage_classes: Reading::Known(classes.collect::<BTreeMap<_, _>>()),
            priority_classes: Reading::Known(self.store.all("PriorityClass", None).map(named).collect()),
            nodes: Reading::Known(nodes.collect()),
            volumes: Reading::Known(
                self.store.all("PersistentVolume", None).map(|one| (named(one), VolumeFacts::of(one))).collect(),
            ),
            quotas: Reading::Known(self.store.all("ResourceQuota", Some(self.namespace)).map(QuotaFacts::of).collect()),
        }
    }

    /// Server-side apply as the field manager `tranship`.
    pub fn apply(&mut self, manifest: &Manifest, how: Apply) -> Answer {
        let ObjectKey { kind, name } = &manifest.key;
        let options =
            Options { manager: FIELD_MANAGER.to_owned(), force: how.force, dry_run: how.dry_run, strict: true };
        let Some(kind) = kind_of(kind.as_str()) else { return answer(Err(Refused::no_resource())) };
        let place = Place { kind, namespace: self.namespace, name };
        answer(self.store.apply(place, &manifest.body, &options, self.now))
    }

    /// Dry-run creation of a Pod.
    pub fn try_pod(&mut self, pod: &Manifest) -> Answer {
        let options = Options { manager: FIELD_MANAGER.to_owned(), dry_run: true, ..Options::default() };
        self.on(ObjectKind::Pod, "", |store, place, now| store.create(place, pod.body.clone(), &options, now))
    }

    /// Sets a claim's size.
    pub fn grow(&mut self, claim: &str, size: Bytes, dry_run: bool) -> Answer {
        let options = Options { manager: FIELD_MANAGER.to_owned(), dry_run, ..Options::default() };
        let patch = json!({ "spec": { "resources": { "requests": { "storage": Size(size).to_string() } } } });
        self.on(ObjectKind::PersistentVolumeClaim, claim, |store, place, now| {
            store.patch(place, &patch, Patch::Merge, &options, now)
        })
    }

    /// Deletes an object.
    pub fn delete(&mut self, key: &ObjectKey, how: &Delete) -> Answer {
        let Delete { orphan, uid, resource_version, dry_run } = how.clone();
        let how = Deletion { orphan, uid, resource_version, dry_run, ..Deletion::default() };
        self.on(key.kind, &key.name, |store, place, now| store.delete(place, &how, now))
    }

    /// Evicts a pod.
    pub fn evict(&mut self, pod: &str, uid: Option<&str>, dry_run: bool) -> Answer {
        let how = Deletion { dry_run, uid: uid.map(ToOwned::to_owned), ..Deletion::default() };
        self.on(ObjectKind::Pod, pod, |store, place, now| store.evict(place, &how, now))
    }

    fn on(&mut self, kind: ObjectKind, name: &str, f: impl FnOnce(&mut Store, Place<'_>, Timestamp) -> Done) -> Answer {
        let Some(kind) = kind_of(kind.as_str()) else { return answer(Err(Refused::no_resource())) };
        answer(f(self.store, Place { kind, namespace: self.namespace, name }, self.now))
    }

    /// The newest events of an object, oldest first.
    pub fn events(&self, key: &ObjectKey) -> Vec<String> {
        let of = |event: &&Value| {
            text(event, "/involvedObject/kind") == key.kind.as_str() && text(event, "/involvedObject/name") == key.name
        };
        let mut all: Vec<&Value> = self.store.all("Event", Some(self.namespace)).filter(of).collect();
        all.sort_by_key(|event| (text(event, "/lastTimestamp"), text(event, "/metadata/name")));
        let skip = all.len().saturating_sub(20);
        all.iter().skip(skip).map(|e| format!("{}: {}", text(e, "/reason"), text(e, "/message"))).collect()
    }

    /// What the server says to a write without the right to it.
    pub fn refused(&self, verb: &str, key: &ObjectKey) -> Answer {
        use super::rights::{Act, User};
        let Some(place) = self.place(key.kind, &key.name) else { return answer(Err(Refused::no_resource())) };
        let Place { kind, namespace, name } = place;
        let act = Act { verb, group: kind.group, resource: kind.plural, namespace, name };
        answer(Err(Refused::unauthorised(kind, &User::Administrator, act)))
    }
}

fn answer(done: Done) -> Answer {
    match done {
        Ok((_, object)) => Answer::Accepted(object),
        Err(refused) => Answer::Refused(refusal(&refused)),
    }
}

/// A refusal as the engine knows it.
fn refusal(refused: &Refused) -> Refusal {
    let causes = items(&refused.details, "/causes");
    let why = match (refused.code, refused.reason) {
        (409, "AlreadyExists") => Why::Exists,
        (409, _) => Why::Conflict,
        // An apply that names another uid than the live object's.
        (422, _) if causes.iter().any(|c| text(c, "/field") == "metadata.uid") => Why::Conflict,
        (422 | 500, _) => Why::Invalid,
        (403, _) => Why::Forbidden,
        (404, _) => Why::NotFound,
        (429, _) => Why::Budget,
        _ => Why::Other,
    };
    let conflicts = causes.iter().filter(|c| text(c, "/reason") == "FieldManagerConflict").map(|c| FieldConflict {
        manager: text(c, "/message").split('"').nth(1).unwrap_or("somebody").to_owned(),
        field: text(c, "/field").to_owned(),
    });
    let conflicts: BTreeSet<FieldConflict> = conflicts.collect();
    let told: Vec<&str> = causes.iter().map(|c| text(c, "/message")).collect();
    let message = match why {
        Why::Budget if !told.is_empty() => format!("{} {}", refused.message, told.join(" ")),
        _ => refused.message.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Refusal { why, message, conflicts: conflicts.into_iter().collect() }
}
