//! What a person may do to the state by hand: list, show, rename, remove. Pure; each edit tells what it changes.
//!
//! Only tranship's memory is edited: nothing here touches a live system.

use std::fmt::Write as _;

use super::{Record, State, format};
use crate::diag::nearest;
use crate::model::{Address, Container};

/// An edit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EditError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Lists all addresses in order, or those that a prefix selects: `storage`, `storage.default`, `assignment.spread`.
pub fn list<'a>(state: &'a State, prefix: Option<&'a str>) -> impl Iterator<Item = &'a Address> {
    state.records.keys().filter(move |address| {
        prefix.is_none_or(|prefix| {
            let text = address.to_string();
            text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    })
}

/// Finds a record.
///
/// # Errors
/// [`EditError`] with the nearest address that exists.
pub fn show<'a>(state: &'a State, address: &Address) -> Result<&'a Record, EditError> {
    state.records.get(address).ok_or_else(|| absent(state, address))
}

/// Puts a record under another address of its kind.
///
/// # Errors
/// [`EditError`] when `from` is absent, `to` is taken, or a record of this kind cannot stand there.
pub fn rename(state: &State, from: &Address, to: &Address) -> Result<State, EditError> {
    let record = show(state, from)?;
    if state.records.contains_key(to) {
        return Err(EditError {
            message: format!("{to} has a record already"),
            help: format!("Remove it first: tranship state rm '{to}'"),
        });
    }
    format::check_place(to, record).map_err(|problem| EditError {
        message: format!("{from} cannot become {to}: {problem}"),
        help: "A record keeps its kind; a storage's label is GitLab's name for it.".to_owned(),
    })?;
    let mut after = state.clone();
    if let Some(record) = after.records.remove(from) {
        after.records.insert(to.clone(), record);
    }
    Ok(after)
}

/// Removes records: tranship forgets what it did there.
///
/// # Errors
/// [`EditError`] for the first address that is absent; then nothing is removed.
pub fn remove(state: &State, addresses: &[Address]) -> Result<State, EditError> {
    let mut after = state.clone();
    for address in addresses {
        show(state, address)?;
        after.records.remove(address);
    }
    Ok(after)
}

/// Removes the quarantine of containers, so that the next plan may move them again.
///
/// # Errors
/// [`EditError`] for the first that is not quarantined; then none is released.
pub fn release(state: &State, containers: &[Container]) -> Result<State, EditError> {
    let addresses: Vec<Address> = containers.iter().map(|container| State::quarantine_address(*container)).collect();
    if let Some((container, _)) =
        containers.iter().zip(&addresses).find(|(_, address)| !state.records.contains_key(*address))
    {
        return Err(EditError {
            message: format!("{container} is not quarantined"),
            help: "`tranship quarantine list` shows those that are.".to_owned(),
        });
    }
    remove(state, &addresses)
}

/// Tells what an edit changes, record by record, removed lines before added ones; empty when nothing does.
pub fn difference(before: &State, after: &State) -> String {
    let mut out = String::new();
    let mut addresses: Vec<&Address> = before.records.keys().chain(after.records.keys()).collect();
    addresses.sort();
    addresses.dedup();
    for address in addresses {
        let (old, new) = (before.records.get(address), after.records.get(address));
        if old == new {
            continue;
        }
        for (sign, record) in [('-', old), ('+', new)] {
            let Some(record) = record else { continue };
            let _ = writeln!(out, "{sign} {address}");
            for line in format::encode_record(record).lines() {
                let _ = writeln!(out, "{sign}   {line}");
            }
        }
    }
    out
}

fn absent(state: &State, address: &Address) -> EditError {
    let known: Vec<String> = state.records.keys().map(ToString::to_string).collect();
    let text = address.to_string();
    let help = match nearest(&text, known.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean '{near}'? `tranship state list` shows all."),
        None if known.is_empty() => "The state has no record at all.".to_owned(),
        None => "`tranship state list` shows all.".to_owned(),
    };
    EditError { message: format!("the state has no record {text}"), help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StorageName, Weight};
    use crate::state::{QuarantineRecord, WaveRecord};

    fn address(text: &str) -> Address {
        text.parse().expect("address")
    }

    fn state() -> State {
        let name = |name: &str| StorageName::new(name).expect("name");
        let mut state = State::new("e");
        state.storage_mut(&name("default")).weight = Some(Weight::ZERO);
        state.storage_mut(&name("default-2")).weight = Some(Weight::ZERO);
        state.records.insert(address("wave.rest"), Record::Wave(WaveRecord::default()));
        state.records.insert(
            address("quarantine.project-7"),
            Record::Quarantine(QuarantineRecord {
                path: "web/shop".into(),
                source: name("default"),
                destination: name("gitaly-01"),
                cause: "missing reference".into(),
                evidence: vec![],
                remedy: "look".into(),
                urgent: true,
            }),
        );
        state
    }

    #[test]
    fn a_prefix_selects_whole_words() {
        let listed = |prefix| list(&state(), prefix).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listed(None), ["quarantine.project-7", "storage.default", "storage.default-2", "wave.rest"]);
        assert_eq!(listed(Some("storage")), ["storage.default", "storage.default-2"]);
        assert_eq!(listed(Some("storage.default")), ["storage.default"]);
        assert_eq!(listed(Some("stor")), Vec::<String>::new());
    }

    #[test]
    fn a_rename_keeps_the_record_and_its_kind() {
        let before = state();
        let after = rename(&before, &address("storage.default"), &address("storage.old")).expect("renamed");
        assert_eq!(after.records.get(&address("storage.old")), before.records.get(&address("storage.default")));
        assert_eq!(after.records.len(), before.records.len());
        for (from, to, message) in [
            ("storage.default", "storage.default-2", "has a record already"),
            ("storage.default", "wave.default", "cannot stand under an address of kind `wave`"),
            ("storage.default", "storage.a[\"k\"]", "has no key in brackets"),
            ("storage.defualt", "storage.x", "the state has no record storage.defualt"),
        ] {
            let error = rename(&before, &address(from), &address(to)).expect_err(to);
            assert!(error.message.contains(message), "{error}");
        }
        let error = show(&before, &address("storage.defualt")).expect_err("absent");
        assert!(error.help.contains("'storage.default'"), "{error:?}");
    }

    #[test]
    fn removing_is_all_or_nothing_and_told() {
        let before = state();
        assert!(remove(&before, &[address("wave.rest"), address("wave.x")]).is_err());
        let after = remove(&before, &[address("wave.rest")]).expect("removed");
        assert_eq!(difference(&before, &after), "- wave.rest\n-   {\n-     \"kind\": \"wave\"\n-   }\n");
        assert_eq!(difference(&before, &before), "");
        let container = |id| Container { kind: crate::model::ContainerKind::Project, id };
        let after = release(&before, &[container(7)]).expect("released");
        assert_eq!(after.quarantined().count(), 0);
        assert!(release(&before, &[container(7), container(8)]).expect_err("8").message.contains("project-8 is not"));
    }
}
