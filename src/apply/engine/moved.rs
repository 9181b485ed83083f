//! What the loop does when a move has ended, one way or the other.

use std::time::Duration;

use super::{CHECKPOINT_EVERY, Engine, Message, UNREACHABLE_AFTER, guarded, lock};
use crate::apply::event::Event;
use crate::apply::failure::{ATTEMPTS, Action, Class, backoff, remedy};
use crate::apply::mover::{Ended, Foreign};
use crate::apply::port::{PortError, PortErrorKind};
use crate::apply::verify::Verdict;
use crate::apply::version::Word;
use crate::apply::wave::patiently;
use crate::apply::{tally, whole};
use crate::model::{Container, MoveRecord, StorageName};
use crate::plan::{ActionId, PlannedMove, Verdict as Checked, need};
use crate::state::journal::{Record as Entry, Tried};
use crate::state::{Record, State};

/// A destination's disk is measured again after that time, whatever came: others write there too, and nothing else tells.
const MEASURED_FOR: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// True when an attempt that GitLab took no move of has told whether its repository can be written to.
fn tells_of_freeze(ended: &Ended) -> bool {
    match ended {
        Ended::Verified(_) | Ended::Quarantined { .. } | Ended::Skipped { .. } => true,
        Ended::Again { class, .. } => class.row().action == Action::DeadEnd,
        _ => false,
    }
}

