//! A plan as a file: canonical JSON (keys sorted, two-space indent, final newline) with a digest over everything
//! else in it, so that a change, a cut or another version is found before anything is done.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Plan;

/// A plan file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SavedPlanError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl SavedPlanError {
    fn new(message: impl Into<String>, help: &str) -> Self {
        Self { message: message.into(), help: help.to_owned() }
    }
}

const AGAIN: &str = "Make the plan again: tranship plan --out FILE";

/// The plan as canonical JSON with a digest over itself.
pub fn encode(plan: &Plan) -> String {
    let digest = digest_of(plan);
    let mut text = String::new();
    write_plan(plan, Some(&digest), Some(0), &mut text, &mut |_| {});
    text.push('\n');
    text
}

/// The digest that [`encode`] writes into the file: what `plan --out` may print and `show` compare.
pub fn digest_of(plan: &Plan) -> String {
    let mut hash = Sha256::new();
    let mut text = String::new();
    write_plan(plan, None, None, &mut text, &mut |part| {
        hash.update(part.as_bytes());
        part.clear();
    });
    hash.update(text.as_bytes());
    hex::encode(hash.finalize())
}

/// Writes a plan with its keys sorted, one move after the other: a million moves at once as JSON values would need
/// many times the plan's memory. `flush` is called between moves and may take what was written.
fn write_plan(
    plan: &Plan,
    digest: Option<&str>,
    indent: Option<usize>,
    out: &mut String,
    flush: &mut dyn FnMut(&mut String),
) {
    let deeper = indent.map(|depth| depth + 1);
    let mut map = without_moves(plan);
    if let Some(digest) = digest {
        map.insert("digest".to_owned(), Value::String(digest.to_owned()));
    }
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push('{');
    for (n, (key, value)) in entries.into_iter().enumerate() {
        separate(out, n, deeper);
        write_scalar(out, &Value::String(key.clone()));
        out.push_str(if indent.is_some() { ": " } else { ":" });
        if key != "moves" || plan.moves.is_empty() {
            write_value(out, value, deeper);
            continue;
        }
        let inside = deeper.map(|depth| depth + 1);
        out.push('[');
        for (n, one) in plan.moves.iter().enumerate() {
            separate(out, n, inside);
            write_value(out, &serde_json::to_value(one).unwrap_or_default(), inside);
            flush(out);
        }
        line(out, deeper);
        out.push(']');
    }
    line(out, indent);
    out.push('}');
}

/// All fields of a plan but its moves, which stand as an empty list.
fn without_moves(plan: &Plan) -> serde_json::Map<String, Value> {
    let moves = Vec::new();
    let Plan { format, environment, as_of, basis, actions, edges, moves: _, drift, findings, report, .. } = plan;
    let Plan { listed, quarantined, weights, storages, max_moves, estimate, policies, samples, renames, .. } = plan;
    let Plan { placement, concurrency, windows, freeze, source_fsck, hooks, durations, .. } = plan;
    let rest = Plan {
        format: *format,
        environment: environment.clone(),
        as_of: *as_of,
        listed: *listed,
        basis: basis.clone(),
        actions: actions.clone(),
        edges: edges.clone(),
        moves,
        drift: drift.clone(),
        findings: findings.clone(),
        report: report.clone(),
        quarantined: quarantined.clone(),
        weights: weights.clone(),
        storages: storages.clone(),
        placement: placement.clone(),
        max_moves: *max_moves,
        concurrency: concurrency.clone(),
        windows: windows.clone(),
        freeze: freeze.clone(),
        source_fsck: *source_fsck,
        hooks: hooks.clone(),
        durations: durations.clone(),
        estimate: estimate.clone(),
        policies: policies.clone(),
        samples: samples.clone(),
        renames: renames.clone(),
    };
    // Serialising plain data to a value fails for no plan: its maps' keys are strings and its numbers whole.
    match serde_json::to_value(rest) {
        Ok(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}

/// What is read before the rest, to know whether that can be read at all.
#[derive(serde::Deserialize)]
struct Header {
    format: Option<u64>,
    digest: Option<String>,
}

/// Reads a saved plan and checks version and digest.
///
/// # Errors
/// Damaged, cut short, from another version, not a plan.
pub fn decode(text: &str) -> Result<Plan, SavedPlanError> {
    if text.trim().is_empty() {
        return Err(SavedPlanError::new("The plan file is empty.", AGAIN));
    }
    let header: Header = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            return not_a_plan();
        }
        let message = if error.is_eof() {
            format!("The plan file ends early, at line {}: it was cut short.", error.line())
        } else {
            format!("The plan file is not JSON: {error}.")
        };
        SavedPlanError::new(message, AGAIN)
    })?;
    let Some(written) = header.digest else { return Err(not_a_plan()) };
    check_format(header.format)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let plan: Plan = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let message = format!("The plan file was changed or damaged: at `{}`: {}.", error.path(), error.inner());
        SavedPlanError::new(message, AGAIN)
    })?;
    let computed = digest_of(&plan);
    if written != computed {
        let shown: String = written.chars().take(64).collect();
        return Err(SavedPlanError::new(
            format!(
                "The plan file was changed after it was made: its digest says {shown}, its content has {computed}."
            ),
            AGAIN,
        ));
    }
    sound(&plan)?;
    Ok(plan)
}

