//! GitLab's side of the fleet as a pure state machine: projects, weights, moves and their workers. Time is handed in;
//! copying and deleting are jobs that a driver carries out and reports back.

mod moves;

pub use moves::carry_out;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::content::Tamper;
use super::draw;
use super::synthetic::SyntheticRepository;
use crate::model::{
    Container, ContainerKind, MoveState, RepositoryRole, SandboxConnection, SandboxStorage, StorageName, relative_path,
};

/// A project as GitLab's database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// GitLab's id.
    pub id: u64,
    /// Full path.
    pub path: String,
    /// Archived.
    pub archived: bool,
    /// Column `repository_storage`.
    pub storage: StorageName,
    /// The flag that a move sets; not in the API.
    pub read_only: bool,
    /// Without a commit.
    pub empty: bool,
    /// Has a wiki repository.
    pub wiki: bool,
    /// Has a design repository.
    pub design: bool,
    /// Bytes.
    pub repository_size: u64,
    /// Bytes.
    pub wiki_size: u64,
    /// The project it was forked from.
    pub fork_parent: Option<u64>,
    /// By the fleet's clock.
    pub created: Timestamp,
    /// By the fleet's clock.
    pub last_activity: Timestamp,
}

impl Project {
    /// The relative paths of its repositories.
    pub fn repositories(&self) -> Vec<String> {
        let container = Container { kind: ContainerKind::Project, id: self.id };
        let mut paths = vec![relative_path(container, RepositoryRole::Main)];
        if self.wiki {
            paths.push(relative_path(container, RepositoryRole::Wiki));
        }
        if self.design {
            paths.push(relative_path(container, RepositoryRole::Design));
        }
        paths
    }

    /// Bytes that a move copies.
    pub fn bytes(&self) -> u64 {
        self.repository_size.saturating_add(self.wiki_size)
    }
}

/// A repository storage move as GitLab's database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// From 1.
    pub id: u64,
    /// The project's id.
    pub project: u64,
    /// From.
    pub source: StorageName,
    /// To.
    pub destination: StorageName,
    /// Where it stands.
    pub state: MoveState,
    /// By the fleet's clock.
    pub created_at: Timestamp,
    /// Why it failed.
    pub error: Option<String>,
    /// Faults that strike it.
    pub strikes: Vec<String>,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// When its present step may end.
    pub due: Option<Timestamp>,
    /// The copy is made and compared (or will not be made).
    pub copied: bool,
    /// Both storages have one filesystem id: nothing is copied or deleted.
    pub same_disk: bool,
    /// With what it will fail when due.
    pub failure: Option<String>,
}

impl Move {
    fn struck_by(&self, kind: &str) -> bool {
        self.strikes.iter().any(|s| s == kind)
    }
}

/// Work for a driver; reported back with [`World::complete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Replicate each path, compare checksums, then tamper with the first one.
    Copy {
        /// For this move.
        id: u64,
        /// From.
        source: StorageName,
        /// To.
        destination: StorageName,
        /// The project's repositories, the main one first.
        paths: Vec<String>,
        /// A fault's work.
        tamper: Option<Tamper>,
    },
    /// Remove the source's copies.
    Remove {
        /// For this move.
        id: u64,
        /// From where.
        source: StorageName,
        /// What.
        paths: Vec<String>,
    },
}

impl Job {
    /// The move's id.
    pub fn id(&self) -> u64 {
        match self {
            Self::Copy { id, .. } | Self::Remove { id, .. } => *id,
        }
    }
}

/// Something that must be written down. Replayed in order onto a snapshot, changes give the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A project as it is now.
    Project(Project),
    /// A project that is gone.
    ProjectGone(u64),
    /// A move as it is now.
    Move(Move),
    /// Weights, as the column has them.
    Weights(BTreeMap<String, u64>),
    /// How often each fault's occasion arose.
    Occasions(BTreeMap<String, u32>),
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

/// Why a move was not scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleError {
    /// No such project.
    NotFound,
    /// What is wrong with which field.
    Invalid(Vec<(&'static str, &'static str)>),
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
    weights: BTreeMap<String, u64>,
    projects: BTreeMap<u64, Project>,
    by_storage: BTreeMap<StorageName, BTreeSet<u64>>,
    used: BTreeMap<StorageName, u64>,
    moves: BTreeMap<u64, Move>,
    moves_of: BTreeMap<u64, Vec<u64>>,
    live: BTreeSet<u64>,
    at_work: BTreeSet<u64>,
    unread: BTreeSet<u64>,
    occasions: BTreeMap<String, u32>,
    changes: Vec<Change>,
}

