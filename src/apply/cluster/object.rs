//! Applies one object; makes a StatefulSet anew around its running pod.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::claim::claim_key;
use super::{Halt, Hand, Learned, Next, PAUSE, Said, Settled, Step, Write, failed, stale, text, uid_of};
use crate::apply::event::Outcome;
use crate::apply::port::{Apply, Cluster, Delete, PortResult};
use crate::model::StorageName;
use crate::model::cluster::{Answer, FIELD_MANAGER, Manifest, ObjectKey, ObjectKind};
use crate::plan::pods::{self, FieldChange, changes};
use crate::state::journal::Record as Entry;

/// Seconds by the fleet's clock until a StatefulSet that was deleted is gone: the garbage collector lets its pod go first.
const GONE: u64 = 180;
/// Looks at a StatefulSet that was made anew until its controller has said which template is its newest.
const REVISION_LOOKS: u32 = 40;
/// Where a StatefulSet says what becomes of its claims when it is deleted.
const WHEN_DELETED: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted";
/// The same field's path in a change.
const RETENTION: &str = ".spec.persistentVolumeClaimRetentionPolicy";

/// What the plan saw of an object.
#[derive(Default)]
pub(super) struct Expected {
    /// `None`: there was none.
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
    pub(super) changes: Vec<FieldChange>,
}

/// True when tranship has applied it.
pub(in crate::apply) fn is_ours(live: &Value) -> bool {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let ours = |entry: &Value| text(entry, "/manager") == FIELD_MANAGER && text(entry, "/operation") == "Apply";
    managers.into_iter().flatten().any(ours)
}

/// The live object when it is as a manifest says, and ours: an apply would change nothing. For a write that nobody saw the
/// end of.
pub(crate) async fn applied(cluster: &dyn Cluster, manifest: &Manifest, force: bool) -> PortResult<Option<Value>> {
    let Some(live) = cluster.get(&manifest.key).await? else { return Ok(None) };
    let then = match cluster.apply(manifest, Apply { dry_run: true, force }).await? {
        Answer::Accepted(then) => then,
        Answer::Refused(_) => return Ok(None),
    };
    Ok((is_ours(&live) && changes(&live, &then).is_empty()).then_some(live))
}

fn learned(manifest: &Manifest, live: &Value) -> Option<Learned> {
    let uid = uid_of(live).map(ToOwned::to_owned);
    Some(Learned::Object { key: manifest.key.clone(), digest: manifest.digest(), uid })
}

fn pod_key(storage: &StorageName) -> ObjectKey {
    ObjectKey { kind: ObjectKind::Pod, name: pods::pod_name(storage.as_str()) }
}

/// One apply, with what the plan saw.
struct Applying {
    storage: StorageName,
    manifest: Manifest,
    expected: Expected,
    force: bool,
}

#[async_trait]
impl Write for Applying {
    /// The uid of the live object.
    type Sent = Option<String>;
    type Over = Value;

    /// Compares the live object with what the plan saw; of a StatefulSet also the claim, for its pod may restart.
    async fn look(&self, hand: &Hand) -> Step<Next<Option<String>, Value>> {
        let next = self.compare(hand).await?;
        if matches!(next, Next::Send(_)) && self.manifest.key.kind == ObjectKind::StatefulSet {
            hand.claim_holds(&self.storage).await?;
        }
        Ok(next)
    }

    /// With the uid of the live object as a precondition, so that no other one is changed.
    async fn send(&self, cluster: &dyn Cluster, uid: Option<String>) -> PortResult<Answer> {
        cluster.apply(&with_uid(&self.manifest, uid), Apply { dry_run: false, force: self.force }).await
    }
}

