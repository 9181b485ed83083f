//! One move, from the look for an earlier one to the verdict. Every step is journaled before the next, so that any other
//! process can take it up.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::event::Event;
use super::journal::{Journal, JournalError};
use super::poll::Poller;
use super::port::{PortError, PortErrorKind, PortResult, Ports};
use super::verify::{self, Judgement, Verdict};
use crate::model::{Container, ContainerKind, MoveRecord, MoveState};
use crate::plan::PlannedMove;
use crate::state::QuarantineRecord;
use crate::state::journal::{Intent, Record, Side};

/// A request that was cut off may still run in Rails until its own timeout (60 s by default) has passed.
const REQUEST_MAY_RUN: Duration = Duration::from_secs(65);
/// A move is called stuck after this, and twenty times the time its bytes would take at 60 MB/s. A giant does not cry wolf.
const STUCK: Duration = Duration::from_secs(30 * 60);
const STUCK_BYTES_PER_SECOND: u64 = 60_000_000 / 20;
/// Waits between attempts to read a destination that does not answer, seconds of the fleet's clock.
const READ_AGAIN: [u64; 4] = [2, 10, 30, 60];

/// What a move needs of its run.
#[derive(Clone)]
pub(crate) struct Mover {
    pub(crate) ports: Ports,
    pub(crate) journal: Journal,
    pub(crate) poller: Poller,
    pub(crate) events: UnboundedSender<Event>,
}

