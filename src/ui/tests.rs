//! What the views show, as snapshots, and what must hold of any view.

use std::collections::BTreeSet;

use console::strip_ansi_codes;
use insta::assert_snapshot;
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::samples::{address, drifted, empty, everything, first_move, pods, project, quarantined, storage, weight};
use super::*;
use crate::apply::event::{Event, Outcome, Summary};
use crate::diag::{Diagnostic, Diagnostics, SourceMap, Span, is_unsafe};
use crate::model::{Bytes, Weight};
use crate::state::{AssignmentRecord, QuarantineRecord, Record, State, StorageRecord, Tenths, WaveRecord};

const PIPE: Style = Style { color: false, width: 80, tty: false };
const TERMINAL: Style = Style { color: true, width: 80, tty: true };

fn plans() -> Vec<crate::plan::Plan> {
    vec![empty(), first_move(24), first_move(1000), everything(), quarantined(), drifted(), pods()]
}

/// A plan whose slots are found while it runs.
fn paced() -> crate::plan::Plan {
    use crate::model::{Profile, Veto, VetoSource};
    let check = |target: &str| crate::plan::Check {
        gate: address("gate.latency"),
        target: storage(target),
        query: "p95".into(),
        max: Some(0.5),
        min: None,
        for_seconds: 0,
        baseline: Default::default(),
        max_ratio: None,
        dry_run: false,
        interval_seconds: 15,
        deadline_seconds: 300,
    };
    let mut plan = first_move(4);
    plan.concurrency.profile = Profile::Balanced;
    plan.concurrency.signals =
        ["default", "second"].into_iter().map(|name| (storage(name), vec![check(name)])).collect();
    plan.concurrency.vetoes = vec![
        Veto { name: "alerts".into(), source: VetoSource::Query("ALERTS{alertstate=\"firing\"}".into()) },
        Veto { name: "stop".into(), source: VetoSource::File("STOP".into()) },
    ];
    plan
}

#[test]
fn how_many_moves_run_at_once_stands_in_the_plan() {
    let text = plan(&paced(), PIPE, false);
    let found: Vec<&str> =
        text.lines().skip_while(|line| !line.starts_with("Concurrency")).take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        found,
        [
            "Concurrency: balanced: from half of the declared limits, up and down as the fleet bears it",
            "    asked about default, second: gate.latency",
            "    nothing new begins while this holds: alerts (query ALERTS{alertstate=\"firing\"})",
            "    nothing new begins while this holds: stop (file STOP)",
        ]
    );
    assert!(!plan(&first_move(4), PIPE, false).contains("Concurrency"), "declared limits stand with the storages");
}

#[test]
fn what_holds_new_moves_stands_in_the_totals() {
    let mut progress = Progress::new();
    lines(&mut progress, &Event::Held { by: Some("veto stop: no".into()) }, 0);
    assert!(progress.totals().ends_with("held: veto stop: no"), "{}", progress.totals());
    lines(&mut progress, &Event::Held { by: None }, 1);
    assert!(!progress.totals().contains("held"));
}

#[test]
fn plans_as_text() {
    assert_snapshot!("plan_empty", plan(&empty(), PIPE, false));
    assert_snapshot!("plan_first_move", plan(&first_move(24), PIPE, false));
    assert_snapshot!("plan_first_move_verbose", plan(&first_move(24), PIPE, true));
    assert_snapshot!("plan_everything", plan(&everything(), PIPE, false));
    assert_snapshot!("plan_everything_terminal", strip_ansi_codes(&plan(&everything(), TERMINAL, true)));
    assert_snapshot!("plan_quarantined", plan(&quarantined(), PIPE, false));
    assert_snapshot!("plan_drifted", plan(&drifted(), PIPE, false));
    assert_snapshot!("plan_pods", plan(&pods(), PIPE, false));
    assert_snapshot!("plan_pods_verbose", plan(&pods(), PIPE, true));
}

#[test]
fn of_very_many_diagnostics_a_hundred_are_printed_errors_before_warnings() {
    let mut found = Diagnostics::default();
    for i in 0..150 {
        found.push(Diagnostic::warning("config/x", "Doubt").detail(format!("doubt {i}.")));
    }
    for i in 0..3 {
        found.push(Diagnostic::error("config/y", "Fault").detail(format!("fault {i}.")));
    }
    let text = diagnostics(&found, &SourceMap::default(), PIPE);
    assert!(text.contains("fault 2.") && text.contains("doubt 96.") && !text.contains("doubt 97."), "{text}");
    assert!(text.ends_with("and 53 more: correct these first\n\n3 errors, 150 warnings\n"), "{text}");
}