/// A manifest that is refused for an object with another uid.
fn with_uid(manifest: &Manifest, uid: Option<String>) -> Manifest {
    let mut sent = manifest.clone();
    if let (Some(uid), Some(metadata)) = (uid, sent.body.get_mut("metadata").and_then(Value::as_object_mut)) {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    sent
}

impl Applying {
    async fn compare(&self, hand: &Hand) -> Step<Next<Option<String>, Value>> {
        let Self { storage: _, manifest, expected, force } = self;
        let key = &manifest.key;
        let (live, planned) = match (hand.live(key).await?, expected.uid.as_deref()) {
            (None, None) => return Ok(Next::Send(None)),
            (None, Some(_)) => return stale(format!("{key} is gone; the plan was made when it was there")),
            (Some(live), planned) => (live, planned),
        };
        let same = planned.is_some() && uid_of(&live) == planned;
        if same
            && expected.version.as_deref().is_some_and(|version| version == text(&live, "/metadata/resourceVersion"))
        {
            return Ok(Next::Send(planned.map(ToOwned::to_owned)));
        }
        let found = changes(&live, &hand.dry_run(manifest, *force).await?);
        // Taking an object over changes its owner, also where it changes nothing else.
        if found.is_empty() && (!*force || is_ours(&live)) {
            return Ok(Next::Over(live));
        }
        if same && found == expected.changes {
            return Ok(Next::Send(planned.map(ToOwned::to_owned)));
        }
        if !same {
            let what = if planned.is_none() { "was made by somebody" } else { "is another one" };
            return stale(format!("{key} {what} since the plan was made"));
        }
        // What is compared is in one order: where nothing differs, the two are the same.
        stale(
            differ(key, &found, &expected.changes).unwrap_or_else(|| format!("{key} changed since the plan was made")),
        )
    }
}

/// Compares what an apply would change now with what was planned; `None`: it is the same.
fn differ(key: &ObjectKey, found: &[FieldChange], planned: &[FieldChange]) -> Option<String> {
    let new = found.iter().filter(|change| !planned.contains(change));
    let gone = planned.iter().filter(|change| !found.contains(change));
    let fields: BTreeSet<&str> = new.chain(gone).map(|change| change.path.as_str()).collect();
    let fields: Vec<&str> = fields.into_iter().collect();
    (!fields.is_empty()).then(|| format!("{key} changed since the plan was made: {}", fields.join(", ")))
}

/// The change of a StatefulSet's policy alone, so that its claims outlive it. Its template stays as it is there.
struct Retaining {
    manifest: Manifest,
    uid: String,
}

#[async_trait]
impl Write for Retaining {
    /// The live spec.
    type Sent = Value;
    type Over = ();

    async fn look(&self, hand: &Hand) -> Step<Next<Value, ()>> {
        let key = &self.manifest.key;
        match hand.live(key).await? {
            Some(live) if uid_of(&live) != Some(&self.uid) => {
                stale(format!("{key} was made anew by somebody since the plan was made"))
            }
            Some(live) if text(&live, WHEN_DELETED) == "Delete" => {
                Ok(Next::Send(live.get("spec").cloned().unwrap_or_default()))
            }
            _ => Ok(Next::Over(())),
        }
    }

    async fn send(&self, cluster: &dyn Cluster, mut spec: Value) -> PortResult<Answer> {
        let retain = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
        let mut sent = with_uid(&self.manifest, Some(self.uid.clone()));
        if let (Some(spec), Some(body)) = (spec.as_object_mut(), sent.body.as_object_mut()) {
            spec.insert("persistentVolumeClaimRetentionPolicy".to_owned(), retain);
            body.insert("spec".to_owned(), json!(spec));
        }
        // What others own of it is taken over: it is made anew right after.
        cluster.apply(&sent, Apply { dry_run: false, force: true }).await
    }
}

/// The delete of a StatefulSet that leaves its pod.
struct Orphaning<'a> {
    storage: &'a StorageName,
    manifest: &'a Manifest,
    uid: &'a str,
    /// As planned.
    changes: &'a [FieldChange],
}

#[async_trait]
impl Write for Orphaning<'_> {
    /// The resourceVersion of what was compared with the plan: no other one is deleted.
    type Sent = String;
    type Over = ();

    async fn look(&self, hand: &Hand) -> Step<Next<String, ()>> {
        let key = &self.manifest.key;
        Ok(match hand.live(key).await? {
            None => Next::Over(()),
            Some(live) if uid_of(&live) != Some(self.uid) => {
                return stale(format!("{key} was made anew by somebody since the plan was made"));
            }
            Some(live) if live.pointer("/metadata/deletionTimestamp").is_some() => Next::Over(()),
            Some(live) => {
                hand.as_planned(self.manifest, &live, self.changes).await?;
                hand.claim_holds(self.storage).await?;
                Next::Send(text(&live, "/metadata/resourceVersion").to_owned())
            }
        })
    }

    async fn send(&self, cluster: &dyn Cluster, version: String) -> PortResult<Answer> {
        let resource_version = Some(version).filter(|version| !version.is_empty());
        let how = Delete { orphan: true, uid: Some(self.uid.to_owned()), resource_version, dry_run: false };
        cluster.delete(&self.manifest.key, &how).await
    }
}

