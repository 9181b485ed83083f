//! Waits until a pod storage answers: its claim is bound, its pod ready, and Gitaly is the one that is wanted, on the disk
//! that is wanted.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::future::try_join3;
use jiff::SignedDuration;
use serde_json::Value;

use super::claim::{claim_key as key_of_claim, going, is_going};
use super::{Halt, Hand, Home, INTERVAL, Learned, Said, Step, failed, passes, set_key, text, told, uid_of};
use crate::apply::event::Outcome;
use crate::apply::port::{PortErrorKind, PortResult, Ports};
use crate::apply::verify;
use crate::model::cluster::{ObjectKey, ObjectKind};
use crate::model::{Container, ContainerKind, Cursor, ServerFacts, StorageName};
use crate::plan::{self, pods};

/// So many looks in a row at the same wrong answer make it final: the first ones may come from the pod that goes.
const FIRM: u32 = 4;
/// Servers asked at once for their disks' ids.
const AT_ONCE: usize = 8;
/// Repositories of each kind that are looked for on a disk that is seen for the first time.
const SAMPLE: usize = 20;

/// The disks of all other storages: what is known of them, and who has to be asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbours {
    /// By GitLab's name.
    pub(crate) known: BTreeMap<StorageName, String>,
    /// Those whose id nobody recorded.
    pub(crate) unknown: Vec<StorageName>,
}

/// What a storage must be when it is ready.
pub(super) struct Wanted<'a> {
    pub(super) storage: &'a StorageName,
    pub(super) version: Option<&'a str>,
    pub(super) filesystem_id: Option<&'a str>,
    pub(super) neighbours: &'a Neighbours,
}

/// How far the cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// The pod is ready.
    Ready {
        /// Of its claim.
        claim_uid: Option<String>,
    },
    /// Not yet; whose events tell more.
    NotYet(String, ObjectKey),
    /// What is waited for cannot come.
    Never(String),
}

/// What the cluster has of one storage.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) set: Option<Value>,
    pub(crate) claim: Option<Value>,
    pub(crate) pod: Option<Value>,
}

/// The keys of what [`Seen`] holds.
fn keys(storage: &StorageName) -> (ObjectKey, ObjectKey, ObjectKey) {
    let key = |kind, name| ObjectKey { kind, name };
    (set_key(storage), key_of_claim(storage), key(ObjectKind::Pod, pods::pod_name(storage.as_str())))
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The list at a pointer; empty when there is none.
pub(in crate::apply) fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The condition of that type.
pub(in crate::apply) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").find(|one| text(one, "/type") == kind)
}

/// Reads what the cluster has of one storage.
pub(crate) async fn see(ports: &Ports, storage: &StorageName) -> PortResult<Seen> {
    let Some(cluster) = &ports.cluster else { return Ok(Seen::default()) };
    let (set, claim, pod) = keys(storage);
    let (set, claim, pod) = try_join3(cluster.get(&set), cluster.get(&claim), cluster.get(&pod)).await?;
    Ok(Seen { set, claim, pod })
}

