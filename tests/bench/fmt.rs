//! What formatting costs beside `terraform fmt`, how it grows, and what starting costs: CPU of the whole program.
//!
//! `cargo bench --bench fmt`. Prints medians; nothing is asserted: machines are shared and noisy.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tranship::config::fmt::Formatter;

/// User and system time of a command, in milliseconds, with its exit code: as bash tells them, to the millisecond.
fn cpu_ms(command: &str, folder: &Path) -> (f64, i32) {
    let output = Command::new("bash")
        .args(["-c", &format!("TIMEFORMAT='%3U %3S'; time {command} >/dev/null 2>&1")])
        .envs([("CHECKPOINT_DISABLE", "1"), ("LC_ALL", "C")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let times = text.lines().last().unwrap_or_default().split_whitespace();
    let seconds: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
    (seconds * 1000.0, output.status.code().unwrap_or(-1))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Median of the CPU over runs, each on a fresh copy of the text.
fn measure(runs: usize, script: &str, folder: &Path, file: &str, text: &str) -> (f64, i32) {
    let one = || {
        std::fs::write(folder.join(file), text).expect("written");
        cpu_ms(script, folder)
    };
    let found: Vec<(f64, i32)> = (0..runs).map(|_| one()).collect();
    (median(found.iter().map(|(ms, _)| *ms).collect()), found.first().map_or(-1, |(_, code)| *code))
}

/// A configuration in nobody's style, of about so many bytes.
fn text(bytes: usize) -> String {
    let mut text = String::new();
    for i in 0.. {
        if text.len() >= bytes {
            break;
        }
        let _ = write!(
            text,
            "storage \"s-{i}\" {{\naddress = \"tcp://gitaly-{i}.internal:8075\" # as GitLab dials it\n  weight=100\n    \
             metrics = {{ instance = \"gitaly-{i}:9236\", zone=\"${{ var.zone }}-{i}\" }}\n\n  limits {{\n    \
             disk_ceiling = 0.80  # no move may take it above\n    max_moves=8\n  }}\n}}\n\n# Which belong where.\n\
             assignment \"a-{i}\" {{\n  from = [ storage.default ]\n  where = repository.size > {i}*GiB || startswith( \
             repository.path, \"gitlab-org/{i}\" )\n  to = [ for s in values(storage.gitaly): s if s.name!=\"x-{i}\" ]\n  \
             description = <<-EOT\n    Text {i}\n      ${{ local.x }}\n    EOT\n}}\n\n"
        );
    }
    text
}

/// Texts whose parts could cost more than their length, of about so many bytes.
fn awkward(bytes: usize) -> [(&'static str, String); 6] {
    let many = |part: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        (0..)
            .map(part)
            .take_while(|part| {
                text.push_str(part);
                text.len() < bytes
            })
            .for_each(drop);
        text
    };
    [
        ("one block of attributes", format!("a {{\n{}}}\n", many(&|i| format!("a{i}=1 # c\n")))),
        ("one list on one line", format!("a=[{}]\n", many(&|i| format!("{i} ,")))),
        ("one object over lines", format!("a={{\n{}}}\n", many(&|i| format!("a{i}=1\n")))),
        ("one text", format!("a=\"{}\"\n", "x ".repeat(bytes / 2))),
        ("one heredoc", format!("a=<<EOT\n{}EOT\n", many(&|i| format!("  {i}\n")))),
        ("comments", many(&|i| format!("# {i}\n"))),
    ]
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let ours = env!("CARGO_BIN_EXE_tranship");
    let has_terraform = cpu_ms("terraform version", folder).1 == 0;
    if !has_terraform {
        println!("SKIPPED: Terraform's figures, because terraform is not on PATH");
    }

    let (small, large) = (text(600), text(3_000_000));
    for (name, text, runs) in [("small folder", &small, 21), ("3 MB", &large, 5)] {
        let (fmt, code) = measure(runs, &format!("{ours} fmt"), folder, "main.hcl", text);
        println!("fmt, {name} ({} bytes): {fmt:.1} ms CPU (median of {runs}), exit {code}", text.len());
        if has_terraform {
            let (theirs, code) = measure(runs, "terraform fmt main.tf", folder, "main.tf", text);
            println!("  terraform fmt: {theirs:.1} ms CPU (median of {runs}), exit {code}; ratio {:.3}", fmt / theirs);
        }
    }
    let valid = "storage \"default\" {\n  address = \"tcp://gitaly-01.internal:8075\"\n}\n";
    let (validate, code) = measure(21, &format!("{ours} validate"), folder, "main.hcl", valid);
    println!("validate, small folder: {validate:.1} ms CPU (median of 21), exit {code}");

    // In this process, so that starting does not hide the growth.
    let seconds = |text: &str| {
        let one = || {
            let begin = Instant::now();
            let formatted = Formatter::default().format("x.hcl", text.as_bytes().to_vec());
            (begin.elapsed().as_secs_f64(), formatted.is_some())
        };
        let found: Vec<(f64, bool)> = (0..3).map(|_| one()).collect();
        assert!(found.iter().all(|(_, whole)| *whole), "it is formatted");
        median(found.iter().map(|(seconds, _)| *seconds).collect())
    };
    let (one, two) = (seconds(&text(1_500_000)), seconds(&large));
    println!("twice as much text: {one:.3} s, then {two:.3} s: x {:.2}", two / one);
    for ((name, half), (_, whole)) in awkward(1_000_000).into_iter().zip(awkward(2_000_000)) {
        let (one, two) = (seconds(&half), seconds(&whole));
        println!("  {name}, 1 and 2 MB: {one:.3} s, then {two:.3} s: x {:.2}", two / one);
    }
}
