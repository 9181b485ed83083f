//! The one redactor: what differs from run to run becomes a placeholder.

use std::sync::LazyLock;

use regex::Regex;

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"(/private)?(/[^\s/:']+)*/tranship-it-[A-Za-z0-9]+/home", "[HOME]"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r"\b\d{8}T\d{6}Z(-\d+)?\b", "[RUN]"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
        (r"\b(process|pid) \d+", "$1 [PID]"),
        (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB)/s", "[RATE]"),
        (r"\b(\d+ ?(h|m|min) )*\d+(\.\d+)? ?(ms|s|m|min|h|seconds|minutes)\b", "[DURATION]"),
    ]
    .into_iter()
    .map(|(pattern, with)| (Regex::new(pattern).expect("a pattern"), with))
    .collect()
});

/// Replaces what differs from run to run.
pub(crate) fn redact(text: &str) -> String {
    RULES.iter().fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

#[test]
fn what_differs_from_run_to_run_is_redacted_and_nothing_else() {
    for (text, redacted) in [
        ("see /tmp/tranship-it-aB3x/home/main.hcl:3:1", "see [HOME]/main.hcl:3:1"),
        ("http://127.0.0.1:43121/api", "http://127.0.0.1:[PORT]/api"),
        ("run 20261123T230400Z-02 since 2026-11-23T23:04:00Z", "run [RUN] since [TIME]"),
        ("in 1 h 2 min, 3.5 s, 12ms", "in [DURATION], [DURATION], [DURATION]"),
        ("24 repositories, 1.5 MiB, gitaly-01, project-12", "24 repositories, 1.5 MiB, gitaly-01, project-12"),
        ("41 MiB/s", "[RATE]"),
    ] {
        assert_eq!(redact(text), redacted);
    }
}