#[test]
fn plans_as_json_and_graphs() {
    assert_snapshot!("plan_json_first_move", plan_json(&first_move(4)));
    assert_snapshot!("graph_dot", graph_dot(&first_move(24)));
    assert_snapshot!("graph_json", graph_json(&first_move(4)));
}

#[test]
fn the_question_before_an_apply() {
    assert_snapshot!("approval_question", approval_question(&first_move(24)));
}

#[test]
fn the_saved_fields_stand_in_the_json_under_their_own_names() {
    for plan in plans() {
        let json: Value = serde_json::from_str(&plan_json(&plan)).expect("JSON");
        let Value::Object(fields) = serde_json::to_value(&plan).expect("JSON") else { panic!("an object") };
        for (name, value) in fields {
            assert_eq!(json[&name], value, "{name}");
        }
        assert_eq!(json["empty"], plan.is_empty());
        assert_eq!(json["applyable"], !plan.is_empty() && !plan.is_blocked());
    }
}

/// All numbers and texts of a JSON value, and what the text makes of its numbers.
fn told(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(n) => {
            if let Some(n) = n.as_u64() {
                for text in
                    [n.to_string(), Bytes(n).to_string(), text::percent(n), text::duration(n), (n + 1).to_string()]
                {
                    into.extend(numbers(&text));
                }
            }
        }
        Value::String(text) => into.extend(numbers(text)),
        Value::Array(items) => {
            into.insert(items.len().to_string());
            items.iter().for_each(|item| told(item, into));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| {
            into.extend(numbers(name));
            told(item, into);
        }),
    }
}

fn numbers(text: &str) -> Vec<String> {
    let pattern = Regex::new(r"\d+(\.\d+)?").expect("a pattern");
    pattern.find_iter(text).map(|m| m.as_str().to_owned()).collect()
}

