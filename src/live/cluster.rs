//! One reading of the cluster, through the ports alone: a list per kind, then dry runs of what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::future::{join, join_all, join3};
use serde_json::Value;

use super::observe::{reading, reason};
use crate::apply::port::{Apply, Cluster, Delete, PortErrorKind, PortResult, Ports};
use crate::model::cluster::{Answer, ClusterFacts, Counted, Manifest, ObjectKey, ObjectKind, Surroundings};
use crate::model::quantity::Quantity;
use crate::model::{ContainerKind, Cursor, Reading, StorageName};
use crate::plan::pods::{Wanted, WantedStorage, fitted, made_anew, needs_anew};

/// Storages tried at once, each with all its objects. The adapter bounds what is in flight; this bounds what waits there.
const STORAGES_AT_ONCE: usize = 8;

/// What is there, before anything is asked about what is wanted.
pub(super) struct Looked {
    version: String,
    identity: Option<String>,
    objects: BTreeMap<ObjectKey, Value>,
    surroundings: Surroundings,
}

/// Reads the cluster.
///
/// # Errors
/// Why it could not be read, with what to do.
pub(super) async fn look(ports: &Ports, wanted: &Wanted) -> Result<Looked, String> {
    let Some(cluster) = &ports.cluster else { return Err("no cluster is configured".to_owned()) };
    // First of all, and alone: when the cluster is away, one error says it.
    let version = cluster.version().await.map_err(|error| reason(&error))?;
    let (objects, surroundings, identity) =
        join3(list(cluster.as_ref(), wanted), cluster.surroundings(&wanted.secrets), cluster.identity()).await;
    let surroundings = surroundings.map_err(|error| reason(&error))?;
    // What may not be read of it is not needed.
    let identity = identity.ok().flatten();
    Ok(Looked { version, identity, objects: objects?, surroundings })
}

impl Looked {
    /// True when the storage's StatefulSet exists.
    pub(super) fn lives(&self, storage: &StorageName) -> bool {
        self.objects.contains_key(&ObjectKey { kind: ObjectKind::StatefulSet, name: storage.to_string() })
    }

    /// Asks about what is wanted; changes nothing but by dry runs, which store nothing.
    pub(super) async fn ask(&self, ports: &Ports, wanted: &Wanted) -> ClusterFacts {
        let mut facts = ClusterFacts {
            version: self.version.clone(),
            identity: self.identity.clone(),
            objects: self.objects.clone(),
            surroundings: self.surroundings.clone(),
            ..ClusterFacts::default()
        };
        let Some(cluster) = &ports.cluster else { return facts };
        let asked = wanted.storages.iter().map(|(name, storage)| async move {
            (name.clone(), self.ask_one(ports, cluster.as_ref(), name, storage).await)
        });
        let answers = futures::stream::iter(asked).buffered(STORAGES_AT_ONCE).collect::<Vec<_>>().await;
        let counted =
            wanted.counted.iter().map(|name| async move { (name.clone(), reading(held_by(ports, name).await)) });
        facts.held.extend(futures::stream::iter(counted).buffered(STORAGES_AT_ONCE).collect::<Vec<_>>().await);
        for (name, Asked { dry_runs, forced, anew, pod, growth, held }) in answers {
            facts.dry_runs.extend(dry_runs);
            facts.forced.extend(forced);
            facts.anew.extend(anew);
            facts.pods.extend(pod.map(|answer| (name.clone(), answer)));
            facts.growth.extend(growth.map(|answer| (name.clone(), answer)));
            facts.held.extend(held.map(|number| (name, number)));
        }
        facts
    }

    async fn ask_one(
        &self,
        ports: &Ports,
        cluster: &dyn Cluster,
        name: &StorageName,
        storage: &WantedStorage,
    ) -> Asked {
        let tries = join_all(
            storage
                .manifests
                .iter()
                .map(|manifest| async { try_one(cluster, &fitted(manifest, self.objects.get(&manifest.key))).await }),
        );
        let (tried, growth) = join(tries, self.try_growth(cluster, storage)).await;
        let set = tried.iter().find(|(key, ..)| key.kind == ObjectKind::StatefulSet);
        let live = set.and_then(|(key, ..)| self.objects.get(key));
        let changes = set.is_some_and(|(_, dry_run, forced)| rolls(live, forced.as_ref().unwrap_or(dry_run)))
            || self.is_behind(live, &storage.pod_name);
        let anew = async {
            match set {
                Some((key, dry_run, forced)) if live.is_some() && is_fixed(forced.as_ref().unwrap_or(dry_run)) => {
                    let manifest = storage.manifests.iter().find(|manifest| manifest.key == *key)?;
                    let under_another_name = made_anew(&fitted(manifest, live));
                    let dry = Apply { dry_run: true, force: false };
                    let then = reading(cluster.apply(&under_another_name, dry).await);
                    // It must go first: who may not delete it learns that before anything is begun.
                    let uid = live.and_then(|live| live.pointer("/metadata/uid")?.as_str()).map(ToOwned::to_owned);
                    let how = Delete { orphan: true, uid, dry_run: true, ..Delete::default() };
                    Some((
                        key.clone(),
                        match reading(cluster.delete(key, &how).await) {
                            Reading::Known(Answer::Accepted(_)) => then,
                            refused => refused,
                        },
                    ))
                }
                _ => None,
            }
        };
        let pod = async { if changes { Some(reading(cluster.try_pod(&storage.pod).await)) } else { None } };
        // Also of one that is to be made: GitLab may know its name, and what was on it.
        let held = async { if changes { Some(reading(held_by(ports, name).await)) } else { None } };
        let (anew, pod, held) = join3(anew, pod, held).await;
        let mut asked = Asked { dry_runs: Vec::new(), forced: Vec::new(), anew, pod, growth, held };
        for (key, dry_run, forced) in tried {
            asked.forced.extend(forced.map(|answer| (key.clone(), answer)));
            asked.dry_runs.push((key, dry_run));
        }
        asked
    }

