//! What the server refuses of an object, in its own words (Kubernetes 1.34, `pkg/apis/…/validation`), as far as the
//! objects around a Gitaly can meet it.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::quantity::Quantity;
use super::status::Fault;
use super::values::{items, number, selects, set, text, texts, unset};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                     validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                         alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                         regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                         with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                           '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                           'my_value',  or '12345', regex used for validation is \
                           '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const STATEFUL_SET: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                            'minReadySeconds' are forbidden";
const CLAIM: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || c == '-')
}

fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    word.starts_with(plain) && word.ends_with(plain) && word.chars().all(|c| plain(c) || "-_.".contains(c))
}

fn name(kind: &Kind, name: &str) -> Vec<Fault> {
    let (right, rule, most) = match kind.kind {
        "StatefulSet" | "Namespace" => (is_label(name), LABEL, 63),
        "Service" => (is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()), NAME_1035, 63),
        _ => (name.split('.').all(is_label), SUBDOMAIN, 253),
    };
    let field = "metadata.name";
    let mut faults = Vec::new();
    if name.is_empty() {
        faults.push(Fault::required(field, "name or generateName is required"));
    } else {
        if name.len() > most {
            faults.push(Fault {
                message: format!("Invalid value: {}: must be no more than {most} bytes", Value::from(name)),
                ..Fault::invalid(field, &name.into(), "")
            });
        }
        if !right {
            faults.push(Fault::invalid(field, &name.into(), rule));
        }
    }
    faults
}

fn labels(object: &Value, pointer: &str, field: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, value) in texts(object, pointer) {
        let word = key.split_once('/').map_or(key, |(_, word)| word);
        if !is_word(word) {
            faults.push(Fault::invalid(field, &key.into(), LABEL_KEY));
        }
        if value.len() > 63 {
            faults.push(Fault::invalid(field, &value.into(), "must be no more than 63 bytes"));
        }
        if !value.is_empty() && !is_word(value) {
            faults.push(Fault::invalid(field, &value.into(), LABEL_VALUE));
        }
    }
    faults
}

/// What is wrong with an object that would be made.
pub(super) fn create(kind: &Kind, object: &Value) -> Vec<Fault> {
    let mut faults = name(kind, text(object, "/metadata/name"));
    faults.extend(labels(object, "/metadata/labels", "metadata.labels"));
    faults.extend(content(kind, object, true));
    faults
}

/// What is wrong with what an object would become.
pub(super) fn update(kind: &Kind, old: &Value, new: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    for field in ["uid", "creationTimestamp", "deletionTimestamp"] {
        let pointer = format!("/metadata/{field}");
        if old.pointer(&pointer) != new.pointer(&pointer) {
            let value = new.pointer(&pointer).cloned().unwrap_or_default();
            let fault = Fault::invalid(format!("metadata.{field}"), &value, "field is immutable");
            // A uid is looked at twice.
            faults.extend(vec![fault; if field == "uid" { 2 } else { 1 }]);
        }
    }
    faults.extend(labels(new, "/metadata/labels", "metadata.labels"));
    faults.extend(content(kind, new, false));
    match kind.kind {
        "StatefulSet" => {
            let fixed = |object: &Value| {
                let mut spec = object.get("spec").cloned().unwrap_or_default();
                for free in [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ] {
                    unset(&mut spec, &[free]);
                }
                spec
            };
            if fixed(old) != fixed(new) {
                faults.push(Fault::forbidden("spec", STATEFUL_SET));
            }
        }
        "PersistentVolumeClaim" => faults.extend(claim_update(old, new)),
        "Service" => {
            let addresses = |object: &Value| object.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
            if !addresses(old).is_null() && addresses(old) != addresses(new) {
                faults.push(Fault::invalid("spec.clusterIPs[0]", &addresses(new), "may not change once set"));
            }
        }
        "ConfigMap" | "Secret" if old.get("immutable") == Some(&Value::Bool(true)) => {
            let why = "field is immutable when `immutable` is set";
            if new.get("immutable") != old.get("immutable") {
                faults.push(Fault::forbidden("immutable", why));
            }
            for field in ["data", "binaryData"] {
                if new.get(field) != old.get(field) {
                    faults.push(Fault::forbidden(field, why));
                }
            }
        }
        "Pod" => {
            let fixed = |object: &Value| {
                let mut spec = object.get("spec").cloned().unwrap_or_default();
                for list in ["containers", "initContainers"] {
                    for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                        unset(container, &["image"]);
                    }
                }
                for free in ["activeDeadlineSeconds", "tolerations"] {
                    unset(&mut spec, &[free]);
                }
                spec
            };
            if fixed(old) != fixed(new) {
                faults.push(Fault::forbidden(
                    "spec",
                    "pod updates may not change fields other than \
                     `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                     `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                     (allow it to be set to 1 if it was previously negative)",
                ));
            }
        }
        "PriorityClass" if old.get("value") != new.get("value") => {
            let why = "may not be changed in an update.";
            faults.push(Fault::forbidden("value", why));
        }
        "StorageClass" => {
            for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
                if old.get(field) != new.get(field) {
                    let why = format!("updates to {field} are forbidden.");
                    faults.push(Fault::forbidden(field, &why));
                }
            }
        }
        _ => {}
    }
    faults
}