impl Hand {
    /// Applies an object that the plan saw in a certain state.
    pub(super) async fn apply_object(
        &self,
        storage: &StorageName,
        manifest: &Manifest,
        expected: Expected,
        force: bool,
    ) -> Step<(String, Option<Learned>)> {
        let (key, creates) = (&manifest.key, expected.uid.is_none());
        // Before anything is written down for it: a plan that is stale leaves no intent.
        let write = Applying { storage: storage.clone(), manifest: manifest.clone(), expected, force };
        let first = write.look(self).await?;
        if let Next::Over(live) = &first {
            self.noted(storage, manifest, live).await?;
            return Ok(("it was so already".to_owned(), learned(manifest, live)));
        }
        self.intend(storage, manifest, force).await?;
        let settled = self.settle_from(first, &write).await?;
        let (detail, live) = match settled {
            Settled::Written(live) if creates => (format!("{} created", key.kind), live),
            Settled::Written(live) => (format!("{} changed", key.kind), live),
            Settled::Already(live) => ("applied; its answer was lost".to_owned(), live),
        };
        self.noted(storage, manifest, &live).await?;
        if key.kind == ObjectKind::StatefulSet && !creates {
            self.taken_up(key).await?;
        }
        Ok((detail, learned(manifest, &live)))
    }

