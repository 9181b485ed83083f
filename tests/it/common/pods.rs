//! tranship at work on pod storages: the real configuration, reading, planner and engine, on whatever cluster a test has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;
use tranship::apply::event::Event;
use tranship::apply::port::{Cluster, Gitaly, PortError, PortErrorKind, PortResult, Ports};
use tranship::apply::{self, Context, RunResult};
use tranship::live::{self, Request};
use tranship::model::cluster::{ClusterFacts, Manifest, ObjectKey, ObjectKind};
use tranship::model::{
    Address, Bytes, Desired, DiskSpace, Observed, Reading, Reference, SandboxConnection, SandboxStorage, ServerFacts,
    StorageName,
};
use tranship::plan::pods::{self, ChangeClass};
use tranship::plan::{self, Action, Change, Level, Options, Plan};
use tranship::sandbox::memory::{Handle, MemoryFleet};
use tranship::state::State;
use tranship::state::store::{StateError, Store};

use super::heard::{Events, Listener};

pub(crate) fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("valid")
}

pub(crate) fn key(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey { kind, name: name.to_owned() }
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// What an operator would change between two applies.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) storages: Vec<String>,
    pub(crate) image: String,
    pub(crate) size: String,
    pub(crate) class: String,
    pub(crate) priority: String,
    pub(crate) environment: String,
    pub(crate) more: String,
}

impl Spec {
    pub(crate) fn new(storages: &[&str]) -> Self {
        Self {
            storages: storages.iter().map(|s| (*s).to_owned()).collect(),
            image: "example.com/gitaly:v18.2.0".into(),
            size: "10Gi".into(),
            class: "expandable".into(),
            priority: "gitaly".into(),
            environment: "default".into(),
            more: String::new(),
        }
    }

    /// Evaluates the configuration that it stands for.
    pub(crate) fn desired(&self, namespace: &str) -> Desired {
        let names: Vec<String> = self.storages.iter().map(|name| format!("{name:?}")).collect();
        let text = format!(
            r#"
            tranship {{
              environment = "{}"
            }}
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
              priority_class = "{}"
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
            self.environment,
            self.image,
            self.priority,
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
pub(crate) struct PodGitaly {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) others: Arc<dyn Gitaly>,
    /// By storage: what answers instead of the claim's.
    pub(crate) ids: Mutex<BTreeMap<StorageName, String>>,
    /// Storages whose disks hold nothing.
    pub(crate) empty: Mutex<BTreeSet<StorageName>>,
    /// The projects that those hold all the same.
    pub(crate) newer: Mutex<Vec<u64>>,
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
        if storage.as_str() != "default" {
            let hash = |id: &u64| hex::encode(sha2::Sha256::digest(id.to_string()));
            let newer = self.newer.lock().expect("unpoisoned").iter().any(|id| path.contains(&hash(id)));
            return Ok(newer || !self.empty.lock().expect("unpoisoned").contains(storage));
        }
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
    async fn fsck(&self, storage: &StorageName, path: &str) -> PortResult<Vec<String>> {
        self.others.fsck(storage, path).await
    }
    async fn pool(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        self.others.pool(storage, path).await
    }
    async fn walk(&self, storage: &StorageName) -> PortResult<Vec<String>> {
        self.others.walk(storage).await
    }
}

#[derive(Default)]
pub(crate) struct MemoryStore(pub(crate) Mutex<Option<State>>);

impl Store for MemoryStore {
    fn save(&self, state: &State) -> Result<(), StateError> {
        *self.0.lock().expect("not poisoned") = Some(state.clone());
        Ok(())
    }
}

/// tranship on a cluster.
pub(crate) struct Tool {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) gitaly: Arc<PodGitaly>,
    pub(crate) ports: Ports,
    pub(crate) fleet: Handle,
    pub(crate) namespace: String,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) runs: Utf8PathBuf,
    pub(crate) _folder: tempfile::TempDir,
    pub(crate) events: Events,
    listener: Listener,
    pub(crate) stop: CancellationToken,
    pub(crate) run: u32,
}

