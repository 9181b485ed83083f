//! A cluster as a pure value, for the planner's tests: what it says to dry runs, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Wanted, fitted, made_anew, needs_anew, statefulset, wanted};
use crate::model::cluster::{
    Answer, ClusterFacts, Counted, FieldConflict, Manifest, NodeFacts, ObjectKey, ObjectKind, QuotaFacts, Refusal,
    StorageClassFacts, Surroundings, Why,
};
use crate::model::quantity::Size;
use crate::model::{Bytes, Desired, Reading, StorageName};

/// Objects, and everything around them in order.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Cluster {
    pub(in crate::plan) objects: BTreeMap<ObjectKey, Value>,
    pub(in crate::plan) surroundings: Surroundings,
    pub(in crate::plan) version: String,
    pub(in crate::plan) held: BTreeMap<StorageName, Reading<Counted>>,
    /// Refusals of dry runs, whatever else.
    pub(in crate::plan) refusals: BTreeMap<ObjectKey, Refusal>,
    /// Refusals of trial Pods.
    pub(in crate::plan) refused_pods: BTreeMap<StorageName, Refusal>,
    count: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        let keys = |keys: &[&str]| Reading::Known(Some(keys.iter().map(|key| (*key).to_owned()).collect()));
        let class = StorageClassFacts {
            expandable: true,
            default: true,
            reclaim_policy: "Retain".to_owned(),
            binding_mode: "WaitForFirstConsumer".to_owned(),
        };
        let node = |n: u32| NodeFacts {
            name: format!("node-{n}"),
            labels: BTreeMap::from([("pool".to_owned(), "gitaly".to_owned())]),
            unschedulable: false,
            ready: true,
            cpu_millis: 16_000,
            memory: 64 << 30,
            kubelet_version: "v1.34.4".to_owned(),
        };
        Self {
            objects: BTreeMap::new(),
            surroundings: Surroundings {
                secrets: BTreeMap::from([
                    ("gitaly-token".to_owned(), keys(&["token"])),
                    ("gitlab-shell-secret".to_owned(), keys(&["secret"])),
                ]),
                storage_classes: Reading::Known(BTreeMap::from([("fast".to_owned(), class)])),
                priority_classes: Reading::Known(BTreeSet::from(["gitaly".to_owned()])),
                nodes: Reading::Known((0..60).map(node).collect()),
                quotas: Reading::Known(vec![QuotaFacts { name: "q".to_owned(), left: BTreeMap::new() }]),
                volumes: Reading::Known(BTreeMap::new()),
            },
            version: "v1.34.4".to_owned(),
            held: BTreeMap::new(),
            refusals: BTreeMap::new(),
            refused_pods: BTreeMap::new(),
            count: 0,
        }
    }
}

pub(in crate::plan) fn key(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey { kind, name: name.to_owned() }
}

pub(in crate::plan) fn refusal(why: Why, message: &str) -> Refusal {
    Refusal { why, message: message.to_owned(), conflicts: Vec::new() }
}

/// Fields that the server does not let anybody change.
const FIXED: [&str; 4] =
    ["/spec/serviceName", "/spec/podManagementPolicy", "/spec/volumeClaimTemplates", "/spec/selector"];

impl Cluster {
    pub(in crate::plan) fn get(&mut self, kind: ObjectKind, name: &str) -> &mut Value {
        self.objects.get_mut(&key(kind, name)).expect("there")
    }

