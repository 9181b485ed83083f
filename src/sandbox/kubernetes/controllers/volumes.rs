//! Claims and volumes: bound when a pod was given a node, grown when asked, kept when a claim goes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::quantity::Quantity;
use super::super::store::{PROVISIONER, Store, written};
use super::super::values::{number, set, text, unset};
use super::{GROWTH, Surroundings, claim_is_used, claims_of, every, is_going, key_of};

/// The disk of a volume that an administrator made.
const BY_HAND: &str = "/metadata/annotations/sandbox~1disk";
const SELECTED: &str = "/metadata/annotations/volume.kubernetes.io~1selected-node";
const RESIZED: &str = "/metadata/annotations/sandbox~1resize-began";

pub(super) fn run(store: &mut Store, around: &mut Surroundings<'_>) {
    for claim in every(store, "PersistentVolumeClaim") {
        if is_going(&claim) && !claim_is_used(store, &claim) {
            store.remove(&key_of(&claim));
        } else {
            match text(&claim, "/status/phase") {
                "Pending" => bind(store, claim, around),
                "Bound" => grow(store, claim, around.now),
                _ => {}
            }
        }
    }
    for mut volume in every(store, "PersistentVolume") {
        let claim = store.named(
            "PersistentVolumeClaim",
            text(&volume, "/spec/claimRef/namespace"),
            text(&volume, "/spec/claimRef/name"),
        );
        let bound = claim.is_some_and(|c| text(c, "/metadata/uid") == text(&volume, "/spec/claimRef/uid"));
        // One without a claim's uid waits for the claim.
        if bound || text(&volume, "/spec/claimRef/uid").is_empty() {
            continue;
        }
        if text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete" {
            store.remove(&key_of(&volume));
        } else {
            set(&mut volume, &["status", "phase"], "Released");
            store.put(key_of(&volume), volume);
        }
    }
}

fn bind(store: &mut Store, mut claim: Value, around: &mut Surroundings<'_>) {
    let class_name = text(&claim, "/spec/storageClassName").to_owned();
    let Some(class) = store.named("StorageClass", "", &class_name).cloned() else {
        if class_name.is_empty() {
            let why = "no persistent volumes available for this claim and no storage class is set";
            store.tell(&claim, "Normal", "FailedBinding", why, around.now);
        } else {
            let why = format!("storageclass.storage.k8s.io {class_name:?} not found");
            store.tell(&claim, "Warning", "ProvisioningFailed", &why, around.now);
        }
        return;
    };
    let waits = text(&class, "/volumeBindingMode") == "WaitForFirstConsumer";
    let node = text(&claim, SELECTED).to_owned();
    if waits && node.is_empty() {
        let why = "waiting for first consumer to be created before binding";
        store.tell(&claim, "Normal", "WaitForFirstConsumer", why, around.now);
        return;
    }
    if let Some(volume) = by_hand(store, &claim) {
        return join(store, claim, volume, around.now);
    }
    if text(&class, "/provisioner") == "kubernetes.io/no-provisioner" {
        let why = "no persistent volumes available for this claim and no storage class is set";
        store.tell(&claim, "Normal", "FailedBinding", why, around.now);
        return;
    }
    if text(&class, "/provisioner") != PROVISIONER {
        let why = format!(
            "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
             administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
             registered.",
            text(&class, "/provisioner")
        );
        store.tell(&claim, "Normal", "ExternalProvisioning", &why, around.now);
        return;
    }
    let name = format!("pvc-{}", text(&claim, "/metadata/uid"));
    set(&mut claim, &["spec", "volumeName"], name.as_str());
    for annotation in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
        set(&mut claim, &["metadata", "annotations", annotation], "yes");
    }
    for annotation in ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"] {
        set(&mut claim, &["metadata", "annotations", annotation], PROVISIONER);
    }
    if (around.strikes)("claim_lost") {
        let why = format!("Bound claim has lost its PersistentVolume. Data on the volume is lost! {name:?} not found");
        set(&mut claim, &["status"], json!({ "phase": "Lost" }));
        store.tell(&claim, "Warning", "ClaimLost", &why, around.now);
        store.put(key_of(&claim), claim);
        return;
    }
    let size = claim.pointer("/spec/resources/requests/storage").cloned().unwrap_or_default();
    let zone = store.named("Node", "", &node).and_then(|n| n.pointer(ZONE)).cloned();
    let key = key_of(&claim);
    let disk = store.uid(&key);
    let mut volume = json!({
        "metadata": { "annotations": { "pv.kubernetes.io/provisioned-by": PROVISIONER } },
        "spec": {
            "capacity": { "storage": size },
            "accessModes": claim.pointer("/spec/accessModes").cloned().unwrap_or_default(),
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": text(&claim, "/metadata/name"),
                "namespace": text(&claim, "/metadata/namespace"), "uid": text(&claim, "/metadata/uid"),
            },
            "persistentVolumeReclaimPolicy": text(&class, "/reclaimPolicy"),
            "storageClassName": class_name,
            "csi": { "driver": PROVISIONER, "volumeHandle": disk },
        },
        "status": { "phase": "Bound", "lastPhaseTransitionTime": written(around.now) },
    });
    if let Some(zone) = zone {
        let wanted = json!({ "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] });
        let affinity = json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [wanted] }] } });
        set(&mut volume, &["spec", "nodeAffinity"], affinity);
    }
    set(&mut volume, &["metadata", "finalizers"], json!(["kubernetes.io/pv-protection"]));
    store.add("PersistentVolume", "", &name, around.now, volume);
    let modes = claim.pointer("/spec/accessModes").cloned().unwrap_or_default();
    set(&mut claim, &["status"], json!({ "phase": "Bound", "accessModes": modes, "capacity": { "storage": size } }));
    let why = format!("Successfully provisioned volume {name}");
    store.tell(&claim, "Normal", "ProvisioningSucceeded", &why, around.now);
    store.put(key, claim);
}

