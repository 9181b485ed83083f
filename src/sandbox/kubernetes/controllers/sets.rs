//! The StatefulSet's controller: claims, pods, updates, status.

use serde_json::{Value, json};

use super::super::kinds::kind_of;
use super::super::store::Store;
use super::super::values::{items, number, selects, set, text, unset, with};
use super::super::verbs::{Deletion, Options, Place};
use super::{FAULT, Surroundings, every, is_going, is_ready, key_of, owner, pods};

pub(super) fn run(store: &mut Store, around: &mut Surroundings<'_>) {
    for set_ in every(store, "StatefulSet") {
        if !is_going(&set_) {
            reconcile(store, set_, around);
        }
    }
}

/// A text of letters that cannot be read as a word, always the same for the same template.
fn hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = template.to_string();
    let start: u64 = 0xcbf2_9ce4_8422_2325;
    let mut sum = text.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut out = String::new();
    for _ in 0..10 {
        let letter = LETTERS.get((sum % LETTERS.len() as u64) as usize).copied().unwrap_or(b'b');
        out.push(char::from(letter));
        sum /= LETTERS.len() as u64;
    }
    out
}

fn reconcile(store: &mut Store, mut set_: Value, around: &mut Surroundings<'_>) {
    let (name, namespace) = (text(&set_, "/metadata/name").to_owned(), text(&set_, "/metadata/namespace").to_owned());
    let uid = text(&set_, "/metadata/uid").to_owned();
    let replicas = number(&set_, "/spec/replicas");
    let revision = format!("{name}-{}", hash(set_.pointer("/spec/template").unwrap_or(&Value::Null)));
    adopt(store, &set_, &namespace, &name);
    for ordinal in 0..replicas {
        claims(store, &set_, ordinal, around);
        own_claims(store, &set_, ordinal);
        let pod = format!("{name}-{ordinal}");
        let there = store.named("Pod", &namespace, &pod).cloned();
        match there {
            None => create(store, &set_, ordinal, &revision, around),
            Some(there) if owner(&there) == uid => roll(store, &set_, &there, &revision, around),
            Some(_) => {}
        }
    }
    let mine: Vec<Value> = store.all("Pod", Some(&namespace)).filter(|pod| owner(pod) == uid).cloned().collect();
    for pod in &mine {
        let ordinal = text(pod, "/metadata/name").rsplit_once('-').and_then(|(_, n)| n.parse::<i64>().ok());
        if ordinal.is_none_or(|n| n >= replicas) && !is_going(pod) {
            delete(store, pod, around);
        }
    }
    let of = |revision: &str| {
        mine.iter().filter(|p| text(p, "/metadata/labels/controller-revision-hash") == revision).count()
    };
    let ready = mine.iter().filter(|p| is_ready(p)).count();
    let updated = of(&revision);
    let before = text(&set_, "/status/currentRevision").to_owned();
    let all_updated = updated == mine.len() && ready == mine.len() && i64::try_from(updated) == Ok(replicas);
    let current = if before.is_empty() || all_updated { revision.clone() } else { before };
    let on_current = of(&current);
    let generation = number(&set_, "/metadata/generation");
    with(&mut set_, &["status"], |status| {
        status.clear();
        status.insert("observedGeneration".to_owned(), generation.into());
        status.insert("collisionCount".to_owned(), 0.into());
        status.insert("replicas".to_owned(), mine.len().into());
        status.insert("availableReplicas".to_owned(), ready.into());
        for (field, count) in [("readyReplicas", ready), ("currentReplicas", on_current), ("updatedReplicas", updated)]
        {
            if count > 0 {
                status.insert(field.to_owned(), count.into());
            }
        }
        status.insert("currentRevision".to_owned(), current.into());
        status.insert("updateRevision".to_owned(), revision.into());
    });
    store.put(key_of(&set_), set_);
}

/// Takes up pods that nobody owns and that are as this set's would be.
fn adopt(store: &mut Store, set_: &Value, namespace: &str, name: &str) {
    let Some(selector) = set_.pointer("/spec/selector") else { return };
    let lone: Vec<Value> = store
        .all("Pod", Some(namespace))
        .filter(|pod| owner(pod).is_empty() && !is_going(pod) && selects(selector, pod.pointer("/metadata/labels")))
        .filter(|pod| text(pod, "/metadata/name").strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
        .cloned()
        .collect();
    for mut pod in lone {
        set(&mut pod, &["metadata", "ownerReferences"], json!([owned_by(set_)]));
        store.put(key_of(&pod), pod);
    }
}

fn owned_by(set_: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": text(set_, "/metadata/name"),
        "uid": text(set_, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
    })
}

fn options() -> Options {
    Options { manager: "kube-controller-manager".to_owned(), ..Options::default() }
}

/// Makes the claims of an ordinal that are not there.
fn claims(store: &mut Store, set_: &Value, ordinal: i64, around: &Surroundings<'_>) {
    let (name, namespace) = (text(set_, "/metadata/name"), text(set_, "/metadata/namespace"));
    let Some(kind) = kind_of("PersistentVolumeClaim") else { return };
    for template in items(set_, "/spec/volumeClaimTemplates") {
        let claim_name = format!("{}-{name}-{ordinal}", text(template, "/metadata/name"));
        if store.named(kind.kind, namespace, &claim_name).is_some() {
            continue;
        }
        let mut claim = template.clone();
        set(&mut claim, &["metadata", "name"], claim_name.as_str());
        let labels = set_.pointer("/spec/selector/matchLabels").and_then(Value::as_object).cloned();
        with(&mut claim, &["metadata", "labels"], |own| own.extend(labels.unwrap_or_default()));
        let place = Place { kind, namespace, name: &claim_name };
        let pod = format!("Pod {name}-{ordinal} in StatefulSet {name}");
        match store.create(place, claim, &options(), around.now) {
            Ok(_) => {
                let message = format!("create Claim {claim_name} {pod} success");
                store.tell(set_, "Normal", "SuccessfulCreate", &message, around.now);
            }
            Err(refused) => {
                let message = format!("create Claim {claim_name} for {pod} failed error: {}", refused.message);
                store.tell(set_, "Warning", "FailedCreate", &message, around.now);
            }
        }
    }
}

