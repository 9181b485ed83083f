//! The laws, held by planner and engine together over the in-memory fleet: real code on both sides of the ports, a virtual
//! clock between them. Each test says what would break it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;
use tranship::apply::event::{Event, Outcome, Summary};
use tranship::apply::port::{PortErrorKind, Ports};
use tranship::apply::{self, Context, RunResult};
use tranship::diag::{SourceId, Span};
use tranship::expr::Predicate;
use tranship::live::{self, Request};
use tranship::model::{
    Address, Assignment, Bytes, Connection, Desired, DesiredStorage, Limits, MoveState, Rollout, SandboxConnection,
    SandboxFault, SandboxStorage, StorageName, Wave, Weight,
};
use tranship::plan::{self, Options, Plan};
use tranship::sandbox::memory::{Handle, KillPoint, MemoryFleet, Write};
use tranship::state::State;
use tranship::state::store::{StateError, Store};

use super::common::heard::{Events, Listener};

pub(crate) const SPAN: Span = Span { source: SourceId(0), start: 0, end: 0 };

pub(crate) fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("valid")
}

pub(crate) fn spec(repositories: u32, faults: &[(&str, u32)]) -> SandboxConnection {
    let storage = |n: &str, gib: u64| SandboxStorage { name: name(n), disk: Bytes(gib << 30), weight: None };
    SandboxConnection {
        name: "laws".into(),
        repositories,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 0,
        seed: 7,
        speed: 1,
        workers: 4,
        gitlab_version: "18.2.0-ee".into(),
        gitaly_version: "18.2.0".into(),
        pods: Default::default(),
        storages: vec![
            storage("default", 2000),
            storage("pod-a", 2000),
            storage("pod-b", 2000),
            storage("other", 2000),
        ],
        faults: faults.iter().map(|(k, nth)| SandboxFault { kind: (*k).into(), nth: *nth, count: 1 }).collect(),
    }
}