fn claim_update(old: &Value, new: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let bound = text(old, "/status/phase") == "Bound";
    let fixed = |object: &Value, volume: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if bound {
            unset(&mut spec, &["resources", "requests", "storage"]);
            unset(&mut spec, &["volumeAttributesClassName"]);
        }
        if text(old, "/spec/volumeName").is_empty() {
            set(&mut spec, &["volumeName"], volume.clone());
        }
        spec
    };
    let volume = new.pointer("/spec/volumeName").cloned().unwrap_or_default();
    if fixed(old, &volume) != fixed(new, &volume) {
        faults.push(Fault::forbidden("spec", CLAIM));
    }
    let size = |object: &Value, pointer: &str| Quantity::of(object.pointer(pointer)).unwrap_or(Quantity::ZERO);
    let requested = "/spec/resources/requests/storage";
    let (was, is) = (size(old, requested), size(new, requested));
    if is < was && is <= size(old, "/status/capacity/storage") {
        let field = "spec.resources.requests.storage";
        faults.push(Fault::forbidden(field, "field can not be less than status.capacity"));
    }
    faults
}

/// What is wrong with an object's content, whether it is new or not.
fn content(kind: &Kind, object: &Value, new: bool) -> Vec<Fault> {
    match kind.kind {
        "StatefulSet" => stateful_set(object, new),
        "Pod" => pod_spec(object.get("spec").unwrap_or(&Value::Null), "spec", &[]),
        "Service" => service(object),
        "PodDisruptionBudget" => budget(object),
        "PersistentVolumeClaim" => claim_spec(object.get("spec").unwrap_or(&Value::Null), "spec"),
        "ConfigMap" | "Secret" => keys(object),
        _ => Vec::new(),
    }
}

fn not_negative(object: &Value, pointer: &str, field: &str) -> Option<Fault> {
    let value = object.pointer(pointer).filter(|v| v.as_i64().is_some_and(|n| n < 0))?;
    Some(Fault::invalid(field, value, NOT_NEGATIVE))
}

