//! What a plan says about pod storages: each finding with its code, level, message and the way out.

use super::{ChangeClass, FieldChange};
use crate::model::cluster::{FieldConflict, ObjectKey, ObjectKind, Refusal, Why};
use crate::model::{Bytes, DesiredStorage, ServerFacts, StorageName};
use crate::plan::{Finding, Level};
use crate::state::Tenths;
use std::collections::BTreeMap;

/// The role that tranship needs, printed by a command.
const ROLE: &str = "Print the Role that tranship needs, and let somebody apply it: tranship render rbac";

/// Makes a finding.
pub(super) fn finding(level: Level, code: &str, subject: &str, mut message: String, help: &str) -> Finding {
    // The words of others may end their own sentence.
    if message.ends_with("..") && !message.ends_with("...") {
        message.pop();
    }
    Finding {
        level,
        code: code.to_owned(),
        subject: subject.to_owned(),
        message,
        help: help.to_owned(),
        blocks_drain: false,
    }
}

fn error(code: &str, subject: &str, message: String, help: &str) -> Finding {
    finding(Level::Error, code, subject, message, help)
}

/// The cluster could not be read at all.
/// `cause`: a line for each list that failed. Rights that are lacking are told one by one.
pub(super) fn cluster_unknown(cause: &str) -> Vec<Finding> {
    let lines = cause.lines().map(|line| lacking(line).ok_or(line));
    let (mut findings, mut others) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Ok(finding) => findings.push(finding),
            Err(line) => others.push(line),
        }
    }
    if !others.is_empty() || findings.is_empty() {
        let cause = others.join(" ");
        let message = format!("The cluster could not be read ({cause}), and the configuration has pod storages.");
        let help = "See that the API server answers, and that kubeconfig, context and credentials are right: kubectl auth whoami";
        findings.push(error("cluster-unknown", "cluster", message, help));
    }
    findings
}

/// A storage of the state is not declared any more. `weight`: what GitLab gives it, if GitLab lists it.
pub(super) fn forgotten(storage: &StorageName, held: Held, weight: Option<u8>) -> Finding {
    let message = format!(
        "{storage} is not declared any more: tranship forgets it and deletes nothing. Its pod, its volume and what is on it \
         stay."
    );
    let used = match (held, weight) {
        (_, None) => None,
        (Held::All(0), Some(0)) => None,
        (Held::All(1), Some(weight)) => Some(("1 repository is on it".to_owned(), weight)),
        (Held::All(number), Some(weight)) => Some((format!("{number} repositories are on it"), weight)),
        (Held::Projects(0), Some(weight)) => {
            Some(("no project is on it, and of snippets and group wikis GitLab does not say".to_owned(), weight))
        }
        (Held::Projects(1), Some(weight)) => Some(("1 project is on it".to_owned(), weight)),
        (Held::Projects(number), Some(weight)) => Some((format!("{number} projects are on it"), weight)),
        (Held::Unknown, Some(weight)) => Some(("how many repositories are on it is not known".to_owned(), weight)),
    };
    let level = if used.is_some() { Level::Danger } else { Level::Notice };
    let goes_on = used.map_or_else(String::new, |(held, weight)| {
        format!(
            " GitLab goes on using it: {held}, and its weight is {weight}. Nothing will watch its disk and its claim."
        )
    });
    let message = format!("{message}{goes_on}");
    let help = format!(
        "What is left of it: kubectl get sts,svc,cm,sa,pdb,pvc -l tranship/storage={storage}. To manage it again, declare it again."
    );
    finding(level, "storage-forgotten", storage.as_str(), message, &help)
}

/// A storage is declared, but no longer with a pod.
pub(super) fn let_go(storage: &StorageName) -> Finding {
    let message =
        format!("{storage} has no pod in the configuration any more: its objects in the cluster stay as they are.");
    let help = "It is observed by its address now. If that was not meant, give it its `pod` back.";
    finding(Level::Notice, "pod-let-go", storage.as_str(), message, help)
}

