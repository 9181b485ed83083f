//! GitLab's side of the fleet as a pure state machine: projects, weights, moves and their workers. Time is handed in;
//! copying and deleting are jobs that a driver carries out and reports back.

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

/// A worker's fixed share of a move: queue, RPCs, checksums.
const BASE: SignedDuration = SignedDuration::from_secs(3);
/// A single copy's rate, bytes a second.
const RATE: u64 = 50_000_000;
/// How long the deletion of the source's copy takes.
const CLEANUP: SignedDuration = SignedDuration::from_secs(1);
/// How long GitLab waits for pushes in progress.
const PUSH_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// How long a courteous world keeps a repository frozen for somebody to read it.
const COURTESY: SignedDuration = SignedDuration::from_secs(60);

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

    // ---- moves ----

    /// What `POST /projects/:id/repository_storage_moves` does: checks, freezes, queues.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn schedule(&mut self, project: u64, destination: &str, now: Timestamp) -> Result<&Move, ScheduleError> {
        let frozen = self.projects.get(&project).ok_or(ScheduleError::NotFound)?.clone();
        let refused = self.strikes("refuse_move");
        let mut errors = Vec::new();
        let to = self.known.iter().find(|k| k.as_str() == destination).cloned();
        if destination.is_empty() {
            errors.push(("destination_storage_name", "can't be blank"));
        }
        if to.is_none() {
            errors.push(("destination_storage_name", "is not included in the list"));
        }
        if !self.known.contains(&frozen.storage) {
            errors.push(("source_storage_name", "is not included in the list"));
        }
        if frozen.read_only || refused {
            errors.push(("project", "is read-only"));
        }
        let (true, Some(to)) = (errors.is_empty(), to) else { return Err(ScheduleError::Invalid(errors)) };

        let mut strikes = Vec::new();
        for kind in ["fail_move", "push_timeout", "cleanup_failed", "fast_move"] {
            if self.strikes(kind) {
                strikes.push(kind.to_owned());
            }
        }
        // An empty repository has nothing to lose: such a move is no occasion for these.
        for kind in ["corrupt_copy", "lose_reference", "push_after_move"] {
            if !frozen.empty && self.strikes(kind) {
                strikes.push(kind.to_owned());
            }
        }
        let id = self.moves.last_key_value().map_or(1, |(id, _)| id + 1);
        let same_disk = self.filesystem_ids.get(&frozen.storage) == self.filesystem_ids.get(&to);
        if self.courteous && !strikes.iter().any(|s| s == "fast_move") {
            self.unread.insert(project);
        }
        let made = Move {
            id,
            project,
            source: frozen.storage.clone(),
            destination: to,
            state: MoveState::Scheduled,
            created_at: now,
            error: None,
            strikes,
            started_at: None,
            due: None,
            copied: false,
            same_disk,
            failure: None,
        };
        self.put_project(Project { read_only: true, ..frozen });
        self.put_move(made);
        self.moves.get(&id).ok_or(ScheduleError::NotFound)
    }

    /// Tells a courteous world that a repository's references were read on a storage.
    pub fn was_read(&mut self, storage: &StorageName, path: &str) {
        let read = self.unread.iter().find(|id| {
            self.projects.get(id).is_some_and(|p| {
                p.storage == *storage
                    && relative_path(Container { kind: ContainerKind::Project, id: p.id }, RepositoryRole::Main) == path
            })
        });
        if let Some(id) = read.copied() {
            self.unread.remove(&id);
        }
    }

    fn due_of(&self, m: &Move) -> Option<Timestamp> {
        let due = m.due?;
        let held = m.state == MoveState::Started && self.unread.contains(&m.project) && m.failure.is_none();
        Some(if held { due.max(m.created_at + COURTESY) } else { due })
    }

    /// When the next step becomes due by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.live.iter().filter(|id| !self.at_work.contains(id)).filter_map(|id| self.moves.get(id));
        waiting.filter(|m| m.copied).filter_map(|m| self.due_of(m)).min()
    }

    /// Moves everything on that is due, and hands out what must now be done.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Job> {
        for id in self.live.iter().copied().collect::<Vec<_>>() {
            let Some(m) = self.moves.get(&id) else { continue };
            if m.state == MoveState::Started && m.copied && self.due_of(m).is_some_and(|due| due <= now) {
                self.switch(m.clone(), now);
            }
        }
        let at = |state: MoveState| {
            self.live.iter().filter_map(|id| self.moves.get(id)).filter(move |m| m.state == state).cloned()
        };
        let working = at(MoveState::Started).count() + at(MoveState::Replicated).count();
        let free = (self.spec.workers as usize).saturating_sub(working);
        let mut begin: Vec<Move> = at(MoveState::Scheduled).take(free).collect();
        // A fast move does not wait for a worker either.
        begin.extend(at(MoveState::Scheduled).skip(free).filter(|m| m.struck_by("fast_move")));
        for m in begin {
            self.start(m, now);
        }
        let mut jobs = Vec::new();
        for id in &self.live {
            let Some((m, p)) = self.moves.get(id).and_then(|m| Some((m, self.projects.get(&m.project)?))) else {
                continue;
            };
            let (source, paths) = (m.source.clone(), p.repositories());
            if self.at_work.contains(id) {
            } else if m.state == MoveState::Started && !m.copied {
                let tamper = [
                    ("corrupt_copy", Tamper::LoseObjects),
                    ("lose_reference", Tamper::LoseReference),
                    ("push_after_move", Tamper::Push),
                ];
                let tamper = tamper.into_iter().find(|(kind, _)| m.struck_by(kind)).map(|(_, t)| t);
                jobs.push(Job::Copy { id: *id, source, destination: m.destination.clone(), paths, tamper });
            } else if m.state == MoveState::Replicated && m.due.is_some_and(|due| due <= now) {
                jobs.push(Job::Remove { id: *id, source, paths });
            }
        }
        self.at_work.extend(jobs.iter().map(Job::id));
        jobs
    }

    fn start(&mut self, mut m: Move, now: Timestamp) {
        m.state = MoveState::Started;
        m.started_at = Some(now);
        m.due = Some(now + SignedDuration::from_secs(1));
        let bytes = self.projects.get(&m.project).map_or(0, Project::bytes);
        if m.struck_by("push_timeout") {
            m.failure = Some("Timeout waiting for project repository pushes".to_owned());
            m.due = Some(now + PUSH_WAIT);
        } else if m.struck_by("fail_move") {
            m.failure = Some(format!(
                "Failed to verify project repository checksum from {:040x} to {:040x}",
                draw::Draw::new(self.spec.seed, m.id).next(),
                draw::Draw::new(self.spec.seed, m.id + 1).next(),
            ));
            m.due = Some(now + BASE);
        } else if !m.same_disk && self.disk(&m.destination).is_some_and(|(_, free)| free < bytes) {
            m.failure = Some("13:fetch: exit status 128: No space left on device.".to_owned());
            m.due = Some(now + BASE);
        }
        // Without work to do, the copy counts as made.
        m.copied = m.same_disk || m.failure.is_some() || !self.projects.contains_key(&m.project);
        if !self.projects.contains_key(&m.project) {
            m.failure = Some("Couldn't find Project".to_owned());
        }
        self.put_move(m);
    }

    /// The copy is due: the storage is switched and the flag cleared, or the move fails.
    fn switch(&mut self, mut m: Move, now: Timestamp) {
        self.unread.remove(&m.project);
        if let Some(message) = m.failure.clone() {
            return self.fail(m, message);
        }
        let Some(project) = self.projects.get(&m.project).cloned() else {
            return self.fail(m, "Couldn't find Project".to_owned());
        };
        self.put_project(Project { storage: m.destination.clone(), read_only: false, ..project });
        if m.same_disk {
            m.state = MoveState::Finished;
        } else {
            m.state = MoveState::Replicated;
            m.due = Some(if m.struck_by("fast_move") { now } else { now + CLEANUP });
        }
        self.put_move(m);
    }

    fn fail(&mut self, mut m: Move, message: String) {
        self.unread.remove(&m.project);
        if let Some(project) = self.projects.get(&m.project).cloned() {
            self.put_project(Project { read_only: false, ..project });
        }
        m.state = MoveState::Failed;
        m.error = Some(message.chars().take(256).collect());
        self.put_move(m);
    }

    /// Takes a job's result.
    pub fn complete(&mut self, job: &Job, result: Result<(), String>, now: Timestamp) {
        self.at_work.remove(&job.id());
        let Some(mut m) = self.moves.get(&job.id()).cloned() else { return };
        match (job, result) {
            (Job::Copy { .. }, Err(message)) => self.fail(m, message),
            (Job::Copy { .. }, Ok(())) => {
                let bytes = self.projects.get(&m.project).map_or(0, Project::bytes);
                let millis = i64::try_from(bytes / (RATE / 1000)).unwrap_or(i64::MAX / 4);
                let takes = (BASE + SignedDuration::from_millis(millis)).max(self.floor);
                m.copied = true;
                m.due = Some(match m.started_at {
                    Some(started) if !m.struck_by("fast_move") => started.checked_add(takes).unwrap_or(now),
                    _ => now,
                });
                self.put_move(m);
            }
            (Job::Remove { .. }, result) => {
                if m.struck_by("cleanup_failed") {
                    m.error = Some("Failed to remove the repository of the source".to_owned());
                } else {
                    m.error = result.err();
                }
                m.state = if m.error.is_some() { MoveState::CleanupFailed } else { MoveState::Finished };
                self.put_move(m);
            }
        }
    }

    /// True when a removal must not really be carried out.
    pub fn spares(&self, job: &Job) -> bool {
        matches!(job, Job::Remove { id, .. } if self.moves.get(id).is_some_and(|m| m.struck_by("cleanup_failed")))
    }

    /// True for a move that a fault has over before its POST is answered.
    pub fn is_fast(&self, id: u64) -> bool {
        self.moves.get(&id).is_some_and(|m| m.struck_by("fast_move") && !m.state.is_terminal())
    }
}

