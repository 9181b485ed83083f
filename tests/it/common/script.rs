//! Runs scripts that read as stories: `$ command`, below it the expected output, then `[exit N]` when that is not 0.
//!
//! `> ` continues a command on the next line. A line `...` of the expected output stands for any number of lines, `[..]`
//! for any text within a line. In a story file (`.txt`) everything is script, and a line with `## ` is told to the
//! reader; in Markdown only blocks fenced with ```` ```console ```` are. Both sides are redacted before they are compared,
//! so that Markdown may show real durations. With `UPDATE=1`, what differs is rewritten.

use std::fmt::Write as _;

use camino::Utf8Path;

use super::home::Home;
use super::redact::redact;

/// A stretch of a script.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Lines for the reader, kept as they are.
    Text(String),
    /// A command and what it should print.
    Step { command: String, expected: String },
}

/// Runs a script's commands in a home, one after the other, and compares; or rewrites the file. Returns what differs.
pub(crate) fn run(file: &Utf8Path, home: &Home) -> Result<(), String> {
    let text = fs_err::read_to_string(file).expect("a script");
    let markdown = file.extension() == Some("md");
    let parts = parse(&text, markdown);
    assert!(parts.iter().any(|part| matches!(part, Part::Step { .. })), "{file}: there is no command in it");
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let (mut after, mut wrong) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Text(text) => after.push_str(&text),
            Part::Step { command, expected } => {
                let raw = step(home, &command);
                let actual = redact(&raw);
                let holds = matches(&redact(&expected), &actual);
                if !holds {
                    let _ = writeln!(wrong, "$ {command}\n--- expected\n{expected}--- found\n{actual}");
                }
                let _ = writeln!(after, "$ {}", command.replace('\n', "\n> "));
                after.push_str(match (holds, markdown) {
                    (true, _) => &expected,
                    (false, true) => &raw,
                    (false, false) => &actual,
                });
            }
        }
    }
    if update && after != text {
        fs_err::write(file, after).expect("rewritten");
    } else if !wrong.is_empty() {
        return Err(format!("{file}: not as expected; UPDATE=1 rewrites it\n{wrong}"));
    }
    Ok(())
}

/// Runs one command: both streams as one, with the exit code.
fn step(home: &Home, command: &str) -> String {
    let output = home.sh(&format!("{{ {command}\n}} 2>&1"));
    let mut text = output.out;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Trailing blanks would be lost on the way through editors.
    text = text.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n");
    if output.code != 0 {
        let _ = writeln!(text, "[exit {}]", output.code);
    }
    text
}

/// Splits a script. Blank lines at the end of an expected output belong to the text that follows.
fn parse(text: &str, markdown: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut inside = !markdown;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if markdown && line.starts_with("```") {
            inside = !inside && line == "```console";
        }
        let Some(first) = line.strip_prefix("$ ").filter(|_| inside) else {
            match parts.last_mut() {
                Some(Part::Text(before)) => before.extend([line, "\n"]),
                _ => parts.push(Part::Text(format!("{line}\n"))),
            }
            continue;
        };
        let mut command = first.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
            command.push('\n');
            command.push_str(&more[2..]);
        }
        let ends = |line: &str| line.starts_with("$ ") || line.starts_with("## ") || (markdown && line == "```");
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !ends(line)) {
            expected.push(line);
        }
        let kept = expected.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        let blank = expected.len() - kept;
        let expected = expected[..kept].iter().fold(String::new(), |text, line| text + line + "\n");
        parts.push(Part::Step { command, expected });
        if blank > 0 {
            parts.push(Part::Text("\n".repeat(blank)));
        }
    }
    parts
}

/// Compares line by line; `...` matches any lines, `[..]` any text.
fn matches(expected: &str, actual: &str) -> bool {
    fn lines(expected: &[&str], actual: &[&str]) -> bool {
        match expected.split_first() {
            None => actual.is_empty(),
            Some((&"...", rest)) => (0..=actual.len()).any(|skip| lines(rest, &actual[skip..])),
            Some((first, rest)) => {
                actual.split_first().is_some_and(|(line, more)| within(first, line) && lines(rest, more))
            }
        }
    }
    fn within(expected: &str, actual: &str) -> bool {
        let Some((start, rest)) = expected.split_once("[..]") else { return expected == actual };
        let Some(actual) = actual.strip_prefix(start) else { return false };
        actual.char_indices().map(|(at, _)| at).chain([actual.len()]).any(|at| within(rest, &actual[at..]))
    }
    let expected: Vec<&str> = expected.lines().collect();
    // Blank lines at the end are no part of an expected output, so they count for nothing here either.
    let actual: Vec<&str> = actual.trim_end_matches('\n').lines().collect();
    lines(&expected, &actual)
}

#[test]
fn a_script_is_parsed_and_put_together_again() {
    let text = "## A story.\n\n$ cat <<EOF\n> a\n> EOF\na\n\n## Next.\n$ false\n[exit 1]\n";
    let parts = parse(text, false);
    assert_eq!(
        parts,
        [
            Part::Text("## A story.\n\n".into()),
            Part::Step { command: "cat <<EOF\na\nEOF".into(), expected: "a\n".into() },
            Part::Text("\n## Next.\n".into()),
            Part::Step { command: "false".into(), expected: "[exit 1]\n".into() },
        ]
    );
    let markdown = "# T\n$ no\n```console\n$ yes\nok\n```\nend\n```sh\n$ no\n```\n";
    let steps = parse(markdown, true).into_iter().filter(|part| matches!(part, Part::Step { .. })).count();
    assert_eq!(steps, 1, "only console blocks are run");
}

#[test]
fn wildcards_match_and_differences_show() {
    for (expected, actual, holds) in [
        ("a\n", "a\n", true),
        ("a\n", "a\n\n", true),
        ("a\n", "b\n", false),
        ("a\n...\nz\n", "a\nb\nc\nz\n", true),
        ("a\n...\nz\n", "a\nz\n", true),
        ("a\n...\nz\n", "a\nb\n", false),
        ("moved [..] of 24\n", "moved 3 of 24\n", true),
        ("moved [..] of 24\n", "moved 3 of 25\n", false),
        ("", "a\n", false),
    ] {
        assert_eq!(matches(expected, actual), holds, "{expected:?} {actual:?}");
    }
}

#[test]
fn a_command_is_run_with_both_streams_and_its_exit_code() {
    let home = Home::new();
    assert_eq!(step(&home, "echo a; echo b >&2; exit 3"), "a\nb\n[exit 3]\n");
    assert_eq!(step(&home, "printf x"), "x\n");
}