/// Judges what was seen. Pure.
pub(crate) fn judge(storage: &StorageName, seen: &Seen) -> Look {
    let (set_key, claim_key, pod_key) = keys(storage);
    let Some(set) = &seen.set else {
        return Look::Never(format!("{set_key} is gone: somebody deleted it; plan and apply again"));
    };
    if seen.claim.as_ref().is_some_and(|claim| text(claim, "/status/phase") == "Lost") {
        return Look::Never(format!(
            "{claim_key} is Lost: the volume that it was bound to is gone. tranship deletes no volumes; bring the volume \
             back, or move what it held from a backup"
        ));
    }
    if seen.claim.as_ref().is_some_and(is_going) {
        return Look::Never(going(&claim_key));
    }
    if is_going(set) {
        return Look::Never(format!("{set_key} is being deleted by somebody: plan and apply again when it is gone"));
    }
    let Some(pod) = &seen.pod else {
        return Look::NotYet(format!("waiting until {pod_key} is made"), set_key);
    };
    if is_going(pod) {
        return Look::NotYet(format!("waiting until the old {pod_key} has stopped"), pod_key);
    }
    if number(set, "/status/observedGeneration") < number(set, "/metadata/generation") {
        return Look::NotYet("waiting for the StatefulSet's controller".to_owned(), set_key);
    }
    let revision = text(set, "/status/updateRevision");
    let old = !revision.is_empty() && text(pod, "/metadata/labels/controller-revision-hash") != revision;
    // One that waits for a delete keeps its template on purpose: it is ready with the old one.
    let keeps = old && text(set, "/spec/updateStrategy/type") == "OnDelete";
    if let Some(why) = hindered(pod, &pod_key, seen.claim.as_ref(), &claim_key) {
        let old = if old { "; it still has the old template" } else { "" };
        return Look::NotYet(format!("{}{old}", why.0), why.1);
    }
    if old && !keeps {
        return Look::NotYet(format!("waiting until {pod_key} restarts with the new template"), set_key);
    }
    if condition(pod, "Ready").is_none_or(|ready| text(ready, "/status") != "True") {
        return Look::NotYet(format!("waiting until {pod_key} is ready"), pod_key);
    }
    match &seen.claim {
        Some(claim) if text(claim, "/status/phase") == "Bound" => {
            Look::Ready { claim_uid: uid_of(claim).map(ToOwned::to_owned) }
        }
        Some(claim) => Look::NotYet(format!("{claim_key} is {}", text(claim, "/status/phase")), claim_key),
        None => Look::NotYet(format!("waiting until {claim_key} is made"), set_key),
    }
}

/// What keeps a pod from starting, if anything is seen to.
fn hindered(pod: &Value, key: &ObjectKey, claim: Option<&Value>, claim_key: &ObjectKey) -> Option<(String, ObjectKey)> {
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|one| text(one, "/status") == "False") {
        let (reason, message) = (text(scheduled, "/reason"), text(scheduled, "/message"));
        let pending = claim.filter(|claim| text(claim, "/status/phase") == "Pending");
        let (note, of) = match pending {
            Some(_) => (format!("; {claim_key} is Pending"), claim_key),
            None => (String::new(), key),
        };
        return Some((format!("{key} finds no node: {reason}: {message}{note}"), of.clone()));
    }
    let containers = list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"));
    for status in containers {
        let name = text(status, "/name");
        let (reason, message) = (text(status, "/state/waiting/reason"), text(status, "/state/waiting/message"));
        // What every pod goes through is no hindrance.
        if !matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            let last = ended(status, "/lastState/terminated");
            return Some((format!("container {name} of {key} waits: {reason}: {message}{last}"), key.clone()));
        }
        let failed = number(status, "/state/terminated/exitCode") != 0;
        if failed {
            let ended = ended(status, "/state/terminated");
            return Some((format!("container {name} of {key} failed{ended}"), key.clone()));
        }
    }
    None
}

/// How a container ended, with what comes before it.
fn ended(status: &Value, pointer: &str) -> String {
    let Some(terminated) = status.pointer(pointer) else { return String::new() };
    let (reason, message) = (text(terminated, "/reason"), text(terminated, "/message").trim());
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("; it ended with exit code {} ({reason}{message})", number(terminated, "/exitCode"))
}

/// What Gitaly's answer says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Well,
    /// May be the pod's that goes.
    Wrong(String),
    /// The alarm: no moment later will make it right.
    Alarm(String),
}

