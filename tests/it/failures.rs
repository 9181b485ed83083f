//! What goes wrong with moves, class by class, over the in-memory fleet: what is done, what is said, and that nothing is lost,
//! moved twice or forgotten. The table itself is tested beside its code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tranship::apply::event::{Event, Outcome, Summary};
use tranship::apply::port::{Approval, HookEnd, Operator, PortErrorKind, PortResult};
use tranship::model::{
    Address, Bytes, Container, Hook, HookEvent, MoveState, SandboxConnection, SandboxFault, SourceFsck, VetoSource,
};
use tranship::plan::{self, Plan, WaitingOn};
use tranship::sandbox::memory::{Handle, KillPoint};
use tranship::state::{QuarantineRecord, Record, State};

use crate::laws::{Tool, name, passed, process, spec};

/// One source, all its moves in one wave.
fn tool(spec: &SandboxConnection) -> Tool {
    let mut tool = Tool::new(spec);
    tool.desired.rollout.waves.clear();
    tool
}

fn faults(repositories: u32, faults: &[(&str, u32, u32)]) -> SandboxConnection {
    let faults =
        faults.iter().map(|(kind, nth, count)| SandboxFault { kind: (*kind).into(), nth: *nth, count: *count });
    SandboxConnection { faults: faults.collect(), ..spec(repositories, &[]) }
}

fn quarantined(state: &State) -> Vec<(Container, QuarantineRecord)> {
    state.quarantined().map(|(container, record)| (container, record.clone())).collect()
}

fn one(state: &State) -> QuarantineRecord {
    let all = quarantined(state);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].1.clone()
}

fn said(tool: &Tool, words: &str) -> bool {
    tool.events().iter().any(|event| match event {
        Event::Waiting { what } => what.contains(words),
        Event::Warning { message } => message.contains(words),
        _ => false,
    })
}

fn posts(tool: &Tool, container: Container) -> usize {
    tool.scheduled().iter().filter(|id| **id == container.id).count()
}

/// An operator whose hook runs the remedy on the fleet, or says why it did not.
struct Hooked {
    fleet: Handle,
    code: i32,
    inputs: Mutex<Vec<Value>>,
}

#[async_trait]
impl Operator for Hooked {
    async fn run_hook(&self, _: &Hook, input: &Value) -> PortResult<HookEnd> {
        self.inputs.lock().expect("not poisoned").push(input.clone());
        let container = input["container"].as_str().expect("a container").to_owned();
        if self.code == 0 {
            self.fleet.repair(Container::try_from(container).expect("a container")).expect("there");
        }
        Ok(HookEnd { code: Some(self.code), output: "connecting\nno console at hand".to_owned() })
    }
    async fn approval(&self, _: &Address) -> PortResult<Option<Approval>> {
        Ok(None)
    }
    async fn approval_used(&self, _: &Address) -> PortResult<()> {
        Ok(())
    }
    async fn veto(&self, _: &VetoSource) -> PortResult<Option<String>> {
        Ok(None)
    }
}

fn hooked(tool: &mut Tool, plan: &mut Plan, code: i32) -> Arc<Hooked> {
    let operator = Arc::new(Hooked { fleet: tool.fleet.clone(), code, inputs: Mutex::default() });
    tool.ports.operator = Some(operator.clone());
    let exec = vec!["./unlock".to_owned()];
    let on = BTreeSet::from([HookEvent::DeadEnd]);
    plan.hooks = vec![Hook { name: "unlock".into(), exec, on, timeout_seconds: 60 }];
    operator
}

#[tokio::test]
async fn dead_end_a_is_suspected_confirmed_by_the_ordinary_retry_and_set_aside_with_the_exact_remedy() {
    let mut tool = tool(&faults(8, &[("dead_end_a", 3, 1)]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined, summary.lost), (7, 1, 0), "{summary:?}");
    let (container, record) = quarantined(&tool.state()).remove(0);
    assert!(record.urgent && record.cause.starts_with("read-only without an end"), "{record:?}");
    let id = tool.fleet.moves().iter().find(|m| m.container == container).expect("a move").id;
    for line in [
        format!("m = Project.find({}).repository_storage_moves.find({id})", container.id),
        "m.do_fail! unless m.failed? || m.finished?".to_owned(),
        format!("Project.find({}).set_repository_writable!", container.id),
        format!("tranship quarantine release {container}"),
    ] {
        assert!(record.remedy.contains(&line), "{line} in {}", record.remedy);
    }
    assert!(record.evidence.iter().any(|line| line.contains("is read-only")), "{record:?}");
    assert_eq!(posts(&tool, container), 2, "the first, and the retry that confirms it");
    assert!(tool.plan().await.drain_is_stuck());
}

