//! Storages whose Gitaly runs in a pod: they come up when their pod is ready, on the disk of its claim, and are away
//! while it is away. The pods are the embedded cluster's, or, as somebody tells, a real one's.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::draw;
use super::super::kubernetes::{PodFacts, Store, Surroundings};
use super::{Change, Job, World};
use crate::model::StorageName;

/// A storage in a pod, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStorage {
    /// Bytes of its disk.
    pub disk: u64,
    /// The disk's file system, as Gitaly on it says.
    pub filesystem_id: String,
    /// What its Gitaly says it is; `None`: what the others say.
    pub version: Option<String>,
    /// It answers.
    pub up: bool,
    /// When it answered first.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

impl World {
    /// True for a storage that is there, whether or not it answers.
    pub fn has_storage(&self, storage: &StorageName) -> bool {
        self.pods.contains_key(storage) || self.spec.storages.iter().any(|s| s.name == *storage)
    }

    /// All storages, those of the `sandbox` block first.
    pub fn storages(&self) -> Vec<StorageName> {
        self.spec.storages.iter().map(|s| &s.name).chain(self.pods.keys()).cloned().collect()
    }

    /// A storage's disk, bytes.
    pub(super) fn disk_size(&self, storage: &StorageName) -> Option<u64> {
        let declared = self.spec.storages.iter().find(|s| s.name == *storage).map(|s| s.disk.0);
        declared.or_else(|| self.pods.get(storage).map(|p| p.disk))
    }

    /// A storage's Gitaly's version.
    pub fn gitaly_version(&self, storage: &StorageName) -> String {
        let own = self.pods.get(storage).and_then(|p| p.version.clone());
        own.unwrap_or_else(|| self.spec.gitaly_version.clone())
    }

    /// True while a storage's pod is away, or for one that nobody has made yet.
    pub(super) fn pod_is_away(&self, storage: &StorageName) -> bool {
        match self.pods.get(storage) {
            Some(pod) => !pod.up,
            None => !self.has_storage(storage),
        }
    }

    /// GitLab's configuration comes to name a storage. False when there is none of that name.
    pub fn learn(&mut self, storage: &StorageName) -> bool {
        if !self.has_storage(storage) {
            return false;
        }
        if !self.known.contains(storage) {
            let known = self.known.iter().cloned().chain([storage.clone()]).collect();
            self.note(Change::Known(known));
        }
        true
    }

    /// The pods are those of another cluster, as somebody tells.
    pub fn relay(&mut self, pods: BTreeMap<StorageName, PodFacts>) {
        self.relayed = Some(pods);
    }

    /// Uses the embedded cluster. What changed there has its effect at the next tick.
    pub fn cluster<T>(&mut self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.store)
    }

    /// When a pod's next step is due.
    pub(super) fn next_pod_step(&self) -> Option<Timestamp> {
        self.store.next_due(self.pod_start())
    }

    fn pod_start(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.spec.pods.start_seconds))
    }

    /// Has the controllers work, and takes up what pods there are now. Disks that are new are mounted by the driver.
    pub(super) fn tick_pods(&mut self, now: Timestamp) -> Vec<Job> {
        let due = self.next_pod_step().is_some_and(|due| due <= now);
        if self.store.is_stale() || due {
            let (mut store, pod_start) = (std::mem::take(&mut self.store), self.pod_start());
            let mut strikes = |kind: &str| self.strikes(kind);
            store.tick(&mut Surroundings { now, pod_start, strikes: &mut strikes });
            self.store = store;
        } else if self.relayed.is_none() {
            return Vec::new();
        }
        let wanted = self.relayed.clone().unwrap_or_else(|| self.store.pods_of_storages());
        let away: Vec<StorageName> = self.pods.keys().filter(|name| !wanted.contains_key(name)).cloned().collect();
        for name in away {
            self.put_pod(&name, |pod| pod.up = false);
        }
        let mut jobs = Vec::new();
        for (name, PodFacts { disk, identity, version, ready }) in wanted {
            if self.spec.storages.iter().any(|s| s.name == name) {
                // A VM has that name: GitLab's entry for it is that server's.
                continue;
            }
            let filesystem_id = if self.relayed.is_some() { draw::uuid(self.spec.seed, &identity) } else { identity };
            let mounted = self.pods.get(&name).is_some_and(|pod| pod.filesystem_id == filesystem_id);
            if !ready {
                self.put_pod(&name, |pod| pod.up = false);
            } else if mounted {
                self.put_pod(&name, |pod| {
                    let since = pod.since.or(Some(now));
                    *pod = PodStorage { disk, version, up: true, since, ..pod.clone() };
                });
                if self.spec.pods.gitlab_learns {
                    self.learn(&name);
                }
            } else if self.mounting.insert(name.clone()) {
                jobs.push(Job::Mount { storage: name, filesystem_id, disk });
            }
        }
        jobs
    }

    fn put_pod(&mut self, name: &StorageName, f: impl FnOnce(&mut PodStorage)) {
        let Some(before) = self.pods.get(name) else { return };
        let mut pod = before.clone();
        f(&mut pod);
        if pod != *before {
            self.note(Change::Pod(name.clone(), pod));
        }
    }

    /// Takes a mount's end: the storage answers once the next look finds its pod still ready.
    pub(super) fn mounted(&mut self, storage: &StorageName, filesystem_id: &str, disk: u64, well: bool) {
        self.mounting.remove(storage);
        if well {
            let pod = PodStorage {
                disk,
                filesystem_id: filesystem_id.to_owned(),
                version: None,
                up: false,
                since: self.pods.get(storage).and_then(|pod| pod.since),
            };
            self.note(Change::Pod(storage.clone(), pod));
        }
        // Looked at again, whether or not anything changed.
        self.store.touch();
    }

    /// Storages in pods, with their file systems' ids.
    pub fn pod_disks(&self) -> impl Iterator<Item = (&StorageName, &str)> {
        self.pods.iter().map(|(name, pod)| (name, pod.filesystem_id.as_str()))
    }
}
