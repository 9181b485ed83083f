//! What releases weights and moves, over the in-memory fleet: the ramp, holds with gates and approvals, the probe, programs;
//! and that killing the process anywhere repeats nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tranship::apply::event::{Event, Outcome, Summary};
use tranship::apply::port::HookEnd;
use tranship::expr::Expression;
use tranship::model::{Address, Gate, Hook, HookEvent, MetricsQuestion, Question, StorageName, Weight};
use tranship::plan::Plan;
use tranship::sandbox::memory::{KillPoint, Write};
use tranship::state::Record;

use super::laws::{Tool, name, passed, spec};

const ERRORS: &str = "errors";

fn gate(label: &str) -> Address {
    Address::new("gate", label)
}

fn hold(label: &str, key: &str) -> Address {
    Address::new("hold", label).with_key(key)
}

/// A gate that asks one query, whatever the storage.
fn errors() -> Gate {
    Gate {
        address: gate("errors"),
        question: Question::Metrics(Box::new(MetricsQuestion {
            query: Expression::constant(ERRORS.to_owned()),
            max: Some(0.5),
            min: None,
            for_seconds: 0,
            baseline: Vec::new(),
            max_ratio: None,
            dry_run: false,
            interval_seconds: 30,
            deadline_seconds: 600,
        })),
        span: super::laws::SPAN,
    }
}

fn approval() -> Gate {
    Gate { address: gate("go"), question: Question::Approval, span: super::laws::SPAN }
}

/// Repositories of `default` move to `pod-a` and `pod-b`, a sample first.
fn tool(gates: Vec<Gate>) -> Tool {
    let mut tool = Tool::new(&spec(12, &[]));
    tool.desired.rollout.gates = gates.iter().map(|gate| gate.address.clone()).collect();
    tool.desired.gates = gates.into_iter().map(|gate| (gate.address.clone(), gate)).collect();
    tool
}

fn addresses(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| action.address.to_string()).collect()
}

/// How an action ended last.
fn end(tool: &Tool, address: &Address) -> Option<Outcome> {
    tool.events().into_iter().rev().find_map(|event| match event {
        Event::ActionEnded { address: of, outcome } if of == *address => Some(outcome),
        _ => None,
    })
}

fn on_sources(tool: &Tool) -> usize {
    tool.fleet.projects().iter().filter(|project| project.storage == name("default")).count()
}

#[tokio::test]
async fn a_gate_that_is_unknown_is_waited_for_and_then_passes() {
    let mut tool = tool(vec![errors()]);
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(400), Some(0.1));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed, summary.paused), (12, 0, 0), "{summary:?}");
    let waits = tool
        .events()
        .into_iter()
        .filter(|e| matches!(e, Event::Waiting { what } if what.contains("gate.errors")))
        .count();
    assert!((1..=2).contains(&waits), "told once, not with every answer: {waits}");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_gate_that_never_answers_closes_at_its_deadline() {
    let mut tool = tool(vec![errors()]);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (3, 1), "{summary:?}");
    let Some(Outcome::GateClosed { cause }) = end(&tool, &hold("wave", "sample")) else { panic!("closed") };
    assert!(cause.contains("not answered in 600 s"), "{cause}");
}

