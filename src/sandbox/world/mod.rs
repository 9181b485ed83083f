//! GitLab's side of the fleet as a pure state machine: containers, weights, moves and their workers. Time is handed in;
//! copying and deleting are jobs that a driver carries out and reports back.

mod container;
mod edition;
mod faults;
mod job;
mod limits;
mod metrics;
mod moves;
mod pods;
mod pools;
mod record;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::draw;
use super::kubernetes::{PodFacts, Store};
use crate::model::{Container, ContainerKind, SandboxConnection, SandboxStorage, StorageName};
use container::Shelf;
pub use container::{Group, Housed, Pool, Presence, Project, Snippet};
pub use edition::{Ability, Release};
pub use job::{Job, carry_out};
pub use limits::{Admission, Quota, Refusal};
pub use metrics::Spoiled;
pub use moves::{Move, Odd, ScheduleError};
pub use pods::PodStorage;
pub use pools::{Chore, Errand};
pub use record::{Change, Outages};

/// GitLab's word for a family of moves.
pub fn family(kind: ContainerKind) -> &'static str {
    match kind {
        ContainerKind::Project => "project",
        ContainerKind::Snippet => "snippet",
        ContainerKind::GroupWiki => "group",
    }
}

/// The world.
#[derive(Debug, Clone)]
pub struct World {
    /// What it was made from.
    pub spec: SandboxConnection,
    /// The fleet's time when it was made.
    pub epoch: Timestamp,
    /// Per storage, as its Gitaly says.
    pub filesystem_ids: BTreeMap<StorageName, String>,
    /// Storages that GitLab's configuration names.
    pub known: BTreeSet<StorageName>,
    /// A copy takes at least this long (the real time that frozen repositories stay readable, in the fleet's).
    pub floor: SignedDuration,
    /// Keep a repository frozen until its main repository's references were read, or a minute passed.
    pub courteous: bool,
    /// Copies to this storage have another checksum than their source, always the same.
    pub sick: Option<StorageName>,
    /// Containers of which every move goes wrong in a way of its own.
    pub odd: BTreeMap<Container, Odd>,
    /// What its version and edition make of it.
    pub release: Release,
    /// Prometheus labels of storages' servers, as the configuration that asks declares them; not written down.
    labels: BTreeMap<StorageName, BTreeMap<String, String>>,
    /// The embedded cluster.
    store: Store,
    pods: BTreeMap<StorageName, PodStorage>,
    mounting: BTreeSet<StorageName>,
    relayed: Option<BTreeMap<StorageName, PodFacts>>,
    weights: BTreeMap<String, u64>,
    projects: Shelf<Project>,
    snippets: Shelf<Snippet>,
    groups: Shelf<Group>,
    forks: BTreeMap<u64, u64>,
    pools: BTreeMap<(u64, StorageName), Pool>,
    members: BTreeMap<(u64, StorageName), u64>,
    /// By the order in which they were queued.
    moves: BTreeMap<u64, Move>,
    families: BTreeMap<(ContainerKind, u64), u64>,
    moves_of: BTreeMap<Container, Vec<u64>>,
    live: BTreeSet<u64>,
    at_work: BTreeSet<u64>,
    errands: BTreeMap<u64, Errand>,
    errands_at_work: BTreeSet<u64>,
    /// What a courteous world keeps frozen until its main repository, at this path, was read.
    unread: BTreeMap<Container, String>,
    occasions: BTreeMap<String, u32>,
    outages: Outages,
    tally: limits::Tally,
    /// How often a storage was drawn.
    drawn: Cell<u64>,
    changes: Vec<Change>,
}

impl World {
    /// Makes a world without containers.
    pub fn new(spec: SandboxConnection, epoch: Timestamp) -> Self {
        let mut weights = BTreeMap::new();
        for (index, storage) in spec.storages.iter().enumerate() {
            let weight = storage.weight.map_or(if index == 0 { 100 } else { 0 }, |w| u64::from(w.get()));
            weights.insert(storage.name.to_string(), weight);
        }
        let ids = spec.storages.iter().map(|s| (s.name.clone(), draw::uuid(spec.seed, s.name.as_str()))).collect();
        Self {
            epoch,
            filesystem_ids: ids,
            known: spec.storages.iter().map(|s| s.name.clone()).collect(),
            floor: SignedDuration::ZERO,
            courteous: false,
            sick: None,
            odd: BTreeMap::new(),
            release: Release::new(&spec.gitlab_version),
            labels: BTreeMap::new(),
            store: Store::new(spec.seed, epoch),
            pods: BTreeMap::new(),
            mounting: BTreeSet::new(),
            relayed: None,
            weights,
            projects: Shelf::default(),
            snippets: Shelf::default(),
            groups: Shelf::default(),
            forks: BTreeMap::new(),
            pools: BTreeMap::new(),
            members: BTreeMap::new(),
            moves: BTreeMap::new(),
            families: BTreeMap::new(),
            moves_of: BTreeMap::new(),
            live: BTreeSet::new(),
            at_work: BTreeSet::new(),
            errands: BTreeMap::new(),
            errands_at_work: BTreeSet::new(),
            unread: BTreeMap::new(),
            occasions: BTreeMap::new(),
            outages: Outages::default(),
            tally: limits::Tally::default(),
            drawn: Cell::new(0),
            changes: Vec::new(),
            spec,
        }
    }