#[tokio::test]
async fn dead_end_b_is_found_by_time_and_flat_bytes_and_never_by_a_post() {
    let mut tool = tool(&faults(8, &[("dead_end_b", 3, 1)]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined, summary.lost), (7, 1, 0), "{summary:?}");
    let (container, record) = quarantined(&tool.state()).remove(0);
    assert!(record.urgent && record.cause.contains("the worker of its move is gone"), "{record:?}");
    assert!(record.evidence.iter().any(|line| line.contains("no byte arrived on pod-")), "{record:?}");
    assert_eq!(posts(&tool, container), 1);
    assert!(summary.seconds > 30 * 60, "not called dead before its time: {summary:?}");
    assert!(summary.time.longest_ms > 30 * 60_000, "what it bore counts: {:?}", summary.time);
}

#[tokio::test]
async fn a_hook_that_runs_the_remedy_has_it_tried_again_once() {
    for kind in ["dead_end_a", "dead_end_b", "stuck_scheduled"] {
        let mut tool = tool(&faults(6, &[(kind, 2, 1)]));
        let mut plan = tool.plan().await;
        let operator = hooked(&mut tool, &mut plan, 0);
        let summary = tool.run(&plan).await.summary;
        assert_eq!((passed(&summary), summary.quarantined), (6, 0), "{kind}: {summary:?}");
        let inputs = operator.inputs.lock().expect("not poisoned").clone();
        assert_eq!(inputs.len(), 1, "{kind}");
        assert_eq!((&inputs[0]["event"], &inputs[0]["gitlab_version"]), (&"dead-end".into(), &"18.2.0-ee".into()));
        assert!(inputs[0]["console"].as_array().is_some_and(|lines| lines.len() == 3), "{inputs:?}");
        assert!(tool.plan().await.is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn a_hook_that_fails_or_does_not_help_leads_to_quarantine() {
    let mut tool = tool(&faults(6, &[("dead_end_b", 2, 1)]));
    let mut plan = tool.plan().await;
    hooked(&mut tool, &mut plan, 3);
    tool.run(&plan).await;
    let record = one(&tool.state());
    let said = "hook unlock ended with exit code 3: no console at hand";
    assert!(record.evidence.iter().any(|line| line == said), "{record:?}");

    // It helps each time, and each time it ends dead again: once is tried, no more.
    let mut tool = self::tool(&faults(1, &[("dead_end_a", 1, 9)]));
    let mut plan = tool.plan().await;
    let operator = hooked(&mut tool, &mut plan, 0);
    tool.run(&plan).await;
    assert_eq!(operator.inputs.lock().expect("not poisoned").len(), 1);
    assert!(one(&tool.state()).urgent);
}

#[tokio::test]
async fn a_lost_job_is_told_from_a_shortage_of_workers() {
    let mut lost = tool(&faults(12, &[("stuck_scheduled", 3, 1)]));
    let summary = lost.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (11, 1), "{summary:?}");
    let record = one(&lost.state());
    assert!(record.evidence.iter().any(|line| line.contains("its job is lost")), "{record:?}");

    let mut short = tool(&faults(12, &[("worker_shortage", 3, 1)]));
    let summary = short.apply().await;
    assert_eq!((passed(&summary), summary.quarantined, summary.failed), (12, 0, 0), "{summary:?}");
    assert!(said(&short, "GitLab has no worker for moves"), "{:?}", short.events());
}

#[tokio::test]
async fn what_was_switched_counts_as_moved_whatever_the_record_says_and_what_is_left_is_told_by_class() {
    let mut tool =
        tool(&faults(9, &[("stays_replicated", 2, 1), ("failed_after_switch", 4, 1), ("cleanup_failed", 6, 1)]));
    let summary = tool.apply().await;
    assert_eq!((summary.quarantined, summary.lost, summary.failed), (0, 0, 0), "{summary:?}");
    assert_eq!(passed(&summary) + summary.unknown, 9, "{summary:?}");
    for cause in ["never cleaned up", "failed after the switch", "cleanup failed"] {
        assert!(summary.remarks.iter().any(|r| r.contains(cause)), "{cause} in {:?}", summary.remarks);
        assert!(said(&tool, cause), "told when it is seen: {cause}");
    }
    assert!(summary.time.longest_ms < 10 * 60_000, "what is replicated can be written to: {:?}", summary.time);
    let state = tool.state();
    assert_eq!(state.storage(&name("default")).expect("a record").left.len(), 3);
    let refused = tool.events().into_iter().find_map(|event| match event {
        Event::ActionEnded { outcome: Outcome::Refused { cause }, .. } => Some(cause),
        _ => None,
    });
    // The move that stays replicated has not ended; its copy is among the three.
    let refused = refused.expect("something is left");
    assert!(refused.contains("that moves left (`cleanup failed`)"), "{refused}");
    for container in &state.storage(&name("default")).expect("a record").left {
        tool.fleet.repair(*container);
    }
    let plan = tool.plan().await;
    let row = plan.report.iter().find(|row| row.reason == WaitingOn::Copies).expect("told");
    assert!(row.count >= 3 && row.blocks_drain, "{row:?}");
}

#[tokio::test]
async fn workers_that_die_leave_dead_ends_and_the_others_go_on() {
    let mut tool = tool(&faults(20, &[("workers_die", 8, 1)]));
    let summary = tool.apply().await;
    let set_aside = summary.quarantined;
    assert!((1..=4).contains(&set_aside), "{summary:?}");
    // Several dead ends in a row may pause their pair; nothing is lost, and another apply ends it.
    tool.fleet.advance(Duration::from_secs(3600));
    let summary = tool.apply().await;
    assert_eq!(summary.lost, 0);
    for (_, record) in quarantined(&tool.state()) {
        assert!(record.urgent && record.cause.contains("read-only without an end"), "{record:?}");
    }
    let left = tool.fleet.projects().iter().filter(|p| p.storage == name("default")).count() as u64;
    assert_eq!(left, quarantined(&tool.state()).len() as u64);
    assert!(said(&tool, "is gone, and so may others be"), "{:?}", tool.events());
}

#[tokio::test]
async fn an_upgrade_of_gitlab_in_the_middle_pauses_the_run() {
    let mut long = faults(60, &[("gitlab_upgrade", 20, 1)]);
    long.workers = 2;
    let mut tool = tool(&long);
    tool.desired.max_moves = 2;
    let summary = tool.apply().await;
    assert!(said(&tool, "GitLab's version changed from 18.2.0-ee to 18.2.1-ee"), "{:?}", tool.events());
    assert!(said(&tool, "GitLab has been steady at 18.2.1-ee"), "{:?}", tool.events());
    assert_eq!(passed(&summary) + summary.quarantined, 60, "{summary:?}");
    assert_eq!(summary.lost, 0);
}

#[tokio::test]
async fn a_gitlab_that_answers_500_to_every_third_request_loses_nothing() {
    let mut tool = tool(&spec(30, &[]));
    let plan = tool.plan().await;
    tool.fleet.world(|w| w.spec.faults.push(SandboxFault { kind: "server_errors".into(), nth: 5, count: 1 }));
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.quarantined, summary.failed), (30, 0, 0), "{summary:?}");
    let mut each: BTreeMap<Container, u32> = BTreeMap::new();
    tool.fleet.moves().iter().for_each(|m| *each.entry(m.container).or_default() += 1);
    assert!(each.values().all(|n| *n == 1), "none twice: {each:?}");
}

