//! What must be written down of a world, so that a killed one comes back as it was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Errand, Group, Move, PodStorage, Pool, Project, Snippet, World};
use crate::model::{Container, ContainerKind, StorageName};
use crate::sandbox::kubernetes::{ObjectChange, Store};
use crate::sandbox::synthetic::SyntheticRepository;

/// What faults keep away, until when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outages {
    /// GitLab's move workers.
    pub workers: Option<Timestamp>,
    /// Storages' Gitalys.
    pub gitaly: BTreeMap<StorageName, Timestamp>,
    /// Every third request to GitLab, until then.
    #[serde(default)]
    pub gitlab: Option<Timestamp>,
    /// Disks that something else fills, until then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<StorageName, Timestamp>,
    /// GitLab has been upgraded.
    #[serde(default)]
    pub upgraded: bool,
    /// Metrics.
    #[serde(default)]
    pub metrics: super::Spoiled,
}

/// Something that must be written down. Replayed in order onto a snapshot, changes give the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A project as it is now.
    Project(Project),
    /// A snippet as it is now.
    Snippet(Snippet),
    /// A group as it is now.
    Group(Group),
    /// A container that is gone.
    Gone(Container),
    /// An object pool as it is now.
    Pool(Pool),
    /// An object pool that is gone.
    PoolGone(u64, StorageName),
    /// A move as it is now.
    Move(Move),
    /// Something that GitLab does later.
    Errand(Errand),
    /// It is done.
    ErrandDone(u64),
    /// Weights, as the column has them.
    Weights(BTreeMap<String, u64>),
    /// How often each fault's occasion arose.
    Occasions(BTreeMap<String, u32>),
    /// What is away.
    Outages(Outages),
    /// The cluster's objects follow, all of them.
    Cluster,
    /// One of the cluster's objects as it is now, or gone.
    Object(Box<ObjectChange>),
    /// A storage in a pod as it is now.
    Pod(StorageName, PodStorage),
    /// The storages that GitLab's configuration names.
    Known(BTreeSet<StorageName>),
    /// A synthetic repository as it is now, or gone.
    Synthetic {
        /// On which storage.
        storage: StorageName,
        /// Where.
        path: String,
        /// What.
        repository: Option<SyntheticRepository>,
    },
}

impl World {
    /// Takes the changes since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.extend(self.store.take_changes().into_iter().map(|change| Change::Object(Box::new(change))));
        std::mem::take(&mut self.changes)
    }

    /// The whole world as changes onto [`World::new`] of the same spec.
    pub fn as_changes(&self) -> Vec<Change> {
        let mut all: Vec<Change> = self.projects.all().cloned().map(Change::Project).collect();
        all.extend(self.snippets.all().cloned().map(Change::Snippet));
        all.extend(self.groups.all().cloned().map(Change::Group));
        all.extend(self.pools.values().cloned().map(Change::Pool));
        all.extend(self.moves.values().cloned().map(Change::Move));
        all.extend(self.errands.values().cloned().map(Change::Errand));
        all.push(Change::Weights(self.weights.clone()));
        all.push(Change::Occasions(self.occasions.clone()));
        all.push(Change::Outages(self.outages.clone()));
        all.push(Change::Cluster);
        all.extend(self.store.as_changes().map(|change| Change::Object(Box::new(change))));
        all.extend(self.pods.iter().map(|(name, pod)| Change::Pod(name.clone(), pod.clone())));
        all.push(Change::Known(self.known.clone()));
        all
    }

    /// Makes a change and has it written down.
    pub(super) fn note(&mut self, change: Change) {
        self.changes.push(change.clone());
        self.replay(change);
    }

    /// Takes up a change that was written down.
    pub fn replay(&mut self, change: Change) {
        match change {
            Change::Project(project) => {
                let new = project.clone();
                let old = self.projects.put(project);
                self.recount(old.as_ref(), Some(&new));
            }
            Change::Snippet(snippet) => drop(self.snippets.put(snippet)),
            Change::Group(group) => drop(self.groups.put(group)),
            Change::Gone(Container { kind, id }) => match kind {
                ContainerKind::Project => {
                    let old = self.projects.take(id);
                    self.recount(old.as_ref(), None);
                }
                ContainerKind::Snippet => drop(self.snippets.take(id)),
                ContainerKind::GroupWiki => drop(self.groups.take(id)),
            },
            Change::Pool(pool) => drop(self.pools.insert((pool.id, pool.storage.clone()), pool)),
            Change::PoolGone(id, storage) => drop(self.pools.remove(&(id, storage))),
            Change::Move(m) => self.file(m),
            Change::Errand(errand) => drop(self.errands.insert(errand.id, errand)),
            Change::ErrandDone(id) => drop(self.errands.remove(&id)),
            Change::Weights(weights) => self.weights = weights,
            Change::Occasions(occasions) => self.occasions = occasions,
            Change::Outages(outages) => self.outages = outages,
            Change::Cluster => self.store = Store::empty(self.spec.seed),
            Change::Object(change) => self.store.replay(*change),
            Change::Pod(name, pod) => {
                self.filesystem_ids.insert(name.clone(), pod.filesystem_id.clone());
                self.pods.insert(name, pod);
            }
            Change::Known(known) => self.known = known,
            Change::Synthetic { .. } => {}
        }
    }

    /// Keeps the counts of forks and of pools' members in step with a project.
    fn recount(&mut self, old: Option<&Project>, new: Option<&Project>) {
        let seat = |p: &Project| p.pool.map(|pool| (pool, p.storage.clone()));
        if let Some(parent) = old.and_then(|p| p.fork_parent) {
            lower(&mut self.forks, &parent);
        }
        if let Some(seat) = old.and_then(seat) {
            lower(&mut self.members, &seat);
        }
        if let Some(parent) = new.and_then(|p| p.fork_parent) {
            *self.forks.entry(parent).or_default() += 1;
        }
        if let Some(seat) = new.and_then(seat) {
            *self.members.entry(seat).or_default() += 1;
        }
    }

    fn file(&mut self, m: Move) {
        if m.state.is_terminal() {
            self.live.remove(&m.queued);
        } else {
            self.live.insert(m.queued);
        }
        self.families.insert((m.container.kind, m.id), m.queued);
        let of = self.moves_of.entry(m.container).or_default();
        if of.last().is_none_or(|last| *last < m.queued) {
            of.push(m.queued);
        }
        self.moves.insert(m.queued, m);
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
