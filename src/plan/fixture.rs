//! Small fleets for the planner's tests, made by hand.

use std::collections::BTreeMap;

use crate::diag::{SourceId, Span};
use crate::expr::Predicate;
use crate::model::{
    Address, Assignment, Bytes, Connection, Container, ContainerKind, Desired, DesiredStorage, DiskSpace, GitlabFacts,
    Limits, ListFacts, Observed, Reading, Repository, Rollout, ServerFacts, StorageFacts, StorageName, TokenFacts,
    Wave, Weight,
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
    Wave { name: label.to_owned(), filter: Predicate::always(), sample, span: span(0) }
}

/// A world: what is desired, observed and recorded.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) state: State,
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
                rollout: Rollout { waves: Vec::new(), backup_declined: true },
                policies: Vec::new(),
                moved: Vec::new(),
                later: Vec::new(),
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
                listed: None,
                cluster: None,
                moves: Vec::new(),
            },
            state: State::new("test"),
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
        let plan = make(&self.desired, &self.observed, &self.state, options).expect("a plan");
        assert_eq!(crate::plan::check::faults(&plan), Vec::<String>::new());
        plan
    }

    /// Carries a plan out in this world as GitLab and the engine would, if all went well.
    pub(super) fn apply(&mut self, plan: &Plan) {
        use crate::plan::Change;
        use crate::state::{Record, WaveRecord};
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
                _ => {}
            }
        }
        for (wave, threshold) in &plan.samples {
            let record = Record::Wave(WaveRecord { sample_threshold: Some(threshold.clone()) });
            self.state.records.insert(Address::new("wave", wave.as_str()), record);
        }
        for (storage, id) in &plan.basis.filesystem_ids {
            self.state.storage_mut(storage).filesystem_id = Some(id.clone());
        }
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
