//! Restarts a storage's pod on purpose, under its disruption budget, and measures how long the storage is away: by
//! questions to its Gitaly, put all the while, and by what the cluster says of its pods.
//!
//! Nothing of it needs a journal: a pod that was told to stop comes back by itself, whoever watches.

mod course;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cluster::{self, Look, judge, no, passes, see, text, told, uid_of};
use super::port::{Cluster, Delete, PortError, Ports};
use crate::model::cluster::{Answer, NodeFacts, ObjectKey, ObjectKind, Refusal, Why};
use crate::model::{Reading, StorageName};
use crate::plan::pods;
use crate::state::Tenths;
use course::{Course, Probe, Watch, between};

pub use course::Phases;

/// Between two questions, and between two looks at the pod. An outage is told at most so much too long at either end; a
/// tenth of it would put fifty questions a second to a Gitaly that is just starting.
const TICK: Duration = Duration::from_millis(200);
/// Questions under way at once: a server that is gone may leave each without an answer for a second, and the end of an
/// outage must not wait for that.
const PROBES: usize = 8;
/// So many answers in a row, put to a pod that is ready, are taken for the end: one may come by a path that is about to
/// change.
const STEADY: usize = 3;
/// How often the whole storage is looked at, to say what is waited for.
const SAY: SignedDuration = SignedDuration::from_secs(2);
/// How long a call that an API server does not answer is repeated, and the pause between two.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);

/// Which storage, and what is known of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its pod restarts.
    pub storage: StorageName,
    /// `max_unavailable` of its disruption budget: at 0 nobody may evict the pod, and it is deleted.
    pub max_unavailable: u32,
    /// How long its pod may take to come back.
    pub deadline_seconds: u32,
    /// As recorded; `None`: not yet.
    pub filesystem_id: Option<String>,
    /// As recorded; `None`: not yet.
    pub claim_uid: Option<String>,
}

/// How a pod is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Under its disruption budget.
    Evicted,
    /// Past a disruption budget of none.
    Deleted,
}

/// What was found before anything was done.
pub struct Before {
    pod: Value,
    /// The PersistentVolume.
    volume: String,
    filesystem_id: String,
    /// How the pod is told to stop.
    pub how: How,
    /// To be known before it is done, a line each.
    pub remarks: Vec<String>,
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Before").field("how", &self.how).finish_non_exhaustive()
    }
}

/// A restart that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Whose pod it was.
    pub storage: StorageName,
    /// How it was told to stop.
    pub how: How,
    /// How long its Gitaly answered nobody: at most this.
    pub outage_seconds: Tenths,
    /// False when every question was answered: the restart was too short to be seen, or another server answers.
    pub missed: bool,
    /// What took how long, from when the pod was told to stop.
    pub phases: Phases,
    /// From when it was told to stop until it was ready and answered.
    pub total_seconds: Tenths,
}

/// Why it was not done, or did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// A signal came before anything was done.
    pub interrupted: bool,
}

fn trouble<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble { message: message.into(), help: help.into(), interrupted: false })
}

/// The pod was told to stop by now, and how it went on is for the next plan.
const NEXT: &str = "Its StatefulSet goes on trying. `tranship plan` says what keeps it, and an apply waits for it.";
const NOTHING_DONE: &str = "Nothing was done.";

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        let help = error.help.clone().unwrap_or_default();
        Self { message: error.to_string(), help, interrupted: false }
    }
}

fn cluster_of(ports: &Ports) -> Result<&dyn Cluster, Trouble> {
    match &ports.cluster {
        Some(cluster) => Ok(cluster.as_ref()),
        None => trouble("the configuration names no cluster", "Add a `kubernetes` block."),
    }
}

/// What the server said no with, and the way out.
fn refused<T>(what: &str, refusal: &Refusal) -> Result<T, Trouble> {
    let help = match refusal.why {
        Why::Budget => "Another disruption budget holds it, or this one was changed just now: kubectl get pdb",
        Why::Forbidden if refusal.message.contains("render rbac") => {
            "Let somebody apply the Role that `tranship render rbac` prints."
        }
        _ => "The words are the API server's own: change what they name.",
    };
    trouble(format!("{what}: {} {NOTHING_DONE}", no(refusal).trim_end_matches('.').to_owned() + "."), help)
}

fn claim_key(storage: &StorageName) -> ObjectKey {
    ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: pods::claim_name(storage.as_str()) }
}

