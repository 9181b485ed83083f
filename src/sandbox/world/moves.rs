//! A move's life: frozen at the POST, taken by a worker, copied, switched, cleaned up; what faults make of it.

use jiff::{SignedDuration, Timestamp};

use super::super::content::Tamper;
use super::super::draw;
use super::{Job, Move, Project, ScheduleError, World};
use crate::model::{Container, ContainerKind, MoveState, RepositoryRole, StorageName, relative_path};

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

impl World {
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
pub fn carry_out(content: &dyn super::super::content::Content, job: &Job, spare: bool) -> Result<(), String> {
    use super::super::content::{ContentError, checksum};
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
