//! Small fleets for the planner's tests, made by hand.

use std::collections::BTreeMap;

use crate::diag::{SourceId, Span};
use crate::expr::tree::{Binary, Kind, Node, Step, StepKind};
use crate::expr::{Predicate, Value};
use crate::model::cluster::ObjectKind;
use crate::model::{
    Address, Assignment, Bytes, CgroupSpec, ClusterSettings, Connection, Container, ContainerKind, Desired,
    DesiredStorage, DiskSpace, DiskSpec, GitlabFacts, Limits, ListFacts, Observed, PodSpec, Reading, Repository,
    Rollout, SecretKey, ServerFacts, ServiceSpec, StorageFacts, StorageName, TokenFacts, Wave, Weight,
};
use crate::plan::{Options, Plan, make};
use crate::state::State;

pub(super) const GIB: u64 = 1 << 30;

pub(super) fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("a storage name")
}

pub(super) fn weight(number: u64) -> Weight {
    Weight::new(number).expect("a weight")
}

pub(super) fn span(start: u32) -> Span {
    Span { source: SourceId(0), start, end: start + 1 }
}

pub(super) fn repository(id: u64, storage: &str, bytes: u64) -> Repository {
    Repository {
        container: Container { kind: ContainerKind::Project, id },
        path: format!("group/project-{id}").into(),
        storage: name(storage),
        size: Some(Bytes(bytes)),
        archived: Some(false),
        empty: Some(bytes == 0),
        fork_parent: None,
        parent_storage: None,
        last_activity: None,
        created: None,
    }
}

pub(super) fn server(id: &str) -> ServerFacts {
    ServerFacts {
        version: "18.2.0".to_owned(),
        git_version: "2.50.1".to_owned(),
        readable: true,
        writeable: true,
        filesystem_id: id.to_owned(),
        replication_factor: 1,
    }
}

/// What is seen of a storage that cannot be reached.
pub(super) fn away() -> StorageFacts {
    let unknown = "no such host".to_owned();
    StorageFacts { server: Reading::Unknown(unknown.clone()), disk: Reading::Unknown(unknown), walk: None }
}

pub(super) fn pod_spec() -> PodSpec {
    PodSpec {
        address: Address::new("pod_spec", "standard"),
        image: "registry.example.com/cng/gitaly:v18.2.0".to_owned(),
        cpu_millis: 8000,
        memory: Bytes(48 * GIB),
        disk: DiskSpec { size: Bytes(100 * GIB), class: Some("fast".to_owned()), retain: true },
        cgroups: Some(CgroupSpec {
            memory: Bytes(40 * GIB),
            count: 50,
            repository_memory: Bytes(20 * GIB),
            init_image: "registry.example.com/cng/gitaly-init-cgroups:v18.2.0".to_owned(),
        }),
        priority_class: Some("gitaly".to_owned()),
        node_selector: BTreeMap::from([("pool".to_owned(), "gitaly".to_owned())]),
        tolerations: Vec::new(),
        node_for_itself: true,
        graceful_restart_seconds: 1,
        rotation_budget_seconds: Some(30),
        ready_timeout_seconds: 600,
        max_unavailable: 1,
        service: ServiceSpec::default(),
        network_policy: None,
        service_monitor: None,
        config: serde_json::json!({}),
        extra: serde_json::json!({}),
        span: span(0),
    }
}

pub(super) fn assignment(label: &str, from: &[&str], to: &[&str], priority: i64) -> Assignment {
    let sorted = |names: &[&str]| {
        let mut names: Vec<_> = names.iter().map(|n| name(n)).collect();
        names.sort();
        names.dedup();
        names
    };
    Assignment {
        address: Address::new("assignment", label),
        from: sorted(from),
        filter: Predicate::always(),
        to: sorted(to),
        priority,
        span: span(label.bytes().map(u32::from).sum()),
    }
}