    /// Waits for a moment until a StatefulSet's controller has seen its change: the next plan would wait for that.
    async fn taken_up(&self, key: &ObjectKey) -> Step<()> {
        for _ in 0..REVISION_LOOKS {
            let Some(set) = self.live(key).await? else { return Ok(()) };
            let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            if number("/status/observedGeneration") >= number("/metadata/generation") || !self.pause(PAUSE / 4).await {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn intend(&self, storage: &StorageName, manifest: &Manifest, force: bool) -> Step<()> {
        let (storage, manifest) = (storage.clone(), Box::new(manifest.clone()));
        self.note(Entry::ObjectIntent { storage, manifest, force }).await
    }

    async fn noted(&self, storage: &StorageName, manifest: &Manifest, live: &Value) -> Step<()> {
        let uid = uid_of(live).map(ToOwned::to_owned);
        let (storage, key, digest) = (storage.clone(), manifest.key.to_string(), manifest.digest());
        self.note(Entry::Object { storage, key, digest, uid }).await
    }

    /// Deletes a StatefulSet but not its pod, and applies it anew. The volume is not touched.
    pub(super) async fn recreate(
        &self,
        storage: &StorageName,
        manifest: &Manifest,
        planned: &str,
        changes: &[FieldChange],
    ) -> Step<(String, Option<Learned>)> {
        let key = &manifest.key;
        if key.kind != ObjectKind::StatefulSet {
            return failed(format!("{key} is no StatefulSet; nothing else is made anew"));
        }
        let before = self.live(&pod_key(storage)).await?;
        let live = self.live(key).await?;
        let detail = match live.as_ref().map(|live| (live, uid_of(live) == Some(planned))) {
            Some((live, true)) => {
                if live.pointer("/metadata/deletionTimestamp").is_none() {
                    self.as_planned(manifest, live, changes).await?;
                }
                self.claim_holds(storage).await?;
                self.settle(&Retaining { manifest: manifest.clone(), uid: planned.to_owned() }).await?;
                self.keeps_its_claims(storage, planned).await?;
                self.intend(storage, manifest, false).await?;
                self.orphan(&Orphaning { storage, manifest, uid: planned, changes }).await?;
                "made anew"
            }
            // An earlier run ended in the gap.
            None => {
                self.intend(storage, manifest, false).await?;
                "made"
            }
            Some((_, false)) => "it was made anew already",
        };
        let write = Applying {
            storage: storage.clone(),
            manifest: manifest.clone(),
            expected: Expected::default(),
            force: false,
        };
        let made = self.settle(&write).await;
        let live = match made {
            Ok(Settled::Written(live) | Settled::Already(live)) => live,
            Err(Halt::Outcome(Outcome::Failed { cause })) => {
                return failed(format!(
                    "{key} is deleted and could not be made anew yet: {cause}. Its pod runs on without it, its volume is \
                     untouched; the next apply makes it"
                ));
            }
            Err(halt) => return Err(halt),
        };
        self.noted(storage, manifest, &live).await?;
        let pod = match &before {
            Some(before) => self.pod_after(storage, key, before).await?,
            None => "",
        };
        Ok((format!("{detail}{pod}"), learned(manifest, &live)))
    }

    /// Compares what making a StatefulSet anew would change of it with what was planned: what somebody changed since would
    /// go with it.
    async fn as_planned(&self, manifest: &Manifest, live: &Value, planned: &[FieldChange]) -> Step<()> {
        let mut then = self.dry_run(&pods::made_anew(manifest), false).await?;
        if let (Some(name), Some(live)) = (then.pointer_mut("/metadata/name"), live.pointer("/metadata/name")) {
            live.clone_into(name);
        }
        // Set before the delete, so that the claims stay.
        let others = |changes: Vec<FieldChange>| -> Vec<FieldChange> {
            changes.into_iter().filter(|change| !change.path.starts_with(RETENTION)).collect()
        };
        match differ(&manifest.key, &others(changes(live, &then)), &others(planned.to_vec())) {
            Some(why) => stale(why),
            None => Ok(()),
        }
    }

    /// What becomes of the pod that was there `before` its StatefulSet was made anew: by the revision that the controller
    /// gives the template.
    async fn pod_after(&self, storage: &StorageName, key: &ObjectKey, before: &Value) -> Step<&'static str> {
        for _ in 0..REVISION_LOOKS {
            let Some(set) = self.live(key).await? else { return Ok("") };
            // Its controller was faster.
            let pod = self.live(&pod_key(storage)).await?.filter(|pod| uid_of(pod) == uid_of(before));
            let Some(pod) = pod else { return Ok("; its pod restarts") };
            let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            let newest = text(&set, "/status/updateRevision");
            if !newest.is_empty() && number("/status/observedGeneration") >= number("/metadata/generation") {
                let stays = pod.pointer("/metadata/deletionTimestamp").is_none();
                let same = text(&pod, "/metadata/labels/controller-revision-hash") == newest;
                return Ok(if same && stays {
                    "; its pod was not restarted"
                } else if !same && text(&set, "/spec/updateStrategy/type") == "OnDelete" {
                    "; its pod keeps its old template until it is deleted"
                } else {
                    "; its pod restarts"
                });
            }
            // As in the gap: short, and the state should know of what was made.
            self.ports.clock.sleep(PAUSE / 4).await;
        }
        Ok("")
    }

    /// A claim that belongs to the StatefulSet could go with it. Its controller lets go of it when it is told to retain.
    async fn keeps_its_claims(&self, storage: &StorageName, set: &str) -> Step<()> {
        let claim = claim_key(storage);
        let mut waited = Duration::ZERO;
        let mut said = Said::default();
        loop {
            let live = self.live(&claim).await?;
            let owners = live.as_ref().and_then(|claim| claim.pointer("/metadata/ownerReferences")?.as_array());
            if !owners.into_iter().flatten().any(|owner| text(owner, "/uid") == set) {
                return Ok(());
            }
            if waited.as_secs() >= GONE {
                return failed(format!(
                    "{claim} still belongs to the StatefulSet {GONE} s after persistentVolumeClaimRetentionPolicy.whenDeleted \
                     was set to Retain, and could go with it: is kube-controller-manager at work? Nothing was deleted; apply \
                     again"
                ));
            }
            self.say(&mut said, &format!("waiting until {claim} belongs to no StatefulSet any more"));
            if !self.pause(PAUSE / 4).await {
                return Err(Halt::Outcome(Outcome::NotStarted));
            }
            waited += PAUSE / 4;
        }
    }

    /// Deletes a StatefulSet without its pod, and waits until it is gone.
    async fn orphan(&self, write: &Orphaning<'_>) -> Step<()> {
        let (key, uid) = (&write.manifest.key, write.uid);
        match self.settle(write).await {
            Ok(_) => {}
            // Gone between the look and the call.
            Err(Halt::Outcome(Outcome::Failed { .. })) if self.live(key).await?.is_none() => {}
            Err(halt) => return Err(halt),
        }
        let mut waited = Duration::ZERO;
        let mut said = Said::default();
        loop {
            match self.live(key).await? {
                None => return Ok(()),
                Some(live) if uid_of(&live) != Some(uid) => {
                    return stale(format!("{key} was made anew by somebody while it was being deleted"));
                }
                // How long an API server takes to answer is none of the garbage collector's time.
                Some(_) if waited.as_secs() >= GONE => {
                    return failed(format!(
                        "{key} is still there {GONE} s after it was deleted: is the cluster's garbage collector at work \
                         (kube-controller-manager)? Its pod runs on; apply again"
                    ));
                }
                Some(_) => self.say(&mut said, "waiting until the old StatefulSet is gone; its pod runs on"),
            }
            // In the gap a signal is not obeyed: the StatefulSet comes back first.
            self.ports.clock.sleep(PAUSE / 4).await;
            waited += PAUSE / 4;
        }
    }
}
