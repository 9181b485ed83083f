//! What works on the objects: the StatefulSet's controller, the scheduler, a kubelet a node, the volumes' binder, the
//! budgets' and quotas' accounts. Each looks at the objects as they are and writes what follows; what takes time has its
//! beginning in a condition of the object, so that a restart takes it up where it stood.

mod kubelet;
mod scheduler;
mod sets;
mod volumes;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::admission;
use super::kinds::kind_of;
use super::store::{Key, Store, written};
use super::values::{items, number, selects, set, text, texts};

pub(super) use volumes::{disk_of, volumes_of};

/// What controllers are told, and what goes wrong.
pub struct Surroundings<'a> {
    /// The fleet's time.
    pub now: Timestamp,
    /// From a pod's volumes being mounted to its being ready.
    pub pod_start: SignedDuration,
    /// Counts an occasion of a fault; true when it strikes.
    pub strikes: &'a mut dyn FnMut(&str) -> bool,
}

/// From a pod's deletion to its end.
const STOP: SignedDuration = SignedDuration::from_secs(2);
/// How long a volume takes to grow.
const GROWTH: SignedDuration = SignedDuration::from_secs(5);
/// The annotation that a fault leaves on what it struck.
pub(super) const FAULT: &str = "/metadata/annotations/sandbox~1fault";

impl Store {
    /// Has the controllers work until nothing is left for them to do now.
    pub fn tick(&mut self, around: &mut Surroundings<'_>) {
        // Each round writes only what changed; the bound is for a world that would never come to rest.
        for _ in 0..100 {
            self.stale = false;
            sets::run(self, around);
            volumes::run(self, around);
            scheduler::run(self, around);
            kubelet::run(self, around);
            budgets(self, around.now);
            quotas(self);
            if !self.stale {
                break;
            }
        }
        self.stale = false;
        self.forget_events(around.now);
    }

    /// True when objects changed since the controllers looked.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// When something becomes due by itself.
    pub fn next_due(&self, pod_start: SignedDuration) -> Option<Timestamp> {
        let pods = self.all("Pod", None).filter_map(|pod| kubelet::due(self, pod, pod_start));
        let claims = self.all("PersistentVolumeClaim", None).filter_map(volumes::due);
        pods.chain(claims).min()
    }
}

/// The uid of an object's controller.
pub(super) fn owner(object: &Value) -> &str {
    let owners = items(object, "/metadata/ownerReferences").iter();
    owners
        .filter(|o| o.get("controller") == Some(&Value::Bool(true)))
        .map(|o| text(o, "/uid"))
        .next()
        .unwrap_or_default()
}

/// One of an object's conditions.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|c| text(c, "/type") == kind)
}

/// True when a condition holds.
fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| text(c, "/status") == "True")
}

/// True for a pod that is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    holds(pod, "Ready")
}

/// True for what is being deleted.
pub(super) fn is_going(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// Since when a condition is as it is.
fn since(object: &Value, kind: &str) -> Option<Timestamp> {
    condition(object, kind).and_then(|c| text(c, "/lastTransitionTime").parse().ok())
}

/// Sets a condition; its time only moves when its status does.
fn set_condition(object: &mut Value, kind: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let shown = if status { "True" } else { "False" };
    let before = condition(object, kind);
    let same = before.is_some_and(|c| text(c, "/status") == shown);
    let time = if same { before.map_or("", |c| text(c, "/lastTransitionTime")).to_owned() } else { written(now) };
    let mut new = json!({ "type": kind, "status": shown, "lastProbeTime": null, "lastTransitionTime": time });
    if !reason.is_empty() {
        set(&mut new, &["reason"], reason);
    }
    if !message.is_empty() {
        set(&mut new, &["message"], message);
    }
    let mut all = items(object, "/status/conditions").to_vec();
    match all.iter_mut().find(|c| text(c, "/type") == kind) {
        Some(old) => *old = new,
        None => all.push(new),
    }
    set(object, &["status", "conditions"], all);
}

/// Where an object is kept.
fn key_of(object: &Value) -> Key {
    Key {
        kind: text(object, "/kind").to_owned(),
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
    }
}

/// All objects of a kind, to be changed one after the other.
fn every(store: &Store, kind: &str) -> Vec<Value> {
    store.all(kind, None).cloned().collect()
}

/// The names of the claims that a pod mounts.
fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    items(pod, "/spec/volumes").iter().map(|v| text(v, "/persistentVolumeClaim/claimName")).filter(|n| !n.is_empty())
}