#[tokio::test]
async fn a_gate_that_fails_in_the_second_wave_stops_what_comes_after_and_coming_back_repeats_nothing() {
    let mut tool = tool(vec![errors()]);
    let mut last = tool.desired.rollout.waves[0].clone();
    (last.name, last.sample) = ("second".to_owned(), Some(4));
    tool.desired.rollout.waves.push(last);
    tool.fleet.set_metric(ERRORS, Some(0.1));
    let plan = tool.plan().await;
    let two = plan.actions.iter().position(|a| a.address == hold("wave", "second")).expect("held");
    assert!(two < plan.actions.len());
    // It goes wrong while the second wave moves: the query is asked again after that wave only.
    let hook = Hook {
        name: "spoil".into(),
        exec: vec!["x".into()],
        on: BTreeSet::from([HookEvent::WaveDone]),
        timeout_seconds: 1,
    };
    tool.desired.hooks.insert("spoil".into(), hook);
    tool.desired.rollout.waves[1].soak_seconds = Some(60);
    tool.desired.rollout.waves[1].gates = Some(vec![gate("errors"), gate("go")]);
    tool.desired.gates.insert(gate("go"), approval());
    tool.fleet.approve(&gate("go"), "ann");
    let fleet = tool.fleet.clone();
    let spoiled = tokio::spawn(async move {
        loop {
            if fleet.hooks_run().iter().any(|(_, input)| input["wave"] == "second") {
                fleet.set_metric(ERRORS, Some(3.0));
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let summary = tool.apply().await;
    spoiled.await.expect("spoiled");
    assert_eq!((passed(&summary), summary.gates_closed, on_sources(&tool)), (7, 1, 5), "{summary:?}");
    let Some(Outcome::GateClosed { cause }) = end(&tool, &hold("wave", "second")) else { panic!("closed") };
    assert!(cause.contains("gate.errors of pod-") && cause.contains('3'), "{cause}");
    // The next apply asks again before anything moves, and repeats no wave.
    let again = tool.plan().await;
    assert_eq!(addresses(&again)[0], hold("wave", "second").to_string());
    assert!(tool.state().hold(&hold("wave", "sample")).expect("recorded").passed);
    tool.fleet.set_metric(ERRORS, Some(0.1));
    // What was approved before the gate said no opens nothing now.
    tool.max_wait = Some(Duration::from_secs(120));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.paused, on_sources(&tool)), (0, 1, 5), "{summary:?}");
    tool.fleet.approve(&gate("go"), "bob");
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed, on_sources(&tool)), (5, 0, 0), "{summary:?}");
    let record = tool.state().hold(&hold("wave", "second")).expect("recorded").clone();
    assert_eq!(record.approvals[&gate("go")].by, "bob");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn an_approval_is_waited_for_as_long_as_allowed_and_used_once() {
    let mut tool = tool(vec![approval()]);
    tool.max_wait = Some(Duration::from_secs(60));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.paused, summary.skipped > 0), (3, 1, true), "{summary:?}");
    let Some(Outcome::Paused { until }) = end(&tool, &hold("wave", "sample")) else { panic!("paused") };
    assert!(until.contains("tranship approve go"), "{until}");
    tool.fleet.approve(&gate("go"), "ann");
    let summary = tool.apply().await;
    // The last wave is held as well, and one approval opens one hold.
    assert_eq!((passed(&summary), summary.paused), (9, 1), "{summary:?}");
    assert_eq!(tool.state().hold(&hold("wave", "sample")).expect("recorded").approvals[&gate("go")].by, "ann");
    assert_eq!(addresses(&tool.plan().await), [hold("wave", "rest").to_string()]);
    tool.fleet.approve(&gate("go"), "bob");
    let summary = tool.apply().await;
    assert_eq!((summary.done, summary.paused), (1, 0), "{summary:?}");
    assert!(tool.plan().await.is_empty());
}

/// `default` keeps most of the new repositories until the last step.
fn ramped() -> Tool {
    let mut tool = tool(Vec::new());
    tool.desired.rollout.ramp = vec![5, 25, 100];
    tool.desired.rollout.soak_seconds = 900;
    tool
}

fn weights(tool: &Tool) -> Vec<BTreeMap<StorageName, Weight>> {
    let writes = tool.fleet.writes();
    writes.into_iter().filter_map(|w| if let Write::Weights(map) = w { Some(map) } else { None }).collect()
}

fn share(map: &BTreeMap<StorageName, Weight>) -> f64 {
    let of = |names: &[&str]| names.iter().map(|n| f64::from(map[&name(n)].get())).sum::<f64>();
    100.0 * of(&["pod-a", "pod-b"]) / map.values().map(|w| f64::from(w.get())).sum::<f64>()
}

