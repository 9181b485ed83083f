//! The actions on a cluster: objects that are applied, volumes that grow, pods that are replaced, and the waits for what
//! they bring.
//!
//! Each action reads what it relies on just before it writes. A write whose answer was lost is judged by reading back.
//! Nothing that holds data is ever deleted: a pod is not data, and a StatefulSet is deleted without its pod.

mod claim;
mod disk;
mod known;
mod object;
mod pod;
mod ready;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Outcome};
use super::journal::Journal;
use super::port::{Apply, Cluster, PortError, PortErrorKind, PortResult, Ports};
use crate::model::cluster::{Answer, Manifest, ObjectKey, ObjectKind, Refusal, Why};
use crate::model::{Address, StorageName};
use crate::plan::Change;
use crate::state::StorageRecord;
use crate::state::journal::Record as Entry;
pub(super) use claim::{going, is_going};
pub(crate) use object::applied;
pub(super) use object::is_ours;
pub(super) use ready::{Look, condition, judge, list, see};
pub(crate) use ready::{Neighbours, same_disk};

/// How long an action sits out an API server that is away, by the fleet's clock: the restart of a control plane.
const PATIENCE: SignedDuration = SignedDuration::from_secs(180);
/// The first and the longest pause between two attempts of that.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A write that something else was faster than is looked at again so often.
const AGAIN: u32 = 3;
/// A wait says again what it waits for after so long.
const SAY_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Between two looks at what is waited for. Each look is a handful of requests for one storage: at half of it fifty
/// storages ask the API server a hundred times a second, at ten times of it a pod that came up waits for us.
const INTERVAL: Duration = Duration::from_secs(2);

/// What an action learned for the state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Learned {
    /// An object is as it was applied.
    Object {
        /// Which.
        key: ObjectKey,
        /// Of its manifest.
        digest: String,
        /// Of the live object.
        uid: Option<String>,
    },
    /// A storage answers.
    Ready {
        /// Of its claim.
        claim_uid: Option<String>,
        /// As Gitaly says.
        filesystem_id: String,
        /// Where the claim is.
        home: Home,
    },
    /// Nothing is left to remember of it.
    Forgotten,
}

/// Where a storage's objects are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Home {
    /// The namespace.
    pub(crate) namespace: Option<String>,
    /// The uid of the cluster's namespace kube-system, where it may be read.
    pub(crate) cluster_uid: Option<String>,
}

/// How an action ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) learned: Option<Learned>,
    /// A write may have been carried out, and could not be read back.
    pub(crate) in_doubt: bool,
    /// Another disk than the right one: not to be tried again before a person has looked.
    pub(crate) alarm: bool,
    /// The journal could not be written.
    pub(crate) fatal: Option<String>,
}

impl Ended {
    /// A fault of ours: what was written is found out by the next run.
    pub(crate) fn fault(cause: String) -> Self {
        Self { outcome: Outcome::Failed { cause }, learned: None, in_doubt: true, alarm: false, fatal: None }
    }
}

/// What ends an action before its end.
#[derive(Debug)]
enum Halt {
    Outcome(Outcome),
    Alarm(String),
    InDoubt(String),
    Fatal(String),
}

type Step<T> = Result<T, Halt>;

fn failed<T>(cause: impl Into<String>) -> Step<T> {
    Err(Halt::Outcome(Outcome::Failed { cause: cause.into() }))
}

fn stale<T>(cause: impl Into<String>) -> Step<T> {
    Err(Halt::Outcome(Outcome::Stale { cause: cause.into() }))
}

/// An error with what to do about it, in a line.
pub(super) fn told(error: &PortError) -> String {
    error.help.as_ref().map_or_else(|| error.to_string(), |help| format!("{error}. {help}"))
}

/// May pass by itself, or be found out by reading back.
pub(super) fn passes(error: &PortError) -> bool {
    matches!(error.kind, PortErrorKind::Transient | PortErrorKind::Ambiguous)
}

/// A refusal in a line, with the ways out where fields have other owners.
pub(super) fn no(refusal: &Refusal) -> String {
    if refusal.why != Why::Conflict || refusal.conflicts.is_empty() {
        return refusal.message.clone();
    }
    let owned: Vec<String> = refusal.conflicts.iter().map(|c| format!("{} ({})", c.field, c.manager)).collect();
    format!(
        "other field managers own {}: settle with them who owns these fields, or take them over with `import` or \
         --adopt; then apply again",
        owned.join(", ")
    )
}

