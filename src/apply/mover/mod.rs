//! One move, from the look for an earlier one to the verdict. Every step is journaled before the next, so that any other
//! process can take it up.

mod follow;
mod places;
mod post;
mod stuck;

pub(crate) use places::Places;
pub(crate) use stuck::longest_stuck;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::failure::Class;
use super::journal::{Journal, JournalError};
use super::learned::Learned;
use super::lock;
use super::poll::Poller;
use super::port::{Cursor, PortError, PortErrorKind, PortResult, Ports};
use super::verify::{self, Verdict};
use super::whole;
use crate::model::{Container, ContainerKind, Hook, MoveRecord, MoveState, RefDigest, SourceFsck, StorageName};
use crate::plan::{self, PlannedMove};
use crate::state::QuarantineRecord;
use crate::state::journal::{Intent, Record, Side};

/// A request that was cut off may still run in Rails until its own timeout (60 s by default) has passed.
const REQUEST_MAY_RUN: Duration = Duration::from_secs(65);
/// Somebody else's move is waited for so long.
const FOREIGN: Duration = Duration::from_secs(30 * 60);
/// Waits between attempts to read a destination that does not answer, seconds of the fleet's clock: a Gitaly that restarts
/// is back within minutes, and what cannot be read then is unknown.
const READ_AGAIN: [u64; 6] = [2, 10, 30, 60, 120, 300];

/// What a run's moves go by.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The run's name: what is drawn at random is drawn from it.
    pub(crate) run: String,
    /// GitLab's, as the run found it; empty: it could not be read.
    pub(crate) version: String,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) learned: Arc<Learned>,
    pub(crate) source_fsck: SourceFsck,
    /// Checks of whole repositories, few at once.
    pub(crate) checks: tokio::sync::Semaphore,
}

impl Rules {
    pub(crate) fn new(
        run: &str,
        version: String,
        hooks: Vec<Hook>,
        learned: Learned,
        source_fsck: SourceFsck,
    ) -> Arc<Self> {
        let checks = tokio::sync::Semaphore::new(whole::AT_ONCE);
        Arc::new(Self { run: run.to_owned(), version, hooks, learned: Arc::new(learned), source_fsck, checks })
    }
}

/// What a move needs of its run.
#[derive(Clone)]
pub(crate) struct Mover {
    pub(crate) ports: Ports,
    pub(crate) journal: Journal,
    pub(crate) poller: Poller,
    pub(crate) events: UnboundedSender<Event>,
    /// Cancelled: nothing new is scheduled.
    pub(crate) stop: CancellationToken,
    /// Sources off which nothing more is scheduled, each with the reason: a reference tip is missing.
    pub(crate) closed: Arc<Mutex<BTreeMap<StorageName, String>>>,
    /// How long the latest move of a container kept it read-only, milliseconds; taken out by whoever counts it.
    pub(crate) thawed: Arc<Mutex<BTreeMap<Container, u64>>>,
    /// Since when what is in flight is read-only, at most.
    pub(crate) freezing: Arc<Mutex<BTreeMap<Container, Timestamp>>>,
    pub(crate) rules: Arc<Rules>,
    /// Repositories for which the operator's hook for dead ends has run.
    pub(crate) hooked: Arc<Mutex<BTreeSet<Container>>>,
    /// Moves that wait for a worker while there is none, each with what is seen: nothing new is scheduled.
    pub(crate) short: Arc<Mutex<BTreeMap<Container, String>>>,
    /// Where GitLab's lists showed projects.
    pub(crate) places: Places,
    /// Something keeps moves from beginning: also those that were about to.
    pub(crate) held: Arc<AtomicBool>,
    /// Sources that were found whole, as they were then: not checked again while they are so.
    pub(crate) whole: Arc<Mutex<BTreeMap<Container, Vec<Option<RefDigest>>>>>,
    /// Of whom GitLab told the moves last.
    pub(crate) answered: Arc<Mutex<Option<Container>>>,
    /// Told when a move has ended whose destination is looked into yet: it keeps no slot.
    pub(crate) landed: Arc<dyn Fn(Container) + Send + Sync>,
}