/// `default` is drained into `pod-a` and `pod-b`; `other` is not in the configuration.
fn desired() -> Desired {
    let storage = |n: &str, weight: Option<u64>, drain: bool| DesiredStorage {
        address: Address::new("storage", n),
        name: name(n),
        endpoint: None,
        dial: None,
        pod: None,
        zone: None,
        adopt: false,
        token: None,
        ca: None,
        weight: weight.map(|w| Weight::new(w).expect("valid")),
        drain,
        metrics: BTreeMap::new(),
        limits: Limits::default(),
        span: SPAN,
        name_span: SPAN,
    };
    let storages =
        [storage("default", None, true), storage("pod-a", Some(100), false), storage("pod-b", Some(50), false)];
    Desired {
        environment: "laws".into(),
        digest: "0".into(),
        connection: Connection::Sandbox(spec(0, &[])),
        cluster: None,
        gitlab_learns: false,
        max_moves: 4,
        storages: storages.into_iter().map(|s| (s.name.clone(), s)).collect(),
        assignments: vec![Assignment {
            address: Address::new("assignment", "everything"),
            from: vec![name("default")],
            filter: Predicate::always(),
            to: vec![name("pod-a"), name("pod-b")],
            priority: 0,
            span: SPAN,
        }],
        rollout: Rollout {
            waves: vec![Wave {
                name: "sample".into(),
                filter: Predicate::always(),
                sample: Some(3),
                batch: None,
                growth: 3,
                soak_seconds: None,
                gates: None,
                window: None,
                span: SPAN,
            }],
            backup_declined: true,
            ..Rollout::default()
        },
        ..Desired::default()
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

pub(crate) struct Tool {
    pub(crate) ports: Ports,
    pub(crate) fleet: Handle,
    pub(crate) desired: Desired,
    store: Arc<MemoryStore>,
    runs: Utf8PathBuf,
    _folder: tempfile::TempDir,
    events: Events,
    listener: Listener,
    /// What would be waited for longer is left to a later run.
    pub(crate) max_wait: Option<std::time::Duration>,
    pub(crate) stop: CancellationToken,
    run: u32,
}

impl Tool {
    pub(crate) fn new(spec: &SandboxConnection) -> Self {
        Self::of(spec, desired())
    }

    /// For a configuration, on the fleet that `spec` describes.
    pub(crate) fn of(spec: &SandboxConnection, desired: Desired) -> Self {
        let (ports, fleet) = MemoryFleet::new(spec);
        // A journal's fsync takes no time by the fleet's clock: nor may it take much of the real one.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a temporary folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8").join("runs");
        Self {
            ports,
            fleet,
            desired,
            store: Arc::default(),
            runs,
            _folder: folder,
            events: Arc::default(),
            listener: Listener::default(),
            max_wait: None,
            stop: CancellationToken::new(),
            run: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.store.0.lock().expect("not poisoned").clone().unwrap_or_else(|| State::new("laws"))
    }

    pub(crate) async fn plan(&self) -> Plan {
        let sources = vec![name("default")];
        let request = Request {
            declared: self.desired.storages.keys().cloned().collect(),
            listed: sources.clone(),
            draining: sources,
            probe: self.desired.rollout.probe.clone(),
            pods: plan::pods::wanted(&self.desired),
        };
        let mut observed = live::observe(&self.ports, &request).await.expect("observed");
        let unmeasured = plan::unmeasured(&self.desired, &observed);
        live::measure(&self.ports, &mut observed, &unmeasured).await;
        let pools = plan::pools_wanted(&self.desired, &observed);
        live::ask_pools(&self.ports, &mut observed, pools).await;
        plan::make(&self.desired, &observed, &self.state(), &Options::default()).expect("a plan")
    }

    fn context(&self, folder: Utf8PathBuf) -> Context {
        Context {
            ports: self.ports.clone(),
            store: self.store.clone(),
            folder,
            events: self.listener.begin(&self.events),
            stop: self.stop.clone(),
            max_wait: self.max_wait,
            seen: Default::default(),
            hooks: self.desired.hooks.values().cloned().collect(),
        }
    }

    /// Packs the newest run's journal, as the command does.
    pub(crate) fn finish(&self) {
        apply::finish(&self.runs, &format!("{:04}", self.run), self.fleet.now()).expect("packed");
    }

    pub(crate) async fn run(&mut self, plan: &Plan) -> RunResult {
        self.run += 1;
        let folder = self.runs.join(format!("{:04}", self.run));
        let result = apply::run(plan, self.state(), self.context(folder)).await;
        self.listener.end().await;
        assert_eq!(result.fatal, None);
        result
    }

    /// What `tranship apply` does: takes up, plans, applies.
    pub(crate) async fn apply(&mut self) -> Summary {
        let recovered = apply::recover(self.state(), self.context(self.runs.clone())).await;
        assert_eq!(recovered.fatal, None);
        let plan = self.plan().await;
        self.run(&plan).await.summary
    }

    /// What is recorded of a storage is lost.
    pub(crate) fn lose_record(&self, storage: &StorageName) {
        let mut state = self.state();
        state.records.remove(&State::storage_address(storage));
        self.store.save(&state).expect("saved");
    }

    pub(crate) fn release(&self, container: tranship::model::Container) {
        let mut state = self.state();
        state.records.remove(&State::quarantine_address(container));
        self.store.save(&state).expect("kept");
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("not poisoned").clone()
    }

    /// The same, as they come.
    pub(crate) fn events_shared(&self) -> Events {
        self.events.clone()
    }

    pub(crate) fn scheduled(&self) -> Vec<u64> {
        let writes = self.fleet.writes();
        writes.iter().filter_map(|w| if let Write::Schedule(c, _) = w { Some(c.id) } else { None }).collect()
    }
}

pub(crate) fn passed(summary: &Summary) -> u64 {
    summary.attested + summary.advanced + summary.bracketed
}

#[tokio::test]
async fn law_1_plan_after_apply_is_empty() {
    let mut tool = Tool::new(&spec(20, &[]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed, summary.unknown, summary.refused), (20, 0, 0, 0), "{summary:?}");
    let plan = tool.plan().await;
    assert!(plan.is_empty(), "{:?}", plan.actions);
    let before = tool.state();
    let writes = tool.fleet.writes().len();
    tool.run(&plan).await;
    assert_eq!(tool.state(), before, "an apply of nothing leaves the state as it is");
    assert_eq!(tool.fleet.writes().len(), writes);
}

#[tokio::test]
async fn law_2_a_plan_changes_nothing() {
    let tool = Tool::new(&spec(20, &[]));
    let before = tool.fleet.fingerprint();
    let plan = tool.plan().await;
    assert!(!plan.is_empty());
    assert_eq!(tool.fleet.writes(), []);
    assert_eq!(tool.fleet.fingerprint(), before);
    assert!(tool.store.0.lock().expect("not poisoned").is_none(), "no state was written");
}

#[tokio::test]
async fn law_3_fences_come_before_moves_and_waves_one_after_the_other() {
    let mut tool = Tool::new(&spec(20, &[]));
    let plan = tool.plan().await;
    let sample: BTreeSet<u64> = plan
        .moves_of(plan.actions.iter().find(|a| a.address.key.as_deref() == Some("sample")).expect("the sample"))
        .iter()
        .map(|m| m.container.id)
        .collect();
    assert_eq!(sample.len(), 3);
    tool.run(&plan).await;
    let mut weights: BTreeMap<StorageName, Weight> = BTreeMap::new();
    let mut moved = Vec::new();
    for write in tool.fleet.writes() {
        match write {
            Write::Weights(map) => {
                assert!(map.values().any(|w| *w > Weight::ZERO), "never all weights at 0");
                if map[&name("default")] == Weight::ZERO {
                    assert_eq!(map[&name("pod-a")].get(), 100, "raised before the source is fenced");
                }
                weights = map;
            }
            Write::Schedule(container, _) => {
                assert_eq!(weights.get(&name("default")), Some(&Weight::ZERO), "fenced before its first move");
                moved.push(container.id);
            }
            Write::Commit(..) => {}
            Write::Cluster(..) => panic!("no pods are configured"),
        }
    }
    assert_eq!(moved[..3].iter().copied().collect::<BTreeSet<_>>(), sample, "the sample goes first");
    let events = tool.events();
    let started = |what: &str| {
        events.iter().position(|e| matches!(e, Event::ActionStarted { address, .. } if address.to_string() == what))
    };
    let last_verified = events.iter().rposition(|e| matches!(e, Event::MoveVerified { .. }));
    assert!(started("drain.default") > last_verified, "the proof comes after the last verdict");
}

#[tokio::test]
async fn law_4_a_lost_tip_is_found_named_and_stops_its_source() {
    let mut tool = Tool::new(&spec(20, &[("corrupt_copy", 2)]));
    let summary = tool.apply().await;
    assert_eq!(summary.lost, 1, "{summary:?}");
    let events = tool.events();
    let lost = events.iter().find_map(|e| match e {
        Event::Quarantined { path, evidence, loss: true, .. } => Some((path.clone(), evidence.clone())),
        _ => None,
    });
    let (path, evidence) = lost.expect("told");
    assert!(!path.is_empty() && evidence.iter().any(|l| l.contains("refs/")), "{evidence:?}");
    assert!(tool.scheduled().len() < 20, "scheduling from that source stopped");
    let plan = tool.plan().await;
    assert_eq!(plan.quarantined.len(), 1);
    assert!(plan.moves.iter().all(|m| m.path.as_ref() != path), "set aside until a person releases it");
    assert!(plan.drain_is_stuck());
}

#[tokio::test]
async fn law_4_what_cannot_be_proven_is_unknown_and_what_went_on_is_advanced() {
    let mut tool = Tool::new(&spec(12, &[("lose_reference", 2), ("push_after_move", 4), ("fast_move", 6)]));
    let summary = tool.apply().await;
    assert_eq!((summary.unknown, summary.lost), (1, 0), "a reference is gone, its object is not: {summary:?}");
    assert_eq!(summary.advanced, 1, "{summary:?}");
    assert_eq!(summary.bracketed, 1, "{summary:?}");
    assert_eq!(summary.attested, 9, "{summary:?}");
}

/// A process of its own: dropping it ends all its tasks where they stand.
pub(crate) fn process() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn law_5_killed_at_any_call_the_next_apply_ends_in_the_same_world() {
    let spec = SandboxConnection { snippets: 1, group_wikis: 1, ..spec(3, &[]) };
    // One destination: what is left after a crash is placed anew, and among several may go elsewhere.
    let mut to_one = desired();
    to_one.assignments[0].to = vec![name("pod-a")];
    let mut undisturbed = Tool::of(&spec, to_one.clone());
    process().block_on(undisturbed.apply());
    let (world, state) = (undisturbed.fleet.fingerprint(), undisturbed.state());
    let calls = undisturbed.fleet.calls();
    let digest = |s: &State| {
        let record = s.records.get(&Address::new("assignment", "everything")).expect("a record").clone();
        let tranship::state::Record::Assignment(record) = record else { panic!("an assignment's record") };
        (record.count, record.bytes, record.digest, record.verification, record.waves)
    };
    let mut tried = 0;
    // Every third call, struck in turn before it reaches the world and after; all of both with TRANSHIP_ALL_KILLS set.
    let all = std::env::var_os("TRANSHIP_ALL_KILLS").is_some();
    for call in (1..=calls).step_by(if all { 1 } else { 3 }) {
        let points: &[KillPoint] = match call % 2 {
            _ if all => &[KillPoint::Before, KillPoint::After],
            0 => &[KillPoint::Before],
            _ => &[KillPoint::After],
        };
        for &point in points {
            let mut tool = Tool::of(&spec, to_one.clone());
            tool.fleet.kill_at(call, point);
            let fleet = tool.fleet.clone();
            process().block_on(async {
                tokio::select! {
                    _ = tool.apply() => panic!("call {call} of {calls} was never made"),
                    () = fleet.killed() => {}
                }
            });
            tool.fleet.revive();
            process().block_on(async {
                tool.apply().await;
                assert!(tool.plan().await.is_empty(), "killed {point:?} call {call}");
            });
            assert_eq!(tool.fleet.fingerprint(), world, "killed {point:?} call {call}");
            let mut each: BTreeMap<_, u32> = BTreeMap::new();
            for record in tool.fleet.moves().iter().filter(|m| m.state != MoveState::Failed) {
                *each.entry(record.container).or_default() += 1;
            }
            assert!(each.values().all(|n| *n == 1), "killed {point:?} call {call}: {each:?}");
            assert_eq!(digest(&tool.state()), digest(&state), "killed {point:?} call {call}");
            tried += 1;
        }
    }
    println!("law 5: {tried} kills over {calls} calls");
}

#[tokio::test]
async fn law_5_a_stop_follows_what_is_in_flight_and_schedules_nothing_new() {
    let mut tool = Tool::new(&spec(20, &[]));
    let plan = tool.plan().await;
    let (stop, events) = (tool.stop.clone(), tool.events.clone());
    tokio::spawn(async move {
        loop {
            let n =
                events.lock().expect("not poisoned").iter().filter(|e| matches!(e, Event::MoveVerified { .. })).count();
            if n >= 4 {
                stop.cancel();
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    let summary = tool.run(&plan).await.summary;
    assert!(summary.interrupted);
    assert_eq!(passed(&summary) as usize, tool.scheduled().len(), "all that was scheduled was followed");
    assert!(tool.scheduled().len() < 20);
    tool.stop = CancellationToken::new();
    tool.apply().await;
    assert_eq!(tool.scheduled().len(), 20, "no move twice, none forgotten");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn law_6_what_is_not_ours_stays() {
    let mut tool = Tool::new(&spec(10, &[]));
    tool.fleet.set_weight(&name("other"), Weight::new(33).expect("valid"));
    let foreign = tool.fleet.add_project("else/where", &name("other"));
    tool.apply().await;
    for write in tool.fleet.writes() {
        match write {
            Write::Weights(map) => assert_eq!(map[&name("other")].get(), 33),
            Write::Schedule(container, _) => assert_ne!(container.id, foreign),
            Write::Commit(..) => {}
            Write::Cluster(..) => panic!("no pods are configured"),
        }
    }
    let project = tool.fleet.projects().into_iter().find(|p| p.id == foreign).expect("still there");
    assert_eq!(project.storage, name("other"));
}

#[tokio::test]
async fn law_6_a_foreign_move_is_waited_for() {
    let mut tool = Tool::new(&spec(10, &[]));
    let plan = tool.plan().await;
    let id = plan.moves[0].container.id;
    tool.fleet.foreign_move(id, &name("other")).expect("taken");
    let summary = tool.run(&plan).await.summary;
    assert!(!tool.scheduled().contains(&id), "not fought");
    assert_eq!(summary.moves_skipped, 1, "it is elsewhere now: {summary:?}");
}

#[tokio::test]
async fn law_7_same_world_same_bytes() {
    let (a, b) = (Tool::new(&spec(50, &[])), Tool::new(&spec(50, &[])));
    let (a, b) = (plan::saved::encode(&a.plan().await), plan::saved::encode(&b.plan().await));
    assert_eq!(a, b);
    let mut states = Vec::new();
    for _ in 0..2 {
        let mut tool = Tool::new(&spec(10, &[]));
        tool.apply().await;
        states.push(tranship::state::format::encode(&tool.state()));
    }
    assert_eq!(states[0], states[1]);
}

#[tokio::test]
async fn law_8_no_destination_is_filled_above_its_ceiling() {
    let mut small = spec(60, &[]);
    small.storages[1].disk = Bytes(96 << 20);
    small.storages[2].disk = Bytes(48 << 20);
    let mut tool = Tool::new(&small);
    let plan = tool.plan().await;
    assert!(!plan.report.is_empty(), "not all of it fits");
    tool.run(&plan).await;
    for storage in [name("pod-a"), name("pod-b")] {
        let (used, available) = tool.fleet.disk(&storage).expect("a disk");
        assert!(used * 1000 <= (available + used) * 850, "{storage}: {used} of {}", available + used);
    }
}

#[tokio::test]
async fn law_9_no_more_is_scheduled_than_workers_can_take() {
    let mut tool = Tool::new(&spec(40, &[]));
    let plan = tool.plan().await;
    let (fleet, seen) = (tool.fleet.clone(), Arc::new(Mutex::new(0)));
    let most = seen.clone();
    let watch = tokio::spawn(async move {
        loop {
            let live = fleet.moves().iter().filter(|m| !m.state.is_terminal()).count();
            {
                let mut most = most.lock().expect("not poisoned");
                *most = live.max(*most);
            }
            tokio::task::yield_now().await;
        }
    });
    tool.run(&plan).await;
    watch.abort();
    let most = *seen.lock().expect("not poisoned");
    assert!((2..=4).contains(&most), "{most} moves were outstanding at once, 4 workers");
}

#[tokio::test]
async fn law_10_an_answer_that_never_came_is_unknown_and_no_proof() {
    let mut tool = Tool::new(&spec(4, &[]));
    let plan = tool.plan().await;
    tool.fleet.fail_next("walk", 1_000, PortErrorKind::Transient);
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 4);
    assert_eq!((summary.failed, summary.refused), (1, 0), "{summary:?}");
    let proof = tool.events().into_iter().find_map(|e| match e {
        Event::ActionEnded { address, outcome: Outcome::Failed { cause } } if &*address.kind == "drain" => Some(cause),
        _ => None,
    });
    assert!(proof.expect("told").contains("unknown"));
    assert_eq!(tool.state().storage(&name("default")).and_then(|s| s.drained.clone()), None);
}

#[tokio::test]
async fn a_lost_answer_leads_to_one_move_not_two() {
    let mut tool = Tool::new(&spec(6, &[("lost_response", 3)]));
    let summary = tool.apply().await;
    assert_eq!(passed(&summary), 6, "{summary:?}");
    let mut projects: Vec<u64> = tool.fleet.moves().iter().map(|m| m.container.id).collect();
    projects.sort_unstable();
    projects.dedup();
    assert_eq!(projects.len(), tool.fleet.moves().len());
}

#[tokio::test]
async fn failures_are_retried_within_a_budget_and_then_set_aside() {
    let mut tool = Tool::new(&spec(6, &[("push_timeout", 2)]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (6, 0), "{summary:?}");
    assert!(tool.events().iter().any(|e| matches!(e, Event::MoveRetried { .. })));

    let mut broken = spec(6, &[]);
    broken.workers = 1;
    broken.faults = vec![SandboxFault { kind: "fail_move".into(), nth: 1, count: 2 }];
    let mut tool = Tool::new(&broken);
    tool.desired.max_moves = 1;
    tool.desired.rollout.waves.clear();
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (6, 0), "two of three attempts failed: {summary:?}");

    broken.faults = vec![SandboxFault { kind: "fail_move".into(), nth: 1, count: 100 }];
    let mut tool = Tool::new(&broken);
    tool.desired.max_moves = 1;
    tool.desired.rollout.waves.clear();
    let summary = tool.apply().await;
    // Three attempts each, and three in a row on one pair of storages end the wave.
    assert!(summary.quarantined >= 3 && summary.lost == 0 && summary.failed == 1, "{summary:?}");
    assert!(tool.scheduled().len() < 18, "not all six were tried three times");
    assert!(tool.plan().await.drain_is_stuck(), "it blocks the proof of its source");
}

#[tokio::test]
async fn law_8_a_destination_that_others_filled_since_the_plan_takes_nothing_and_stalls_nothing() {
    let mut small = spec(12, &[]);
    small.storages[1].disk = Bytes(200 << 20);
    small.storages[2].disk = Bytes(200 << 20);
    let mut tool = Tool::new(&small);
    let plan = tool.plan().await;
    assert!(plan.moves.len() > 4);
    // Somebody else's projects arrive on both until a tenth is free at most.
    for storage in ["pod-a", "pod-b"] {
        for n in 0.. {
            let (used, available) = tool.fleet.disk(&name(storage)).expect("a disk");
            if available * 8 < available + used || n == 5_000 {
                break;
            }
            tool.fleet.add_project(&format!("else/where-{storage}-{n}"), &name(storage));
        }
    }
    let used = |tool: &Tool, n: &str| tool.fleet.disk(&name(n)).expect("a disk").0;
    let before = ["pod-a", "pod-b"].map(|n| used(&tool, n));
    let run = tokio::time::timeout(std::time::Duration::from_secs(60), tool.run(&plan));
    let summary = run.await.expect("the run ends").summary;
    for (storage, before) in ["pod-a", "pod-b"].into_iter().zip(before) {
        let now = used(&tool, storage);
        assert!(now <= before.max((200 << 20) * 85 / 100), "{storage}: {before} -> {now}");
    }
    assert!(summary.moves_skipped > 1, "{summary:?}");
}

#[tokio::test]
async fn a_live_move_to_the_planned_place_is_followed_and_compared() {
    let mut tool = Tool::new(&spec(6, &[]));
    let plan = tool.plan().await;
    let planned = plan.moves[0].clone();
    tool.fleet.foreign_move(planned.container.id, &planned.destination).expect("taken");
    let summary = tool.run(&plan).await.summary;
    assert!(!tool.scheduled().contains(&planned.container.id), "not scheduled twice");
    assert_eq!(passed(&summary) + summary.unknown + summary.moves_moot, 6, "{summary:?}");
    assert_eq!(summary.moves_moot, 0, "it was compared: {summary:?}");
}

#[tokio::test]
async fn law_3_two_fences_are_written_one_after_the_other() {
    let mut tool = Tool::new(&spec(4, &[]));
    let other = DesiredStorage {
        address: Address::new("storage", "other"),
        name: name("other"),
        weight: None,
        drain: true,
        ..tool.desired.storages[&name("default")].clone()
    };
    tool.fleet.set_weight(&name("other"), Weight::new(40).expect("valid"));
    tool.desired.storages.insert(name("other"), other);
    let sources = vec![name("default"), name("other")];
    let request = Request {
        declared: tool.desired.storages.keys().cloned().collect(),
        listed: sources.clone(),
        draining: sources,
        ..Request::default()
    };
    let observed = live::observe(&tool.ports, &request).await.expect("observed");
    let plan = plan::make(&tool.desired, &observed, &tool.state(), &Options::default()).expect("a plan");
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.failed, summary.stale, summary.remarks.len()), (0, 0, 0), "{summary:?}");
    let mut last = None;
    for write in tool.fleet.writes() {
        if let Write::Weights(map) = write {
            last = Some(map);
        }
    }
    let last = last.expect("written");
    assert_eq!([last[&name("default")], last[&name("other")]], [Weight::ZERO; 2]);
}

#[tokio::test]
async fn an_outage_sets_nothing_aside() {
    let mut tool = Tool::new(&spec(6, &[]));
    let plan = tool.plan().await;
    tool.fleet.fail_next("moves_of", 12, PortErrorKind::Transient);
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.quarantined, summary.failed), (6, 0, 0), "{summary:?}");

    let mut tool = Tool::new(&spec(6, &[]));
    let plan = tool.plan().await;
    tool.fleet.fail_next("moves_of", 10_000, PortErrorKind::Transient);
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.quarantined, summary.failed), (0, 0, 1), "{summary:?}");
    assert_eq!(tool.scheduled(), Vec::<u64>::new());
}

/// A small generator, so that a failing seed is all one needs to see it again.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

/// Faults that are left out of the mixture, each with the reason. All others are in it, those to come as well.
const LEFT_OUT: &[(&str, &str)] = &[
    ("foreign_move", "somebody else moves the container too: law 6 holds it"),
    ("dead_end_a", "GitLab does not get out of it by itself"),
    ("dead_end_b", "GitLab does not get out of it by itself"),
    ("stuck_scheduled", "GitLab does not get out of it by itself"),
    ("workers_die", "GitLab does not get out of it by itself"),
    ("gitlab_upgrade", "GitLab does not get out of it by itself"),
    ("poisoned_project", "the project is in no list, hence in no plan: `laws_kinds` holds it"),
    ("pod_pending", "there are no pods"),
    ("image_pull", "there are no pods"),
    ("pod_crash", "there are no pods"),
    ("cordoned", "there are no pods"),
    ("node_gone", "there are no pods"),
    ("claim_lost", "there are no pods"),
    ("empty_disk", "there are no pods"),
    ("rbac_forbidden", "there is no cluster"),
    ("api_away", "there is no cluster"),
];

fn mixed() -> Vec<&'static str> {
    let left_out = |kind: &str| LEFT_OUT.iter().any(|(name, _)| *name == kind);
    assert!(LEFT_OUT.iter().all(|(name, _)| SandboxFault::KINDS.iter().any(|(kind, _)| kind == name)));
    SandboxFault::KINDS.iter().map(|(kind, _)| *kind).filter(|kind| !left_out(kind)).collect()
}

