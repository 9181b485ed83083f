//! The command line as the shell sees it: exit codes, streams, refusals, secrets.

use std::process::Stdio;

use tranship::state::lock::{self, Owner};

use super::common::home::{Home, Output};

const STATE: &str = include_str!("../../testdata/state/every-record.out.json");
const FILE: &str = "tranship.state.json";

fn with_state(content: &str) -> Home {
    let home = Home::new();
    home.write(FILE, content);
    home
}

#[track_caller]
fn fails(output: &Output, code: i32, message: &str) {
    assert_eq!(output.code, code, "{output:?}");
    assert!(output.err.contains(message), "{output:?}");
    assert_eq!(output.out, "", "nothing on standard output: {output:?}");
}

#[test]
fn wrong_usage_is_3_and_asking_for_help_is_0() {
    let home = Home::new();
    for arguments in [
        &["paln"] as &[&str],
        &[],
        &["plan", "--frobnicate"],
        &["plan", "--parallelism", "0"],
        &["plan", "--var", "no-equals"],
        &["apply", "x.plan", "--target", "a.b"],
        &["state", "rm"],
        &["state", "show", "not-an-address"],
        &["quarantine", "release", "shop"],
    ] {
        let output = home.tranship(arguments);
        assert_eq!(output.code, 3, "{arguments:?}: {output:?}");
        assert!(!output.err.is_empty() && output.out.is_empty(), "{output:?}");
    }
    fails(&home.tranship(&["apply", "--json"]), 3, "--json asks nothing");
    for arguments in [&["--help"] as &[&str], &["-h"], &["plan", "--help"], &["--version"], &["version"]] {
        let output = home.tranship(arguments);
        assert_eq!((output.code, output.err.as_str()), (0, ""), "{arguments:?}: {output:?}");
    }
    let help = home.tranship(&["--help"]).out;
    for line in ["Exit codes:", "    8  possible loss", "  130  interrupted", "8 before all, then 130"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn help_needs_no_reader_and_a_closed_pipe_is_no_error() {
    let output = Home::new().sh("{ tranship completions bash; echo $? >code; } | head -n 1; cat code");
    assert!(output.out.ends_with("\n0\n"), "{output:?}");
    assert_eq!(output.err, "");
}

#[test]
fn an_apply_without_terminal_and_approval_begins_nothing() {
    let home = Home::of_example("first-move");
    fails(&home.tranship(&["apply"]), 1, "there is no terminal to ask for approval on; nothing was done");
    assert!(!home.path().join(".tranship").exists(), "not even a folder was made");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    fails(&Home::new().tranship(&["-C", "nowhere", "validate"]), 1, "error: -C nowhere:");
}

#[test]
fn the_state_is_listed_shown_and_edited_by_hand() {
    let home = with_state(STATE);
    assert_eq!(home.tranship(&["state", "list", "storage"]).out, "storage.default\nstorage.gitaly-01\n");
    assert_eq!(home.tranship(&["state", "list", "wave", "--json"]).out, "[\n  \"wave.rest\",\n  \"wave.sample\"\n]\n");
    assert_eq!(home.tranship(&["state", "show", "wave.rest"]).out, "{\n  \"kind\": \"wave\"\n}\n");
    fails(&home.tranship(&["state", "show", "wave.rset"]), 1, "Did you mean 'wave.rest'?");

    let change = "- wave.rest\n-   {\n-     \"kind\": \"wave\"\n-   }\n+ wave.last\n";
    let output = home.tranship(&["state", "mv", "wave.rest", "wave.last", "--dry-run"]);
    assert!(output.code == 0 && output.out.contains("- wave.rest") && output.out.contains("+ wave.last"), "{output:?}");
    assert_eq!(home.read(FILE), STATE, "a dry run changes nothing");
    assert!(!home.path().join(".tranship").exists(), "and makes nothing: {change}");

    assert_eq!(home.tranship(&["state", "mv", "wave.rest", "wave.last"]).code, 0);
    assert_eq!(home.tranship(&["state", "mv", "wave.last", "wave.rest"]).code, 0);
    assert_eq!(home.read(FILE), STATE, "there and back gives the same bytes");
    assert_eq!(home.tranship(&["state", "rm", "wave.rest", "wave.sample"]).code, 0);
    assert_eq!(home.tranship(&["state", "list", "wave"]).out, "");
}

#[test]
fn quarantined_repositories_are_listed_and_released() {
    let home = with_state(STATE);
    let output = home.tranship(&["quarantine", "list"]);
    assert!(output.out.starts_with("project-12 web/shop: missing reference (urgent)\n"), "{output:?}");
    fails(&home.tranship(&["quarantine", "release", "project-12", "project-13"]), 1, "project-13 is not quarantined");
    assert_eq!(home.tranship(&["quarantine", "release", "project-12"]).code, 0);
    assert_eq!(home.tranship(&["quarantine", "list"]).out, "No repository is quarantined.\n");
}

#[test]
fn a_state_file_that_cannot_be_used_is_refused_and_left_alone() {
    for (content, message) in [
        (String::new(), "the file is empty"),
        (STATE[..STATE.len() / 2].to_owned(), "the file ends in the middle"),
        (STATE.replace("  \"format\"", "<<<<<<< HEAD\n  \"format\""), "line 3: an unresolved merge conflict"),
        (STATE.replace("\"format\": 1", "\"format\": 99"), "written in format 99"),
    ] {
        let home = with_state(&content);
        fails(&home.tranship(&["state", "list"]), 1, message);
        fails(&home.tranship(&["state", "rm", "wave.rest"]), 1, message);
        assert_eq!(home.read(FILE), content);
    }
}

#[test]
fn whoever_comes_second_is_told_who_holds_the_lock() {
    let home = with_state(STATE);
    let owner = Owner {
        pid: 4711,
        host: "ci-3".into(),
        user: "ada".into(),
        command: "apply".into(),
        since: "2026-01-02T03:04:05Z".parse().expect("a time"),
    };
    let held = lock::acquire(&home.path(), &owner).expect("free");
    let output = home.tranship(&["state", "rm", "wave.rest"]);
    fails(&output, 5, "locked by `tranship apply` by ada on ci-3, process 4711, since 2026-01-02T03:04:05Z");
    assert_eq!(home.read(FILE), STATE);
    assert_eq!(home.tranship(&["state", "list", "wave.rest"]).code, 0, "reading needs no lock");
    drop(held);
    assert_eq!(home.tranship(&["state", "rm", "wave.rest"]).code, 0);
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let home = Home::new();
    let escapes = |script: &str| home.sh(script).err.contains('\u{1b}');
    assert!(!escapes("tranship -C nowhere validate"));
    assert!(escapes("tranship --color always -C nowhere validate"));
    assert!(escapes("CLICOLOR_FORCE=1 tranship -C nowhere validate"));
    assert!(!escapes("NO_COLOR=1 CLICOLOR_FORCE=1 tranship -C nowhere validate"));
    assert!(!escapes("CLICOLOR_FORCE=1 tranship --no-color -C nowhere validate"));
}

#[test]
fn a_saved_plan_that_is_none_is_refused() {
    let home = Home::of_example("first-move");
    home.write("damaged.plan", "{\"format\": 1");
    fails(&home.tranship(&["show", "damaged.plan"]), 1, "damaged.plan");
    fails(&home.tranship(&["show", "absent.plan"]), 1, "the plan cannot be read");
}

/// A token that stands nowhere but in the environment and in a file must come out nowhere: not in any output at any
/// verbosity, not in any file.
#[test]
fn secrets_are_in_no_output_and_no_file() {
    let home = Home::new();
    home.write("gitaly.token", "canary-of-gitaly\n");
    home.write(
        "main.hcl",
        r#"
gitlab {
  url   = "http://127.0.0.1:9"
  token = { env = "CANARY" }
}
gitaly {
  token = { file = "gitaly.token" }
}
storage "default" {
  address = "tcp://127.0.0.1:9"
}
"#,
    );
    for arguments in ["validate", "plan -vvv", "plan --json -vvv", "apply --auto-approve -vvv", "graph", "show"] {
        let script = format!("CANARY=canary-of-gitlab RUST_LOG=trace RUST_BACKTRACE=1 tranship {arguments}");
        let Output { code, out, err } = home.sh(&script);
        assert!(!out.contains("canary") && !err.contains("canary"), "{arguments}: {out}{err}");
        if arguments.starts_with("plan") || arguments.starts_with("apply") {
            assert_eq!(code, 1, "{arguments}: nothing answers there: {err}");
            assert!(err.contains("127.0.0.1:9"), "{arguments}: {err}");
        }
    }
    let found = home.sh("grep -rl canary . --exclude gitaly.token");
    assert_eq!(found.out, "", "files that hold a secret");
    let unset = home.tranship(&["plan"]);
    fails(&unset, 1, "environment variable CANARY is not set");
}

/// Ctrl-C while the fleet is being read ends at once with 130; nothing hangs.
#[test]
fn an_interrupted_plan_is_130() {
    let home = Home::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    home.write(
        "main.hcl",
        &format!(
            "gitlab {{\n  url = \"http://127.0.0.1:{port}\"\n  token = {{ env = \"CANARY\" }}\n}}\nstorage \"default\" {{\n  address = \"tcp://127.0.0.1:{port}\"\n}}\n"
        ),
    );
    let mut command = home.command(env!("CARGO_BIN_EXE_tranship"));
    let mut child =
        command.arg("plan").env("CANARY", "x").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    // It has connected, and waits for an answer that does not come.
    let _connection = silent.accept().expect("a connection");
    assert!(home.sh(&format!("kill -INT {}", child.id())).code == 0);
    assert_eq!(child.wait().expect("ended").code(), Some(130));
}
