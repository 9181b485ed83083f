//! The scheduler: a node for each pod, or why there is none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::quantity::Quantity;
use super::super::store::Store;
use super::super::values::{items, selects, set, text, texts};
use super::volumes::volumes_of;
use super::{Surroundings, claims_of, every, is_going, key_of, set_condition, sets};

pub(super) fn run(store: &mut Store, around: &mut Surroundings<'_>) {
    for pod in every(store, "Pod") {
        if text(&pod, "/spec/nodeName").is_empty() && !is_going(&pod) {
            schedule(store, pod, around);
        }
    }
}

fn schedule(store: &mut Store, mut pod: Value, around: &mut Surroundings<'_>) {
    let found = match claims(store, &pod) {
        Claims::Ready => node(store, &pod),
        Claims::Wanting(why) => Err(why),
        Claims::ToBind(names) => match node(store, &pod) {
            Ok(node) => return select(store, &pod, &names, &node, around),
            Err(why) => Err(why),
        },
    };
    match found {
        Ok(node) => {
            if cordoned(store, &node, around) {
                return;
            }
            let (name, namespace) = (text(&pod, "/metadata/name"), text(&pod, "/metadata/namespace"));
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            store.tell(&pod, "Normal", "Scheduled", &message, around.now);
            set(&mut pod, &["spec", "nodeName"], node);
            set_condition(&mut pod, "PodScheduled", true, "", "", around.now);
            store.put(key_of(&pod), pod);
        }
        Err(why) => {
            store.tell(&pod, "Warning", "FailedScheduling", &why, around.now);
            set_condition(&mut pod, "PodScheduled", false, "Unschedulable", &why, around.now);
            store.put(key_of(&pod), pod);
        }
    }
}

/// Names the node to the claims that wait for one.
fn select(store: &mut Store, pod: &Value, names: &[String], node: &str, around: &mut Surroundings<'_>) {
    if cordoned(store, node, around) {
        return;
    }
    for name in names {
        if let Some(mut claim) = store.named("PersistentVolumeClaim", text(pod, "/metadata/namespace"), name).cloned() {
            set(&mut claim, &["metadata", "annotations", "volume.kubernetes.io/selected-node"], node);
            store.put(key_of(&claim), claim);
        }
    }
}

/// Cordons a node just before a pod is put there, when that was ordered.
fn cordoned(store: &mut Store, node: &str, around: &mut Surroundings<'_>) -> bool {
    let strikes = (around.strikes)("cordoned");
    if let (true, Some(mut node)) = (strikes, store.named("Node", "", node).cloned()) {
        set(&mut node, &["spec", "unschedulable"], true);
        let taint = json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" });
        set(&mut node, &["spec", "taints"], json!([taint]));
        store.put(key_of(&node), node);
    }
    strikes
}

enum Claims {
    Ready,
    /// These wait for a node.
    ToBind(Vec<String>),
    Wanting(String),
}

fn claims(store: &Store, pod: &Value) -> Claims {
    let nodes = store.all("Node", None).count();
    let mut waiting = Vec::new();
    for name in claims_of(pod) {
        let Some(claim) = store.named("PersistentVolumeClaim", text(pod, "/metadata/namespace"), name) else {
            let why = format!("0/{nodes} nodes are available: persistentvolumeclaim {name:?} not found. not found");
            return Claims::Wanting(why);
        };
        if is_going(claim) {
            let why =
                format!("0/{nodes} nodes are available: persistentvolumeclaim {name:?} is being deleted. not found");
            return Claims::Wanting(why);
        }
        match text(claim, "/status/phase") {
            "Bound" => {}
            "Lost" => {
                let volume = text(claim, "/spec/volumeName");
                return Claims::Wanting(format!(
                    "0/{nodes} nodes are available: persistentvolumeclaim {name:?} bound to non-existent \
                     persistentvolume {volume:?}. not found"
                ));
            }
            _ => {
                let class = store.named("StorageClass", "", text(claim, "/spec/storageClassName"));
                if class.is_none_or(|c| text(c, "/volumeBindingMode") != "WaitForFirstConsumer") {
                    return Claims::Wanting(format!(
                        "0/{nodes} nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
                    ));
                }
                waiting.push(name.to_owned());
            }
        }
    }
    if waiting.is_empty() { Claims::Ready } else { Claims::ToBind(waiting) }
}

