//! `fmt`, `eval` and `explain` as the shell sees them: streams, exit codes, files.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Stdio;

use super::common::home::{Home, Output};
use super::common::project;

const UGLY: &str = "locals {\na=1\n    long_name = 2 # two\n}\n";
const FINE: &str = "locals {\n  a         = 1\n  long_name = 2 # two\n}\n";

fn said(output: &Output) -> (i32, &str, &str) {
    (output.code, &output.out, &output.err)
}

#[test]
fn the_folders_files_are_formatted_and_listed() {
    let home = Home::new();
    for name in ["b.hcl", "a.hcl", "tranship.vars.hcl", "sub/c.hcl", ".hidden/d.hcl", ".e.hcl", "other.tf"] {
        home.write(name, UGLY);
    }
    home.write("fine.hcl", FINE);
    assert_eq!(said(&home.tranship(&["fmt"])), (0, "a.hcl\nb.hcl\ntranship.vars.hcl\n", ""));
    assert_eq!(home.read("a.hcl"), FINE);
    assert_eq!(said(&home.tranship(&["fmt"])), (0, "", ""));
    assert_eq!(said(&home.tranship(&["fmt", "--recursive"])), (0, "sub/c.hcl\n", ""));
    for name in [".hidden/d.hcl", ".e.hcl", "other.tf"] {
        assert_eq!(home.read(name), UGLY, "{name}");
    }
    home.write("a.hcl", UGLY);
    assert_eq!(said(&home.tranship(&["fmt", "fine.hcl", "a.hcl", "sub"])), (0, "a.hcl\n", ""));
    home.write("sub/c.hcl", UGLY);
    assert_eq!(said(&home.tranship(&["-C", "sub", "fmt"])), (0, "c.hcl\n", ""));
}

#[test]
fn a_check_changes_nothing_and_ends_with_2() {
    let home = Home::new();
    home.write("a.hcl", UGLY);
    assert_eq!(said(&home.tranship(&["fmt", "--check"])), (2, "a.hcl\n", ""));
    assert_eq!(said(&home.tranship(&["fmt", "--write=false"])), (0, "a.hcl\n", ""));
    let patch = "a.hcl\n--- old/a.hcl\n+++ new/a.hcl\n@@ -1,4 +1,4 @@\n locals {\n-a=1\n-    long_name = 2 # two\n\
                 +  a         = 1\n+  long_name = 2 # two\n }\n";
    assert_eq!(said(&home.tranship(&["fmt", "--check", "--diff"])), (2, patch, ""));
    assert_eq!(home.read("a.hcl"), UGLY);
    let output = home.sh("tranship fmt --check --diff >a.patch; patch -s -p1 <a.patch && tranship fmt --check");
    if home.sh("patch --version").code == 0 {
        assert_eq!(said(&output), (0, "", ""), "the patch does what fmt does");
    }
}

#[test]
fn standard_input_goes_to_standard_output() {
    let home = Home::new();
    home.write("a.txt", UGLY);
    assert_eq!(said(&home.sh("tranship fmt - <a.txt")), (0, FINE, ""));
    assert_eq!(said(&home.sh("printf a=1 | tranship fmt -")), (0, "a = 1", ""), "no line's end is added");
    assert_eq!(said(&home.sh("printf 'a=1\\r\\n' | tranship fmt -")), (0, "a = 1\r\n", ""));
    assert_eq!(said(&home.sh("tranship fmt --check - <a.txt")), (2, "", ""));
    assert_eq!(said(&home.sh("tranship fmt - <a.txt | tranship fmt --check -")), (0, "", ""));
    assert!(home.sh("tranship fmt --diff - <a.txt").out.starts_with("--- old/stdin\n+++ new/stdin\n@@ -1,4 +1,4 @@\n"));
    assert_eq!(said(&home.sh("printf '\\357\\273\\277a = 1\\n' | tranship fmt -")), (0, "a = 1\n", ""));
    assert_eq!(home.sh("printf '\\357\\273\\277a = 1\\n' | tranship fmt --check -").code, 2);
    let output = home.sh("printf 'a = [\\n' | tranship fmt -");
    assert!(output.code == 1 && output.out.is_empty() && output.err.contains("<stdin>:1:5"), "{output:?}");
    let output = home.tranship(&["fmt", "-", "a.hcl"]);
    assert!(output.code == 3 && output.err.contains("`-` stands alone"), "{output:?}");
}

