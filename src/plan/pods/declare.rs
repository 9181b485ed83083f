//! What others must be told of storages: GitLab by its chart's values or gitlab.rb, Helm by values for a Gitaly of its
//! own, Kubernetes by the rights that tranship needs. Values only; `ui` writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::objects::{GITALY, NAME_LABEL};
use super::statefulset::insert;
use super::wanted;
use crate::model::cluster::ObjectKind;
use crate::model::quantity::{Size, cores};
use crate::model::{ClusterSettings, Connection, Desired, DesiredStorage, PodSpec, SecretKey, SecretRef, StorageName};

/// One storage as GitLab's chart lists it: an element of `global.gitaly.external`. `None` for an address that the chart
/// has no words for (`unix:`).
pub fn chart_entry(storage: &StorageName, address: &str) -> Option<Value> {
    let (tls, authority) = match (address.strip_prefix("tcp://"), address.strip_prefix("tls://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return None,
    };
    let (host, port) = authority.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(json!({ "name": storage, "hostname": host, "port": port, "tlsEnabled": tls }))
}

/// The values of GitLab's chart that declare storages, and those of them that it has no words for.
pub fn chart_values<'a>(
    storages: impl IntoIterator<Item = (&'a StorageName, String)>,
) -> (Value, Vec<&'a StorageName>) {
    let (mut external, mut without) = (Vec::new(), Vec::new());
    for (storage, address) in storages {
        match chart_entry(storage, &address) {
            Some(entry) => external.push(entry),
            None => without.push(storage),
        }
    }
    (json!({ "global": { "gitaly": { "external": external } } }), without)
}

/// One storage as gitlab.rb lists it: an element of `gitlab_rails['repositories_storages']`.
pub fn gitlab_rb_entry(storage: &StorageName, address: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!("{} => {{ 'gitaly_address' => {} }},", quoted(storage.as_str()), quoted(address))
}

/// The name of a Gitaly's pod 0 in a release of GitLab's chart that bears the storage's name.
pub fn chart_address(storage: &StorageName, namespace: &str) -> String {
    format!("tcp://{storage}-gitaly-0.{storage}-gitaly.{namespace}.svc:8075")
}

/// Values for a release of GitLab's chart that has one Gitaly for one storage and nothing else. `others`: all other
/// storages with their addresses, as the chart wants `default` to be known.
pub fn gitaly_release<'a>(
    storage: &DesiredStorage,
    spec: &PodSpec,
    cluster: &ClusterSettings,
    others: impl IntoIterator<Item = (&'a StorageName, String)>,
) -> Value {
    let external: Vec<Value> = others.into_iter().filter_map(|(name, address)| chart_entry(name, &address)).collect();
    let auth = |secret: &Option<SecretKey>| match secret {
        Some(SecretKey { name, key }) => json!({ "secret": name, "key": key }),
        None => json!({}),
    };
    let mut global = json!({
        "gitaly": {
            "enabled": true,
            "internal": { "names": [storage.name] },
            "external": external,
            "authToken": auth(&cluster.gitaly_token),
        },
        "shell": { "authToken": auth(&cluster.shell_secret) },
        "minio": { "enabled": false },
        "kas": { "enabled": false },
        "ingress": { "enabled": false, "configureCertmanager": false },
    });
    if let Some(workhorse) = cluster.internal_url.as_deref().and_then(workhorse) {
        insert(&mut global, "workhorse", workhorse);
    }
    let off = |names: &[&str], key: &str| -> Map<String, Value> {
        names.iter().map(|name| ((*name).to_owned(), json!({ key: false }))).collect()
    };
    let mut gitlab =
        off(&["gitlab-exporter", "gitlab-shell", "kas", "migrations", "sidekiq", "toolbox", "webservice"], "enabled");
    gitlab.insert(GITALY.to_owned(), gitaly_values(storage, spec));
    let mut values = off(&["nginx-ingress", "registry"], "enabled");
    values.extend(off(&["certmanager", "gitlab-runner", "postgresql", "prometheus", "redis"], "install"));
    values.insert("global".to_owned(), global);
    values.insert("gitlab".to_owned(), Value::Object(gitlab));
    Value::Object(values)
}

/// GitLab's internal address in the chart's words.
fn workhorse(url: &str) -> Option<Value> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()?),
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    Some(json!({ "scheme": scheme, "host": host, "port": port }))
}