/// Carries out a job on content.
///
/// # Errors
/// GitLab's message for a move that failed.
pub fn carry_out(content: &dyn super::content::Content, job: &Job, spare: bool) -> Result<(), String> {
    use super::content::{ContentError, checksum};
    match job {
        Job::Copy { source, destination, paths, tamper, .. } if source != destination => {
            for path in paths {
                let copy = || -> Result<(String, String), ContentError> {
                    content.replicate(source, destination, path)?;
                    let sum = |storage| Ok(checksum(&content.references(storage, path)?));
                    Ok((sum(source)?, sum(destination)?))
                };
                match copy() {
                    // A project without a repository moves without a copy.
                    Err(ContentError::NotFound) => {}
                    Err(e) => return Err(format!("13:{e}.")),
                    Ok((ours, theirs)) if ours == theirs => {}
                    Ok((ours, theirs)) => {
                        return Err(format!("Failed to verify project repository checksum from {ours} to {theirs}"));
                    }
                }
            }
            let (Some(tamper), Some(path)) = (tamper, paths.first()) else { return Ok(()) };
            let done = match tamper {
                Tamper::LoseObjects => content.lose(destination, path, true).map(drop),
                Tamper::LoseReference => content.lose(destination, path, false).map(drop),
                Tamper::Push => content.push(destination, path, None, "Pushed as soon as it could be").map(drop),
            };
            done.map_err(|e| format!("13:{e}."))
        }
        Job::Copy { .. } => Ok(()),
        Job::Remove { .. } if spare => Ok(()),
        Job::Remove { source, paths, .. } => {
            for path in paths {
                match content.remove(source, path) {
                    Ok(()) | Err(ContentError::NotFound) => {}
                    Err(e) => return Err(format!("13:{e}.")),
                }
            }
            Ok(())
        }
    }
}