#[test]
fn a_file_with_an_error_stays_and_the_others_are_formatted() {
    let home = Home::new();
    let broken = "a   = 1\nb = [1\nc=2\n";
    home.write("broken.hcl", broken);
    fs_err::write(home.path().join("bytes.hcl"), b"a=\xff\n").expect("written");
    home.write("a.hcl", UGLY);
    let output = home.tranship(&["fmt"]);
    assert_eq!((output.code, output.out.as_str()), (1, "a.hcl\n"), "{output:?}");
    for text in ["broken.hcl:2:5", "bytes.hcl:1:3", "This bracket", "is not UTF-8", "2 errors"] {
        assert!(output.err.contains(text), "{text}: {output:?}");
    }
    assert_eq!(home.read("broken.hcl"), broken);
    assert_eq!(home.read("a.hcl"), FINE);
    let output = home.tranship(&["fmt", "absent.hcl", "a.hcl", "x.txt", "nowhere"]);
    assert_eq!(output.code, 1);
    for text in ["absent.hcl: there is no such file", "nowhere: there is no such", "x.txt: there is no such"] {
        assert!(output.err.contains(text), "{text}: {output:?}");
    }
    home.write("x.txt", UGLY);
    assert!(home.tranship(&["fmt", "x.txt"]).err.contains("only files whose names end in .hcl"));
}

/// A secret that somebody typed into a file is shown neither in a patch nor beside an error.
#[test]
fn secrets_are_not_shown() {
    let home = Home::new();
    home.write("a.hcl", "gitlab {\ntoken=\"canary\"\nurl=\"https://u:canary@x\"\n}\n");
    home.write("b.hcl", "gitlab {\n  token = \"canary\" }\n}\n");
    let output = home.tranship(&["fmt", "--check", "--diff"]);
    assert!(output.out.contains("-token=***") && output.err.contains("b.hcl"), "{output:?}");
    assert!(!output.out.contains("canary") && !output.err.contains("canary"), "{output:?}");
}

