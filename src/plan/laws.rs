//! The laws that planning can keep, over generated fleets. That each can fail is shown by `check`, where the rules
//! are broken one by one, and by the tests at the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::{GIB, World, name, wave, weight};
use super::{Change, MISSING_REFERENCE, Options, Plan, check, saved};
use crate::model::{Bytes, Container, DiskSpace, MoveRecord, MoveState, Reading};
use crate::state::{QuarantineRecord, Record, State};

/// Storages by their role: sources come first, so that no assignment can send in a circle.
const SOURCES: [&str; 3] = ["old-1", "old-2", "vm"];
const TARGETS: [&str; 3] = ["pod-a", "pod-b", "pod-c"];

#[derive(Debug, Clone)]
struct Recipe {
    /// Source, size (`None`: not given).
    repositories: Vec<(usize, Option<u64>)>,
    drains: [bool; 3],
    /// For each: sources, destinations, priority.
    assignments: Vec<(BTreeSet<usize>, BTreeSet<usize>)>,
    weights: [Option<u64>; 3],
    disks: [u64; 3],
    sample: Option<u64>,
    batch: Option<u64>,
    quarantined: BTreeSet<u64>,
    moving: BTreeSet<u64>,
    unknown_to_gitlab: Option<usize>,
    pods: [Kind; 3],
    edit: Edit,
    learns: bool,
    release: Release,
}

/// How it is released.
#[derive(Debug, Clone)]
struct Release {
    ramp: BTreeSet<u8>,
    soak: bool,
    gate: bool,
    probe: bool,
    hook: bool,
    rollback: bool,
}

fn release() -> impl Strategy<Value = Release> {
    (prop::collection::btree_set(1u8..=100, 0..5), any::<[bool; 5]>())
        .prop_map(|(ramp, [soak, gate, probe, hook, rollback])| Release { ramp, soak, gate, probe, hook, rollback })
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Machine,
    /// A pod that is to be made.
    New,
    /// A pod that was made.
    Made,
}

/// What changes in the specification of pods that were made.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Nothing,
    Image,
    Size,
    Service,
    Budget,
    /// The process ended before the pods were seen ready.
    Unseen,
}

fn pods() -> impl Strategy<Value = ([Kind; 3], Edit, bool)> {
    let kind = prop_oneof![3 => Just(Kind::Machine), 1 => Just(Kind::New), 1 => Just(Kind::Made)];
    let edit = prop_oneof![
        Just(Edit::Nothing),
        Just(Edit::Image),
        Just(Edit::Size),
        Just(Edit::Service),
        Just(Edit::Budget),
        Just(Edit::Unseen)
    ];
    (prop::array::uniform3(kind), edit, any::<bool>())
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let some = || prop::collection::btree_set(0usize..3, 1..=3);
    (
        prop::collection::vec((0usize..3, prop::option::weighted(0.9, 0..30 * GIB)), 0..40),
        any::<[bool; 3]>(),
        prop::collection::vec((some(), some()), 0..4),
        prop::array::uniform3(prop::option::of(0u64..=100)),
        prop::array::uniform3(1..200 * GIB),
        (prop::option::of(0u64..10), prop::option::of(1u64..10)),
        prop::collection::btree_set(1u64..40, 0..3),
        prop::collection::btree_set(1u64..40, 0..3),
        (prop::option::weighted(0.2, 0usize..3), pods(), release()),
    )
        .prop_map(
            |(
                repositories,
                drains,
                assignments,
                weights,
                disks,
                sample,
                quarantined,
                moving,
                (unknown, pods, release),
            )| {
                let (pods, edit, learns) = pods;
                let (sample, batch) = sample;
                Recipe {
                    repositories,
                    drains,
                    assignments,
                    weights,
                    disks,
                    sample,
                    batch,
                    quarantined,
                    moving,
                    unknown_to_gitlab: unknown,
                    pods,
                    edit,
                    learns,
                    release,
                }
            },
        )
}

