//! A kubelet a node: mounts, starts, readies and ends its pods, by the fleet's clock.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::store::{Key, Store, written};
use super::super::values::{items, number, set, text};
use super::{STOP, Surroundings, every, holds, is_going, is_ready, key_of, set_condition, sets, since, volumes};

/// The condition that says when a pod's volumes were mounted.
const MOUNTED: &str = "PodReadyToStartContainers";

pub(super) fn run(store: &mut Store, around: &mut Surroundings<'_>) {
    for pod in every(store, "Pod") {
        if text(&pod, "/spec/nodeName").is_empty() {
            continue;
        }
        if !alive(store, &pod) {
            lost(store, pod, around.now);
        } else if is_going(&pod) {
            if end(&pod).is_none_or(|end| end <= around.now) {
                store.remove(&key_of(&pod));
            } else if is_ready(&pod) {
                unready(store, pod, "", around.now);
            }
        } else if !holds(&pod, MOUNTED) {
            mount(store, pod, around);
        } else {
            advance(store, pod, around);
        }
    }
}

/// When a pod's next step is due.
pub(super) fn due(store: &Store, pod: &Value, pod_start: SignedDuration) -> Option<Timestamp> {
    if text(pod, "/spec/nodeName").is_empty() || !alive(store, pod) {
        return None;
    }
    if is_going(pod) {
        return end(pod);
    }
    let mounted = since(pod, MOUNTED).filter(|_| holds(pod, MOUNTED))?;
    let started = !text(pod, "/status/startTime").is_empty() && text(pod, "/status/phase") == "Running";
    match (started, is_ready(pod) || !sets::fault(pod).is_empty() && is_stuck(pod)) {
        (_, true) => None,
        (true, false) => mounted.checked_add(pod_start).ok(),
        (false, false) => mounted.checked_add(pod_start / 2).ok(),
    }
}

/// True for a pod in which a fault has shown.
fn is_stuck(pod: &Value) -> bool {
    items(pod, "/status/containerStatuses")
        .iter()
        .any(|c| matches!(text(c, "/state/waiting/reason"), "ImagePullBackOff" | "CrashLoopBackOff"))
}

/// When a pod that is being deleted is gone.
fn end(pod: &Value) -> Option<Timestamp> {
    let last: Timestamp = text(pod, "/metadata/deletionTimestamp").parse().ok()?;
    let grace = SignedDuration::from_secs(number(pod, "/metadata/deletionGracePeriodSeconds"));
    Some(last.checked_sub(grace).ok()?.checked_add(STOP).ok()?.min(last))
}

/// True while the pod's node is there and well.
fn alive(store: &Store, pod: &Value) -> bool {
    store.named("Node", "", text(pod, "/spec/nodeName")).is_some_and(|node| holds(node, "Ready"))
}

/// What becomes of a pod whose node is gone: it is not ready, and nobody ends it.
fn lost(store: &mut Store, pod: Value, now: Timestamp) {
    if is_ready(&pod) {
        unready(store, pod, "NodeNotReady", now);
    }
}

fn unready(store: &mut Store, mut pod: Value, reason: &str, now: Timestamp) {
    for kind in ["ContainersReady", "Ready"] {
        set_condition(&mut pod, kind, false, reason, "", now);
    }
    store.put(key_of(&pod), pod);
}