/// Whatever goes wrong, in any mixture: nothing is lost unnoticed, nothing is moved twice, nothing is forgotten.
#[test]
fn laws_4_and_5_hold_for_random_faults() {
    let seeds: u64 = std::env::var("TRANSHIP_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let (mut moved, mut set_aside) = (0, 0);
    let mixed = mixed();
    for number in 0..seeds {
        let mut seed = number;
        let mut world = spec(8, &[]);
        world.seed = number;
        for _ in 0..draw(&mut seed, 4) {
            let kind = mixed[draw(&mut seed, mixed.len() as u64) as usize].to_owned();
            let (mut nth, count) = (1 + draw(&mut seed, 12) as u32, 1 + draw(&mut seed, 3) as u32);
            if kind == "request_budget" {
                // These ports do not wait a limit out, the adapter does: a limit that lets no two requests through ends here.
                nth += 9;
            }
            world.faults.push(SandboxFault { kind, nth, count });
        }
        let mut tool = Tool::new(&world);
        let before = tool.fleet.fingerprint();
        let mut unknown = 0;
        for _ in 0..4 {
            let summary = process().block_on(tool.apply());
            if std::env::var_os("TRANSHIP_TELL").is_some() {
                println!("seed {number}: {summary:?}");
            }
            unknown += summary.unknown;
            moved += passed(&summary);
            // An operator comes back later.
            tool.fleet.advance(std::time::Duration::from_secs(300));
        }
        let faults = &world.faults;
        let after = tool.fleet.fingerprint();
        let quarantined: BTreeSet<u64> = tool.state().quarantined().map(|(c, _)| c.id).collect();
        set_aside += quarantined.len();
        // A loss stops all that still was to leave its source, on purpose.
        let stopped = tool.state().quarantined().any(|(_, record)| plan::is_possible_loss(&record.cause));
        let mut gone = 0;
        for project in tool.fleet.projects() {
            let finished = tool
                .fleet
                .moves()
                .iter()
                .filter(|m| m.container.id == project.id && m.state != MoveState::Failed)
                .count();
            assert!(finished <= 1, "seed {number}: {} moved {finished} times; {faults:?}", project.id);
            let away = project.storage != name("default");
            assert!(
                away || stopped || quarantined.contains(&project.id),
                "seed {number}: {} was forgotten; {faults:?}",
                project.id
            );
            for ((_, path), references) in before
                .iter()
                .filter(|((storage, path), _)| *storage == name("default") && path.contains(&tranship_path(project.id)))
            {
                let now = after.get(&(project.storage.clone(), path.clone())).cloned().unwrap_or_default();
                let missing = references.iter().filter(|r| !now.iter().any(|n| n.name == r.name)).count();
                if missing > 0 && !quarantined.contains(&project.id) {
                    gone += 1;
                }
            }
        }
        assert!(gone as u64 <= unknown, "seed {number}: {gone} lack a reference, {unknown} were told; {faults:?}");
    }
    println!("{seeds} seeds, {moved} verified moves, {set_aside} set aside");
}

/// The part of a path that is a project's own: its repository, wiki and designs share it.
fn tranship_path(project: u64) -> String {
    let container = tranship::model::Container { kind: tranship::model::ContainerKind::Project, id: project };
    let path = tranship::model::relative_path(container, tranship::model::RepositoryRole::Main);
    path.trim_end_matches(".git").to_owned()
}