#[tokio::test]
async fn a_destination_that_dies_in_the_middle_of_a_wave_pauses_its_pair_alone() {
    let mut tool = tool(&spec(40, &[]));
    let plan = tool.plan().await;
    let (fleet, events) = (tool.fleet.clone(), tool.events_shared());
    tokio::spawn(async move {
        loop {
            let done =
                events.lock().expect("not poisoned").iter().filter(|e| matches!(e, Event::MoveVerified { .. })).count();
            if done >= 6 {
                break;
            }
            tokio::task::yield_now().await;
        }
        fleet.set_down(&name("pod-b"), Duration::from_secs(100 * 3600));
    });
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.quarantined, summary.lost), (0, 0), "{summary:?}");
    assert_eq!(summary.failed, 1, "{summary:?}");
    let to_a = plan.moves.iter().filter(|m| m.destination == name("pod-a")).count() as u64;
    assert!(passed(&summary) >= to_a, "{to_a} go elsewhere, and all of them went: {summary:?}");
    assert!(said(&tool, "pod-b does not answer"), "{:?}", tool.events());
    let failed = tool.events().into_iter().find_map(|event| match event {
        Event::ActionEnded { outcome: Outcome::Failed { cause }, address } if &*address.kind == "moves" => Some(cause),
        _ => None,
    });
    assert!(failed.expect("told").contains("moves were not scheduled"));
    tool.fleet.set_down(&name("pod-b"), Duration::ZERO);
    let summary = tool.apply().await;
    assert_eq!((summary.failed, summary.quarantined), (0, 0), "{summary:?}");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_short_outage_of_a_destination_is_sat_out() {
    let mut tool = tool(&faults(20, &[("gitaly_down", 4, 1)]));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary) + summary.unknown, summary.quarantined, summary.failed), (20, 0, 0), "{summary:?}");
}

#[tokio::test]
async fn a_pair_that_fails_is_paused_and_the_other_goes_on() {
    let mut tool = tool(&spec(30, &[]));
    let plan = tool.plan().await;
    // GitLab's checksums differ for whatever goes to one of the two.
    tool.fleet.world(|w| w.sick = Some(name("pod-b")));
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.quarantined >= 3, summary.lost, summary.failed), (true, 0, 1), "{summary:?}");
    let to_a = plan.moves.iter().filter(|m| m.destination == name("pod-a")).count() as u64;
    assert_eq!(passed(&summary), to_a, "{summary:?}");
    assert!(said(&tool, "moves in a row failed from default to pod-b"), "{:?}", tool.events());
    let record = quarantined(&tool.state()).remove(0).1;
    assert_eq!(record.evidence.len(), 2, "the same words twice are enough: {record:?}");
}