pub(super) fn wave(label: &str, sample: Option<u64>) -> Wave {
    Wave {
        name: label.to_owned(),
        filter: Predicate::always(),
        sample,
        batch: None,
        growth: 3,
        soak_seconds: None,
        gates: None,
        window: None,
        span: span(0),
    }
}

/// `repository.<field> <operator> <number>`.
pub(super) fn compare(field: &str, operator: Binary, number: u64) -> Node {
    let node = |kind| Box::new(Node::new(kind, span(0)));
    let step = Step { kind: StepKind::Attribute(field.to_owned()), span: span(0) };
    let left = node(Kind::Path(node(Kind::Name("repository".to_owned())), vec![step]));
    let right = node(Kind::Literal(Value::from(number)));
    Node::new(Kind::Binary(operator, left, right), span(0))
}

pub(super) fn filter(node: &Node) -> Predicate {
    Predicate::compile(node, &BTreeMap::<String, Value>::new()).expect("compiles")
}

/// `repository.id == <id>`.
pub(super) fn where_id(id: u64) -> Predicate {
    filter(&compare("id", Binary::Equal, id))
}

/// A world: what is desired, observed and recorded.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) state: State,
    /// Where pod storages live.
    pub(super) cluster: super::pods::world::Cluster,
}

impl World {
    /// Makes storages of 100 GiB each, weight 100 for the first and 0 for the others, none managed.
    pub(super) fn new(storages: &[&str]) -> Self {
        let mut world = Self {
            desired: Desired {
                environment: "test".to_owned(),
                digest: "c0ffee".to_owned(),
                connection: Connection::None,
                cluster: None,
                gitlab_learns: false,
                max_moves: 8,
                storages: BTreeMap::new(),
                assignments: Vec::new(),
                rollout: Rollout { backup_declined: true, ..Rollout::default() },
                ..Desired::default()
            },
            observed: Observed {
                as_of: jiff::Timestamp::from_second(1_767_600_000).expect("a time"),
                gitlab: GitlabFacts {
                    version: "18.2.0-ee".to_owned(),
                    enterprise: Some(true),
                    token: Reading::Known(TokenFacts { scopes: vec!["api".to_owned()], expires_at: None }),
                    weights: BTreeMap::new(),
                },
                storages: BTreeMap::new(),
                repositories: Vec::new(),
                lists: BTreeMap::new(),
                pools: BTreeMap::new(),
                listed: None,
                cluster: None,
                moves: Vec::new(),
                gates: Default::default(),
                probe: None,
            },
            state: State::new("test"),
            cluster: super::pods::world::Cluster::default(),
        };
        for (n, text) in storages.iter().enumerate() {
            world.storage(text, if n == 0 { 100 } else { 0 });
        }
        world
    }

    /// Adds a storage.
    pub(super) fn storage(&mut self, text: &str, observed: u64) {
        self.desired.storages.insert(
            name(text),
            DesiredStorage {
                address: Address::new("storage", text),
                name: name(text),
                endpoint: None,
                dial: None,
                pod: None,
                zone: None,
                adopt: false,
                token: None,
                ca: None,
                weight: None,
                drain: false,
                metrics: BTreeMap::new(),
                limits: Limits::default(),
                span: span(0),
                name_span: span(0),
            },
        );
        self.observed.gitlab.weights.insert(name(text), weight(observed));
        self.observed.storages.insert(
            name(text),
            StorageFacts {
                server: Reading::Known(server(&format!("fs-{text}"))),
                disk: Reading::Known(DiskSpace { available: Bytes(100 * GIB), used: Bytes(0) }),
                walk: None,
            },
        );
        self.observed.lists.insert(name(text), ListFacts::default());
    }

    pub(super) fn desired(&mut self, text: &str) -> &mut DesiredStorage {
        self.desired.storages.get_mut(&name(text)).expect("declared")
    }

    pub(super) fn facts(&mut self, text: &str) -> &mut StorageFacts {
        self.observed.storages.get_mut(&name(text)).expect("observed")
    }