fn gitaly_values(storage: &DesiredStorage, spec: &PodSpec) -> Value {
    let amounts = json!({ "cpu": cores(spec.cpu_millis), "memory": Size(spec.memory).to_string() });
    let mut values = json!({
        "annotations": { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" },
        "antiAffinity": if spec.node_for_itself { "hard" } else { "soft" },
        "gracefulRestartTimeout": spec.graceful_restart_seconds,
        "maxUnavailable": spec.max_unavailable,
        "persistence": { "size": Size(spec.disk.size).to_string() },
        "resources": { "requests": amounts, "limits": amounts },
        "securityContext": { "fsGroupChangePolicy": "OnRootMismatch" },
        "statefulset": { "readinessProbe": {
            "initialDelaySeconds": 2, "periodSeconds": 10, "timeoutSeconds": 3, "successThreshold": 1, "failureThreshold": 3,
        } },
    });
    let named = spec.image.split('@').next().unwrap_or_default();
    if let Some((folder, last)) = named.rsplit_once('/')
        && let Some((name, tag)) = last.split_once(':')
    {
        insert(&mut values, "image", json!({ "repository": format!("{folder}/{name}"), "tag": tag }));
    }
    if let (Some(class), Some(persistence)) = (&spec.disk.class, values.get_mut("persistence")) {
        insert(persistence, "storageClass", json!(class));
    }
    if let Some(class) = &spec.priority_class {
        insert(&mut values, "priorityClassName", json!(class));
    }
    let mut selector = spec.node_selector.clone();
    selector.extend(storage.zone.clone().map(|zone| (super::statefulset::ZONE.to_owned(), zone)));
    if !selector.is_empty() {
        insert(&mut values, "nodeSelector", json!(selector));
    }
    if !spec.tolerations.is_empty() {
        insert(&mut values, "tolerations", json!(spec.tolerations));
    }
    if let Some(cgroups) = &spec.cgroups {
        let small = json!({ "cpu": "50m", "memory": "32Mi" });
        let (repository, tag) = cgroups.init_image.rsplit_once(':').unwrap_or((&cgroups.init_image, ""));
        let init = json!({
            "image": { "repository": repository, "tag": tag },
            "resources": { "requests": small, "limits": small },
        });
        insert(
            &mut values,
            "cgroups",
            json!({
                "enabled": true,
                "initContainer": init,
                "memoryBytes": cgroups.memory,
                "cpuShares": 1024,
                "repositories": { "count": cgroups.count, "memoryBytes": cgroups.repository_memory, "cpuShares": 512 },
            }),
        );
    }
    values
}

/// The rights that tranship needs for a configuration: a Role and a ClusterRole with their bindings to `subject`, which
/// is an element of a binding's `subjects`. No more than the calls it makes.
pub fn rights(desired: &Desired, cluster: &ClusterSettings, subject: &Value) -> Vec<Value> {
    let kinds: BTreeSet<ObjectKind> = wanted(desired)
        .storages
        .values()
        .flat_map(|storage| &storage.manifests)
        .map(|manifest| manifest.key.kind)
        .chain([ObjectKind::ServiceAccount, ObjectKind::ConfigMap, ObjectKind::Service])
        .chain([ObjectKind::PodDisruptionBudget, ObjectKind::StatefulSet])
        .collect();
    let mut rules = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in kinds.into_iter().filter(|kind| *kind != ObjectKind::StatefulSet) {
        let group = kind.api_version().split_once('/').map_or("", |(group, _)| group);
        groups.entry(group).or_default().push(kind.resource());
    }
    let mut rule = |group: &str, resources: &[&str], verbs: &[&str]| {
        rules.push(json!({ "apiGroups": [group], "resources": resources, "verbs": verbs }));
    };
    for (group, resources) in groups {
        rule(group, &resources, &["get", "list", "create", "patch"]);
    }
    // Deleted only without its pod, and made anew at once.
    rule("apps", &["statefulsets"], &["get", "list", "create", "patch", "delete"]);
    rule("", &["persistentvolumeclaims"], &["get", "list", "patch"]);
    // Created only in dry runs; deleted to start anew.
    rule("", &["pods"], &["get", "list", "create", "delete"]);
    rule("", &["pods/eviction"], &["create"]);
    rule("", &["events", "resourcequotas"], &["list"]);
    let secrets = secrets(desired, cluster);
    if !secrets.is_empty() {
        rules.push(json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get"] }));
    }
    let meta = |name: &str, namespace: Option<&str>| {
        let mut meta = json!({ "name": name, "labels": { NAME_LABEL: "tranship" } });
        if let Some(namespace) = namespace {
            insert(&mut meta, "namespace", json!(namespace));
        }
        meta
    };
    const RBAC: &str = "rbac.authorization.k8s.io/v1";
    let here = Some(cluster.namespace.as_str());
    let wide = format!("tranship-{}", cluster.namespace);
    let reads = [("", "nodes"), ("storage.k8s.io", "storageclasses"), ("scheduling.k8s.io", "priorityclasses")];
    // What becomes of a volume when its claim is gone.
    let reads = reads.iter().chain(&[("", "persistentvolumes")]).map(|(group, one)| (*group, *one, "list"));
    // Where a volume is attached while a pod restarts: without it, `rotate` cannot tell detaching from attaching.
    let looks = [("", "persistentvolumes", "get"), ("storage.k8s.io", "volumeattachments", "get")];
    let mut reads: Vec<Value> = reads
        .chain(looks)
        .map(|(group, one, verb)| json!({ "apiGroups": [group], "resources": [one], "verbs": [verb] }))
        .collect();
    // Its uid tells this cluster from another one of the same names.
    let system =
        json!({ "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"] });
    reads.push(system);
    let reference =
        |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    vec![
        json!({ "apiVersion": RBAC, "kind": "Role", "metadata": meta("tranship", here), "rules": rules }),
        json!({ "apiVersion": RBAC, "kind": "RoleBinding", "metadata": meta("tranship", here),
            "roleRef": reference("Role", "tranship"), "subjects": [subject] }),
        json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": meta(&wide, None), "rules": reads }),
        json!({ "apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": meta(&wide, None),
            "roleRef": reference("ClusterRole", &wide), "subjects": [subject] }),
    ]
}

/// Secrets that are read: those that pods mount, and those that the configuration takes tokens from.
fn secrets<'a>(desired: &'a Desired, cluster: &'a ClusterSettings) -> BTreeSet<&'a str> {
    let mounted = cluster.gitaly_token.iter().chain(&cluster.shell_secret).map(|secret| secret.name.as_str());
    let of = |reference: &'a SecretRef| match reference {
        SecretRef::Kubernetes { secret, .. } => Some(secret.as_str()),
        SecretRef::Env(_) | SecretRef::File(_) => None,
    };
    let live = match &desired.connection {
        Connection::Live(live) => vec![Some(&live.gitlab.token), live.gitaly_token.as_ref()],
        Connection::Sandbox(_) | Connection::None => Vec::new(),
    };
    let storages = desired.storages.values().map(|storage| storage.token.as_ref());
    mounted.chain(live.into_iter().chain(storages).flatten().filter_map(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, name};

    #[test]
    fn storages_are_declared_in_the_words_of_each() {
        let entry = |address: &str| chart_entry(&name("a"), address);
        assert_eq!(
            entry("tcp://h.x:8075"),
            Some(json!({ "name": "a", "hostname": "h.x", "port": 8075, "tlsEnabled": false }))
        );
        assert_eq!(
            entry("tls://[::1]:9999").map(|e| (e["hostname"].clone(), e["tlsEnabled"].clone())),
            Some((json!("[::1]"), json!(true)))
        );
        assert_eq!((entry("unix:/run/gitaly.socket"), entry("tcp://h")), (None, None));
        let line = gitlab_rb_entry(&name("a"), "unix:/it's");
        assert_eq!(line, "'a' => { 'gitaly_address' => 'unix:/it\\'s' },");
    }

    #[test]
    fn rights_are_no_more_than_the_calls_that_are_made() {
        let mut world = World::to_pods(&["gitaly-a"], &[]);
        let cluster = world.desired.cluster.clone().expect("a cluster");
        let rules = |world: &World| {
            let all = rights(&world.desired, &cluster, &json!({ "kind": "User", "name": "ci" }));
            all[0]["rules"].as_array().expect("rules").clone()
        };
        let may = |rules: &[Value], verb: &str, resource: &str| {
            rules.iter().any(|rule| {
                let has = |field: &str, text: &str| rule[field].as_array().expect(field).contains(&json!(text));
                has("verbs", verb) && has("resources", resource)
            })
        };
        let before = rules(&world);
        assert!(may(&before, "patch", "statefulsets") && may(&before, "delete", "statefulsets"));
        for (verb, resource) in [
            ("delete", "persistentvolumeclaims"),
            ("create", "persistentvolumeclaims"),
            ("delete", "configmaps"),
            ("list", "secrets"),
            ("patch", "networkpolicies"),
            ("patch", "pods"),
        ] {
            assert!(!may(&before, verb, resource), "{verb} {resource}");
        }
        world.spec("gitaly-a", |spec| spec.network_policy = Some(Default::default()));
        assert!(may(&rules(&world), "patch", "networkpolicies"));
    }
}
