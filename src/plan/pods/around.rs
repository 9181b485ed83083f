//! What is not tranship's and must be there for pods to run: the cluster's version, Secrets, classes, nodes, the
//! namespace; and what pods must not share.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::say::finding;
use super::statefulset::{VOLUME, ZONE, claim_name, pod_name};
use crate::model::cluster::{ClusterFacts, NodeFacts, ObjectKey, ObjectKind, STORAGE_LABEL, StorageClassFacts};
use crate::model::quantity::cores;
use crate::model::{Bytes, ClusterSettings, Desired, Observed, PodSpec, Reading, SecretKey, StorageName};
use crate::plan::{Finding, Level};

/// The oldest Kubernetes whose StatefulSets keep their volumes as asked. (gitaly-kubernetes K01)
const OLDEST: [u64; 2] = [1, 29];

/// Looks around. `active`: storages that this plan makes or changes; what only matters when a pod starts is told for
/// them, so that a plan without actions is quiet.
pub(super) fn look(
    desired: &Desired,
    observed: &Observed,
    facts: &ClusterFacts,
    active: &BTreeSet<&StorageName>,
    findings: &mut Vec<Finding>,
) {
    let mut around = Around { desired, facts, active, findings };
    around.version();
    // In a namespace that is not there nothing is.
    let namespace = !around.findings.iter().any(|finding| finding.code == "namespace-missing");
    if let Some(cluster) = desired.cluster.as_ref().filter(|_| namespace) {
        around.secrets(cluster);
    }
    around.classes();
    around.priorities();
    around.nodes();
    around.volumes();
    if namespace {
        around.quota();
    }
    around.shared(observed);
}

struct Around<'a, 'b> {
    desired: &'a Desired,
    facts: &'b ClusterFacts,
    active: &'b BTreeSet<&'a StorageName>,
    findings: &'b mut Vec<Finding>,
}

fn minor(version: &str) -> Option<[u64; 2]> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split(['.', '+', '-']);
    Some([parts.next()?.parse().ok()?, parts.next()?.parse().ok()?])
}

