//! What the server fills in where a manifest is silent (Kubernetes 1.34, `SetDefaults_…`).

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::quantity::Quantity;
use super::values::{set, with};

type Object = Map<String, Value>;

/// Fills in a whole object. What is filled in already stays.
pub(super) fn fill(kind: &Kind, object: &mut Value) {
    let of = kind.of();
    of.visit(object, &mut |name, map| fill_struct(name, map));
    match kind.kind {
        "Pod" => pod(object),
        "Namespace" => {
            let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
            with(object, &["metadata", "labels"], |labels| {
                labels.entry("kubernetes.io/metadata.name").or_insert(name);
            });
            with(object, &["spec"], |spec| default(spec, "finalizers", json!(["kubernetes"])));
            with(object, &["status"], |status| default(status, "phase", "Active"));
        }
        _ => {}
    }
    of.normalise(object);
}

fn default(map: &mut Object, key: &str, value: impl Into<Value>) {
    let slot = map.entry(key).or_insert(Value::Null);
    let unset = matches!(slot, Value::Null) || slot.as_str() == Some("");
    if unset {
        *slot = value.into();
    }
}

/// A number for which 0 counts as not set.
fn default_number(map: &mut Object, key: &str, value: i64) {
    if map.get(key).and_then(Value::as_i64).unwrap_or(0) == 0 {
        map.insert(key.to_owned(), value.into());
    }
}

fn text<'a>(map: &'a Object, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn fill_struct(name: &str, map: &mut Object) {
    match name {
        "StatefulSetSpec" => {
            default(map, "podManagementPolicy", "OrderedReady");
            default(map, "replicas", 1);
            default(map, "revisionHistoryLimit", 10);
            default(map, "updateStrategy", json!({}));
            default(map, "persistentVolumeClaimRetentionPolicy", json!({}));
            for claim in map.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
                with(claim, &[], |claim| {
                    default(claim, "apiVersion", "v1");
                    default(claim, "kind", "PersistentVolumeClaim");
                });
            }
        }
        "StatefulSetUpdateStrategy" => {
            if text(map, "type").is_empty() {
                default(map, "type", "RollingUpdate");
                default(map, "rollingUpdate", json!({}));
            }
            if text(map, "type") == "RollingUpdate"
                && let Some(Value::Object(rolling)) = map.get_mut("rollingUpdate")
            {
                default(rolling, "partition", 0);
                // The server forgets it: its gate is off.
                rolling.remove("maxUnavailable");
            }
        }
        "StatefulSetPersistentVolumeClaimRetentionPolicy" => {
            default(map, "whenDeleted", "Retain");
            default(map, "whenScaled", "Retain");
        }
        "PodSpec" => {
            default(map, "dnsPolicy", "ClusterFirst");
            default(map, "restartPolicy", "Always");
            default(map, "securityContext", json!({}));
            default(map, "terminationGracePeriodSeconds", 30);
            default(map, "schedulerName", "default-scheduler");
            // The old name of the field follows the new one.
            let old = text(map, "serviceAccount").to_owned();
            default(map, "serviceAccountName", old);
            let account = text(map, "serviceAccountName").to_owned();
            map.insert("serviceAccount".to_owned(), account.into());
        }
        "Container" | "EphemeralContainer" => {
            let image = text(map, "image");
            let name = image.rsplit('/').next().unwrap_or_default();
            let latest = !image.contains('@') && name.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
            default(map, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
            default(map, "terminationMessagePath", "/dev/termination-log");
            default(map, "terminationMessagePolicy", "File");
        }
        "ContainerPort" | "ServicePort" | "NetworkPolicyPort" => {
            default(map, "protocol", "TCP");
            if name == "ServicePort" && map.get("targetPort").is_none_or(|p| *p == json!(0) || *p == json!("")) {
                let port = map.get("port").cloned().unwrap_or_default();
                map.insert("targetPort".to_owned(), port);
            }
        }
        "Probe" => {
            for (key, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                default_number(map, key, value);
            }
            if let Some(Value::Object(grpc)) = map.get_mut("grpc") {
                let slot = grpc.entry("service").or_insert(Value::Null);
                if slot.is_null() {
                    *slot = "".into();
                }
            }
        }
        "HTTPGetAction" => {
            default(map, "path", "/");
            default(map, "scheme", "HTTP");
        }
        "ConfigMapVolumeSource" | "SecretVolumeSource" | "DownwardAPIVolumeSource" | "ProjectedVolumeSource" => {
            default(map, "defaultMode", 0o644);
        }
        "ServiceAccountTokenProjection" => default(map, "expirationSeconds", 3600),
        "HostPathVolumeSource" => drop(map.entry("type").or_insert_with(|| "".into())),
        "ObjectFieldSelector" => default(map, "apiVersion", "v1"),
        "Volume" if map.keys().all(|key| key == "name") => default(map, "emptyDir", json!({})),
        "PersistentVolumeClaim" | "PersistentVolume" => {
            with(map.entry("status").or_insert(Value::Null), &[], |status| default(status, "phase", "Pending"));
        }
        "PersistentVolumeClaimSpec" => default(map, "volumeMode", "Filesystem"),
        "PersistentVolumeSpec" => {
            default(map, "volumeMode", "Filesystem");
            default(map, "persistentVolumeReclaimPolicy", "Retain");
        }
        "Secret" => {
            default(map, "type", "Opaque");
            let plain = map.remove("stringData").and_then(|s| s.as_object().cloned()).unwrap_or_default();
            for (key, value) in plain {
                let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
                with(map.entry("data").or_insert(Value::Null), &[], |data| drop(data.insert(key, encoded.into())));
            }
        }
        "StorageClass" => {
            default(map, "reclaimPolicy", "Delete");
            default(map, "volumeBindingMode", "Immediate");
        }
        "PriorityClass" => default(map, "preemptionPolicy", "PreemptLowerPriority"),
        "NetworkPolicySpec" => {
            let policed = ["Ingress", "Egress"];
            let types: Vec<&str> =
                policed.into_iter().filter(|t| *t == "Ingress" || map.contains_key("egress")).collect();
            default(map, "policyTypes", json!(types));
        }
        "ServiceSpec" => {
            default(map, "sessionAffinity", "None");
            default(map, "type", "ClusterIP");
            default(map, "internalTrafficPolicy", "Cluster");
            let external = matches!(text(map, "type"), "NodePort" | "LoadBalancer");
            if external {
                default(map, "externalTrafficPolicy", "Cluster");
            }
            if text(map, "type") == "LoadBalancer" {
                default(map, "allocateLoadBalancerNodePorts", true);
            }
            if text(map, "type") == "ExternalName" {
                map.remove("internalTrafficPolicy");
            }
        }
        _ => {}
    }
}