/// One move to make.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) planned: PlannedMove,
    pub(crate) wave: String,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) disks_differ: bool,
    /// Not asked for after that: it would not end inside its window. `None`: at any time.
    pub(crate) until: Option<Timestamp>,
}

/// What became of somebody else's move that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It has ended.
    Over,
    /// It has been under way for so many minutes.
    TooLong { minutes: u64 },
    /// The run stops.
    Stopped,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Compared; not missing anything that could be seen.
    Verified(Box<VerifiedMove>),
    /// Set aside.
    Quarantined { container: Container, path: String, class: Class, record: QuarantineRecord },
    /// Failed: what is done, the class's line of the table says. `wait`: seconds before which another attempt is useless.
    Again { container: Container, class: Class, cause: String, wait: Option<u64> },
    /// Not made: `done` when that is as good as made.
    Skipped { why: String, done: bool },
    /// Not begun: the run stops, or the source was closed.
    Stopped,
    /// Not begun: GitLab or the source's Gitaly could not be asked. `alone`: about this one only, others would be answered;
    /// else it says nothing of the repository.
    Unreachable { cause: String, alone: bool },
    /// Not begun: somebody else's move of it is under way.
    Foreign { live: Box<MoveRecord> },
    /// Nothing of this kind can succeed: the token is refused, the destination is not GitLab's.
    Halt { cause: String },
    /// GitLab has, or may have, taken the move, and cannot be asked how it ended: the next apply takes it up.
    InDoubt { cause: String },
    /// The journal cannot be written: the run must end.
    Fatal { cause: String },
}

/// A move that ended and was compared.
#[derive(Debug)]
pub(crate) struct VerifiedMove {
    pub(crate) intent: Intent,
    pub(crate) verdict: Verdict,
    pub(crate) lines: Vec<String>,
    pub(crate) source: Vec<Side>,
    pub(crate) destination: String,
    /// Whether the destination is whole, where that was looked at.
    pub(crate) deep: Option<plan::Verdict>,
    /// Why the source's copy is still there.
    pub(crate) left: Option<Class>,
    /// GitLab's id of the move.
    pub(crate) move_id: u64,
}

enum Stop {
    Port(PortError),
    Journal(JournalError),
}

impl From<PortError> for Stop {
    fn from(e: PortError) -> Self {
        Self::Port(e)
    }
}

impl From<JournalError> for Stop {
    fn from(e: JournalError) -> Self {
        Self::Journal(e)
    }
}

type Step<T> = Result<T, Stop>;

