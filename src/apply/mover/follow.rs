//! From a move that GitLab took to its verdict, and how a repository is set aside.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::Duration;

use super::stuck::Fate;
use super::{Ended, Mover, READ_AGAIN, Step, VerifiedMove};
use crate::apply::event::Event;
use crate::apply::failure::remedy::{Case, remedy};
use crate::apply::failure::{self, Class};
use crate::apply::lock;
use crate::apply::poll::Seen;
use crate::apply::port::PortResult;
use crate::apply::verify::{self, Judgement, Verdict};
use crate::apply::whole;
use crate::model::{Container, ContainerKind, MoveRecord, MoveState, StorageName};
use crate::plan;
use crate::plan::PlannedMove;
use crate::state::QuarantineRecord;
use crate::state::journal::{Intent, Record, Side};

/// Waits between questions for a container whose move has ended and that is not where it should be, seconds.
const LAGGING: [u64; 3] = [1, 5, 30];

impl Mover {
    /// From an accepted move to its verdict.
    pub(super) async fn follow(&self, intent: Intent, id: u64, frozen: Option<Vec<Side>>) -> Step<Ended> {
        let container = intent.container;
        // The freeze is on: its read comes before anything else.
        let frozen = match frozen {
            Some(frozen) => Some(frozen),
            None => verify::read_frozen(&*self.ports.gitaly, &intent.source, &intent.before, intent.before_read).await,
        };
        let mut watched = self.poller.watch(container.kind, id, Some(self.started_limit(&intent)));
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
            since: intent.at,
        });
        let (record, started) = loop {
            match watched.await {
                Ok(Seen::Ended { record, started }) => break (Some(record), started),
                // Gone, with its container or without; or a database that lags behind had not heard of it.
                Err(_) => match self.patiently(|| self.ports.gitlab.move_record(container.kind, id)).await? {
                    Some(record) if !record.state.is_terminal() => {
                        watched = self.poller.watch(container.kind, id, Some(self.started_limit(&intent)));
                    }
                    record => break (record, true),
                },
                Ok(Seen::Stuck { state, seconds }) => match self.stuck(&intent, id, &state, seconds).await? {
                    Fate::Goes { pardon } => watched = self.poller.again(container.kind, id, pardon),
                    Fate::Ended(record) => {
                        self.poller.forget(container.kind, id);
                        break (record, true);
                    }
                    Fate::Dead { class, evidence, sure } => {
                        self.poller.forget(container.kind, id);
                        // What is `replicated` can be written to again, what is `initial` never was not; all else stays
                        // frozen, for so long at least.
                        let free_ms = match state {
                            MoveState::Replicated => seconds.saturating_mul(1000),
                            MoveState::Initial => u64::MAX,
                            _ => 0,
                        };
                        self.thaw_after(&intent, self.frozen_ms(&intent).saturating_sub(free_ms));
                        return self.dead(intent, id, frozen, class, evidence, sure).await;
                    }
                },
            }
        };
        self.thaw(&intent);
        self.short(&intent, None);
        let Some(now) = self.settled(&intent, record.as_ref()).await? else {
            return self.deleted(&intent).await;
        };
        let Some(record) = record else { return self.without_record(intent, id, frozen, &now).await };
        let there = now == intent.destination;
        match record.state {
            // `failed` after the switch lives on the destination all the same.
            MoveState::Failed if !there => {
                let message = record.error_message.as_deref();
                let class = failure::of_failed(message, started);
                let cause = message.unwrap_or("failed, and GitLab does not say why").to_owned();
                let wait = if class == Class::Pushes { self.quiet_in(&intent).await } else { None };
                self.journaled(Ended::Again { container, class, cause, wait }).await
            }
            state if there => {
                let left = match state {
                    MoveState::Finished => None,
                    MoveState::Failed => Some(Class::SwitchedThenFailed),
                    _ => Some(Class::CleanupFailed),
                };
                let replicated = matches!(state, MoveState::Finished | MoveState::CleanupFailed);
                self.verify(intent, id, frozen, replicated, left).await
            }
            state => {
                let evidence = vec![format!("move {id} is {state}, but GitLab says that it is on {now}")];
                let ended = self.set_aside(&intent, Class::Elsewhere, evidence, Some(id));
                self.journaled(ended).await
            }
        }
    }

    /// Where a container is after its move, as soon as that agrees with the move's record: GitLab reads from databases
    /// that may lag behind. `None`: it is gone.
    async fn settled(&self, intent: &Intent, record: Option<&MoveRecord>) -> PortResult<Option<StorageName>> {
        let moved = record.is_some_and(|m| matches!(m.state, MoveState::Finished | MoveState::CleanupFailed));
        let mut waits = LAGGING.iter();
        loop {
            let now = self.patiently(|| self.whereabouts(intent, record)).await?;
            let agrees = !moved || now.as_ref() == Some(&intent.destination);
            match waits.next().filter(|_| !agrees) {
                Some(wait) => self.ports.clock.sleep(Duration::from_secs(*wait)).await,
                None => return Ok(now),
            }
        }
    }

    /// GitLab does not show a move any more, and the container is there.
    async fn without_record(
        &self,
        intent: Intent,
        id: u64,
        frozen: Option<Vec<Side>>,
        now: &StorageName,
    ) -> Step<Ended> {
        if *now == intent.destination {
            return self.verify(intent, id, frozen, false, None).await;
        }
        let newest = self.patiently(|| self.ports.gitlab.moves_of(intent.container, 1)).await?.into_iter().next();
        let cause = format!("GitLab does not show its move {id} any more, and has it on {now}");
        if newest.is_some_and(|newest| !newest.state.is_terminal()) {
            return Ok(Ended::InDoubt { cause });
        }
        self.journaled(Ended::Again { container: intent.container, class: Class::Other, cause, wait: None }).await
    }

    /// Milliseconds since just before a move was asked for.
    fn frozen_ms(&self, intent: &Intent) -> u64 {
        let length = self.ports.clock.now().duration_since(intent.at).unsigned_abs();
        u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn thawed(&self) -> MutexGuard<'_, BTreeMap<Container, u64>> {
        lock(&self.thawed)
    }

    /// The freeze is over, as far as is seen: what was borne is accounted, before it is known what came of the move.
    fn thaw(&self, intent: &Intent) {
        self.thaw_after(intent, self.frozen_ms(intent));
    }

    fn thaw_after(&self, intent: &Intent, frozen_ms: u64) {
        lock(&self.freezing).remove(&intent.container);
        let (container, path, at) = (intent.container, intent.path.clone(), intent.at);
        self.journal.note(vec![Record::Thawed { container, path, at, frozen_ms }]);
        self.thawed().insert(container, frozen_ms);
    }

    async fn deleted(&self, intent: &Intent) -> Step<Ended> {
        let (container, why) = (intent.container, "deleted meanwhile");
        self.journal.append(vec![Record::Dropped { container, why: why.to_owned() }]).await?;
        Ok(Ended::Skipped { why: why.to_owned(), done: true })
    }

    /// A move that GitLab will not end by itself.
    async fn dead(
        &self,
        intent: Intent,
        id: u64,
        frozen: Option<Vec<Side>>,
        class: Class,
        evidence: Vec<String>,
        sure: bool,
    ) -> Step<Ended> {
        self.short(&intent, None);
        let Some(now) = self.patiently(|| self.whereabouts(&intent, None)).await? else {
            return self.deleted(&intent).await;
        };
        if now == intent.destination {
            // Switched: it can be written to and lives there, whatever the record says. No worker is busy with it.
            self.poller.dead(intent.container);
            return self.verify(intent, id, frozen, false, Some(Class::StaysReplicated)).await;
        }
        let ended = if sure {
            self.dead_end(&intent, class, evidence, Some(id)).await
        } else {
            // A program that frees it under a worker that lives would lose pushes.
            self.set_aside(&intent, class, evidence, Some(id))
        };
        self.journaled(ended).await
    }

    /// Seconds until a project's quiet hour; `None`: now, or it cannot be asked.
    async fn quiet_in(&self, intent: &Intent) -> Option<u64> {
        if intent.container.kind != ContainerKind::Project {
            return None;
        }
        let repository = self.ports.gitlab.container(intent.container).await.ok().flatten()?;
        failure::backoff::quiet(repository.last_activity, self.ports.clock.now())
    }

    /// Compares source and destination, and looks into the destination where that is due. `left`: why the source's copy
    /// is still there.
    pub(super) async fn verify(
        &self,
        intent: Intent,
        id: u64,
        frozen: Option<Vec<Side>>,
        replicated: bool,
        left: Option<Class>,
    ) -> Step<Ended> {
        let container = intent.container;
        let mut waits = READ_AGAIN.iter();
        let (mut judgement, destination) = loop {
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
            // Deleted or moved on since it was seen there, it cannot be there.
            let now = self.patiently(|| self.whereabouts(&intent, None)).await?;
            match now {
                None => return self.deleted(&intent).await,
                Some(now) if now != intent.destination => {
                    let lines = vec![format!("it is on {now} by now, and was not compared before")];
                    judgement = Judgement { verdict: Verdict::Unknown, lines };
                }
                Some(_) => {}
            }
        }
        if judgement.verdict == Verdict::Missing {
            let ended = self.set_aside(&intent, Class::Missing, judgement.lines, None);
            return self.journaled(ended).await;
        }
        let verdict = judgement.verdict;
        let compared = frozen.as_ref().unwrap_or(&intent.before);
        let due = whole::is_destination_due(container, intent.bytes, verdict != Verdict::Unknown);
        let deep = if due {
            (self.landed)(container);
            Some(self.look_into(&intent, compared).await)
        } else {
            None
        };
        if let Some(check) = deep.as_ref().filter(|check| check.verdict == plan::Verdict::Fail) {
            let whole_before = intent.whole.as_deref() == Some(whole::word(plan::Verdict::Pass));
            let class = if whole_before { Class::LostObjects } else { Class::CopyNotWhole };
            let ended = self.set_aside(&intent, class, check.lines.clone(), None);
            return self.journaled(ended).await;
        }
        let mut lines = judgement.lines;
        if let Some(check) = deep.as_ref().filter(|check| check.verdict == plan::Verdict::Unknown) {
            lines.extend(check.lines.iter().map(|line| format!("whether it is whole is unknown: {line}")));
        }
        let deep = deep.map(|check| check.verdict);
        self.journal
            .append(vec![Record::Verified {
                container,
                verdict: verdict.to_string(),
                destination: destination.clone(),
                whole: deep.map(|deep| whole::word(deep).to_owned()),
                left: left.is_some(),
            }])
            .await?;
        let frozen_ms = self.thawed().get(&container).copied();
        self.tell(Event::MoveVerified {
            container,
            path: intent.path.clone(),
            source: intent.source.clone(),
            destination: intent.destination.clone(),
            bytes: intent.bytes,
            verdict: verdict.to_string(),
            detail: lines.join("; "),
            frozen_ms: frozen_ms.unwrap_or_else(|| self.frozen_ms(&intent)),
        });
        let source = frozen.unwrap_or_else(|| intent.before.clone());
        Ok(Ended::Verified(Box::new(VerifiedMove {
            intent,
            verdict,
            lines,
            source,
            destination,
            deep,
            left,
            move_id: id,
        })))
    }

    /// Level 3: is the destination whole?
    async fn look_into(&self, intent: &Intent, sides: &[Side]) -> whole::Check {
        let _few = self.rules.checks.acquire().await;
        match whole::check(&*self.ports.gitaly, &intent.destination, sides).await {
            Ok(check) => check,
            Err(e) => whole::Check { verdict: plan::Verdict::Unknown, lines: vec![e.to_string()] },
        }
    }

    /// A dead end: the operator's hook may run the remedy, once; else it is set aside. Nothing is journaled yet.
    pub(super) async fn dead_end(
        &self,
        intent: &Intent,
        class: Class,
        evidence: Vec<String>,
        move_id: Option<u64>,
    ) -> Ended {
        let hooked = self.freed_by_hook(class, Case::of(intent, move_id), &intent.path, &evidence).await;
        match hooked {
            Some(Ok(hook)) => {
                let cause = format!("{}; hook {hook} has run the remedy", class.row().cause);
                Ended::Again { container: intent.container, class, cause, wait: None }
            }
            Some(Err(seen)) => {
                let evidence = evidence.into_iter().chain([seen]).collect();
                self.set_aside(intent, class, evidence, move_id)
            }
            None => self.set_aside(intent, class, evidence, move_id),
        }
    }

    /// Sets a repository aside after an intent.
    pub(super) fn set_aside(
        &self,
        intent: &Intent,
        class: Class,
        evidence: Vec<String>,
        move_id: Option<u64>,
    ) -> Ended {
        set_aside(Case::of(intent, move_id), intent.path.clone(), class, evidence)
    }

    /// Sets a repository aside for which nothing is under way.
    pub(crate) fn quarantine(&self, planned: &PlannedMove, class: Class, evidence: Vec<String>) -> Ended {
        let PlannedMove { container, source, destination, path, .. } = planned;
        let case = Case { container: *container, source, destination, move_id: None };
        set_aside(case, path.to_string(), class, evidence)
    }

    /// Writes down how an intent ended, where that is no verdict.
    pub(super) async fn journaled(&self, ended: Ended) -> Step<Ended> {
        match &ended {
            Ended::Quarantined { container, class, record, .. } => {
                let (quarantine, loss) = (Box::new(record.clone()), class.is_loss());
                self.journal.append(vec![Record::Quarantined { container: *container, quarantine, loss }]).await?;
            }
            Ended::Again { container, cause, .. } => {
                self.journal.append(vec![Record::Dropped { container: *container, why: cause.clone() }]).await?;
            }
            _ => {}
        }
        Ok(ended)
    }
}

/// The remedy ends with the command that releases it.
fn set_aside(case: Case<'_>, path: String, class: Class, evidence: Vec<String>) -> Ended {
    let record = QuarantineRecord {
        path: path.clone(),
        source: case.source.clone(),
        destination: case.destination.clone(),
        cause: class.row().cause.to_owned(),
        evidence,
        remedy: format!("{} {}", remedy(class, case), case.container),
        urgent: class.row().urgent,
    };
    Ended::Quarantined { container: case.container, path, class, record }
}