/// A volume that an administrator made, for this claim or for whoever comes.
fn by_hand(store: &Store, claim: &Value) -> Option<Value> {
    let size = Quantity::of(claim.pointer("/spec/resources/requests/storage"))?;
    let fits = |volume: &&Value| {
        let uid = text(volume, "/spec/claimRef/uid");
        let name = text(volume, "/spec/claimRef/name");
        let namespace = text(volume, "/spec/claimRef/namespace");
        let reserved = name == text(claim, "/metadata/name") && namespace == text(claim, "/metadata/namespace");
        text(volume, "/spec/storageClassName") == text(claim, "/spec/storageClassName")
            && Quantity::of(volume.pointer("/spec/capacity/storage")).is_some_and(|has| has >= size)
            && if name.is_empty() { true } else { reserved && uid.is_empty() }
    };
    store.all("PersistentVolume", None).find(fits).cloned()
}

/// Binds a claim to a volume that is there.
fn join(store: &mut Store, mut claim: Value, mut volume: Value, now: Timestamp) {
    let key = key_of(&claim);
    if disk_of(&volume).is_empty() {
        let disk = store.uid(&key_of(&volume));
        set(&mut volume, &["metadata", "annotations", "sandbox/disk"], disk);
    }
    let of = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": text(&claim, "/metadata/name"),
        "namespace": text(&claim, "/metadata/namespace"), "uid": text(&claim, "/metadata/uid"),
    });
    set(&mut volume, &["spec", "claimRef"], of);
    set(&mut volume, &["status"], json!({ "phase": "Bound", "lastPhaseTransitionTime": written(now) }));
    set(&mut claim, &["spec", "volumeName"], text(&volume, "/metadata/name"));
    for annotation in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
        set(&mut claim, &["metadata", "annotations", annotation], "yes");
    }
    let capacity = volume.pointer("/spec/capacity").cloned().unwrap_or_default();
    let modes = volume.pointer("/spec/accessModes").cloned().unwrap_or_default();
    set(&mut claim, &["status"], json!({ "phase": "Bound", "accessModes": modes, "capacity": capacity }));
    store.put(key_of(&volume), volume);
    store.put(key, claim);
}