#[test]
fn modes_stay_and_links_are_not_followed_out_of_the_folder() {
    let home = Home::new();
    let path = |name: &str| home.path().join(name);
    let mode = |name: &str| fs_err::metadata(path(name)).expect("a file").permissions().mode() & 0o7777;
    let chmod = |name: &str, mode| {
        fs_err::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    home.write("in/a.hcl", UGLY);
    chmod("in/a.hcl", 0o640);
    home.write("in/locked.hcl", UGLY);
    chmod("in/locked.hcl", 0o444);
    home.write("in/deep/real.hcl", UGLY);
    home.write("out/secret.hcl", UGLY);
    symlink("deep/real.hcl", path("in/inner.hcl")).expect("a link");
    symlink("../out/secret.hcl", path("in/outer.hcl")).expect("a link");
    symlink("../out", path("in/folder")).expect("a link");
    let before = fs_err::metadata(path("in/a.hcl")).expect("a file").ino();
    let output = home.tranship(&["-C", "in", "fmt", "--recursive"]);
    assert_eq!((output.code, output.out.as_str()), (1, "a.hcl\ninner.hcl\n"), "{output:?}");
    assert!(output.err.contains("outer.hcl: a link that leads out of the folder, to "), "{output:?}");
    assert!(output.err.contains("locked.hcl: it is read-only"), "{output:?}");
    assert_eq!((mode("in/a.hcl"), mode("in/locked.hcl")), (0o640, 0o444));
    assert_ne!(fs_err::metadata(path("in/a.hcl")).expect("a file").ino(), before, "replaced as a whole");
    assert_eq!((home.read("in/deep/real.hcl").as_str(), home.read("in/locked.hcl").as_str()), (FINE, UGLY));
    assert!(path("in/inner.hcl").is_symlink() && path("in/outer.hcl").is_symlink());
    let output = home.tranship(&["-C", "in", "fmt", "outer.hcl"]);
    assert!(output.code == 1 && output.err.contains("Name the file itself"), "{output:?}");
    assert_eq!(home.read("out/secret.hcl"), UGLY);
    let left = home.sh("find . -name '.tranship*'");
    assert_eq!(left.out, "", "no temporary file is left");
}

/// Who formats as root, as in a container, must not take the files away from their owner.
#[test]
fn the_owner_stays() {
    let home = Home::new();
    home.write("a.hcl", UGLY);
    let file = home.path().join("a.hcl");
    if std::os::unix::fs::chown(&file, Some(1234), Some(1234)).is_err() {
        eprintln!("SKIPPED: only root can give a file away");
        return;
    }
    assert_eq!(home.tranship(&["fmt"]).out, "a.hcl\n");
    assert_eq!(fs_err::metadata(file).expect("a file").uid(), 1234);
}

#[test]
fn a_pipe_is_no_file_and_a_signal_ends_it() {
    let home = Home::new();
    assert_eq!(home.sh("mkfifo p.hcl").code, 0);
    let output = home.tranship(&["fmt"]);
    assert!(output.code == 1 && output.err.contains("p.hcl: this is no regular file"), "{output:?}");
    let mut command = home.command(env!("CARGO_BIN_EXE_tranship"));
    let mut child = command
        .args(["fmt", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    child.stdin.as_mut().expect("a pipe").write_all(b"a = 1\n").expect("written");
    assert_eq!(home.sh(&format!("kill -INT {}", child.id())).code, 0);
    assert!(!child.wait().expect("ended").success());
}

#[test]
fn the_examples_are_in_canonical_style() {
    let output = Home::new().tranship(&["-C", project().join("examples").as_str(), "fmt", "--check", "--recursive"]);
    assert_eq!(said(&output), (0, "", ""));
}

const CONFIGURATION: &str = r#"
variable "size" {
  type    = number
  default = 20
}
variable "password" {
  default   = "canary"
  sensitive = true
}
locals {
  zones  = ["a", "b"]
  hidden = "x-${var.password}"
}
gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}
storage "gitaly" {
  for_each = toset(local.zones)
  name     = "gitaly-${each.key}"
  address  = "tcp://gitaly-${each.key}:8075"
}
"#;

#[test]
fn an_expression_has_the_names_of_the_configuration() {
    let home = Home::new();
    home.write("main.hcl", CONFIGURATION);
    home.write("note.txt", "a\nb\n");
    for (expression, printed) in [
        ("var.size * GiB", "21474836480\n"),
        ("local.zones", "[\n  \"a\",\n  \"b\",\n]\n"),
        ("storage.gitaly[\"a\"]", "{\n  \"address\" = \"storage.gitaly[\\\"a\\\"]\"\n  \"name\" = \"gitaly-a\"\n}\n"),
        ("values(storage.gitaly)[*].name", "[\n  \"gitaly-a\",\n  \"gitaly-b\",\n]\n"),
        ("file(\"note.txt\")", "<<EOT\na\nb\nEOT\n"),
        ("-1", "-1\n"),
        ("null", "null\n"),
        ("toset([2, 1])", "toset([\n  1,\n  2,\n])\n"),
    ] {
        assert_eq!(said(&home.tranship(&["eval", expression])), (0, printed, ""), "{expression}");
    }
    assert_eq!(
        home.tranship(&["eval", "--json", "{ a = local.zones, b = null }"]).out,
        "{\"a\":[\"a\",\"b\"],\"b\":null}\n"
    );
    assert_eq!(home.tranship(&["eval", "--var", "size=1", "var.size"]).out, "1\n");
    assert_eq!(home.sh("TRANSHIP_VAR_size=3 tranship eval var.size").out, "3\n");
    assert_eq!(home.sh("echo 'length(local.zones)' | tranship eval -").out, "2\n");
    assert_eq!(home.tranship(&["eval", "--", "-var.size"]).out, "-20\n");
    assert_eq!(Home::new().tranship(&["eval", "1 + 1"]).out, "2\n", "no configuration is needed");
}

#[test]
fn an_expression_that_is_wrong_is_shown_with_a_caret() {
    let home = Home::new();
    home.write("main.hcl", CONFIGURATION);
    for (expression, told) in [
        ("local.zone", "--> <expression>:1:1"),
        ("1 +", "--> <expression>:1:3"),
        ("1 +", "an operand behind it"),
        ("upper(", "--> <expression>:1:6"),
        ("length(1, 2)", "<expression>:1:1"),
        ("1 / 0", "<expression>:1"),
        ("repository.size", "`repository` has a meaning only in `where`"),
        ("uper(\"a\")", "Did you mean `upper`?"),
        ("", "<expression>:1:1"),
    ] {
        let output = home.tranship(&["eval", expression]);
        assert!(output.code == 1 && output.out.is_empty() && output.err.contains(told), "{expression}: {output:?}");
    }
    let output = Home::new().tranship(&["eval", "local.zones"]);
    assert!(output.code == 1 && output.err.contains("<expression>:1:"), "{output:?}");
    home.write("broken.hcl", "locals {\n  x = [1\n}\n");
    let output = home.tranship(&["eval", "local.zones"]);
    assert!(output.code == 1 && output.out.is_empty() && output.err.contains("broken.hcl:2:7"), "{output:?}");
    assert_eq!(home.tranship(&["eval"]).code, 3);
}

#[test]
fn a_sensitive_value_is_not_printed() {
    let home = Home::new();
    home.write("main.hcl", CONFIGURATION);
    for expression in [
        "var.password",
        "local.hidden",
        "[length(var.password)]",
        "{ a = [for c in [var.password] : c] }",
        "var",
        "upper(local.hidden)",
    ] {
        assert_eq!(said(&home.tranship(&["eval", expression])), (0, "(sensitive value)\n", ""), "{expression}");
        let output = home.tranship(&["eval", "--json", expression]);
        assert!(output.code == 1 && output.out.is_empty(), "{output:?}");
    }
    for expression in [
        "var.password + 1",
        "tonumber(local.hidden)",
        "local.zones[var.password]",
        "file(var.password)",
        "regex(var.password, \"x\")",
    ] {
        let output = home.tranship(&["eval", expression]);
        assert!(
            output.code == 1 && !output.err.contains("canary") && output.out.is_empty(),
            "{expression}: {output:?}"
        );
    }
}

/// What Terraform's console prints for the same expressions, where it is installed.
#[test]
fn values_are_printed_as_terraforms_console_does() {
    let home = Home::new();
    // No text with a newline: Terraform's heredocs are one newline longer than the text, or indented.
    let expressions = [
        "1",
        "1.5",
        "true",
        "null",
        "\"a\"",
        "[]",
        "{}",
        "[1, [2, \"x\"]]",
        "{ b = 1, a = { c = null, \"d e\" = [] } }",
        "toset([\"b\", \"a\"])",
        "upper(\"a\")",
        "\"é \\\" ${1 + 1}\"",
        "100000000000000000000",
    ];
    home.write("expressions", &(expressions.join("\n") + "\n"));
    if home.sh("command -v terraform").code != 0 {
        eprintln!("SKIPPED: no comparison with `terraform console`, because terraform is not on PATH");
        return;
    }
    let each = "while read -r e; do printf '%s\\n' \"$e\" | CHECKPOINT_DISABLE=1 terraform console; done <expressions";
    let theirs = home.sh(each);
    assert_eq!(theirs.code, 0, "{theirs:?}");
    let ours: String = expressions.iter().map(|expression| home.tranship(&["eval", expression]).out).collect();
    assert_eq!(ours, theirs.out);
}

#[test]
fn the_language_explains_itself() {
    let home = Home::new();
    let list = home.tranship(&["explain"]);
    assert!(list.code == 0 && list.out.contains("\n  storage      A Gitaly storage"), "{list:?}");
    assert!(home.tranship(&["explain", "storage"]).out.starts_with("storage \"NAME\"  (any number of them)\n"));
    assert_eq!(home.tranship(&["explain", "--functions"]).out, home.tranship(&["explain", "functions"]).out);
    let json = home.tranship(&["explain", "--json", "storage.weight"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["type"], &json["range"]), (&"whole number".into(), &"from 0 to 100".into()));
    let output = home.tranship(&["explain", "storage.limits.disk_celing"]);
    assert!(output.code == 1 && output.out.is_empty(), "{output:?}");
    assert!(output.err.contains("Did you mean `storage.limits.disk_ceiling`?"), "{output:?}");
    for arguments in [&["explain", "a", "b"] as &[&str], &["explain", "--markdown", "storage"]] {
        assert_eq!(home.tranship(arguments).code, 3, "{arguments:?}");
    }
}

/// The reference in the examples is what the program prints. `UPDATE=1` rewrites it.
#[test]
fn the_reference_is_generated() {
    let printed = Home::new().tranship(&["explain", "--markdown"]).out;
    let file = project().join("examples/REFERENCE.md");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs_err::write(&file, &printed).expect("rewritten");
    }
    assert!(
        fs_err::read_to_string(file).expect("the reference") == printed,
        "examples/REFERENCE.md: UPDATE=1 rewrites it"
    );
}
