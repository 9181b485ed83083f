//! The StatefulSet of a pod storage: one replica, Guaranteed QoS, a volume that outlives it; and the Pod that its
//! template gives, to be tried.

use serde_json::{Map, Value, json};

use super::gitaly::{CGROUP_FILE, METRICS, PORT, REPOSITORIES, SECRETS, SHELL_FILE, TOKEN_FILE};
use super::merge::merge;
use super::objects::{Built, GITALY, NAME_LABEL};
use crate::model::cluster::{ENVIRONMENT, Manifest, NodeFacts, ObjectKey, ObjectKind, VolumeFacts};
use crate::model::quantity::{Size, cores};
use crate::model::{CgroupSpec, SecretKey, StorageName};

/// The volume's name, and with `-X-0` behind it its claim's.
pub(super) const VOLUME: &str = "repo-data";
/// The name of Gitaly's container.
pub const CONTAINER: &str = "gitaly";
/// Where a node's cgroups are mounted in the pod.
const CGROUP_MOUNT: &str = "/run/gitaly/cgroup";
/// Beyond Gitaly's own graceful stop, before the kubelet kills it (the rule of GitLab's chart), seconds.
const GRACE: u32 = 5;
/// The annotation that rolls the pod when its configuration changes.
pub(super) const CHECKSUM: &str = "checksum/config";

/// The StatefulSet; `checksum` is that of the ConfigMap.
pub(super) fn statefulset(built: &Built<'_>, checksum: &str) -> Value {
    let Built { storage, spec, .. } = built;
    let name = storage.name.as_str();
    let mut set = built.object("apps/v1", "StatefulSet", name);
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": Size(built.size()).to_string() } },
    });
    if let Some(class) = &spec.disk.class {
        insert(&mut claim, "storageClassName", json!(class));
    }
    let fields = json!({
        "replicas": 1,
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "RollingUpdate" },
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain", "whenScaled": "Retain" },
        "selector": { "matchLabels": built.selector() },
        "template": template(built, checksum),
        "volumeClaimTemplates": [
            { "metadata": { "name": VOLUME, "annotations": { ENVIRONMENT: built.environment } }, "spec": claim },
        ],
    });
    insert(&mut set, "spec", fields);
    merge(&mut set, &spec.extra);
    set
}

fn template(built: &Built<'_>, checksum: &str) -> Value {
    let mut annotations = json!({
        CHECKSUM: checksum,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    });
    // Two ways of being scraped would count everything twice.
    if built.spec.service_monitor.is_none() {
        insert(&mut annotations, "prometheus.io/scrape", json!("true"));
        insert(&mut annotations, "prometheus.io/port", json!(METRICS.to_string()));
        insert(&mut annotations, "prometheus.io/path", json!("/metrics"));
    }
    json!({ "metadata": { "labels": built.labels(), "annotations": annotations }, "spec": pod(built) })
}

fn pod(built: &Built<'_>) -> Value {
    let Built { storage, spec, .. } = built;
    let mut pod = json!({
        "serviceAccountName": storage.name,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": spec.graceful_restart_seconds.saturating_add(GRACE),
        "securityContext": {
            "runAsUser": 1000,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "affinity": affinity(built),
        "containers": [gitaly(built)],
        "volumes": volumes(built),
    });
    if let Some(cgroups) = &spec.cgroups {
        insert(&mut pod, "initContainers", json!([init_cgroups(cgroups)]));
    }
    if let Some(class) = &spec.priority_class {
        insert(&mut pod, "priorityClassName", json!(class));
    }
    if !spec.node_selector.is_empty() {
        insert(&mut pod, "nodeSelector", json!(spec.node_selector));
    }
    if !spec.tolerations.is_empty() {
        insert(&mut pod, "tolerations", json!(spec.tolerations));
    }
    pod
}

/// Never on a node with another Gitaly, or not if there is another node; in its zone.
fn affinity(built: &Built<'_>) -> Value {
    let others = json!({
        "labelSelector": { "matchLabels": { NAME_LABEL: GITALY } },
        "topologyKey": "kubernetes.io/hostname",
    });
    let apart = if built.spec.node_for_itself {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": [others] })
    } else {
        json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "podAffinityTerm": others }] })
    };
    let mut affinity = json!({ "podAntiAffinity": apart });
    if let Some(zone) = &built.storage.zone {
        let term = json!({ "matchExpressions": [{ "key": ZONE, "operator": "In", "values": [zone] }] });
        let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } });
        insert(&mut affinity, "nodeAffinity", required);
    }
    affinity
}

/// The label of a node's zone.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

