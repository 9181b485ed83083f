//! What keeps a move from beginning is looked at again right before it is asked for; what waits keeps no slot and counts as
//! no failure; what one repository or one person causes holds nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tranship::apply::event::Event;
use tranship::apply::port::{HookEnd, PortErrorKind};
use tranship::diag::{SourceId, Span};
use tranship::model::{
    Bytes, Container, ContainerKind, Hook, HookEvent, Hours, SandboxConnection, Veto, VetoSource, Window,
};
use tranship::sandbox::memory::Handle;
use tranship::state::QuarantineRecord;

use crate::laws::{Tool, name, passed, spec};

fn project(id: u64) -> Container {
    Container { kind: ContainerKind::Project, id }
}

/// One source, all its moves in one wave.
fn tool(spec: &SandboxConnection) -> Tool {
    let mut tool = Tool::new(spec);
    tool.desired.rollout.waves.clear();
    tool
}

fn roomy(repositories: u32, workers: u32) -> SandboxConnection {
    let mut spec = SandboxConnection { workers, ..spec(repositories, &[]) };
    spec.storages.iter_mut().for_each(|storage| storage.disk = Bytes(4 << 40));
    spec
}

fn hook(name: &str, on: &[HookEvent]) -> Hook {
    Hook { name: name.into(), exec: vec!["x".into()], on: on.iter().copied().collect(), timeout_seconds: 1 }
}

fn quarantined(tool: &Tool) -> Vec<QuarantineRecord> {
    tool.state().quarantined().map(|(_, record)| record.clone()).collect()
}

fn said(tool: &Tool, words: &str) -> bool {
    tool.events().iter().any(|event| match event {
        Event::Waiting { what } => what.contains(words),
        Event::Warning { message } => message.contains(words),
        _ => false,
    })
}

/// When our moves were asked for.
fn posts(tool: &Tool) -> Vec<Timestamp> {
    let ours: BTreeSet<u64> = tool.scheduled().into_iter().collect();
    let moves = tool.fleet.moves();
    moves.iter().filter(|one| ours.contains(&one.container.id)).map(|one| one.created_at).collect()
}

/// At a time by the fleet's clock.
fn at(tool: &Tool, after: u64, then: impl FnOnce(&Handle) + Send + 'static) -> Timestamp {
    let (fleet, due) = (tool.fleet.clone(), tool.fleet.now() + Duration::from_secs(after));
    tokio::spawn(async move {
        while fleet.now() < due {
            tokio::task::yield_now().await;
        }
        then(&fleet);
    });
    due
}

#[tokio::test]
async fn somebody_elses_move_keeps_no_slot_of_ours() {
    let mut tool = tool(&roomy(10, 4));
    tool.desired.max_moves = 1;
    let plan = tool.plan().await;
    // All but one are moved by somebody else, for minutes: with one slot the order could not help.
    let (last, others) = plan.moves.split_last().expect("moves");
    for one in others.iter().take(3) {
        tool.fleet.set_size(one.container.id, 20_000_000_000);
        tool.fleet.foreign_move(one.container.id, &name("other")).expect("taken");
    }
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.moves_skipped), (7, 3), "{summary:?}");
    let ends = tool.fleet.now();
    let own = tool.fleet.moves().into_iter().find(|one| one.container == last.container).expect("moved");
    assert!(said(&tool, "somebody's move"), "{:?}", tool.events());
    assert!(ends.duration_since(own.created_at).as_secs() > 300, "long before theirs ended");
}

#[tokio::test]
async fn nothing_is_scheduled_behind_others_while_no_worker_is_free() {
    let mut tool = tool(&roomy(6, 2));
    let plan = tool.plan().await;
    for n in 0..2 {
        let id = tool.fleet.add_project(&format!("else/where-{n}"), &name("other"));
        tool.fleet.set_size(id, 10_000_000_000);
        tool.fleet.foreign_move(id, &name("pod-b")).expect("taken");
    }
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 6, "{summary:?}");
    let ours: BTreeSet<u64> = tool.scheduled().into_iter().collect();
    let moves = tool.fleet.moves();
    let queued = moves.iter().filter(|one| ours.contains(&one.container.id));
    let queued = queued.map(|one| one.started_at.expect("taken").duration_since(one.created_at).as_secs());
    let waited: Vec<i64> = queued.filter(|seconds| *seconds > 30).collect();
    assert!(waited.len() <= 1, "one tells that there is no third worker: {waited:?} s read-only in the queue");
}

#[tokio::test]
async fn a_queue_behind_a_giant_is_no_lost_job() {
    let mut tool = tool(&roomy(4, 1));
    let giant = tool.fleet.projects()[0].id;
    tool.fleet.set_size(giant, 400_000_000_000);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined), (4, 0), "{summary:?}");
    assert!(summary.seconds > 2 * 3600, "the giant took hours: {summary:?}");
}

