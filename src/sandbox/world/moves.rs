//! A move's life: frozen at the POST, taken by a worker, copied, switched, cleaned up; and what faults make of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::content::Tamper;
use super::super::draw;
use super::{Ability, Change, Housed, Job, Pool, Project, World, family};
use crate::model::{Container, ContainerKind, MoveState, StorageName};

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

/// A repository storage move as GitLab's database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// From 1, within the family.
    pub id: u64,
    /// Its place among the moves of all families, from 1.
    pub queued: u64,
    /// What moves.
    pub container: Container,
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
    pub(super) fn struck_by(&self, kind: &str) -> bool {
        self.strikes.iter().any(|s| s == kind)
    }

    /// Bytes that its copy may have brought so far.
    fn brought(&self, now: Timestamp) -> u64 {
        match self.started_at {
            _ if self.copied => u64::MAX,
            Some(started) if !self.stuck() => {
                let millis = u64::try_from(now.duration_since(started).as_millis()).unwrap_or(0);
                millis.saturating_mul(RATE / 1000)
            }
            _ => 0,
        }
    }

    /// True when GitLab will never go on with it.
    fn stuck(&self) -> bool {
        match self.state {
            MoveState::Initial => true,
            MoveState::Scheduled => self.struck_by("stuck_scheduled"),
            MoveState::Started => self.struck_by("dead_end_b"),
            MoveState::Replicated => self.struck_by("stays_replicated"),
            _ => false,
        }
    }
}

/// How the moves of one container go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Odd {
    /// They fail, with these words of GitLab's.
    Fails(String),
    /// GitLab makes the record and never queues it.
    NeverQueued,
    /// They end on another storage than they were asked for.
    Astray(StorageName),
}

/// Why a move was not scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleError {
    /// No such container, or no such moves in this edition.
    NotFound,
    /// What is wrong with which field.
    Invalid(Vec<(&'static str, &'static str)>),
}

/// The word for what moves in GitLab's messages.
fn word(kind: ContainerKind) -> &'static str {
    match kind {
        ContainerKind::Project => "project",
        ContainerKind::Snippet => "snippet",
        ContainerKind::GroupWiki => "wiki",
    }
}

impl World {
    // ---- questions ----

    /// A move.
    pub fn find_move(&self, kind: ContainerKind, id: u64) -> Option<&Move> {
        self.moves.get(self.families.get(&(kind, id))?)
    }