fn gitaly(built: &Built<'_>) -> Value {
    let spec = built.spec;
    let amounts = json!({ "cpu": cores(spec.cpu_millis), "memory": Size(spec.memory).to_string() });
    let mut mounts = vec![
        json!({ "name": VOLUME, "mountPath": REPOSITORIES }),
        json!({ "name": "gitaly-config", "mountPath": "/etc/gitaly/templates", "readOnly": true }),
        json!({ "name": "gitaly-secrets", "mountPath": SECRETS, "readOnly": true }),
    ];
    if spec.cgroups.is_some() {
        mounts.push(json!({ "name": "cgroup", "mountPath": CGROUP_MOUNT }));
        mounts.push(json!({ "name": "gitaly-cgroup", "mountPath": cgroup_folder(), "readOnly": true }));
    }
    // It answers whatever Gitaly's version and token: gRPC's own probe sends none. (gitaly-kubernetes §0, §7)
    let probe = |delay: u32, period: u32, timeout: u32, failures: u32| {
        json!({
            "tcpSocket": { "port": PORT },
            "initialDelaySeconds": delay,
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "successThreshold": 1,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": CONTAINER,
        "image": spec.image,
        "ports": [
            { "name": "grpc-gitaly", "containerPort": PORT, "protocol": "TCP" },
            { "name": "http-metrics", "containerPort": METRICS, "protocol": "TCP" },
        ],
        "env": [
            { "name": "CONFIG_TEMPLATE_DIRECTORY", "value": "/etc/gitaly/templates" },
            { "name": "CONFIG_DIRECTORY", "value": "/etc/gitaly" },
            { "name": "GITALY_CONFIG_FILE", "value": "/etc/gitaly/config.toml" },
            { "name": "SSL_CERT_DIR", "value": "/etc/ssl/certs" },
            { "name": "GOMEMLIMIT", "valueFrom": {
                "resourceFieldRef": { "containerName": CONTAINER, "resource": "limits.memory", "divisor": "1" },
            } },
        ],
        "resources": { "requests": amounts, "limits": amounts },
        "securityContext": {
            "runAsUser": 1000,
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
        },
        "startupProbe": probe(1, 1, 1, 60),
        "readinessProbe": probe(2, 10, 3, 3),
        "livenessProbe": probe(0, 10, 3, 3),
        "volumeMounts": mounts,
    })
}

/// Hands the pod's own cgroup over to Gitaly's user, and writes down where it is.
fn init_cgroups(cgroups: &CgroupSpec) -> Value {
    // GitLab's own figures for it; requests equal limits, or the pod is not Guaranteed.
    let amounts = json!({ "cpu": "50m", "memory": "32Mi" });
    json!({
        "name": "init-cgroups",
        "image": cgroups.init_image,
        "env": [
            { "name": "GITALY_POD_UID", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } },
            { "name": "CGROUP_PATH", "value": format!("{CGROUP_MOUNT}/kubepods.slice/") },
            { "name": "OUTPUT_PATH", "value": CGROUP_FILE },
        ],
        "resources": { "requests": amounts, "limits": amounts },
        "securityContext": { "runAsUser": 0, "runAsGroup": 0 },
        "volumeMounts": [
            { "name": "cgroup", "mountPath": CGROUP_MOUNT },
            { "name": "gitaly-cgroup", "mountPath": cgroup_folder() },
        ],
    })
}

fn cgroup_folder() -> &'static str {
    CGROUP_FILE.rsplit_once('/').map_or(CGROUP_FILE, |(folder, _)| folder)
}