fn weigh(wanted: &Wanted<'_>, facts: &ServerFacts) -> Answer {
    let storage = wanted.storage;
    if facts.filesystem_id.is_empty() {
        let why =
            "Gitaly cannot read the filesystem id of its disk (.gitaly-metadata): is the volume mounted and readable?";
        return Answer::Wrong(format!("{storage}: {why}"));
    }
    if let Some(recorded) = wanted.filesystem_id.filter(|id| *id != facts.filesystem_id) {
        return Answer::Alarm(format!(
            "another disk is behind {storage}: its filesystem id is {}, recorded is {recorded}. Its repositories are not on \
             this disk, and GitLab would find none of them: find the volume that it had (is the claim new, or bound to \
             another volume?) before anything is written",
            facts.filesystem_id
        ));
    }
    if let Some((other, _)) = wanted.neighbours.known.iter().find(|(_, id)| **id == facts.filesystem_id) {
        return Answer::Alarm(same_disk(storage, other));
    }
    if !facts.readable || !facts.writeable {
        return Answer::Wrong(format!("{storage}: Gitaly cannot write to its disk: it is full or mounted read-only"));
    }
    let (found, least) = (plan::version(&facts.version), wanted.version.and_then(plan::version));
    if let (Some(found), Some(least)) = (found, least)
        && found < least
    {
        return Answer::Wrong(format!(
            "{storage} runs Gitaly {}, older than {}: what a newer one wrote it may not read",
            facts.version,
            wanted.version.unwrap_or_default()
        ));
    }
    Answer::Well
}

/// What a disk means that lacks what GitLab lists on its storage.
fn empty_disk(storage: &StorageName, asked: usize, missing: &[String]) -> String {
    let named: Vec<&str> = missing.iter().map(String::as_str).take(3).collect();
    let more = if missing.len() > named.len() { ", …" } else { "" };
    format!(
        "GitLab lists repositories on {storage}, and of the {asked} that were asked for its disk lacks {}: {}{more}. Another \
         or an empty disk is behind it. Its filesystem id is not recorded. Find the volume that it had before anything is \
         written: was the claim or the namespace another one? If that is lost, restore these repositories onto this disk \
         from a backup, or delete them in GitLab; then apply again",
        missing.len(),
        named.join(", ")
    )
}

/// What two storages with one filesystem id mean.
pub(crate) fn same_disk(storage: &StorageName, other: &StorageName) -> String {
    format!(
        "{storage} and {other} have the same filesystem id: one disk, or a copy of it. GitLab would take a move between \
         them for done without copying anything; give {storage} a volume of its own"
    )
}

impl Hand {
    /// Waits until the storage answers as it should.
    pub(super) async fn await_ready(&self, wanted: &Wanted<'_>, seconds: u32) -> Step<(String, Option<Learned>)> {
        let until = self.now().checked_add(SignedDuration::from_secs(i64::from(seconds)));
        let until = until.unwrap_or(jiff::Timestamp::MAX);
        let mut said = Said::default();
        let mut wrong: (String, u32) = Default::default();
        let mut event: (String, String) = Default::default();
        self.cluster()?;
        loop {
            let why = match self.look(wanted, &mut event).await? {
                Ok(learned) => return Ok((format!("ready, Gitaly {}", learned.0), Some(learned.1))),
                Err((why, firm)) => {
                    let count = if firm && wrong.0 == why { wrong.1 + 1 } else { u32::from(firm) };
                    wrong = (why.clone(), count);
                    if count >= FIRM {
                        return failed(why);
                    }
                    why
                }
            };
            if self.now() >= until {
                return failed(format!(
                    "not ready after {seconds} s: {why}. What was applied stays, and apply again waits on. A pod that \
                     stays as it is although its cause was mended may be deleted, it is not data: kubectl delete pod {}",
                    pods::pod_name(wanted.storage.as_str())
                ));
            }
            self.say(&mut said, &why);
            if !self.pause(INTERVAL).await {
                return Err(Halt::Outcome(Outcome::NotStarted));
            }
        }
    }