/// One move to make.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) planned: PlannedMove,
    pub(crate) wave: String,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) disks_differ: bool,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Compared; not missing anything that could be seen.
    Verified(Box<VerifiedMove>),
    /// Set aside.
    Quarantined { container: Container, path: String, record: QuarantineRecord, loss: bool },
    /// Failed in a way that another attempt may not.
    Again { cause: String },
    /// Not made: `done` when that is as good as made.
    Skipped { why: String, done: bool },
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
    pub(crate) cleanup_failed: bool,
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
    fn tell(&self, event: Event) {
        // The views may be gone; the move is not theirs.
        let _ = self.events.send(event);
    }

    /// Makes one attempt.
    pub(crate) async fn attempt(&self, task: Task) -> Ended {
        let ended = self.try_attempt(&task).await;
        self.settle(ended)
    }

    /// Takes up a move that an earlier run left in doubt.
    pub(crate) async fn take_up(&self, intent: Intent, move_id: Option<u64>, frozen: Option<Vec<Side>>) -> Ended {
        let ended = self.try_take_up(intent, move_id, frozen).await;
        self.settle(ended)
    }

    fn settle(&self, ended: Step<Ended>) -> Ended {
        match ended {
            Ok(ended) => ended,
            Err(Stop::Journal(e)) => Ended::Fatal { cause: e.to_string() },
            Err(Stop::Port(e)) => match e.kind {
                PortErrorKind::Unauthenticated | PortErrorKind::Forbidden => Ended::Halt { cause: e.to_string() },
                _ => Ended::Again { cause: e.to_string() },
            },
        }
    }

    async fn try_attempt(&self, task: &Task) -> Step<Ended> {
        let planned = &task.planned;
        let container = planned.container;
        let newest = loop {
            let Some(now) = self.ports.gitlab.container(container).await? else {
                return Ok(Ended::Skipped { why: "deleted meanwhile".into(), done: true });
            };
            if now.storage == planned.destination {
                return Ok(Ended::Skipped { why: format!("already on {}", planned.destination), done: true });
            }
            if now.storage != planned.source {
                let why = format!("stale: it is on {} now, not on {}", now.storage, planned.source);
                return Ok(Ended::Skipped { why, done: false });
            }
            let newest = self.poller.newest(&self.ports, container.kind).await?;
            let Some(live) = newest.live.get(&container) else { break newest };
            self.wait_for_foreign(&planned.path, live).await;
        };
        let (gitlab, gitaly) = (&*self.ports.gitlab, &*self.ports.gitaly);
        let before = verify::read_source(gitlab, gitaly, &planned.source, container, planned.empty).await?;
        let Some(before) = before else {
            return Ok(self.quarantine(
                planned,
                "not found on its source",
                vec![format!("Gitaly of {} has no repository where GitLab says {} is", planned.source, container)],
                "Look for it on the other storages, or restore it from a backup; then: tranship quarantine release"
                    .into(),
                false,
            ));
        };
        let intent = Intent {
            container,
            path: planned.path.to_string(),
            source: planned.source.clone(),
            destination: planned.destination.clone(),
            assignment: planned.assignment.clone(),
            wave: task.wave.clone(),
            bytes: planned.bytes,
            attempt: task.attempt,
            before_id: newest.greatest,
            at: self.ports.clock.now(),
            before: before.iter().map(Side::digest_only).collect(),
            disks_differ: task.disks_differ,
        };
        self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
        in_doubt(self.post(intent).await)
    }

    async fn post(&self, intent: Intent) -> Step<Ended> {
        let container = intent.container;
        let posted = match self.ports.gitlab.schedule(container, &intent.destination).await {
            Ok(record) => record,
            Err(e) => match self.refused(&intent, e).await? {
                Ok(record) => record,
                Err(ended @ Ended::Quarantined { .. }) => return self.journaled(ended).await,
                Err(ended) => {
                    let why = "not scheduled".to_owned();
                    self.journal.append(vec![Record::Dropped { container, why }]).await?;
                    return Ok(ended);
                }
            },
        };
        self.follow(intent, posted.id, None).await
    }

    async fn wait_for_foreign(&self, path: &str, live: &MoveRecord) {
        let what =
            format!("{path}: somebody's move {} to {} is {}; waiting for it", live.id, live.destination, live.state);
        self.tell(Event::Waiting { what });
        let ended = self.poller.watch(live.container.kind, live.id);
        let _ = ended.await;
    }

    /// What became of a POST that was not answered with a move. `Ok`: it was carried out after all.
    async fn refused(&self, intent: &Intent, error: PortError) -> Step<Result<MoveRecord, Ended>> {
        let container = intent.container;
        match error.kind {
            PortErrorKind::Unauthenticated | PortErrorKind::Forbidden => {
                Ok(Err(Ended::Halt { cause: error.to_string() }))
            }
            PortErrorKind::Refused if error.message.contains("read-only") => {
                let newest = self.ports.gitlab.moves_of(container, 1).await?.into_iter().next();
                if let Some(live) = newest.as_ref().filter(|m| !m.state.is_terminal()) {
                    self.wait_for_foreign(&intent.path, live).await;
                    return Ok(Err(Ended::Again { cause: format!("somebody's move {} was under way", live.id) }));
                }
                let mut evidence = vec![error.to_string()];
                evidence.push(match newest {
                    Some(m) => format!("its newest move, {}, is {}", m.id, m.state),
                    None => "no move of it is under way".to_owned(),
                });
                Ok(Err(self.frozen_for_good(intent, evidence, console_lines(container.kind, None))))
            }
            PortErrorKind::Refused if error.message.contains("destination_storage_name") => {
                Ok(Err(Ended::Halt { cause: format!("{error}: GitLab does not know {}", intent.destination) }))
            }
            PortErrorKind::Refused => Ok(Err(Ended::Again { cause: error.to_string() })),
            // 429 and the like are retried by the adapter; what arrives here may have been carried out.
            PortErrorKind::Ambiguous | PortErrorKind::Transient | PortErrorKind::Protocol => {
                self.tell(Event::Warning {
                    message: format!("{}: {error}; looking whether GitLab took the move", intent.path),
                });
                for wait in [Duration::from_secs(2), REQUEST_MAY_RUN] {
                    if let Some(record) = self.adopted(intent).await? {
                        return Ok(Ok(record));
                    }
                    self.ports.clock.sleep(wait).await;
                }
                match self.adopted(intent).await? {
                    Some(record) => Ok(Ok(record)),
                    None => Ok(Err(Ended::Again { cause: error.to_string() })),
                }
            }
            PortErrorKind::NotFound => Ok(Err(Ended::Skipped { why: "deleted meanwhile".into(), done: true })),
        }
    }

    /// The move that GitLab made of our intent, if it made one.
    async fn adopted(&self, intent: &Intent) -> PortResult<Option<MoveRecord>> {
        let moves = self.ports.gitlab.moves_of(intent.container, 20).await?;
        Ok(moves
            .into_iter()
            .filter(|m| m.id > intent.before_id && m.destination == intent.destination.as_str())
            .min_by_key(|m| m.id))
    }

    async fn try_take_up(&self, intent: Intent, move_id: Option<u64>, frozen: Option<Vec<Side>>) -> Step<Ended> {
        let container = intent.container;
        let id = match move_id {
            Some(id) => Some(id),
            None => {
                let mut found = self.adopted(&intent).await?;
                let age = self.ports.clock.now().duration_since(intent.at).unsigned_abs();
                if found.is_none() && age < REQUEST_MAY_RUN {
                    self.ports.clock.sleep(REQUEST_MAY_RUN.saturating_sub(age)).await;
                    found = self.adopted(&intent).await?;
                }
                found.map(|m| m.id)
            }
        };
        let Some(id) = id else {
            self.journal.append(vec![Record::Dropped { container, why: "never scheduled".into() }]).await?;
            return Ok(Ended::Skipped { why: "the earlier run had not scheduled it".into(), done: false });
        };
        // Into this run's journal too: it is this one that may be cut short now.
        self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
        in_doubt(self.follow(intent, id, frozen).await)
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

    /// From an accepted move to its verdict.
    async fn follow(&self, intent: Intent, id: u64, frozen: Option<Vec<Side>>) -> Step<Ended> {
        let container = intent.container;
        // The freeze is on: its read comes before anything else.
        let frozen = match frozen {
            Some(frozen) => Some(frozen),
            None => verify::read_frozen(&*self.ports.gitaly, &intent.source, &intent.before).await,
        };
        let watched = self.poller.watch(container.kind, id);
        let mut records = vec![Record::Accepted { container, move_id: id }];
        if let Some(sides) = &frozen {
            records.push(Record::Frozen { container, sides: sides.iter().map(Side::bounded).collect() });
        }
        self.journal.append(records).await?;
        self.tell(Event::MoveScheduled {
            container,
            path: intent.path.clone(),
            source: intent.source.clone(),
            destination: intent.destination.clone(),
            move_id: id,
            attempt: intent.attempt,
        });
        let patience = STUCK + Duration::from_secs(intent.bytes.0 / STUCK_BYTES_PER_SECOND);
        let ended = tokio::select! {
            ended = watched => ended.ok(),
            () = self.ports.clock.sleep(patience) => None,
        };
        let Some(record) = ended else {
            self.poller.forget(container.kind, id);
            let state = self.ports.gitlab.move_record(container.kind, id).await?;
            let state = state.map_or("unknown to GitLab".to_owned(), |m| m.state.to_string());
            let evidence = vec![format!("move {id} has been {state} for {} minutes", patience.as_secs() / 60)];
            let ended = self.frozen_for_good(&intent, evidence, console_lines(container.kind, Some(id)));
            return self.journaled(ended).await;
        };
        let now = self.patiently(|| self.ports.gitlab.container(container)).await?;
        let there = now.as_ref().is_some_and(|c| c.storage == intent.destination);
        match record.state {
            _ if now.is_none() => {
                self.journal.append(vec![Record::Dropped { container, why: "deleted meanwhile".into() }]).await?;
                Ok(Ended::Skipped { why: "deleted meanwhile".into(), done: true })
            }
            // `failed` after the switch lives on the destination all the same.
            MoveState::Failed if !there => {
                let cause = record.error_message.unwrap_or_else(|| "failed, and GitLab does not say why".to_owned());
                self.journal.append(vec![Record::Dropped { container, why: cause.clone() }]).await?;
                Ok(Ended::Again { cause })
            }
            state if there => {
                let clean = state == MoveState::Finished;
                self.verify(intent, frozen, &state, !clean).await
            }
            state => {
                let storage = now.map_or_else(String::new, |c| c.storage.to_string());
                let evidence = vec![format!("move {id} is {state}, but GitLab says that it is on {storage}")];
                let remedy = "Look at the project in GitLab's admin area; then: tranship quarantine release".to_owned();
                let ended = self.set_aside(&intent, "moved elsewhere", evidence, remedy, false, true);
                self.journaled(ended).await
            }
        }
    }

    async fn verify(
        &self,
        intent: Intent,
        frozen: Option<Vec<Side>>,
        state: &MoveState,
        cleanup_failed: bool,
    ) -> Step<Ended> {
        let container = intent.container;
        let replicated = matches!(state, MoveState::Finished | MoveState::CleanupFailed);
        let mut waits = READ_AGAIN.iter();
        let (judgement, destination) = loop {
            let judged = verify::judge(
                &*self.ports.gitaly,
                &intent.destination,
                &intent.before,
                frozen.as_deref(),
                intent.disks_differ,
                replicated,
            );
            match (judged.await, waits.next()) {
                (Ok(judged), _) => break judged,
                (Err(_), Some(wait)) => self.ports.clock.sleep(Duration::from_secs(*wait)).await,
                (Err(e), None) => {
                    let lines = vec![format!("the destination could not be read: {e}")];
                    break (Judgement { verdict: Verdict::Unknown, lines }, String::new());
                }
            }
        };
        if judgement.verdict == Verdict::Missing {
            let remedy = "The source's copy is deleted. Restore the repository from a backup or a snapshot of the source's disk, \
                 push what is missing, then: tranship quarantine release"
                .to_owned();
            let ended = self.set_aside(&intent, "missing reference", judgement.lines, remedy, true, true);
            return self.journaled(ended).await;
        }
        let verdict = judgement.verdict;
        self.journal
            .append(vec![Record::Verified {
                container,
                verdict: verdict.to_string(),
                destination: destination.clone(),
            }])
            .await?;
        let frozen_for = self.ports.clock.now().duration_since(intent.at).unsigned_abs();
        self.tell(Event::MoveVerified {
            container,
            path: intent.path.clone(),
            source: intent.source.clone(),
            destination: intent.destination.clone(),
            bytes: intent.bytes,
            verdict: verdict.to_string(),
            detail: judgement.lines.join("; "),
            frozen_ms: u64::try_from(frozen_for.as_millis()).unwrap_or(u64::MAX),
        });
        let source = frozen.unwrap_or_else(|| intent.before.clone());
        let lines = judgement.lines;
        Ok(Ended::Verified(Box::new(VerifiedMove { intent, verdict, lines, source, destination, cleanup_failed })))
    }

    fn frozen_for_good(&self, intent: &Intent, evidence: Vec<String>, console: String) -> Ended {
        let remedy = format!(
            "GitLab does not leave this by itself. Look at Sidekiq first; when no job of it runs, in the Rails console: {console} \
             Then: tranship quarantine release"
        );
        self.set_aside(intent, "read-only without an end", evidence, remedy, false, true)
    }

    /// Sets a repository aside after an intent. The remedy ends with the command that releases it.
    fn set_aside(
        &self,
        intent: &Intent,
        cause: &str,
        evidence: Vec<String>,
        remedy: String,
        loss: bool,
        urgent: bool,
    ) -> Ended {
        let remedy = format!("{remedy} {}", intent.container);
        let record = QuarantineRecord {
            path: intent.path.clone(),
            source: intent.source.clone(),
            destination: intent.destination.clone(),
            cause: cause.to_owned(),
            evidence,
            remedy,
            urgent,
        };
        Ended::Quarantined { container: intent.container, path: intent.path.clone(), record, loss }
    }

    /// Sets a repository aside for which nothing was scheduled.
    pub(crate) fn quarantine(
        &self,
        planned: &PlannedMove,
        cause: &str,
        evidence: Vec<String>,
        remedy: String,
        urgent: bool,
    ) -> Ended {
        let remedy = format!("{remedy} {}", planned.container);
        let record = QuarantineRecord {
            path: planned.path.to_string(),
            source: planned.source.clone(),
            destination: planned.destination.clone(),
            cause: cause.to_owned(),
            evidence,
            remedy,
            urgent,
        };
        Ended::Quarantined { container: planned.container, path: planned.path.to_string(), record, loss: false }
    }

    async fn journaled(&self, ended: Ended) -> Step<Ended> {
        if let Ended::Quarantined { container, record, .. } = &ended {
            let quarantine = Box::new(record.clone());
            self.journal.append(vec![Record::Quarantined { container: *container, quarantine }]).await?;
        }
        Ok(ended)
    }
}

/// After the intent no error may lead to another POST: what is not known is in doubt.
fn in_doubt(ended: Step<Ended>) -> Step<Ended> {
    match ended {
        Err(Stop::Port(e)) => Ok(Ended::InDoubt { cause: e.to_string() }),
        ended => ended,
    }
}

/// The lines for GitLab's Rails console that end a move and make its container writable again.
fn console_lines(kind: ContainerKind, id: Option<u64>) -> String {
    let class = match kind {
        ContainerKind::Project => "Projects",
        ContainerKind::Snippet => "Snippets",
        ContainerKind::GroupWiki => "Groups",
    };
    let id = id.map_or_else(|| "ID_OF_ITS_NEWEST_MOVE".to_owned(), |id| id.to_string());
    format!(
        "m = {class}::RepositoryStorageMove.find({id}); m.do_fail! unless m.failed?; m.container.set_repository_writable!"
    )
}