/// What GitLab says, or does, of one project's moves, and what becomes of it.
#[tokio::test]
async fn each_thing_that_gitlab_says_has_its_cause_and_its_number_of_attempts() {
    use tranship::sandbox::world::Odd;
    let fails = |words: &str| Odd::Fails(words.to_owned());
    for (odd, cause, attempts) in [
        (fails("Validation failed: Name is too long"), "GitLab's record of it is not valid", 1),
        (fails("Couldn't find PoolRepository"), "its object pool is not on the destination", 1),
        (fails("4:something nobody knows"), "move failed", 2),
        (fails("14:failed to connect to all addresses."), "a Gitaly could not be reached", 3),
        (Odd::NeverQueued, "GitLab never queued its move", 1),
        (Odd::Astray(name("other")), "moved elsewhere", 1),
    ] {
        let mut tool = tool(&spec(5, &[]));
        let container = tool.plan().await.moves[2].container;
        tool.fleet.world(|w| w.odd.insert(container, odd));
        let summary = tool.apply().await;
        assert_eq!((passed(&summary), summary.quarantined, summary.lost), (4, 1, 0), "{cause}: {summary:?}");
        assert_eq!(one(&tool.state()).cause, cause);
        assert_eq!(posts(&tool, container), attempts, "{cause}");
    }
}

#[tokio::test]
async fn a_source_that_gitaly_has_not_or_cannot_read_is_set_aside_before_anything_is_frozen() {
    let mut gone = tool(&spec(5, &[]));
    let plan = gone.plan().await;
    let container = plan.moves.iter().find(|one| !one.empty).expect("one with content").container;
    let path = tranship::model::relative_path(container, tranship::model::RepositoryRole::Main);
    use tranship::sandbox::content::Content as _;
    gone.fleet.content().remove(&name("default"), &path).expect("removed");
    let summary = gone.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.quarantined), (4, 1), "{summary:?}");
    assert_eq!(one(&gone.state()).cause, "not found on its source");
    assert_eq!(posts(&gone, container), 0);

    let mut broken = tool(&spec(1, &[]));
    broken.fleet.fail_next("references", 1000, PortErrorKind::Refused);
    let summary = broken.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (0, 1), "{summary:?}");
    let record = one(&broken.state());
    assert_eq!((record.cause.as_str(), record.urgent), ("its source cannot be read", false), "{record:?}");
    assert_eq!(broken.scheduled(), Vec::<u64>::new());
}

#[tokio::test]
async fn pushes_in_progress_are_left_until_the_projects_quiet_hour() {
    let mut tool = tool(&faults(1, &[("push_timeout", 1, 1)]));
    let now = tool.fleet.now();
    tool.fleet.world(|w| {
        let project = w.projects_after(None, 0).next().expect("one").clone();
        w.put_project(tranship::sandbox::world::Project { last_activity: now, ..project });
    });
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (1, 0), "{summary:?}");
    let after = tool.events().into_iter().find_map(|event| match event {
        Event::MoveRetried { after_seconds, .. } => Some(after_seconds),
        _ => None,
    });
    let after = after.expect("tried again");
    assert!((11 * 3600..=12 * 3600).contains(&after), "{after}");
}

#[tokio::test]
async fn a_source_that_lacks_an_object_is_found_only_by_looking() {
    let broken = faults(6, &[("missing_object", 2, 1)]);
    let mut blind = tool(&broken);
    let summary = blind.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (6, 0), "replicates with OK: {summary:?}");

    let mut seeing = tool(&broken);
    seeing.desired.source_fsck = SourceFsck::All;
    let summary = seeing.apply().await;
    assert_eq!((passed(&summary), summary.quarantined, summary.lost), (5, 1, 0), "{summary:?}");
    let (container, record) = quarantined(&seeing.state()).remove(0);
    assert_eq!((container.id, record.cause.as_str(), record.urgent), (2, "source not whole", false));
    assert!(record.evidence.iter().any(|line| line.contains("missing commit")), "{record:?}");
    assert_eq!(posts(&seeing, container), 0, "found before anything was frozen");
}

#[tokio::test]
async fn a_copy_that_could_not_be_compared_is_looked_into() {
    // The second project lacks an object; its copy loses a reference, which leaves the comparison open.
    let mut one_slot = faults(6, &[("missing_object", 2, 1), ("lose_reference", 1, 6)]);
    one_slot.workers = 1;
    let mut tool = tool(&one_slot);
    let summary = tool.apply().await;
    assert_eq!((summary.quarantined, summary.lost), (1, 0), "{summary:?}");
    assert_eq!(summary.whole, summary.unknown, "each unknown one was looked into: {summary:?}");
    let record = one(&tool.state());
    assert!(record.urgent && record.cause == "destination not whole", "{record:?}");
}