pub(super) fn uid_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid").and_then(Value::as_str)
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The newest event of an object that tells of trouble, to say why something does not come.
pub(super) async fn newest_event(ports: &Ports, key: &ObjectKey) -> Option<String> {
    const FINE: [&str; 7] = ["Successful", "Scheduled", "Pull", "Created", "Started", "Killing", "Provisioning"];
    let events = ports.cluster.as_ref()?.events(key).await.ok()?;
    events.into_iter().next_back().filter(|event| !FINE.iter().any(|reason| event.starts_with(reason)))
}

/// What one action works with.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) ports: Ports,
    pub(crate) journal: Journal,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) stop: CancellationToken,
    /// The action's own, for what it says.
    pub(crate) address: Address,
    /// What is recorded of the action's storage.
    pub(crate) record: Option<StorageRecord>,
}

/// What was said last of a wait.
#[derive(Default)]
struct Said {
    why: String,
    at: Option<Timestamp>,
}

/// One sitting out of a server that is away.
struct Tries {
    began: Timestamp,
    pause: Duration,
    said: Said,
}

impl Hand {
    /// Carries out one action on the cluster, or on what waits for it.
    pub(crate) async fn act(&self, change: &Change, neighbours: &Neighbours) -> Ended {
        let step = match change {
            Change::ApplyObject { storage, manifest, class: _, uid, resource_version, changes, force } => {
                let (uid, version) = (uid.clone(), resource_version.clone());
                let expected = object::Expected { uid, version, changes: changes.clone() };
                self.apply_object(storage, manifest, expected, *force).await
            }
            Change::RecreateStatefulSet { storage, manifest, uid, changes, restarts: _ } => {
                self.recreate(storage, manifest, uid, changes).await
            }
            Change::GrowDisk { storage: _, claim, from, to } => self.grow(claim, *from, *to).await,
            Change::ReplacePod { storage, pod, uid, why: _ } => self.replace_pod(storage, pod, uid).await,
            Change::AwaitReady { storage, version, filesystem_id, deadline_seconds } => {
                let wanted = ready::Wanted {
                    storage,
                    version: version.as_deref(),
                    filesystem_id: filesystem_id.as_deref(),
                    neighbours,
                };
                self.await_ready(&wanted, *deadline_seconds).await
            }
            Change::AwaitKnown { storage, deadline_seconds } => self.await_known(storage, *deadline_seconds).await,
            Change::Forget { .. } => {
                Ok(("its record is dropped; nothing was deleted".to_owned(), Some(Learned::Forgotten)))
            }
            _ => failed("a fault of tranship: this is no action on a cluster"),
        };
        let ended = |outcome| Ended { outcome, learned: None, in_doubt: false, alarm: false, fatal: None };
        match step {
            Ok((detail, learned)) => Ended { learned, ..ended(Outcome::Done { detail }) },
            Err(Halt::Outcome(outcome)) => ended(outcome),
            Err(Halt::Alarm(cause)) => Ended { alarm: true, ..ended(Outcome::Failed { cause }) },
            Err(Halt::InDoubt(cause)) => Ended { in_doubt: true, ..ended(Outcome::Failed { cause }) },
            Err(Halt::Fatal(cause)) => Ended { fatal: Some(cause.clone()), ..ended(Outcome::Failed { cause }) },
        }
    }

    fn cluster(&self) -> Step<&Arc<dyn Cluster>> {
        match &self.ports.cluster {
            Some(cluster) => Ok(cluster),
            None => failed("the configuration names no cluster; add a `kubernetes` block"),
        }
    }

    fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Says what is waited for, when that changed or was not said for a while.
    fn say(&self, said: &mut Said, why: &str) {
        let now = self.now();
        let due = said.at.is_none_or(|at| now.duration_since(at) >= SAY_AGAIN);
        if due || said.why != why {
            *said = Said { why: why.to_owned(), at: Some(now) };
            let _ = self.events.send(Event::Waiting { what: format!("{}: {why}", self.address) });
        }
    }