/// Mounts a pod's volumes, once all that they come from is there.
fn mount(store: &mut Store, mut pod: Value, around: &mut Surroundings<'_>) {
    let waiting = |reason: &str| statuses(&pod, json!({ "waiting": { "reason": reason } }), false, 0, Value::Null);
    let creating = waiting("ContainerCreating");
    if let Some(why) = absent(store, &pod) {
        store.tell(&pod, "Warning", "FailedMount", &why, around.now);
        set(&mut pod, &["status", "containerStatuses"], creating);
        store.put(key_of(&pod), pod);
        return;
    }
    let before = volumes::mounted(store, &pod);
    if before && (around.strikes)("empty_disk") {
        volumes::empty(store, &pod);
    }
    set(&mut pod, &["status", "hostIP"], "127.0.0.1");
    set(&mut pod, &["status", "hostIPs"], json!([{ "ip": "127.0.0.1" }]));
    set(&mut pod, &["status", "startTime"], written(around.now));
    set(&mut pod, &["status", "containerStatuses"], creating);
    set_condition(&mut pod, MOUNTED, true, "", "", around.now);
    for kind in ["Initialized", "ContainersReady", "Ready"] {
        let names: Vec<&str> = items(&pod, "/spec/containers").iter().map(|c| text(c, "/name")).collect();
        let why = format!("containers with unready status: [{}]", names.join(" "));
        set_condition(&mut pod, kind, false, "ContainersNotReady", &why, around.now);
    }
    let generation = number(&pod, "/metadata/generation");
    set(&mut pod, &["status", "observedGeneration"], generation);
    let claims = volumes::volumes_of(store, &pod);
    for volume in &claims {
        let why = format!("AttachVolume.Attach succeeded for volume {:?}", text(volume, "/metadata/name"));
        store.tell(&pod, "Normal", "SuccessfulAttachVolume", &why, around.now);
    }
    let image = text(&pod, "/spec/containers/0/image").to_owned();
    store.tell(&pod, "Normal", "Pulling", &format!("Pulling image {image:?}"), around.now);
    store.put(key_of(&pod), pod);
}

/// The ConfigMap or Secret that a pod mounts and that is not there, as the kubelet says it.
fn absent(store: &Store, pod: &Value) -> Option<String> {
    let namespace = text(pod, "/metadata/namespace");
    for volume in items(pod, "/spec/volumes") {
        let projected = items(volume, "/projected/sources").iter();
        for source in std::iter::once(volume).chain(projected) {
            let optional = |pointer: &str| source.pointer(pointer) == Some(&Value::Bool(true));
            let within = std::ptr::eq(source, volume);
            let wanted = [
                ("ConfigMap", text(source, "/configMap/name"), optional("/configMap/optional")),
                (
                    "Secret",
                    if within { text(source, "/secret/secretName") } else { text(source, "/secret/name") },
                    optional("/secret/optional"),
                ),
            ];
            for (kind, name, optional) in wanted {
                if name.is_empty() || optional {
                    continue;
                }
                let keys: Vec<&str> = ["/configMap/items", "/secret/items"]
                    .iter()
                    .flat_map(|list| items(source, list))
                    .map(|item| text(item, "/key"))
                    .collect();
                let lower = kind.to_lowercase();
                let volume = text(volume, "/name");
                let Some(object) = store.named(kind, namespace, name) else {
                    return Some(format!(
                        "MountVolume.SetUp failed for volume {volume:?} : {lower} {name:?} not found"
                    ));
                };
                let has = |key: &str| {
                    ["data", "binaryData"]
                        .iter()
                        .any(|f| object.pointer(&format!("/{f}")).is_some_and(|d| d.get(key).is_some()))
                };
                if let Some(key) = keys.into_iter().find(|key| !has(key)) {
                    return Some(format!(
                        "MountVolume.SetUp failed for volume {volume:?} : references non-existent {lower} key: {key}"
                    ));
                }
            }
        }
    }
    None
}

/// The statuses of all containers of a pod.
fn statuses(pod: &Value, state: Value, ready: bool, restarts: u32, last: Value) -> Value {
    let status = |container: &Value| {
        json!({
            "name": text(container, "/name"), "image": text(container, "/image"), "imageID": "",
            "state": state, "lastState": if last.is_null() { json!({}) } else { last.clone() },
            "ready": ready, "started": ready, "restartCount": restarts,
        })
    };
    items(pod, "/spec/containers").iter().map(status).collect()
}