#[tokio::test]
async fn a_ramp_goes_step_by_step_and_the_moves_come_after_it() {
    let mut tool = ramped();
    let plan = tool.plan().await;
    let ramp: Vec<String> =
        addresses(&plan).into_iter().filter(|a| a.starts_with("ramp") || a.starts_with("hold.ramp")).collect();
    assert_eq!(
        ramp,
        ["ramp.weights[\"5\"]", "hold.ramp[\"5\"]", "ramp.weights[\"25\"]", "hold.ramp[\"25\"]", "hold.ramp[\"100\"]"]
    );
    let began = tool.fleet.now();
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (12, 0), "{summary:?}");
    let steps = weights(&tool);
    assert!((share(&steps[0]) - 5.0).abs() < 1.0 && (share(&steps[1]) - 25.0).abs() < 1.0, "{steps:?}");
    assert!(steps.iter().all(|map| map.values().any(|w| w.get() > 0)));
    assert_eq!(steps.last().map(|map| map[&name("default")].get()), Some(0));
    let first = tool.fleet.moves()[0].created_at;
    assert!(first.duration_since(began).as_secs() >= 3 * 900, "three steps are watched before the first move");
    assert!(tool.plan().await.is_empty(), "{:?}", tool.plan().await.actions);
}

#[tokio::test]
async fn a_gate_that_fails_in_the_ramp_leaves_weights_at_the_last_step_or_sets_them_back() {
    for rollback in [false, true] {
        let mut tool = ramped();
        tool.desired.rollout.rollback = rollback;
        tool.desired.rollout.gates = vec![gate("errors")];
        tool.desired.gates.insert(gate("errors"), errors());
        tool.fleet.set_metric(ERRORS, Some(0.1));
        // After the first step, before the second was watched to its end.
        tool.fleet.set_metric_in(ERRORS, Duration::from_secs(1000), Some(7.0));
        let summary = tool.apply().await;
        assert_eq!((summary.gates_closed, passed(&summary), on_sources(&tool)), (1, 0, 12), "{summary:?}");
        let steps = weights(&tool);
        let now = share(steps.last().expect("set"));
        assert!((now - if rollback { 5.0 } else { 25.0 }).abs() < 1.0, "{now}");
        tool.fleet.set_metric(ERRORS, Some(0.1));
        let first = addresses(&tool.plan().await)[0].clone();
        assert_eq!(first, if rollback { "ramp.weights[\"25\"]" } else { "hold.ramp[\"25\"]" });
        let summary = tool.apply().await;
        assert_eq!((summary.gates_closed, passed(&summary)), (0, 12), "{summary:?}");
        assert!(tool.plan().await.is_empty());
    }
}

#[tokio::test]
async fn a_soak_that_was_cut_is_taken_up_where_it_was() {
    let mut tool = ramped();
    tool.max_wait = Some(Duration::from_secs(60));
    let summary = tool.apply().await;
    assert_eq!((summary.paused, passed(&summary)), (1, 0), "{summary:?}");
    let Some(Outcome::Paused { until }) = end(&tool, &hold("ramp", "5")) else { panic!("paused") };
    assert!(until.contains("watched until 2026-01-05 09:15"), "{until}");
    tool.finish();
    tool.fleet.advance(Duration::from_secs(850));
    let began = tool.fleet.now();
    let summary = tool.apply().await;
    // What was left of the soak is within the patience; the next step's is not.
    assert_eq!((summary.paused, summary.done >= 2), (1, true), "{summary:?}");
    assert!(tool.fleet.now().duration_since(began).as_secs() < 120);
    assert_eq!(end(&tool, &hold("ramp", "5")), Some(Outcome::Done { detail: String::new() }));
    tool.max_wait = None;
    tool.finish();
    let summary = tool.apply().await;
    assert_eq!((summary.paused, passed(&summary)), (0, 12), "{summary:?}");
    let shares: Vec<f64> = weights(&tool).iter().map(share).collect();
    assert!(shares.is_sorted(), "no step was set twice: {shares:?}");
}

#[tokio::test]
async fn after_so_many_calm_holds_there_is_no_soak() {
    let mut tool = ramped();
    tool.desired.rollout.calm = Some(2);
    tool.desired.rollout.gates = vec![gate("errors")];
    tool.desired.gates.insert(gate("errors"), errors());
    tool.fleet.set_metric(ERRORS, Some(0.1));
    let began = tool.fleet.now();
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (12, 0), "{summary:?}");
    let took = tool.fleet.now().duration_since(began).as_secs();
    assert!((1800..2700).contains(&took), "two soaks of five: {took}");
}