#[tokio::test]
async fn a_program_before_a_wave_waits_for_its_window() {
    let mut tool = Tool::new(&spec(6, &[]));
    let hours = Hours { days: (0..7).collect(), start: 22 * 60, end: 23 * 60, timezone: "UTC".to_owned() };
    let span = Span { source: SourceId(0), start: 0, end: 0 };
    tool.desired.windows.insert("nights".into(), Window { name: "nights".into(), hours, span });
    tool.desired.rollout.window = Some("nights".into());
    tool.desired.hooks.insert("backup".into(), hook("backup", &[]));
    tool.desired.rollout.backup = Some("backup".into());
    tool.fleet.set_hook("backup", HookEnd { code: Some(0), output: String::new() });
    tool.max_wait = Some(Duration::from_secs(600));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.paused, tool.fleet.hooks_run().len()), (0, 1, 0), "{summary:?}");
    tool.finish();
    tool.max_wait = None;
    let summary = tool.apply().await;
    assert_eq!(passed(&summary), 6, "{summary:?}");
    assert!(said(&tool, "window nights is closed; it runs at 2026-01-05 22:00:00 +00:00"), "{:?}", tool.events());
    let order: Vec<&str> = tool
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::HookEnded { .. } => Some("hook"),
            Event::MoveScheduled { .. } => Some("move"),
            _ => None,
        })
        .collect();
    assert_eq!(order.first(), Some(&"hook"));
    let opens: Timestamp = "2026-01-05T22:00:00Z".parse().expect("a time");
    assert!(posts(&tool).iter().all(|post| *post >= opens), "{:?}", posts(&tool));
}

#[tokio::test]
async fn a_veto_that_was_raised_between_waves_holds_the_next_from_its_first_move() {
    let mut tool = Tool::new(&spec(12, &[]));
    tool.desired.rollout.soak_seconds = 3600;
    tool.desired.concurrency.vetoes = vec![Veto { name: "incident".into(), source: VetoSource::File("STOP".into()) }];
    at(&tool, 1800, |fleet| fleet.set_veto("STOP", Some("an incident")));
    let lifted = at(&tool, 7200, |fleet| fleet.set_veto("STOP", None));
    let began = tool.fleet.now();
    let summary = tool.apply().await;
    assert_eq!(passed(&summary), 12, "{summary:?}");
    let (first, second): (Vec<Timestamp>, Vec<Timestamp>) =
        posts(&tool).into_iter().partition(|post| post.duration_since(began).as_secs() < 1800);
    assert_eq!((first.len(), second.len()), (3, 9));
    assert!(second.iter().all(|post| *post >= lifted), "{second:?}, lifted at {lifted}");
}

#[tokio::test]
async fn what_somebody_made_read_only_is_set_aside_and_no_program_frees_it() {
    for moved_before in [false, true] {
        let mut tool = tool(&spec(5, &[]));
        let id = tool.fleet.projects()[2].id;
        if moved_before {
            tool.fleet.foreign_move(id, &name("other")).expect("taken");
            tool.fleet.finish_moves();
            tool.fleet.foreign_move(id, &name("default")).expect("taken");
            tool.fleet.finish_moves();
        }
        tool.fleet.set_read_only(project(id), true);
        tool.desired.hooks.insert("unlock".into(), hook("unlock", &[HookEvent::DeadEnd]));
        let summary = tool.apply().await;
        assert_eq!((passed(&summary), summary.quarantined), (4, 1), "{moved_before}: {summary:?}");
        let record = quarantined(&tool).remove(0);
        assert_eq!(record.cause, "read-only without a move", "{moved_before}: {record:?}");
        assert!(record.urgent && tool.fleet.hooks_run().is_empty(), "{moved_before}: {:?}", tool.fleet.hooks_run());
    }
}

#[tokio::test]
async fn a_repository_that_nobody_can_answer_about_is_set_aside_and_the_others_move() {
    let mut tool = tool(&spec(6, &[]));
    let id = tool.fleet.projects()[1].id;
    tool.fleet.fail_about(project(id), PortErrorKind::Transient);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.quarantined, summary.failed), (5, 1, 0), "{summary:?}");
    let record = quarantined(&tool).remove(0);
    assert_eq!(record.cause, "nobody answers about it", "{record:?}");
    assert!(record.evidence.iter().any(|line| line.contains("500")), "{record:?}");
}

#[tokio::test]
async fn attempts_count_over_runs_that_leave_early() {
    let faults = tranship::model::SandboxFault { kind: "push_timeout".into(), nth: 2, count: 100 };
    let mut tool = tool(&SandboxConnection { faults: vec![faults], ..spec(2, &[]) });
    tool.max_wait = Some(Duration::from_secs(1));
    let mut applies = 0;
    while quarantined(&tool).is_empty() && applies < 10 {
        tool.apply().await;
        tool.finish();
        applies += 1;
    }
    assert_eq!(applies, 3, "three attempts, one an apply: {:?}", tool.events());
    let record = quarantined(&tool).remove(0);
    let attempts: Vec<&str> = record.evidence.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(attempts, ["attempt 1", "attempt 2", "attempt 3"], "{record:?}");
    // Released, it has its attempts again.
    let container = tool.state().quarantined().map(|(container, _)| container).next().expect("one");
    tool.release(container);
    tool.apply().await;
    assert!(quarantined(&tool).is_empty());
}
