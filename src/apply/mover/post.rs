//! The POST that asks GitLab for a move: what became of one that was not answered with a move, and somebody else's moves.

use std::time::Duration;

use super::{Ended, FOREIGN, Foreign, Mover, REQUEST_MAY_RUN, Step};
use crate::apply::event::Event;
use crate::apply::failure::Class;
use crate::apply::lock;
use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::model::{MoveRecord, MoveState, StorageName};
use crate::state::journal::{Intent, Record};

impl Mover {
    pub(super) async fn post(&self, mut intent: Intent) -> Step<Ended> {
        let container = intent.container;
        lock(&self.freezing).insert(container, intent.at);
        let posted = match self.ports.gitlab.schedule(container, &intent.destination).await {
            Ok(record) => record,
            Err(e) => match self.refused(&intent, e).await? {
                Ok(record) => record,
                Err(ended @ (Ended::Quarantined { .. } | Ended::Again { .. })) => return self.journaled(ended).await,
                Err(ended) => {
                    let why = "not scheduled".to_owned();
                    self.journal.append(vec![Record::Dropped { container, why }]).await?;
                    return Ok(ended);
                }
            },
        };
        self.places.saw(container, posted.id);
        if posted.source != intent.source.as_str()
            && let Ok(source) = StorageName::new(posted.source.as_str())
        {
            // Somebody changed it behind GitLab's moves. What was read before is of another copy: only the frozen read of
            // the true source proves anything.
            self.tell(Event::Warning {
                message: format!("{}: GitLab moves it off {source}, not off {}", intent.path, intent.source),
            });
            intent = Intent { source, before_read: false, disks_differ: false, ..intent };
            self.journal.append(vec![Record::Intent { intent: Box::new(intent.clone()) }]).await?;
        }
        self.follow(intent, posted.id, None).await
    }

    /// Waits for somebody's move, for at most `most`. It takes no slot of ours meanwhile, and counts as a worker's.
    pub(crate) async fn wait_for_foreign(&self, path: &str, live: &MoveRecord, most: Duration) -> Foreign {
        let MoveRecord { container, id, state, destination, .. } = live;
        self.tell(Event::Waiting {
            what: format!("{path}: somebody's move {id} to {destination} is {state}; waiting for it"),
        });
        let most = most.min(FOREIGN);
        let over = self.poller.watch(container.kind, *id, None);
        let ended = tokio::select! {
            _ = over => return Foreign::Over,
            () = self.stop.cancelled() => Foreign::Stopped,
            () = self.ports.clock.sleep(most) => Foreign::TooLong { minutes: most.as_secs() / 60 },
        };
        self.poller.forget(container.kind, *id);
        ended
    }

    /// What became of a POST that was not answered with a move. `Ok`: it was carried out after all.
    async fn refused(&self, intent: &Intent, error: PortError) -> Step<Result<MoveRecord, Ended>> {
        match error.kind {
            PortErrorKind::Unauthenticated | PortErrorKind::Forbidden => {
                Ok(Err(Ended::Halt { cause: error.to_string() }))
            }
            PortErrorKind::Refused if error.message.contains("read-only") => self.read_only(intent, &error).await,
            // Of the destination or, when a storage was taken out of GitLab's configuration too early, of the source.
            PortErrorKind::Refused if error.message.contains("_storage_name") => {
                Ok(Err(Ended::Halt { cause: format!("{error}: GitLab's configuration lacks the storage") }))
            }
            PortErrorKind::Refused => Ok(Err(again(intent, Class::Refused, error.to_string()))),
            // 429 and the like are retried by the adapter; what arrives here may have been carried out.
            PortErrorKind::Ambiguous | PortErrorKind::Transient | PortErrorKind::Protocol => {
                self.tell(Event::Warning {
                    message: format!("{}: {error}; looking whether GitLab took the move", intent.path),
                });
                for wait in [Duration::from_secs(2), REQUEST_MAY_RUN] {
                    if let Some(record) = self.patiently(|| self.adopted(intent)).await? {
                        return Ok(Ok(record));
                    }
                    self.ports.clock.sleep(wait).await;
                }
                Ok(match self.patiently(|| self.adopted(intent)).await? {
                    Some(record) => Ok(record),
                    // An adapter says so only of what surely never arrived.
                    None if error.is_transient() => Err(Ended::Unreachable { cause: error.to_string(), alone: false }),
                    None => Err(again(intent, Class::LostAnswer, error.to_string())),
                })
            }
            PortErrorKind::NotFound => Ok(Err(Ended::Skipped { why: "deleted meanwhile".into(), done: true })),
        }
    }

    /// GitLab says that the container is read-only: somebody's move, ours whose answer was lost, or a dead end.
    async fn read_only(&self, intent: &Intent, error: &PortError) -> Step<Result<MoveRecord, Ended>> {
        let newest = self.patiently(|| self.ports.gitlab.moves_of(intent.container, 1)).await?.into_iter().next();
        let seen = match newest {
            Some(m) if m.id > intent.before_id && m.destination == intent.destination.as_str() => return Ok(Ok(m)),
            Some(m) if !m.state.is_terminal() => return Ok(Err(Ended::Foreign { live: Box::new(m) })),
            // Not seen before the POST: somebody's, which may have set it free by now. Another attempt tells.
            Some(m) if m.id > intent.before_id => {
                let cause = format!("somebody's move {} has just ended: it is {}", m.id, m.state);
                return Ok(Err(again(intent, Class::Foreign, cause)));
            }
            // An attempt of ours, as far as is known, that no worker took.
            Some(m) if m.state == MoveState::Failed && intent.attempt > 1 => {
                (Class::DeadEndA, Some(m.id), format!("its newest move, {}, is {}", m.id, m.state))
            }
            Some(m) => (Class::ReadOnly, Some(m.id), format!("its newest move, {}, is {}", m.id, m.state)),
            None => (Class::ReadOnly, None, "no move of it is under way".to_owned()),
        };
        let (class, move_id, seen) = seen;
        Ok(Err(self.dead_end(intent, class, vec![error.to_string(), seen], move_id).await))
    }

    /// The move that GitLab made of our intent, if it made one. A container that is gone has none.
    pub(super) async fn adopted(&self, intent: &Intent) -> PortResult<Option<MoveRecord>> {
        let moves = match self.ports.gitlab.moves_of(intent.container, 20).await {
            Err(e) if e.kind == PortErrorKind::NotFound => Vec::new(),
            moves => moves?,
        };
        Ok(moves
            .into_iter()
            .filter(|m| m.id > intent.before_id && m.destination == intent.destination.as_str())
            .min_by_key(|m| m.id))
    }
}

fn again(intent: &Intent, class: Class, cause: String) -> Ended {
    Ended::Again { container: intent.container, class, cause, wait: None }
}