#[tokio::test]
async fn what_is_lost_behind_equal_tips_is_a_loss_only_if_the_source_was_seen_whole() {
    // Every copy loses an object, and all compare equal: of these, one is looked into, by its id.
    let lossy = faults(30, &[("lose_object", 1, 30)]);
    let seen = |tool: &Tool| quarantined(&tool.state()).remove(0).0.id;
    let mut blind = tool(&lossy);
    let summary = blind.apply().await;
    assert_eq!((summary.lost, summary.quarantined, passed(&summary)), (0, 1, 29), "{summary:?}");
    let record = one(&blind.state());
    assert_eq!((seen(&blind), record.cause.as_str(), record.urgent), (26, "destination not whole", true));
    assert!(record.evidence.iter().any(|line| line.contains("missing commit")), "{record:?}");
    let refused = blind.events().into_iter().find_map(|event| match event {
        Event::ActionEnded { outcome: Outcome::Refused { cause }, .. } => Some(cause),
        _ => None,
    });
    let held = "1 repository (project-26) in quarantine on the way off it: `tranship quarantine list` says what to do";
    assert_eq!(refused.as_deref(), Some(held), "what it lacks may be left on its source's disk");
    assert!(blind.plan().await.drain_is_stuck(), "the next plan says the same");

    let mut seeing = tool(&lossy);
    seeing.desired.source_fsck = SourceFsck::All;
    let summary = seeing.apply().await;
    assert_eq!((summary.lost, summary.quarantined), (1, 1), "{summary:?}");
    let record = one(&seeing.state());
    assert_eq!((seen(&seeing), record.cause.as_str(), record.urgent), (26, "missing objects", true));
    let loss = seeing.events().into_iter().any(|e| matches!(e, Event::Quarantined { loss: true, .. }));
    assert!(loss, "told as one");
    let plan = seeing.plan().await;
    assert!(plan.moves.is_empty() && plan.drain_is_stuck(), "nothing more leaves the source");
}

#[tokio::test]
async fn arrivals_are_taken_up_in_rounds_until_two_looks_agree() {
    let mut tool = tool(&spec(8, &[]));
    let plan = tool.plan().await;
    tool.fleet.add_project("new/arrival", &name("default"));
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.refused), (8, 1), "{summary:?}");
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.refused), (1, 0), "{summary:?}");
    assert!(tool.state().storage(&name("default")).is_some_and(|s| s.drained.is_some()));
}

/// What a fleet of that many went through, and how it ended.
#[expect(clippy::print_stdout, reason = "the run's figures, shown with --nocapture")]
fn long_run(repositories: u32) -> (Tool, Summary, u32) {
    // Two in a hundred, of all classes, drawn by a seed of its own; losses included.
    const KINDS: &[&str] = &[
        "corrupt_copy",
        "lose_reference",
        "fail_move",
        "push_timeout",
        "refuse_move",
        "lost_response",
        "server_error",
        "push_after_move",
        "cleanup_failed",
        "fast_move",
        "dead_end_a",
        "dead_end_b",
        "stuck_scheduled",
        "failed_after_switch",
        "stays_replicated",
        "gitaly_down",
        "foreign_move",
    ];
    let mut world = spec(repositories, &[]);
    world.workers = 64;
    for storage in &mut world.storages {
        storage.disk = Bytes(1 << 50);
    }
    let mut seed = 20_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let wanted = u64::from(repositories) / 50;
    for _ in 0..wanted {
        let kind = KINDS[draw(KINDS.len() as u64) as usize].to_owned();
        let nth = 1 + draw(u64::from(repositories)) as u32;
        world.faults.push(SandboxFault { kind, nth, count: 1 });
    }
    for nth in 0..wanted / 20 {
        world.faults.push(SandboxFault { kind: "missing_object".into(), nth: 1 + 37 * nth as u32, count: 1 });
    }
    let mut tool = tool(&world);
    tool.desired.max_moves = 64;
    for storage in tool.desired.storages.values_mut() {
        storage.limits.max_moves = 64;
    }
    tool.desired.source_fsck = SourceFsck::All;
    let mut total = Summary::default();
    let mut applies = 0;
    let mut settled: BTreeSet<Container> = BTreeSet::new();
    loop {
        applies += 1;
        let summary = process().block_on(tool.apply());
        total.attested += summary.attested;
        total.advanced += summary.advanced;
        total.bracketed += summary.bracketed;
        total.unknown += summary.unknown;
        total.quarantined += summary.quarantined;
        total.lost += summary.lost;
        // A person sees to what may be lost and releases it, and comes back an hour later.
        let losses: Vec<Container> = quarantined(&tool.state())
            .into_iter()
            .filter(|(_, record)| plan::is_possible_loss(&record.cause))
            .map(|(container, _)| container)
            .collect();
        for container in losses {
            settled.insert(container);
            tool.release(container);
        }
        tool.fleet.advance(Duration::from_secs(3600));
        let left = process().block_on(tool.plan());
        if left.moves.is_empty() || applies == 40 {
            break;
        }
    }
    let state = tool.state();
    let aside: BTreeMap<Container, QuarantineRecord> = quarantined(&state).into_iter().collect();
    assert!(aside.values().all(|record| !record.cause.is_empty() && !record.remedy.is_empty()));
    let mut arrived: BTreeMap<Container, u32> = BTreeMap::new();
    for made in tool.fleet.moves().iter().filter(|m| !matches!(m.state, MoveState::Failed)) {
        if made.destination != name("other") && made.state != MoveState::Scheduled && made.state != MoveState::Started {
            *arrived.entry(made.container).or_default() += 1;
        }
    }
    assert!(arrived.values().all(|n| *n == 1), "none is moved twice");
    let mut moved = 0;
    for project in tool.fleet.projects() {
        let container = project.container();
        let away = project.storage != name("default");
        assert!(away || aside.contains_key(&container), "{container} was forgotten after {applies} applies");
        // What is away and not set aside was compared, or a person settled it, or somebody else has it.
        moved += u32::from(away && !aside.contains_key(&container) && !settled.contains(&container));
    }
    let record = match state.records.get(&Address::new("assignment", "everything")) {
        Some(tranship::state::Record::Assignment(record)) => record.clone(),
        other => panic!("{other:?}"),
    };
    let foreign = tool.fleet.projects().iter().filter(|p| p.storage == name("other")).count() as u64;
    let verified = record.count;
    assert_eq!(u64::from(moved), verified + foreign, "each was verified, or somebody else took it");
    let causes = aside.values().fold(BTreeMap::new(), |mut causes: BTreeMap<String, u32>, record| {
        *causes.entry(record.cause.clone()).or_default() += 1;
        causes
    });
    println!("{repositories}: {applies} applies, {verified} verified, {} lost and settled, {causes:?}", settled.len());
    (tool, total, applies)
}