/// An object that tranship applied is not wanted any more.
pub(super) fn left_over(storage: &StorageName, key: &str) -> Finding {
    let message = format!("{key} was made for {storage}, and the configuration does not ask for it any more.");
    let help = format!("tranship deletes nothing. If nobody needs it: kubectl delete {}", key.to_ascii_lowercase());
    finding(Level::Notice, "object-left", storage.as_str(), message, &help)
}

/// An object exists that tranship did not make.
pub(super) fn foreign(key: &ObjectKey, storage: &DesiredStorage, managers: &[String]) -> Finding {
    let whose = if managers.is_empty() { "somebody else".to_owned() } else { managers.join(", ") };
    let message = format!("{key} exists already, and tranship did not make it: it was written by {whose}.");
    error("object-foreign", storage.name.as_str(), message, &ways_out(storage))
}

/// Objects say that they belong to other environments. `adopted`: they are taken over, as asked.
pub(super) fn other_environment(
    storage: &DesiredStorage,
    environment: &str,
    others: &BTreeMap<String, Vec<ObjectKey>>,
    adopted: bool,
) -> Finding {
    let name = storage.name.as_str();
    let whose: Vec<String> = others
        .iter()
        .map(|(other, keys)| {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            format!("{other:?} ({})", few(&keys))
        })
        .collect();
    let message = format!(
        "{name} belongs to another environment: this one is {environment:?}, and its objects are of {}. What is on its disk \
         is not known here.",
        whose.join(", ")
    );
    if adopted {
        let message = format!("{message} They are taken over.");
        let help =
            "If that environment still runs, its GitLab loses this storage: stop here, and let each have its own.";
        return finding(Level::Danger, "environment-taken-over", name, message, help);
    }
    let help = format!(
        "Give this environment a namespace of its own, or the storage another `name`. If it was only renamed: tranship plan \
         --adopt, or import {{ to = {} }}",
        storage.address
    );
    error("environment-of-another", name, message, &help)
}

/// A StatefulSet that tranship made, and of which the state knows nothing.
pub(super) fn not_recorded(storage: &DesiredStorage, level: Level) -> Finding {
    let name = &storage.name;
    let message = format!(
        "The StatefulSet {name} exists, tranship made it, and the state has no record of it: the state was lost, or another \
         one is kept for it. How many repositories it holds is not known."
    );
    let help = match level {
        Level::Error => format!("Bring the state back. If it is this environment's: tranship plan --adopt, or import {{ to = {} }}", storage.address),
        _ => "Bring the state back from version control, or see that nobody else applies to it; then this apply records it.".to_owned(),
    };
    finding(level, "pod-not-recorded", name.as_str(), message, &help)
}

/// Why a pod that restarts would find no node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Nowhere<'a> {
    /// None has the labels that are asked for.
    NoLabels,
    /// None of those that have them reaches the volume.
    OutOfReach(&'a str),
    /// All of them are cordoned or not ready.
    Unusable,
}

/// A pod that runs would restart, and stay Pending.
pub(super) fn nowhere(storage: &StorageName, why: Nowhere<'_>, level: Level) -> Finding {
    let (why, help) = match why {
        Nowhere::NoLabels => (
            "no node has the labels that it asks for (node_selector, zone)".to_owned(),
            "Label or add nodes first, or take the change back.",
        ),
        Nowhere::OutOfReach(volume) => (
            format!("no node that it asks for (node_selector, zone) reaches its volume {volume}"),
            "A volume stays where it is: take the change back. To have the storage elsewhere, declare another one there, and move the repositories.",
        ),
        Nowhere::Unusable => (
            "all nodes that it may run on are cordoned or not ready".to_owned(),
            "Bring one back first: kubectl uncordon NODE for one that is cordoned; see to one that is not ready.",
        ),
    };
    let message = format!("The pod of {storage} would restart and stay Pending: {why}.");
    finding(level, "pod-finds-no-node", storage.as_str(), message, help)
}