/// The node for a pod, the emptiest of those that fit; or what all have against it.
fn node(store: &Store, pod: &Value) -> Result<String, String> {
    let nodes: Vec<&Value> = store.all("Node", None).collect();
    let mut against: BTreeMap<&str, usize> = BTreeMap::new();
    let mut best: Option<(usize, &str)> = None;
    for node in &nodes {
        match unfit(store, pod, node) {
            Some(why) => *against.entry(why).or_default() += 1,
            None => {
                let name = text(node, "/metadata/name");
                let busy = store.all("Pod", None).filter(|p| text(p, "/spec/nodeName") == name).count();
                best = Some(best.map_or((busy, name), |best| best.min((busy, name))));
            }
        }
    }
    if let Some((_, name)) = best {
        return Ok(name.to_owned());
    }
    let told: Vec<String> = against.iter().map(|(why, count)| format!("{count} {why}")).collect();
    let count = nodes.len();
    let victims = match against.keys().any(|why| why.contains("anti-affinity")) {
        true => "No preemption victims found for incoming pod",
        false => "Preemption is not helpful for scheduling",
    };
    Err(format!(
        "0/{count} nodes are available: {}. no new claims to deallocate, preemption: 0/{count} nodes are available: \
         {count} {victims}.",
        told.join(", ")
    ))
}

/// What a node has against a pod.
fn unfit(store: &Store, pod: &Value, node: &Value) -> Option<&'static str> {
    const ROOM: [(&str, &str); 2] = [("cpu", "Insufficient cpu"), ("memory", "Insufficient memory")];
    let name = text(node, "/metadata/name");
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        return Some("node(s) were unschedulable");
    }
    if items(node, "/spec/taints").iter().any(|taint| hard(taint) && !tolerated(pod, taint)) {
        return Some("node(s) had untolerated taint(s)");
    }
    let labels = node.pointer("/metadata/labels");
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let selected = texts(pod, "/spec/nodeSelector").all(|(key, value)| label(key) == Some(value));
    let wanted = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    if !selected || !pod.pointer(wanted).is_none_or(|terms| any_term(terms, labels)) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    let volumes = volumes_of(store, pod);
    if !volumes.iter().all(|v| v.pointer("/spec/nodeAffinity/required").is_none_or(|terms| any_term(terms, labels))) {
        return Some("node(s) had volume node affinity conflict");
    }
    let others = store.all("Pod", None).filter(|p| !text(p, "/spec/nodeName").is_empty());
    let terms = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let place = |pod: &Value, key: &str| {
        let node = store.named("Node", "", text(pod, "/spec/nodeName"));
        node.and_then(|n| n.pointer("/metadata/labels"))
            .and_then(|l| l.get(key))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    for other in others {
        let same = |holder: &Value, object: &Value| {
            items(holder, terms).iter().any(|term| {
                let key = text(term, "/topologyKey");
                let near = text(holder, "/metadata/namespace") == text(object, "/metadata/namespace");
                let chosen = term.get("labelSelector").is_some_and(|s| selects(s, object.pointer("/metadata/labels")));
                near && chosen && label(key).is_some() && place(other, key).as_deref() == label(key)
            })
        };
        if same(pod, other) || same(other, pod) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
    }
    if sets::fault(pod) == "pod_pending" {
        return Some("Insufficient memory");
    }
    for (resource, why) in ROOM {
        let room = Quantity::of(node.pointer(&format!("/status/allocatable/{resource}"))).unwrap_or(Quantity::ZERO);
        let here = store.all("Pod", None).filter(|p| text(p, "/spec/nodeName") == name);
        let used = here.map(|p| asks(p, resource)).fold(Quantity::ZERO, Quantity::plus);
        if used.plus(asks(pod, resource)) > room {
            return Some(why);
        }
    }
    None
}

fn asks(pod: &Value, resource: &str) -> Quantity {
    let pointer = format!("/resources/requests/{resource}");
    let amount = |c: &Value| Quantity::of(c.pointer(&pointer)).unwrap_or(Quantity::ZERO);
    items(pod, "/spec/containers").iter().map(amount).fold(Quantity::ZERO, Quantity::plus)
}

fn hard(taint: &Value) -> bool {
    matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute")
}

fn tolerated(pod: &Value, taint: &Value) -> bool {
    items(pod, "/spec/tolerations").iter().any(|t| {
        let (key, effect) = (text(t, "/key"), text(t, "/effect"));
        let exists = text(t, "/operator") == "Exists";
        (key == text(taint, "/key") || (key.is_empty() && exists))
            && (effect.is_empty() || effect == text(taint, "/effect"))
            && (exists || text(t, "/value") == text(taint, "/value"))
    })
}

/// True when a node's labels fit one term of a node selector.
fn any_term(selector: &Value, labels: Option<&Value>) -> bool {
    items(selector, "/nodeSelectorTerms").iter().any(|term| selects(term, labels))
}
