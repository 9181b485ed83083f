//! What becomes of the pod that runs: whether it restarts, whether it finds a node then, and what that means.

use serde_json::{Value, json};

use super::{Found, One, Pods, held, image_version, uid};
use crate::model::cluster::{Answer, NodeFacts, ObjectKey, ObjectKind};
use crate::model::{Address, Reading};
use crate::plan::pods::diff::changes;
use crate::plan::pods::say::{self, Held, Restart};
use crate::plan::pods::statefulset::{has_labels, may_follow, may_run_on};
use crate::plan::pods::verdict::{touches_template, waits_for_a_delete};
use crate::plan::pods::{ChangeClass, FieldChange};
use crate::plan::{Change, Level};

fn text<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// What of a pod is not from its template: where it runs, its name in DNS, and whom it runs as, which a trial leaves out.
const OWN: [&str; 6] =
    ["nodeName", "hostname", "subdomain", "serviceAccount", "serviceAccountName", "ephemeralContainers"];
/// How the volumes are named that the cluster adds for a ServiceAccount's token.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// True for a pod that differs from what the server would make of a template: in its spec, or in a label or annotation that
/// the template has.
pub(in crate::plan::pods) fn is_otherwise(pod: &Value, trial: &Value) -> bool {
    let plain = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        let fields = spec.as_object_mut();
        if let Some(fields) = fields {
            OWN.iter().for_each(|field| drop(fields.remove(*field)));
        }
        without_token(&mut spec, "volumes");
        for containers in ["containers", "initContainers"] {
            let list = spec.get_mut(containers).and_then(Value::as_array_mut);
            list.into_iter().flatten().for_each(|container| without_token(container, "volumeMounts"));
        }
        json!({ "spec": spec })
    };
    let has = |part: &str| {
        let wanted = trial.pointer(&format!("/metadata/{part}")).and_then(Value::as_object).into_iter().flatten();
        let found = pod.pointer(&format!("/metadata/{part}"));
        wanted.into_iter().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
    };
    !has("labels") || !has("annotations") || !changes(&plain(pod), &plain(trial)).is_empty()
}

fn without_token(of: &mut Value, list: &str) {
    if let Some(Value::Array(list)) = of.get_mut(list) {
        list.retain(|one| !text(one, "/name").is_some_and(|name| name.starts_with(TOKEN_VOLUME)));
    }
}

/// What keeps a pod from being ready, as far as it says so itself.
pub(super) fn hindrance(pod: &Value) -> Option<String> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let told = |reason: Option<&str>, message: Option<&str>| {
        let message = message.map(|message| message.trim_end_matches('.')).filter(|message| !message.is_empty());
        match (reason.filter(|reason| !reason.is_empty()), message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    };
    // What every pod goes through is no hindrance.
    let waits = |status: &&Value| {
        let reason = text(status, "/state/waiting/reason");
        reason.is_some_and(|reason| !matches!(reason, "" | "ContainerCreating" | "PodInitializing"))
    };
    let container = list("/status/initContainerStatuses").chain(list("/status/containerStatuses")).find(waits);
    let condition = || list("/status/conditions").find(|one| text(one, "/status") == Some("False"));
    match container {
        Some(status) => told(text(status, "/state/waiting/reason"), text(status, "/state/waiting/message")),
        None => condition().and_then(|one| told(None, text(one, "/message"))),
    }
}

/// Which template a pod started with, by the names that the controller gives to templates.
struct Revision<'v> {
    own: Option<&'v str>,
    /// The StatefulSet's newest.
    newest: Option<&'v str>,
    /// The controller has seen the StatefulSet's last change: it has named what that gives.
    seen: bool,
}

impl<'v> Revision<'v> {
    fn of(set: &'v Value, pod: &'v Value) -> Self {
        let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        Self {
            own: text(pod, "/metadata/labels/controller-revision-hash"),
            newest: text(set, "/status/updateRevision"),
            seen: number("/status/observedGeneration") >= number("/metadata/generation"),
        }
    }

    /// True when a newest one is named and the pod's is another, or has no name.
    fn is_old(&self) -> bool {
        self.newest.is_some() && self.own != self.newest
    }
}