/// Starts a pod's containers, and readies them.
fn advance(store: &mut Store, mut pod: Value, around: &mut Surroundings<'_>) {
    let now = around.now;
    let Some(mounted) = since(&pod, MOUNTED) else { return };
    if is_ready(&pod) || is_stuck(&pod) {
        return;
    }
    let image = text(&pod, "/spec/containers/0/image").to_owned();
    let name = text(&pod, "/metadata/name").to_owned();
    if text(&pod, "/status/phase") != "Running" {
        if mounted + around.pod_start / 2 > now {
            return;
        }
        if sets::fault(&pod) == "image_pull" {
            let why = format!("Back-off pulling image {image:?}");
            let state = json!({ "waiting": { "reason": "ImagePullBackOff", "message": why } });
            let waiting = statuses(&pod, state, false, 0, Value::Null);
            store.tell(&pod, "Warning", "Failed", &format!("Failed to pull image {image:?}: not found"), now);
            store.tell(&pod, "Normal", "BackOff", &why, now);
            set(&mut pod, &["status", "containerStatuses"], waiting);
            store.put(key_of(&pod), pod);
            return;
        }
        let address = format!("10.8.0.{}", 2 + store.all("Pod", None).count() % 250);
        set(&mut pod, &["status", "podIP"], address.as_str());
        set(&mut pod, &["status", "podIPs"], json!([{ "ip": address }]));
        set(&mut pod, &["status", "phase"], "Running");
        set_condition(&mut pod, "Initialized", true, "", "", now);
        let done = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": written(now), "finishedAt": written(now) } });
        let inits: Vec<Value> = items(&pod, "/spec/initContainers")
            .iter()
            .map(|c| json!({ "name": text(c, "/name"), "image": text(c, "/image"), "imageID": "", "state": done, "lastState": {}, "ready": true, "restartCount": 0 }))
            .collect();
        if !inits.is_empty() {
            set(&mut pod, &["status", "initContainerStatuses"], inits);
        }
        let running = json!({ "running": { "startedAt": written(now) } });
        let (state, last, restarts) = match sets::fault(&pod) {
            "pod_crash" => {
                let container = text(&pod, "/spec/containers/0/name");
                let why = format!("back-off 10s restarting failed container={container} pod={name}");
                store.tell(
                    &pod,
                    "Warning",
                    "BackOff",
                    &format!("Back-off restarting failed container {container} in pod {name}"),
                    now,
                );
                let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error", "startedAt": written(now), "finishedAt": written(now) } });
                (json!({ "waiting": { "reason": "CrashLoopBackOff", "message": why } }), ended, 1)
            }
            _ => (running, Value::Null, 0),
        };
        let statuses = statuses(&pod, state, false, restarts, last);
        set(&mut pod, &["status", "containerStatuses"], statuses);
        store.tell(&pod, "Normal", "Pulled", &format!("Successfully pulled image {image:?}"), now);
        store.tell(&pod, "Normal", "Started", "Started container", now);
        store.put(key_of(&pod), pod);
        return;
    }
    if mounted + around.pod_start > now {
        return;
    }
    let running = items(&pod, "/status/containerStatuses").first().and_then(|c| c.get("state")).cloned();
    let statuses = statuses(&pod, running.unwrap_or_default(), true, 0, Value::Null);
    set(&mut pod, &["status", "containerStatuses"], statuses);
    for kind in ["ContainersReady", "Ready"] {
        set_condition(&mut pod, kind, true, "", "", now);
    }
    let node = text(&pod, "/spec/nodeName").to_owned();
    store.put(key_of(&pod), pod);
    if (around.strikes)("node_gone") {
        let key = Key { kind: "Node".to_owned(), namespace: String::new(), name: node };
        if let Some(mut node) = store.find(&key).cloned() {
            set_condition(&mut node, "Ready", false, "NodeStatusUnknown", "Kubelet stopped posting node status.", now);
            let taint =
                json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": written(now) });
            set(&mut node, &["spec", "taints"], json!([taint]));
            store.put(key, node);
        }
    }
}