    /// One look: ready, or why not yet and whether that is a wrong answer rather than none.
    async fn look(
        &self,
        wanted: &Wanted<'_>,
        event: &mut (String, String),
    ) -> Step<Result<(String, Learned), (String, bool)>> {
        let storage = wanted.storage;
        let seen = match see(&self.ports, storage).await {
            Ok(seen) => seen,
            Err(error) if passes(&error) => return Ok(Err((error.to_string(), false))),
            Err(error) => return failed(told(&error)),
        };
        let claim_uid = match judge(storage, &seen) {
            Look::Never(why) => return failed(why),
            Look::NotYet(why, of) => {
                // Asked again only when something changed: events are a list of their own.
                if event.0 != why {
                    *event = (why.clone(), self.newest_event(&of).await.unwrap_or_default());
                }
                let more = &event.1;
                let known = more.is_empty() || why.contains(more.split_once(": ").map_or(more.as_str(), |part| part.1));
                return Ok(Err((if known { why } else { format!("{why} ({more})") }, false)));
            }
            Look::Ready { claim_uid } => claim_uid,
        };
        let facts = match self.ports.gitaly.server(storage).await {
            Ok(facts) => facts,
            Err(error) => {
                let firm = matches!(
                    error.kind,
                    PortErrorKind::Unauthenticated | PortErrorKind::Forbidden | PortErrorKind::Refused
                );
                return Ok(Err((format!("the pod is ready, Gitaly is not: {}", told(&error)), firm)));
            }
        };
        match weigh(wanted, &facts) {
            Answer::Wrong(why) => Ok(Err((why, true))),
            Answer::Alarm(why) => Err(Halt::Alarm(why)),
            Answer::Well => {
                if wanted.filesystem_id.is_none() {
                    self.compare_disks(wanted, &facts.filesystem_id).await?;
                    match self.lacks_what_gitlab_lists(storage).await {
                        Ok(None) => {}
                        Ok(Some(why)) => return Err(Halt::Alarm(why)),
                        Err(error) => {
                            let why = format!("whether {storage} holds what GitLab lists there is not known: {error}");
                            return Ok(Err((why, !passes(&error))));
                        }
                    }
                }
                let home = self.home(seen.claim.as_ref()).await;
                Ok(Ok((facts.version, Learned::Ready { claim_uid, filesystem_id: facts.filesystem_id, home })))
            }
        }
    }

    /// Asks the servers whose disks nobody recorded: a new disk must be nobody else's.
    async fn compare_disks(&self, wanted: &Wanted<'_>, filesystem_id: &str) -> Step<()> {
        let asked = wanted.neighbours.unknown.iter().cloned().map(|other| async move {
            // One that does not answer is compared before the first move between the two.
            let facts = self.ports.gitaly.probe(&other).await.ok();
            facts.filter(|facts| facts.filesystem_id == filesystem_id).map(|_| other)
        });
        let asked: Vec<_> = asked.collect();
        let found: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
        match found.into_iter().flatten().next() {
            Some(other) => Err(Halt::Alarm(same_disk(wanted.storage, &other))),
            None => Ok(()),
        }
    }