    /// True for a pod that has not the newest template of its StatefulSet: it may restart without a change of that.
    fn is_behind(&self, set: Option<&Value>, pod: &str) -> bool {
        let pod = self.objects.get(&ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() });
        let revision = pod.and_then(|pod| pod.pointer("/metadata/labels/controller-revision-hash"));
        pod.is_some() && revision != set.and_then(|set| set.pointer("/status/updateRevision"))
    }

    /// The dry run of another size, where the claim asks for another one.
    async fn try_growth(&self, cluster: &dyn Cluster, storage: &WantedStorage) -> Option<Reading<Answer>> {
        let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: storage.claim.clone() };
        let request = self.objects.get(&key)?.pointer("/spec/resources/requests/storage")?.as_str()?;
        let differs = Quantity::parse(request).is_ok_and(|size| size.bytes() != storage.size);
        if differs { Some(reading(cluster.grow(&storage.claim, storage.size, true).await)) } else { None }
    }
}

/// What GitLab has on a storage: its projects, and where there are none, all else.
async fn held_by(ports: &Ports, storage: &StorageName) -> PortResult<Counted> {
    let projects = count(ports, ContainerKind::Project, storage).await?;
    if projects > 0 {
        return Ok(Counted::Projects(projects));
    }
    let mut all = 0;
    for kind in [ContainerKind::Snippet, ContainerKind::GroupWiki] {
        match count(ports, kind, storage).await {
            Ok(number) => all += number,
            // An edition that does not say where they are.
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(Counted::Projects(0)),
            Err(error) => return Err(error),
        }
    }
    Ok(Counted::All(all))
}

async fn count(ports: &Ports, kind: ContainerKind, storage: &StorageName) -> PortResult<u64> {
    let (mut found, mut at) = (0, Some(Cursor::START));
    while let Some(cursor) = at {
        let page = ports.gitlab.list(kind, storage, cursor).await?;
        found += page.found.len() as u64;
        at = page.next;
    }
    Ok(found)
}

/// One list per kind. All that failed are told: rights are mostly lacking for more than one.
async fn list(cluster: &dyn Cluster, wanted: &Wanted) -> Result<BTreeMap<ObjectKey, Value>, String> {
    let ours: BTreeSet<ObjectKind> =
        wanted.storages.values().flat_map(|storage| &storage.manifests).map(|manifest| manifest.key.kind).collect();
    let others = [ObjectKind::PersistentVolumeClaim, ObjectKind::Pod];
    let kinds: Vec<ObjectKind> = ObjectKind::APPLIED.iter().copied().chain(others).collect();
    let lists = join_all(kinds.iter().map(|kind| cluster.list(*kind))).await;
    let mut objects = BTreeMap::new();
    let mut errors = Vec::new();
    for (kind, result) in kinds.into_iter().zip(lists) {
        match result {
            Ok(items) => objects.extend(items.into_iter().filter_map(|item| {
                let name = item.pointer("/metadata/name")?.as_str()?.to_owned();
                Some((ObjectKey { kind, name }, item))
            })),
            // What no storage asks for need not be readable.
            Err(error)
                if error.kind == PortErrorKind::Forbidden && !ours.contains(&kind) && !others.contains(&kind) => {}
            Err(error) => errors.push(reason(&error)),
        }
    }
    // A line each: rights are told by the resource that they lack.
    if errors.is_empty() { Ok(objects) } else { Err(errors.join("\n")) }
}

/// What the cluster said about one storage.
struct Asked {
    dry_runs: Vec<(ObjectKey, Reading<Answer>)>,
    forced: Vec<(ObjectKey, Reading<Answer>)>,
    anew: Option<(ObjectKey, Reading<Answer>)>,
    pod: Option<Reading<Answer>>,
    growth: Option<Reading<Answer>>,
    held: Option<Reading<Counted>>,
}

type Tried = (ObjectKey, Reading<Answer>, Option<Reading<Answer>>);

/// The dry run of one object; where other managers own fields, also what taking them over would give.
async fn try_one(cluster: &dyn Cluster, manifest: &Manifest) -> Tried {
    let dry = |force| cluster.apply(manifest, Apply { dry_run: true, force });
    let first: PortResult<Answer> = dry(false).await;
    let contested = matches!(&first, Ok(Answer::Refused(refusal)) if !refusal.conflicts.is_empty());
    let forced = if contested { Some(reading(dry(true).await)) } else { None };
    (manifest.key.clone(), reading(first), forced)
}

/// True when a StatefulSet cannot become what is wanted in place.
fn is_fixed(answer: &Reading<Answer>) -> bool {
    matches!(answer, Reading::Known(Answer::Refused(refusal)) if needs_anew(refusal))
}

/// True when a StatefulSet's pod would be made from another template, or that cannot be told.
fn rolls(live: Option<&Value>, answer: &Reading<Answer>) -> bool {
    let template = |object: &Value| object.pointer("/spec/template").cloned();
    match (live, answer) {
        (Some(live), Reading::Known(Answer::Accepted(then))) => template(live) != template(then),
        _ => true,
    }
}