/// The long run: a thousand; `TRANSHIP_LONG_RUN=20000` for the whole of it.
#[test]
fn a_long_run_with_faults_of_all_classes_ends_with_every_repository_verified_or_set_aside_for_a_named_cause() {
    let repositories = std::env::var("TRANSHIP_LONG_RUN").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let (tool, total, _) = long_run(repositories);
    assert!(total.quarantined > 0 && passed(&total) > u64::from(repositories) * 9 / 10, "{total:?}");
    drop(tool);
}

#[test]
fn a_repository_that_was_deleted_while_a_run_was_dead_keeps_no_later_run_from_its_end() {
    let (mut tried, mut intended) = (0, 0);
    for call in 1..60 {
        let mut tool = tool(&spec(2, &[]));
        tool.desired.max_moves = 1;
        let plan = process().block_on(tool.plan());
        let first = plan.moves.first().expect("a move").container;
        let fleet = tool.fleet.clone();
        fleet.kill_at(fleet.calls() + call, KillPoint::Before);
        let killed = process().block_on(async {
            tokio::select! {
                _ = tool.run(&plan) => false,
                () = fleet.killed() => true,
            }
        });
        tool.fleet.revive();
        if !killed || !tool.fleet.moves().is_empty() {
            break;
        }
        tried += 1;
        intended += u32::from(tool.fleet.delete(first.id).is_some());
        let summary = process().block_on(tool.apply());
        assert_eq!((summary.failed, summary.quarantined), (0, 0), "killed at call {call}: {summary:?}");
        assert!(process().block_on(tool.plan()).is_empty(), "killed at call {call}");
    }
    assert!(tried > 3 && intended == tried, "{tried} kills before the first move");
}

#[tokio::test]
async fn what_may_be_frozen_for_good_is_named_by_a_run_that_stops_before_it_knows() {
    let mut tool = tool(&faults(8, &[("dead_end_a", 2, 1)]));
    let plan = tool.plan().await;
    let (stop, events) = (tool.stop.clone(), tool.events_shared());
    tokio::spawn(async move {
        while !events.lock().expect("not poisoned").iter().any(|e| matches!(e, Event::MoveRetried { .. })) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let summary = tool.run(&plan).await.summary;
    let retried = tool.events().into_iter().find_map(|event| match event {
        Event::MoveRetried { container, .. } => Some(container),
        _ => None,
    });
    let container = retried.expect("retried");
    let told =
        |remark: &String| remark.contains(&container.to_string()) && remark.contains("may be read-only for good");
    assert!(summary.interrupted && summary.remarks.iter().any(told), "{:?}", summary.remarks);
    assert!(
        summary.remarks.iter().any(|r| r.contains(&format!("Project.find({}).set_repository_writable!", container.id)))
    );
}

#[tokio::test]
async fn a_destination_that_is_away_when_a_wave_begins_is_waited_for_or_left_out_alone() {
    // Back within minutes: nothing is lost of it.
    let mut tool = self::tool(&spec(20, &[]));
    let plan = tool.plan().await;
    tool.fleet.set_down(&name("pod-b"), Duration::from_secs(300));
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.failed), (20, 0), "{summary:?}");
    assert!(said(&tool, "pod-b does not answer"), "{:?}", tool.events());
    // For good: the other goes on.
    let mut tool = self::tool(&spec(20, &[]));
    let plan = tool.plan().await;
    tool.fleet.set_down(&name("pod-b"), Duration::from_secs(100 * 3600));
    let summary = tool.run(&plan).await.summary;
    let there = plan.moves.iter().filter(|one| one.destination == name("pod-a")).count() as u64;
    assert!(there > 0 && passed(&summary) >= there && passed(&summary) < 20, "{summary:?}");
    assert_eq!(summary.quarantined, 0, "{summary:?}");
}