    /// The object as it would be: ours with the server's defaults, and what only the server writes.
    fn then(&self, manifest: &Manifest) -> Value {
        let mut then = manifest.body.clone();
        let live = self.objects.get(&manifest.key);
        let part = |pointer: &str| live.and_then(|live| live.pointer(pointer)).cloned();
        for (field, start) in [("uid", json!("new")), ("resourceVersion", json!("0")), ("managedFields", json!([]))] {
            then["metadata"][field] = part(&format!("/metadata/{field}")).unwrap_or(start);
        }
        if let Some(status) = part("/status") {
            then["status"] = status;
        }
        // Defaulting noise.
        if manifest.key.kind == ObjectKind::StatefulSet {
            then["spec"]["revisionHistoryLimit"] = json!(10);
            then["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
            for claim in then["spec"]["volumeClaimTemplates"].as_array_mut().expect("claims") {
                claim["status"] = json!({ "phase": "Pending" });
            }
        }
        then
    }

    fn try_one(&self, manifest: &Manifest, force: bool) -> Answer {
        if let Some(refusal) = self.refusals.get(&manifest.key) {
            return Answer::Refused(refusal.clone());
        }
        let then = self.then(manifest);
        let Some(live) = self.objects.get(&manifest.key) else { return Answer::Accepted(then) };
        let others: Vec<FieldConflict> = live["metadata"]["managedFields"]
            .as_array()
            .expect("managers")
            .iter()
            .filter_map(|entry| Some((entry["manager"].as_str()?, entry["owns"].as_str()?)))
            .filter(|(_, field)| live.pointer(field) != then.pointer(field))
            .map(|(manager, field)| FieldConflict { manager: manager.to_owned(), field: field.replace('/', ".") })
            .collect();
        if !others.is_empty() && !force {
            return Answer::Refused(Refusal { conflicts: others, ..refusal(Why::Conflict, "conflict") });
        }
        if manifest.key.kind == ObjectKind::StatefulSet && FIXED.iter().any(|f| live.pointer(f) != then.pointer(f)) {
            let said = "StatefulSet.apps is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' are forbidden";
            return Answer::Refused(refusal(Why::Invalid, said));
        }
        Answer::Accepted(then)
    }

    /// What an observation would find.
    pub(in crate::plan) fn facts(&self, desired: &Desired) -> ClusterFacts {
        let Wanted { storages, .. } = wanted(desired);
        let mut facts = ClusterFacts {
            version: self.version.clone(),
            objects: self.objects.clone(),
            surroundings: self.surroundings.clone(),
            held: self.held.clone(),
            ..ClusterFacts::default()
        };
        for (name, storage) in &storages {
            for manifest in &storage.manifests {
                let manifest = fitted(manifest, self.objects.get(&manifest.key));
                let answer = self.try_one(&manifest, false);
                if matches!(&answer, Answer::Refused(refusal) if !refusal.conflicts.is_empty()) {
                    facts.forced.insert(manifest.key.clone(), Reading::Known(self.try_one(&manifest, true)));
                }
                if matches!(&answer, Answer::Refused(refusal) if needs_anew(refusal))
                    || matches!(facts.forced.get(&manifest.key), Some(Reading::Known(Answer::Refused(r))) if needs_anew(r))
                {
                    let then = self.then(&made_anew(&manifest));
                    facts.anew.insert(manifest.key.clone(), Reading::Known(Answer::Accepted(then)));
                }
                facts.dry_runs.insert(manifest.key, Reading::Known(answer));
            }
            let mut pod = storage.pod.body.clone();
            pod["spec"]["restartPolicy"] = json!("Always");
            pod["status"] = json!({ "qosClass": "Guaranteed" });
            let refused = self.refused_pods.get(name).map(|refusal| Answer::Refused(refusal.clone()));
            facts.pods.insert(name.clone(), Reading::Known(refused.unwrap_or(Answer::Accepted(pod))));
            let claim = self.objects.get(&key(ObjectKind::PersistentVolumeClaim, &storage.claim));
            if let Some(claim) = claim {
                let expandable = match &self.surroundings.storage_classes {
                    Reading::Known(classes) => classes.values().all(|class| class.expandable),
                    Reading::Unknown(_) => true,
                };
                let answer = if expandable {
                    Answer::Accepted(claim.clone())
                } else {
                    Answer::Refused(refusal(
                        Why::Forbidden,
                        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
                    ))
                };
                facts.growth.insert(name.clone(), Reading::Known(answer));
            }
        }
        facts
    }

    /// Carries out an apply: the controllers follow at once.
    pub(in crate::plan) fn apply(&mut self, manifest: &Manifest) {
        self.count += 1;
        let mut then = self.then(manifest);
        let live = self.objects.get(&manifest.key);
        if live.is_none() {
            then["metadata"]["uid"] = json!(format!("uid-{}-{}", manifest.key, self.count));
        }
        then["metadata"]["resourceVersion"] = json!(self.count.to_string());
        then["metadata"]["managedFields"] = json!([{ "manager": "tranship" }]);
        if manifest.key.kind == ObjectKind::StatefulSet {
            let same = live.is_some_and(|live| live["spec"]["template"] == then["spec"]["template"]);
            // Made again around its pod, it gives an equal template the revision that it had.
            let pod = self.objects.get(&key(ObjectKind::Pod, &statefulset::pod_name(&manifest.key.name)));
            let trial = statefulset::trial_of(&StorageName::new(&*manifest.key.name).expect("a name"), &then).body;
            let adopts = live.is_none().then_some(pod).flatten().filter(|pod| !super::look::is_otherwise(pod, &trial));
            if let Some(pod) = adopts {
                then["status"]["updateRevision"] = pod["metadata"]["labels"]["controller-revision-hash"].clone();
            } else if !same {
                then["status"]["updateRevision"] = json!(format!("r{}", self.count));
                let pending = self
                    .objects
                    .get(&key(ObjectKind::Pod, &statefulset::pod_name(&manifest.key.name)))
                    .is_some_and(|pod| pod["status"]["phase"] == "Pending");
                let waits = then["spec"]["updateStrategy"]["type"] == "OnDelete" && live.is_some();
                // A pod that hangs keeps its template, and so does one that waits for a delete.
                if !pending && !waits {
                    self.start(&manifest.key.name, &then);
                }
            }
            self.claim(&manifest.key.name, &then);
        }
        self.objects.insert(manifest.key.clone(), then);
    }

    /// Makes the pod of a StatefulSet.
    pub(in crate::plan) fn start(&mut self, name: &str, set: &Value) {
        self.count += 1;
        let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
        labels["controller-revision-hash"] = set["status"]["updateRevision"].clone();
        let mut spec = set["spec"]["template"]["spec"].clone();
        spec["nodeName"] = json!(format!("node-of-{name}"));
        let claim =
            json!({ "name": "repo-data", "persistentVolumeClaim": { "claimName": statefulset::claim_name(name) } });
        spec["volumes"].as_array_mut().expect("volumes").push(claim);
        let annotations = &set["spec"]["template"]["metadata"]["annotations"];
        let pod = json!({
            "metadata": { "name": statefulset::pod_name(name), "uid": format!("pod-{}", self.count), "labels": labels,
                "annotations": annotations },
            "spec": spec,
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        self.objects.insert(key(ObjectKind::Pod, &statefulset::pod_name(name)), pod);
    }

    fn claim(&mut self, name: &str, set: &Value) {
        let claim = statefulset::claim_name(name);
        let template = &set["spec"]["volumeClaimTemplates"][0]["spec"];
        self.count += 1;
        let object = json!({
            "metadata": { "name": claim, "uid": format!("claim-{}", self.count), "labels": { "tranship/storage": name },
                "annotations": set["spec"]["volumeClaimTemplates"][0]["metadata"]["annotations"] },
            "spec": { "resources": template["resources"], "storageClassName": "fast", "accessModes": template["accessModes"],
                "volumeName": format!("pv-{name}") },
            "status": { "phase": "Bound", "capacity": template["resources"]["requests"] },
        });
        self.objects.entry(key(ObjectKind::PersistentVolumeClaim, &claim)).or_insert(object);
    }

    pub(in crate::plan) fn grow(&mut self, claim: &str, to: Bytes) {
        let claim = self.get(ObjectKind::PersistentVolumeClaim, claim);
        claim["spec"]["resources"]["requests"]["storage"] = json!(Size(to).to_string());
        claim["status"]["capacity"]["storage"] = json!(Size(to).to_string());
    }
}