/// Claims belong to a set that takes them along when it is deleted, and to no other.
fn own_claims(store: &mut Store, set_: &Value, ordinal: i64) {
    let (name, namespace) = (text(set_, "/metadata/name"), text(set_, "/metadata/namespace"));
    let takes_along = text(set_, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted") == "Delete";
    for template in items(set_, "/spec/volumeClaimTemplates") {
        let claim = format!("{}-{name}-{ordinal}", text(template, "/metadata/name"));
        let Some(mut claim) = store.named("PersistentVolumeClaim", namespace, &claim).cloned() else { continue };
        let owned = owner(&claim) == text(set_, "/metadata/uid");
        if takes_along == owned {
            continue;
        }
        if takes_along {
            set(&mut claim, &["metadata", "ownerReferences"], json!([owned_by(set_)]));
        } else {
            unset(&mut claim, &["metadata", "ownerReferences"]);
        }
        store.put(key_of(&claim), claim);
    }
}

/// Makes the pod of an ordinal from the template.
fn create(store: &mut Store, set_: &Value, ordinal: i64, revision: &str, around: &mut Surroundings<'_>) {
    let (name, namespace) = (text(set_, "/metadata/name"), text(set_, "/metadata/namespace"));
    let pod_name = format!("{name}-{ordinal}");
    let template = set_.pointer("/spec/template").cloned().unwrap_or_default();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    });
    with(&mut pod, &["metadata"], |metadata| {
        metadata.insert("name".to_owned(), pod_name.as_str().into());
        metadata.insert("generateName".to_owned(), format!("{name}-").into());
        metadata.insert("ownerReferences".to_owned(), json!([owned_by(set_)]));
    });
    with(&mut pod, &["metadata", "labels"], |labels| {
        labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string().into());
        labels.insert("controller-revision-hash".to_owned(), revision.into());
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), pod_name.as_str().into());
    });
    set(&mut pod, &["spec", "hostname"], pod_name.as_str());
    set(&mut pod, &["spec", "subdomain"], text(set_, "/spec/serviceName"));
    let mut volumes: Vec<Value> = items(set_, "/spec/volumeClaimTemplates")
        .iter()
        .map(|t| text(t, "/metadata/name"))
        .map(|t| json!({ "name": t, "persistentVolumeClaim": { "claimName": format!("{t}-{name}-{ordinal}") } }))
        .collect();
    let brought: Vec<String> = volumes.iter().map(|v| text(v, "/name").to_owned()).collect();
    let own = items(&pod, "/spec/volumes").iter().filter(|v| !brought.iter().any(|b| b == text(v, "/name")));
    volumes.extend(own.cloned().collect::<Vec<_>>());
    set(&mut pod, &["spec", "volumes"], volumes);
    let Some(kind) = pods() else { return };
    let place = Place { kind, namespace, name: &pod_name };
    // A pod that admission refuses is no occasion for a fault: it is tried again and again.
    let refused = store.create(place, pod.clone(), &Options { dry_run: true, ..options() }, around.now).err();
    if let Some(refused) = refused {
        let message = format!("create Pod {pod_name} in StatefulSet {name} failed error: {}", refused.message);
        store.tell(set_, "Warning", "FailedCreate", &message, around.now);
        return;
    }
    let strikes = ["pod_pending", "image_pull", "pod_crash"].map(|fault| (fault, (around.strikes)(fault)));
    if let Some((fault, _)) = strikes.into_iter().find(|(_, strikes)| *strikes) {
        with(&mut pod, &["metadata", "annotations"], |all| drop(all.insert("sandbox/fault".to_owned(), fault.into())));
    }
    drop(store.create(place, pod, &options(), around.now));
    let message = format!("create Pod {pod_name} in StatefulSet {name} successful");
    store.tell(set_, "Normal", "SuccessfulCreate", &message, around.now);
}

/// Deletes a pod of an old revision, when it may be. In order, one that never became ready keeps its old template.
fn roll(store: &mut Store, set_: &Value, pod: &Value, revision: &str, around: &Surroundings<'_>) {
    let old = text(pod, "/metadata/labels/controller-revision-hash") != revision;
    let rolling = text(set_, "/spec/updateStrategy/type") == "RollingUpdate";
    let parallel = text(set_, "/spec/podManagementPolicy") == "Parallel";
    if old && rolling && !is_going(pod) && (parallel || is_ready(pod)) {
        delete(store, pod, around);
    }
}

fn delete(store: &mut Store, pod: &Value, around: &Surroundings<'_>) {
    let Some(kind) = pods() else { return };
    let (name, namespace) = (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"));
    drop(store.delete(Place { kind, namespace, name }, &Deletion::default(), around.now));
}

/// The fault that struck a pod when it was made.
pub(super) fn fault(pod: &Value) -> &str {
    text(pod, FAULT)
}
