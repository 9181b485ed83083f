//! `state` and `quarantine`: what a person may look at and do to the state by hand.

use std::fmt::Write as _;

use camino::Utf8Path;

use super::args::{QuarantineCommand, StateCommand};
use super::context::{self, Context};
use super::exit::Exit;
use super::failure::Failure;
use crate::state::edit::{self, EditError};
use crate::state::store::{self, FILE_NAME, Store as _};
use crate::state::{State, format};

/// Runs a `state` command.
pub(super) fn state(context: &Context, command: &StateCommand) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    match command {
        StateCommand::List { prefix, json } => {
            let state = read()?;
            let addresses: Vec<String> = edit::list(&state, prefix.as_deref()).map(ToString::to_string).collect();
            let text = if *json { json_text(&addresses) } else { addresses.join("\n") };
            terminal.data(&text)?;
        }
        StateCommand::Show { address } => {
            terminal.data(&format::encode_record(edit::show(&read()?, address)?))?;
        }
        StateCommand::Mv { from, to, dry_run } => {
            change(context, "state mv", *dry_run, |state| edit::rename(state, from, to))?;
        }
        StateCommand::Rm { addresses, dry_run } => {
            change(context, "state rm", *dry_run, |state| edit::remove(state, addresses))?;
        }
    }
    Ok(Exit::Done)
}

/// Runs a `quarantine` command.
pub(super) fn quarantine(context: &Context, command: &QuarantineCommand) -> Result<Exit, Failure> {
    match command {
        QuarantineCommand::List { json: true } => {
            let state = read()?;
            let records: serde_json::Map<_, _> = state
                .quarantined()
                .map(|(container, record)| (container.to_string(), serde_json::to_value(record).unwrap_or_default()))
                .collect();
            context.terminal.data(&json_text(&records))?;
        }
        QuarantineCommand::List { json: false } => {
            context.terminal.data(&list(&read()?))?;
        }
        QuarantineCommand::Release { containers, dry_run } => {
            change(context, "quarantine release", *dry_run, |state| edit::release(state, containers))?;
        }
    }
    Ok(Exit::Done)
}

/// Quarantined repositories as text, urgent ones first.
fn list(state: &State) -> String {
    let mut records: Vec<_> = state.quarantined().collect();
    if records.is_empty() {
        return "No repository is quarantined.".to_owned();
    }
    records.sort_by_key(|(container, record)| (!record.urgent, *container));
    let mut out = String::new();
    for (container, record) in records {
        let urgent = if record.urgent { " (urgent)" } else { "" };
        let _ = writeln!(out, "{container} {}: {}{urgent}", plain(&record.path), plain(&record.cause));
        let _ = writeln!(out, "  from {} to {}", record.source, record.destination);
        for line in &record.evidence {
            let _ = writeln!(out, "  seen: {}", plain(line));
        }
        // A console's lines stand alone, to be copied.
        let mut word = "to do:";
        for line in record.remedy.lines() {
            let _ = writeln!(out, "  {word} {}", plain(line));
            word = "      ";
        }
    }
    out
}

/// Users of GitLab choose paths and reference names: no control character of theirs reaches a terminal.
fn plain(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The state, of whatever environment; without a file, an empty one.
fn read() -> Result<State, Failure> {
    Ok(store::read(Utf8Path::new(FILE_NAME))?.unwrap_or_default())
}

/// Changes the state under the lock, and prints what changes as data.
fn change(
    context: &Context,
    command: &str,
    dry_run: bool,
    edit: impl FnOnce(&State) -> Result<State, EditError>,
) -> Result<(), Failure> {
    // A rehearsal takes no lock: it writes nothing, also no folder.
    let _lock = if dry_run { None } else { Some(context::lock(command)?) };
    let before = read()?;
    let after = edit(&before)?;
    context.terminal.data(&edit::difference(&before, &after))?;
    if dry_run {
        context.terminal.talk("Nothing was changed: this was a dry run.\n");
    } else {
        context::file_store().save(&after)?;
    }
    Ok(())
}

fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Container, ContainerKind, StorageName};
    use crate::state::{QuarantineRecord, Record};

    #[test]
    fn urgent_ones_come_first_and_control_characters_do_not_pass() {
        let mut state = State::new("e");
        for (id, urgent) in [(1, false), (2, true), (10, false)] {
            let record = QuarantineRecord {
                path: "web/\u{1b}[31mshop".into(),
                source: StorageName::new("old").expect("name"),
                destination: StorageName::new("new").expect("name"),
                cause: "move failed".into(),
                evidence: vec!["refs/heads/a\rb".into()],
                remedy: "look".into(),
                urgent,
            };
            let container = Container { kind: ContainerKind::Project, id };
            state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
        }
        let text = list(&state);
        let order: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("project-")?.split(' ').next()).collect();
        assert_eq!(order, ["2", "1", "10"]);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
        assert!(text.contains("web/\\u{1b}[31mshop: move failed (urgent)"), "{text}");
    }
}
