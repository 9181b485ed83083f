//! The whole way on the example: a plan, an apply, an empty plan; the repositories are whole on the other side.

use std::collections::BTreeMap;

use super::common::home::Home;

const FILE: &str = "tranship.state.json";

/// Every bare repository below the sandbox: (storage, path on it) → its references and HEAD, as git tells them.
fn repositories(home: &Home) -> BTreeMap<(String, String), String> {
    let found = home.sh("find .tranship/sandbox -type d -name '*.git' -path '*@*' -prune | LC_ALL=C sort");
    assert_eq!(found.code, 0, "{found:?}");
    let mut all = BTreeMap::new();
    for folder in found.out.lines() {
        let at = folder.find("/@").expect("a hashed path");
        let storage = folder[..at].rsplit('/').next().expect("a storage").to_owned();
        let script = format!(
            "git -C '{folder}' for-each-ref && cat '{folder}/HEAD' && git -C '{folder}' fsck --no-dangling 2>&1"
        );
        let refs = home.sh(&script);
        assert_eq!(refs.code, 0, "{folder}: {refs:?}");
        all.insert((storage, folder[at + 1..].to_owned()), refs.out);
    }
    all
}

#[test]
fn everything_moves_once_whole_and_the_next_plan_is_empty() {
    let home = Home::of_example("first-move");
    assert_eq!(home.sh("git init -q && git add -A && git commit -qm begin").code, 0);
    let plan = home.tranship(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 2, "{plan:?}");
    let again = home.tranship(&["plan"]);
    assert_eq!((again.code, &again.out), (0, &plan.out), "the same input gives the same bytes");
    assert!(!home.path().join(FILE).exists(), "a plan writes nothing");
    let before = repositories(&home);
    assert!(before.len() >= 24 && before.keys().all(|(storage, _)| storage == "default"), "{:?}", before.keys());

    let apply = home.tranship(&["apply", "--auto-approve"]);
    assert_eq!(apply.code, 0, "{}\n{}", apply.out, apply.err);
    let after = repositories(&home);
    assert!(after.keys().all(|(storage, _)| storage == "gitaly-01"), "{:?}", after.keys());
    let whole = |all: &BTreeMap<(String, String), String>| -> BTreeMap<String, String> {
        all.iter().map(|((_, path), refs)| (path.clone(), refs.clone())).collect()
    };
    assert_eq!(whole(&before), whole(&after), "each repository, reference by reference");

    let plan = home.tranship(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert_eq!(home.sh("git add -A && git commit -qm moved").code, 0);
    assert_eq!(home.tranship(&["apply", "--auto-approve"]).code, 0);
    assert_eq!(home.sh("git status --porcelain").out, "", "an apply that has nothing to do leaves no trace");
}

#[test]
fn a_corrupted_copy_ends_with_8_and_is_named() {
    let home = Home::of_example("first-move");
    let text = home.read("main.hcl");
    let with_fault =
        text.replacen("sandbox \"office\" {", "sandbox \"office\" {\n  fault \"corrupt_copy\" { nth = 5 }", 1);
    assert_ne!(text, with_fault);
    home.write("main.hcl", &with_fault);
    let apply = home.tranship(&["apply", "--auto-approve"]);
    assert_eq!(apply.code, 8, "{}\n{}", apply.out, apply.err);
    let listed = home.tranship(&["quarantine", "list"]).out;
    let container = listed.split(' ').next().unwrap_or_default();
    assert!(container.starts_with("project-") && listed.contains("urgent"), "{listed}");
    assert!(apply.out.contains(container) || apply.err.contains(container), "{}\n{}", apply.out, apply.err);
    let plan = home.tranship(&["plan"]);
    assert_eq!(plan.code, 7, "the drain cannot end while it is set aside: {plan:?}");
    assert!(plan.out.contains(container), "{plan:?}");
}

#[test]
fn a_saved_plan_does_what_it_says_and_is_refused_when_stale() {
    let home = Home::of_example("first-move");
    assert_eq!(home.tranship(&["plan", "--out", "monday.plan"]).code, 0);
    let saved = home.read("monday.plan");
    assert_eq!(home.tranship(&["plan", "--out", "monday.plan"]).code, 0);
    // The time of observation is an input, and the plan's digest covers it; nothing else may differ.
    let timeless = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.starts_with("  \"as_of\"") && !line.starts_with("  \"digest\""));
        kept.map(ToOwned::to_owned).collect()
    };
    assert_eq!(timeless(&home.read("monday.plan")), timeless(&saved), "the same bytes");
    let saved = home.read("monday.plan");
    assert_eq!(home.tranship(&["show", "monday.plan"]).code, 0);

    let main = home.read("main.hcl");
    home.write("main.hcl", &main.replace("weight = 100", "weight = 90"));
    let stale = home.tranship(&["apply", "monday.plan"]);
    assert_eq!(stale.code, 6, "{stale:?}");
    assert!(stale.err.contains("the configuration or its variables changed"), "{stale:?}");
    assert!(repositories(&home).keys().all(|(storage, _)| storage == "default"), "nothing was done");
    home.write("main.hcl", &main);

    let apply = home.tranship(&["apply", "monday.plan"]);
    assert_eq!(apply.code, 0, "{}\n{}", apply.out, apply.err);
    let stale = home.tranship(&["apply", "monday.plan"]);
    assert_eq!(stale.code, 6, "{stale:?}");
    home.write("monday.plan", &saved.replacen("default", "defualt", 1));
    assert_eq!(home.tranship(&["show", "monday.plan"]).code, 1, "a changed plan is damaged");
}

