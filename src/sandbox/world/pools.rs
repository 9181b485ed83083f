//! Object pools, and what GitLab does in the background: it deletes a pool some time after its last member left, and
//! takes out of a moved member what the pool has already.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Change, Job, Pool, World};
use crate::model::StorageName;

/// After its last member left, a pool stays on a storage for so long.
const POOL_STAYS: SignedDuration = SignedDuration::from_mins(5);
/// After a move, a member holds the pool's objects itself for so long.
const HOUSEKEEPING: SignedDuration = SignedDuration::from_mins(10);

/// Something that GitLab does later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// From 1.
    pub id: u64,
    /// When.
    pub due: Timestamp,
    /// What.
    pub chore: Chore,
}

/// What GitLab does later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chore {
    /// Delete a pool if nobody has joined it meanwhile.
    DeletePool {
        /// Its id.
        pool: u64,
        /// Where.
        storage: StorageName,
    },
    /// Take out of a project's repository what its pool has.
    Tidy {
        /// The project's id.
        project: u64,
    },
}

impl World {
    /// A pool on a storage.
    pub fn pool(&self, id: u64, storage: &StorageName) -> Option<&Pool> {
        self.pools.get(&(id, storage.clone()))
    }

    /// All pools, those of one id together.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    /// How many projects on a storage are members of a pool.
    pub fn members(&self, pool: u64, storage: &StorageName) -> u64 {
        self.members.get(&(pool, storage.clone())).copied().unwrap_or(0)
    }

    /// Puts a pool as it is now, new or not.
    pub fn put_pool(&mut self, pool: Pool) {
        self.note(Change::Pool(pool));
    }

    /// Bytes that a member's copy brings of its pool.
    pub(super) fn pool_bytes(&self, pool: Option<u64>, storage: &StorageName) -> u64 {
        pool.and_then(|id| self.pool(id, storage)).map_or(0, |p| p.size)
    }

    fn later(&mut self, chore: Chore, due: Timestamp) {
        let id = self.errands.last_key_value().map_or(1, |(id, _)| id + 1);
        self.note(Change::Errand(Errand { id, due, chore }));
    }

    /// A member has left a storage.
    pub(super) fn left(&mut self, pool: u64, storage: &StorageName, now: Timestamp) {
        if self.members(pool, storage) > 0 || self.pool(pool, storage).is_none() || self.strikes("pool_stays") {
            return;
        }
        let due = now.checked_add(POOL_STAYS).unwrap_or(now);
        self.later(Chore::DeletePool { pool, storage: storage.clone() }, due);
    }

    /// A member has arrived, with the pool's objects in its own repository.
    pub(super) fn arrived(&mut self, project: u64, now: Timestamp) {
        let due = now.checked_add(HOUSEKEEPING).unwrap_or(now);
        self.later(Chore::Tidy { project }, due);
    }

    /// When the next errand is due.
    pub(super) fn next_errand(&self) -> Option<Timestamp> {
        let waiting = self.errands.values().filter(|e| !self.errands_at_work.contains(&e.id));
        waiting.map(|e| e.due).min()
    }

    /// Hands out the errands that are due.
    pub(super) fn errands(&mut self, now: Timestamp) -> Vec<Job> {
        let waiting = self.errands.values().filter(|e| e.due <= now && !self.errands_at_work.contains(&e.id));
        let mut jobs = Vec::new();
        for Errand { id: errand, chore, .. } in waiting.cloned().collect::<Vec<_>>() {
            let job = match chore {
                Chore::DeletePool { pool, storage } if self.members(pool, &storage) == 0 => {
                    Job::Discard { errand, storage, path: Pool::path_of(pool) }
                }
                Chore::Tidy { project } => match self.project(project).filter(|p| p.pool.is_some()) {
                    // Housekeeping leaves alone what moves.
                    Some(p) if p.read_only => {
                        let due = now.checked_add(HOUSEKEEPING).unwrap_or(now);
                        self.note(Change::Errand(Errand { id: errand, due, chore: Chore::Tidy { project } }));
                        continue;
                    }
                    Some(p) => Job::Tidy { errand, storage: p.storage.clone(), path: format!("{}.git", p.disk_path()) },
                    None => {
                        self.note(Change::ErrandDone(errand));
                        continue;
                    }
                },
                Chore::DeletePool { .. } => {
                    self.note(Change::ErrandDone(errand));
                    continue;
                }
            };
            self.errands_at_work.insert(errand);
            jobs.push(job);
        }
        jobs
    }

    /// Takes an errand's result. What failed is not tried again: it was in nobody's way.
    pub(super) fn run(&mut self, errand: u64, at: &StorageName, well: bool) {
        self.errands_at_work.remove(&errand);
        let Some(done) = self.errands.get(&errand).cloned() else { return };
        match done.chore {
            Chore::DeletePool { pool, storage } if well => self.note(Change::PoolGone(pool, storage)),
            Chore::Tidy { project } if well => {
                if let Some(p) = self.projects.get(project).filter(|p| p.storage == *at).cloned() {
                    self.put_project(super::Project { inlined: 0, ..p });
                }
            }
            Chore::DeletePool { .. } | Chore::Tidy { .. } => {}
        }
        self.note(Change::ErrandDone(errand));
    }
}
