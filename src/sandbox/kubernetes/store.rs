//! The cluster's objects, and what of them must be written down.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{PodNeeds, draw};
use super::kinds::{Kind, kind_of};
use super::quantity::Quantity;
use super::values::{number, set, text};
use crate::model::StorageName;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    /// As in `kind:`.
    pub(super) kind: String,
    /// Empty for what is in none.
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
}

/// An object as it is now, or gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectChange {
    key: Key,
    object: Option<Value>,
    version: u64,
    serial: u64,
}

/// A pod that is a storage's Gitaly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFacts {
    /// Bytes of its disk.
    pub disk: u64,
    /// What tells its disk from others.
    pub identity: String,
    /// Its image's version, without the `v`.
    pub version: Option<String>,
    /// It is ready, and stays.
    pub ready: bool,
}

/// The label that names a pod's storage.
const STORAGE: &str = "/metadata/labels/tranship~1storage";

/// All objects of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    /// The last resourceVersion given out.
    version: u64,
    /// How many objects were ever named.
    serial: u64,
    seed: u64,
    changes: Vec<ObjectChange>,
    /// What the controllers have not yet looked at.
    pub(super) stale: bool,
}

impl Key {
    /// Of a kind that there is.
    pub(super) fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace } else { "" };
        Self { kind: kind.kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// As the API writes times.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Store {
    /// A cluster with what one has from its first day: namespaces, three nodes in three zones, classes.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut store = Self { seed, ..Self::default() };
        for namespace in ["default", "kube-system", "gitaly"] {
            store.add_namespace(namespace, now);
        }
        for (zone, pool) in [("a", "gitaly"), ("b", "gitaly"), ("c", "gitaly")] {
            let name = format!("node-{zone}");
            let room = json!({ "cpu": "16", "memory": "64Gi", "pods": "110" });
            store.add("Node", "", &name, now, json!({
                "metadata": { "labels": {
                    "cloud.google.com/gke-nodepool": pool,
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/region": "europe-west1",
                    "topology.kubernetes.io/zone": format!("europe-west1-{zone}"),
                } },
                "spec": {},
                "status": {
                    "capacity": room, "allocatable": room,
                    "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status" }],
                    "nodeInfo": { "kubeletVersion": VERSION, "operatingSystem": "linux", "architecture": "amd64" },
                },
            }));
        }
        for (name, expands) in [("premium-rwo", true), ("fixed-rwo", false)] {
            let default = if expands { "true" } else { "false" };
            store.add(
                "StorageClass",
                "",
                name,
                now,
                json!({
                    "metadata": { "annotations": { "storageclass.kubernetes.io/is-default-class": default } },
                    "provisioner": PROVISIONER, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
                    "allowVolumeExpansion": expands,
                }),
            );
        }
        for (name, value) in
            [("gitaly", 1_000_000), ("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
        {
            store.add("PriorityClass", "", name, now, json!({ "value": value }));
        }
        store
    }

    /// Adds what is not there yet.
    pub(super) fn add(&mut self, kind: &str, namespace: &str, name: &str, now: Timestamp, mut object: Value) {
        let Some(kind) = kind_of(kind) else { return };
        let key = Key::new(kind, namespace, name);
        if self.objects.contains_key(&key) {
            return;
        }
        set(&mut object, &["apiVersion"], kind.api_version());
        set(&mut object, &["kind"], kind.kind);
        set(&mut object, &["metadata", "name"], name);
        if kind.namespaced {
            set(&mut object, &["metadata", "namespace"], namespace);
        }
        set(&mut object, &["metadata", "uid"], self.uid(&key));
        set(&mut object, &["metadata", "creationTimestamp"], written(now));
        super::defaults::fill(kind, &mut object);
        self.put(key, object);
    }

    /// Adds a namespace with its ServiceAccount.
    pub(super) fn add_namespace(&mut self, name: &str, now: Timestamp) {
        self.add("Namespace", "", name, now, json!({}));
        self.add("ServiceAccount", name, "default", now, json!({}));
        self.add("ConfigMap", name, "kube-root-ca.crt", now, json!({ "data": {} }));
    }

    /// Adds what the pods of a configuration find: their namespace, and the Secrets that they mount.
    pub fn meet(&mut self, needs: &PodNeeds, now: Timestamp) {
        let PodNeeds { storages: _, namespace, secrets } = needs;
        if namespace.is_empty() {
            return;
        }
        self.add_namespace(namespace, now);
        for (name, keys) in secrets {
            // Of no worth anywhere, but a Secret's values are never empty.
            let data =
                keys.iter().map(|key| (key.clone(), Value::from("c2FuZGJveA=="))).collect::<serde_json::Map<_, _>>();
            self.add("Secret", namespace, name, now, json!({ "data": data }));
        }
    }

    /// A uid that no object had before.
    pub(super) fn uid(&mut self, key: &Key) -> String {
        self.serial += 1;
        draw::uuid(self.seed, &format!("{}/{}/{}/{}", key.kind, key.namespace, key.name, self.serial))
    }

    /// An object.
    pub(super) fn find(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// An object of a kind that the code names.
    pub(super) fn named(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        let key = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        self.objects.get(&key)
    }

    /// All objects of a kind, by namespace and name; of one namespace, if given.
    pub(super) fn all<'a>(&'a self, kind: &'a str, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Value> {
        let first =
            Key { kind: kind.to_owned(), namespace: namespace.unwrap_or_default().to_owned(), name: String::new() };
        let within = move |key: &Key| key.kind == kind && namespace.is_none_or(|n| key.namespace == n);
        self.objects.range(first..).take_while(move |(key, _)| within(key)).map(|(_, object)| object)
    }

    /// Keeps an object as it is now, under the next resourceVersion. What did not change keeps its own.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Value {
        let old = self.objects.get(&key);
        if let Some(old) = old {
            set(&mut object, &["metadata", "resourceVersion"], text(old, "/metadata/resourceVersion"));
            if *old == object {
                return object;
            }
        }
        self.version += 1;
        set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.note(key, Some(object.clone()));
        object
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Value> {
        let gone = self.objects.remove(key)?;
        self.version += 1;
        self.note(key.clone(), None);
        Some(gone)
    }

    fn note(&mut self, key: Key, object: Option<Value>) {
        self.stale = true;
        self.changes.push(ObjectChange { key, object, version: self.version, serial: self.serial });
    }

    /// The last resourceVersion.
    pub(super) fn version(&self) -> String {
        self.version.to_string()
    }

    /// Has the controllers look again.
    pub fn touch(&mut self) {
        self.stale = true;
    }

    /// The pods that are storages' Gitalys, by the storage's name.
    pub fn pods_of_storages(&self) -> BTreeMap<StorageName, PodFacts> {
        let pods = self.all("Pod", None).filter_map(|pod| {
            let name = StorageName::new(text(pod, STORAGE)).ok()?;
            let volume = super::controllers::volumes_of(self, pod).into_iter().next()?;
            let size = Quantity::of(volume.pointer("/spec/capacity/storage"))?;
            let image = text(pod, "/spec/containers/0/image").rsplit_once(":v").map(|(_, tag)| tag);
            let ready = super::controllers::is_ready(pod) && !super::controllers::is_going(pod);
            let identity = super::controllers::disk_of(&volume).to_owned();
            let facts = PodFacts { disk: size.units(), identity, version: image.map(str::to_owned), ready };
            Some((name, facts))
        });
        pods.collect()
    }

    // ---- what is written down ----

    /// Takes the changes since the last call.
    pub fn take_changes(&mut self) -> Vec<ObjectChange> {
        std::mem::take(&mut self.changes)
    }

    /// The whole cluster as changes onto an empty one of the same seed.
    pub fn as_changes(&self) -> impl Iterator<Item = ObjectChange> {
        self.objects.iter().map(|(key, object)| ObjectChange {
            key: key.clone(),
            object: Some(object.clone()),
            version: self.version,
            serial: self.serial,
        })
    }

    /// An empty cluster, to replay changes onto.
    pub fn empty(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Takes up a change that was written down.
    pub fn replay(&mut self, change: ObjectChange) {
        let ObjectChange { key, object, version, serial } = change;
        (self.version, self.serial, self.stale) = (version, serial, true);
        match object {
            Some(object) => drop(self.objects.insert(key, object)),
            None => drop(self.objects.remove(&key)),
        }
    }

    // ---- events ----

    /// Tells something of an object. What was told within the last minute is not told again.
    pub(super) fn tell(&mut self, of: &Value, kind: &str, reason: &str, message: &str, now: Timestamp) {
        let (name, namespace, uid) =
            (text(of, "/metadata/name"), text(of, "/metadata/namespace"), text(of, "/metadata/uid"));
        let namespace = if namespace.is_empty() { "default" } else { namespace }.to_owned();
        let same = |event: &Value| {
            text(event, "/involvedObject/uid") == uid
                && text(event, "/reason") == reason
                && text(event, "/message") == message
        };
        let time = written(now);
        let before = self.all("Event", Some(&namespace)).find(|e| same(e)).cloned();
        if let Some(before) = before {
            let last: Option<Timestamp> = text(&before, "/lastTimestamp").parse().ok();
            if last.is_some_and(|last| now.duration_since(last).as_secs() < 60) {
                return;
            }
            let mut event = before;
            let count = number(&event, "/count") + 1;
            set(&mut event, &["count"], count);
            set(&mut event, &["lastTimestamp"], time);
            let key = Key { kind: "Event".to_owned(), namespace, name: text(&event, "/metadata/name").to_owned() };
            self.put(key, event);
            return;
        }
        let (object, component) = (
            text(of, "/kind").to_owned(),
            match text(of, "/kind") {
                "StatefulSet" => "statefulset-controller",
                "PersistentVolumeClaim" => "persistentvolume-controller",
                _ if reason.ends_with("Scheduling") || reason == "Scheduled" => "default-scheduler",
                _ => "kubelet",
            },
        );
        let event_name = format!("{name}.{:016x}", self.serial);
        let event = json!({
            "involvedObject": {
                "apiVersion": text(of, "/apiVersion"), "kind": object, "name": name, "namespace": namespace,
                "uid": uid, "resourceVersion": text(of, "/metadata/resourceVersion"),
            },
            "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": { "component": component }, "reportingComponent": component, "reportingInstance": "",
        });
        self.add("Event", &namespace, &event_name, now, event);
    }

    /// Forgets events that are an hour old.
    pub(super) fn forget_events(&mut self, now: Timestamp) {
        let old = |event: &Value| {
            let last: Option<Timestamp> = text(event, "/lastTimestamp").parse().ok();
            last.is_none_or(|last| now.duration_since(last).as_hours() >= 1)
        };
        let gone: Vec<Key> =
            self.objects.iter().filter(|(k, e)| k.kind == "Event" && old(e)).map(|(k, _)| k.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }
}

/// What the API server says it is.
pub(super) const VERSION: &str = "v1.34.4";
/// Who makes the volumes.
pub(super) const PROVISIONER: &str = "disk.sandbox.tranship";
