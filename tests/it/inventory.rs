//! The inventory as the shell meets it: written by every plan, read with `--refresh=false` and `--inventory`, gone on
//! with after an interruption, refused when it is not what it should be.

use camino::Utf8Path;
use tranship::model::{ContainerKind, Cursor, StorageName};
use tranship::state::inventory::{self, Draft};

use super::common::home::{Home, Output};

const CONFIGURATION: &str = r#"
tranship { environment = "stage" }
sandbox "office" {
  repositories = 9
  snippets     = 3
  group_wikis  = 3
  seed         = 7
  speed        = 600
  storage "default" { disk = "20Gi" }
  storage "vm-2" { disk = "20Gi" }
}
storage "default" { drain = true }
storage "vm-2" { weight = 100 }
assignment "all" {
  from = [storage.default]
  to   = [storage.vm-2]
}
rollout { backup = "none" }
"#;
const FILE: &str = ".tranship/inventory/stage.jsonl";

fn home() -> Home {
    let home = Home::new();
    home.write("main.hcl", CONFIGURATION);
    home
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The moves of a plan as text, without anything that tells its time.
fn moves(output: &Output) -> String {
    assert_eq!(output.code, 0, "{output:?}");
    json(output)["moves"].to_string()
}

#[test]
fn a_plan_from_the_inventory_is_the_plan_that_wrote_it() {
    let home = home();
    let fresh = home.tranship(&["plan", "--json"]);
    assert!(json(&fresh)["listed"].is_null(), "{fresh:?}");
    let written = home.read(FILE);
    assert_eq!(written.lines().count(), 1 + 3 + 15, "{written}");
    let known = home.tranship(&["plan", "--refresh=false", "--json"]);
    assert_eq!(moves(&known), moves(&fresh));
    assert!(json(&known)["overview"]["listed"]["age_seconds"].is_u64(), "{known:?}");
    assert!(json(&known)["listed"]["began"].is_string());
    let text = home.tranship(&["plan", "--refresh=false"]);
    assert!(text.out.contains("Repositories as listed "), "{text:?}");
    assert!(text.out.contains(": 9 projects, 3 snippets and 3 group wikis"), "{text:?}");
    assert_eq!(home.read(FILE), written, "and it is not written anew");
    home.sh("mkdir kept && mv .tranship/inventory/stage.jsonl kept/monday");
    assert_eq!(moves(&home.tranship(&["plan", "--inventory", "kept/monday", "--json"])), moves(&fresh));
    assert!(!home.path().join(FILE).exists());
}

#[test]
fn an_apply_from_an_inventory_lists_nothing_and_the_next_plan_knows_what_moved() {
    let home = home();
    assert_eq!(home.tranship(&["plan", "--out", "monday.plan"]).code, 0);
    let apply = home.tranship(&["apply", "--refresh=false", "--auto-approve"]);
    assert_eq!(apply.code, 0, "{apply:?}");
    for arguments in [&["plan", "--refresh=false", "--json"] as &[&str], &["plan", "--json"]] {
        let plan = home.tranship(arguments);
        assert_eq!((plan.code, &json(&plan)["empty"]), (0, &serde_json::Value::Bool(true)), "{plan:?}");
    }
}

#[test]
fn a_saved_plan_is_applied_without_any_list_before_its_first_move() {
    let home = home();
    assert_eq!(home.tranship(&["plan", "--out", "monday.plan"]).code, 0);
    home.sh("rm .tranship/inventory/stage.jsonl");
    let apply = home.tranship(&["apply", "monday.plan"]);
    assert_eq!(apply.code, 0, "{apply:?}");
    assert!(home.read(FILE).contains("\"repositories\":0,"), "what is left was listed behind it");
}

#[test]
fn an_interrupted_listing_is_gone_on_with() {
    let home = home();
    let fresh = home.tranship(&["plan", "--json"]);
    let file = home.path().join(FILE);
    let whole = inventory::read(&file).expect("whole");
    let default = StorageName::new("default").expect("name");
    let begin = || {
        let now = whole.origin.ended;
        Draft::begin(&file, "sandbox \"office\"", "stage", vec![default.clone()], now)
    };
    let draft = begin();
    let projects: Vec<_> =
        whole.repositories.iter().filter(|r| r.container.kind == ContainerKind::Project).take(4).cloned().collect();
    let next = Cursor { after: projects[3].container.id, ..Cursor::START };
    draft.page(&default, ContainerKind::Project, &projects, &[], Some(next));
    drop(draft);
    let resumed = home.tranship(&["plan", "--json"]);
    assert!(resumed.err.contains("Going on with the listing that was interrupted"), "{resumed:?}");
    assert_eq!(moves(&resumed), moves(&fresh));
    assert!(!Utf8Path::new(&format!("{file}.part")).exists(), "it is finished");
    assert_eq!(inventory::read(&file).expect("whole").repositories, whole.repositories);
    let plan = home.tranship(&["plan"]);
    assert!(!plan.err.contains("Going on"), "{plan:?}");
}

#[test]
fn what_is_no_inventory_of_this_fleet_is_refused() {
    let home = home();
    let none = home.tranship(&["plan", "--refresh=false"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""), "{none:?}");
    assert!(none.err.contains("the inventory cannot be read") && none.err.contains("tranship plan"), "{none:?}");
    assert_eq!(home.tranship(&["plan"]).code, 0);
    let whole = home.read(FILE);
    let refused = |content: &str, said: &str| {
        home.write("other", content);
        let output = home.tranship(&["plan", "--inventory", "other"]);
        assert_eq!((output.code, output.out.as_str()), (1, ""), "{output:?}");
        assert!(output.err.contains(said), "{said}: {output:?}");
    };
    refused("", "other, line 1: the file is empty");
    refused("hello\n", "other, line 1: this is no inventory");
    refused(&whole[..whole.len() - 10], "the file ends in the middle of this line");
    refused(&whole.replacen("web", "wep", 1), "was changed or damaged");
    home.write("main.hcl", &CONFIGURATION.replace("\"stage\"", "\"production\""));
    refused(&whole, "of environment \"stage\", the configuration is of \"production\"");
    home.write(
        "main.hcl",
        &CONFIGURATION
            .replace("[storage.default]", "[storage.default, storage.vm-2]")
            .replace("drain = true", "weight = 1"),
    );
    refused(&whole, "lacks what is on vm-2");
}