/// Storages in words, at most three by name.
fn names<'n>(storages: impl IntoIterator<Item = &'n StorageName>) -> String {
    let all: Vec<&str> = storages.into_iter().map(StorageName::as_str).collect();
    match all.as_slice() {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

/// An amount in thousandths, as its resource is counted.
fn amount(resource: &str, thousandths: u128) -> String {
    let whole = u64::try_from(thousandths / 1000).unwrap_or(u64::MAX);
    if resource.ends_with("cpu") {
        cores(u64::try_from(thousandths).unwrap_or(u64::MAX))
    } else if resource.ends_with("memory") || resource.ends_with("storage") {
        Bytes(whole).to_string()
    } else {
        whole.to_string()
    }
}

impl<'a> Around<'a, '_> {
    fn add(&mut self, level: Level, code: &str, subject: &str, message: String, help: &str) {
        self.findings.push(finding(level, code, subject, message, help));
    }

    fn pods(&self) -> impl Iterator<Item = (&'a StorageName, &'a PodSpec)> {
        self.desired.storages.iter().filter_map(|(name, storage)| Some((name, storage.pod.as_deref()?)))
    }

    /// What is missing forbids a start; a pod that runs goes on without, until it restarts.
    fn missing(&self) -> Level {
        if self.active.is_empty() { Level::Danger } else { Level::Error }
    }

    fn version(&mut self) {
        let version = &self.facts.version;
        if minor(version).is_some_and(|found| found < OLDEST) {
            let message = format!(
                "The cluster runs Kubernetes {version}; StatefulSets keep volumes as tranship needs it from 1.29 on."
            );
            self.add(Level::Error, "kubernetes-version", "cluster", message, "Upgrade the cluster first.");
        }
    }

    fn secrets(&mut self, cluster: &ClusterSettings) {
        let wanted = [("Gitaly's token", &cluster.gitaly_token), ("GitLab Shell's secret", &cluster.shell_secret)];
        for (what, secret) in wanted {
            let Some(SecretKey { name, key }) = secret else { continue };
            let level = self.missing();
            match self.facts.surroundings.secrets.get(name).unwrap_or(&Reading::default()) {
                Reading::Known(Some(keys)) if keys.contains(key) => {}
                Reading::Known(Some(_)) => {
                    let message = format!("The Secret {name} has no key {key:?}, which pods mount as {what}.");
                    self.add(
                        level,
                        "secret-key-missing",
                        name,
                        message,
                        "Add the key, or name the right one in `kubernetes.secrets`.",
                    );
                }
                Reading::Known(None) => {
                    let message = format!("There is no Secret {name}, which pods mount as {what}: none would start.");
                    let help = format!(
                        "Make it with GitLab's own value, for example: kubectl -n {} create secret generic {name} --from-file={key}=FILE",
                        cluster.namespace
                    );
                    self.add(level, "secret-missing", name, message, &help);
                }
                Reading::Unknown(cause) if !self.active.is_empty() => {
                    let message = format!("Whether the Secret {name} has the key {key:?} is not known: {cause}.");
                    self.add(
                        Level::Danger,
                        "secret-unknown",
                        name,
                        message,
                        "Without it no pod starts: look with kubectl describe secret, which shows no value.",
                    );
                }
                Reading::Unknown(_) => {}
            }
        }
    }

    fn classes(&mut self) {
        let mut by_class: BTreeMap<Option<&str>, Vec<(&StorageName, &PodSpec)>> = BTreeMap::new();
        for (name, spec) in self.pods().filter(|(name, _)| self.active.contains(name)) {
            by_class.entry(spec.disk.class.as_deref()).or_default().push((name, spec));
        }
        let classes = match &self.facts.surroundings.storage_classes {
            Reading::Known(classes) => classes,
            Reading::Unknown(cause) => {
                if !by_class.is_empty() {
                    let message = format!("Whether the storage classes are right is not known: {cause}.");
                    self.add(Level::Notice, "class-unknown", "cluster", message, "Look with kubectl get storageclass.");
                }
                return;
            }
        };
        for (class, pods) in by_class {
            let (who, one) = (names(pods.iter().map(|(name, _)| *name)), pods.len() == 1);
            let found = match class {
                // No class on purpose: volumes are made by hand.
                Some("") => continue,
                Some(class) => classes.get(class).map(|facts| (class, facts)),
                None => classes.iter().find(|(_, facts)| facts.default).map(|(name, facts)| (name.as_str(), facts)),
            };
            let Some((class, facts)) = found else {
                let (message, subject) = match class {
                    Some(class) => (
                        format!(
                            "There is no StorageClass {class:?}, which {who} {} for.",
                            if one { "asks" } else { "ask" }
                        ),
                        class,
                    ),
                    None => (
                        format!(
                            "The cluster has no default StorageClass, and {who} {} none.",
                            if one { "names" } else { "name" }
                        ),
                        "cluster",
                    ),
                };
                let known: Vec<&str> = classes.keys().map(String::as_str).collect();
                let help = format!(
                    "Name one that exists in `disk.class`: {}.",
                    if known.is_empty() { "there is none".to_owned() } else { known.join(", ") }
                );
                self.add(Level::Error, "class-missing", subject, message, &help);
                continue;
            };
            self.class(class, facts, &pods);
        }
    }

    fn class(&mut self, class: &str, facts: &StorageClassFacts, pods: &[(&StorageName, &PodSpec)]) {
        let keeps: Vec<&StorageName> =
            pods.iter().filter(|(_, spec)| spec.disk.retain).map(|(name, _)| *name).collect();
        if facts.reclaim_policy != "Retain" && !keeps.is_empty() {
            let who = names(keeps);
            let message = format!(
                "Volumes of the class {class} are deleted with their claims (reclaimPolicy {}): whoever deletes a claim or the namespace deletes the repositories of {who}. (K23)",
                facts.reclaim_policy
            );
            let help = "Use a class with reclaimPolicy Retain. If you accept this: disk { retain = false }";
            self.add(Level::Error, "class-deletes", class, message, help);
        }
        if facts.binding_mode != "WaitForFirstConsumer" {
            let message = format!(
                "The class {class} makes volumes before it is known where the pod runs (volumeBindingMode {}): a pod may never reach its volume. (K25)",
                facts.binding_mode
            );
            self.add(
                Level::Danger,
                "class-binds-early",
                class,
                message,
                "Use a class with volumeBindingMode WaitForFirstConsumer.",
            );
        }
        if !facts.expandable {
            let message = format!("Volumes of the class {class} cannot grow (allowVolumeExpansion). (K25)");
            self.add(
                Level::Notice,
                "class-cannot-expand",
                class,
                message,
                "A full storage can then only be moved off.",
            );
        }
    }

    fn priorities(&mut self) {
        let wanted: BTreeSet<&str> = self.pods().filter_map(|(_, spec)| spec.priority_class.as_deref()).collect();
        let classes = match &self.facts.surroundings.priority_classes {
            Reading::Known(classes) => classes,
            Reading::Unknown(cause) => {
                if !wanted.is_empty() && !self.active.is_empty() {
                    let message = format!("Whether the PriorityClasses are there is not known: {cause}.");
                    self.add(
                        Level::Notice,
                        "priority-class-unknown",
                        "cluster",
                        message,
                        "Look with kubectl get priorityclass.",
                    );
                }
                return;
            }
        };
        let level = self.missing();
        for class in wanted.into_iter().filter(|class| !classes.contains(*class)) {
            let message = format!(
                "There is no PriorityClass {class:?}: the cluster would accept the StatefulSet and never make its pod."
            );
            let help = format!("Make it, for example: kubectl create priorityclass {class} --value=1000000");
            self.add(level, "priority-class-missing", class, message, &help);
        }
    }

    /// What becomes of volumes when their claims are gone, where that may not be read.
    fn volumes(&mut self) {
        let Reading::Unknown(cause) = &self.facts.surroundings.volumes else { return };
        let bound = |name: &StorageName| {
            let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim_name(name.as_str()) };
            let volume = self.facts.objects.get(&key).and_then(|claim| claim.pointer("/spec/volumeName")?.as_str());
            volume.is_some_and(|volume| !volume.is_empty())
        };
        let asks: Vec<&StorageName> =
            self.pods().filter(|(name, spec)| spec.disk.retain && bound(name)).map(|(name, _)| name).collect();
        if asks.is_empty() {
            return;
        }
        let level = if asks.iter().any(|name| self.active.contains(name)) { Level::Danger } else { Level::Notice };
        let message = format!(
            "Whether the volumes of {} are kept when their claims are deleted, and which nodes reach them, is not known: {cause}.",
            names(asks)
        );
        let help = "Grant `list` on `persistentvolumes`, which is a right in the whole cluster: tranship render rbac prints its ClusterRole. Or look with kubectl get pv.";
        self.add(level, "volumes-unknown", "cluster", message, help);
    }

    fn nodes(&mut self) {
        let pools = self.pools();
        let nodes = match &self.facts.surroundings.nodes {
            Reading::Known(nodes) => nodes,
            Reading::Unknown(cause) => {
                if !self.active.is_empty() {
                    let message = format!("Whether there are nodes for the pods is not known: {cause}.");
                    self.add(
                        Level::Notice,
                        "nodes-unknown",
                        "cluster",
                        message,
                        "Look with kubectl get nodes --show-labels.",
                    );
                }
                return;
            }
        };
        for ((selector, zone), pods) in pools {
            if !pods.iter().any(|(name, _)| self.active.contains(name)) {
                continue;
            }
            let who = names(pods.iter().map(|(name, _)| *name));
            let labels: Vec<String> = selector
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .chain(zone.map(|zone| format!("{ZONE}={zone}")))
                .collect();
            let place =
                if labels.is_empty() { "in the cluster".to_owned() } else { format!("with {}", labels.join(", ")) };
            let fits = |node: &&NodeFacts| {
                selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
                    && zone.is_none_or(|zone| node.labels.get(ZONE).is_some_and(|found| found == zone))
            };
            let matching: Vec<&NodeFacts> = nodes.iter().filter(fits).collect();
            let usable: Vec<&NodeFacts> =
                matching.iter().copied().filter(|node| node.ready && !node.unschedulable).collect();
            let largest = usable.iter().map(|node| (node.cpu_millis, node.memory)).max();
            let (cpu, memory) = pods
                .iter()
                .fold((0, 0), |(cpu, memory), (_, spec)| (spec.cpu_millis.max(cpu), spec.memory.0.max(memory)));
            let large: usize = usable.iter().filter(|node| node.cpu_millis >= cpu && node.memory >= memory).count();
            let apart = pods.iter().filter(|(_, spec)| spec.node_for_itself).count();
            let help = "Label or add nodes. Where an autoscaler makes them when a pod waits, this resolves itself.";
            if matching.is_empty() {
                let message = format!("There is no node {place}, for {who}: the pod would stay Pending.");
                self.add(Level::Danger, "no-node", &who, message, help);
            } else if usable.is_empty() {
                let message = format!(
                    "No node {place} can be used for {who}: {} cordoned or not ready.",
                    if matching.len() == 1 { "the one there is is" } else { "all of them are" }
                );
                let help =
                    "Bring a node back: kubectl uncordon NODE for one that is cordoned; see to one that is not ready.";
                self.add(Level::Danger, "no-node", &who, message, help);
            } else if large == 0 {
                let (most, room) = largest.unwrap_or_default();
                let message = format!(
                    "No node {place} is large enough for {who}: {} cores and {} are asked for, the largest has {} and {} for pods.",
                    cores(cpu),
                    Bytes(memory),
                    cores(most),
                    Bytes(room)
                );
                self.add(
                    Level::Danger,
                    "node-too-small",
                    &who,
                    message,
                    "Add larger nodes, or ask for less in the pod_spec.",
                );
            } else if apart > large {
                let message = format!(
                    "{apart} pods ({who}) want a node each, and {large} {} {place} {} large enough.",
                    if large == 1 { "node" } else { "nodes" },
                    if large == 1 { "is" } else { "are" }
                );
                self.add(Level::Danger, "too-few-nodes", &who, message, help);
            }
            let old: BTreeSet<&str> = matching
                .iter()
                .filter(|node| minor(&node.kubelet_version).is_some_and(|found| found < OLDEST))
                .map(|node| node.name.as_str())
                .collect();
            if let Some(first) = old.first() {
                let message =
                    format!("{} of the nodes {place} run a kubelet older than 1.29, such as {first}.", old.len());
                self.add(
                    Level::Danger,
                    "kubelet-version",
                    &who,
                    message,
                    "Upgrade them before a pod with cgroups starts there.",
                );
            }
        }
    }

    /// Storages by the nodes that may run them.
    #[expect(clippy::type_complexity, reason = "named once, and used once")]
    fn pools(&self) -> BTreeMap<(&'a BTreeMap<String, String>, Option<&'a str>), Vec<(&'a StorageName, &'a PodSpec)>> {
        let mut pools: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, spec) in self.pods() {
            let zone = self.desired.storages.get(name).and_then(|storage| storage.zone.as_deref());
            pools.entry((&spec.node_selector, zone)).or_default().push((name, spec));
        }
        pools
    }

    fn quota(&mut self) {
        let quotas = match &self.facts.surroundings.quotas {
            Reading::Known(quotas) => quotas,
            Reading::Unknown(cause) => {
                if !self.active.is_empty() {
                    let message =
                        format!("Whether the namespace's quotas have room for the pods is not known: {cause}.");
                    self.add(
                        Level::Notice,
                        "quota-unknown",
                        "namespace",
                        message,
                        "Look with kubectl get resourcequota.",
                    );
                }
                return;
            }
        };
        if quotas.is_empty() && !self.active.is_empty() {
            let message =
                "The namespace has no ResourceQuota: nothing keeps other pods of it from taking the nodes' room."
                    .to_owned();
            self.add(Level::Notice, "no-quota", "namespace", message, "Give it one, if anything else runs there.");
        }
        // Admission was asked about each pod alone; together they may be too many.
        let lives = |kind, name| self.facts.objects.contains_key(&ObjectKey { kind, name });
        let active = || self.pods().filter(|(name, _)| self.active.contains(name));
        let pods: Vec<_> = active().filter(|(name, _)| !lives(ObjectKind::Pod, pod_name(name.as_str()))).collect();
        let claims: Vec<_> =
            active().filter(|(name, _)| !lives(ObjectKind::PersistentVolumeClaim, claim_name(name.as_str()))).collect();
        let sum = |of: &[(&StorageName, &PodSpec)], amount: fn(&PodSpec) -> u128| {
            of.iter().map(|(_, spec)| amount(spec)).sum::<u128>()
        };
        let cpu = sum(&pods, |spec| u128::from(spec.cpu_millis));
        let memory = sum(&pods, |spec| u128::from(spec.memory.0) * 1000);
        let storage = sum(&claims, |spec| u128::from(spec.disk.size.0) * 1000);
        let count = |of: &[(&StorageName, &PodSpec)]| of.len() as u128 * 1000;
        let wanted = [
            (["cpu", "requests.cpu", "limits.cpu"].as_slice(), cpu),
            (&["memory", "requests.memory", "limits.memory"], memory),
            (&["pods", "count/pods"], count(&pods)),
            (&["requests.storage"], storage),
            (&["persistentvolumeclaims", "count/persistentvolumeclaims"], count(&claims)),
        ];
        let who = names(pods.iter().chain(&claims).map(|(name, _)| *name).collect::<BTreeSet<_>>());
        let over =
            quotas.iter().flat_map(|quota| quota.left.iter().map(move |(resource, left)| (quota, resource, left)));
        let over: Vec<_> = over
            .filter_map(|(quota, resource, left)| {
                let (_, sum) = wanted.iter().find(|(named, _)| named.contains(&resource.as_str()))?;
                (sum > left)
                    .then(|| (quota.name.clone(), resource.clone(), amount(resource, *sum), amount(resource, *left)))
            })
            .collect();
        for (quota, resource, sum, left) in over {
            let message = format!("The quota {quota} has {left} of {resource} left, and {who} ask for {sum} together.");
            let help = "Have the quota raised, or ask for less; or make some of the storages first: --target";
            self.add(Level::Error, "quota-exceeded", &quota, message, help);
        }
    }

    /// Two storages on one node, on one volume, or with one filesystem id.
    fn shared(&mut self, observed: &Observed) {
        let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut volumes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (key, object) in &self.facts.objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
            let storage = object.pointer("/metadata/labels").and_then(|labels| labels.get(STORAGE_LABEL)?.as_str());
            match (key.kind, storage) {
                (ObjectKind::Pod, Some(storage)) => {
                    if let Some(node) = text("/spec/nodeName") {
                        nodes.entry(node).or_default().insert(storage);
                    }
                }
                (ObjectKind::PersistentVolumeClaim, _) if key.name.starts_with(VOLUME) => {
                    if let Some(volume) = text("/spec/volumeName") {
                        volumes.entry(volume).or_default().insert(&key.name);
                    }
                }
                _ => {}
            }
        }
        for (node, storages) in nodes.into_iter().filter(|(_, storages)| storages.len() > 1) {
            let who: Vec<&str> = storages.into_iter().collect();
            let message = format!("The storages {} run on one node, {node}: they fall together. (K13)", who.join(", "));
            self.findings.push(finding(
                Level::Danger,
                "pods-share-node",
                node,
                message,
                "With anti_affinity = \"required\" and a node each, a restart takes them apart.",
            ));
        }
        for (volume, claims) in volumes.into_iter().filter(|(_, claims)| claims.len() > 1) {
            let who: Vec<&str> = claims.into_iter().collect();
            let message = format!(
                "The claims {} are bound to one volume, {volume}: two Gitalys would write to one disk.",
                who.join(", ")
            );
            self.findings.push(finding(
                Level::Error,
                "volume-shared",
                volume,
                message,
                "Give each its own volume before anything starts.",
            ));
        }
        let mut ids: BTreeMap<&str, Vec<&StorageName>> = BTreeMap::new();
        for (name, facts) in &observed.storages {
            if let Reading::Known(server) = &facts.server
                && !server.filesystem_id.is_empty()
            {
                ids.entry(&server.filesystem_id).or_default().push(name);
            }
        }
        let is_pod = |name: &StorageName| self.desired.storages.get(name).is_some_and(|storage| storage.pod.is_some());
        for (id, storages) in
            ids.into_iter().filter(|(_, storages)| storages.len() > 1 && storages.iter().any(|name| is_pod(name)))
        {
            let who: Vec<&str> = storages.into_iter().map(StorageName::as_str).collect();
            let message = format!(
                "{} have one filesystem id ({id}): GitLab takes them for one disk, and a move between them copies nothing. (K31)",
                who.join(" and ")
            );
            let help = "After a disk was cloned, remove .gitaly-metadata from the clone's root and restart its Gitaly.";
            self.findings.push(finding(Level::Error, "equal-filesystem-ids", &who.join(", "), message, help));
        }
    }
}