#[tokio::test]
async fn programs_run_around_waves_and_on_what_happens() {
    let mut tool = tool(Vec::new());
    let hook = |name: &str, on: &[HookEvent]| Hook {
        name: name.into(),
        exec: vec!["x".into()],
        on: on.iter().copied().collect(),
        timeout_seconds: 1,
    };
    for one in [hook("backup", &[]), hook("after", &[HookEvent::WaveDone, HookEvent::DrainProven])] {
        tool.desired.hooks.insert(one.name.clone(), one);
    }
    tool.desired.rollout.backup = Some("backup".into());
    tool.desired.rollout.backup_declined = false;
    assert!(!tool.plan().await.findings.iter().any(|finding| finding.code == "no-backup"));
    tool.fleet.set_hook("backup", HookEnd { code: Some(3), output: "no room\nfor it".into() });
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (0, 1), "{summary:?}");
    assert!(
        tool.events()
            .iter()
            .any(|e| matches!(e, Event::HookEnded { well: false, output, .. } if output.contains("for it")))
    );
    tool.fleet.set_hook("backup", HookEnd { code: Some(0), output: String::new() });
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (12, 0), "{summary:?}");
    let ran: Vec<String> = tool
        .fleet
        .hooks_run()
        .iter()
        .map(|(name, input)| {
            format!("{name} {} {}", input["event"].as_str().unwrap_or(""), input["wave"].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(
        ran,
        [
            "backup wave-start sample",
            "backup wave-start sample",
            "after wave-done sample",
            "backup wave-start rest",
            "after wave-done rest",
            "after drain-proven ",
        ]
    );
}

/// A canary on `other`, which the configuration does not name but for its address.
fn probing() -> (Tool, u64) {
    let mut tool = tool(Vec::new());
    let canary = tool.fleet.add_project("tranship/canary", &name("other"));
    tool.desired.rollout.probe = Some("tranship/canary".into());
    (tool, canary)
}

#[tokio::test]
async fn the_probe_goes_there_and_back_before_anything_else() {
    let (mut tool, canary) = probing();
    let plan = tool.plan().await;
    assert_eq!(addresses(&plan)[..2], ["probe.pod-a", "probe.pod-b"]);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (12, 0), "{summary:?}");
    let writes = tool.fleet.writes();
    let weighed = writes.iter().position(|w| matches!(w, Write::Weights(_))).expect("weights");
    let before: Vec<&Write> = writes[..weighed].iter().collect();
    let commits: Vec<&StorageName> =
        before.iter().filter_map(|w| if let Write::Commit(_, at) = w { Some(at) } else { None }).collect();
    assert_eq!(commits, [&name("pod-a"), &name("pod-b")]);
    assert_eq!(before.len(), 6, "two moves and a commit for each: {before:?}");
    let project = tool.fleet.projects().into_iter().find(|p| p.id == canary).expect("there");
    assert_eq!(project.storage, name("other"));
    for to in ["pod-a", "pod-b"] {
        let record = tool.state().storage(&name(to)).expect("recorded").clone();
        assert!(record.probed.is_some() && record.probed == record.filesystem_id);
    }
    assert!(tool.plan().await.is_empty());
    // A new disk is tried anew.
    tool.fleet.set_filesystem_id(&name("pod-b"), "another");
    tool.fleet.add_project("late/one", &name("default"));
    let plan = tool.plan().await;
    assert!(addresses(&plan).iter().all(|a| a != "probe.pod-a"), "{:?}", addresses(&plan));
}

#[tokio::test]
async fn a_probe_that_fails_names_the_part_and_nothing_else_begins() {
    use tranship::apply::port::PortErrorKind;
    for (method, kind, part) in [
        ("commit", PortErrorKind::Refused, "hooks:"),
        ("objects_exist", PortErrorKind::Unauthenticated, "the address or the token that tranship has for pod-a"),
        ("schedule", PortErrorKind::Forbidden, "GitLab's way to pod-a"),
    ] {
        let (mut tool, canary) = probing();
        let plan = tool.plan().await;
        // Verification asks for objects only where references differ.
        tool.fleet.fail_next(method, 1, kind);
        let summary = tool.run(&plan).await.summary;
        let Some(Outcome::Failed { cause }) = end(&tool, &Address::new("probe", "pod-a")) else {
            panic!("{method}: failed")
        };
        assert!(cause.contains(part), "{method}: {cause}");
        assert_eq!((summary.failed, passed(&summary), weights(&tool).len()), (1, 0, 0), "{method}: {summary:?}");
        let home = |tool: &Tool| tool.fleet.projects().into_iter().find(|p| p.id == canary).map(|p| p.storage);
        assert_eq!(home(&tool), Some(name("other")), "{method}: it was brought home");
        let summary = tool.apply().await;
        assert_eq!((passed(&summary), summary.failed), (12, 0), "{method}: {summary:?}");
    }
}

#[tokio::test]
async fn a_project_for_the_probe_that_is_not_there_is_an_error() {
    let mut tool = tool(Vec::new());
    tool.desired.rollout.probe = Some("tranship/absent".into());
    let plan = tool.plan().await;
    assert!(
        plan.is_blocked() && plan.findings.iter().any(|finding| finding.code == "probe-project"),
        "{:?}",
        plan.findings
    );
}

/// Law 5 for all of it: killed at any call, the same world in the end, and no step twice.
#[tokio::test]
async fn law_5_a_crash_anywhere_ends_in_the_same_world() {
    let make = || {
        let mut tool = tool(vec![errors()]);
        let canary = tool.fleet.add_project("tranship/canary", &name("other"));
        tool.desired.rollout.probe = Some("tranship/canary".into());
        tool.desired.rollout.ramp = vec![25, 100];
        tool.desired.rollout.soak_seconds = 300;
        tool.fleet.set_metric(ERRORS, Some(0.1));
        let on = BTreeSet::from([HookEvent::WaveDone]);
        let hook = Hook { name: "after".into(), exec: vec!["x".into()], on, timeout_seconds: 1 };
        tool.desired.hooks.insert("after".into(), hook);
        (tool, canary)
    };
    let (mut calm, canary) = make();
    let summary = calm.apply().await;
    assert_eq!(passed(&summary), 12, "{summary:?}");
    let calls = calm.fleet.calls();
    let expected: Vec<(u64, StorageName)> = calm.fleet.projects().iter().map(|p| (p.id, p.storage.clone())).collect();
    let probed = calm.state().storage(&name("pod-a")).and_then(|r| r.probed.clone());
    // A sample of all calls, the first ones, where the probe is, one by one.
    let struck = (1..calls).filter(|call| *call < 150 || call % 37 == 0);
    for (number, call) in struck.enumerate() {
        let (mut tool, _) = make();
        let point = if number % 2 == 0 { KillPoint::Before } else { KillPoint::After };
        tool.fleet.kill_at(call, point);
        let fleet = tool.fleet.clone();
        tokio::select! {
            _ = tool.apply() => {}
            () = fleet.killed() => {}
        }
        tool.fleet.revive();
        tool.fleet.finish_moves();
        let mut last = Summary::default();
        for _ in 0..3 {
            last = tool.apply().await;
            if tool.plan().await.is_empty() {
                break;
            }
        }
        assert_eq!((last.failed, last.gates_closed), (0, 0), "call {call}: {last:?}");
        assert!(tool.plan().await.is_empty(), "call {call}: {:?}", addresses(&tool.plan().await));
        let found: Vec<(u64, StorageName)> = tool.fleet.projects().iter().map(|p| (p.id, p.storage.clone())).collect();
        // Which destination a move has may differ after a re-plan; nothing is left behind, and the canary is home.
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().all(|(_, at)| *at != name("default")), "call {call}: {found:?}");
        assert_eq!(found.iter().find(|(id, _)| *id == canary).map(|(_, at)| at), Some(&name("other")), "call {call}");
        let state = tool.state();
        assert_eq!(
            state.storage(&name("pod-a")).and_then(|r| r.probed.clone()).is_some(),
            probed.is_some(),
            "call {call}"
        );
        assert!(!state.records.values().any(|r| matches!(r, Record::Probe(_))), "call {call}");
        let holds: Vec<bool> = state
            .records
            .values()
            .filter_map(|r| if let Record::Hold(h) = r { Some(h.passed) } else { None })
            .collect();
        assert_eq!(holds, [true; 4], "call {call}: both steps of the ramp and both waves");
        let ran = tool.fleet.hooks_run();
        let waves: BTreeSet<&str> = ran.iter().filter_map(|(_, input)| input["wave"].as_str()).collect();
        assert_eq!(waves, BTreeSet::from(["rest", "sample"]), "call {call}: the program ran at both ends: {ran:?}");
        let shares: Vec<f64> = weights(&tool).iter().map(share).collect();
        assert!(shares.is_sorted(), "call {call}: no step back: {shares:?}");
    }
}