    /// All moves in the order in which they were made.
    pub fn all_moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.values()
    }

    /// The moves of one family, newest first.
    pub fn moves(&self, kind: ContainerKind) -> impl Iterator<Item = &Move> {
        let of_family = self.families.range((kind, 0)..=(kind, u64::MAX)).rev();
        of_family.filter_map(|(_, queued)| self.moves.get(queued))
    }

    /// How many moves a family has.
    pub fn move_count(&self, kind: ContainerKind) -> u64 {
        // Ids are given out without gaps.
        self.families.range((kind, 0)..=(kind, u64::MAX)).next_back().map_or(0, |((_, id), _)| *id)
    }

    /// The moves of one container, newest first.
    pub fn moves_of(&self, container: Container) -> impl Iterator<Item = &Move> {
        self.moves_of.get(&container).into_iter().flatten().rev().filter_map(|queued| self.moves.get(queued))
    }

    /// True while a move has not ended that will end by itself.
    pub fn busy(&self) -> bool {
        self.live.iter().filter_map(|queued| self.moves.get(queued)).any(|m| !m.stuck())
            || self.next_pod_step().is_some()
    }

    /// True when this GitLab has moves of that kind.
    pub fn moves_kind(&self, kind: ContainerKind) -> bool {
        self.release.can(match kind {
            ContainerKind::Project => Ability::ProjectMoves,
            ContainerKind::Snippet => Ability::SnippetMoves,
            ContainerKind::GroupWiki => Ability::GroupMoves,
        })
    }

    // ---- the POST ----

    /// What `POST /projects/:id/repository_storage_moves` and its like do: check, freeze, queue.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn schedule(
        &mut self,
        container: Container,
        destination: &str,
        now: Timestamp,
    ) -> Result<&Move, ScheduleError> {
        if !self.moves_kind(container.kind) || self.housed(container).is_none() {
            return Err(ScheduleError::NotFound);
        }
        if self.strikes("foreign_move") {
            // Elsewhere, if there is an elsewhere.
            let at = self.housed(container).and_then(|h| h.storage);
            let other = self.known.iter().find(|k| k.as_str() != destination && Some(*k) != at.as_ref());
            let other = other.map_or_else(|| destination.to_owned(), ToString::to_string);
            drop(self.accept(container, &other, now).map(|m| m.id));
        }
        self.accept(container, destination, now)
    }

    /// The same for whoever is not us: no occasion for `foreign_move`.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn accept(&mut self, container: Container, destination: &str, now: Timestamp) -> Result<&Move, ScheduleError> {
        let housed = self.housed(container).ok_or(ScheduleError::NotFound)?;
        let refused = self.strikes("refuse_move");
        let mut errors = Vec::new();
        let to = self.known.iter().find(|k| k.as_str() == destination).cloned();
        if destination.is_empty() {
            errors.push(("destination_storage_name", "can't be blank"));
        }
        if to.is_none() {
            errors.push(("destination_storage_name", "is not included in the list"));
        }
        // Without a repository record, the source is drawn.
        let source = housed.storage.clone().or_else(|| self.draw_storage()).filter(|s| self.known.contains(s));
        if source.is_none() {
            errors.push(("source_storage_name", "is not included in the list"));
        }
        if housed.read_only || refused {
            errors.push((family(container.kind), "is read-only"));
        }
        let (true, Some(to), Some(source)) = (errors.is_empty(), to, source) else {
            return Err(ScheduleError::Invalid(errors));
        };
        let strikes = self.struck(&housed, &to, now);
        let queued = self.moves.last_key_value().map_or(1, |(queued, _)| queued + 1);
        let same_disk = self.filesystem_ids.get(&source) == self.filesystem_ids.get(&to);
        if self.courteous && !strikes.iter().any(|s| s == "fast_move") {
            self.unread.insert(container, housed.paths.first().cloned().unwrap_or_default());
        }
        let is_queued = self.odd.get(&container) != Some(&Odd::NeverQueued);
        self.rehouse(container, source.clone(), is_queued);
        let id = self.move_count(container.kind) + 1;
        self.put_move(Move {
            id,
            queued,
            container,
            source,
            destination: to,
            state: if is_queued { MoveState::Scheduled } else { MoveState::Initial },
            created_at: now,
            error: None,
            strikes,
            started_at: None,
            due: None,
            copied: false,
            same_disk,
            failure: None,
        });
        self.moves.get(&queued).ok_or(ScheduleError::NotFound)
    }

    pub(super) fn put_move(&mut self, m: Move) {
        self.note(Change::Move(m));
    }

    // ---- the clock ----

    /// Tells a courteous world that a repository's references were read on a storage.
    pub fn was_read(&mut self, storage: &StorageName, path: &str) {
        let read = self.unread.iter().find(|(_, main)| *main == path).map(|(container, _)| *container);
        if let Some(container) = read
            && self.housed(container).is_some_and(|h| h.storage.as_ref() == Some(storage))
        {
            self.unread.remove(&container);
        }
    }

    fn due_of(&self, m: &Move) -> Option<Timestamp> {
        let due = m.due?;
        let held = m.state == MoveState::Started && self.unread.contains_key(&m.container) && m.failure.is_none();
        Some(if held { due.max(m.created_at.checked_add(COURTESY).unwrap_or(due)) } else { due })
    }

    /// When the next step becomes due by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.live.iter().filter(|queued| !self.at_work.contains(queued));
        let waiting = waiting.filter_map(|queued| self.moves.get(queued));
        let step = waiting.clone().filter(|m| m.copied && !m.stuck()).filter_map(|m| self.due_of(m)).min();
        let queue = waiting.filter(|m| m.state == MoveState::Scheduled && !m.stuck()).count();
        let workers = self.outages.workers.filter(|_| queue > 0);
        [step, workers, self.next_errand(), self.next_pod_step()].into_iter().flatten().min()
    }

    /// Moves everything on that is due, and hands out what must now be done.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Job> {
        if self.outages.workers.is_some_and(|until| until <= now) {
            self.note(Change::Outages(super::Outages { workers: None, ..self.outages.clone() }));
        }
        for queued in self.live.iter().copied().collect::<Vec<_>>() {
            let Some(m) = self.moves.get(&queued) else { continue };
            let due = m.state == MoveState::Started && m.copied && !m.stuck();
            if due && self.due_of(m).is_some_and(|due| due <= now) {
                self.switch(m.clone(), now);
            }
        }
        for m in self.next_in_line() {
            self.start(m, now);
        }
        let mut jobs = self.errands(now);
        jobs.extend(self.tick_pods(now));
        for queued in &self.live {
            let Some(m) = self.moves.get(queued).filter(|m| !m.stuck()) else { continue };
            let copies = m.state == MoveState::Started && !m.copied;
            let removes = m.state == MoveState::Replicated && m.due.is_some_and(|due| due <= now);
            if self.at_work.contains(queued) || !(copies || removes) {
                continue;
            }
            let Some(housed) = self.housed(m.container) else { continue };
            let (source, paths) = (m.source.clone(), housed.paths);
            if copies {
                let tamper = [
                    ("corrupt_copy", Tamper::LoseObjects),
                    ("lose_reference", Tamper::LoseReference),
                    ("lose_object", Tamper::LoseObject),
                    ("push_after_move", Tamper::Push),
                ];
                let tamper = tamper.into_iter().filter(|(kind, _)| m.struck_by(kind)).map(|(_, t)| t).collect();
                let pool = housed.pool.filter(|_| self.release.can(Ability::PoolsTravel)).map(Pool::path_of);
                let (what, destination) = (word(m.container.kind), m.destination.clone());
                jobs.push(Job::Copy { queued: *queued, what, source, destination, paths, pool, tamper });
            } else {
                jobs.push(Job::Remove { queued: *queued, source, paths, spare: m.struck_by("cleanup_failed") });
            }
        }
        for job in &jobs {
            if let Job::Copy { queued, .. } | Job::Remove { queued, .. } = job {
                self.at_work.insert(*queued);
            }
        }
        jobs
    }

    /// The scheduled moves that a worker takes now.
    fn next_in_line(&self) -> Vec<Move> {
        let live = || self.live.iter().filter_map(|queued| self.moves.get(queued)).filter(|m| !m.stuck());
        let working = live().filter(|m| matches!(m.state, MoveState::Started | MoveState::Replicated)).count();
        let workers = if self.outages.workers.is_some() { 0 } else { self.spec.workers as usize };
        let free = workers.saturating_sub(working);
        let waiting = || live().filter(|m| m.state == MoveState::Scheduled);
        // A fast move does not wait for a worker either.
        waiting().take(free).chain(waiting().skip(free).filter(|m| m.struck_by("fast_move"))).cloned().collect()
    }

    /// Bytes that a container's move copies: of a pool's member, the pool comes along.
    fn copied_bytes(&self, housed: &Housed, source: &StorageName) -> u64 {
        housed.bytes.saturating_add(self.pool_bytes(housed.pool, source))
    }

    /// Bytes on a storage that belong to no container by GitLab's lists: what copies have brought so far, and deletions
    /// have not yet taken.
    pub(super) fn in_flight(&self, storage: &StorageName, now: Timestamp) -> u64 {
        let mut bytes: u64 = 0;
        for m in self.live.iter().filter_map(|queued| self.moves.get(queued)) {
            let here = (m.state == MoveState::Started && m.destination == *storage)
                || (m.state == MoveState::Replicated && m.source == *storage);
            if here && !m.same_disk && m.failure.is_none() {
                let copied = self.housed(m.container).map_or(0, |h| match m.state {
                    MoveState::Started => self.copied_bytes(&h, &m.source).min(m.brought(now)),
                    // What stays behind held nothing of the pool.
                    _ => h.bytes.saturating_sub(self.pool_bytes(h.pool, &m.destination)),
                });
                bytes = bytes.saturating_add(copied);
            }
        }
        bytes
    }

    fn start(&mut self, mut m: Move, now: Timestamp) {
        if m.struck_by("dead_end_a") {
            // The lease is somebody else's: ended without a word, and without clearing the flag.
            self.unread.remove(&m.container);
            m.state = MoveState::Failed;
            return self.put_move(m);
        }
        m.state = MoveState::Started;
        m.started_at = Some(now);
        if m.stuck() {
            self.unread.remove(&m.container);
            return self.put_move(m);
        }
        let after = |span: SignedDuration| now.checked_add(span).unwrap_or(now);
        m.due = Some(after(SignedDuration::from_secs(1)));
        let housed = self.housed(m.container);
        let bytes = housed.as_ref().map_or(0, |h| self.copied_bytes(h, &m.source));
        let lacks_pool = self.release.can(Ability::PoolsTravel)
            && housed.as_ref().and_then(|h| h.pool).is_some_and(|pool| self.pool(pool, &m.destination).is_none());
        let what = word(m.container.kind);
        let fails = |m: &mut Move, span, message: String| {
            m.failure = Some(message);
            m.due = Some(after(span));
        };
        if m.struck_by("push_timeout") {
            fails(&mut m, PUSH_WAIT, format!("Timeout waiting for {what} repository pushes"));
        } else if m.struck_by("fail_move") {
            let sum = |n| draw::Draw::new(self.spec.seed, n).next();
            let (ours, theirs) = (sum(m.queued), sum(m.queued + 1));
            let message = format!("Failed to verify {what} repository checksum from {ours:040x} to {theirs:040x}");
            fails(&mut m, BASE, message);
        } else if let Some(Odd::Fails(message)) = self.odd.get(&m.container) {
            fails(&mut m, BASE, message.clone());
        } else if self.sick.as_ref() == Some(&m.destination) {
            fails(&mut m, BASE, format!("Failed to verify {what} repository checksum from {:040x} to {:040x}", 1, 2));
        } else if self.is_down(&m.source, now) || self.is_down(&m.destination, now) {
            fails(&mut m, BASE, "14:failed to connect to all addresses.".to_owned());
        } else if m.same_disk && lacks_pool {
            // The pool has no row on the destination, and none is made.
            fails(&mut m, BASE, "Couldn't find PoolRepository".to_owned());
        } else if !m.same_disk && self.disk(&m.destination, now).is_some_and(|(_, free)| free < bytes) {
            fails(&mut m, BASE, "13:fetch: exit status 128: No space left on device.".to_owned());
        }
        if housed.is_none() {
            m.failure = Some(gone(m.container));
        }
        // Without work to do, the copy counts as made.
        m.copied = m.same_disk || m.failure.is_some();
        self.put_move(m);
    }

    /// The copy is due: the storage is switched and the flag cleared, or the move fails.
    fn switch(&mut self, mut m: Move, now: Timestamp) {
        self.unread.remove(&m.container);
        if let Some(message) = m.failure.clone() {
            return self.fail(m, message);
        }
        let Some(housed) = self.housed(m.container) else {
            let message = gone(m.container);
            return self.fail(m, message);
        };
        let pool_bytes = self.pool_bytes(housed.pool, &m.source);
        let ends_on = match self.odd.get(&m.container) {
            Some(Odd::Astray(elsewhere)) => elsewhere.clone(),
            _ => m.destination.clone(),
        };
        self.rehouse(m.container, ends_on, false);
        if let (Some(pool), false) = (housed.pool, m.same_disk) {
            let travels = self.release.can(Ability::PoolsTravel);
            if travels && self.pool(pool, &m.destination).is_none() {
                self.put_pool(Pool { id: pool, storage: m.destination.clone(), size: pool_bytes });
            }
            if let Some(p) = self.project(m.container.id).cloned() {
                // What the pool held has come within the repository. For good, if that is not linked again.
                let pool = Some(pool).filter(|_| travels);
                self.put_project(Project { pool, inlined: p.inlined.max(pool_bytes), ..p });
            }
            if m.source != m.destination {
                self.left(pool, &m.source, now);
            }
            if travels {
                self.arrived(m.container.id, now);
            }
        }
        if m.struck_by("failed_after_switch") {
            m.state = MoveState::Failed;
            m.error = Some("4:Deadline Exceeded.".to_owned());
        } else if m.same_disk {
            m.state = MoveState::Finished;
        } else {
            m.state = MoveState::Replicated;
            m.due = if m.struck_by("fast_move") { Some(now) } else { now.checked_add(CLEANUP).ok() };
        }
        self.put_move(m);
    }

    fn fail(&mut self, mut m: Move, message: String) {
        self.unread.remove(&m.container);
        self.set_read_only(m.container, false);
        m.state = MoveState::Failed;
        m.error = Some(message.chars().take(256).collect());
        self.put_move(m);
    }

    /// Takes a job's result.
    pub fn complete(&mut self, job: &Job, result: Result<(), String>, now: Timestamp) {
        let queued = match job {
            Job::Copy { queued, .. } | Job::Remove { queued, .. } => *queued,
            Job::Discard { errand, storage, .. } | Job::Tidy { errand, storage, .. } => {
                return self.run(*errand, storage, result.is_ok());
            }
            Job::Mount { storage, filesystem_id, disk } => {
                return self.mounted(storage, filesystem_id, *disk, result.is_ok());
            }
        };
        self.at_work.remove(&queued);
        // Somebody at a console may have ended it meanwhile.
        let Some(mut m) = self.moves.get(&queued).filter(|m| !m.state.is_terminal()).cloned() else { return };
        match (job, result) {
            (Job::Copy { .. }, Err(message)) => self.fail(m, message),
            (Job::Copy { .. }, Ok(())) => {
                let bytes = self.housed(m.container).map_or(0, |h| self.copied_bytes(&h, &m.source));
                let millis = i64::try_from(bytes / (RATE / 1000)).unwrap_or(i64::MAX / 4);
                let takes = (BASE + SignedDuration::from_millis(millis)).max(self.floor);
                m.copied = true;
                m.due = Some(match m.started_at {
                    Some(started) if !m.struck_by("fast_move") => started.checked_add(takes).unwrap_or(now),
                    _ => now,
                });
                self.put_move(m);
            }
            (_, result) => {
                m.error = match result {
                    Ok(()) if m.struck_by("cleanup_failed") => {
                        Some("Failed to remove the repository of the source".to_owned())
                    }
                    result => result.err(),
                };
                m.state = if m.error.is_some() { MoveState::CleanupFailed } else { MoveState::Finished };
                self.put_move(m);
            }
        }
    }

    /// True for a move that a fault has over before its POST is answered.
    pub fn is_fast(&self, kind: ContainerKind, id: u64) -> bool {
        self.find_move(kind, id).is_some_and(|m| m.struck_by("fast_move") && !m.state.is_terminal() && !m.stuck())
    }
}

fn gone(container: Container) -> String {
    format!(
        "Couldn't find {}",
        match container.kind {
            ContainerKind::Project => "Project",
            ContainerKind::Snippet => "Snippet",
            ContainerKind::GroupWiki => "Group",
        }
    )
}