/// True for a claim that a pod mounts.
pub(super) fn claim_is_used(store: &Store, claim: &Value) -> bool {
    let name = text(claim, "/metadata/name");
    store.all("Pod", Some(text(claim, "/metadata/namespace"))).any(|pod| claims_of(pod).any(|c| c == name))
}

/// What disruption budgets allow right now.
fn budgets(store: &mut Store, now: Timestamp) {
    for mut budget in every(store, "PodDisruptionBudget") {
        let namespace = text(&budget, "/metadata/namespace").to_owned();
        let selector = budget.pointer("/spec/selector").cloned();
        let pods: Vec<&Value> = store
            .all("Pod", Some(&namespace))
            .filter(|pod| selector.as_ref().is_some_and(|s| selects(s, pod.pointer("/metadata/labels"))))
            .collect();
        let healthy = pods.iter().filter(|pod| is_ready(pod) && !is_going(pod)).count();
        let owners: std::collections::BTreeSet<&str> =
            pods.iter().map(|pod| owner(pod)).filter(|o| !o.is_empty()).collect();
        let sets = store.all("StatefulSet", Some(&namespace));
        let expected: i64 =
            sets.filter(|s| owners.contains(text(s, "/metadata/uid"))).map(|s| number(s, "/spec/replicas")).sum();
        let expected = if owners.is_empty() { i64::try_from(pods.len()).unwrap_or(i64::MAX) } else { expected };
        // A share is rounded up.
        let amount = |value: &Value| match value.as_str().and_then(|t| t.strip_suffix('%')) {
            Some(share) => share.parse::<i64>().ok().map(|share| (expected * share + 99) / 100),
            None => value.as_i64(),
        };
        let desired = match (budget.pointer("/spec/minAvailable"), budget.pointer("/spec/maxUnavailable")) {
            (Some(least), _) => amount(least).unwrap_or(expected),
            (_, Some(most)) => (expected - amount(most).unwrap_or(0)).max(0),
            _ => expected,
        };
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
        let (status, reason) = if allowed > 0 { (true, "SufficientPods") } else { (false, "InsufficientPods") };
        let generation = number(&budget, "/metadata/generation");
        for (field, value) in [
            ("observedGeneration", generation),
            ("disruptionsAllowed", allowed),
            ("currentHealthy", healthy),
            ("desiredHealthy", desired),
            ("expectedPods", expected),
        ] {
            set(&mut budget, &["status", field], value);
        }
        let before = condition(&budget, "DisruptionAllowed").cloned();
        let shown = if status { "True" } else { "False" };
        let time = before.filter(|c| text(c, "/status") == shown).map(|c| text(&c, "/lastTransitionTime").to_owned());
        let condition = json!({
            "type": "DisruptionAllowed", "status": shown, "reason": reason, "message": "",
            "observedGeneration": generation, "lastTransitionTime": time.unwrap_or_else(|| written(now)),
        });
        set(&mut budget, &["status", "conditions"], json!([condition]));
        store.put(key_of(&budget), budget);
    }
}

/// What quotas have used up.
fn quotas(store: &mut Store) {
    for mut quota in every(store, "ResourceQuota") {
        let used = admission::used(store, text(&quota, "/metadata/namespace"));
        let hard = quota.pointer("/spec/hard").cloned().unwrap_or_else(|| json!({}));
        let uses: serde_json::Map<String, Value> = texts(&hard, "")
            .map(|(resource, _)| {
                let amount = used.get(resource).map_or_else(|| "0".to_owned(), ToString::to_string);
                (resource.to_owned(), amount.into())
            })
            .collect();
        set(&mut quota, &["status", "hard"], hard);
        set(&mut quota, &["status", "used"], uses);
        store.put(key_of(&quota), quota);
    }
}

/// The kind `Pod`.
fn pods() -> Option<&'static super::kinds::Kind> {
    kind_of("Pod")
}