/// A change after which some may not reach a storage that runs.
pub(super) fn reach(
    storage: &StorageName,
    key: &ObjectKey,
    class: ChangeClass,
    changes: &[FieldChange],
) -> Option<Finding> {
    let of_spec: Vec<&FieldChange> = changes.iter().filter(|change| change.path.starts_with(".spec.")).collect();
    let value =
        |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let message = match (key.kind, class, of_spec.as_slice()) {
        (ObjectKind::Service, ChangeClass::InPlace, [_, ..]) => {
            let told: Vec<String> = of_spec
                .iter()
                .map(|one| format!("{} {} -> {}", one.path, value(&one.before), value(&one.after)))
                .collect();
            format!("{key} changes ({}): whoever reaches {storage} by it as it is may not any more.", few(&told))
        }
        (ObjectKind::NetworkPolicy, ChangeClass::Create, _) => {
            format!("{key} is made: from then on only what it names reaches {storage}.")
        }
        (ObjectKind::NetworkPolicy, ChangeClass::InPlace, [_, ..]) => {
            format!("{key} changes: from then on only what it names then reaches {storage}.")
        }
        _ => return None,
    };
    let help = "GitLab, the other Gitalys and tranship itself dial this storage: see that all of them still can.";
    Some(finding(Level::Danger, "reach-changes", storage.as_str(), message, help))
}

/// Fields of an object belong to others.
pub(super) fn owned(key: &ObjectKey, storage: &DesiredStorage, fields: &[FieldConflict]) -> Finding {
    let message = format!("{key} has fields that others own and that would change: {}.", owners(fields));
    error("field-owned", storage.name.as_str(), message, &ways_out(storage))
}

