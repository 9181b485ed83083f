//! Admission of what is new: what the server adds to pods, claims and services, and what it refuses them for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::quantity::Quantity;
use super::status::Refused;
use super::store::Store;
use super::values::{items, number, set, text, texts, with};

/// Adds what admission adds to a new object, before it is checked.
///
/// # Errors
/// A PriorityClass or ServiceAccount that there is none of.
pub(super) fn complete(store: &Store, kind: &Kind, object: &mut Value, dry_run: bool) -> Result<(), Refused> {
    match kind.kind {
        "Pod" => pod(store, kind, object),
        "PersistentVolumeClaim" => {
            claim(store, object);
            Ok(())
        }
        "Service" => {
            address(store, object, dry_run);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn pod(store: &Store, kind: &Kind, pod: &mut Value) -> Result<(), Refused> {
    let name = text(pod, "/metadata/name").to_owned();
    let namespace = text(pod, "/metadata/namespace").to_owned();
    let refuse = |why: String| Err(Refused::forbidden(kind, &name, &why));
    let class = match text(pod, "/spec/priorityClassName") {
        "" => store.all("PriorityClass", None).find(|c| c.get("globalDefault") == Some(&Value::Bool(true))),
        class => match store.named("PriorityClass", "", class) {
            None => return refuse(format!("no PriorityClass with name {class} was found")),
            found => found,
        },
    };
    let priority = class.map_or(0, |c| number(c, "/value"));
    let given = pod.pointer("/spec/priority").and_then(Value::as_i64);
    if let Some(given) = given.filter(|given| *given != priority) {
        return refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        ));
    }
    let preemption = class.map_or("PreemptLowerPriority", |c| text(c, "/preemptionPolicy")).to_owned();
    let class = class.map(|c| text(c, "/metadata/name").to_owned());
    let account = match text(pod, "/spec/serviceAccountName") {
        "" => "default",
        account => account,
    }
    .to_owned();
    if store.named("ServiceAccount", &namespace, &account).is_none() {
        return refuse(format!(
            "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
        ));
    }
    with(pod, &["spec"], |spec| {
        spec.insert("priority".to_owned(), priority.into());
        spec.insert("preemptionPolicy".to_owned(), preemption.into());
        if let Some(class) = class {
            spec.insert("priorityClassName".to_owned(), class.into());
        }
        spec.insert("serviceAccountName".to_owned(), account.as_str().into());
        spec.insert("serviceAccount".to_owned(), account.into());
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = |t: &Value| matches!(text(t, "/key"), k if k == key || k.is_empty());
            if let Value::Array(list) = tolerations
                && !list.iter().any(|t| tolerated(t) && matches!(text(t, "/effect"), "" | "NoExecute"))
            {
                list.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
            }
        }
    });
    Ok(())
}

/// Gives a claim the default class.
fn claim(store: &Store, claim: &mut Value) {
    if claim.pointer("/spec/storageClassName").is_some() {
        return;
    }
    let pointer = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    if let Some(class) = store.all("StorageClass", None).find(|c| text(c, pointer) == "true") {
        set(claim, &["spec", "storageClassName"], text(class, "/metadata/name"));
    }
}

/// Gives a service its addresses.
fn address(store: &Store, service: &mut Value, dry_run: bool) {
    if text(service, "/spec/type") == "ExternalName" {
        return;
    }
    if text(service, "/spec/clusterIP").is_empty() {
        let taken: Vec<&str> = store.all("Service", None).map(|s| text(s, "/spec/clusterIP")).collect();
        let mut free = (1_u32..65_535).map(|n| format!("10.96.{}.{}", n / 256, n % 256));
        let free = free.find(|address| !taken.contains(&address.as_str())).unwrap_or_default();
        set(service, &["spec", "clusterIP"], if dry_run { "10.96.0.0".to_owned() } else { free });
    }
    let address = text(service, "/spec/clusterIP").to_owned();
    with(service, &["spec"], |spec| {
        spec.insert("clusterIPs".to_owned(), json!([address]));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
    });
}

/// Carries over what a service was given when it was made.
pub(super) fn carry_over(kind: &Kind, old: &Value, new: &mut Value) {
    if kind.kind != "Service" {
        return;
    }
    let unset = text(new, "/spec/clusterIP").is_empty();
    let addresses = if unset { old.pointer("/spec/clusterIP") } else { new.pointer("/spec/clusterIP") }.cloned();
    with(new, &["spec"], |spec| {
        if let Some(address) = addresses {
            spec.insert("clusterIP".to_owned(), address.clone());
            spec.insert("clusterIPs".to_owned(), json!([address]));
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old.pointer(&format!("/spec/{field}")) {
                spec.entry(field).or_insert_with(|| value.clone());
            }
        }
    });
}