    /// Waits; false when a signal ended it.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.ports.clock.sleep(duration) => true,
        }
    }

    /// Takes an answer, or sits out a server that is away for a while: `None` means to ask again.
    async fn patient<T>(&self, tries: &mut Tries, answer: PortResult<T>) -> Step<Option<T>> {
        match answer {
            Ok(found) => return Ok(Some(found)),
            Err(error) if passes(&error) && self.still(tries) => {
                self.say(&mut tries.said, &format!("trying again: {error}"));
            }
            Err(error) => return failed(told(&error)),
        }
        if self.breathe(tries).await { Ok(None) } else { Err(Halt::Outcome(Outcome::NotStarted)) }
    }

    /// True while patience lasts.
    fn still(&self, tries: &Tries) -> bool {
        self.now().duration_since(tries.began) < PATIENCE
    }

    /// Waits before another try, longer each time; false when a signal ended it.
    async fn breathe(&self, tries: &mut Tries) -> bool {
        let pause = tries.pause;
        tries.pause = (pause * 2).min(LONGEST_PAUSE);
        self.pause(pause).await
    }

    fn tries(&self) -> Tries {
        Tries { began: self.now(), pause: PAUSE, said: Said::default() }
    }

    async fn live(&self, key: &ObjectKey) -> Step<Option<Value>> {
        let cluster = self.cluster()?;
        let mut tries = self.tries();
        loop {
            if let Some(found) = self.patient(&mut tries, cluster.get(key).await).await? {
                return Ok(found);
            }
        }
    }

    /// What an apply would give.
    async fn dry_run(&self, manifest: &Manifest, force: bool) -> Step<Value> {
        let cluster = self.cluster()?;
        let mut tries = self.tries();
        loop {
            let answer = cluster.apply(manifest, Apply { dry_run: true, force }).await;
            match self.patient(&mut tries, answer).await? {
                Some(Answer::Accepted(then)) => return Ok(then),
                Some(Answer::Refused(refusal)) => return failed(no(&refusal)),
                None => {}
            }
        }
    }

    /// Makes something durable before the call that it speaks of.
    async fn note(&self, record: Entry) -> Step<()> {
        self.journal.append(vec![record]).await.map_err(|error| Halt::Fatal(error.to_string()))
    }

    async fn newest_event(&self, key: &ObjectKey) -> Option<String> {
        newest_event(&self.ports, key).await
    }
}

/// What a look before a write found.
enum Next<S, T> {
    /// This is to be sent.
    Send(S),
    /// It is so already.
    Over(T),
}

/// How a write came about.
enum Settled<T> {
    /// Accepted; the server's answer.
    Written(Value),
    /// It was so already.
    Already(T),
}

/// A write that is made once: sent again only after a look found that it has not happened.
#[async_trait]
trait Write: Sync {
    /// What a look finds to be sent.
    type Sent: Send;
    /// What a look finds when there is nothing to do.
    type Over: Send;
    /// Reads what the write relies on.
    async fn look(&self, hand: &Hand) -> Step<Next<Self::Sent, Self::Over>>;
    /// The call.
    async fn send(&self, cluster: &dyn Cluster, sent: Self::Sent) -> PortResult<Answer>;
}

impl Hand {
    /// Alternates looking and writing until the write is accepted, or a look finds it done.
    async fn settle<S: Send, T: Send>(&self, write: &dyn Write<Sent = S, Over = T>) -> Step<Settled<T>> {
        let first = write.look(self).await?;
        self.settle_from(first, write).await
    }

    /// The same, after a first look.
    async fn settle_from<S: Send, T: Send>(
        &self,
        first: Next<S, T>,
        write: &dyn Write<Sent = S, Over = T>,
    ) -> Step<Settled<T>> {
        let cluster = self.cluster()?;
        let mut tries = self.tries();
        let mut again = 0;
        let mut doubt: Option<String> = None;
        let mut first = Some(first);
        loop {
            let found = match first.take() {
                Some(first) => Ok(first),
                None => write.look(self).await,
            };
            let sent: S = match found {
                Ok(Next::Send(sent)) => sent,
                Ok(Next::Over(value)) => return Ok(Settled::Already(value)),
                // What was sent before may have arrived: not for this run to know.
                Err(Halt::Outcome(_)) if doubt.is_some() => return Err(Halt::InDoubt(doubt.unwrap_or_default())),
                Err(halt) => return Err(halt),
            };
            match write.send(cluster.as_ref(), sent).await {
                Ok(Answer::Accepted(value)) => return Ok(Settled::Written(value)),
                // A precondition of ours: something was faster. The next look tells what.
                Ok(Answer::Refused(refusal))
                    if refusal.why == Why::Conflict && refusal.conflicts.is_empty() && again < AGAIN =>
                {
                    again += 1;
                    continue;
                }
                Ok(Answer::Refused(refusal)) => return failed(no(&refusal)),
                Err(error) if passes(&error) && self.still(&tries) => {
                    self.say(&mut tries.said, &format!("reading back, then trying again: {error}"));
                    if error.kind == PortErrorKind::Ambiguous {
                        doubt = Some(told(&error));
                    }
                }
                Err(error) if error.kind == PortErrorKind::Ambiguous => return Err(Halt::InDoubt(told(&error))),
                Err(error) => return failed(told(&error)),
            }
            if !self.breathe(&mut tries).await {
                return Err(doubt.map_or(Halt::Outcome(Outcome::NotStarted), Halt::InDoubt));
            }
        }
    }
}

/// A storage's StatefulSet.
fn set_key(storage: &StorageName) -> ObjectKey {
    ObjectKey { kind: ObjectKind::StatefulSet, name: storage.to_string() }
}
