//! How many moves run at once: found, vetoed, bounded by GitLab's workers and told; and how little GitLab is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tranship::apply::counted::{Counted, Counts};
use tranship::apply::event::{Event, Summary};
use tranship::apply::port::{Approval, HookEnd, Operator, PortError, PortErrorKind, PortResult};
use tranship::diag::{SourceId, Span};
use tranship::expr::Expression;
use tranship::model::{
    Address, Concurrency, Gate, Hook, MetricsQuestion, Profile, Question, SandboxConnection, Veto, VetoSource,
};

use super::laws::{Tool, name, passed, spec};

fn counted(tool: &mut Tool) -> Counts {
    let (gitlab, counts) = Counted::new(Arc::clone(&tool.ports.gitlab));
    tool.ports.gitlab = gitlab;
    counts
}

fn slots(tool: &mut Tool, most: u32) {
    tool.desired.max_moves = most;
    tool.desired.storages.values_mut().for_each(|storage| storage.limits.max_moves = most);
}

fn throttles(tool: &Tool) -> Vec<(String, u32, u32, String)> {
    let throttled = |event| match event {
        Event::Throttled { what, from, to, why, .. } => Some((what, from, to, why)),
        _ => None,
    };
    tool.events().into_iter().filter_map(throttled).collect()
}

fn holds(tool: &Tool) -> Vec<Option<String>> {
    tool.events().into_iter().filter_map(|event| if let Event::Held { by } = event { Some(by) } else { None }).collect()
}

#[tokio::test]
async fn a_move_costs_gitlab_at_most_four_requests() {
    for (repositories, most) in [(60, 4), (150, 16)] {
        let mut tool = Tool::new(&SandboxConnection { workers: most, ..spec(repositories, &[]) });
        slots(&mut tool, most);
        let plan = tool.plan().await;
        let counts = counted(&mut tool);
        let summary = tool.run(&plan).await.summary;
        assert_eq!(passed(&summary), u64::from(repositories), "{summary:?}");
        let by_call = counts.by_call();
        let moves = plan.moves.len() as u64;
        // The proof that the storage is empty lists three kinds twice, which is no move's.
        let places = by_call["list"] - 6;
        let others = ["moves_of", "container", "schedule", "moves", "move_record"];
        let requests = places + others.iter().map(|call| by_call[call]).sum::<u64>();
        println!("{requests} requests for {moves} moves: {by_call:?}");
        assert!(requests <= 4 * moves, "{requests} requests for {moves} moves: {by_call:?}");
        assert_eq!(by_call["schedule"], moves);
        assert!(places < moves / 10, "one page tells of many: {by_call:?}");
        assert!(by_call["moves_of"] >= moves, "each is looked at right before its POST");
    }
}