#[tokio::test]
async fn a_gate_that_fails_while_it_is_watched_closes_at_once() {
    let mut tool = tool(vec![errors()]);
    tool.desired.rollout.soak_seconds = 4 * 3600;
    tool.fleet.set_metric(ERRORS, Some(0.1));
    // Bad for five minutes, long before the watching ends.
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(600), Some(7.0));
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(900), Some(0.1));
    let began = tool.fleet.now();
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (3, 1), "{summary:?}");
    assert!(tool.fleet.now().duration_since(began).as_secs() < 1000, "{summary:?}");
}

/// What has moved to the pods moves on, with the same waves and gates.
#[tokio::test]
async fn a_second_campaign_is_held_as_the_first_was() {
    let mut tool = tool(vec![errors(), approval()]);
    tool.fleet.set_metric(ERRORS, Some(0.1));
    for _ in 0..2 {
        tool.fleet.approve(&gate("go"), "ann");
        tool.max_wait = Some(Duration::from_secs(60));
        tool.apply().await;
    }
    assert!(tool.plan().await.is_empty());
    // Twelve repositories arrive on the old storage; the sample's first hold was passed long ago.
    for n in 0..12 {
        tool.fleet.add_project(&format!("late/arrival-{n}"), &name("default"));
    }
    let plan = tool.plan().await;
    let held = addresses(&plan);
    assert!(held.contains(&hold("wave", "rest").to_string()), "{held:?}");
    let summary = tool.apply().await;
    assert_eq!(summary.paused, 1, "nobody has approved of these: {summary:?}");
    tool.fleet.set_metric(ERRORS, Some(7.0));
    let summary = tool.apply().await;
    assert_eq!(summary.gates_closed, 1, "{summary:?}");
}