    /// Adds a storage, empty; of weight 0 unless it says otherwise.
    pub fn add_storage(&mut self, storage: SandboxStorage) {
        self.filesystem_ids.insert(storage.name.clone(), draw::uuid(self.spec.seed, storage.name.as_str()));
        self.known.insert(storage.name.clone());
        if let Some(weight) = storage.weight {
            self.weights.insert(storage.name.to_string(), u64::from(weight.get()));
            self.changes.push(Change::Weights(self.weights.clone()));
        }
        self.spec.storages.push(storage);
    }

    // ---- containers ----

    /// Puts a project as it is now, new or not.
    pub fn put_project(&mut self, project: Project) {
        self.note(Change::Project(project));
    }

    /// Puts a snippet as it is now, new or not.
    pub fn put_snippet(&mut self, snippet: Snippet) {
        self.note(Change::Snippet(snippet));
    }

    /// Puts a group as it is now, new or not.
    pub fn put_group(&mut self, group: Group) {
        self.note(Change::Group(group));
    }

    /// Deletes a container at `now`; its repositories are the caller's business.
    pub fn delete(&mut self, container: Container, now: Timestamp) -> Option<Housed> {
        let gone = self.housed(container)?;
        self.note(Change::Gone(container));
        if let (Some(pool), Some(storage)) = (gone.pool, &gone.storage) {
            self.left(pool, storage, now);
        }
        Some(gone)
    }

    /// What a move needs to know of a container; `None` when it is gone.
    pub fn housed(&self, container: Container) -> Option<Housed> {
        let main = || vec![crate::model::relative_path(container, crate::model::RepositoryRole::Main)];
        Some(match container.kind {
            ContainerKind::Project => {
                let p = self.projects.get(container.id)?;
                Housed {
                    storage: Some(p.storage.clone()),
                    read_only: p.read_only,
                    empty: p.empty,
                    bytes: p.bytes().saturating_add(p.inlined),
                    paths: p.repositories(),
                    pool: p.pool,
                }
            }
            ContainerKind::Snippet => {
                let s = self.snippets.get(container.id)?;
                let empty = s.storage.is_none();
                let (storage, read_only) = (s.storage.clone(), s.read_only);
                Housed { storage, read_only, empty, bytes: s.size, paths: main(), pool: None }
            }
            ContainerKind::GroupWiki => {
                let g = self.groups.get(container.id)?;
                let empty = g.storage.is_none();
                let (storage, read_only) = (g.storage.clone(), g.read_only);
                Housed { storage, read_only, empty, bytes: g.size, paths: main(), pool: None }
            }
        })
    }

    /// Says where a container is now, and whether it is frozen.
    fn rehouse(&mut self, container: Container, storage: StorageName, read_only: bool) {
        match container.kind {
            ContainerKind::Project => {
                if let Some(p) = self.projects.get(container.id).cloned() {
                    self.put_project(Project { storage, read_only, ..p });
                }
            }
            ContainerKind::Snippet => {
                if let Some(s) = self.snippets.get(container.id).cloned() {
                    self.put_snippet(Snippet { storage: Some(storage), read_only, ..s });
                }
            }
            ContainerKind::GroupWiki => {
                if let Some(g) = self.groups.get(container.id).cloned() {
                    self.put_group(Group { storage: Some(storage), read_only, ..g });
                }
            }
        }
    }

    /// Freezes a container, or makes it writable.
    /// Makes a container read-only, or writable.
    pub fn set_read_only(&mut self, container: Container, read_only: bool) {
        if let Some(storage) = self.housed(container).and_then(|h| h.storage) {
            self.rehouse(container, storage, read_only);
        }
    }

    /// A project.
    pub fn project(&self, id: u64) -> Option<&Project> {
        self.projects.get(id)
    }

    /// A project by its full path.
    pub fn project_by_path(&self, path: &str) -> Option<&Project> {
        self.projects.all().find(|p| p.path == path)
    }

