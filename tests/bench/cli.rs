//! What a plan of nothing to do costs, as a user feels it: CPU of the whole program, the sandbox being another process.
//! Terraform's own plan of nothing to do, on one built-in resource, is measured the same way when it is on PATH.
//!
//! `cargo bench --bench cli`. Prints CPU means over the runs; nothing is asserted: machines are shared and noisy.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::Path;
use std::process::{Command, Stdio};

const RUNS: u32 = 20;

/// User and system time of all children that ended, in clock ticks of 10 ms.
fn children_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 16 and 17 of the whole line; two stand before the closing parenthesis.
    [13, 14].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum()
}

fn run(command: &mut Command) -> Option<i32> {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?.code()
}

fn mean_ms(mut command: impl FnMut() -> Command) -> f64 {
    let before = children_ticks();
    for _ in 0..RUNS {
        run(&mut command());
    }
    (children_ticks() - before) as f64 * 10.0 / f64::from(RUNS)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the example").flatten() {
        if entry.path().extension().is_some_and(|e| e == "hcl") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path().join("first-move");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/first-move"), &here);
    let tranship = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tranship"));
        command.arg("-C").arg(&here);
        command
    };
    let applied = run(tranship().args(["apply", "--auto-approve"]));
    let empty = run(tranship().args(["plan", "--detailed-exitcode"]));
    println!("first-move applied: exit {applied:?}; next plan: exit {empty:?}");
    let ours = mean_ms(|| {
        let mut command = tranship();
        command.args(["plan", "--detailed-exitcode"]);
        command
    });
    println!("no-op plan, 24 repositories, sandbox in another process: {ours:.1} ms CPU (mean of {RUNS})");
    let validate = mean_ms(|| {
        let mut command = tranship();
        command.arg("validate");
        command
    });
    println!("validate: {validate:.1} ms CPU (mean of {RUNS})");
    run(tranship().args(["sandbox", "reset"]));

    // A scan for each instance would make ten times as many cost a hundred times.
    let declared = |count: u32| {
        let here = folder.path().join(format!("declared-{count}"));
        std::fs::create_dir_all(&here).expect("a folder");
        let text = format!(
            "gitlab {{\n  url = \"https://gitlab.example.com\"\n  token = {{ env = \"GITLAB_TOKEN\" }}\n}}\n\
             storage \"s\" {{\n  for_each = toset([for i in range({count}) : format(\"%05d\", i)])\n  name = \"s-${{each.key}}\"\n  address = \"tcp://s-${{each.key}}:8075\"\n}}\n"
        );
        std::fs::write(here.join("main.hcl"), text).expect("a file");
        let exit = run(Command::new(env!("CARGO_BIN_EXE_tranship")).arg("-C").arg(&here).arg("validate"));
        let cost = mean_ms(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tranship"));
            command.arg("-C").arg(&here).arg("validate");
            command
        });
        println!("validate, {count} storages by for_each: {cost:.1} ms CPU (mean of {RUNS}), exit {exit:?}");
        cost
    };
    let (one, two) = (declared(5_000), declared(10_000));
    println!("twice as many storages: x {:.2}", two / one);

    let other = folder.path().join("terraform");
    std::fs::create_dir_all(&other).expect("a folder");
    std::fs::write(other.join("main.tf"), "resource \"terraform_data\" \"one\" {}\n").expect("a file");
    let terraform = || {
        let mut command = Command::new("terraform");
        command.current_dir(&other).env("CHECKPOINT_DISABLE", "1");
        command
    };
    if run(terraform().arg("init")) != Some(0) || run(terraform().args(["apply", "-auto-approve"])) != Some(0) {
        println!("SKIPPED: Terraform's figure, because terraform is not on PATH or cannot initialise here");
        return;
    }
    let theirs = mean_ms(|| {
        let mut command = terraform();
        command.args(["plan", "-detailed-exitcode"]);
        command
    });
    println!("terraform plan, one built-in resource: {theirs:.1} ms CPU (mean of {RUNS}); ratio {:.2}", ours / theirs);
}
