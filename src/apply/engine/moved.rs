//! What the loop does when a move has ended, one way or the other.

use std::time::Duration;

use super::{ATTEMPTS, CHECKPOINT_EVERY, Engine, Message, RETRY_AFTER, UNREACHABLE_AFTER, lock};
use crate::apply::event::Event;
use crate::apply::mover::Ended;
use crate::apply::tally;
use crate::apply::verify::Verdict;
use crate::plan::{ActionId, need};
use crate::state::{Record, State};

impl Engine<'_> {
    pub(super) fn skipped(&mut self, at: usize, why: String, done: bool) {
        self.summary.moves_skipped += 1;
        self.summary.moves_moot += u64::from(done);
        if let Some(planned) = self.plan.moves.get(at) {
            let (container, path) = (planned.container, planned.path.to_string());
            self.tell(Event::MoveSkipped { container, path, why, done });
        }
    }

    pub(super) async fn moved(&mut self, id: ActionId, at: usize, ended: Ended) {
        let Some(planned) = self.plan.moves.get(at) else { return };
        self.slots.give(&planned.source, &planned.destination);
        if let Some(towards) = self.towards.get_mut(&planned.destination) {
            *towards = (towards.0.saturating_sub(need(planned.copied()).0), towards.1.saturating_sub(1));
        }
        let halts = self.halts();
        let Some(wave) = self.waves.get_mut(&id) else { return };
        wave.in_flight -= 1;
        wave.flying.remove(&at);
        if !matches!(ended, Ended::Verified(_) | Ended::Quarantined { .. } | Ended::InDoubt { .. }) {
            self.room.release(&planned.destination, planned.copied());
        }
        match ended {
            Ended::Verified(verified) => {
                wave.reached();
                wave.ended(&planned.destination, true);
                wave.verified.insert(verified.intent.assignment.clone());
                if verified.verdict == Verdict::Unknown {
                    wave.unknown();
                    let lines = verified.lines.join("; ");
                    self.summary.remarks.push(format!("unknown: {} {}: {lines}", planned.container, planned.path));
                }
                if verified.cleanup_failed {
                    self.summary.remarks.push(format!(
                        "{} {}: GitLab left the copy on {}; remove it there through Gitaly",
                        planned.container, planned.path, planned.source
                    ));
                }
                self.count(verified.verdict);
                self.summary.bytes.0 += verified.intent.bytes.0;
                let verdict = verified.verdict.as_str();
                tally::record(&mut self.state, &verified.intent, verdict, &verified.source, &verified.destination);
                self.holds.push(planned.container);
                self.unsaved += 1;
                if self.unsaved >= CHECKPOINT_EVERY {
                    self.save().await;
                }
            }
            Ended::Skipped { why, done } => self.skipped(at, why, done),
            Ended::Again { cause } => {
                let attempt = wave.attempts.get(&at).copied().unwrap_or(1);
                let deterministic = wave.same_cause_twice(at, &cause);
                if attempt >= ATTEMPTS || deterministic {
                    wave.ended(&planned.destination, false);
                    let evidence = vec![format!("attempt {attempt}: {cause}")];
                    let remedy = format!(
                        "Look at move and repository in GitLab ({}); `git fsck` on {} tells whether the source is whole; \
                         then: tranship quarantine release",
                        planned.container, planned.source
                    );
                    let ended = self.mover.quarantine(planned, "move failed", evidence, remedy, false);
                    self.quarantined(ended).await;
                } else if halts {
                    wave.again(&planned.destination, at);
                } else {
                    let after = RETRY_AFTER.get(attempt as usize - 1).copied().unwrap_or(300);
                    wave.waiting += 1;
                    self.retry(id, at, cause, attempt, after);
                }
            }
            ended @ Ended::Quarantined { .. } => {
                wave.ended(&planned.destination, false);
                self.quarantined(ended).await;
            }
            Ended::Stopped => wave.put_back(&planned.destination, at),
            Ended::Unreachable { cause } => {
                let attempt = wave.attempts.get(&at).copied().unwrap_or(1);
                wave.uncount(at);
                if !wave.gives_up(&cause) && !halts {
                    wave.waiting += 1;
                    self.retry(id, at, cause, attempt, UNREACHABLE_AFTER);
                } else {
                    wave.again(&planned.destination, at);
                }
            }
            Ended::Halt { cause } => wave.close(cause),
            Ended::InDoubt { cause } => {
                self.in_doubt = true;
                wave.in_doubt += 1;
                let message = format!("{} {}: {cause}; the next apply takes it up", planned.container, planned.path);
                self.summary.remarks.push(message.clone());
                self.tell(Event::Warning { message });
            }
            Ended::Fatal { cause } => self.fatal = Some(cause),
        }
    }

    pub(super) fn retry(&self, id: ActionId, at: usize, cause: String, attempt: u32, after: u64) {
        if let Some(planned) = self.plan.moves.get(at) {
            let (container, path) = (planned.container, planned.path.to_string());
            self.tell(Event::MoveRetried { container, path, cause, attempt, after_seconds: after });
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

    pub(super) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Attested => self.summary.attested += 1,
            Verdict::Advanced => self.summary.advanced += 1,
            Verdict::Bracketed => self.summary.bracketed += 1,
            Verdict::Unknown | Verdict::Missing => self.summary.unknown += 1,
        }
    }

    pub(super) async fn quarantined(&mut self, ended: Ended) {
        let Ended::Quarantined { container, path, record, loss } = ended else { return };
        self.summary.quarantined += 1;
        if loss {
            self.summary.lost += 1;
            let cause = format!("{container} {path} lacks a reference tip on its destination");
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
        self.set_aside_hooks(container, &path, &record);
        self.state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
        self.holds.push(container);
        self.save().await;
    }
}