fn stateful_set(object: &Value, new: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let policy = text(object, "/spec/podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let must = "must be 'OrderedReady' or 'Parallel'";
        faults.push(Fault::invalid("spec.podManagementPolicy", &policy.into(), must));
    }
    let strategy = object.pointer("/spec/updateStrategy").cloned().unwrap_or_default();
    if !matches!(text(&strategy, "/type"), "RollingUpdate" | "OnDelete") {
        let must = "must be 'RollingUpdate' or 'OnDelete'";
        faults.push(Fault::invalid("spec.updateStrategy", &strategy, must));
    }
    for which in ["whenDeleted", "whenScaled"] {
        let value = text(object, &format!("/spec/persistentVolumeClaimRetentionPolicy/{which}"));
        if !matches!(value, "Retain" | "Delete") {
            let field = format!("spec.persistentVolumeClaimRetentionPolicy.{which}");
            faults.push(Fault::unsupported(field, &value.into(), &["Retain", "Delete"]));
        }
    }
    let templates = items(object, "/spec/volumeClaimTemplates");
    if new {
        for (index, template) in templates.iter().enumerate() {
            let field = format!("spec.volumeClaimTemplates[{index}].spec");
            faults.extend(claim_spec(template.get("spec").unwrap_or(&Value::Null), &field));
        }
    }
    faults.extend(not_negative(object, "/spec/replicas", "spec.replicas"));
    faults.extend(not_negative(object, "/spec/minReadySeconds", "spec.minReadySeconds"));
    let service = text(object, "/spec/serviceName");
    if new && !service.is_empty() && !is_label(service) {
        faults.push(Fault::invalid("spec.serviceName", &service.into(), LABEL));
    }
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    let found = template.pointer("/metadata/labels");
    let mismatch = |faults: &mut Vec<Fault>| {
        let why = "`selector` does not match template `labels`";
        let found = found.cloned().unwrap_or_default();
        faults.push(Fault::invalid("spec.template.metadata.labels", &found, why));
    };
    match object.pointer("/spec/selector") {
        None => {
            faults.push(Fault::required("spec.selector", ""));
            mismatch(&mut faults);
        }
        Some(selector) if texts(selector, "/matchLabels").count() + items(selector, "/matchExpressions").len() == 0 => {
            faults.push(Fault::invalid("spec.selector", selector, "empty selector is invalid for statefulset"));
        }
        Some(selector) if !selects(selector, found) => mismatch(&mut faults),
        Some(_) => {}
    }
    let claims: Vec<&str> = templates.iter().map(|t| text(t, "/metadata/name")).collect();
    faults.extend(pod_spec(template.get("spec").unwrap_or(&Value::Null), "spec.template.spec", &claims));
    faults.extend(labels(template, "/metadata/labels", "spec.template.labels"));
    let restart = text(template, "/spec/restartPolicy");
    if restart != "Always" {
        faults.push(Fault::unsupported("spec.template.spec.restartPolicy", &restart.into(), &["Always"]));
    }
    faults
}