fn volumes(built: &Built<'_>) -> Value {
    let secret = |secret: &SecretKey, path: &str| json!({ "secret": { "name": secret.name, "items": [{ "key": secret.key, "path": path }] } });
    let cluster = built.cluster;
    let token = cluster.gitaly_token.as_ref().map(|one| secret(one, TOKEN_FILE));
    let shell = cluster.shell_secret.as_ref().map(|one| secret(one, SHELL_FILE));
    let sources: Vec<Value> = token.into_iter().chain(shell).collect();
    let mut volumes = vec![
        json!({ "name": "gitaly-config", "configMap": { "name": built.storage.name } }),
        // 0440: for the pod's group only.
        json!({ "name": "gitaly-secrets", "projected": { "defaultMode": 0o440, "sources": sources } }),
    ];
    if built.spec.cgroups.is_some() {
        volumes.push(json!({ "name": "cgroup", "hostPath": { "path": "/sys/fs/cgroup", "type": "Directory" } }));
        volumes.push(json!({ "name": "gitaly-cgroup", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    }
    Value::Array(volumes)
}

/// Why Gitaly would not have its repositories on the storage's volume; `None`: it has. Whoever patched the StatefulSet, the
/// volume is mounted where config.toml says, whole and writable, and nothing lies over a part of it.
pub(super) fn off_its_volume(set: &Value) -> Option<String> {
    let containers = set.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(gitaly) = containers.into_iter().flatten().find(|one| text(one, "name") == CONTAINER) else {
        return Some(format!("it has no container {CONTAINER}"));
    };
    let mounts = gitaly.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
    let inside: Vec<(String, &Value)> = mounts
        .map(|mount| (text(mount, "mountPath").trim_end_matches('/').to_owned(), mount))
        .filter(|(path, _)| {
            path.strip_prefix(REPOSITORIES).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .collect();
    let [(path, mount)] = inside.as_slice() else {
        return Some(match inside.as_slice() {
            [] => format!("nothing is mounted at {REPOSITORIES}"),
            _ => format!("more than the volume is mounted at or below {REPOSITORIES}"),
        });
    };
    if path != REPOSITORIES || text(mount, "name") != VOLUME {
        return Some(format!("{:?} is mounted at {path}, not {VOLUME:?} at {REPOSITORIES}", text(mount, "name")));
    }
    if mount.get("readOnly") == Some(&Value::Bool(true)) {
        return Some(format!("{VOLUME} is mounted read-only"));
    }
    let part = ["subPath", "subPathExpr"].iter().find(|field| !text(mount, field).is_empty());
    part.map(|field| format!("only a part of {VOLUME} is mounted ({field} {:?})", text(mount, field)))
}

/// The Pod that a StatefulSet's template gives, for a dry run: its admission is asked of nobody when the StatefulSet is
/// applied. It has a name of its own, and no ServiceAccount: a new storage's does not exist yet.
pub(super) fn trial(built: &Built<'_>, set: &Value) -> Value {
    let name = built.storage.name.as_str();
    let mut pod = built.object("v1", "Pod", &trial_name(name));
    // A pod has what its template has, and no more.
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    made_from(set, name, pod)
}

/// The Pod that a live StatefulSet would make now, for a dry run.
pub fn trial_of(storage: &StorageName, set: &Value) -> Manifest {
    let name = trial_name(storage.as_str());
    let namespace = set.pointer("/metadata/namespace").cloned().unwrap_or_default();
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace } });
    Manifest { key: ObjectKey { kind: ObjectKind::Pod, name }, body: made_from(set, storage.as_str(), pod) }
}

/// Whether a node could take the pod that a StatefulSet makes: it is well, not cordoned, and has the labels that are
/// asked for. What else may keep a pod away (room, taints) only the scheduler knows.
pub fn may_run_on(set: &Value, node: &NodeFacts) -> bool {
    node.ready && !node.unschedulable && has_labels(set, node)
}

/// Whether a node can reach a volume.
pub fn may_follow(volume: &VolumeFacts, node: &NodeFacts) -> bool {
    volume.node_terms.is_empty() || volume.node_terms.iter().any(|term| meets(term, node))
}

/// Whether a node meets one term of a node selector.
fn meets(term: &Value, node: &NodeFacts) -> bool {
    let text = |one: &Value, pointer: &str| one.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let holds = |one: &Value, found: Option<&str>| {
        let values = one.pointer("/values").and_then(Value::as_array).into_iter().flatten();
        let named = found.is_some_and(|found| values.into_iter().any(|value| value.as_str() == Some(found)));
        match text(one, "/operator").as_str() {
            "In" => named,
            "NotIn" => !named,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            // Comparisons of numbers are the scheduler's to judge.
            _ => true,
        }
    };
    let list = |field: &str| term.pointer(field).and_then(Value::as_array).into_iter().flatten();
    list("/matchExpressions").all(|one| holds(one, node.labels.get(&text(one, "/key")).map(String::as_str)))
        // The one field that there is.
        && list("/matchFields").all(|one| holds(one, Some(&node.name)))
}

/// Whether a node has the labels that the pod of a StatefulSet asks for.
pub(super) fn has_labels(set: &Value, node: &NodeFacts) -> bool {
    let spec = set.pointer("/spec/template/spec").unwrap_or(&Value::Null);
    let selector = spec.pointer("/nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let mut selector = selector.map(|(key, value)| (key.as_str(), value));
    const TERMS: &str = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = spec.pointer(TERMS).and_then(Value::as_array);
    selector.all(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str())
        && terms.is_none_or(|terms| terms.iter().any(|term| meets(term, node)))
}

fn made_from(set: &Value, name: &str, mut pod: Value) -> Value {
    let template = set.pointer("/spec/template").cloned().unwrap_or_default();
    for part in ["labels", "annotations"] {
        if let Some(value) = template.pointer(&format!("/metadata/{part}")) {
            merge(&mut pod, &json!({ "metadata": { part: value } }));
        }
    }
    let mut spec = template.get("spec").cloned().unwrap_or_default();
    let claim = json!({ "name": VOLUME, "persistentVolumeClaim": { "claimName": claim_name(name) } });
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("serviceAccountName");
        // As the server wrote it beside the other.
        spec.remove("serviceAccount");
        if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
            volumes.push(claim);
        }
    }
    insert(&mut pod, "spec", spec);
    pod
}

pub(super) fn trial_name(storage: &str) -> String {
    format!("{storage}-dry-run")
}

/// The name of a storage's claim.
pub fn claim_name(storage: &str) -> String {
    format!("{VOLUME}-{storage}-0")
}

/// The name of a storage's pod.
pub fn pod_name(storage: &str) -> String {
    format!("{storage}-0")
}

/// Sets a field of an object.
pub(super) fn insert(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value);
    } else {
        *object = Value::Object(Map::from_iter([(field.to_owned(), value)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitaly_has_its_whole_volume_and_nothing_over_it() {
        let why = |mounts: Value| {
            let container = json!({ "name": CONTAINER, "volumeMounts": mounts });
            off_its_volume(&json!({ "spec": { "template": { "spec": { "containers": [container] } } } }))
        };
        let ours = || json!({ "name": "repo-data", "mountPath": "/home/git/repositories" });
        let other = |path: &str| json!({ "name": "scratch", "mountPath": path });
        assert_eq!(why(json!([ours()])), None);
        assert_eq!(why(json!([other("/home/git/repositories-old"), ours(), other("/home/git")])), None);
        assert_eq!(why(json!([])), Some("nothing is mounted at /home/git/repositories".to_owned()));
        let over = why(json!([other("/home/git/repositories")])).expect("another volume");
        assert_eq!(
            over,
            "\"scratch\" is mounted at /home/git/repositories, not \"repo-data\" at /home/git/repositories"
        );
        assert!(
            why(json!([ours(), other("/home/git/repositories/@hashed")])).is_some_and(|why| why.contains("more than"))
        );
        for (field, value, told) in [
            ("subPath", json!("x"), "a part"),
            ("subPathExpr", json!("x"), "a part"),
            ("readOnly", json!(true), "read-only"),
        ] {
            let mut mount = ours();
            mount[field] = value;
            assert!(why(json!([mount])).is_some_and(|why| why.contains(told)), "{field}");
        }
        assert!(off_its_volume(&json!({})).is_some_and(|why| why.contains("no container")));
    }

    #[test]
    fn a_node_takes_a_pod_whose_labels_it_has_unless_it_is_cordoned_or_unwell() {
        let terms = json!([{ "matchExpressions": [{ "key": ZONE, "operator": "In", "values": ["a", "b"] }] }]);
        let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
        let spec = json!({ "nodeSelector": { "pool": "gitaly" }, "affinity": affinity });
        let set = json!({ "spec": { "template": { "spec": spec } } });
        let node = |labels: &[(&str, &str)], unschedulable, ready| NodeFacts {
            name: "n".to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            unschedulable,
            ready,
            cpu_millis: 1,
            memory: 1,
            kubelet_version: String::new(),
        };
        let good = [("pool", "gitaly"), (ZONE, "b")];
        assert!(may_run_on(&set, &node(&good, false, true)));
        assert!(!may_run_on(&set, &node(&good, true, true)), "cordoned");
        assert!(!may_run_on(&set, &node(&good, false, false)), "not ready");
        assert!(!may_run_on(&set, &node(&[("pool", "gitaly"), (ZONE, "c")], false, true)));
        assert!(!may_run_on(&set, &node(&[(ZONE, "a")], false, true)));
        assert!(may_run_on(&json!({}), &node(&[], false, true)), "nothing is asked for");
        // A volume is reached by any of its terms; without one, from everywhere.
        let volume = |terms: Value| VolumeFacts {
            node_terms: terms.as_array().cloned().unwrap_or_default(),
            ..VolumeFacts::default()
        };
        let term =
            |operator: &str| json!({ "matchExpressions": [{ "key": ZONE, "operator": operator, "values": ["b"] }] });
        let follows = |terms: Value, zone: &str| may_follow(&volume(terms), &node(&[(ZONE, zone)], false, true));
        assert!(follows(json!([]), "c"));
        assert!(follows(json!([term("In")]), "b") && !follows(json!([term("In")]), "c"));
        assert!(!follows(json!([term("NotIn")]), "b") && follows(json!([term("NotIn")]), "c"));
        assert!(follows(json!([term("In"), term("Exists")]), "c") && !follows(json!([term("DoesNotExist")]), "c"));
        let field = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n"] }] }]);
        assert!(follows(field, "c"));
    }
}
