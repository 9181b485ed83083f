//! A cluster in memory, for what a real one cannot be made to do: to lose the caller between any two calls, to fail at a
//! chosen one. As much of Kubernetes as the engine's actions can tell apart; the control plane judges the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tranship::apply::port::{Apply, Cluster, Delete, PortError, PortErrorKind, PortResult};
use tranship::model::cluster::{Answer, FIELD_MANAGER, Manifest, ObjectKey, ObjectKind, Refusal, Surroundings, Why};
use tranship::model::quantity::Size;
use tranship::model::{Bytes, Reading};
use tranship::plan::pods;

/// When a fault strikes the call it was ordered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// The caller dies; the call never arrives.
    DieBefore,
    /// The caller dies; the call is carried out.
    DieAfter,
    /// The call is not carried out, and the server is away.
    Away,
    /// The call is carried out, and its answer is lost.
    LostAnswer,
}

#[derive(Default)]
struct World {
    objects: BTreeMap<ObjectKey, Value>,
    /// How often an object of that name was made: part of its uid.
    made: BTreeMap<ObjectKey, u32>,
    version: u64,
    calls: u64,
    strike: Option<(u64, Strike)>,
    dead: bool,
    /// Looks at a pod until it is ready.
    patience: BTreeMap<String, u32>,
}

/// The cluster.
#[derive(Default)]
pub(crate) struct MemoryCluster {
    world: Mutex<World>,
    died: Notify,
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn refused(why: Why, message: &str) -> Answer {
    Answer::Refused(Refusal { why, message: message.to_owned(), conflicts: Vec::new() })
}

fn uid(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

impl World {
    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
    }

    fn create(&mut self, key: &ObjectKey, mut object: Value) -> Value {
        let made = self.made.entry(key.clone()).or_default();
        *made += 1;
        object["metadata"]["uid"] = format!("{key}#{made}").into();
        object["metadata"]["generation"] = 1.into();
        self.stamp(&mut object);
        self.objects.insert(key.clone(), object.clone());
        object
    }

    fn apply(&mut self, manifest: &Manifest, dry_run: bool) -> Answer {
        let key = &manifest.key;
        let live = self.objects.get(key).cloned();
        let sent = manifest.body["metadata"]["uid"].as_str();
        if sent.is_some() && sent != live.as_ref().and_then(uid) {
            return refused(Why::Conflict, "Precondition failed: UID in precondition");
        }
        let mut then = live.clone().unwrap_or_else(|| json!({}));
        merge(&mut then, &manifest.body);
        then["metadata"]["managedFields"] = json!([{ "manager": FIELD_MANAGER, "operation": "Apply" }]);
        if let (Some(live), ObjectKind::StatefulSet) = (&live, key.kind) {
            for field in ["serviceName", "volumeClaimTemplates"] {
                if live["spec"][field] != then["spec"][field] {
                    let words =
                        "updates to statefulset spec for fields other than 'replicas', 'template' … are forbidden";
                    return refused(Why::Invalid, words);
                }
            }
        }
        match live {
            _ if dry_run => {}
            None => then = self.create(key, then),
            Some(live) if live == then => {}
            Some(_) => {
                then["metadata"]["generation"] = (then["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
                self.stamp(&mut then);
                self.objects.insert(key.clone(), then.clone());
            }
        }
        Answer::Accepted(then)
    }

    /// What controllers and kubelets make of the objects.
    fn settle(&mut self) {
        let sets: Vec<Value> = self
            .objects
            .iter()
            .filter(|(key, _)| key.kind == ObjectKind::StatefulSet)
            .map(|(_, o)| o.clone())
            .collect();
        for mut set in sets {
            let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let claim = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: pods::claim_name(&name) };
            let pod = ObjectKey { kind: ObjectKind::Pod, name: pods::pod_name(&name) };
            if !self.objects.contains_key(&claim) {
                let template = &set["spec"]["volumeClaimTemplates"][0];
                let capacity = template["spec"]["resources"]["requests"].clone();
                let body = json!({
                    "metadata": { "name": claim.name, "labels": set["metadata"]["labels"] },
                    "spec": template["spec"], "status": { "phase": "Bound", "capacity": capacity },
                });
                self.create(&claim, body);
            }
            let revision = hex::encode(Sha256::digest(set["spec"]["template"].to_string()));
            let of = |pod: &Value| pod["metadata"]["labels"]["controller-revision-hash"] == revision.as_str();
            if self.objects.get(&pod).is_some_and(|pod| !of(pod)) {
                self.objects.remove(&pod);
            }
            if !self.objects.contains_key(&pod) {
                let mut body = set["spec"]["template"].clone();
                body["metadata"]["name"] = pod.name.clone().into();
                body["metadata"]["labels"]["controller-revision-hash"] = revision.clone().into();
                body["status"] = json!({ "phase": "Pending" });
                self.create(&pod, body);
                self.patience.insert(pod.name.clone(), 2);
            }
            let status = json!({ "observedGeneration": set["metadata"]["generation"], "updateRevision": revision });
            if set["status"] != status {
                set["status"] = status;
                self.stamp(&mut set);
                self.objects.insert(ObjectKey { kind: ObjectKind::StatefulSet, name }, set);
            }
        }
    }

    /// A kubelet comes along.
    fn looked_at(&mut self, pod: &str) {
        let Some(left) = self.patience.get_mut(pod) else { return };
        *left = left.saturating_sub(1);
        let key = ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() };
        if *left > 0 {
            return;
        }
        self.patience.remove(pod);
        if let Some(mut object) = self.objects.get(&key).cloned() {
            object["status"] = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
            self.stamp(&mut object);
            self.objects.insert(key, object);
        }
    }
}

impl MemoryCluster {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("unpoisoned")
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Orders a fault for the `call`th call, from 1.
    pub(crate) fn strike(&self, call: u64, strike: Strike) {
        self.world().strike = Some((call, strike));
    }