fn world(recipe: &Recipe) -> World {
    let mut world = World::new(&[SOURCES.as_slice(), TARGETS.as_slice(), &["spare"]].concat());
    world.observed.gitlab.weights.insert(name("spare"), weight(1));
    world.observed.gitlab.weights.insert(name("not-ours"), weight(40));
    for (source, drain) in SOURCES.iter().zip(recipe.drains) {
        world.desired(source).drain = drain;
        let here = recipe.repositories.iter().any(|(at, _)| SOURCES[*at] == *source);
        if !here {
            world.facts(source).walk = Some(Reading::Known(Vec::new()));
        }
    }
    for ((target, managed), disk) in TARGETS.iter().zip(recipe.weights).zip(recipe.disks) {
        world.desired(target).weight = managed.map(weight);
        world.facts(target).disk = Reading::Known(DiskSpace { available: Bytes(disk), used: Bytes(disk / 7) });
    }
    make_pods(&mut world, recipe);
    let mut priority = 0;
    for (n, (from, to)) in recipe.assignments.iter().enumerate() {
        let pick = |all: [&'static str; 3], set: &BTreeSet<usize>| set.iter().map(|i| all[*i]).collect::<Vec<_>>();
        priority += 1;
        world.assign(&format!("a{n}"), &pick(SOURCES, from), &pick(TARGETS, to), priority);
    }
    for (at, size) in &recipe.repositories {
        world.repositories(SOURCES[*at], &[size.unwrap_or(0)]);
        if let (None, Some(last)) = (size, world.observed.repositories.last_mut()) {
            last.size = None;
        }
    }
    for one in world.observed.repositories.iter_mut().filter(|one| one.container.id % 3 == 0) {
        one.fork_parent = Some(one.container.id / 3);
    }
    let mut rest = wave("rest", None);
    (rest.batch, rest.growth) = (recipe.batch, 2);
    world.desired.rollout.waves = vec![wave("sample", recipe.sample), rest];
    released(&mut world, &recipe.release);
    for id in &recipe.quarantined {
        let container = Container { kind: crate::model::ContainerKind::Project, id: *id };
        let record = QuarantineRecord {
            path: "x".to_owned(),
            source: name("vm"),
            destination: name("pod-a"),
            cause: if id % 4 == 0 { MISSING_REFERENCE } else { "move failed" }.to_owned(),
            evidence: Vec::new(),
            remedy: "look".to_owned(),
            urgent: id % 2 == 0,
        };
        world.state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
    }
    let moving: Vec<_> =
        world.observed.repositories.iter().filter(|r| recipe.moving.contains(&r.container.id)).collect();
    world.observed.moves = moving
        .into_iter()
        .map(|repository| MoveRecord {
            container: repository.container,
            id: repository.container.id,
            state: MoveState::Scheduled,
            source: repository.storage.to_string(),
            destination: "pod-a".to_owned(),
            created_at: None,
            error_message: None,
        })
        .collect();
    if let Some(target) = recipe.unknown_to_gitlab.filter(|target| recipe.pods[*target] == Kind::Machine) {
        world.observed.gitlab.weights.remove(&name(TARGETS[target]));
    }
    world
}

fn released(world: &mut World, release: &Release) {
    use crate::model::{Gate, Hook, HookEvent, Question};
    let Release { ramp, soak, gate, probe, hook, rollback } = release;
    let rollout = &mut world.desired.rollout;
    rollout.ramp = ramp.iter().copied().collect();
    rollout.soak_seconds = if *soak { 900 } else { 0 };
    rollout.rollback = *rollback;
    if *gate {
        let address = crate::model::Address::new("gate", "go");
        rollout.gates = vec![address.clone()];
        let gate = Gate { address: address.clone(), question: Question::Approval, span: super::fixture::span(0) };
        world.desired.gates.insert(address, gate);
    }
    if *probe {
        let mut project = super::fixture::repository(1_000, "spare", 5);
        project.path = "tranship/canary".into();
        world.desired.rollout.probe = Some("tranship/canary".to_owned());
        world.observed.probe = Some(Reading::Known(project));
    }
    if *hook {
        let on = BTreeSet::from([HookEvent::WaveStart, HookEvent::WaveDone, HookEvent::Gate]);
        let hook = Hook { name: "h".to_owned(), exec: vec!["./h".to_owned()], on, timeout_seconds: 1 };
        world.desired.hooks.insert("h".to_owned(), hook);
    }
}

/// Turns targets into pods, those that were made by a plan of their own.
fn make_pods(world: &mut World, recipe: &Recipe) {
    let of = |kind: Kind| TARGETS.iter().zip(recipe.pods).zip(recipe.disks).filter(move |((_, one), _)| *one == kind);
    let make = |world: &mut World, target: &str, size: u64| {
        let (limits, weight) = (world.desired(target).limits, world.desired(target).weight);
        world.pod(target);
        world.spec(target, |spec| spec.disk.size = Bytes(size.next_multiple_of(GIB)));
        (world.desired(target).limits, world.desired(target).weight) = (limits, weight);
    };
    for ((target, _), size) in of(Kind::Made) {
        make(world, target, size);
    }
    world.desired.gitlab_learns = true;
    let options = Options { target: vec!["pod.*".to_owned(), "known.*".to_owned()], ..Options::default() };
    if of(Kind::Made).next().is_some() {
        let plan = world.plan_with(&options);
        world.apply(&plan);
    }
    world.desired.gitlab_learns = recipe.learns;
    for ((target, _), _) in of(Kind::Made) {
        match recipe.edit {
            Edit::Nothing => {}
            Edit::Image => world.spec(target, |spec| spec.image = "registry.example.com/gitaly:v18.3.0".to_owned()),
            Edit::Size => world.spec(target, |spec| spec.disk.size.0 *= 2),
            Edit::Service => {
                world.spec(target, |spec| spec.extra = serde_json::json!({ "spec": { "serviceName": "other" } }));
            }
            Edit::Budget => world.spec(target, |spec| spec.max_unavailable = 0),
            Edit::Unseen => {
                world.state.storage_mut(&name(target)).filesystem_id = None;
                *world.facts(target) = super::fixture::away();
            }
        }
    }
    for ((target, _), size) in of(Kind::New) {
        make(world, target, size);
    }
}

/// Law 6: what the plan touches is declared, and every other weight stays.
fn touches_only_what_is_declared(world: &World, plan: &Plan) {
    for action in &plan.actions {
        match &action.change {
            Change::SetWeight { storage, .. } => {
                let declared = &world.desired.storages[storage];
                assert!(declared.drain || declared.weight.is_some(), "{storage} is not managed");
            }
            Change::Moves { source, .. } => assert!(world.desired.storages.contains_key(source)),
            Change::ProveEmpty { storage } => assert!(world.desired.storages[storage].drain),
            Change::Ramp { weights, .. } => {
                for storage in weights.keys() {
                    let declared = &world.desired.storages[storage];
                    assert!(declared.drain || declared.weight.is_some(), "{storage} is not managed");
                }
            }
            Change::Probe { storage, .. } => assert!(world.desired.storages.contains_key(storage)),
            Change::Hold { .. } | Change::RunHook { .. } => {}
            other => {
                let storage = other.storage().expect("of one storage");
                assert!(world.desired.storages[storage].pod.is_some());
            }
        }
    }
    for one in &plan.moves {
        let assignment = world.desired.assignments.iter().find(|a| a.address == one.assignment).expect("declared");
        assert!(assignment.from.contains(&one.source) && assignment.to.contains(&one.destination));
    }
    assert_eq!(plan.weights[&name("not-ours")].after, weight(40));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws 3, 6, 8 and the rule of one move per repository: `plan()` asks the linter, which has no findings.
    #[test]
    fn plans_have_no_faults_and_touch_nothing_else(recipe in recipe()) {
        let world = world(&recipe);
        let plan = world.plan();
        touches_only_what_is_declared(&world, &plan);
        let held = |id: u64| recipe.quarantined.contains(&id) || recipe.moving.contains(&id);
        prop_assert!(plan.moves.iter().all(|one| !held(one.container.id)));
        // Law 4: a possible loss on the way off a storage stops what leaves it. In this world that storage is `vm`.
        let lost = recipe.quarantined.iter().any(|id| id % 4 == 0);
        prop_assert!(!lost || plan.moves.iter().all(|one| one.source.as_str() != "vm"));
    }

    /// Every repository on a source is planned, in place, wanted by nobody, or reported with a reason.
    #[test]
    fn nothing_is_forgotten(recipe in recipe()) {
        let world = world(&recipe);
        let plan = world.plan();
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for one in &world.observed.repositories {
            let taken = world.desired.assignments.iter().any(|a| a.from.contains(&one.storage));
            if taken || world.desired.storages[&one.storage].drain {
                *expected.entry(one.storage.as_str()).or_default() += 1;
            }
        }
        for (storage, count) in expected {
            let moved = plan.moves.iter().filter(|one| one.source.as_str() == storage).count() as u64;
            let subject = format!("storage.{storage}");
            let told: u64 = plan.report.iter().filter(|row| row.subject == subject).map(|row| row.count).sum();
            // Told beside what is there: what was set aside on its way off and is not there any more.
            let here = |c| world.observed.repositories.iter().any(|r| r.container == c && r.storage.as_str() == storage);
            let drains = world.desired.storages[&name(storage)].drain;
            let set_aside = world.state.quarantined().filter(|(_, record)| record.source.as_str() == storage);
            let gone = set_aside.filter(|(container, _)| drains && !here(*container)).count() as u64;
            prop_assert_eq!(moved + told, count + gone, "{} {:?}", storage, plan.report);
        }
    }

    /// Law 7: the order of listing changes no byte.
    #[test]
    fn any_order_of_listing_gives_the_same_bytes(recipe in recipe(), seed in any::<u64>()) {
        let mut world = world(&recipe);
        let first = saved::encode(&world.plan());
        let turn = |n: usize| if n == 0 { 0 } else { usize::try_from(seed % n as u64).expect("small") };
        world.observed.repositories.reverse();
        let middle = turn(world.observed.repositories.len());
        world.observed.repositories.rotate_left(middle);
        world.observed.moves.reverse();
        prop_assert_eq!(saved::encode(&world.plan()), first);
    }

    /// Law 1: once a plan was carried out, nothing is left to plan.
    #[test]
    fn the_plan_after_the_apply_is_empty(recipe in recipe()) {
        let mut world = world(&recipe);
        let plan = world.plan();
        world.apply(&plan);
        let again = world.plan();
        prop_assert!(again.is_empty(), "{:?}", again.actions);
        prop_assert_eq!(again.drift, vec![]);
    }

    /// What was left out by a selection is planned by the next plan without one: parts add up to the whole.
    #[test]
    fn a_selection_is_sound_and_the_rest_follows(recipe in recipe(), exclude in any::<bool>(), which in 0usize..9) {
        let mut world = world(&recipe);
        let pattern = [
            "storage.old-1", "storage.vm", "weight.*", "drain.*", "moves.*[\"sample\"]", "storage.pod-*",
            "pod.*", "pod.pod-a", "*StatefulSet*",
        ][which];
        let made = |pods: &[Kind]| pods.iter().any(|pod| *pod != Kind::Machine);
        prop_assume!(which < 6 || made(if which == 7 { &recipe.pods[..1] } else { &recipe.pods }));
        let options = if exclude {
            Options { exclude: vec![pattern.to_owned()], ..Options::default() }
        } else {
            Options { target: vec![pattern.to_owned()], ..Options::default() }
        };
        let part = world.plan_with(&options);
        touches_only_what_is_declared(&world, &part);
        world.apply(&part);
        let rest = world.plan();
        world.apply(&rest);
        prop_assert!(world.plan().is_empty());
    }

    /// A saved plan comes back as it was.
    #[test]
    fn saving_loses_nothing(recipe in recipe()) {
        let plan = world(&recipe).plan();
        prop_assert_eq!(saved::decode(&saved::encode(&plan)), Ok(plan));
    }
}

#[test]
fn a_changed_world_is_noticed() {
    // The counterpart of law 1: were the plan always empty, this would fail.
    let mut world = World::drain(&[1, 2, 3]);
    let plan = world.plan();
    world.apply(&plan);
    assert!(world.plan().is_empty());
    world.repositories("old", &[4]);
    assert_eq!(world.plan().moves.len(), 1);
    world.observed.gitlab.weights.insert(name("new"), weight(1));
    assert_eq!((world.plan().actions.len(), world.plan().drift.len()), (3, 2));
}

#[test]
fn the_linter_sees_a_room_that_is_exceeded() {
    let mut plan = World::drain(&[50 * GIB]).plan();
    assert_eq!(check::faults(&plan), Vec::<String>::new());
    plan.storages.values_mut().for_each(|s| s.disk_ceiling_permille = 500);
    assert!(!check::faults(&plan).is_empty());
}

/// Counts, not times: a plan's actions and edges grow with what an operator would name, not with repositories.
#[test]
fn the_graph_does_not_grow_with_repositories() {
    let counts = |n: usize| {
        let mut world = World::drain(&vec![1; n]);
        world.desired.rollout.waves = vec![wave("first", Some(3))];
        let plan = world.plan();
        assert_eq!(plan.moves.len(), n);
        (plan.actions.len(), plan.edges.len(), plan.report.len(), plan.findings.len())
    };
    assert_eq!(counts(10), counts(2_000));
}
