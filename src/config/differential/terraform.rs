//! What Terraform makes of expressions: all of them through one `terraform console`, as values of a configuration.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;

/// Expressions in one list of Terraform's configuration.
const CHUNK: usize = 500;

/// What Terraform makes of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its value as JSON.
    Json(String),
    /// It has none.
    Error,
    /// Terraform would know it only after an apply.
    Unknown,
}

/// What each expression comes to. `None` when there is no Terraform.
pub(super) fn answers(folder: &Path, expressions: &[&str]) -> Option<Vec<Answer>> {
    let version = Command::new("terraform").arg("version").output().ok().filter(|o| o.status.success())?;
    println!("{}", String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default());
    let mut text = String::new();
    let chunks = expressions.chunks(CHUNK);
    let names: Vec<String> = (0..chunks.len()).map(|i| format!("local.r{i}")).collect();
    for (i, chunk) in chunks.enumerate() {
        let _ = writeln!(text, "locals {{\n  r{i} = [");
        for expression in chunk {
            let _ = writeln!(text, "    try(base64encode(jsonencode({expression})), null),");
        }
        text.push_str("  ]\n}\n");
    }
    let _ = writeln!(text, "locals {{\n  all = concat({})\n}}", names.join(", "));
    std::fs::write(folder.join("main.tf"), text).expect("writable");
    let mut console = Command::new("terraform")
        .arg("console")
        .current_dir(folder)
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_CLI_ARGS", "-no-color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it ran just now");
    // The console writes texts in a way of its own; of Base64 it leaves every letter.
    console.stdin.take().expect("piped").write_all(b"local.all\n").expect("it reads");
    let output = console.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout);
    let lines = told.lines().filter(|line| line.starts_with("  "));
    let answers: Vec<Answer> = lines.map(|line| answer(line.trim().trim_end_matches(','))).collect();
    assert_eq!(
        answers.len(),
        expressions.len(),
        "terraform console: {told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(answers)
}

fn answer(line: &str) -> Answer {
    let encoded = line.trim_matches('"');
    match base64::engine::general_purpose::STANDARD.decode(encoded) {
        Ok(bytes) if line.starts_with('"') => Answer::Json(String::from_utf8(bytes).expect("JSON is UTF-8")),
        _ if line.contains("null") => Answer::Error,
        _ => Answer::Unknown,
    }
}