#[tokio::test]
async fn one_lost_job_does_not_look_like_lost_workers() {
    let mut lost = faults(80, &[("stuck_scheduled", 20, 1)]);
    lost.workers = 8;
    let mut tool = tool(&lost);
    tool.desired.max_moves = 16;
    tool.desired.storages.values_mut().for_each(|storage| storage.limits.max_moves = 16);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (79, 1), "{summary:?}");
    let fell = tool.events().into_iter().filter_map(|event| match event {
        Event::Throttled { what, to, .. } if what == "GitLab's workers" => Some(to),
        _ => None,
    });
    let least = fell.min();
    assert!(least.is_none_or(|least| least >= 4), "{least:?}");
}

#[tokio::test]
async fn a_long_retry_is_left_to_a_later_run_when_this_one_waits_no_longer() {
    let mut tool = tool(&faults(6, &[("push_timeout", 2, 1)]));
    tool.max_wait = Some(Duration::from_secs(1));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.paused, summary.quarantined), (5, 1, 0), "{summary:?}");
    tool.max_wait = None;
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.paused), (1, 0), "{summary:?}");
}

#[tokio::test]
async fn a_shortage_of_workers_that_ends_in_an_outage_of_gitlab_does_not_hold_the_run_for_ever() {
    let mut tool = tool(&faults(12, &[("worker_shortage", 3, 1)]));
    let plan = tool.plan().await;
    let (fleet, events) = (tool.fleet.clone(), tool.events_shared());
    tokio::spawn(async move {
        let short = |e: &Event| matches!(e, Event::Waiting { what } if what.contains("GitLab has no worker for moves"));
        while !events.lock().expect("not poisoned").iter().any(short) {
            tokio::task::yield_now().await;
        }
        fleet.fail_next("move_record", 200, PortErrorKind::Transient);
        fleet.fail_next("moves", 40, PortErrorKind::Transient);
    });
    let run = tokio::time::timeout(Duration::from_secs(120), tool.run(&plan)).await;
    let summary = run.expect("it ends").summary;
    assert_eq!(summary.quarantined, 0, "{summary:?}");
}

/// Kills a run at its first POST, which `point` says whether GitLab takes. One move at once. Returns what it was to move.
fn killed_at_the_first_post(faults: &SandboxConnection, point: KillPoint) -> (Tool, Container) {
    let run = |call: u64, point: KillPoint| {
        let mut tool = tool(faults);
        tool.desired.max_moves = 1;
        let plan = process().block_on(tool.plan());
        let fleet = tool.fleet.clone();
        fleet.kill_at(fleet.calls() + call, point);
        process().block_on(async {
            tokio::select! {
                _ = tool.run(&plan) => panic!("call {call} was never made"),
                () = fleet.killed() => {}
            }
        });
        tool.fleet.revive();
        tool
    };
    let first = |call: &u64| !run(*call, KillPoint::After).fleet.moves().is_empty();
    let call = (1..60).find(first).expect("a POST");
    let container = run(call, KillPoint::After).fleet.moves()[0].container;
    (run(call, point), container)
}

#[test]
fn what_cannot_be_followed_is_left_alone_and_everything_else_goes_on() {
    for point in [KillPoint::Before, KillPoint::After] {
        let (mut tool, doubted) = killed_at_the_first_post(&spec(8, &[]), point);
        // GitLab answers for that one no more, for as long as recovery asks.
        tool.fleet.fail_next("moves_of", 11, PortErrorKind::Transient);
        let summary = process().block_on(tool.apply());
        assert!(said(&tool, "it is left alone, and the next apply asks again"), "{point:?}: {:?}", tool.events());
        let skipped = u64::from(point == KillPoint::Before);
        assert_eq!((passed(&summary), summary.failed, summary.in_doubt), (7, 0, skipped), "{point:?}: {summary:?}");
        assert_eq!(summary.moves_skipped, skipped, "{point:?}: {summary:?}");
        assert_eq!(posts(&tool, doubted), usize::from(point == KillPoint::After), "{point:?}");
        // Its doubt was kept, and is settled as soon as GitLab answers.
        let summary = process().block_on(tool.apply());
        assert_eq!((summary.in_doubt, summary.quarantined), (0, 0), "{point:?}: {summary:?}");
        assert_eq!(posts(&tool, doubted), 1, "{point:?}");
        let state = tool.state();
        let Some(Record::Assignment(record)) = state.records.get(&Address::new("assignment", "everything")) else {
            panic!("an assignment's record")
        };
        assert_eq!(record.count, 8, "{point:?}: each is counted once");
        assert!(process().block_on(tool.plan()).is_empty(), "{point:?}");
    }
}