    /// Why the disk of a storage that is seen for the first time is not the right one, by the oldest of what GitLab lists
    /// there: on a new disk there is only what came since. One that is lost by itself is no such sign, half of them are.
    /// `None` also where GitLab lists nothing that must be there.
    async fn lacks_what_gitlab_lists(&self, storage: &StorageName) -> PortResult<Option<String>> {
        let Ports { gitlab, .. } = &self.ports;
        let (mut asked, mut missing) = (0, Vec::new());
        for kind in ContainerKind::ALL {
            let listed = match gitlab.list(kind, storage, Cursor::START).await {
                Ok(page) => page.found,
                // An edition without this kind.
                Err(error) if error.kind == PortErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for repository in listed.iter().filter(|one| one.empty != Some(true)).take(SAMPLE) {
                asked += 1;
                if !self.holds(storage, repository.container).await? {
                    missing.push(repository.path.to_string());
                }
            }
        }
        Ok((!missing.is_empty() && missing.len() * 2 >= asked).then(|| empty_disk(storage, asked, &missing)))
    }

    /// Whether anything of a repository is on a disk.
    async fn holds(&self, storage: &StorageName, container: Container) -> PortResult<bool> {
        let Ports { gitlab, gitaly, .. } = &self.ports;
        for side in verify::paths(container) {
            if gitaly.exists(storage, &side.path).await? {
                return Ok(true);
            }
        }
        // It may be older than hashed storage.
        match gitlab.disk_path(container).await? {
            Some(path) => gitaly.exists(storage, &format!("{path}.git")).await,
            None => Ok(false),
        }
    }

    /// Where the claim is, as far as that may be read.
    async fn home(&self, claim: Option<&Value>) -> Home {
        let namespace = claim.map(|claim| text(claim, "/metadata/namespace")).filter(|name| !name.is_empty());
        let cluster_uid = match &self.ports.cluster {
            Some(cluster) => cluster.identity().await.ok().flatten(),
            None => None,
        };
        Home { namespace: namespace.map(ToOwned::to_owned), cluster_uid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn storage() -> StorageName {
        StorageName::new("gitaly-a").expect("valid")
    }

    fn ready() -> Seen {
        Seen {
            set: Some(json!({
                "metadata": { "generation": 2 },
                "status": { "observedGeneration": 2, "updateRevision": "gitaly-a-7" },
            })),
            claim: Some(json!({ "metadata": { "uid": "c-1" }, "status": { "phase": "Bound" } })),
            pod: Some(json!({
                "metadata": { "labels": { "controller-revision-hash": "gitaly-a-7" } },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            })),
        }
    }

    fn why(change: impl FnOnce(&mut Seen)) -> String {
        let mut seen = ready();
        change(&mut seen);
        match judge(&storage(), &seen) {
            Look::NotYet(why, of) => format!("{why} [{of}]"),
            Look::Never(why) => format!("never: {why}"),
            Look::Ready { .. } => "ready".to_owned(),
        }
    }

    fn pod(seen: &mut Seen) -> &mut Value {
        seen.pod.as_mut().expect("a pod")
    }

    #[test]
    fn a_wait_says_what_it_waits_for() {
        assert_eq!(judge(&storage(), &ready()), Look::Ready { claim_uid: Some("c-1".into()) });
        assert!(why(|s| s.set = None).starts_with("never: StatefulSet/gitaly-a is gone"));
        let lost = why(|s| s.claim = Some(json!({ "status": { "phase": "Lost" } })));
        assert!(lost.starts_with("never: PersistentVolumeClaim/repo-data-gitaly-a-0 is Lost"), "{lost}");
        assert_eq!(why(|s| s.pod = None), "waiting until Pod/gitaly-a-0 is made [StatefulSet/gitaly-a]");
        let stopping = why(|s| pod(s)["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        assert_eq!(stopping, "waiting until the old Pod/gitaly-a-0 has stopped [Pod/gitaly-a-0]");
        let unseen = why(|s| s.set.as_mut().expect("set")["metadata"]["generation"] = json!(3));
        assert_eq!(unseen, "waiting for the StatefulSet's controller [StatefulSet/gitaly-a]");
        let old = why(|s| pod(s)["metadata"]["labels"]["controller-revision-hash"] = json!("gitaly-a-6"));
        assert_eq!(old, "waiting until Pod/gitaly-a-0 restarts with the new template [StatefulSet/gitaly-a]");
        let on_delete = why(|s| {
            pod(s)["metadata"]["labels"]["controller-revision-hash"] = json!("gitaly-a-6");
            s.set.as_mut().expect("set")["spec"] = json!({ "updateStrategy": { "type": "OnDelete" } });
        });
        assert_eq!(on_delete, "ready", "it keeps its template on purpose");
        let starting = why(|s| pod(s)["status"]["conditions"][0]["status"] = json!("False"));
        assert_eq!(starting, "waiting until Pod/gitaly-a-0 is ready [Pod/gitaly-a-0]");
        assert!(why(|s| s.claim = Some(json!({ "status": { "phase": "Pending" } }))).contains("is Pending"));
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let unschedulable = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 node(s) were unschedulable." });
        let cordoned = why(|s| pod(s)["status"] = json!({ "conditions": [unschedulable] }));
        assert_eq!(
            cordoned,
            "Pod/gitaly-a-0 finds no node: Unschedulable: 0/3 nodes are available: 3 node(s) were unschedulable. \
             [Pod/gitaly-a-0]"
        );
        let pending = why(|s| {
            pod(s)["status"] = json!({ "conditions": [unschedulable] });
            s.claim = Some(json!({ "status": { "phase": "Pending" } }));
        });
        assert!(pending.contains("is Pending [PersistentVolumeClaim/repo-data-gitaly-a-0]"), "{pending}");
        let image = json!({ "name": "gitaly", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } });
        let pull = why(|s| pod(s)["status"] = json!({ "containerStatuses": [image] }));
        assert!(
            pull.starts_with("container gitaly of Pod/gitaly-a-0 waits: ImagePullBackOff: no such image"),
            "{pull}"
        );
        let crash = json!({ "name": "gitaly", "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "bad config" } } });
        let looping = why(|s| {
            pod(s)["status"] = json!({ "containerStatuses": [crash] });
            pod(s)["metadata"]["labels"]["controller-revision-hash"] = json!("gitaly-a-6");
        });
        assert!(
            looping.contains("it ended with exit code 1 (Error: bad config); it still has the old template"),
            "{looping}"
        );
        let init = json!({ "name": "init-cgroups", "state": { "terminated": { "exitCode": 2, "reason": "Error" } } });
        let failed = why(|s| pod(s)["status"] = json!({ "initContainerStatuses": [init] }));
        assert!(
            failed.starts_with("container init-cgroups of Pod/gitaly-a-0 failed; it ended with exit code 2"),
            "{failed}"
        );
        let fine = json!({ "name": "gitaly", "state": { "waiting": { "reason": "ContainerCreating" } } });
        assert!(why(|s| pod(s)["status"] = json!({ "containerStatuses": [fine] })).starts_with("waiting until"));
    }

    #[test]
    fn another_disk_is_an_alarm_and_not_a_success() {
        let (storage, other) = (storage(), StorageName::new("default").expect("valid"));
        let neighbours = Neighbours { known: [(other, "fs-old".to_owned())].into(), unknown: Vec::new() };
        let facts = |id: &str, version: &str, writeable| ServerFacts {
            version: version.into(),
            git_version: "2.47".into(),
            readable: true,
            writeable,
            filesystem_id: id.into(),
            replication_factor: 1,
        };
        let weigh = |recorded: Option<&str>, facts: ServerFacts| {
            weigh(
                &Wanted {
                    storage: &storage,
                    version: Some("v18.2.0"),
                    filesystem_id: recorded,
                    neighbours: &neighbours,
                },
                &facts,
            )
        };
        assert_eq!(weigh(None, facts("fs-new", "18.2.0", true)), Answer::Well);
        assert_eq!(weigh(Some("fs-new"), facts("fs-new", "18.10.1", true)), Answer::Well);
        assert!(
            matches!(weigh(Some("fs-new"), facts("fs-empty", "18.2.0", true)), Answer::Alarm(why) if why.contains("recorded is fs-new"))
        );
        assert!(
            matches!(weigh(None, facts("fs-old", "18.2.0", true)), Answer::Alarm(why) if why.contains("default have the same"))
        );
        assert!(matches!(weigh(None, facts("", "18.2.0", true)), Answer::Wrong(_)));
        assert!(matches!(weigh(None, facts("fs-new", "18.2.0", false)), Answer::Wrong(_)));
        assert!(
            matches!(weigh(None, facts("fs-new", "18.1.9", true)), Answer::Wrong(why) if why.contains("older than v18.2.0"))
        );
    }
}