/// What a pod asks for of what quotas count.
fn asked(pod: &Value) -> BTreeMap<String, Quantity> {
    let mut asked: BTreeMap<String, Quantity> = BTreeMap::new();
    for which in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            let amount = |container: &Value| {
                Quantity::of(container.pointer(&format!("/resources/{which}/{resource}"))).unwrap_or(Quantity::ZERO)
            };
            let sum = items(pod, "/spec/containers").iter().map(amount).fold(Quantity::ZERO, Quantity::plus);
            // Init containers run one after the other, before the others.
            let most =
                items(pod, "/spec/initContainers").iter().map(amount).fold(sum, |a, b| if b > a { b } else { a });
            asked.insert(format!("{which}.{resource}"), most);
            if which == "requests" {
                asked.insert(resource.to_owned(), most);
            }
        }
    }
    asked.insert("pods".to_owned(), Quantity::ONE);
    asked.insert("count/pods".to_owned(), Quantity::ONE);
    asked
}

/// What all pods of a namespace ask for.
pub(super) fn used(store: &Store, namespace: &str) -> BTreeMap<String, Quantity> {
    let mut used: BTreeMap<String, Quantity> = BTreeMap::new();
    let ended = |pod: &&Value| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    for pod in store.all("Pod", Some(namespace)).filter(ended) {
        for (resource, amount) in asked(pod) {
            let sum = used.entry(resource).or_insert(Quantity::ZERO);
            *sum = sum.plus(amount);
        }
    }
    used
}

/// What quotas have against a new pod.
///
/// # Errors
/// One would be exceeded, or counts what a container leaves open.
pub(super) fn within_quotas(store: &Store, kind: &Kind, pod: &Value) -> Result<(), Refused> {
    if kind.kind != "Pod" {
        return Ok(());
    }
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let (asks, uses) = (asked(pod), used(store, namespace));
    for quota in store.all("ResourceQuota", Some(namespace)) {
        let label = text(quota, "/metadata/name");
        let mut open: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut over: Vec<(&str, Quantity, Quantity, Quantity)> = Vec::new();
        for (resource, most) in texts(quota, "/spec/hard") {
            let (Some(asks), Some(most)) = (asks.get(resource), Quantity::parse(most)) else { continue };
            let (which, of) = resource.split_once('.').unwrap_or(("requests", resource));
            if matches!(of, "cpu" | "memory") {
                let containers = items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
                for container in containers {
                    if container.pointer(&format!("/resources/{which}/{of}")).is_none() {
                        open.entry(resource).or_default().push(text(container, "/name"));
                    }
                }
            }
            let uses = uses.get(resource).copied().unwrap_or(Quantity::ZERO);
            if uses.plus(*asks) > most {
                over.push((resource, *asks, uses, most));
            }
        }
        if !open.is_empty() {
            let open: Vec<String> = open.iter().map(|(r, names)| format!("{r} for: {}", names.join(","))).collect();
            let why = format!("failed quota: {label}: must specify {}", open.join("; "));
            return Err(Refused::forbidden(kind, name, &why));
        }
        if !over.is_empty() {
            let told = |of: fn(&(&str, Quantity, Quantity, Quantity)) -> Quantity| {
                over.iter().map(|o| format!("{}={}", o.0, of(o))).collect::<Vec<_>>().join(",")
            };
            let why = format!(
                "exceeded quota: {label}, requested: {}, used: {}, limited: {}",
                told(|o| o.1),
                told(|o| o.2),
                told(|o| o.3)
            );
            return Err(Refused::forbidden(kind, name, &why));
        }
    }
    Ok(())
}

/// What a claim's growth is refused for.
///
/// # Errors
/// It is not bound, or its class cannot expand.
pub(super) fn may_grow(store: &Store, kind: &Kind, old: &Value, new: &Value) -> Result<(), Refused> {
    let size =
        |claim: &Value| Quantity::of(claim.pointer("/spec/resources/requests/storage")).unwrap_or(Quantity::ZERO);
    if kind.kind != "PersistentVolumeClaim" || size(new) <= size(old) {
        return Ok(());
    }
    let name = text(old, "/metadata/name");
    if text(old, "/status/phase") != "Bound" {
        return Err(Refused::forbidden(kind, name, "Only bound persistent volume claims can be expanded"));
    }
    let class = store.named("StorageClass", "", text(old, "/spec/storageClassName"));
    if class.is_none_or(|c| c.get("allowVolumeExpansion") != Some(&Value::Bool(true))) {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        return Err(Refused::forbidden(kind, name, why));
    }
    Ok(())
}

/// True when a quantity in it is none.
pub(super) fn has_bad_quantity(kind: &Kind, object: &Value) -> bool {
    fn walk(of: &super::schema::Type, value: &Value) -> bool {
        use super::schema::Type;
        match (of, value) {
            (Type::Quantity, value) => !value.is_null() && Quantity::of(Some(value)).is_none(),
            (Type::List(item, _), Value::Array(items)) => items.iter().any(|i| walk(item, i)),
            (_, Value::Object(map)) => map.iter().any(|(key, inner)| of.entry(key).is_some_and(|of| walk(of, inner))),
            _ => false,
        }
    }
    walk(&kind.of(), object)
}