fn owners(fields: &[FieldConflict]) -> String {
    let named: Vec<String> = fields.iter().take(5).map(|f| format!("{} ({})", f.field, f.manager)).collect();
    let more = if fields.len() > named.len() { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

fn ways_out(storage: &DesiredStorage) -> String {
    let address = &storage.address;
    format!(
        "Let one manager own it. To take it over, once: tranship plan --adopt. To say so for good: import {{ to = {address} }}. \
         Otherwise give the storage another `name`."
    )
}

/// Objects or fields are taken over, as asked.
pub(super) fn taken_over(key: &ObjectKey, fields: &[FieldConflict]) -> Finding {
    let what = if fields.is_empty() { String::new() } else { format!(", with {}", owners(fields)) };
    let message = format!("{key} is taken over from its owner{what}.");
    let help = "Its former owner will want it back: take it out of that chart or script.";
    finding(Level::Danger, "object-adopted", &key.to_string(), message, help)
}

/// The server refused an object.
pub(super) fn refused(key: &ObjectKey, refusal: &Refusal) -> Finding {
    if let Some(rights) = rights(refusal) {
        return rights;
    }
    let (message, help) = match refusal.why {
        Why::NotFound if refusal.message.contains("namespaces") => {
            let message = format!("The namespace of the `kubernetes` block does not exist: {}", refusal.message);
            return error("namespace-missing", "namespace", message, "Make it: kubectl create namespace NAME");
        }
        Why::NotFound => (
            format!("The cluster does not know {}: {}", key.kind, refusal.message),
            "Install what brings this kind, or take its block out of the pod_spec.",
        ),
        Why::Invalid if refusal.message.contains("field is immutable") || refusal.message.contains("selector") => (
            format!("{key} cannot become what the configuration asks for: {}", refusal.message),
            "What cannot be changed needs another object: declare a storage under a new `name`, and move the repositories.",
        ),
        _ => (
            format!("The cluster refuses {key}: {}", refusal.message),
            "The words are the API server's own: change what they name.",
        ),
    };
    error("object-refused", &key.to_string(), message, help)
}

/// A refusal for want of rights, by the verb and resource that it names.
fn rights(refusal: &Refusal) -> Option<Finding> {
    if refusal.why == Why::Forbidden { lacking(&refusal.message) } else { None }
}

/// The verb and the resource that a text says are lacking.
fn lacking(message: &str) -> Option<Finding> {
    let quoted = |text: &str| Some(text.strip_prefix('"')?.split('"').next()?.to_owned());
    let (_, rest) = message.split_once(" cannot ")?;
    let (verb, rest) = rest.split_once(" resource ")?;
    let resource = quoted(rest)?;
    let group = rest.split_once("in API group ").and_then(|(_, rest)| quoted(rest)).unwrap_or_default();
    let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
    // Without the object and what the adapter adds: one cause is told once, however many objects it keeps.
    let words = message.split(" is forbidden: ").last().unwrap_or_default();
    let words = words.split_once(" (the user ").map_or(words, |(words, _)| words);
    let message = format!("tranship's account may not {verb} {resource}: {words}");
    Some(error("rights-missing", &resource, message, ROLE))
}

/// A dry run was not made or not answered.
pub(super) fn not_tried(key: &ObjectKey, cause: &str) -> Finding {
    let message = format!("What the cluster would do with {} is not known: {cause}.", key.kind);
    error("not-tried", "cluster", message, "See to the cause, then plan again: what is not known is not applied.")
}

/// A StatefulSet is made anew.
/// `fixed`: what cannot be changed in place; `restarts`: its pod does; `keeps`: its pod has an old template and keeps it.
pub(super) fn recreated(
    storage: &StorageName,
    changes: &[FieldChange],
    fixed: &[String],
    restarts: bool,
    keeps: bool,
) -> Vec<Finding> {
    let gone: Vec<&str> = changes.iter().filter(|change| change.after.is_none()).map(|one| one.path.as_str()).collect();
    let lost = match gone.as_slice() {
        [] => String::new(),
        some => format!(" What only it has now goes with it: {}.", few(some)),
    };
    let restart = match (restarts, keeps) {
        (true, _) => "restarts with its new template",
        (_, true) => "goes on with its old template",
        _ => "goes on without a restart",
    };
    let message = format!(
        "The StatefulSet {storage} is made anew, as {} cannot be changed: it is deleted without its pod and its volume, \
         waited for until it is gone, and applied again under the same name. The pod is taken over and {restart}.{lost}",
        few(fixed)
    );
    let help = "Should the pod fail in the seconds between, it starts again only when the StatefulSet is back.";
    let mut findings = vec![finding(Level::Danger, "statefulset-recreated", storage.as_str(), message, help)];
    if keeps {
        findings.push(waits_for_a_delete(storage));
    }
    if changes.iter().any(|change| change.path == ".spec.serviceName") && !restarts {
        let message = format!("The pod of {storage} keeps its old DNS name until it restarts.");
        let help = format!("When that may be: tranship rotate {storage}");
        findings.push(finding(Level::Notice, "dns-after-rotation", storage.as_str(), message, &help));
    }
    findings
}

/// At most five of them, in a line.
fn few<T: AsRef<str>>(all: &[T]) -> String {
    let named: Vec<&str> = all.iter().map(AsRef::as_ref).take(5).collect();
    let more = if all.len() > named.len() { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

/// A StatefulSet that somebody deletes.
pub(super) fn set_going(storage: &StorageName) -> Finding {
    let message =
        format!("The StatefulSet {storage} is being deleted by somebody: what is applied to it goes with it.");
    let help = format!("Wait until it is gone, then plan again: kubectl get statefulset {storage}");
    error("statefulset-going", storage.as_str(), message, &help)
}

/// Gitaly would not have its repositories on the volume.
pub(super) fn off_its_volume(storage: &StorageName, why: &str) -> Finding {
    let message = format!("Gitaly of {storage} would not find its repositories on its volume: {why}.");
    let help = "Take it out of `extra`, or out of what else changes StatefulSets when they are applied (a webhook, another field manager).";
    error("volume-not-mounted", storage.as_str(), message, help)
}

/// A claim that never had a volume, with another class or other modes than are wanted now.
pub(super) fn never_bound(storage: &StorageName, claim: &str, namespace: &str) -> Finding {
    let message = format!(
        "The claim {claim} of {storage} never got a volume, and a claim keeps its class and its modes: it waits for a volume \
         that the configuration does not ask for any more."
    );
    let help = format!(
        "Nothing is on it. Delete both, then apply again: kubectl -n {namespace} delete statefulset/{storage} pvc/{claim}"
    );
    error("claim-never-bound", storage.as_str(), message, &help)
}

/// Another class for a volume that exists.
pub(super) fn other_class(storage: &StorageName, claim: &str, class: &str, wanted: &str) -> Finding {
    let message = format!(
        "The volume of {storage} ({claim}) has the class {class:?}, and a claim keeps its class: it cannot get {wanted:?}."
    );
    error("disk-class", storage.as_str(), message, NEW_STORAGE)
}

/// Other access modes for a volume that exists.
pub(super) fn other_modes(storage: &StorageName, claim: &str) -> Finding {
    let message = format!("The volume of {storage} ({claim}) has other access modes, and a claim keeps them.");
    error("disk-modes", storage.as_str(), message, NEW_STORAGE)
}

const NEW_STORAGE: &str = "Declare another storage with the disk that you want, and move the repositories there.";

/// A smaller disk.
pub(super) fn shrinks(storage: &DesiredStorage, claim: &str, from: Bytes, to: Bytes) -> Finding {
    let message = format!(
        "The volume of {} ({claim}) has {from}, and the configuration says {to}: a volume cannot shrink.",
        storage.name
    );
    let help = format!(
        "Set its size to {} or more, or declare another storage and move the repositories there.",
        crate::model::quantity::Size(from)
    );
    error("disk-shrinks", storage.name.as_str(), message, &help)
}

/// The server refuses to grow a claim.
pub(super) fn cannot_grow(storage: &StorageName, claim: &str, refusal: &Refusal) -> Finding {
    if let Some(rights) = rights(refusal) {
        return rights;
    }
    let message = format!("The volume of {storage} ({claim}) cannot grow: {}", refusal.message);
    let help = "A class with allowVolumeExpansion grows its volumes. Otherwise declare another storage and move the repositories there.";
    error("disk-cannot-grow", storage.as_str(), message, help)
}

/// A volume has grown, and its file system waits for a restart.
pub(super) fn resize_pending(storage: &StorageName, claim: &str) -> Finding {
    let message = format!("The volume of {storage} ({claim}) has grown; its file system grows when the pod restarts.");
    finding(
        Level::Notice,
        "resize-pending",
        storage.as_str(),
        message,
        &format!("When that may be: tranship rotate {storage}"),
    )
}

/// The volume goes when its claim does.
pub(super) fn volume_deletes(storage: &StorageName, claim: &str, volume: &str, level: Level) -> Finding {
    let message = format!(
        "The volume {volume} of {storage} is deleted with its claim {claim} (persistentVolumeReclaimPolicy Delete): whoever \
         deletes the claim or the namespace deletes the repositories. (K23)"
    );
    let help = format!("{} If you accept this: disk {{ retain = false }}", retain(volume));
    finding(level, "volume-deletes", storage.as_str(), message, &help)
}

/// The command that keeps a volume whatever becomes of its claim.
fn retain(volume: &str) -> String {
    format!("Keep it: kubectl patch pv {volume} -p '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Retain\"}}}}'")
}

/// Somebody deleted the claim: its pod is all that keeps it.
pub(super) fn claim_terminating(storage: &StorageName, claim: &str, volume: Option<&str>) -> Finding {
    let message = format!(
        "The claim {claim} of {storage} is being deleted, and only the pod that runs keeps it: with the next restart (a drain \
         of its node, a crash, a change) it is gone, its volume may be deleted, and Gitaly would start on an empty disk."
    );
    let first = volume.filter(|name| !name.is_empty()).map_or_else(String::new, |name| format!("{} ", retain(name)));
    let help = format!(
        "{first}Do not restart the pod. Then move the repositories to another storage or copy the data: a deletion cannot be \
         taken back."
    );
    error("claim-terminating", storage.as_str(), message, &help)
}

/// A claim that was recorded, or had a disk that was, is not there. `elsewhere`: why it is looked for in the wrong place.
pub(super) fn claim_gone(storage: &StorageName, claim: &str, elsewhere: Option<&str>) -> Finding {
    let cause = elsewhere.map_or_else(String::new, |cause| format!(" The cause may be that {cause}."));
    let message = format!(
        "The claim {claim} of {storage} is gone, and the disk that was behind it with it: a new pod would start on an empty \
         disk under a name that GitLab knows.{cause}"
    );
    let back = match elsewhere {
        Some(_) => "Set namespace and context back to where it was, or bring the volume here:",
        None => "Bring the volume back:",
    };
    let help = format!(
        "{back} restore it, or make a PersistentVolume for it whose claimRef names {claim}, and the claim. Only when what \
         was on it is given up: tranship state rm storage.{storage}"
    );
    error("claim-gone", storage.as_str(), message, &help)
}

/// A storage that was another Gitaly's has a pod now, under its name.
pub(super) fn never_a_pod(storage: &StorageName) -> Finding {
    let message = format!(
        "{storage} was no pod's when it was recorded, and its repositories are on that other disk: its pod would start on an \
         empty disk under a name that GitLab knows."
    );
    let help = format!(
        "Give the pod a storage of its own, under another `name`, and move the repositories there. Only when what was on the \
         old one is given up: tranship state rm storage.{storage}"
    );
    error("claim-gone", storage.as_str(), message, &help)
}

/// A storage that GitLab uses already would be made with an empty disk.
pub(super) fn empty_again(storage: &DesiredStorage, claim: &str, held: Held) -> Finding {
    let name = &storage.name;
    let held = match held {
        Held::All(1) => "1 repository".to_owned(),
        Held::All(number) => format!("{number} repositories"),
        Held::Projects(1) => "1 project".to_owned(),
        Held::Projects(number) => format!("{number} projects"),
        Held::Unknown => "repositories".to_owned(),
    };
    let message = format!(
        "GitLab lists {held} on {name}, and there is neither its StatefulSet nor its claim: it would be made with an empty \
         disk, and GitLab would find none of them."
    );
    let help = format!(
        "Is it in another namespace or cluster, or on a VM? Then point the configuration there, or give this storage another \
         `name`. If its volume is left, make the claim {claim} for it and say import {{ to = {} }}.",
        storage.address
    );
    error("storage-in-use", name.as_str(), message, &help)
}

/// The claim's volume is gone.
pub(super) fn claim_lost(storage: &StorageName, claim: &str) -> Finding {
    let message = format!("The claim {claim} of {storage} is Lost: the volume behind it is gone.");
    error(
        "claim-lost",
        storage.as_str(),
        message,
        "Bring the volume back before anything else; do not delete the claim.",
    )
}

/// Another claim than the recorded one.
pub(super) fn other_claim(
    storage: &StorageName,
    claim: &str,
    recorded: &str,
    now: Option<&str>,
    elsewhere: Option<&str>,
) -> Finding {
    let cause = elsewhere.map_or_else(String::new, |cause| format!(" The cause may be that {cause}."));
    let message = format!(
        "The claim {claim} is not the one that {storage} had (uid {recorded}, now {}): another volume is behind it.{cause}",
        now.unwrap_or("none")
    );
    let help = "Bring the old claim and volume back. If the change was meant, forget the old one: tranship state rm for this storage.";
    error("claim-of-another", storage.as_str(), message, help)
}

/// A claim exists before the StatefulSet does.
pub(super) fn claim_exists(storage: &DesiredStorage, claim: &str, label: Option<&str>, accepted: bool) -> Finding {
    let name = &storage.name;
    let whose = match label {
        Some(label) if label == name.as_str() => format!("an earlier {name}"),
        Some(label) => format!("the storage {label}"),
        None => "somebody else".to_owned(),
    };
    let message =
        format!("The claim {claim} exists already, from {whose}: {name} would start on its volume and what is on it.");
    if accepted {
        let help = "If that is not meant, remove the claim by hand, or give the storage another `name`.";
        return finding(Level::Danger, "claim-exists", name.as_str(), message, help);
    }
    let help = format!(
        "Give the storage another `name`. If its data is meant to be {name}'s: tranship plan --adopt, or import {{ to = {} }}",
        storage.address
    );
    error("claim-of-another", name.as_str(), message, &help)
}

/// An empty or another disk behind a known storage.
pub(super) fn other_disk(storage: &StorageName, recorded: &str, server: &ServerFacts) -> Option<Finding> {
    let now = server.filesystem_id.as_str();
    (now != recorded).then(|| {
        let message = format!(
            "{storage} had the filesystem id {recorded}, and now has {}: an empty or another disk is behind it.",
            if now.is_empty() { "none" } else { now }
        );
        let help =
            "Bring the old disk back. If the change was meant, forget the old id: tranship state rm for this storage.";
        error("filesystem-id-changed", storage.as_str(), message, help)
    })
}

/// Admission refused a Pod of the template. `beside`: the storage's own pod exists, so that a quota may count both.
pub(super) fn pod_refused(storage: &StorageName, refusal: &Refusal, beside: bool) -> Finding {
    if let Some(rights) = rights(refusal) {
        return rights;
    }
    if beside && refusal.message.contains("exceeded quota") {
        let message =
            format!("A new pod of {storage} could not be tried beside the one that runs: {}", refusal.message);
        let help =
            "The quota has room for the running pod only. If the new one asks for no more, it fits in its place.";
        return finding(Level::Notice, "pod-not-tried", storage.as_str(), message, help);
    }
    let message = format!("The StatefulSet would be accepted, and its pod never made: {}", refusal.message);
    error("pod-refused", storage.as_str(), message, "The words are the API server's own: change what they name.")
}

/// The cluster would not give the pod the class that it must have.
pub(super) fn not_guaranteed(storage: &StorageName, class: &str) -> Finding {
    let message = format!(
        "The pod of {storage} would be {class}, not Guaranteed: something in the cluster changes its resources."
    );
    let help = "Look at LimitRanges of the namespace and at what injects containers: every container needs requests that equal its limits.";
    error("pod-not-guaranteed", storage.as_str(), message, help)
}

/// A StatefulSet waits for its pod to be deleted.
pub(super) fn waits_for_a_delete(storage: &StorageName) -> Finding {
    let message = format!(
        "The StatefulSet {storage} has updateStrategy OnDelete: its new template takes effect when the pod restarts."
    );
    finding(
        Level::Notice,
        "pod-outdated",
        storage.as_str(),
        message,
        &format!("When that may be: tranship rotate {storage}"),
    )
}

/// The new image is older than what runs.
pub(super) fn older(storage: &StorageName, now: &str, then: &str) -> Finding {
    let message =
        format!("{storage} runs Gitaly {now} and would get {then}: an older Git may not read what a newer one wrote.");
    finding(
        Level::Danger,
        "gitaly-older",
        storage.as_str(),
        message,
        "Give the pod_spec the image of a version that is not older.",
    )
}

/// What is known to be on a storage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    /// Repositories of every kind, as they were listed.
    All(u64),
    /// Projects, which GitLab counts fast; snippets and group wikis may be there too.
    Projects(u64),
    Unknown,
}

/// What is known of a restart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    /// What is on the storage.
    pub(super) held: Held,
    /// How long the last measured one took.
    pub(super) seconds: Option<Tenths>,
    /// `rotation_budget`, seconds.
    pub(super) budget: Option<u32>,
}

/// A storage with repositories is away while its pod restarts.
pub(super) fn restarts(storage: &StorageName, restart: Restart) -> Finding {
    let held = match restart.held {
        Held::All(1) => "1 repository on it cannot".to_owned(),
        Held::All(number) => format!("{number} repositories on it cannot"),
        Held::Projects(0) => "snippets and group wikis on it, which GitLab does not count, cannot".to_owned(),
        Held::Projects(1) => "the repositories of 1 project on it cannot".to_owned(),
        Held::Projects(number) => format!("the repositories of {number} projects on it cannot"),
        Held::Unknown => "how many repositories it holds is not known, and they cannot".to_owned(),
    };
    let long = match restart.seconds {
        Some(seconds) => format!("for about {seconds}, as its last measured restart"),
        None => "for as long as it takes: not measured yet".to_owned(),
    };
    let over =
        restart.budget.zip(restart.seconds).filter(|(budget, seconds)| u64::from(seconds.0) > u64::from(*budget) * 10);
    let budget = over.map_or(String::new(), |(budget, _)| format!(" That is above its rotation_budget of {budget} s."));
    let message = format!("The pod of {storage} restarts: {held} be reached {long}.{budget}");
    let help = match restart.seconds {
        Some(_) => "Apply when that can be borne.".to_owned(),
        None => format!("Apply when that can be borne. To measure it: tranship rotate {storage}"),
    };
    finding(Level::Danger, "pod-restarts", storage.as_str(), message, &help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::ObjectKind;

    fn refusal(why: Why, message: &str) -> Refusal {
        Refusal { why, message: message.to_owned(), conflicts: Vec::new() }
    }

    fn key() -> ObjectKey {
        ObjectKey { kind: ObjectKind::StatefulSet, name: "x".to_owned() }
    }

    #[test]
    fn missing_rights_are_told_by_verb_and_resource() {
        let message = "statefulsets.apps \"x\" is forbidden: User \"ci\" cannot patch resource \"statefulsets\" in API group \"apps\" in the namespace \"gitaly\"";
        let said = refused(&key(), &refusal(Why::Forbidden, message));
        assert_eq!((said.code.as_str(), said.subject.as_str()), ("rights-missing", "statefulsets.apps"));
        assert!(said.message.starts_with("tranship's account may not patch statefulsets.apps"));
        assert!(said.help.contains("tranship render rbac"));
        // As the adapter tells it, and of another object: the same cause.
        let told = message.replace("\"x\"", "\"y\"") + " (the user ci lacks the verb `patch` on `statefulsets.apps`)";
        assert_eq!(refused(&key(), &refusal(Why::Forbidden, &told)), said);
        // Admission is no want of rights.
        let quota = "pods \"x-0\" is forbidden: exceeded quota: q, requested: cpu=8, used: cpu=0, limited: cpu=4";
        assert_eq!(refused(&key(), &refusal(Why::Forbidden, quota)).code, "object-refused");
        let name = StorageName::new("x").expect("a name");
        assert_eq!(pod_refused(&name, &refusal(Why::Forbidden, quota), false).level, Level::Error);
        assert_eq!(pod_refused(&name, &refusal(Why::Forbidden, quota), true).level, Level::Notice);
    }

    #[test]
    fn one_cause_for_many_objects_is_told_once() {
        let other = ObjectKey { kind: ObjectKind::ConfigMap, name: "y".to_owned() };
        let missing = refusal(Why::NotFound, "namespaces \"gitaly\" not found");
        assert_eq!(refused(&key(), &missing), refused(&other, &missing));
    }

    #[test]
    fn a_restart_is_told_with_what_is_known_of_it() {
        let name = StorageName::new("x").expect("a name");
        let said = |held, seconds: Option<u32>, budget| {
            restarts(&name, Restart { held, seconds: seconds.map(Tenths), budget }).message
        };
        assert_eq!(
            said(Held::All(3), Some(74), Some(30)),
            "The pod of x restarts: 3 repositories on it cannot be reached for about 7.4 s, as its last measured restart."
        );
        assert!(
            said(Held::Unknown, None, None).contains("how many repositories it holds is not known")
                && said(Held::Projects(2), None, None)
                    .contains("of 2 projects on it cannot be reached for as long as it takes: not measured yet")
        );
        assert!(said(Held::Projects(1), Some(301), Some(30)).ends_with("above its rotation_budget of 30 s."));
    }
}