fn not_a_plan() -> SavedPlanError {
    SavedPlanError::new(
        "This JSON is not a saved plan: it has no `format` and `digest`.",
        "Give a file that `tranship plan --out FILE` wrote.",
    )
}

fn check_format(format: Option<u64>) -> Result<(), SavedPlanError> {
    let ours = u64::from(Plan::FORMAT);
    match format {
        None => Err(not_a_plan()),
        Some(theirs) if theirs == ours => Ok(()),
        Some(theirs) if theirs > ours => Err(SavedPlanError::new(
            format!("The plan file has format {theirs}, newer than this version of tranship reads ({ours})."),
            "Apply it with the version of tranship that made it, or make the plan again with this one.",
        )),
        Some(theirs) => Err(SavedPlanError::new(
            format!("The plan file has format {theirs}, older than this version of tranship reads ({ours})."),
            AGAIN,
        )),
    }
}

/// A digest proves that nothing changed, not that a planner made it: what the engine relies on is checked too.
fn sound(plan: &Plan) -> Result<(), SavedPlanError> {
    match super::check::faults(plan).first() {
        None => Ok(()),
        Some(fault) => Err(SavedPlanError::new(format!("The plan file contradicts itself: {fault}."), AGAIN)),
    }
}

/// SHA-256 in hex of a value's canonical text without white space.
pub(super) fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, None);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Writes a value with its keys sorted; `indent` is the depth for people, or `None` for one line.
fn write_value(out: &mut String, value: &Value, indent: Option<usize>) {
    let deeper = indent.map(|depth| depth + 1);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                separate(out, n, deeper);
                write_scalar(out, &Value::String(key.clone()));
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write_value(out, value, deeper);
            }
            line(out, indent);
            out.push('}');
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('[');
            for (n, value) in list.iter().enumerate() {
                separate(out, n, deeper);
                write_value(out, value, deeper);
            }
            line(out, indent);
            out.push(']');
        }
        scalar => write_scalar(out, scalar),
    }
}

fn write_scalar(out: &mut String, value: &Value) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn separate(out: &mut String, n: usize, indent: Option<usize>) {
    if n > 0 {
        out.push(',');
    }
    line(out, indent);
}

fn line(out: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::World;

    fn plan() -> Plan {
        World::drain(&[5, 3_000_000_000, 0]).plan()
    }

    fn message(text: &str) -> String {
        let error = decode(text).expect_err("refused");
        assert!(!error.help.is_empty());
        error.message
    }

    #[test]
    fn a_plan_comes_back_as_it_was_and_its_text_is_stable() {
        let plan = plan();
        let text = encode(&plan);
        assert_eq!(decode(&text), Ok(plan.clone()));
        assert_eq!(encode(&decode(&text).expect("whole")), text);
        assert!(text.ends_with("}\n") && text.starts_with("{\n  \"actions\": ["));
        assert!(text.contains(&digest_of(&plan)));
        // Written move by move, and the same as if written at once.
        let mut value = serde_json::to_value(&plan).expect("plain data");
        assert_eq!(digest(&value), digest_of(&plan));
        value["digest"] = Value::String(digest_of(&plan));
        let mut whole = String::new();
        write_value(&mut whole, &value, Some(0));
        assert_eq!(text, whole + "\n");
        // Line ends may have been changed on the way.
        assert_eq!(decode(&text.replace('\n', "\r\n")), Ok(plan));
    }

    #[test]
    fn every_cut_and_every_changed_digit_is_found() {
        let text = encode(&plan());
        for end in 0..text.len() - 2 {
            assert!(decode(&text[..end]).is_err(), "cut at {end}");
        }
        for (at, _) in text.match_indices(|c: char| c.is_ascii_digit()) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).expect("digits");
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn errors_say_what_it_is() {
        let text = encode(&plan());
        assert!(message("").contains("empty"));
        assert!(message("hello").contains("not JSON"));
        assert!(message(&text[..text.len() / 2]).contains("cut short"));
        assert!(message("{}").contains("not a saved plan"));
        assert!(message("[1]").contains("not a saved plan"));
        assert!(message(&text.replace("\"format\": 1", "\"format\": 2")).contains("newer"));
        assert!(message(&text.replace("\"format\": 1", "\"format\": 0")).contains("older"));
        assert!(message(&text.replace("group/project-1", "group/project-x")).contains("digest"));
    }

    #[test]
    fn a_file_that_was_digested_anew_but_contradicts_itself_is_refused() {
        let mut plan = plan();
        plan.moves[0].container = plan.moves[1].container;
        assert!(message(&encode(&plan)).contains("contradicts itself"));
    }
}