impl Engine<'_> {
    pub(super) fn skipped(&mut self, at: usize, why: String, done: bool) {
        self.summary.moves_skipped += 1;
        self.summary.moves_moot += u64::from(done);
        if let Some(planned) = self.plan.moves.get(at) {
            let (container, path) = (planned.container, planned.path.to_string());
            self.tell(Event::MoveSkipped { container, path, why, done });
        }
    }

    /// A move has ended, and its destination is looked into yet: that keeps no slot, of ours or of GitLab.
    pub(super) fn landed(&mut self, container: Container) {
        let is = |at: &&usize| self.plan.moves.get(**at).is_some_and(|one| one.container == container);
        let Some(at) = self.launched.iter().find(is).copied() else { return };
        let Some(planned) = self.plan.moves.get(at).filter(|_| self.looked_into.insert(at)) else { return };
        self.slots.give(&planned.source, &planned.destination);
        let big = self.waves.values_mut().filter(|wave| wave.flying.contains(&at)).any(|wave| wave.ends_copying(at));
        if let Some(crowd) = self.crowds.get_mut(&planned.destination) {
            *crowd = crowd.saturating_sub(usize::from(big));
        }
    }

    pub(super) async fn moved(&mut self, id: ActionId, at: usize, ended: Ended) {
        let Some(planned) = self.plan.moves.get(at) else { return };
        let now = self.ports().clock.now();
        self.eta.landed(now);
        let frozen = self.account(at, now);
        if frozen.is_some() || tells_of_freeze(&ended) {
            self.suspects.remove(&at);
        }
        let verified = matches!(ended, Ended::Verified(_));
        let (skipped, quarantined) = (matches!(ended, Ended::Skipped { .. }), self.summary.quarantined);
        if !self.looked_into.remove(&at) {
            self.slots.give(&planned.source, &planned.destination);
        }
        self.launched.remove(&at);
        let predicted = self.predicted.remove(&at);
        match &ended {
            Ended::Verified(verified) => {
                let took = now.duration_since(verified.intent.at).as_millis();
                let frozen = frozen.unwrap_or_else(|| u64::try_from(took).unwrap_or(0));
                let bytes = planned.copied();
                let fit = self.mover.rules.learned.of(&planned.source, &planned.destination);
                self.pace.moved(&fit, &planned.source, &planned.destination, bytes, frozen);
            }
            Ended::Again { .. } | Ended::Quarantined { .. } | Ended::Unreachable { .. } => {
                self.pace.failed(&planned.source, &planned.destination);
            }
            _ => {}
        }
        if let Some(towards) = self.towards.get_mut(&planned.destination) {
            // What is in doubt may be copied yet: its bytes stay kept.
            let ended = if matches!(ended, Ended::InDoubt { .. }) { 0 } else { need(planned.copied()).0 };
            *towards = (towards.0.saturating_sub(ended), towards.1.saturating_sub(1));
        }
        let halts = self.halts();
        let Some(wave) = self.waves.get_mut(&id) else { return };
        let big = wave.landed(at);
        if let Some(crowd) = self.crowds.get_mut(&planned.destination) {
            *crowd = crowd.saturating_sub(usize::from(big));
        }
        match &ended {
            Ended::InDoubt { .. } => self.pools.doubt(planned),
            Ended::Verified(_) | Ended::Skipped { done: true, .. } => self.pools.end(planned, true),
            Ended::Quarantined { class, .. } => self.pools.end(planned, class.has_left()),
            _ => self.pools.end(planned, false),
        }
        if planned.pool.is_some() {
            wave.wake();
        }
        let arrived = matches!(ended, Ended::Verified(_) | Ended::Quarantined { .. });
        if !arrived && !matches!(ended, Ended::InDoubt { .. }) {
            self.room.release(&planned.destination, planned.copied());
        } else if arrived {
            let much = self.room.landed(&planned.destination, planned.copied());
            let old =
                self.measured_at.get(&planned.destination).is_none_or(|at| now.duration_since(*at) >= MEASURED_FOR);
            if (much || old) && !self.measuring.contains(&planned.destination) {
                self.measure(&planned.destination);
            }
        }
        let Some(wave) = self.waves.get_mut(&id) else { return };
        match ended {
            Ended::Verified(verified) => {
                wave.reached();
                wave.attempts.remove(&at);
                wave.well(&planned.destination);
                wave.verified.insert(verified.intent.assignment.clone());
                if verified.verdict == Verdict::Unknown {
                    wave.unknown();
                    let lines = verified.lines.join("; ");
                    self.summary.remarks.push(format!("unknown: {} {}: {lines}", planned.container, planned.path));
                }
                if let Some(class) = verified.left {
                    let message = remedy::left(class, &verified.intent, verified.move_id);
                    self.summary.remarks.push(message.clone());
                    self.tell(Event::Warning { message });
                }
                self.count(verified.verdict);
                match verified.deep {
                    Some(Checked::Pass) => self.summary.whole += 1,
                    Some(_) => self.summary.whole_unknown += 1,
                    None => {}
                }
                self.summary.bytes.0 += verified.intent.bytes.0;
                let verdict = verified.verdict.as_str();
                tally::record(&mut self.state, &verified.intent, verdict, &verified.source, &verified.destination);
                tally::beside(
                    &mut self.state,
                    &verified.intent,
                    verified.deep.map(whole::word),
                    verified.left.is_some(),
                );
                self.forget_tries(planned.container);
                self.holds.push(planned.container);
                self.unsaved += 1;
                if self.unsaved >= CHECKPOINT_EVERY {
                    self.save().await;
                }
            }
            Ended::Skipped { why, done } => self.skipped(at, why, done),
            Ended::Again { class, cause, wait, .. } => self.failed(id, at, class, cause, wait).await,
            Ended::Quarantined { class, .. } => {
                self.sets_aside(id, at, class);
                self.quarantined(ended).await;
            }
            Ended::Stopped => wave.put_back(at),
            Ended::Unreachable { cause, alone: true } if wave.is_alone(at) => {
                let ended = self.mover.quarantine(planned, Class::Unanswered, vec![cause]);
                self.sets_aside(id, at, Class::Unanswered);
                self.quarantined(ended).await;
            }
            Ended::Unreachable { cause, alone } => {
                let attempt = wave.attempts.get(&at).copied().unwrap_or(1);
                wave.uncount(at);
                if alone {
                    wave.reached();
                }
                if !wave.gives_up(&cause) && !halts {
                    wave.wait(&planned.destination);
                    self.retry(id, at, cause, attempt, UNREACHABLE_AFTER);
                } else {
                    wave.again(at);
                }
            }
            Ended::Foreign { live } => {
                wave.uncount(at);
                wave.wait(&planned.destination);
                self.await_foreign(id, at, live);
            }
            Ended::Halt { cause } => wave.close(cause),
            Ended::InDoubt { cause } => {
                self.in_doubt = true;
                self.summary.in_doubt += 1;
                wave.in_doubt += 1;
                let message = format!("{} {}: {cause}; the next apply takes it up", planned.container, planned.path);
                self.summary.remarks.push(message.clone());
                self.tell(Event::Warning { message });
            }
            Ended::Fatal { cause } => self.fatal = Some(cause),
        }
        if let (true, Some(ms), Some(interval)) = (verified, frozen, predicted) {
            self.measured(at, interval, ms);
        }
        if verified || skipped || self.summary.quarantined > quarantined {
            self.settled(at);
            if let Some(eta) = self.eta.due(now) {
                self.tell(Event::Eta { seconds: eta.seconds, low: eta.low, high: eta.high });
            }
        }
    }

    /// Does about a failed attempt what the table says of its class.
    async fn failed(&mut self, id: ActionId, at: usize, class: Class, cause: String, wait: Option<u64>) {
        let Some(planned) = self.plan.moves.get(at) else { return };
        let halts = self.halts();
        let Some(wave) = self.waves.get_mut(&id) else { return };
        let destination = &planned.destination;
        let attempt = wave.attempts.get(&at).copied().unwrap_or(1);
        let same = wave.says_the_same(at, &cause);
        let (said, before) = wave.tries.get(&at).cloned().unwrap_or_default();
        let over = match class.row().action {
            Action::SetAside => true,
            Action::RetryUnlessSame => attempt >= ATTEMPTS || same,
            // The hook has had its only turn: it is tried again once, whatever was spent before.
            Action::DeadEnd => false,
            // GitLab took nothing: that says little of the repository, and much of GitLab, which may be ill for a while.
            Action::Reconcile => attempt >= ATTEMPTS * 3,
            Action::Confirm => attempt > ATTEMPTS,
            _ => attempt >= ATTEMPTS,
        };
        if over {
            let first = attempt.saturating_sub(u32::try_from(said.len()).unwrap_or(0)) + 1;
            let evidence = (first..).zip(&said).map(|(n, cause)| format!("attempt {n}: {cause}")).collect();
            let ended = self.mover.quarantine(planned, class, evidence);
            self.sets_aside(id, at, class);
            self.quarantined(ended).await;
            return;
        }
        let (container, said) =
            (planned.container, wave.tries.get(&at).map(|(said, _)| said.clone()).unwrap_or_default());
        let tried = Tried { attempts: attempt, said };
        self.mover.journal.note(vec![Entry::Tried { container, tried }]);
        self.tries.insert(container, Tried { attempts: attempt, said: Vec::new() });
        if halts {
            wave.again(at);
            if class == Class::Unstarted {
                self.suspects.insert(at);
            }
            return;
        }
        let drawn = backoff::delay(&self.mover.rules.run, planned.container, attempt, before);
        let after = match class.row().action {
            Action::DeadEnd => backoff::LEASE,
            _ => drawn.max(wait.unwrap_or(0)),
        };
        if let Some((_, last)) = wave.tries.get_mut(&at) {
            *last = drawn;
        }
        wave.wait(destination);
        if class == Class::Unstarted {
            self.suspects.insert(at);
        }
        if self.max_wait.is_some_and(|most| Duration::from_secs(after) > most) {
            // Waited for as windows are: the run may leave before.
            let (container, path) = (planned.container, planned.path.to_string());
            let frozen = self.suspects.contains(&at);
            self.tell(Event::MoveRetried { container, path, cause, attempt, after_seconds: after, frozen });
            let seconds = jiff::SignedDuration::from_secs(i64::try_from(after).unwrap_or(i64::MAX));
            let due = self.ports().clock.now().checked_add(seconds).unwrap_or(jiff::Timestamp::MAX);
            self.hours.retry(id, at, due);
        } else {
            self.retry(id, at, cause, attempt, after);
        }
        if class.row().action == Action::Destination {
            self.await_destination(destination);
        }
    }

    /// Names the repositories of which only the attempt that was not made would tell whether they can be written to.
    pub(super) fn name_suspects(&mut self) {
        for planned in self.suspects.iter().filter_map(|at| self.plan.moves.get(*at)) {
            let PlannedMove { container, path, source, destination, .. } = planned;
            let case = remedy::Case { container: *container, source, destination, move_id: None };
            let suspect = remedy::suspect(case, path);
            self.summary.remarks.push(format!("{suspect}; or apply again: the attempt that would tell was not made"));
        }
    }

    /// Counts a repository that is set aside against its pair, and says so when that is paused.
    fn sets_aside(&mut self, id: ActionId, at: usize, class: Class) {
        let Some(planned) = self.plan.moves.get(at) else { return };
        let paused = self.waves.get_mut(&id).and_then(|wave| wave.failed(&planned.destination, class));
        if let Some(why) = paused {
            let message = format!("{why}; nothing more is scheduled from {} to there", planned.source);
            self.tell(Event::Warning { message });
        }
        if class == Class::DeadEndB {
            let why = format!("the worker of {}'s move is gone, and so may others be", planned.path);
            let word = self.watch.unsteady(why, self.ports().clock.now());
            self.heard(word);
        }
    }

    /// Schedules nothing towards a destination before its Gitaly answers, and measures its disk on that occasion. One that
    /// does not answer for long has its pairs paused.
    pub(super) fn await_destination(&mut self, destination: &StorageName) {
        if !self.measuring.insert(destination.clone()) {
            return;
        }
        self.away.insert(destination.clone());
        self.running += 1;
        let (ports, sender, name) = (self.ports().clone(), self.sender.clone(), destination.clone());
        let (asked, stop) = (name.clone(), self.stop.clone());
        let work = async move { patiently(&ports, &stop, |_| {}, || ports.gitaly.disk(&asked)).await };
        let fault = |cause| Err(PortError::new(PortErrorKind::Protocol, "DiskStatistics", cause));
        guarded(work, fault, move |measured| {
            let message = match measured {
                Err(e) => Message::Away(name, e.to_string()),
                measured => Message::Measured(name, measured),
            };
            let _ = sender.send(message);
        });
    }

    /// A destination that did not answer for long: its pairs are paused.
    pub(super) fn away(&mut self, destination: StorageName, cause: &str) {
        self.running -= 1;
        self.measuring.remove(&destination);
        self.away.remove(&destination);
        let why = format!("{destination} does not answer: {cause}");
        let mut new = false;
        for wave in self.waves.values_mut() {
            new |= wave.breaker.pause(&destination, why.clone()).is_some();
        }
        if new {
            self.tell(Event::Warning { message: format!("{why}; nothing more is scheduled to there in this run") });
        }
    }

    /// What an answer about GitLab's version means for what runs.
    pub(super) fn heard(&mut self, word: Option<Word>) {
        match word {
            None => {}
            Some(Word::Hold(what) | Word::GoOn(what)) => self.tell(Event::Waiting { what }),
            Some(Word::TooLong(until)) => self.waves.values_mut().for_each(|wave| wave.pause(&until)),
        }
    }

    pub(super) fn retry(&self, id: ActionId, at: usize, cause: String, attempt: u32, after: u64) {
        if let Some(planned) = self.plan.moves.get(at) {
            let (container, path) = (planned.container, planned.path.to_string());
            let frozen = self.suspects.contains(&at);
            self.tell(Event::MoveRetried { container, path, cause, attempt, after_seconds: after, frozen });
        }
        let (ports, sender, stop) = (self.ports().clone(), self.sender.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = ports.clock.sleep(Duration::from_secs(after)) => {}
                () = stop.cancelled() => {}
            }
            let _ = sender.send(Message::RetryDue(id, at));
        });
    }

    /// A move's time for another attempt has come.
    pub(super) fn due(&mut self, id: ActionId, at: usize) {
        if let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) {
            wave.due(&planned.destination);
            wave.again(at);
        }
    }

    /// Waits for somebody's move of a repository; nothing else waits with it.
    fn await_foreign(&self, id: ActionId, at: usize, live: Box<MoveRecord>) {
        let Some(planned) = self.plan.moves.get(at) else { return };
        let (mover, sender, path) = (self.mover.clone(), self.sender.clone(), planned.path.to_string());
        let most = self.max_wait.unwrap_or(Duration::MAX);
        tokio::spawn(async move {
            let ended = mover.wait_for_foreign(&path, &live, most).await;
            let _ = sender.send(Message::Foreign(id, at, live, ended));
        });
    }

    /// Somebody's move was waited for.
    pub(super) fn foreign_over(&mut self, id: ActionId, at: usize, live: &MoveRecord, ended: Foreign) {
        let Foreign::TooLong { minutes } = ended else { return self.due(id, at) };
        let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) else { return };
        wave.due(&planned.destination);
        self.settled(at);
        let MoveRecord { id: number, destination, .. } = live;
        let why = format!("somebody's move {number} to {destination} has been under way for {minutes} minutes");
        self.skipped(at, why, false);
    }

    pub(super) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Attested => self.summary.attested += 1,
            Verdict::Advanced => self.summary.advanced += 1,
            Verdict::Bracketed => self.summary.bracketed += 1,
            Verdict::Unknown | Verdict::Missing => self.summary.unknown += 1,
        }
    }

    /// What was tried of a container counts no more: it has moved, or a person decides when it is tried again.
    fn forget_tries(&mut self, container: Container) {
        if self.tries.remove(&container).is_some() {
            self.mover.journal.note(vec![Entry::Tried { container, tried: Tried::default() }]);
        }
    }

    pub(super) async fn quarantined(&mut self, ended: Ended) {
        let Ended::Quarantined { container, path, class, record } = ended else { return };
        self.forget_tries(container);
        let loss = class.is_loss();
        self.summary.quarantined += 1;
        if loss {
            self.summary.lost += 1;
            let cause = format!("{container} {path} lacks something on its destination: {}", record.cause);
            lock(&self.mover.closed).insert(record.source.clone(), cause);
        }
        self.tell(Event::Quarantined {
            container,
            path: path.clone(),
            cause: record.cause.clone(),
            evidence: record.evidence.clone(),
            remedy: record.remedy.clone(),
            loss,
        });
        self.summary.remarks.extend(remedy::urgent(container, &record));
        self.mover.poller.dead(container);
        self.set_aside_hooks(container, &path, class, &record);
        self.state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
        self.holds.push(container);
        self.save().await;
    }
}
