//! From a move that GitLab took to its verdict, and how a repository is set aside.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::{Ended, Mover, READ_AGAIN, STUCK, STUCK_BYTES_PER_SECOND, Step, VerifiedMove};
use crate::apply::event::Event;
use crate::apply::verify::{self, Judgement, Verdict};
use crate::model::{Container, ContainerKind, MoveState};
use crate::plan::PlannedMove;
use crate::state::QuarantineRecord;
use crate::state::journal::{Intent, Record, Side};

impl Mover {
    /// From an accepted move to its verdict.
    pub(super) async fn follow(&self, intent: Intent, id: u64, frozen: Option<Vec<Side>>) -> Step<Ended> {
        let container = intent.container;
        // The freeze is on: its read comes before anything else.
        let frozen = match frozen {
            Some(frozen) => Some(frozen),
            None => verify::read_frozen(&*self.ports.gitaly, &intent.source, &intent.before, intent.before_read).await,
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
        // Not told in time, or gone: the lists may have failed for long, the move need not have.
        let record = match ended {
            Some(record) => Some(record),
            None => {
                self.poller.forget(container.kind, id);
                self.patiently(|| self.ports.gitlab.move_record(container.kind, id)).await?
            }
        };
        self.thaw(&intent);
        let now = self.patiently(|| self.whereabouts(&intent, record.as_ref())).await?;
        let Some(record) = record.filter(|m| m.state.is_terminal() || now.is_none()) else {
            if now.is_none() {
                self.journal.append(vec![Record::Dropped { container, why: "deleted meanwhile".into() }]).await?;
                return Ok(Ended::Skipped { why: "deleted meanwhile".into(), done: true });
            }
            let evidence = vec![format!("move {id} has not ended for {} minutes", patience.as_secs() / 60)];
            let ended = self.frozen_for_good(&intent, evidence, console_lines(container.kind, Some(id)));
            return self.journaled(ended).await;
        };
        let there = now.as_ref() == Some(&intent.destination);
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
                let storage = now.map_or_else(String::new, |storage| storage.to_string());
                let evidence = vec![format!("move {id} is {state}, but GitLab says that it is on {storage}")];
                let remedy = "Look at it in GitLab's admin area; then: tranship quarantine release".to_owned();
                let ended = self.set_aside(&intent, "moved elsewhere", evidence, remedy, false, true);
                self.journaled(ended).await
            }
        }
    }

    /// Milliseconds since just before a move was asked for.
    fn frozen_ms(&self, intent: &Intent) -> u64 {
        let length = self.ports.clock.now().duration_since(intent.at).unsigned_abs();
        u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn thawed(&self) -> MutexGuard<'_, BTreeMap<Container, u64>> {
        self.thawed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The freeze is over, as far as is seen: what was borne is accounted, before it is known what came of the move.
    fn thaw(&self, intent: &Intent) {
        let frozen_ms = self.frozen_ms(intent);
        let (container, path, at) = (intent.container, intent.path.clone(), intent.at);
        self.journal.note(vec![Record::Thawed { container, path, at, frozen_ms }]);
        self.thawed().insert(container, frozen_ms);
    }

    pub(super) async fn verify(
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
            let ended = self.set_aside(&intent, crate::plan::MISSING_REFERENCE, judgement.lines, remedy, true, true);
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
        let frozen_ms = self.thawed().get(&container).copied();
        self.tell(Event::MoveVerified {
            container,
            path: intent.path.clone(),
            source: intent.source.clone(),
            destination: intent.destination.clone(),
            bytes: intent.bytes,
            verdict: verdict.to_string(),
            detail: judgement.lines.join("; "),
            frozen_ms: frozen_ms.unwrap_or_else(|| self.frozen_ms(&intent)),
        });
        let source = frozen.unwrap_or_else(|| intent.before.clone());
        let lines = judgement.lines;
        Ok(Ended::Verified(Box::new(VerifiedMove { intent, verdict, lines, source, destination, cleanup_failed })))
    }

    pub(super) fn frozen_for_good(&self, intent: &Intent, evidence: Vec<String>, console: String) -> Ended {
        let remedy = format!(
            "GitLab does not leave this by itself. Look at Sidekiq first; when no job of it runs, in the Rails console: {console} \
             Then: tranship quarantine release"
        );
        self.set_aside(intent, "read-only without an end", evidence, remedy, false, true)
    }

    /// Sets a repository aside after an intent. The remedy ends with the command that releases it.
    pub(super) fn set_aside(
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

    pub(super) async fn journaled(&self, ended: Ended) -> Step<Ended> {
        if let Ended::Quarantined { container, record, loss, .. } = &ended {
            let (quarantine, loss) = (Box::new(record.clone()), *loss);
            self.journal.append(vec![Record::Quarantined { container: *container, quarantine, loss }]).await?;
        }
        Ok(ended)
    }
}

/// The lines for GitLab's Rails console that end a move and make its container writable again.
pub(super) fn console_lines(kind: ContainerKind, id: Option<u64>) -> String {
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