/// At a time by the fleet's clock.
fn at(tool: &Tool, after: u64, then: impl FnOnce(&tranship::sandbox::memory::Handle) + Send + 'static) {
    let (fleet, due) = (tool.fleet.clone(), tool.fleet.now() + Duration::from_secs(after));
    tokio::spawn(async move {
        while fleet.now() < due {
            tokio::task::yield_now().await;
        }
        then(&fleet);
    });
}

#[tokio::test]
async fn a_gates_deadline_counts_from_when_it_was_answered_last() {
    let mut tool = tool(vec![errors(), approval()]);
    tool.desired.rollout.waves[0].gates = Some(vec![gate("errors"), gate("go")]);
    tool.desired.rollout.gates = Vec::new();
    tool.fleet.set_metric(ERRORS, Some(0.1));
    // Good for longer than its deadline while nobody has approved, then away for a minute.
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(900), None);
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(960), Some(0.1));
    at(&tool, 1200, |fleet| fleet.approve(&gate("go"), "ann"));
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.gates_closed), (12, 0), "{summary:?}");
}

#[tokio::test]
async fn what_is_not_known_sets_no_weight_back() {
    let mut tool = ramped();
    tool.desired.rollout.rollback = true;
    tool.desired.rollout.gates = vec![gate("errors")];
    tool.desired.gates.insert(gate("errors"), errors());
    tool.fleet.set_metric(ERRORS, Some(0.1));
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(1000), None);
    let summary = tool.apply().await;
    assert_eq!((summary.gates_closed, passed(&summary)), (1, 0), "{summary:?}");
    let now = share(weights(&tool).last().expect("set"));
    assert!((now - 25.0).abs() < 1.0, "{now}");
    assert!(summary.remarks.iter().any(|line| line.contains("weights stay")), "{:?}", summary.remarks);
}