impl World {
    /// Makes a world without projects.
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
            weights,
            projects: BTreeMap::new(),
            by_storage: BTreeMap::new(),
            used: BTreeMap::new(),
            moves: BTreeMap::new(),
            moves_of: BTreeMap::new(),
            live: BTreeSet::new(),
            at_work: BTreeSet::new(),
            unread: BTreeSet::new(),
            occasions: BTreeMap::new(),
            changes: Vec::new(),
            spec,
        }
    }

    // ---- what is written down ----

    /// Takes the changes since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The whole world as changes onto [`World::new`] of the same spec.
    pub fn as_changes(&self) -> Vec<Change> {
        let mut all: Vec<Change> = self.projects.values().cloned().map(Change::Project).collect();
        all.extend(self.moves.values().cloned().map(Change::Move));
        all.push(Change::Weights(self.weights.clone()));
        all.push(Change::Occasions(self.occasions.clone()));
        all
    }

    /// Takes up a change that was written down.
    pub fn replay(&mut self, change: Change) {
        match change {
            Change::Project(project) => self.place(project),
            Change::ProjectGone(id) => drop(self.unplace(id)),
            Change::Move(m) => self.file(m),
            Change::Weights(weights) => self.weights = weights,
            Change::Occasions(occasions) => self.occasions = occasions,
            Change::Synthetic { .. } => {}
        }
    }

    fn place(&mut self, project: Project) {
        self.unplace(project.id);
        self.by_storage.entry(project.storage.clone()).or_default().insert(project.id);
        *self.used.entry(project.storage.clone()).or_default() += project.bytes();
        self.projects.insert(project.id, project);
    }

    fn unplace(&mut self, id: u64) -> Option<Project> {
        let old = self.projects.remove(&id)?;
        if let Some(here) = self.by_storage.get_mut(&old.storage) {
            here.remove(&id);
        }
        if let Some(used) = self.used.get_mut(&old.storage) {
            *used = used.saturating_sub(old.bytes());
        }
        Some(old)
    }

    fn file(&mut self, m: Move) {
        if m.state.is_terminal() {
            self.live.remove(&m.id);
        } else {
            self.live.insert(m.id);
        }
        let ids = self.moves_of.entry(m.project).or_default();
        if ids.last().is_none_or(|last| *last < m.id) {
            ids.push(m.id);
        }
        self.moves.insert(m.id, m);
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

    /// Puts a project as it is now, new or not.
    pub fn put_project(&mut self, project: Project) {
        self.changes.push(Change::Project(project.clone()));
        self.place(project);
    }

    /// Deletes a project; its repositories are the caller's business.
    pub fn delete_project(&mut self, id: u64) -> Option<Project> {
        let gone = self.unplace(id)?;
        self.changes.push(Change::ProjectGone(id));
        Some(gone)
    }

    fn put_move(&mut self, m: Move) {
        self.changes.push(Change::Move(m.clone()));
        self.file(m);
    }

    // ---- questions ----

    /// A project.
    pub fn project(&self, id: u64) -> Option<&Project> {
        self.projects.get(&id)
    }

    /// A project by its full path.
    pub fn project_by_path(&self, path: &str) -> Option<&Project> {
        self.projects.values().find(|p| p.path == path)
    }

    /// Projects by ascending id after `after`; only those of one storage, if given.
    pub fn projects_after<'a>(
        &'a self,
        storage: Option<&StorageName>,
        after: u64,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a Project> + 'a> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        match storage {
            None => Box::new(self.projects.range(range).map(|(_, p)| p)),
            Some(storage) => match self.by_storage.get(storage) {
                None => Box::new(std::iter::empty()),
                Some(ids) => Box::new(ids.range(range).filter_map(|id| self.projects.get(id))),
            },
        }
    }

    /// The greatest project id ever given out plus one.
    pub fn next_project_id(&self) -> u64 {
        self.projects.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// A move.
    pub fn find_move(&self, id: u64) -> Option<&Move> {
        self.moves.get(&id)
    }

    /// All moves, newest first.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.values().rev()
    }

    /// How many moves there are.
    pub fn move_count(&self) -> usize {
        self.moves.len()
    }

    /// The moves of one project, newest first.
    pub fn moves_of(&self, project: u64) -> impl Iterator<Item = &Move> {
        self.moves_of.get(&project).into_iter().flatten().rev().filter_map(|id| self.moves.get(id))
    }

    /// True while a move has not ended.
    pub fn busy(&self) -> bool {
        !self.live.is_empty()
    }

    /// Weights as GET gives them: exactly the storages that GitLab knows, a missing one as 0.
    pub fn weights(&self) -> BTreeMap<StorageName, u64> {
        self.known.iter().map(|n| (n.clone(), self.weights.get(n.as_str()).copied().unwrap_or(0))).collect()
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
            self.changes.push(Change::Weights(column.clone()));
            self.weights = column;
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Bytes used and free on a storage's disk, or `None` for a storage that does not exist.
    pub fn disk(&self, storage: &StorageName) -> Option<(u64, u64)> {
        let disk = self.spec.storages.iter().find(|s| s.name == *storage)?.disk.0;
        let mut used = self.used.get(storage).copied().unwrap_or(0);
        for id in &self.live {
            // What a copy has brought, or a deletion has not yet taken.
            if let Some((m, p)) = self.moves.get(id).and_then(|m| Some((m, self.projects.get(&m.project)?))) {
                let here = (m.copied && m.state == MoveState::Started && m.destination == *storage)
                    || (m.state == MoveState::Replicated && m.source == *storage);
                if here && !m.same_disk && m.failure.is_none() {
                    used = used.saturating_add(p.bytes());
                }
            }
        }
        Some((used, disk.saturating_sub(used)))
    }

    /// Counts an occasion of a fault; true when it strikes.
    pub fn strikes(&mut self, kind: &str) -> bool {
        if !self.spec.faults.iter().any(|f| f.kind == kind) {
            return false;
        }
        let seen = self.occasions.entry(kind.to_owned()).or_default();
        *seen = seen.saturating_add(1);
        let now = *seen;
        self.changes.push(Change::Occasions(self.occasions.clone()));
        self.spec.faults.iter().any(|f| f.kind == kind && now >= f.nth && now - f.nth < f.count)
    }
}