#[tokio::test]
async fn what_a_move_in_doubt_would_bring_stays_kept_on_its_destination() {
    let mut tool = tool(&spec(2, &[]));
    tool.desired.max_moves = 1;
    tool.desired.assignments[0].to = vec![name("pod-a")];
    for project in tool.fleet.projects() {
        let large = tranship::sandbox::world::Project { repository_size: 20 << 30, empty: false, ..project };
        tool.fleet.world(|w| w.put_project(large));
    }
    let plan = tool.plan().await;
    assert_eq!(plan.moves.len(), 2);
    // Since then something else came: either of the two has room there, and not both.
    let id = tool.fleet.add_project("big/one", &name("pod-a"));
    tool.fleet.set_size(id, (1700 - 35) << 30);
    // GitLab never gets the first POST, and does not say so: as far as is known, its copy may come yet.
    tool.fleet.fail_next("schedule", 1, PortErrorKind::Ambiguous);
    let (fleet, events) = (tool.fleet.clone(), tool.events_shared());
    tokio::spawn(async move {
        let looks = |e: &Event| matches!(e, Event::Warning { message } if message.contains("looking whether GitLab"));
        while !events.lock().expect("not poisoned").iter().any(looks) {
            tokio::task::yield_now().await;
        }
        fleet.fail_next("moves_of", 11, PortErrorKind::Transient);
    });
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.in_doubt, passed(&summary), summary.moves_skipped), (1, 0, 1), "{summary:?}");
    let skipped = tool.events().into_iter().find_map(|event| match event {
        Event::MoveSkipped { why, .. } => Some(why),
        _ => None,
    });
    let skipped = skipped.expect("told");
    assert!(skipped.contains("no room: it needs 22 GiB, pod-a has 12.9 GiB below its ceiling"), "{skipped}");
    assert_eq!(tool.fleet.moves(), [], "nothing was sent there");
}

#[test]
fn what_may_be_frozen_for_good_is_named_when_an_earlier_run_is_taken_up() {
    let (mut tool, container) = killed_at_the_first_post(&faults(3, &[("dead_end_a", 1, 1)]), KillPoint::After);
    let summary = process().block_on(tool.apply());
    assert!(said(&tool, &format!("Project.find({}).set_repository_writable!", container.id)), "{:?}", tool.events());
    assert_eq!((passed(&summary), summary.quarantined), (2, 1), "the next attempt tells: {summary:?}");
}

#[tokio::test]
async fn what_may_be_frozen_for_good_is_named_when_the_attempt_that_would_tell_asked_in_vain() {
    let mut tool = tool(&faults(8, &[("dead_end_a", 2, 1)]));
    let plan = tool.plan().await;
    let (fleet, stop, events) = (tool.fleet.clone(), tool.stop.clone(), tool.events_shared());
    let retried = move |least: u32| {
        events.lock().expect("not poisoned").iter().any(|event| match event {
            Event::MoveRetried { attempt, .. } => *attempt >= least,
            _ => false,
        })
    };
    tokio::spawn(async move {
        while !retried(1) {
            tokio::task::yield_now().await;
        }
        fleet.fail_next("moves_of", 100_000, PortErrorKind::Transient);
        while !retried(2) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let summary = tool.run(&plan).await.summary;
    assert!(summary.remarks.iter().any(|line| line.contains("may be read-only for good")), "{:?}", summary.remarks);
}

#[tokio::test]
async fn a_look_for_a_move_whose_answer_was_lost_is_repeated_when_it_is_lost_itself() {
    let mut tool = tool(&spec(6, &[]));
    tool.desired.max_moves = 1;
    let plan = tool.plan().await;
    tool.fleet.fail_next("schedule", 1, PortErrorKind::Ambiguous);
    let (fleet, events) = (tool.fleet.clone(), tool.events_shared());
    tokio::spawn(async move {
        let looks = |e: &Event| matches!(e, Event::Warning { message } if message.contains("looking whether GitLab"));
        while !events.lock().expect("not poisoned").iter().any(looks) {
            tokio::task::yield_now().await;
        }
        fleet.fail_next("moves_of", 3, PortErrorKind::Transient);
    });
    let summary = tool.run(&plan).await.summary;
    assert!(said(&tool, "asking again in 30 s"), "{:?}", tool.events());
    assert_eq!((passed(&summary), summary.failed, summary.in_doubt), (6, 0, 0), "{summary:?}");
}

#[tokio::test]
async fn what_somebody_moved_away_after_the_list_was_read_is_stale_and_no_loss() {
    let mut tool = tool(&spec(6, &[]));
    tool.desired.max_moves = 1;
    let plan = tool.plan().await;
    let first = tool.plan().await.moves.iter().map(|one| one.container.id).min().expect("one");
    // Under way while the first move's look reads the page that shows it too.
    let taken: Vec<u64> = plan.moves.iter().map(|one| one.container.id).filter(|id| *id != first).collect();
    for id in &taken {
        tool.fleet.foreign_move(*id, &name("other")).expect("taken");
    }
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.quarantined, passed(&summary)), (0, 1), "{summary:?}");
    let stale = tool.events().into_iter().filter(
        |event| matches!(event, Event::MoveSkipped { why, done: false, .. } if why == "stale: it is on other now, not on default"),
    );
    assert_eq!(stale.count(), taken.len(), "{:?}", tool.events());
}