    /// Returns once the caller has died.
    pub(crate) async fn died(&self) {
        loop {
            let notified = self.died.notified();
            if self.world().dead {
                return;
            }
            notified.await;
        }
    }

    /// Calls return again.
    pub(crate) fn revive(&self) {
        let mut world = self.world();
        (world.dead, world.strike) = (false, None);
    }

    /// Everything that lasts, without versions and statuses.
    pub(crate) fn fingerprint(&self) -> BTreeMap<String, Value> {
        let bare = |(key, object): (&ObjectKey, &Value)| {
            let mut object = object.clone();
            for field in ["resourceVersion", "generation"] {
                object["metadata"].as_object_mut().map(|metadata| metadata.remove(field));
            }
            let phase = object["status"]["phase"].clone();
            object["status"] = phase;
            (key.to_string(), object)
        };
        self.world().objects.iter().map(bare).collect()
    }

    /// Carries out one call, or what was ordered for it.
    async fn call<T>(&self, what: &str, work: impl FnOnce(&mut World) -> T) -> PortResult<T> {
        let (dies, result) = {
            let mut world = self.world();
            world.calls += 1;
            let at = world.calls;
            let strike = world.strike.filter(|(call, _)| *call == at).map(|(_, strike)| strike);
            let dead = world.dead;
            let carried_out = || {
                let done = work(&mut world);
                world.settle();
                done
            };
            let error = |kind| Err(PortError::new(kind, what, "the server restarts"));
            match strike {
                _ if dead => (true, error(PortErrorKind::Transient)),
                Some(Strike::DieBefore) => (true, error(PortErrorKind::Transient)),
                Some(Strike::DieAfter) => {
                    carried_out();
                    (true, error(PortErrorKind::Transient))
                }
                Some(Strike::Away) => (false, error(PortErrorKind::Transient)),
                Some(Strike::LostAnswer) => {
                    carried_out();
                    (false, error(PortErrorKind::Ambiguous))
                }
                None => (false, Ok(carried_out())),
            }
        };
        if dies {
            self.world().dead = true;
            self.died.notify_waiters();
            std::future::pending::<()>().await;
        }
        result
    }
}

#[async_trait]
impl Cluster for MemoryCluster {
    async fn version(&self) -> PortResult<String> {
        self.call("version", |_| "v1.34.4".to_owned()).await
    }