#[test]
fn an_interrupted_apply_is_taken_up_by_the_next() {
    let home = Home::of_example("first-move");
    assert_eq!(home.tranship(&["plan"]).code, 0, "the world is made");
    let before = repositories(&home);
    let run = "tranship apply --auto-approve --json >events & pid=$!
        until grep -q '\"move_verified\"' events; do kill -0 $pid || break; sleep 0.02; done
        kill -INT $pid; wait $pid";
    let interrupted = home.sh(run);
    assert!([0, 130].contains(&interrupted.code), "{interrupted:?}");
    let next = home.tranship(&["apply", "--auto-approve"]);
    assert_eq!(next.code, 0, "{}\n{}", next.out, next.err);
    let after = repositories(&home);
    assert_eq!(before.len(), after.len());
    assert!(after.keys().all(|(storage, _)| storage == "gitaly-01"), "{:?}", after.keys());
    assert_eq!(home.tranship(&["plan", "--detailed-exitcode"]).code, 0);
}

#[test]
fn a_storage_that_the_sandbox_lacks_is_named_at_its_place() {
    let home = Home::of_example("first-move");
    home.write("more.hcl", "storage \"third\" {\n  weight = 10\n}\n");
    let plan = home.tranship(&["plan"]);
    assert_eq!(plan.code, 1, "{plan:?}");
    assert!(plan.err.contains("more.hcl:1:") && plan.err.contains("default, gitaly-01"), "{plan:?}");
}

#[test]
fn what_is_asked_as_json_is_json_and_nothing_else() {
    let home = Home::of_example("first-move");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = home.tranship(arguments);
        serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{output:?}"))
    };
    assert_eq!(json(&["validate", "--json"])["valid"], true);
    assert_eq!(json(&["plan", "--json", "--out", "a.plan"])["environment"], "first-move");
    assert_eq!(json(&["show", "a.plan", "--json"])["environment"], "first-move");
    json(&["graph", "--json"]);
    let apply = home.tranship(&["apply", "--auto-approve", "--json"]);
    assert_eq!(apply.code, 0, "{apply:?}");
    let events: Vec<serde_json::Value> =
        apply.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for event in &events {
        for key in ["@level", "@message", "@module", "@timestamp", "type"] {
            assert!(event.get(key).is_some(), "{key}: {event}");
        }
    }
    assert_eq!(events.first().map(|event| &event["type"]), Some(&"run_started".into()));
    assert_eq!(events.last().map(|event| &event["type"]), Some(&"run_ended".into()));
    assert_eq!(json(&["show", "--json"])["format"], 1);
    assert_eq!(json(&["version", "--json"])["state_format"], 1);
}

#[test]
fn a_killed_apply_is_taken_up_by_the_next() {
    let home = Home::of_example("first-move");
    assert_eq!(home.tranship(&["plan"]).code, 0, "the world is made");
    let before = repositories(&home);
    let run = "tranship apply --auto-approve --json >events & pid=$!
        until grep -q '\"move_verified\"' events; do kill -0 $pid || break; sleep 0.02; done
        kill -KILL $pid; wait $pid; :";
    assert_eq!(home.sh(run).code, 0);
    assert_eq!(home.tranship(&["state", "list"]).code, 0, "the state file is whole");
    let next = home.tranship(&["apply", "--auto-approve"]);
    assert_eq!(next.code, 0, "{}\n{}", next.out, next.err);
    let after = repositories(&home);
    assert_eq!(before.len(), after.len());
    assert!(after.keys().all(|(storage, _)| storage == "gitaly-01"), "{:?}", after.keys());
    assert_eq!(home.tranship(&["plan", "--detailed-exitcode"]).code, 0);
    let twice = home
        .sh("grep -h '\"move_scheduled\"' events | sed 's/.*\"container\":\"\\([^\"]*\\)\".*/\\1/' | sort | uniq -d");
    assert_eq!(twice.out, "", "scheduled twice within one run");
}