    pub(super) fn server(&mut self, text: &str) -> &mut ServerFacts {
        match &mut self.facts(text).server {
            Reading::Known(server) => server,
            Reading::Unknown(_) => panic!("not reached"),
        }
    }

    pub(super) fn repositories(&mut self, storage: &str, sizes: &[u64]) {
        for size in sizes {
            let id = self.observed.repositories.len() as u64 + 1;
            self.observed.repositories.push(repository(id, storage, *size));
        }
    }

    pub(super) fn assign(&mut self, label: &str, from: &[&str], to: &[&str], priority: i64) {
        self.desired.assignments.push(assignment(label, from, to, priority));
        self.desired.assignments.sort_by(|a, b| a.address.cmp(&b.address));
    }

    /// Adds a pod storage that does not exist yet.
    pub(super) fn pod(&mut self, text: &str) {
        self.storage(text, 0);
        self.observed.gitlab.weights.remove(&name(text));
        self.observed.storages.insert(name(text), away());
        self.desired(text).pod = Some(std::sync::Arc::new(pod_spec()));
        self.desired.cluster = Some(ClusterSettings {
            kubeconfig: None,
            context: None,
            namespace: "gitaly".to_owned(),
            gitaly_token: Some(SecretKey { name: "gitaly-token".to_owned(), key: "token".to_owned() }),
            shell_secret: Some(SecretKey { name: "gitlab-shell-secret".to_owned(), key: "secret".to_owned() }),
            internal_url: Some("http://gitlab-webservice:8181".to_owned()),
            embedded: false,
            span: span(0),
        });
    }

    /// Changes what a storage's pod is made of.
    pub(super) fn spec(&mut self, text: &str, change: impl FnOnce(&mut PodSpec)) {
        change(std::sync::Arc::make_mut(self.desired(text).pod.as_mut().expect("a pod")));
    }

    /// The smallest migration to pods: `old` drains into pods that are to be made, and GitLab learns by itself.
    pub(super) fn to_pods(pods: &[&str], sizes: &[u64]) -> Self {
        let mut world = Self::new(&["old"]);
        world.desired.gitlab_learns = true;
        world.desired("old").drain = true;
        for text in pods {
            world.pod(text);
            world.desired(text).weight = Some(weight(100));
        }
        world.assign("all", &["old"], pods, 0);
        world.repositories("old", sizes);
        world
    }

    /// The smallest whole migration: `old` drains into `new`, which takes over.
    pub(super) fn drain(sizes: &[u64]) -> Self {
        let mut world = Self::new(&["old", "new"]);
        world.desired("old").drain = true;
        world.desired("new").weight = Some(weight(100));
        world.assign("all", &["old"], &["new"], 0);
        world.repositories("old", sizes);
        world
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan_with(&Options::default())
    }

    pub(super) fn plan_with(&self, options: &Options) -> Plan {
        let mut observed = self.observed.clone();
        if self.desired.cluster.is_some() && observed.cluster.is_none() {
            observed.cluster = Some(Reading::Known(self.cluster.facts(&self.desired)));
        }
        let plan = make(&self.desired, &observed, &self.state, options).expect("a plan");
        assert_eq!(crate::plan::check::faults(&plan), Vec::<String>::new());
        plan
    }