#[tokio::test]
async fn a_page_that_is_old_is_not_relied_on_for_what_moved_since() {
    let mut tool = Tool::new(&spec(12, &[]));
    let plan = tool.plan().await;
    let last = plan.moves.last().expect("a move").container.id;
    let fleet = tool.fleet.clone();
    let events = tool.events_shared();
    // Once the first moves were made, and the page with all of them read, somebody moves the last one elsewhere.
    tokio::spawn(async move {
        loop {
            let begun = events.lock().expect("not poisoned").iter().any(|e| matches!(e, Event::MoveScheduled { .. }));
            if begun {
                fleet.foreign_move(last, &name("other")).expect("taken");
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.moves_skipped), (11, 1), "{summary:?}");
}

/// Vetoes as a test says them; no hooks, no approvals.
#[derive(Default)]
struct Script {
    /// `Err`: it cannot be asked.
    answers: Mutex<Vec<Result<Option<String>, ()>>>,
    asked: Mutex<u32>,
}

#[async_trait]
impl Operator for Script {
    async fn run_hook(&self, _: &Hook, _: &Value) -> PortResult<HookEnd> {
        Err(PortError::new(PortErrorKind::Refused, "hook", "no hooks here"))
    }

    async fn approval(&self, _: &Address) -> PortResult<Option<Approval>> {
        Ok(None)
    }

    async fn approval_used(&self, _: &Address) -> PortResult<()> {
        Ok(())
    }

    async fn veto(&self, _: &VetoSource) -> PortResult<Option<String>> {
        *self.asked.lock().expect("not poisoned") += 1;
        let mut answers = self.answers.lock().expect("not poisoned");
        let answer = if answers.is_empty() { Ok(None) } else { answers.remove(0) };
        answer.map_err(|()| PortError::new(PortErrorKind::Transient, "GET http://incidents", "connection refused"))
    }
}

fn veto(tool: &mut Tool, answers: Vec<Result<Option<String>, ()>>) -> Arc<Script> {
    let script = Arc::new(Script { answers: Mutex::new(answers), ..Script::default() });
    tool.ports.operator = Some(script.clone());
    let file = Veto { name: "stop".into(), source: VetoSource::File("STOP".into()) };
    tool.desired.concurrency.vetoes = vec![file];
    script
}

#[tokio::test]
async fn while_a_veto_holds_or_cannot_be_answered_nothing_begins() {
    let mut tool = Tool::new(&spec(8, &[]));
    let why = || Ok(Some("a release is under way".to_owned()));
    let script = veto(&mut tool, vec![why(), why(), Err(()), Ok(None)]);
    let plan = tool.plan().await;
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 8, "{summary:?}");
    let held = holds(&tool);
    let expected = [
        Some("veto stop has not been answered yet"),
        Some("veto stop: a release is under way"),
        Some("veto stop holds, as it cannot be answered: GET http://incidents: connection refused"),
        None,
    ];
    assert_eq!(held.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert!(*script.asked.lock().expect("not poisoned") >= 4);
    let events = tool.events();
    let freed = events.iter().position(|e| matches!(e, Event::Held { by: None }));
    let first = events.iter().position(|e| matches!(e, Event::MoveScheduled { .. }));
    assert!(freed < first, "the first move comes after the veto");
}

#[tokio::test]
async fn what_flies_is_followed_under_a_veto_and_a_stop_ends_the_wait() {
    let mut tool = Tool::new(&spec(20, &[]));
    let mut answers = vec![Ok(None)];
    answers.extend((0..10_000).map(|_| Ok(Some("hands off".to_owned()))));
    veto(&mut tool, answers);
    tool.desired.concurrency.interval_seconds = Some(5);
    let plan = tool.plan().await;
    let (stop, events) = (tool.stop.clone(), tool.events_shared());
    tokio::spawn(async move {
        loop {
            let held = |e: &Event| matches!(e, Event::Held { by: Some(by) } if by.contains("hands off"));
            if events.lock().expect("not poisoned").iter().any(held) {
                stop.cancel();
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    let summary = tool.run(&plan).await.summary;
    let scheduled = tool.events().iter().filter(|e| matches!(e, Event::MoveScheduled { .. })).count() as u64;
    assert!(summary.interrupted && scheduled < 20, "{summary:?}");
    assert_eq!(passed(&summary), scheduled, "all that GitLab took was followed");
}

#[tokio::test]
async fn gentle_begins_with_one_and_rises_while_nothing_is_bad() {
    let mut tool = Tool::new(&SandboxConnection { workers: 16, ..spec(150, &[]) });
    slots(&mut tool, 8);
    tool.desired.concurrency =
        Concurrency { profile: Profile::Gentle, interval_seconds: Some(10), ..Concurrency::default() };
    let plan = tool.plan().await;
    assert_eq!(plan.concurrency.profile, Profile::Gentle);
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 150, "{summary:?}");
    let turns = throttles(&tool);
    let source: Vec<(u32, u32)> = turns.iter().filter(|t| t.0 == "default as source").map(|t| (t.1, t.2)).collect();
    assert_eq!(source.first(), Some(&(1, 2)), "{turns:?}");
    assert!(source.iter().all(|(from, to)| *to <= 8 && (*to == from + 1 || *to < *from)), "{source:?}");
    assert!(most_at_once(&tool) > 1);
}

/// A gate whose query is that text.
fn gate(tool: &mut Tool) -> Address {
    let span = Span { source: SourceId(0), start: 0, end: 0 };
    let address = Address::new("gate", "latency");
    let question = MetricsQuestion {
        query: Expression::constant("up == 0"),
        max: Some(1.0),
        min: None,
        for_seconds: 0,
        baseline: Vec::new(),
        max_ratio: None,
        dry_run: false,
        interval_seconds: 15,
        deadline_seconds: 300,
    };
    let gate = Gate { address: address.clone(), question: Question::Metrics(Box::new(question)), span };
    tool.desired.gates.insert(address.clone(), gate);
    address
}

#[tokio::test]
async fn signals_that_nobody_answers_pause_the_run_by_their_deadline() {
    let mut tool = Tool::new(&spec(200, &[]));
    let signals = vec![gate(&mut tool)];
    tool.desired.concurrency = Concurrency {
        profile: Profile::Balanced,
        signals,
        interval_seconds: Some(5),
        deadline_seconds: Some(20),
        ..Concurrency::default()
    };
    let plan = tool.plan().await;
    assert_eq!(
        plan.concurrency.signals.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["default", "pod-a", "pod-b"]
    );
    let (stop, events) = (tool.stop.clone(), tool.events_shared());
    tokio::spawn(async move {
        let held = |e: &Event| matches!(e, Event::Held { by: Some(by) } if by.contains("unknown for"));
        while !events.lock().expect("not poisoned").iter().any(held) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let summary = tool.run(&plan).await.summary;
    assert!(summary.interrupted && passed(&summary) < 200, "{summary:?}");
    let turns = throttles(&tool);
    assert!(turns.iter().all(|t| t.2 == 0), "none rises on doubt: {turns:?}");
    assert!(turns.iter().any(|t| t.0 == "default as source" && t.3.contains("gate.latency")), "{turns:?}");
}

/// The most moves that GitLab had outstanding at once, as the events tell.
fn most_at_once(tool: &Tool) -> i32 {
    let (mut now, mut most) = (0, 0);
    for event in tool.events() {
        match event {
            Event::MoveScheduled { .. } => now += 1,
            Event::MoveVerified { .. } | Event::MoveRetried { .. } | Event::Quarantined { .. } => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn frozen(tool: &Tool) -> u64 {
    let frozen = |event| if let Event::MoveVerified { frozen_ms, .. } = event { Some(frozen_ms) } else { None };
    tool.events().into_iter().filter_map(frozen).sum()
}

#[tokio::test]
async fn gitlabs_workers_are_found_and_not_flooded() {
    let run = async |workers: u32, most: u32| -> (Tool, Summary) {
        let mut tool = Tool::new(&SandboxConnection { workers, ..spec(120, &[]) });
        slots(&mut tool, most);
        let plan = tool.plan().await;
        let summary = tool.run(&plan).await.summary;
        (tool, summary)
    };
    let (few, summary) = run(3, 32).await;
    assert_eq!(passed(&summary), 120, "{summary:?}");
    assert!(most_at_once(&few) <= 8, "{} at once before three workers", most_at_once(&few));
    let held = holds(&few);
    assert!(held.iter().flatten().any(|by| by.contains("GitLab's workers are all busy (3)")), "{held:?}");
    // As many slots as workers, declared by somebody who knew: what finding them out cost.
    let (known, _) = run(3, 3).await;
    let (found, known) = (frozen(&few), frozen(&known));
    assert!(found * 100 <= known * 125, "read-only for {found} ms in all, {known} ms with the number known");
}

/// How often each reason was told, as it stands.
fn told_of(tool: &Tool) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    let held = holds(tool);
    assert!(held.windows(2).all(|pair| pair[0] != pair[1]), "only changes are told: {held:?}");
    held.into_iter().flatten().for_each(|by| *told.entry(by).or_default() += 1);
    told
}

#[tokio::test]
async fn what_holds_a_run_is_told_when_it_begins_and_not_at_every_turn() {
    // Somebody's moves of hundreds of gigabytes take more slots than GitLab's workers are said to have.
    let mut tool = Tool::new(&SandboxConnection { workers: 16, ..spec(40, &[]) });
    let plan = tool.plan().await;
    for n in 0..6 {
        let id = tool.fleet.add_project(&format!("big/{n}"), &name("other"));
        tool.fleet.set_size(id, 100 << 30);
        tool.fleet.foreign_move(id, &name("pod-b")).expect("taken");
    }
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 40, "{summary:?}");
    let others = "moves of others take up slots of the 4 that GitLab's workers have";
    let told = told_of(&tool);
    // Two waves, in each of which it may begin.
    assert!(told.len() == 1 && (1..=2).contains(&told[others]), "not with each of 40 moves: {told:?}");
    assert_eq!(holds(&tool).last(), Some(&None), "and that it is over");

    // Room on a destination, which something else has filled since the plan.
    let mut tool = Tool::new(&spec(8, &[]));
    tool.desired.rollout.waves.clear();
    tool.desired.assignments[0].to = vec![name("pod-a")];
    for project in tool.fleet.projects() {
        let large = tranship::sandbox::world::Project { repository_size: 20 << 30, empty: false, ..project };
        tool.fleet.world(|w| w.put_project(large));
    }
    let plan = tool.plan().await;
    assert_eq!(plan.moves.len(), 8);
    let id = tool.fleet.add_project("big/one", &name("pod-a"));
    // 85 % of 2000 GiB, less room for two and a half moves.
    tool.fleet.set_size(id, (1700 - 55) << 30);
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.moves_skipped), (2, 6), "{summary:?}");
    let room = "room on pod-a: what flies there must end first".to_owned();
    assert_eq!(told_of(&tool), BTreeMap::from([(room, 1)]));
}

#[tokio::test]
async fn a_repository_that_is_frozen_for_too_long_stops_both_its_ends() {
    for profile in [Profile::Balanced, Profile::Fixed] {
        let mut tool = Tool::new(&SandboxConnection { workers: 16, ..spec(24, &[("dead_end_b", 5)]) });
        slots(&mut tool, 8);
        tool.desired.concurrency = Concurrency { profile, interval_seconds: Some(15), ..Concurrency::default() };
        let plan = tool.plan().await;
        let summary = tool.run(&plan).await.summary;
        assert_eq!((passed(&summary), summary.quarantined), (23, 1), "{summary:?}");
        let dead = tool.state().quarantined().next().map(|(_, record)| record.destination.clone()).expect("set aside");
        let stopped: BTreeSet<String> = throttles(&tool)
            .into_iter()
            .filter(|(what, _, to, why)| {
                *what != "GitLab's workers" && *to == 0 && why.contains("has been read-only for")
            })
            .map(|(what, ..)| what)
            .collect();
        let ends = BTreeSet::from(["default as source".to_owned(), format!("{dead} as destination")]);
        assert_eq!(stopped, ends, "{profile:?}: {:?}", throttles(&tool));
        if profile == Profile::Fixed {
            let halved =
                |turn: &&(String, u32, u32, String)| turn.0 != "GitLab's workers" && ![turn.1, turn.2].contains(&0);
            assert_eq!(throttles(&tool).iter().find(halved), None, "fixed slots are all or none");
        }
    }
}

#[tokio::test]
async fn a_destination_that_does_not_answer_is_waited_for_and_the_other_goes_on() {
    let mut tool = Tool::new(&spec(60, &[("gitaly_down", 9)]));
    let plan = tool.plan().await;
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.quarantined), (60, 0), "{summary:?}");
    let events = tool.events();
    let away = |event: &Event| match event {
        Event::Held { by: Some(by) } => {
            let (before, _) = by.split_once(" must answer first")?;
            Some(before.rsplit(' ').next()?.to_owned())
        }
        _ => None,
    };
    let from = events.iter().position(|event| away(event).is_some()).expect("told");
    let whom = events.get(from).and_then(away).expect("named");
    let until = from
        + events[from..]
            .iter()
            .position(|event| {
                matches!(event, Event::Held { by }
            if !by.as_ref().is_some_and(|by| by.contains("must answer first")))
            })
            .expect("it came back");
    let to = |event: &Event| match event {
        Event::MoveScheduled { destination, .. } => Some(destination.to_string()),
        _ => None,
    };
    let meanwhile: Vec<String> = events[from..until].iter().filter_map(to).collect();
    // What was begun before it was known may still be told.
    let begun: Vec<&String> = meanwhile.iter().skip_while(|destination| **destination == whom).collect();
    assert!(!begun.contains(&&whom), "{meanwhile:?} while {whom} was away");
    assert!(!meanwhile.is_empty(), "the other destination goes on");
    assert!(events[until..].iter().filter_map(to).any(|destination| destination == whom), "and it is used again");
}

#[tokio::test]
async fn a_veto_is_waited_for_no_longer_than_allowed() {
    let mut tool = Tool::new(&spec(8, &[]));
    let script = veto(&mut tool, (0..10_000).map(|_| Ok(Some("hands off".to_owned()))).collect());
    tool.desired.concurrency.interval_seconds = Some(30);
    tool.max_wait = Some(std::time::Duration::from_secs(600));
    let plan = tool.plan().await;
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.paused), (0, 1), "{summary:?}");
    assert!(summary.seconds > 600 && summary.seconds < 700, "{summary:?}");
    script.answers.lock().expect("not poisoned").clear();
    let plan = tool.plan().await;
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.paused), (8, 0), "the next run goes on: {summary:?}");
}