impl Tool {
    /// On a cluster.
    pub(crate) fn on(cluster: Arc<dyn Cluster>, namespace: &str) -> Self {
        let spec = SandboxConnection {
            name: "cluster".into(),
            repositories: 0,
            snippets: 0,
            group_wikis: 0,
            fork_networks: 0,
            pods: Default::default(),
            real_limit: 0,
            seed: 1,
            speed: 1,
            workers: 1,
            gitlab_version: "18.2.0-ee".into(),
            gitaly_version: "18.2.0".into(),
            storages: vec![SandboxStorage { name: name("default"), disk: Bytes(1 << 40), weight: None }],
            faults: Vec::new(),
        };
        let (memory, fleet) = MemoryFleet::new(&spec);
        let gitaly = PodGitaly {
            cluster: cluster.clone(),
            others: memory.gitaly,
            ids: Mutex::default(),
            empty: Mutex::default(),
            newer: Mutex::default(),
        };
        let gitaly = Arc::new(gitaly);
        let ports = Ports {
            gitlab: memory.gitlab,
            gitaly: gitaly.clone(),
            cluster: Some(cluster.clone()),
            metrics: None,
            operator: None,
            clock: memory.clock,
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8").join("runs");
        Self {
            cluster,
            gitaly,
            ports,
            fleet,
            namespace: namespace.to_owned(),
            store: Arc::default(),
            runs,
            _folder: folder,
            events: Arc::default(),
            listener: Listener::default(),
            stop: CancellationToken::new(),
            run: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.store.0.lock().expect("not poisoned").clone().unwrap_or_else(|| State::new("default"))
    }

    /// Reads the fleet as the command line does.
    pub(crate) async fn look(&self, spec: &Spec) -> (Desired, Observed) {
        let desired = spec.desired(&self.namespace);
        let declared = desired.storages.keys().cloned().collect();
        let request = Request { declared, pods: pods::wanted(&desired), ..Request::default() };
        let observed = live::observe(&self.ports, &request).await.expect("observed");
        (desired, observed)
    }

    pub(crate) async fn observe(&self, spec: &Spec) -> ClusterFacts {
        match self.look(spec).await.1.cluster.expect("a cluster") {
            Reading::Known(facts) => facts,
            Reading::Unknown(why) => panic!("{why}"),
        }
    }

    pub(crate) async fn plan(&self, spec: &Spec) -> Plan {
        let (desired, observed) = self.look(spec).await;
        let plan = plan::make(&desired, &observed, &self.state(), &Options::default()).expect("a plan");
        let errors = plan.findings.iter().filter(|finding| finding.level == Level::Error);
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<&plan::Finding>::new());
        plan
    }

    /// A plan that may have errors, and their codes.
    pub(crate) async fn judged(&self, spec: &Spec, options: &Options) -> (Plan, Vec<String>) {
        let (desired, observed) = self.look(spec).await;
        let plan = plan::make(&desired, &observed, &self.state(), options).expect("a plan");
        let errors = plan.findings.iter().filter(|finding| finding.level == Level::Error);
        let codes = errors.map(|finding| finding.code.clone()).collect();
        (plan, codes)
    }

    pub(crate) async fn run(&mut self, plan: &Plan) -> RunResult {
        self.run += 1;
        let folder = self.runs.join(format!("{:03}", self.run));
        let result = apply::run(plan, self.state(), self.context(folder)).await;
        self.listener.end().await;
        result
    }

    pub(crate) fn context(&self, folder: Utf8PathBuf) -> Context {
        Context {
            ports: self.ports.clone(),
            store: self.store.clone(),
            folder,
            events: self.listener.begin(&self.events),
            max_wait: None,
            seen: Default::default(),
            hooks: Vec::new(),
            stop: self.stop.clone(),
        }
    }

    pub(crate) async fn apply(&mut self, spec: &Spec) -> RunResult {
        let plan = self.plan(spec).await;
        self.run(&plan).await
    }

    /// How actions ended and what was waited for, a line each.
    pub(crate) fn told(&self) -> String {
        let events = self.events.lock().expect("not poisoned");
        let lines = events.iter().filter_map(|event| match event {
            Event::ActionEnded { address, outcome } => Some(format!("{address} {outcome:?}")),
            Event::Waiting { what } => Some(what.clone()),
            _ => None,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) async fn live(&self, kind: ObjectKind, name: &str) -> Option<Value> {
        self.cluster.get(&key(kind, name)).await.expect("an answer")
    }
}

pub(crate) fn apply_of(storage: &StorageName, manifest: &Manifest, live: Option<&Value>, then: &Value) -> Change {
    Change::ApplyObject {
        storage: storage.clone(),
        manifest: manifest.clone(),
        class: if live.is_some() { ChangeClass::InPlace } else { ChangeClass::Create },
        uid: live.map(uid),
        resource_version: live.and_then(|live| live["metadata"]["resourceVersion"].as_str()).map(ToOwned::to_owned),
        changes: live.map(|live| pods::changes(live, then)).unwrap_or_default(),
        force: false,
    }
}

pub(crate) fn action(kind: &'static str, label: &str, change: Change) -> Action {
    Action { address: Address::new(kind, label), change, reason: "wanted".into() }
}

pub(crate) fn empty_plan() -> Plan {
    serde_json::from_value(json!({
        "format": Plan::FORMAT, "environment": "default", "as_of": "2026-01-01T00:00:00Z",
        "basis": { "configuration": "", "state": "", "observed": "", "filesystem_ids": {} },
        "actions": [], "edges": [], "moves": [], "drift": [], "findings": [], "report": [], "quarantined": [],
        "weights": {}, "storages": {}, "max_moves": 1, "policies": [], "samples": {},
        "estimate": { "duration_seconds": 0, "freeze_seconds": 0, "longest_freeze_seconds": 0, "longest": null, "assumption": "" },
    }))
    .expect("a plan")
}