    async fn list(&self, kind: ObjectKind) -> PortResult<Vec<Value>> {
        self.call("list", |world| {
            world.objects.iter().filter(|(key, _)| key.kind == kind).map(|(_, object)| object.clone()).collect()
        })
        .await
    }

    async fn surroundings(&self, secrets: &BTreeSet<String>) -> PortResult<Surroundings> {
        let keys = || Reading::Known(Some(["token".to_owned(), "secret".to_owned()].into()));
        let secrets = secrets.iter().map(|name| (name.clone(), keys())).collect();
        self.call("surroundings", |_| Surroundings { secrets, ..Surroundings::default() }).await
    }

    async fn get(&self, key: &ObjectKey) -> PortResult<Option<Value>> {
        self.call("get", |world| {
            if key.kind == ObjectKind::Pod {
                world.looked_at(&key.name);
            }
            world.objects.get(key).cloned()
        })
        .await
    }

    async fn apply(&self, manifest: &Manifest, how: Apply) -> PortResult<Answer> {
        self.call("apply", |world| world.apply(manifest, how.dry_run)).await
    }

    async fn try_pod(&self, pod: &Manifest) -> PortResult<Answer> {
        let mut accepted = pod.body.clone();
        accepted["status"] = json!({ "qosClass": "Guaranteed" });
        self.call("try_pod", |_| Answer::Accepted(accepted)).await
    }

    async fn grow(&self, claim: &str, size: Bytes, dry_run: bool) -> PortResult<Answer> {
        self.call("grow", |world| {
            let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim.to_owned() };
            let Some(mut live) = world.objects.get(&key).cloned() else { return refused(Why::NotFound, "not found") };
            let size = json!({ "storage": Size(size).to_string() });
            live["spec"]["resources"]["requests"] = size.clone();
            live["status"]["capacity"] = size;
            if !dry_run {
                world.stamp(&mut live);
                world.objects.insert(key, live.clone());
            }
            Answer::Accepted(live)
        })
        .await
    }

    async fn delete(&self, key: &ObjectKey, how: &Delete) -> PortResult<Answer> {
        assert!(key.kind == ObjectKind::Pod || key.kind == ObjectKind::StatefulSet && how.orphan, "{key} is deleted");
        self.call("delete", |world| {
            let Some(live) = world.objects.get(key).cloned() else { return refused(Why::NotFound, "not found") };
            if how.uid.is_some() && how.uid.as_deref() != uid(&live) {
                return refused(Why::Conflict, "Precondition failed: UID in precondition");
            }
            let version = live["metadata"]["resourceVersion"].as_str();
            if how.resource_version.is_some() && how.resource_version.as_deref() != version {
                return refused(Why::Conflict, "Precondition failed: ResourceVersion in precondition");
            }
            if !how.dry_run {
                world.objects.remove(key);
            }
            Answer::Accepted(live)
        })
        .await
    }

    async fn evict(&self, pod: &str, uid: Option<&str>, dry_run: bool) -> PortResult<Answer> {
        let key = ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() };
        self.delete(&key, &Delete { dry_run, uid: uid.map(ToOwned::to_owned), ..Delete::default() }).await
    }

    async fn events(&self, _: &ObjectKey) -> PortResult<Vec<String>> {
        self.call("events", |_| Vec::new()).await
    }

    async fn may(&self, _: &str, _: ObjectKind) -> PortResult<Option<bool>> {
        Ok(None)
    }
}

/// A cluster for a test.
pub(crate) fn memory_cluster() -> Arc<MemoryCluster> {
    Arc::default()
}