#[test]
fn the_json_holds_each_number_that_the_text_shows() {
    for plan in plans() {
        let mut known = BTreeSet::new();
        told(&serde_json::from_str(&plan_json(&plan)).expect("JSON"), &mut known);
        // Of the program's own words: exit code 7, and the escapes of odd characters.
        known.extend(["7", "1", "202"].map(str::to_owned));
        let shown = super::plan(&plan, PIPE, false);
        for line in shown.lines().filter(|l| !l.contains("more on this route")) {
            for number in numbers(line) {
                assert!(known.contains(&number), "{number} of {line:?} is not in the JSON");
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_escape_codes() {
    for plan in plans() {
        for verbose in [false, true] {
            let plain = super::plan(&plan, Style { color: false, ..TERMINAL }, verbose);
            let coloured = super::plan(&plan, TERMINAL, verbose);
            assert!(!plain.contains('\u{1b}'));
            assert!(!super::plan(&plan, PIPE, verbose).contains('\u{1b}'));
            assert_eq!(strip_ansi_codes(&coloured), plain);
        }
    }
    assert!(super::plan(&first_move(3), TERMINAL, false).contains('\u{1b}'), "a terminal gets colour");
    let (found, sources) = findings();
    let plain = diagnostics(&found, &sources, Style { color: false, ..TERMINAL });
    assert_eq!(strip_ansi_codes(&diagnostics(&found, &sources, TERMINAL)), plain);
    assert!(!plain.contains('\u{1b}'));
    for (run, _) in runs() {
        assert_eq!(strip_ansi_codes(&summary(&run, TERMINAL)), summary(&run, Style { color: false, ..TERMINAL }));
    }
    let plain = state(&recorded(), Style { color: false, ..TERMINAL });
    assert_eq!(strip_ansi_codes(&state(&recorded(), TERMINAL)), plain);
}

#[test]
fn every_address_and_every_repository_is_found_in_the_verbose_text() {
    for plan in plans() {
        let shown = super::plan(&plan, PIPE, true);
        for action in &plan.actions {
            let at = action.address.to_string();
            assert!(shown.lines().any(|l| l.contains(&at) && l.contains(&action.reason)), "{at}");
        }
        let lines: BTreeSet<&str> = shown.lines().map(str::trim_start).collect();
        for item in &plan.moves {
            let path = text::escape(&item.path).into_owned();
            let head = format!("{} {path} {} -> {} ", item.container, item.source, item.destination);
            assert!(lines.iter().any(|l| l.starts_with(&head)), "{head}");
        }
        for text in
            plan.drift.iter().map(|d| d.address.to_string()).chain(plan.policies.iter().map(|p| p.address.to_string()))
        {
            assert!(shown.contains(&text), "{text}");
        }
    }
}

#[test]
fn ten_thousand_moves_stay_short() {
    let plan = first_move(10_000);
    let short = super::plan(&plan, PIPE, false);
    assert!(short.lines().count() < 60 && short.len() < 6000, "{short}");
    assert!(super::plan(&plan, PIPE, true).lines().count() > 10_000);
}

#[test]
fn no_line_ends_in_a_space_and_the_headline_stands_first_and_last() {
    for plan in plans() {
        let shown = super::plan(&plan, PIPE, false);
        assert!(shown.lines().all(|l| l == l.trim_end()), "{shown}");
        let headline = shown.lines().next().expect("a headline").to_owned();
        let times = if plan == empty() { 1 } else { 2 };
        assert_eq!(shown.matches(&headline).count(), times, "{shown}");
    }
}

#[test]
fn two_plans_of_an_unchanged_fleet_read_the_same() {
    let mut later = everything();
    later.as_of = at(1);
    assert_eq!(super::plan(&later, PIPE, false), super::plan(&everything(), PIPE, false));
    assert!(super::plan(&later, PIPE, true).contains(&at(1).to_string()));
}

#[test]
fn a_plan_that_waits_does_not_claim_to_be_complete() {
    let mut plan = empty();
    plan.report = everything().report;
    let shown = super::plan(&plan, PIPE, false);
    assert!(shown.starts_with("No changes for now."), "{shown}");
    assert!(!shown.contains("is as the configuration says"));
}

fn findings() -> (Diagnostics, SourceMap) {
    let mut sources = SourceMap::default();
    let text = "storage \"default\" {\n  drain = true\n  wieght = 5 / each.key\n}\n\n\n\n\n\nstorage \"default\" {\n}\n\tx = \"\u{1b}[31m\u{202e}é\" + 日 # tail\r\nlast";
    let main = sources.add("main.hcl", text);
    let other = sources.add("other.hcl", "");
    let find = |needle: &str| {
        let start = u32::try_from(text.find(needle).expect("is there")).expect("short");
        Span { source: main, start, end: start + u32::try_from(needle.len()).expect("short") }
    };
    let second =
        Span { start: u32::try_from(text.rfind("storage").expect("is there")).expect("short"), ..find("last") };
    let mut found = Diagnostics::default();
    found.push(
        Diagnostic::error("config/unknown-attribute", "Unknown attribute")
            .detail("`storage` has no attribute `wieght`.\nDid you mean `weight`?")
            .at(find("wieght"))
            .help("tranship explain storage"),
    );
    found.push(
        Diagnostic::error("config/duplicate", "Two blocks with one name")
            .detail("`storage \"default\"` is declared twice.")
            .at(second)
            .also(find("storage \"default\""), "declared here first"),
    );
    found.push(
        Diagnostic::error("expr/type", "Wrong type")
            .at(find("each.key"))
            .value("each.key", "\"a\u{7}\"")
            .detail("A number is expected."),
    );
    found.push(Diagnostic::warning("expr/odd", "Odd characters").at(find("日")).also(find("wieght"), "and here"));
    found.push(Diagnostic::error("config/eof", "Something is missing at the end").at(Span {
        source: main,
        start: u32::try_from(text.len()).expect("short"),
        end: u32::try_from(text.len()).expect("short"),
    }));
    found.push(Diagnostic::error("config/empty", "An empty file").at(Span { source: other, start: 0, end: 0 }));
    found.push(
        Diagnostic::error("live/unreachable", "GitLab cannot be reached")
            .detail("GET /api/v4/metadata: connection refused.\nExpected an answer in 10 s.")
            .help("Check `gitlab.url`."),
    );
    (found, sources)
}

#[test]
fn diagnostics_as_text_and_json() {
    let (found, sources) = findings();
    let shown = diagnostics(&found, &sources, PIPE);
    assert_snapshot!("diagnostics", shown);
    assert_snapshot!("diagnostics_json", diagnostics_json(&found, &sources));
    assert_eq!(diagnostics(&Diagnostics::default(), &sources, PIPE), "");
    for item in &found.items {
        for span in item.span.iter().chain(item.related.iter().map(|(s, _)| s)) {
            let place = sources.locate(*span).expect("a place");
            assert!(shown.contains(&place), "{place} is not found in\n{shown}");
        }
    }
    let json: Value = serde_json::from_str(&diagnostics_json(&Diagnostics::default(), &sources)).expect("JSON");
    assert_eq!((json["valid"].as_bool(), json["error_count"].as_u64()), (Some(true), Some(0)));
}

proptest::proptest! {
    /// Whatever a source holds and wherever a span points, also beyond its end: no panic, the place is found, and
    /// no escape code survives.
    #[test]
    fn any_span_in_any_source_is_shown(text in "(\\PC|[\\x00-\\x1f]|é|\u{200d}|\n){0,60}", a in 0u32..200, b in 0u32..200, c in 0u32..200, which in 0u32..3) {
        let mut sources = SourceMap::default();
        let id = sources.add("a.hcl", text);
        let span = Span { source: id, start: a, end: b };
        let far = Span { source: crate::diag::SourceId(which), start: b, end: c };
        let found = Diagnostics::from(Diagnostic::error("x/y", "Bad").at(span).also(far, "too").also(span, "again"));
        let shown = diagnostics(&found, &sources, PIPE);
        let place = sources.locate(span).expect("a place");
        proptest::prop_assert!(shown.contains(&place), "{place} not in {shown}");
        proptest::prop_assert!(!shown.chars().any(|c| c != '\n' && is_unsafe(c)), "{shown:?}");
        let json: Value = serde_json::from_str(&diagnostics_json(&found, &sources)).expect("JSON");
        let snippet = &json["diagnostics"][0]["snippet"];
        let code = snippet["code"].as_str().expect("code");
        let from = usize::try_from(snippet["highlight_start_offset"].as_u64().expect("offset")).expect("small");
        let to = usize::try_from(snippet["highlight_end_offset"].as_u64().expect("offset")).expect("small");
        proptest::prop_assert!(code.get(from..to).is_some());
    }

    /// No path can draw on the screen, in any view.
    #[test]
    fn no_path_draws_on_the_screen(path in "(\\PC|[\\x00-\\x1f]|\u{9b}|\u{202e}|\u{2028}){0,20}") {
        let mut plan = everything();
        plan.moves[0].path = path.clone().into();
        plan.quarantined[0].path.clone_from(&path);
        plan.report[1].examples = vec![path.clone()];
        plan.actions[2].address.label = path.as_str().into();
        plan.environment.clone_from(&path);
        let mut texts = vec![super::plan(&plan, PIPE, true), graph_dot(&plan), approval_question(&plan)];
        let event = Event::MoveSkipped { container: project(1), path, why: "no room".into(), done: false };
        for said in Progress::new().take(&event, Timestamp::UNIX_EPOCH) {
            match said {
                Said::Line { text, .. } => {
                    proptest::prop_assert!(!text.contains('\n'));
                    texts.push(text);
                }
                Said::Totals(text) => texts.push(text),
            }
        }
        for text in texts {
            proptest::prop_assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        }
    }
}

fn recorded() -> State {
    let mut state = State::new("staging");
    let default = StorageRecord {
        weight: Some(Weight::ZERO),
        filesystem_id: Some("fs-a".into()),
        drained: Some("ab".repeat(32)),
        ..StorageRecord::default()
    };
    state.records.insert(address("storage.default"), Record::Storage(default));
    let second = StorageRecord {
        weight: Some(weight(100)),
        objects: [("StatefulSet/second".to_owned(), "12".repeat(32))].into(),
        statefulset_uid: Some("5f0c".into()),
        claim_uid: Some("77aa".into()),
        rotation_seconds: Some(Tenths(74)),
        ..StorageRecord::default()
    };
    state.records.insert(address("storage.second"), Record::Storage(second));
    let assignment = AssignmentRecord {
        count: 24,
        bytes: 5 << 20,
        verdicts: [("attested".to_owned(), 20), ("bracketed".to_owned(), 4)].into(),
        digest: "cd".repeat(32),
        verification: "ef".repeat(32),
        waves: ["archived".to_owned(), "rest".to_owned()].into(),
        ..AssignmentRecord::default()
    };
    state.records.insert(address("assignment.everything"), Record::Assignment(assignment));
    let wave = WaveRecord { sample_threshold: Some("00ff00ff00ff00ff".into()), ends_due: false };
    state.records.insert(address("wave.sample"), Record::Wave(wave));
    let quarantine = QuarantineRecord {
        path: "web/\u{1b}shop".into(),
        source: storage("default"),
        destination: storage("second"),
        cause: "missing reference".into(),
        evidence: vec!["refs/heads/main was 1234".into(), "not on second".into()],
        remedy: "Keep the source's copy.".into(),
        urgent: true,
    };
    state.records.insert(address("quarantine.project-12"), Record::Quarantine(quarantine));
    state
}

#[test]
fn states_as_text() {
    let recorded = recorded();
    assert_snapshot!("state", state(&recorded, PIPE));
    assert_snapshot!("state_list", state_list(&recorded));
    assert_snapshot!("state_empty", state(&State::new("staging"), PIPE));
    let show = |at: &str| state_show(&recorded, &address(at));
    assert_snapshot!("state_show_quarantine", show("quarantine.project-12").expect("is there"));
    assert_snapshot!("state_show_assignment", show("assignment.everything").expect("is there"));
    assert_eq!(show("storage.third"), None);
}

#[test]
fn after_an_alarm_nobody_is_told_to_run_it_again() {
    let failed = Summary { failed: 1, ..Summary::default() };
    assert!(summary(&failed, PIPE).contains("Run it again"));
    let alarmed = Summary { alarms: 1, ..failed };
    let shown = summary(&alarmed, PIPE);
    assert!(!shown.contains("Run it again") && shown.contains("Do not apply again yet"), "{shown}");
}

fn runs() -> Vec<(Summary, &'static str)> {
    let clean =
        Summary { done: 5, attested: 20, bracketed: 4, bytes: Bytes(5 << 20), seconds: 65, ..Summary::default() };
    let bad = Summary {
        failed: 1,
        skipped: 2,
        stale: 3,
        refused: 1,
        not_started: 4,
        advanced: 2,
        unknown: 1,
        moves_skipped: 3,
        moves_moot: 1,
        quarantined: 3,
        lost: 1,
        remarks: vec!["the weight of old was changed by somebody while this ran\u{1b}".into()],
        ..clean.clone()
    };
    let interrupted = Summary { done: 0, not_started: 3, interrupted: true, ..Summary::default() };
    vec![(Summary::default(), "nothing"), (clean, "clean"), (bad, "bad"), (interrupted, "interrupted")]
}

#[test]
fn summaries_as_text() {
    for (run, name) in runs() {
        let shown = summary(&run, PIPE);
        assert_eq!(shown.starts_with("POSSIBLE LOSS"), run.lost > 0);
        assert_snapshot!(format!("summary_{name}"), shown);
    }
}

#[test]
fn a_run_that_left_something_is_not_called_complete() {
    let refused = Summary { done: 3, refused: 1, ..Summary::default() };
    let skipped = Summary { done: 3, moves_skipped: 1, ..Summary::default() };
    let moot = Summary { moves_moot: 1, ..skipped.clone() };
    for (run, headline) in
        [(&refused, "Apply ended in part."), (&skipped, "Apply ended in part."), (&moot, "Apply complete.")]
    {
        assert!(summary(run, PIPE).starts_with(headline), "{run:?}");
    }
    let line = |run: &Summary| super::words::event(&Event::RunEnded { summary: run.clone() });
    assert_eq!(line(&refused), "run ended: 3 done, 0 failed, 0 skipped, 1 refused, 0 repositories moved (0 B)");
    assert!(line(&skipped).ends_with(", 1 move skipped"), "{}", line(&skipped));
}

/// One of each kind of event.
fn events() -> Vec<Event> {
    let (container, path, source, destination) =
        (project(12), "web/shop".to_owned(), storage("default"), storage("second"));
    let ended = |outcome| Event::ActionEnded { address: address("moves.default[\"rest\"]"), outcome };
    vec![
        Event::RunStarted { run: "r1".into(), actions: 5, moves: 3, bytes: Bytes(3 << 20), expected_seconds: 90 },
        Event::Resumed { run: "r0".into(), in_doubt: 2 },
        Event::ActionStarted { address: address("weight.default"), what: "set the weight".into() },
        ended(Outcome::Done { detail: String::new() }),
        ended(Outcome::Done { detail: "24 verified".into() }),
        ended(Outcome::Failed { cause: "breaker".into() }),
        ended(Outcome::Stale { cause: "weight is 7".into() }),
        ended(Outcome::Skipped { because: address("weight.default") }),
        ended(Outcome::NotStarted),
        ended(Outcome::Refused { cause: "2 repositories left".into() }),
        Event::MoveScheduled {
            container,
            path: path.clone(),
            source: source.clone(),
            destination: destination.clone(),
            move_id: 7,
            attempt: 2,
            since: Timestamp::UNIX_EPOCH,
        },
        Event::MoveVerified {
            container,
            path: path.clone(),
            source,
            destination,
            bytes: Bytes(1 << 20),
            verdict: "attested".into(),
            detail: String::new(),
            frozen_ms: 1234,
        },
        Event::MoveRetried {
            container,
            path: path.clone(),
            cause: "pushes".into(),
            attempt: 1,
            after_seconds: 30,
            frozen: false,
        },
        Event::MoveSkipped { container, path: path.clone(), why: "deleted meanwhile".into(), done: true },
        Event::MoveSkipped { container, path: path.clone(), why: "no room: 1 GiB needed".into(), done: false },
        Event::Quarantined {
            container,
            path,
            cause: "missing reference".into(),
            evidence: vec!["refs/heads/main\n was 1234".into()],
            remedy: "Keep the source's copy.\nThen ask.".into(),
            loss: true,
        },
        Event::Waiting { what: "5 m of soak".into() },
        Event::Throttled {
            what: "second as destination".into(),
            storage: Some(storage("second")),
            from: 4,
            to: 2,
            why: "gate.latency: 0.9 s, at most 0.5 s".into(),
        },
        Event::Throttled {
            what: "second as destination".into(),
            storage: Some(storage("second")),
            from: 2,
            to: 0,
            why: "second does not answer".into(),
        },
        Event::Held { by: Some("veto incidents: a release is\nunder way".into()) },
        Event::Held { by: None },
        Event::Warning { message: "the token ends soon".into() },
        Event::Stopping { in_flight: 3, expected_seconds: 125 },
        Event::RunEnded { summary: runs().remove(2).0 },
    ]
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn lines(progress: &mut Progress, event: &Event, second: i64) -> Vec<String> {
    progress
        .take(event, at(second))
        .into_iter()
        .map(|said| match said {
            Said::Line { gravity, text } => format!("{}: {text}", gravity.as_str()),
            Said::Totals(text) => format!("totals: {text}"),
        })
        .collect()
}

#[test]
fn every_event_in_words_and_in_json() {
    let mut progress = Progress::new();
    let shown: Vec<String> = events().iter().zip(0..).flat_map(|(e, i)| lines(&mut progress, e, i)).collect();
    assert_snapshot!("events", shown.join("\n"));
    let json: Vec<String> = events().iter().zip(0..).map(|(e, i)| json_line(e, at(i))).collect();
    for line in &json {
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert!(!line.contains('\n'));
        for key in ["@level", "@message", "@module", "@timestamp", "type"] {
            assert!(value[key].is_string(), "{key} in {line}");
        }
    }
    assert_snapshot!("events_json", json.join("\n"));
}

fn verified(id: u64, bytes: u64) -> Event {
    Event::MoveVerified {
        container: project(id),
        path: format!("g/p{id}"),
        source: storage("default"),
        destination: storage("second"),
        bytes: Bytes(bytes),
        verdict: "attested".into(),
        detail: String::new(),
        frozen_ms: 100,
    }
}

fn started(moves: u64, bytes: u64) -> Event {
    Event::RunStarted { run: "r".into(), actions: 1, moves, bytes: Bytes(bytes), expected_seconds: 100 }
}

#[test]
fn the_time_left_is_measured_and_not_told_before_one_per_cent() {
    let mut progress = Progress::new();
    lines(&mut progress, &started(1000, 1000 << 20), 0);
    for id in 1..=9 {
        lines(&mut progress, &verified(id, 1 << 20), i64::try_from(id).expect("small"));
        assert!(!progress.totals().contains("ETA"), "{}", progress.totals());
    }
    lines(&mut progress, &verified(10, 1 << 20), 10);
    assert_eq!(progress.totals(), "moved 10/1000 repositories · 10/1000 MiB · 1 MiB/s · ETA 16 min");
    // All bytes come last: the bytes decide, not the count.
    let mut progress = Progress::new();
    lines(&mut progress, &started(100, 100 << 20), 0);
    for id in 1..=50 {
        lines(&mut progress, &verified(id, 1 << 18), i64::try_from(id).expect("small"));
    }
    assert_eq!(progress.totals(), "moved 50/100 repositories · 12.5/100 MiB · 256 KiB/s · ETA 5 min");
}

#[test]
fn many_moves_make_few_lines_and_no_failure_is_left_out() {
    let mut progress = Progress::new();
    let mut shown = lines(&mut progress, &started(100_000, 100_000), 0);
    for id in 1..=100_000 {
        // A fast clock: a hundred moves a second.
        let second = i64::try_from(id / 100).expect("small");
        let event = if id % 1000 == 0 {
            Event::MoveSkipped { container: project(id), path: String::new(), why: "no room".into(), done: false }
        } else {
            verified(id, 1)
        };
        shown.extend(lines(&mut progress, &event, second));
    }
    assert_eq!(shown.iter().filter(|l| l.contains("no room")).count(), 100);
    assert!(shown.len() < 100 + 100 + 1000 / 5 + 10, "{}", shown.len());
    assert_eq!(progress.handled(), 100_000);
    assert!(!progress.totals().contains("ETA"), "nothing is left");
}

#[test]
fn totals_are_paced_by_the_expected_time() {
    let mut progress = Progress::new();
    let long =
        Event::RunStarted { run: "r".into(), actions: 1, moves: 10_000, bytes: Bytes(0), expected_seconds: 100_000 };
    lines(&mut progress, &long, 0);
    let mut totals = 0;
    for id in 1..=10_000 {
        let said = lines(&mut progress, &verified(id, 0), i64::try_from(id * 10).expect("small"));
        totals += said.iter().filter(|l| l.starts_with("totals")).count();
    }
    assert_eq!(totals, 100);
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut progress = Progress::new();
    lines(&mut progress, &started(2, 2), 100);
    lines(&mut progress, &verified(1, 1), 0);
    lines(&mut progress, &verified(2, u64::MAX), -100);
    lines(&mut progress, &verified(3, u64::MAX), 200);
    assert!(progress.totals().starts_with("moved 3/2"));
}

#[test]
fn room_placement_and_what_binds_are_told() {
    use crate::plan::{Binding, PlacementPlan, Plan};
    let mut plan = first_move(4);
    let second = plan.storages.keys().last().expect("two").clone();
    let full = plan.storages.get_mut(&second).expect("declared");
    (full.used, full.growth) = (Some(crate::model::Bytes(16 << 30)), crate::model::Bytes(1 << 20));
    let first = plan.storages.keys().next().expect("two").clone();
    plan.placement = vec![PlacementPlan {
        destinations: vec![first.clone(), second.clone()],
        fullest: second.clone(),
        level: crate::model::Bytes(1001 << 20),
        bound: crate::model::Bytes(1000 << 20),
        ratio_permille: 1001,
        fewest: 1,
        most: 3,
    }];
    let told = |plan: &Plan, line: &str| {
        let text = super::plan::plan(plan, PIPE, false);
        assert!(text.contains(line), "{line:?} in:\n{text}");
    };
    told(&plan, "used 16 GiB of 20 GiB, new 1 MiB:");
    told(&plan, "! above 75 %: only what fits nowhere else goes there");
    told(
        &plan,
        "spread over default and second: 1 to 3 repositories each; in the end second has the least room left, 1001 MiB",
    );
    let project = plan.moves[0].container;
    for (binding, line) in [
        (
            Binding::Workers { saves_seconds: 60 },
            "GitLab's workers bind, with 8 moves at once: two more would save about 1 m",
        ),
        (
            Binding::Slots { storages: vec![first.clone(), second], saves_seconds: 60 },
            "slots on default and second bind: two more on each would save about 1 m",
        ),
        (Binding::Bandwidth { storage: first.clone(), saves_seconds: 0 }, "the bandwidth of default binds\n"),
        (Binding::Repository { container: project }, "alone takes as long: only a smaller repository"),
        (
            Binding::Network { network: 7, storage: first },
            "the fork network of project-7 binds: its last member leaves default",
        ),
        (Binding::Soak, "the watching between waves binds"),
    ] {
        plan.estimate.binding = Some(binding);
        told(&plan, line);
    }
}