#[tokio::test]
async fn a_weight_that_somebody_set_in_an_incident_is_not_set_back() {
    let mut tool = ramped();
    tool.desired.rollout.rollback = true;
    tool.desired.rollout.gates = vec![gate("errors")];
    tool.desired.gates.insert(gate("errors"), errors());
    tool.fleet.set_metric(ERRORS, Some(0.1));
    tool.fleet.set_metric_in(ERRORS, Duration::from_secs(1500), Some(7.0));
    at(&tool, 1400, |fleet| fleet.set_weight(&name("pod-a"), Weight::ZERO));
    let summary = tool.apply().await;
    assert_eq!((summary.gates_closed, passed(&summary)), (1, 0), "{summary:?}");
    let last = weights(&tool).pop().expect("set");
    assert_eq!(last[&name("pod-a")], Weight::ZERO, "{last:?}");
    assert!(
        summary.remarks.iter().any(|line| line.contains("the weight of pod-a is 0") && line.contains("not set back")),
        "{:?}",
        summary.remarks
    );
}

#[tokio::test]
async fn a_soak_ends_however_many_short_applies_come_meanwhile() {
    let mut tool = ramped();
    tool.max_wait = Some(Duration::from_secs(1));
    for _ in 0..60 {
        tool.apply().await;
        tool.finish();
        tool.fleet.advance(Duration::from_secs(20));
    }
    let first = tool.state().hold(&hold("ramp", "5")).map(|record| record.passed);
    assert_eq!(first, Some(true), "twenty minutes of a soak of fifteen");
}

#[tokio::test]
async fn what_a_probe_froze_counts() {
    let (mut tool, _) = probing();
    let summary = tool.apply().await;
    let moved = tool.events().into_iter().filter_map(|event| match event {
        Event::MoveVerified { frozen_ms, .. } => Some(frozen_ms),
        _ => None,
    });
    let moved: u64 = moved.sum();
    assert!(summary.time.frozen_ms > moved, "four moves of the probe: {} of {moved}", summary.time.frozen_ms);
}

#[tokio::test]
async fn a_program_that_waits_for_a_waves_end_runs_though_the_run_is_stopped() {
    let mut tool = tool(Vec::new());
    let on = BTreeSet::from([HookEvent::WaveDone]);
    let hook = Hook { name: "after".into(), exec: vec!["x".into()], on, timeout_seconds: 1 };
    tool.desired.hooks.insert("after".into(), hook);
    let (stop, events) = (tool.stop.clone(), tool.events_shared());
    tokio::spawn(async move {
        let begun = |e: &&Event| matches!(e, Event::MoveScheduled { .. });
        while events.lock().expect("not poisoned").iter().filter(begun).count() < 3 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.interrupted), (3, true), "{summary:?}");
    let waves: Vec<String> =
        tool.fleet.hooks_run().iter().map(|(_, input)| input["wave"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(waves, ["sample"]);
}

#[tokio::test]
async fn a_stop_ends_a_proof_between_its_looks() {
    let mut tool = tool(Vec::new());
    let (stop, events) = (tool.stop.clone(), tool.events_shared());
    tokio::spawn(async move {
        let proves = |e: &Event| matches!(e, Event::ActionStarted { address, .. } if &*address.kind == "drain");
        while !events.lock().expect("not poisoned").iter().any(proves) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.interrupted), (12, true), "{summary:?}");
    assert_eq!(end(&tool, &Address::new("drain", "default")), Some(Outcome::NotStarted));
    assert!(tool.state().storage(&name("default")).is_some_and(|record| record.drained.is_none()));
}