    /// Carries a plan out in this world as GitLab and the engine would, if all went well.
    pub(super) fn apply(&mut self, plan: &Plan) {
        use crate::plan::Change;
        use crate::state::{Record, WaveRecord};
        for one in &plan.renames {
            self.state.rename(&one.from, &one.to);
        }
        for action in &plan.actions {
            match &action.change {
                Change::SetWeight { storage, to, .. } => {
                    self.observed.gitlab.weights.insert(storage.clone(), *to);
                    self.state.storage_mut(storage).weight = Some(*to);
                }
                Change::Moves { .. } => self.carry_out(plan.moves_of(action)),
                Change::ProveEmpty { storage } => {
                    self.facts(storage.as_str()).walk = Some(Reading::Known(Vec::new()));
                    self.state.storage_mut(storage).drained = Some("certificate".to_owned());
                }
                Change::ApplyObject { storage, manifest, .. }
                | Change::RecreateStatefulSet { storage, manifest, .. } => {
                    self.cluster.apply(manifest);
                    let record = self.state.storage_mut(storage);
                    record.objects.insert(manifest.key.to_string(), manifest.digest());
                }
                Change::GrowDisk { storage, claim, from, to } => {
                    self.cluster.grow(claim, *to);
                    if let Reading::Known(disk) = &mut self.facts(storage.as_str()).disk {
                        disk.available.0 += to.0 - from.0;
                    }
                }
                Change::ReplacePod { storage, .. } => {
                    let set = self.cluster.get(ObjectKind::StatefulSet, storage.as_str()).clone();
                    self.cluster.start(storage.as_str(), &set);
                }
                Change::AwaitReady { storage, filesystem_id, .. } => self.ready(storage, filesystem_id.as_ref()),
                Change::AwaitKnown { storage, .. } => {
                    self.observed.gitlab.weights.insert(storage.clone(), Weight::ZERO);
                }
                Change::Forget { storage } => {
                    self.state.records.remove(&State::storage_address(storage));
                }
                Change::Ramp { weights, .. } => {
                    self.state.begin_ramp();
                    for (storage, change) in weights {
                        self.observed.gitlab.weights.insert(storage.clone(), change.after);
                        self.state.storage_mut(storage).weight = Some(change.after);
                    }
                }
                Change::Hold { after, storages, .. } => {
                    if matches!(after, crate::plan::After::Ramp { .. }) {
                        self.state.begin_ramp();
                    }
                    let record = self.state.hold_mut(&crate::plan::hold_address(after));
                    (record.storages, record.passed) = (storages.clone(), true);
                }
                Change::Probe { storage, .. } => {
                    let id = self.server(storage.as_str()).filesystem_id.clone();
                    self.state.storage_mut(storage).probed = Some(id);
                }
                Change::RunHook { .. } => {}
            }
        }
        for (wave, threshold) in &plan.samples {
            let record = Record::Wave(WaveRecord { sample_threshold: Some(threshold.clone()), ends_due: false });
            self.state.records.insert(Address::new("wave", wave.as_str()), record);
        }
        for (storage, id) in &plan.basis.filesystem_ids {
            self.state.storage_mut(storage).filesystem_id = Some(id.clone());
        }
    }

    /// A pod came up, on an empty disk if it is new.
    fn ready(&mut self, storage: &StorageName, recorded: Option<&String>) {
        let id = format!("fs-{storage}");
        assert!(recorded.is_none_or(|recorded| *recorded == id), "{storage}");
        let size = self.desired.storages[storage].pod.as_ref().expect("a pod").disk.size;
        let facts = self.observed.storages.get_mut(storage).expect("declared");
        if facts.server.known().is_none() {
            facts.server = Reading::Known(server(&id));
            facts.disk = Reading::Known(DiskSpace { available: size, used: Bytes(0) });
        }
        let claim = self.cluster.get(ObjectKind::PersistentVolumeClaim, &super::pods::claim_name(storage.as_str()));
        let uid = claim["metadata"]["uid"].as_str().map(str::to_owned);
        let record = self.state.storage_mut(storage);
        (record.filesystem_id, record.claim_uid) = (Some(id), uid);
    }

    fn carry_out(&mut self, moves: &[crate::plan::PlannedMove]) {
        for one in moves {
            let found = self.observed.repositories.iter_mut().find(|r| r.container == one.container);
            found.expect("listed").storage = one.destination.clone();
            let need = super::placement::need(one.bytes).0;
            if let Some(Reading::Known(disk)) =
                self.observed.storages.get_mut(&one.destination).map(|facts| &mut facts.disk)
            {
                disk.used.0 += need;
                disk.available.0 -= need;
            }
        }
    }
}