/// A node's zone.
const ZONE: &str = "/metadata/labels/topology.kubernetes.io~1zone";

fn sizes(claim: &Value) -> (Quantity, Quantity) {
    let size = |pointer: &str| Quantity::of(claim.pointer(pointer)).unwrap_or(Quantity::ZERO);
    (size("/spec/resources/requests/storage"), size("/status/capacity/storage"))
}

fn began(claim: &Value) -> Option<Timestamp> {
    text(claim, RESIZED).parse().ok()
}

/// When a claim's volume will have grown.
pub(super) fn due(claim: &Value) -> Option<Timestamp> {
    began(claim)?.checked_add(GROWTH).ok()
}

fn grow(store: &mut Store, mut claim: Value, now: Timestamp) {
    let (wanted, has) = sizes(&claim);
    if wanted <= has {
        return;
    }
    let Some(began) = began(&claim) else {
        set(&mut claim, &["metadata", "annotations", "sandbox/resize-began"], written(now));
        let resizing =
            json!({ "type": "Resizing", "status": "True", "lastProbeTime": null, "lastTransitionTime": written(now) });
        set(&mut claim, &["status", "conditions"], json!([resizing]));
        let why = format!("External resizer is resizing volume {}", text(&claim, "/spec/volumeName"));
        store.tell(&claim, "Normal", "Resizing", &why, now);
        store.put(key_of(&claim), claim);
        return;
    };
    if began + GROWTH > now {
        return;
    }
    let size = claim.pointer("/spec/resources/requests/storage").cloned().unwrap_or_default();
    if let Some(mut volume) = store.named("PersistentVolume", "", text(&claim, "/spec/volumeName")).cloned() {
        set(&mut volume, &["spec", "capacity", "storage"], size.clone());
        store.put(key_of(&volume), volume);
    }
    set(&mut claim, &["status", "capacity", "storage"], size);
    unset(&mut claim, &["status", "conditions"]);
    unset(&mut claim, &["metadata", "annotations", "sandbox/resize-began"]);
    store.tell(&claim, "Normal", "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded", now);
    store.put(key_of(&claim), claim);
}

/// Gives the disk of a pod's claims another, empty one, where it held something before.
pub(super) fn empty(store: &mut Store, pod: &Value) {
    for mut volume in volumes_of(store, pod) {
        let disk = store.uid(&key_of(&volume));
        if text(&volume, BY_HAND).is_empty() {
            set(&mut volume, &["spec", "csi", "volumeHandle"], disk);
        } else {
            set(&mut volume, &["metadata", "annotations", "sandbox/disk"], disk);
        }
        store.put(key_of(&volume), volume);
    }
}

/// Notes that a pod's volumes were mounted. True when each had been before.
pub(super) fn mounted(store: &mut Store, pod: &Value) -> bool {
    let mut before = true;
    let volumes = volumes_of(store, pod);
    if volumes.is_empty() {
        return false;
    }
    for mut volume in volumes {
        let mounts = number(&volume, "/metadata/annotations/sandbox~1mounts");
        let text: i64 = text(&volume, "/metadata/annotations/sandbox~1mounts").parse().unwrap_or(mounts);
        before &= text > 0;
        set(&mut volume, &["metadata", "annotations", "sandbox/mounts"], (text + 1).to_string());
        store.put(key_of(&volume), volume);
    }
    before
}

/// A volume's disk, by its file system's id: what a Gitaly on it would say.
pub(in super::super) fn disk_of(volume: &Value) -> &str {
    match text(volume, "/spec/csi/volumeHandle") {
        "" => text(volume, BY_HAND),
        handle => handle,
    }
}

/// The volumes behind a pod's claims.
pub(in super::super) fn volumes_of(store: &Store, pod: &Value) -> Vec<Value> {
    let namespace = text(pod, "/metadata/namespace");
    claims_of(pod)
        .filter_map(|name| store.named("PersistentVolumeClaim", namespace, name))
        .filter_map(|claim| store.named("PersistentVolume", "", text(claim, "/spec/volumeName")))
        .cloned()
        .collect()
}