impl<'a> One<'a, '_> {
    /// What an apply of the StatefulSet does to the pod, beyond what its own changes tell: a pod may be older than its
    /// StatefulSet, or have lost it.
    pub(super) fn class(
        &self,
        class: ChangeClass,
        changes: &[FieldChange],
        waits: bool,
        found: &mut Found,
        pods: &mut Pods<'a>,
    ) -> ChangeClass {
        found.template = touches_template(changes);
        let outdated = self.is_outdated();
        found.keeps = waits && (found.template || outdated);
        if found.keeps {
            pods.findings.push(say::waits_for_a_delete(self.name));
        }
        let class = if outdated && !waits { ChangeClass::RollsPod } else { class };
        found.rolls = class == ChangeClass::RollsPod;
        found.set = Some(class);
        class
    }

    /// True for a pod that started with another template than its StatefulSet has, or would have when it is made again:
    /// a controller that may would restart it.
    pub(super) fn is_outdated(&self) -> bool {
        // One that hangs is replaced by an action of its own.
        let Some(pod) = self.running().filter(|pod| text(pod, "/status/phase") != Some("Pending")) else {
            return false;
        };
        !self.is_of_its_set(pod) && self.runs_otherwise(pod)
    }

    /// True for a pod of the live StatefulSet's newest template.
    fn is_of_its_set(&self, pod: &Value) -> bool {
        let Some(set) = self.set() else { return false };
        let revision = Revision::of(set, pod);
        revision.seen && revision.newest.is_some() && !revision.is_old()
    }

    /// Compares a pod with the server's answer to the dry run of a Pod of the template. What was not answered is taken for
    /// another one: a restart is announced rather than not.
    fn runs_otherwise(&self, pod: &Value) -> bool {
        match self.facts.pods.get(self.name) {
            Some(Reading::Known(Answer::Accepted(trial))) => is_otherwise(pod, trial),
            _ => true,
        }
    }

    /// A pod that hangs in Pending keeps its old template: it is deleted, so that a new one comes. True when it is.
    pub(super) fn pod(&self, found: &Found, pods: &mut Pods<'a>) -> bool {
        let Some(pod) = self.running() else { return false };
        let Some(uid) = uid(pod) else { return false };
        let old = match self.set() {
            Some(set) => {
                let revision = Revision::of(set, pod);
                revision.own.is_some() && revision.is_old()
            }
            None => found.set.is_some() && self.runs_otherwise(pod),
        };
        if text(pod, "/status/phase") != Some("Pending") {
            if old && found.set.is_none() && !found.recreated && self.set().is_some_and(waits_for_a_delete) {
                pods.findings.push(say::waits_for_a_delete(self.name));
            }
            return false;
        }
        if !old && !found.template {
            return false;
        }
        let why = match hindrance(pod) {
            Some(cause) => format!("it hangs in Pending with an old template ({cause})"),
            None => "it hangs in Pending with an old template".to_owned(),
        };
        let (storage, name) = (self.name.clone(), self.wanted.pod_name.clone());
        let address = Address::new("pod", self.name.as_str()).with_key("restart");
        let change = Change::ReplacePod { storage, pod: name, uid, why };
        let reason = "a pod that is Pending is not replaced by itself; a pod is not data";
        pods.actions.push(self.action(address, change, reason));
        true
    }

    /// True while the pod is not ready, or not of the StatefulSet's newest template: an apply that was cut short is
    /// taken up by waiting on.
    pub(super) fn unsettled(&self) -> bool {
        let Some(set) = self.set() else { return false };
        let Some(pod) = self.live(ObjectKind::Pod, &self.wanted.pod_name) else { return true };
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let mut ready = conditions.filter(|one| text(one, "/type") == Some("Ready"));
        let ready = ready.any(|one| text(one, "/status") == Some("True"));
        let revision = Revision::of(set, pod);
        let old = revision.is_old() && !waits_for_a_delete(set);
        let going = pod.pointer("/metadata/deletionTimestamp").is_some();
        !ready || going || old || !revision.seen
    }

    /// What admission said to a Pod of the template, where one is to be made from it.
    pub(super) fn trial(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let made = found.set.is_some_and(|class| class != ChangeClass::InPlace);
        if !(made || found.template || found.recreated) {
            return;
        }
        match self.facts.pods.get(self.name) {
            Some(Reading::Known(Answer::Accepted(pod))) => {
                let class = pod.pointer("/status/qosClass").and_then(Value::as_str);
                if let Some(class) = class.filter(|class| *class != "Guaranteed") {
                    pods.findings.push(say::not_guaranteed(self.name, class));
                    found.broken = true;
                }
            }
            Some(Reading::Known(Answer::Refused(refusal))) => {
                if self.lacks_its_class(&refusal.message) {
                    // Told once, of all that ask for it.
                    found.broken = true;
                    return;
                }
                let beside = self.live(ObjectKind::Pod, &self.wanted.pod_name).is_some();
                let said = say::pod_refused(self.name, refusal, beside);
                found.broken |= said.level == Level::Error;
                pods.findings.push(said);
            }
            // Where the StatefulSet was refused, its pod does not matter.
            Some(Reading::Unknown(cause)) => {
                let key = ObjectKey { kind: ObjectKind::Pod, name: self.wanted.pod_name.clone() };
                pods.findings.push(say::not_tried(&key, cause));
                found.broken = true;
            }
            None => {}
        }
    }

    /// True for a pod that is refused for a PriorityClass that is known not to be there.
    fn lacks_its_class(&self, words: &str) -> bool {
        let known = self.facts.surroundings.priority_classes.known();
        words.contains("no PriorityClass with name")
            && self.spec.priority_class.as_ref().zip(known).is_some_and(|(class, known)| !known.contains(class))
    }

    /// What it means that the pod restarts.
    pub(super) fn restart(&self, pods: &mut Pods<'a>) {
        let held = self.held();
        let weight = self.observed.gitlab.weights.get(self.name).is_some_and(|weight| weight.get() > 0);
        let running = image_version(&self.spec.image).zip(
            self.observed.storages.get(self.name).and_then(|facts| facts.server.known()).map(|s| s.version.clone()),
        );
        if let Some((then, now)) = running
            && let (Some(new), Some(old)) = (crate::plan::version(&then), crate::plan::version(&now))
            && new < old
        {
            pods.findings.push(say::older(self.name, &now, &then));
        }
        if matches!(held, Held::All(0)) && !weight {
            return;
        }
        let seconds = self.record.and_then(|record| record.rotation_seconds);
        let budget = self.spec.rotation_budget_seconds;
        pods.findings.push(say::restarts(self.name, Restart { held, seconds, budget }));
    }

    /// How much is known to be on the storage. What GitLab lists says nothing of a disk that is not known to be this
    /// storage's.
    fn held(&self) -> Held {
        if self.is_recorded() { held(self.observed, Some(self.facts), self.name) } else { Held::Unknown }
    }

    /// A pod that runs, and would find no node again.
    pub(super) fn nowhere(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let runs = self.running().is_some_and(|pod| text(pod, "/spec/nodeName").is_some());
        let Reading::Known(nodes) = &self.facts.surroundings.nodes else { return };
        let set = self.wanted.manifests.iter().find(|manifest| manifest.key.kind == ObjectKind::StatefulSet);
        let Some(set) = set.filter(|_| found.rolls && runs) else { return };
        let volume = self.bound();
        let follows = |node: &&NodeFacts| volume.is_none_or(|(_, volume)| may_follow(volume, node));
        let labelled: Vec<&NodeFacts> = nodes.iter().filter(|node| has_labels(&set.body, node)).collect();
        let reached: Vec<&NodeFacts> = labelled.iter().copied().filter(follows).collect();
        if reached.iter().any(|node| may_run_on(&set.body, node)) {
            return;
        }
        let why = match (labelled.as_slice(), reached.as_slice(), volume) {
            ([], ..) => say::Nowhere::NoLabels,
            (_, [], Some((volume, _))) => say::Nowhere::OutOfReach(volume),
            _ => say::Nowhere::Unusable,
        };
        let level = if matches!(self.held(), Held::All(0)) { Level::Danger } else { Level::Error };
        found.broken |= level == Level::Error;
        pods.findings.push(say::nowhere(self.name, why, level));
    }
}