/// What is wrong with a pod's spec; `claims` are volumes that a StatefulSet's templates bring.
fn pod_spec(spec: &Value, field: &str, claims: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut volumes: Vec<&str> = claims.to_vec();
    for (index, volume) in items(spec, "/volumes").iter().enumerate() {
        let name = text(volume, "/name");
        let at = format!("{field}.volumes[{index}]");
        if claims.contains(&name) {
            continue;
        }
        if name.is_empty() {
            faults.push(Fault::required(format!("{at}.name"), ""));
        } else if !is_label(name) {
            faults.push(Fault::invalid(format!("{at}.name"), &name.into(), LABEL));
        } else if volumes.contains(&name) {
            faults.push(Fault::duplicate(format!("{at}.name"), &name.into()));
        }
        if volume.as_object().is_some_and(|v| v.len() > 2) {
            faults.push(Fault::forbidden(at, "may not specify more than 1 volume type"));
        }
        volumes.push(name);
    }
    if items(spec, "/containers").is_empty() {
        faults.push(Fault::required(format!("{field}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in items(spec, &format!("/{list}")).iter().enumerate() {
            let at = format!("{field}.{list}[{index}]");
            let name = text(container, "/name");
            if name.is_empty() {
                faults.push(Fault::required(format!("{at}.name"), ""));
            } else if !is_label(name) {
                faults.push(Fault::invalid(format!("{at}.name"), &name.into(), LABEL));
            } else if names.contains(&name) {
                faults.push(Fault::duplicate(format!("{at}.name"), &name.into()));
            }
            names.push(name);
            if text(container, "/image").is_empty() {
                faults.push(Fault::required(format!("{at}.image"), ""));
            }
            faults.extend(container_faults(container, &at, &volumes));
        }
    }
    if let Some(fault) =
        not_negative(spec, "/terminationGracePeriodSeconds", &format!("{field}.terminationGracePeriodSeconds"))
    {
        faults.push(fault);
    }
    faults
}

fn container_faults(container: &Value, at: &str, volumes: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut paths: Vec<&str> = Vec::new();
    for (index, mount) in items(container, "/volumeMounts").iter().enumerate() {
        let (name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
        let at = format!("{at}.volumeMounts[{index}]");
        if name.is_empty() {
            faults.push(Fault::required(format!("{at}.name"), ""));
        } else if !volumes.contains(&name) {
            faults.push(Fault::not_found(format!("{at}.name"), &name.into()));
        }
        if path.is_empty() {
            faults.push(Fault::required(format!("{at}.mountPath"), ""));
        } else if paths.contains(&path) {
            faults.push(Fault::invalid(format!("{at}.mountPath"), &path.into(), "must be unique"));
        }
        paths.push(path);
    }
    let requests = container.pointer("/resources/requests").and_then(Value::as_object);
    for (resource, request) in requests.into_iter().flatten() {
        let limit = container.pointer("/resources/limits").and_then(|l| l.get(resource));
        if let (Some(asked), Some(most)) = (Quantity::of(Some(request)), Quantity::of(limit))
            && asked > most
        {
            let why = format!("must be less than or equal to {resource} limit of {most}");
            faults.push(Fault::invalid(format!("{at}.resources.requests"), request, &why));
        }
    }
    faults
}

fn claim_spec(spec: &Value, field: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if items(spec, "/accessModes").is_empty() {
        faults.push(Fault::required(format!("{field}.accessModes"), "at least 1 access mode is required"));
    }
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in items(spec, "/accessModes") {
        if !MODES.contains(&mode.as_str().unwrap_or_default()) {
            faults.push(Fault::unsupported(format!("{field}.accessModes"), mode, &MODES));
        }
    }
    let size = spec.pointer("/resources/requests/storage");
    match Quantity::of(size) {
        None => faults.push(Fault::required(format!("{field}.resources[storage]"), "")),
        Some(quantity) if quantity <= Quantity::ZERO => {
            let size = size.cloned().unwrap_or_default();
            faults.push(Fault::invalid(format!("{field}.resources[storage]"), &size, "must be greater than zero"));
        }
        Some(_) => {}
    }
    faults
}

fn service(object: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let ports = items(object, "/spec/ports");
    let headless = text(object, "/spec/clusterIP") == "None";
    if ports.is_empty() && !headless && text(object, "/spec/type") != "ExternalName" {
        faults.push(Fault::required("spec.ports", ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (at, name) = (format!("spec.ports[{index}]"), text(port, "/name"));
        if name.is_empty() && ports.len() > 1 {
            faults.push(Fault::required(format!("{at}.name"), ""));
        } else if !name.is_empty() && !is_label(name) {
            faults.push(Fault::invalid(format!("{at}.name"), &name.into(), LABEL));
        } else if !name.is_empty() && names.contains(&name) {
            faults.push(Fault::duplicate(format!("{at}.name"), &name.into()));
        }
        names.push(name);
        if !(1..=65535).contains(&number(port, "/port")) {
            let value = port.get("port").cloned().unwrap_or_else(|| 0.into());
            faults.push(Fault::invalid(format!("{at}.port"), &value, "must be between 1 and 65535, inclusive"));
        }
    }
    let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let kind = text(object, "/spec/type");
    if !known.contains(&kind) {
        faults.push(Fault::unsupported("spec.type", &kind.into(), &known));
    }
    faults
}

fn budget(object: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (least, most) = (object.pointer("/spec/minAvailable"), object.pointer("/spec/maxUnavailable"));
    if least.is_some() && most.is_some() {
        let spec = object.get("spec").cloned().unwrap_or_default();
        faults.push(Fault::invalid("spec", &spec, "minAvailable and maxUnavailable cannot be both set"));
    }
    faults.extend(not_negative(object, "/spec/minAvailable", "spec.minAvailable"));
    faults.extend(not_negative(object, "/spec/maxUnavailable", "spec.maxUnavailable"));
    let policy = object.pointer("/spec/unhealthyPodEvictionPolicy");
    if let Some(policy) = policy.filter(|p| **p != json!("AlwaysAllow") && **p != json!("IfHealthyBudget")) {
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        faults.push(Fault::unsupported("spec.unhealthyPodEvictionPolicy", policy, &known));
    }
    faults
}

fn keys(object: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    for field in ["data", "binaryData"] {
        for key in object.get(field).and_then(Value::as_object).into_iter().flat_map(|m| m.keys()) {
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                           'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                faults.push(Fault::invalid(format!("{field}[{key}]"), &key.as_str().into(), why));
            }
        }
    }
    faults
}
