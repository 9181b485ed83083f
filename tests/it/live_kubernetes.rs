//! The adapter to a cluster, the reading of it and the engine's actions on it, against the real control plane: what
//! they find, send, wait for and leave alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tranship::apply::event::{Event, Outcome};
use tranship::apply::port::{Apply, Cluster as _, Delete, Gitaly, PortError, PortErrorKind, PortResult, Ports};
use tranship::apply::{self, Context, RunResult};
use tranship::live::kubernetes::{KubeCluster, Patience};
use tranship::live::{self, Request, SystemClock};
use tranship::model::cluster::{Answer, ClusterFacts, Manifest, ObjectKey, ObjectKind, Why};
use tranship::model::{
    Address, Bytes, Desired, DiskSpace, Reading, Reference, SandboxConnection, ServerFacts, StorageName,
};
use tranship::plan::pods::{self, ChangeClass, Wanted};
use tranship::plan::{Action, ActionId, Change, Edge, Plan};
use tranship::sandbox::memory::MemoryFleet;
use tranship::state::State;
use tranship::state::store::{StateError, Store};

use super::common::cluster::{Target, bound, client, on_cluster};

fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("valid")
}

fn key(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey { kind, name: name.to_owned() }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// What an operator would change between two applies.
#[derive(Clone)]
struct Spec {
    storages: Vec<String>,
    image: String,
    size: String,
    class: String,
    more: String,
}

impl Spec {
    fn new(storages: &[&str]) -> Self {
        Self {
            storages: storages.iter().map(|s| (*s).to_owned()).collect(),
            image: "example.com/gitaly:v18.2.0".into(),
            size: "10Gi".into(),
            class: "expandable".into(),
            more: String::new(),
        }
    }

    /// Evaluates the configuration that it stands for.
    fn desired(&self, namespace: &str) -> Desired {
        let names: Vec<String> = self.storages.iter().map(|name| format!("{name:?}")).collect();
        let text = format!(
            r#"
            gitlab {{
              url          = "http://127.0.0.1:9"
              internal_url = "http://127.0.0.1:9"
              token        = {{ env = "NONE" }}
            }}
            kubernetes {{
              namespace = "{namespace}"
              secrets {{
                gitaly_token = {{ name = "gitaly-token", key = "token" }}
                shell_secret = {{ name = "shell-secret", key = "secret" }}
              }}
            }}
            pod_spec "standard" {{
              image          = "{}"
              cpu            = 1
              memory         = "1Gi"
              anti_affinity  = "preferred"
              priority_class = "gitaly"
              disk {{
                size   = "{}"
                class  = "{}"
                retain = false
              }}
              {}
            }}
            storage "gitaly" {{
              for_each = toset([{}])
              name     = each.key
              pod      = pod_spec.standard
            }}
            "#,
            self.image,
            self.size,
            self.class,
            self.more,
            names.join(", "),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = Utf8Path::from_path(folder.path()).expect("UTF-8");
        fs_err::write(path.join("main.hcl"), text).expect("written");
        let loaded = tranship::config::load(path, &tranship::config::VariableInputs::default());
        assert!(!loaded.diagnostics.has_errors(), "{:#?}", loaded.diagnostics);
        loaded.desired.expect("a configuration")
    }
}

/// Gitalys that answer when their pods are ready; each disk's id is its claim's uid.
struct PodGitaly {
    cluster: Arc<KubeCluster>,
    others: Arc<dyn Gitaly>,
    /// By storage: what answers instead of the claim's.
    ids: Mutex<BTreeMap<StorageName, String>>,
}

#[async_trait]
impl Gitaly for PodGitaly {
    async fn server(&self, storage: &StorageName) -> PortResult<ServerFacts> {
        let away = |message: &str| Err(PortError::new(PortErrorKind::Transient, "ServerInfo", message));
        let Some(pod) = self.cluster.get(&key(ObjectKind::Pod, &pods::pod_name(storage.as_str()))).await? else {
            return away("no pod");
        };
        let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
        if !ready.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
            || pod["metadata"].get("deletionTimestamp").is_some()
        {
            return away("not ready");
        }
        let claim = pods::claim_name(storage.as_str());
        let claim = self.cluster.get(&key(ObjectKind::PersistentVolumeClaim, &claim)).await?;
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let id = self.ids.lock().expect("unpoisoned").get(storage).cloned();
        Ok(ServerFacts {
            version: image.rsplit_once(":v").map_or("", |(_, version)| version).to_owned(),
            git_version: "2.50.0".into(),
            readable: true,
            writeable: true,
            filesystem_id: id.or_else(|| claim.as_ref().map(uid)).unwrap_or_default(),
            replication_factor: 1,
        })
    }

    async fn disk(&self, storage: &StorageName) -> PortResult<Option<DiskSpace>> {
        self.others.disk(storage).await
    }
    async fn exists(&self, storage: &StorageName, path: &str) -> PortResult<bool> {
        self.others.exists(storage, path).await
    }
    async fn references(&self, storage: &StorageName, path: &str) -> PortResult<Vec<Reference>> {
        self.others.references(storage, path).await
    }
    async fn head(&self, storage: &StorageName, path: &str) -> PortResult<Option<Vec<u8>>> {
        self.others.head(storage, path).await
    }
    async fn object_format(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        self.others.object_format(storage, path).await
    }
    async fn checksum(&self, storage: &StorageName, path: &str) -> PortResult<String> {
        self.others.checksum(storage, path).await
    }
    async fn objects_exist(&self, storage: &StorageName, path: &str, ids: &[String]) -> PortResult<Vec<bool>> {
        self.others.objects_exist(storage, path, ids).await
    }
    async fn size(&self, storage: &StorageName, path: &str) -> PortResult<Bytes> {
        self.others.size(storage, path).await
    }
    async fn walk(&self, storage: &StorageName) -> PortResult<Vec<String>> {
        self.others.walk(storage).await
    }
}

#[derive(Default)]
struct MemoryStore(Mutex<Option<State>>);

impl Store for MemoryStore {
    fn save(&self, state: &State) -> Result<(), StateError> {
        *self.0.lock().expect("not poisoned") = Some(state.clone());
        Ok(())
    }
}

/// tranship on the test's namespace.
struct Tool {
    cluster: Arc<KubeCluster>,
    gitaly: Arc<PodGitaly>,
    ports: Ports,
    namespace: String,
    store: Arc<MemoryStore>,
    runs: Utf8PathBuf,
    _folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
    stop: CancellationToken,
    run: u32,
}

impl Tool {
    async fn new(target: &Target) -> Self {
        target.secret("gitaly-token", "token", "t0ken-canary").await;
        target.secret("shell-secret", "secret", "shell-canary").await;
        let cluster = Arc::new(KubeCluster::with_client(target.client.clone(), &target.namespace));
        let spec = SandboxConnection {
            name: "cluster".into(),
            repositories: 0,
            storages: vec![tranship::model::SandboxStorage { name: name("default"), disk: Bytes(1 << 40), weight: None }],
            ..sandbox()
        };
        let (memory, _) = MemoryFleet::new(&spec);
        let gitaly =
            Arc::new(PodGitaly { cluster: cluster.clone(), others: memory.gitaly, ids: Mutex::default() });
        let ports = Ports {
            gitlab: memory.gitlab,
            gitaly: gitaly.clone(),
            cluster: Some(cluster.clone()),
            clock: Arc::new(SystemClock),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8").join("runs");
        Self {
            cluster,
            gitaly,
            ports,
            namespace: target.namespace.clone(),
            store: Arc::default(),
            runs,
            _folder: folder,
            events: Arc::default(),
            stop: CancellationToken::new(),
            run: 0,
        }
    }

    fn state(&self) -> State {
        self.store.0.lock().expect("not poisoned").clone().unwrap_or_else(|| State::new("cluster"))
    }

    async fn observe(&self, spec: &Spec) -> (Wanted, ClusterFacts) {
        let desired = spec.desired(&self.namespace);
        let pods = pods::wanted(&desired);
        let declared = desired.storages.keys().cloned().collect();
        let request = Request { declared, pods: pods.clone(), ..Request::default() };
        let observed = live::observe(&self.ports, &request).await.expect("observed");
        match observed.cluster.expect("a cluster") {
            Reading::Known(facts) => (pods, facts),
            Reading::Unknown(why) => panic!("{why}"),
        }
    }

    async fn plan(&self, spec: &Spec) -> Plan {
        let (wanted, facts) = self.observe(spec).await;
        planned(&wanted, &facts, &self.state(), spec)
    }

    async fn run(&mut self, plan: &Plan) -> RunResult {
        self.run += 1;
        let folder = self.runs.join(format!("{:03}", self.run));
        apply::run(plan, self.state(), self.context(folder)).await
    }

    fn context(&self, folder: Utf8PathBuf) -> Context {
        let (events, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let seen = self.events.clone();
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                seen.lock().expect("not poisoned").push(event);
            }
        });
        Context { ports: self.ports.clone(), store: self.store.clone(), folder, events, stop: self.stop.clone() }
    }

    async fn apply(&mut self, spec: &Spec) -> RunResult {
        let plan = self.plan(spec).await;
        self.run(&plan).await
    }

    /// How actions ended and what was waited for, a line each.
    fn told(&self) -> String {
        let events = self.events.lock().expect("not poisoned");
        let lines = events.iter().filter_map(|event| match event {
            Event::ActionEnded { address, outcome } => Some(format!("{address} {outcome:?}")),
            Event::Waiting { what } => Some(what.clone()),
            _ => None,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    async fn live(&self, kind: ObjectKind, name: &str) -> Option<Value> {
        self.cluster.get(&key(kind, name)).await.expect("an answer")
    }
}

fn sandbox() -> SandboxConnection {
    SandboxConnection {
        name: "x".into(),
        repositories: 0,
        real_limit: 0,
        seed: 1,
        speed: 1,
        workers: 1,
        gitlab_version: "18.2.0-ee".into(),
        gitaly_version: "18.2.0".into(),
        storages: Vec::new(),
        faults: Vec::new(),
    }
}

/// The least plan that makes the cluster as wanted: what differs, then a wait for each storage.
fn planned(wanted: &Wanted, facts: &ClusterFacts, state: &State, spec: &Spec) -> Plan {
    let mut plan = empty_plan();
    for (storage, one) in &wanted.storages {
        let first = plan.actions.len();
        for manifest in &one.manifests {
            let live = facts.objects.get(&manifest.key);
            let manifest = pods::fitted(manifest, live);
            let dry = match &facts.dry_runs[&manifest.key] {
                Reading::Known(answer) => answer,
                Reading::Unknown(why) => panic!("{why}"),
            };
            let change = match (live, dry) {
                (None, _) => Some(apply_of(storage, &manifest, None, &Value::Null)),
                (Some(live), Answer::Accepted(then)) if !changes(live, then).is_empty() => {
                    Some(apply_of(storage, &manifest, Some(live), then))
                }
                (Some(_), Answer::Accepted(_)) => None,
                (Some(live), Answer::Refused(refusal)) => {
                    assert_eq!(refusal.why, Why::Invalid, "{refusal:?}");
                    let (storage, uid) = (storage.clone(), uid(live));
                    Some(Change::RecreateStatefulSet { storage, manifest, uid, changes: Vec::new() })
                }
            };
            plan.actions.extend(change.map(|change| action("object", &plan.actions.len().to_string(), change)));
        }
        if let Some(Reading::Known(Answer::Accepted(_))) = facts.growth.get(storage) {
            let claim = &facts.objects[&key(ObjectKind::PersistentVolumeClaim, &one.claim)];
            let from = claim["spec"]["resources"]["requests"]["storage"].as_str().expect("a size");
            let from = tranship::model::quantity::Quantity::parse(from).expect("a size").bytes();
            let change =
                Change::GrowDisk { storage: storage.clone(), claim: one.claim.clone(), from, to: one.size };
            plan.actions.push(action("disk", storage.as_str(), change));
        }
        let recorded = state.storage(storage).and_then(|record| record.filesystem_id.clone());
        let last = plan.actions.len();
        if last > first || recorded.is_none() {
            let version = spec.image.rsplit_once(':').map(|(_, version)| version.to_owned());
            let change = Change::AwaitReady {
                storage: storage.clone(),
                version,
                filesystem_id: recorded,
                deadline_seconds: 60,
            };
            plan.actions.push(action("ready", storage.as_str(), change));
            for from in first..last {
                let at = |at: usize| ActionId(u32::try_from(at).expect("few"));
                plan.edges.push(Edge { from: at(from), to: at(last), reason: "waits for it".into() });
            }
        }
    }
    plan
}

/// Fields that differ, beside what the server changes by itself.
fn changes(live: &Value, then: &Value) -> Vec<pods::FieldChange> {
    pods::changes(live, then)
}

fn apply_of(storage: &StorageName, manifest: &Manifest, live: Option<&Value>, then: &Value) -> Change {
    Change::ApplyObject {
        storage: storage.clone(),
        manifest: manifest.clone(),
        class: if live.is_some() { ChangeClass::InPlace } else { ChangeClass::Create },
        uid: live.map(uid),
        resource_version: live.and_then(|live| live["metadata"]["resourceVersion"].as_str()).map(ToOwned::to_owned),
        changes: live.map(|live| changes(live, then)).unwrap_or_default(),
        force: false,
    }
}

fn action(kind: &'static str, label: &str, change: Change) -> Action {
    Action { address: Address::new(kind, label), change, reason: "wanted".into() }
}

fn empty_plan() -> Plan {
    serde_json::from_value(json!({
        "format": Plan::FORMAT, "environment": "cluster", "as_of": "2026-01-01T00:00:00Z",
        "basis": { "configuration": "", "state": "", "observed": "", "filesystem_ids": {} },
        "actions": [], "edges": [], "moves": [], "drift": [], "findings": [], "report": [], "quarantined": [],
        "weights": {}, "storages": {}, "max_moves": 1, "policies": [], "samples": {},
        "estimate": { "duration_seconds": 0, "freeze_seconds": 0, "longest_freeze_seconds": 0, "longest": null, "assumption": "" },
    }))
    .expect("a plan")
}

#[test]
fn a_storage_comes_up_is_recorded_and_the_next_plan_has_nothing() {
    on_cluster(async |target| {
        let mut tool = Tool::new(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        assert_eq!((result.summary.failed, result.fatal), (0, None), "{}", tool.told());
        let pod = target.until_ready("gitaly-a-0", None).await;
        assert_eq!(pod.status.and_then(|status| status.qos_class).as_deref(), Some("Guaranteed"));
        let record = tool.state().storage(&name("gitaly-a")).cloned().expect("a record");
        let claim = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        assert_eq!(record.claim_uid, Some(uid(&claim)));
        assert_eq!(record.filesystem_id, Some(uid(&claim)));
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a StatefulSet");
        assert_eq!(record.statefulset_uid, Some(uid(&set)));
        assert_eq!(record.objects.len(), 6, "{:?}", record.objects);
        let before = tool.state();
        let plan = tool.plan(&spec).await;
        assert!(plan.actions.is_empty(), "{:#?}", plan.actions);
        tool.run(&plan).await;
        assert_eq!(tool.state(), before);
        let told = format!("{:?} {}", tool.state(), tool.told());
        assert!(!told.contains("canary"), "a secret is told");
    });
}