    /// Projects by ascending id after `after`; only those of one storage, if given.
    pub fn projects_after<'a>(
        &'a self,
        storage: Option<&StorageName>,
        after: u64,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a Project> + 'a> {
        self.projects.after(storage, after)
    }

    /// The greatest project id ever given out plus one.
    pub fn next_project_id(&self) -> u64 {
        self.projects.next_id()
    }

    /// How many projects were forked from that one.
    pub fn forks_of(&self, project: u64) -> u64 {
        self.forks.get(&project).copied().unwrap_or(0)
    }

    /// A snippet.
    pub fn snippet(&self, id: u64) -> Option<&Snippet> {
        self.snippets.get(id)
    }

    /// Snippets by ascending id; only those whose record names one storage, if given.
    pub fn snippets<'a>(
        &'a self,
        storage: Option<&StorageName>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a Snippet> + 'a> {
        self.snippets.after(storage, 0)
    }

    /// A group.
    pub fn group(&self, id: u64) -> Option<&Group> {
        self.groups.get(id)
    }

    /// A group by its full path.
    pub fn group_by_path(&self, path: &str) -> Option<&Group> {
        self.groups.all().find(|g| g.path == path)
    }

    /// Groups by ascending id; only those whose wiki's record names one storage, if given.
    pub fn groups<'a>(&'a self, storage: Option<&StorageName>) -> Box<dyn DoubleEndedIterator<Item = &'a Group> + 'a> {
        self.groups.after(storage, 0)
    }

    /// The containers of a kind whose record names a storage, by ascending id.
    pub fn on_storage(&self, kind: ContainerKind, storage: &StorageName) -> Vec<Container> {
        let container = |id| Container { kind, id };
        match kind {
            ContainerKind::Project => self.projects.after(Some(storage), 0).map(|p| container(p.id)).collect(),
            ContainerKind::Snippet => self.snippets.after(Some(storage), 0).map(|s| container(s.id)).collect(),
            ContainerKind::GroupWiki => self.groups.after(Some(storage), 0).map(|g| container(g.id)).collect(),
        }
    }

    // ---- weights ----

    /// Weights as GET gives them: exactly the storages that GitLab knows, a missing one as 0; from old versions the
    /// column as it is.
    pub fn weights(&self) -> BTreeMap<String, u64> {
        if self.release.can(Ability::NormalisedWeights) {
            self.shares().into_iter().map(|(name, weight)| (name.to_string(), weight)).collect()
        } else {
            self.weights.clone()
        }
    }

    /// The weight of each storage that GitLab knows.
    pub(super) fn shares(&self) -> BTreeMap<StorageName, u64> {
        self.known.iter().map(|n| (n.clone(), self.weights.get(n.as_str()).copied().unwrap_or(0))).collect()
    }

    /// The storage that GitLab draws when none is named, in proportion to the weights; another each time.
    pub fn draw_storage(&self) -> Option<StorageName> {
        let times = self.drawn.get();
        self.drawn.set(times + 1);
        let shares = self.shares();
        let mut place = draw::Draw::new(self.spec.seed, 7_000_000 + times).below(shares.values().sum());
        for (name, weight) in &shares {
            if place < *weight {
                return Some(name.clone());
            }
            place -= weight;
        }
        shares.into_keys().next()
    }

    /// Replaces the whole map of weights.
    ///
    /// # Errors
    /// GitLab's messages for the attribute `repository_storages_weighted`.
    pub fn put_weights(&mut self, weights: &BTreeMap<String, i64>) -> Result<(), Vec<String>> {
        let unknown: Vec<&str> =
            weights.keys().map(String::as_str).filter(|n| !self.known.iter().any(|k| k.as_str() == *n)).collect();
        let mut errors = Vec::new();
        if !unknown.is_empty() {
            errors.push(format!("can't include: {}", unknown.join(", ")));
        }
        let mut column = BTreeMap::new();
        for (name, weight) in weights {
            match u64::try_from(*weight) {
                Ok(w) if w <= 100 => drop(column.insert(name.clone(), w)),
                _ => errors.push(format!("value for '{name}' must be between 0 and 100")),
            }
        }
        if errors.is_empty() {
            self.note(Change::Weights(column));
            Ok(())
        } else {
            Err(errors)
        }
    }

    // ---- disks ----

    /// Bytes used and free on a storage's disk, or `None` for a storage that does not exist.
    pub fn disk(&self, storage: &StorageName, now: Timestamp) -> Option<(u64, u64)> {
        let disk = self.disk_size(storage)?;
        let mut used = self.projects.used(storage) + self.snippets.used(storage) + self.groups.used(storage);
        used = self.pools.values().filter(|p| p.storage == *storage).fold(used, |sum, p| sum.saturating_add(p.size));
        used = used.saturating_add(self.in_flight(storage, now));
        if self.outages.disks.get(storage).is_some_and(|until| now < *until) {
            used = used.max(faults::filled(disk));
        }
        Some((used, disk.saturating_sub(used)))
    }
}