/// A pod that stops is the end of a claim that is being deleted, and without its claim the new one starts on another disk.
fn claim_stays(storage: &StorageName, claim: Option<&Value>, recorded: Option<&str>) -> Result<(), Trouble> {
    let key = claim_key(storage);
    let Some(claim) = claim else {
        return trouble(
            format!("{key} is gone: {storage} would come back on an empty disk. {NOTHING_DONE}"),
            "Do not stop its pod: as long as it runs, its repositories can be moved off. tranship plan",
        );
    };
    if cluster::is_going(claim) {
        return trouble(
            format!("{}. {NOTHING_DONE}", cluster::going(&key)),
            "What deletes the claim goes on when the pod stops, whoever stops it: tranship plan",
        );
    }
    match (recorded, uid_of(claim)) {
        (Some(recorded), Some(uid)) if recorded != uid => trouble(
            format!("{key} is another one than was recorded (uid {uid}, recorded is {recorded}). {NOTHING_DONE}"),
            "Find out whose volume is behind it first: tranship plan",
        ),
        _ => Ok(()),
    }
}

/// Looks whether the pod may restart: it runs and answers, would come back, and may be told to stop. Changes nothing.
///
/// # Errors
/// Why it should not, or that the cluster or Gitaly could not be asked.
pub async fn look(ports: &Ports, asked: &Asked) -> Result<Before, Trouble> {
    let (cluster, storage) = (cluster_of(ports)?, &asked.storage);
    let seen = see(ports, storage).await?;
    let Some(set) = &seen.set else {
        return trouble(format!("{storage} has no StatefulSet yet"), "Make it first: tranship apply");
    };
    if !cluster::is_ours(set) {
        return trouble(
            format!("StatefulSet/{storage} was not made by tranship"),
            "Restart it by what made it; or take it over first: tranship apply --adopt",
        );
    }
    claim_stays(storage, seen.claim.as_ref(), asked.claim_uid.as_deref())?;
    match judge(storage, &seen) {
        Look::Ready { .. } => {}
        Look::NotYet(why, _) | Look::Never(why) => {
            return trouble(
                format!("{storage} is not ready as it is, so that nothing could be measured: {why}"),
                "Bring it up first: tranship apply",
            );
        }
    }
    let Some(pod) = seen.pod.as_ref().cloned() else {
        return trouble(format!("{storage} has no pod"), "Bring it up first: tranship apply");
    };
    let filesystem_id = match ports.gitaly.probe(storage).await {
        Ok(facts) => facts.filesystem_id,
        Err(error) => {
            return trouble(
                format!("Gitaly of {storage} does not answer now, so that nothing could be measured: {}", told(&error)),
                "See that it answers at the storage's address first: tranship plan",
            );
        }
    };
    if let Some(recorded) = asked.filesystem_id.as_ref().filter(|recorded| **recorded != filesystem_id) {
        return trouble(
            format!("another disk is behind {storage}: its filesystem id is {filesystem_id:?}, recorded is {recorded}"),
            "Find the volume that it had before anything is restarted: tranship plan",
        );
    }
    let mut remarks = Vec::new();
    // A pod that admission would not let in again would never come back.
    match cluster.try_pod(&pods::trial_of(storage, set)).await? {
        Answer::Accepted(_) => {}
        Answer::Refused(refusal) if refusal.message.contains("exceeded quota") => {
            remarks.push(format!(
                "The quota has no room for a second pod, so that a new one could not be tried; it takes the old one's room: {}",
                refusal.message
            ));
        }
        Answer::Refused(refusal) => return refused(&format!("{storage} would not come back, its new pod"), &refusal),
    }
    let around = cluster.surroundings(&BTreeSet::new()).await?;
    let volume = seen.claim.as_ref().map_or("", |claim| text(claim, "/spec/volumeName")).to_owned();
    let facts = around.volumes.known().and_then(|volumes| volumes.get(&volume));
    let returns =
        |node: &NodeFacts| pods::may_run_on(set, node) && facts.is_none_or(|volume| pods::may_follow(volume, node));
    if let Reading::Known(nodes) = &around.nodes
        && !nodes.iter().any(returns)
    {
        return trouble(
            format!(
                "{storage} would not come back: every node that its pod may run on and that reaches its volume is cordoned or \
                 not ready"
            ),
            "Bring a node back first: kubectl uncordon NODE for one that is cordoned; see to one that is not ready",
        );
    }
    let how = match cluster.evict(&pods::pod_name(storage.as_str()), uid_of(&pod), true).await? {
        Answer::Accepted(_) => How::Evicted,
        Answer::Refused(refusal) if refusal.why == Why::Budget && asked.max_unavailable == 0 => {
            remarks.push(format!(
                "Its disruption budget lets nobody evict the pod (max_unavailable = 0): it is deleted instead. {}",
                refusal.message
            ));
            How::Deleted
        }
        Answer::Refused(refusal) => return refused(&format!("the pod of {storage} may not be evicted"), &refusal),
    };
    Ok(Before { pod, volume, filesystem_id, how, remarks })
}

