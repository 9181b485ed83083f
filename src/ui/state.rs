//! A state as text: all records in groups, their addresses, or one record.

use std::fmt::Write as _;

use super::Style;
use super::text::{self, Paint, Table, escape, prose, repositories};
use crate::model::{Address, Bytes};
use crate::state::{
    ApprovalRecord, AssignmentRecord, HoldRecord, ProbeRecord, QuarantineRecord, Record, State, StorageRecord,
    WaveRecord,
};

/// A state as text: quarantined repositories first, then storages, assignments, waves, and what was passed.
pub fn state(state: &State, style: Style) -> String {
    let State { environment, records } = state;
    let paint = Paint::new(style);
    let number = text::count(records.len() as u64, "record", "records");
    let mut out = format!("Environment {}: {number}.\n", escape(environment));
    if records.is_empty() {
        out.push_str("Nothing was applied yet.\n");
        return out;
    }
    let address = |a: &Address| paint.change(&escape(&a.to_string()));
    let mut quarantined = String::new();
    let mut storages = Table::new(style, &[]);
    let mut assignments = Table::new(style, &[1, 2]);
    let mut waves = Table::new(style, &[]);
    let mut holds = Table::new(style, &[]);
    for (at, record) in records {
        match record {
            Record::Quarantine(record) => {
                let QuarantineRecord { path, source, destination, cause, evidence, remedy, urgent } = record;
                let word = if *urgent { paint.danger("! URGENT") } else { paint.warning("!") };
                let _ = writeln!(
                    quarantined,
                    "  {word} {} {}: {source} -> {destination}: {}",
                    address(at),
                    escape(path),
                    escape(cause)
                );
                for line in evidence {
                    let _ = writeln!(quarantined, "      seen: {}", escape(line));
                }
                quarantined.push_str(&prose(style, 6, &format!("what to do: {}", text::escape_lines(remedy))));
            }
            Record::Storage(StorageRecord {
                weight,
                filesystem_id,
                drained,
                objects,
                // `state show` has them.
                statefulset_uid: _,
                claim_uid: _,
                namespace: _,
                cluster_uid: _,
                probed,
                rotation_seconds,
                left,
            }) => storages.row([
                address(at),
                weight.map_or_else(|| "weight not set".to_owned(), |w| format!("weight {w}")),
                drained.as_ref().map_or_else(String::new, |d| format!("drained (certificate {})", short(d))),
                filesystem_id.as_ref().map_or_else(String::new, |id| format!("filesystem {}", escape(id))),
                match objects.len() {
                    0 => String::new(),
                    number => text::count(number as u64, "object", "objects"),
                },
                if probed.is_some() { "probed".to_owned() } else { String::new() },
                rotation_seconds.map_or_else(String::new, |seconds| format!("last restart {seconds}")),
                match left.len() {
                    0 => String::new(),
                    number => format!("{} left by GitLab", text::count(number as u64, "copy", "copies")),
                },
            ]),
            Record::Assignment(AssignmentRecord { count, bytes, verdicts, digest, verification, waves, whole }) => {
                let checked: Vec<String> =
                    whole.iter().map(|(v, n)| format!("{n} checked whole: {}", escape(v))).collect();
                let verdicts: Vec<String> = verdicts.iter().map(|(v, n)| format!("{n} {}", escape(v))).collect();
                let waves: Vec<_> = waves.iter().map(|w| escape(w)).collect();
                assignments.row([
                    address(at),
                    format!("{} moved", repositories(*count)),
                    Bytes(*bytes).to_string(),
                    verdicts.into_iter().chain(checked).collect::<Vec<_>>().join(", "),
                    if waves.is_empty() { String::new() } else { format!("waves passed: {}", waves.join(", ")) },
                    format!("moves {}", short(digest)),
                    format!("verification {}", short(verification)),
                ]);
            }
            Record::Wave(WaveRecord { sample_threshold, ends_due }) => waves.row([
                address(at),
                sample_threshold.as_ref().map_or_else(String::new, |t| match t.strip_prefix("to:") {
                    Some(end) => format!("batch up to {}", escape(end)),
                    None => format!("sample up to {}", escape(t)),
                }),
                if *ends_due { "its hooks on wave-done are due".to_owned() } else { String::new() },
            ]),
            // `state show` has the rest.
            Record::Hold(HoldRecord { storages: _, passed, at_once: _, approvals, rollback: _ }) => {
                let approved = approvals.iter().map(|(gate, ApprovalRecord { by, reason })| {
                    let why = if reason.is_empty() { String::new() } else { format!(" ({})", escape(reason)) };
                    format!("{} approved by {}{why}", escape(&gate.to_string()), escape(by))
                });
                let approved: Vec<String> = approved.collect();
                let word = if *passed { "passed" } else { "not passed yet" };
                holds.row([address(at), word.to_owned(), approved.join(", ")]);
            }
            Record::Probe(ProbeRecord { home, storage }) => {
                holds.row([address(at), format!("begun on {storage}; the project belongs on {home}"), String::new()]);
            }
        }
    }
    let groups = [
        ("Quarantined", quarantined),
        ("Storages", storages.render(2)),
        ("Assignments", assignments.render(2)),
        ("Waves", waves.render(2)),
        ("Release", holds.render(2)),
    ];
    for (title, body) in groups.iter().filter(|(_, body)| !body.is_empty()) {
        let _ = write!(out, "\n{}\n{body}", paint.bold(title));
    }
    out
}

/// The first digits of a digest: enough to compare by eye; `state show` has all.
fn short(digest: &str) -> String {
    let head: String = digest.chars().take(12).collect();
    escape(&head).into_owned()
}

/// The addresses of all records, one a line.
pub fn state_list(state: &State) -> String {
    let mut out = String::new();
    for address in state.records.keys() {
        let _ = writeln!(out, "{}", escape(&address.to_string()));
    }
    out
}

/// One record, every fact of it, or `None` when there is none at this address.
pub fn state_show(state: &State, address: &Address) -> Option<String> {
    let record = state.records.get(address)?;
    let mut out = format!("# {}\n", escape(&address.to_string()));
    // By way of its serialised form: a fact that the file has cannot be forgotten here.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(record) {
        let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &fields {
            let _ = writeln!(out, "{:width$} = {}", escape(name), literal(value, 0));
        }
    }
    Some(out)
}

/// A value as the language writes it: long lists have an item a line.
fn literal(value: &serde_json::Value, depth: usize) -> String {
    use serde_json::Value;
    let pad = "  ".repeat(depth + 1);
    let end = "  ".repeat(depth);
    match value {
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(items) => {
            let lines: String = items.iter().map(|i| format!("{pad}{},\n", literal(i, depth + 1))).collect();
            format!("[\n{lines}{end}]")
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let line = |(k, v): (&String, &Value)| format!("{pad}{} = {}\n", escape(k), literal(v, depth + 1));
            let lines: String = fields.iter().map(line).collect();
            format!("{{\n{lines}{end}}}")
        }
        // A string's JSON form has its control characters escaped; what JSON leaves is escaped here.
        other => escape(&other.to_string()).into_owned(),
    }
}