impl Mover {
    /// What makes the moves of a run that goes by these rules.
    pub(crate) fn new(
        ports: Ports,
        journal: Journal,
        events: UnboundedSender<Event>,
        stop: CancellationToken,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
            poller: Poller::start(ports.clone()),
            ports,
            journal,
            events,
            stop,
            closed: Arc::default(),
            thawed: Arc::default(),
            freezing: Arc::default(),
            rules,
            hooked: Arc::default(),
            short: Arc::default(),
            places: Places::default(),
            held: Arc::default(),
            whole: Arc::default(),
            answered: Arc::default(),
            landed: Arc::new(|_| {}),
        }
    }

    fn tell(&self, event: Event) {
        // The views may be gone; the move is not theirs.
        let _ = self.events.send(event);
    }

    /// Makes one attempt.
    pub(crate) async fn attempt(&self, task: Task) -> Ended {
        let container = task.planned.container;
        let ended = self.try_attempt(&task).await;
        match self.settle(container, ended) {
            Ended::Unreachable { cause, .. } => {
                let alone = self.others_are_answered(&task.planned.source).await;
                Ended::Unreachable { cause, alone }
            }
            ended => ended,
        }
    }

    /// True when GitLab answers the same question about another repository, and a source's Gitaly answers: what failed just
    /// now concerns one repository.
    async fn others_are_answered(&self, source: &StorageName) -> bool {
        let Some(other) = *lock(&self.answered) else {
            return false;
        };
        let (gitlab, gitaly) = (self.ports.gitlab.moves_of(other, 1), self.ports.gitaly.server(source));
        let (gitlab, gitaly) = tokio::join!(gitlab, gitaly);
        gitlab.is_ok() && gitaly.is_ok()
    }

    /// Takes up a move that an earlier run left in doubt.
    pub(crate) async fn take_up(&self, intent: Intent, move_id: Option<u64>, frozen: Option<Vec<Side>>) -> Ended {
        let container = intent.container;
        // No error may end this as if nothing had been asked for.
        let ended = in_doubt(self.try_take_up(intent, move_id, frozen).await);
        self.settle(container, ended)
    }

    fn settle(&self, container: Container, ended: Step<Ended>) -> Ended {
        lock(&self.freezing).remove(&container);
        // However it ended, it waits for no worker any more.
        lock(&self.short).remove(&container);
        match ended {
            Ok(ended) => ended,
            Err(Stop::Journal(e)) => Ended::Fatal { cause: e.to_string() },
            Err(Stop::Port(e)) => match e.kind {
                PortErrorKind::Unauthenticated | PortErrorKind::Forbidden => Ended::Halt { cause: e.to_string() },
                PortErrorKind::Transient | PortErrorKind::Protocol => {
                    Ended::Unreachable { cause: e.to_string(), alone: false }
                }
                _ => Ended::Again { container, class: Class::Refused, cause: e.to_string(), wait: None },
            },
        }
    }

    async fn try_attempt(&self, task: &Task) -> Step<Ended> {
        let planned = &task.planned;
        let container = planned.container;
        let newest = match self.ports.gitlab.moves_of(container, 1).await {
            Ok(moves) => moves.into_iter().next(),
            Err(e) if e.kind == PortErrorKind::NotFound => {
                return Ok(Ended::Skipped { why: "deleted meanwhile".into(), done: true });
            }
            Err(e) => return Err(e.into()),
        };
        let (before_id, live) = newest.as_ref().map_or((0, false), |m| (m.id, !m.state.is_terminal()));
        self.places.saw(container, before_id);
        *lock(&self.answered) = Some(container);
        let lists = &*self.ports.gitlab;
        let on_source = !live && self.places.is_on(lists, &planned.source, container, newest.as_ref()).await;
        let now = match on_source {
            true => Some(planned.source.clone()),
            false => self.shown(container, [&planned.source, &planned.destination]).await?,
        };
        // Not shown, and yet there: where its newest move brought it, or where the plan saw it.
        let now = now.or_else(|| brought_to(newest.as_ref())).unwrap_or_else(|| planned.source.clone());
        if now == planned.destination {
            return in_doubt(self.already_there(task, newest).await);
        }
        if now != planned.source {
            return Ok(Ended::Skipped { why: stale(&now, planned), done: false });
        }
        match newest.filter(|_| live) {
            Some(live) if live.destination == planned.destination.as_str() => {
                // Ours, of a run whose journal is gone, or somebody's: it does what is planned.
                // Without a read before its POST, only the frozen read proves anything.
                let intent = self.unread_intent(task, live.id);
                self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
                return in_doubt(self.follow(intent, live.id, None).await);
            }
            Some(live) => return Ok(Ended::Foreign { live: Box::new(live) }),
            None => {}
        }
        let read = match self.read_source(planned).await {
            Err(e) if e.kind == PortErrorKind::Refused => {
                let (class, cause) = (Class::SourceUnreadable, e.to_string());
                return Ok(Ended::Again { container, class, cause, wait: None });
            }
            read => read?,
        };
        let Some(before) = read else {
            // Not there: it may have left since the look, and then nothing is lost.
            let now = self.shown(container, [&planned.source, &planned.destination]).await?;
            if let Some(now) = now.filter(|now| *now != planned.source) {
                return Ok(Ended::Skipped { why: stale(&now, planned), done: false });
            }
            let seen = format!("Gitaly of {} has no repository where GitLab says {container} is", planned.source);
            return Ok(self.quarantine(planned, Class::SourceAbsent, vec![seen]));
        };
        let whole = self.is_source_whole(planned, &before).await?;
        if let Some(check) = whole.as_ref().filter(|check| check.verdict == plan::Verdict::Fail) {
            return Ok(self.quarantine(planned, Class::SourceNotWhole, check.lines.clone()));
        }
        if let Some(check) = whole.as_ref().filter(|check| check.verdict == plan::Verdict::Unknown) {
            // Asked to be sure, it is not moved on a guess.
            let cause = format!("whether the source is whole is unknown: {}", check.lines.join("; "));
            return Ok(Ended::Again { container, class: Class::Other, cause, wait: None });
        }
        // What was looked at before the reading and checking may have changed.
        let late = task.until.is_some_and(|until| self.ports.clock.now() > until);
        if late || self.stop.is_cancelled() || self.held.load(Ordering::Relaxed) || self.is_closed(&planned.source) {
            return Ok(Ended::Stopped);
        }
        let whole = whole.map(|check| whole::word(check.verdict).to_owned());
        let intent = Intent { whole, ..self.intent(task, before_id, &before) };
        self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
        in_doubt(self.post(intent).await)
    }

    /// Checks the source object by object, where that is asked for. Before the freeze: it costs nobody a push.
    async fn is_source_whole(&self, planned: &PlannedMove, sides: &[Side]) -> PortResult<Option<whole::Check>> {
        if !whole::is_source_due(self.rules.source_fsck, planned.container, planned.bytes) {
            return Ok(None);
        }
        let seen: Vec<Option<RefDigest>> = sides.iter().map(|side| side.digest).collect();
        let lock = || lock(&self.whole);
        if lock().get(&planned.container) == Some(&seen) {
            return Ok(Some(whole::Check { verdict: plan::Verdict::Pass, lines: Vec::new() }));
        }
        let _few = self.rules.checks.acquire().await;
        let check = whole::check(&*self.ports.gitaly, &planned.source, sides).await?;
        if check.verdict == plan::Verdict::Pass {
            lock().insert(planned.container, seen);
        }
        Ok(Some(check))
    }

    fn intent(&self, task: &Task, before_id: u64, before: &[Side]) -> Intent {
        let planned = &task.planned;
        Intent {
            container: planned.container,
            path: planned.path.to_string(),
            source: planned.source.clone(),
            destination: planned.destination.clone(),
            assignment: planned.assignment.clone(),
            wave: task.wave.clone(),
            bytes: planned.bytes,
            attempt: task.attempt,
            before_id,
            at: self.ports.clock.now(),
            before: before.iter().map(Side::digest_only).collect(),
            before_read: true,
            disks_differ: task.disks_differ,
            whole: None,
        }
    }

    /// The intent of a move that was found made: nothing was read before it, so it can pass by its frozen read only.
    fn unread_intent(&self, task: &Task, move_id: u64) -> Intent {
        let before = verify::paths(task.planned.container);
        let intent = self.intent(task, move_id.saturating_sub(1), &before);
        Intent { before_read: false, disks_differ: false, ..intent }
    }

    async fn read_source(&self, planned: &PlannedMove) -> PortResult<Option<Vec<Side>>> {
        let (gitlab, gitaly) = (&*self.ports.gitlab, &*self.ports.gitaly);
        verify::read_source(gitlab, gitaly, &planned.source, planned.container, planned.empty).await
    }

    /// Where GitLab says that a container is. Not every one is shown by its id: hidden projects, those that wait for
    /// their deletion and other people's snippets are not. Of projects the storages' lists, by id, tell then.
    async fn shown(&self, id: Container, storages: [&StorageName; 2]) -> PortResult<Option<StorageName>> {
        if let Some(found) = self.ports.gitlab.container(id).await? {
            return Ok(Some(found.storage));
        }
        let at = Cursor { after: id.id.saturating_sub(1), size: 1, ..Cursor::START };
        for storage in storages.into_iter().filter(|_| id.kind == ContainerKind::Project) {
            let next = self.ports.gitlab.list(id.kind, storage, at).await?.found.into_iter().next();
            if next.is_some_and(|listed| listed.container == id) {
                return Ok(Some(storage.clone()));
            }
        }
        Ok(None)
    }

    /// Where a container is after its move; `None`: it is gone.
    async fn whereabouts(&self, intent: &Intent, record: Option<&MoveRecord>) -> PortResult<Option<StorageName>> {
        let id = intent.container;
        if let Some(storage) = self.shown(id, [&intent.destination, &intent.source]).await? {
            return Ok(Some(storage));
        }
        if let Some(record) = record.filter(|m| id.kind != ContainerKind::Project && m.state.is_terminal()) {
            return Ok(Some(brought_to(Some(record)).unwrap_or_else(|| intent.source.clone())));
        }
        match self.ports.gitlab.moves_of(id, 1).await {
            Ok(moves) => Ok(Some(brought_to(moves.first()).unwrap_or_else(|| intent.source.clone()))),
            Err(e) if e.kind == PortErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// It is where it should be. After an attempt of ours whose answer was lost, that attempt may have brought it there.
    async fn already_there(&self, task: &Task, newest: Option<MoveRecord>) -> Step<Ended> {
        let planned = &task.planned;
        let ours = newest.filter(|m| task.attempt > 1 && m.destination == planned.destination.as_str());
        let Some(record) = ours else {
            return Ok(Ended::Skipped { why: format!("already on {}", planned.destination), done: true });
        };
        let intent = self.unread_intent(task, record.id);
        self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
        self.follow(intent, record.id, None).await
    }

    fn is_closed(&self, source: &StorageName) -> bool {
        lock(&self.closed).contains_key(source)
    }

    async fn try_take_up(&self, intent: Intent, move_id: Option<u64>, frozen: Option<Vec<Side>>) -> Step<Ended> {
        let container = intent.container;
        let id = match move_id {
            Some(id) => Some(id),
            None => {
                let mut found = self.patiently(|| self.adopted(&intent)).await?;
                let age = self.ports.clock.now().duration_since(intent.at).unsigned_abs();
                if found.is_none() && age < REQUEST_MAY_RUN {
                    self.ports.clock.sleep(REQUEST_MAY_RUN.saturating_sub(age)).await;
                    found = self.patiently(|| self.adopted(&intent)).await?;
                }
                found.map(|m| m.id)
            }
        };
        let Some(id) = id else {
            self.journal.append(vec![Record::Dropped { container, why: "never scheduled".into() }]).await?;
            return Ok(Ended::Skipped { why: "the earlier run had not scheduled it".into(), done: false });
        };
        self.follow(intent, id, frozen).await
    }

    /// Asks again and again: a move that GitLab took is worth waiting for.
    async fn patiently<T, F: Future<Output = PortResult<T>>>(&self, mut ask: impl FnMut() -> F) -> PortResult<T> {
        let mut left = 10u32;
        loop {
            match ask().await {
                Err(e) if e.is_transient() && left > 0 => {
                    left -= 1;
                    self.tell(Event::Warning { message: format!("{e}; asking again in 30 s") });
                    self.ports.clock.sleep(Duration::from_secs(30)).await;
                }
                answer => return answer,
            }
        }
    }
}

fn stale(now: &StorageName, planned: &PlannedMove) -> String {
    format!("stale: it is on {now} now, not on {}", planned.source)
}

/// Where a move brought its container, if it ended well.
fn brought_to(newest: Option<&MoveRecord>) -> Option<StorageName> {
    let moved = newest.filter(|m| matches!(m.state, MoveState::Finished | MoveState::CleanupFailed))?;
    StorageName::new(moved.destination.as_str()).ok()
}

/// After the intent no error may lead to another POST: what is not known is in doubt.
fn in_doubt(ended: Step<Ended>) -> Step<Ended> {
    match ended {
        Err(Stop::Port(e)) => Ok(Ended::InDoubt { cause: e.to_string() }),
        ended => ended,
    }
}