/// Restarts the pod and watches until it is back. `say` is told what is waited for. A first signal before the pod was
/// told to stop ends it; later ones are for the next plan.
///
/// # Errors
/// What kept the pod from being told to stop, or from coming back in time; another disk behind it.
pub async fn rotate(
    ports: &Ports,
    asked: &Asked,
    before: &Before,
    stop: &CancellationToken,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Rotation, Trouble> {
    let cluster = cluster_of(ports)?;
    let storage = &asked.storage;
    let mut questions = Questions::put(ports, storage);
    if !questions.first().await {
        return trouble(format!("Gitaly of {storage} does not answer any more. {NOTHING_DONE}"), "Try again later.");
    }
    if stop.is_cancelled() {
        return Err(Trouble { message: NOTHING_DONE.to_owned(), help: String::new(), interrupted: true });
    }
    let mut course = Course::new(&before.pod, ports.clock.now());
    tell_to_stop(ports, asked, before).await?;
    say(&format!("The pod of {storage} was told to stop."));
    let pod_key = ObjectKey { kind: ObjectKind::Pod, name: pods::pod_name(storage.as_str()) };
    let deadline = SignedDuration::from_secs(i64::from(asked.deadline_seconds));
    let mut waiting = Waiting::default();
    loop {
        questions.take();
        let looked = cluster.get(&pod_key).await;
        let now = ports.clock.now();
        if let Ok(pod) = &looked {
            let held = match course.asks_about(pod.as_ref()).filter(|_| !before.volume.is_empty()) {
                Some(node) => cluster.attached(&before.volume, node).await.unwrap_or(Some(true)),
                None => None,
            };
            course.see(now, pod.as_ref(), held);
        }
        if let Some(since) = course.ready()
            && questions.watch.steady(since) >= STEADY
            && let Ok(seen) = see(ports, storage).await
            && matches!(judge(storage, &seen), Look::Ready { .. })
        {
            return ended(ports, asked, before, &course, &questions.watch, since).await;
        }
        let over = now.duration_since(course.began()) >= deadline;
        if over || waiting.due(now) {
            let why = match looked {
                Err(error) => error.to_string(),
                Ok(_) => why(ports, storage).await,
            };
            if over {
                return late(asked, &course, &why);
            }
            waiting.say(why, say);
        }
        if stop.is_cancelled() && !std::mem::replace(&mut waiting.stopping, true) {
            say(
                "The pod was told to stop already, and comes back by itself: it is watched until then. A second signal leaves at once.",
            );
        }
        ports.clock.sleep(TICK).await;
    }
}

/// It did not come back in time.
fn late<T>(asked: &Asked, course: &Course, why: &str) -> Result<T, Trouble> {
    let Asked { storage, deadline_seconds, .. } = asked;
    let message = format!("{storage} is not back {deadline_seconds} s after its pod was told to stop: {why}");
    if course.is_gone() {
        return trouble(message, NEXT);
    }
    let help = "Is its node lost? The pod is not deleted by force, since its Gitaly may still write: see to the node.";
    trouble(message, help)
}

/// Takes the measure of a restart that ended.
async fn ended(
    ports: &Ports,
    asked: &Asked,
    before: &Before,
    course: &Course,
    watch: &Watch,
    ready: Timestamp,
) -> Result<Rotation, Trouble> {
    let storage = &asked.storage;
    let facts = ports.gitaly.server(storage).await?;
    if facts.filesystem_id != before.filesystem_id {
        return trouble(
            format!(
                "another disk is behind {storage} since it restarted: its filesystem id was {}, and is {:?}. Its \
                 repositories are not on this disk",
                before.filesystem_id, facts.filesystem_id
            ),
            "Find the volume that it had before anything is written: is the claim new, or bound to another volume?",
        );
    }
    let outage = watch.outage();
    let answered = outage.map_or(ready, |(_, to)| to);
    let phases = course.phases(answered).unwrap_or_default();
    Ok(Rotation {
        storage: storage.clone(),
        how: before.how,
        outage_seconds: outage.map_or(Tenths::default(), |(from, to)| between(from, to)),
        missed: watch.missed(),
        phases,
        total_seconds: between(course.began(), ready.max(answered)),
    })
}

/// What is waited for.
#[derive(Default)]
struct Waiting {
    said: String,
    looked: Option<Timestamp>,
    stopping: bool,
}

impl Waiting {
    fn due(&mut self, now: Timestamp) -> bool {
        let due = self.looked.is_none_or(|last| now.duration_since(last) >= SAY);
        if due {
            self.looked = Some(now);
        }
        due
    }

    fn say(&mut self, why: String, say: &(dyn Fn(&str) + Send + Sync)) {
        if self.said != why {
            say(&why);
            self.said = why;
        }
    }
}

/// What keeps the storage from being back, in words.
async fn why(ports: &Ports, storage: &StorageName) -> String {
    let seen = match see(ports, storage).await {
        Ok(seen) => seen,
        Err(error) => return error.to_string(),
    };
    match judge(storage, &seen) {
        Look::Never(why) => why,
        Look::Ready { .. } => "its pod is ready; waiting until Gitaly answers steadily".to_owned(),
        Look::NotYet(why, of) => match cluster::newest_event(ports, &of).await {
            Some(event) if !why.contains(event.split_once(": ").map_or(event.as_str(), |part| part.1)) => {
                format!("{why} ({event})")
            }
            _ => why,
        },
    }
}

/// Tells the pod to stop: once, and again only when it is seen that the first time did not arrive.
async fn tell_to_stop(ports: &Ports, asked: &Asked, before: &Before) -> Result<(), Trouble> {
    let (cluster, storage) = (cluster_of(ports)?, &asked.storage);
    let key = ObjectKey { kind: ObjectKind::Pod, name: pods::pod_name(storage.as_str()) };
    let uid = uid_of(&before.pod).map(str::to_owned);
    let began = ports.clock.now();
    loop {
        // Minutes may have passed since the look, and the last pod that uses a claim is all that keeps it.
        let claim = cluster.get(&claim_key(storage)).await?;
        claim_stays(storage, claim.as_ref(), asked.claim_uid.as_deref())?;
        let answer = match before.how {
            How::Evicted => cluster.evict(&key.name, uid.as_deref(), false).await,
            How::Deleted => {
                let how = Delete { uid: uid.clone(), ..Delete::default() };
                cluster.delete(&key, &how).await
            }
        };
        match answer {
            Ok(Answer::Accepted(_)) => return Ok(()),
            Ok(Answer::Refused(refusal)) if matches!(refusal.why, Why::NotFound | Why::Conflict) => {
                return trouble(
                    format!("the pod of {storage} was replaced by somebody else just now. {NOTHING_DONE}"),
                    "Try again when it is ready.",
                );
            }
            Ok(Answer::Refused(refusal)) => return refused(&format!("the pod of {storage} stays"), &refusal),
            Err(error) if passes(&error) && ports.clock.now().duration_since(began) < PATIENCE => {
                ports.clock.sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
        // The call may have arrived, and only its answer have been lost.
        if let Ok(pod) = cluster.get(&key).await {
            let stays = pod.as_ref().is_some_and(|pod| {
                uid_of(pod) == uid.as_deref() && pod.pointer("/metadata/deletionTimestamp").is_none()
            });
            if !stays {
                return Ok(());
            }
        }
    }
}

/// Questions to Gitaly, put all the while by a task that ends with this.
struct Questions {
    watch: Watch,
    answers: UnboundedReceiver<Probe>,
    task: JoinHandle<()>,
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Questions {
    fn put(ports: &Ports, storage: &StorageName) -> Self {
        let (sender, answers) = unbounded_channel();
        let task = tokio::spawn(ask(ports.clone(), storage.clone(), sender));
        Self { watch: Watch::default(), answers, task }
    }

    /// Waits for the first answer; true when there is one.
    async fn first(&mut self) -> bool {
        let Some(probe) = self.answers.recv().await else { return false };
        self.watch.add(probe);
        probe.answered
    }

    /// Takes what has come.
    fn take(&mut self) {
        while let Ok(probe) = self.answers.try_recv() {
            self.watch.add(probe);
        }
    }
}

async fn ask(ports: Ports, storage: StorageName, to: UnboundedSender<Probe>) {
    let mut open = FuturesUnordered::new();
    loop {
        if open.len() < PROBES {
            open.push(probe(&ports, &storage));
        }
        let tick = ports.clock.sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                biased;
                Some(probe) = open.next(), if !open.is_empty() => if to.send(probe).is_err() { return },
                () = &mut tick => break,
            }
        }
    }
}

async fn probe(ports: &Ports, storage: &StorageName) -> Probe {
    let began = ports.clock.now();
    let answered = ports.gitaly.probe(storage).await.is_ok();
    Probe { began, ended: ports.clock.now(), answered }
}