/// What only pods get, not the templates of them.
fn pod(object: &mut Value) {
    with(object, &["spec"], |spec| {
        default(spec, "enableServiceLinks", true);
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let limits = container.pointer("/resources/limits").and_then(Value::as_object).cloned();
                with(container, &["resources"], |resources| {
                    for (resource, limit) in limits.into_iter().flatten() {
                        with(resources.entry("requests").or_insert(Value::Null), &[], |requests| {
                            requests.entry(resource).or_insert(limit);
                        });
                    }
                });
            }
        }
    });
    with(object, &["status"], |status| default(status, "phase", "Pending"));
    let class = qos_class(object);
    set(object, &["status", "qosClass"], class);
}

/// `Guaranteed` when each container's requests equal its limits for CPU and memory, `BestEffort` when none asks for
/// anything, else `Burstable`.
fn qos_class(pod: &Value) -> &'static str {
    let lists = ["/spec/containers", "/spec/initContainers"].map(|list| pod.pointer(list).and_then(Value::as_array));
    let containers: Vec<&Value> = lists.into_iter().flatten().flatten().collect();
    let amount = |container: &Value, which: &str, resource: &str| {
        Quantity::of(container.pointer(&format!("/resources/{which}/{resource}"))).filter(|q| !q.is_zero())
    };
    let (mut anything, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (amount(container, "requests", resource), amount(container, "limits", resource));
            anything |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (anything, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
