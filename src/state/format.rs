//! The state file's format: canonical JSON, read strictly. Text to value and back; no files here.
//!
//! The file is for people and for git: keys sorted, two-space indent, LF, a final newline, one object per record
//! under its address; no secrets, no serial, no timestamps, no version of the tool. The same state gives the same
//! bytes on any machine, so nothing changes in it unless a managed fact changed.
//!
//! **Changing the format.** Raise [`FORMAT`], add one step to [`UPGRADES`] that turns a document of the format
//! before into the new one, and add a pair `testdata/state/<name>.in.json` and `.out.json`. Read the new format one
//! release before writing it, if older versions share the file. Steps are never changed once released.

use std::fmt::{self, Write as _};

use serde::de::{self, DeserializeSeed as _, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Record, State};
use crate::model::{Address, Container, StorageName};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u64 = 1;

/// Turns a document of one format into the next.
type Upgrade = fn(Value) -> Result<Value, String>;

/// The step from each older format, first `UPGRADES[0]` from format 1 to 2. Format 1 is the first: there is none yet.
const UPGRADES: &[Upgrade] = &[];

/// Why a text is not a state, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    /// What is wrong; begins with the line where one is known.
    pub message: String,
    /// The way out.
    pub help: String,
}

const RESTORE: &str = "Take the last good version from version control: `git checkout -- tranship.state.json`. \
     The live systems are the truth: the next plan compares the state with them.";

impl FormatError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Writes a state as canonical text.
pub fn encode(state: &State) -> String {
    let State { environment, records } = state;
    let records = records.iter().map(|(address, record)| {
        // Serialising plain structs of strings and numbers cannot fail; `null` would be refused when read back.
        (address.to_string(), serde_json::to_value(record).unwrap_or(Value::Null))
    });
    let document = Value::Object(Map::from_iter([
        ("format".to_owned(), Value::from(FORMAT)),
        ("environment".to_owned(), Value::from(environment.as_str())),
        ("records".to_owned(), Value::Object(records.collect())),
    ]));
    canonical(&document)
}

/// Writes one record as canonical text.
pub fn encode_record(record: &Record) -> String {
    canonical(&serde_json::to_value(record).unwrap_or(Value::Null))
}

/// Reads a state from text.
///
/// # Errors
/// [`FormatError`] for an empty or cut text, conflict markers, a newer format, duplicate keys, unknown keys, a record
/// of another kind than its address says.
pub fn decode(text: &str) -> Result<State, FormatError> {
    let document = parse(text)?;
    let document = upgrade(document, UPGRADES, FORMAT)?;
    let Value::Object(mut top) = document else {
        return Err(FormatError::new("expected a JSON object with `format`, `environment` and `records`", RESTORE));
    };
    top.remove("format");
    let environment = match top.remove("environment") {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(other) => {
            return Err(FormatError::new(format!("`environment` must be a name, found {}", short(&other)), RESTORE));
        }
        None => return Err(FormatError::new("`environment` is missing", RESTORE)),
    };
    let records = match top.remove("records") {
        Some(Value::Object(records)) => records,
        Some(other) => {
            return Err(FormatError::new(format!("`records` must be an object, found {}", short(&other)), RESTORE));
        }
        None => return Err(FormatError::new("`records` is missing", RESTORE)),
    };
    if let Some(key) = top.keys().next() {
        return Err(FormatError::new(
            format!("unknown key {key:?} beside `format`, `environment` and `records`"),
            "Remove it; or use the version of tranship that wrote it.",
        ));
    }
    let mut state = State::new(environment);
    for (key, value) in records {
        let (address, record) = decode_record(&key, value)?;
        if state.records.insert(address, record).is_some() {
            return Err(FormatError::new(format!("two records stand under {key}"), RESTORE));
        }
    }
    Ok(state)
}

/// Reads one record and checks that it stands where it belongs.
fn decode_record(key: &str, value: Value) -> Result<(Address, Record), FormatError> {
    let address: Address = key
        .parse()
        .map_err(|error: crate::model::NameError| FormatError::new(format!("a record's key: {error}"), RESTORE))?;
    let record: Record = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!(", at {path}") };
        FormatError::new(
            format!("the record {key}{at}: {}", error.inner()),
            "Use the version of tranship that wrote it, or take the record from version control.",
        )
    })?;
    check_place(&address, &record).map_err(|problem| {
        FormatError::new(
            format!("the record {key}: {problem}"),
            "Put the record under its own address, or remove it; `git log -p tranship.state.json` shows how it came there.",
        )
    })?;
    Ok((address, record))
}

/// Says why a record cannot stand under an address.
///
/// # Errors
/// One line.
pub fn check_place(address: &Address, record: &Record) -> Result<(), String> {
    let kind = record.kind();
    if *address.kind != *kind {
        return Err(format!("a record of kind `{kind}` cannot stand under an address of kind `{}`", address.kind));
    }
    if address.to_string().parse().as_ref() != Ok(address) {
        return Err("the address cannot be read back; a label holds no `[`".to_owned());
    }
    let keyless = address.key.is_none();
    match record {
        Record::Assignment(_) => Ok(()),
        Record::Hold(_) if !keyless && matches!(&*address.label, "wave" | "ramp") => Ok(()),
        Record::Hold(_) => Err("a hold's address is `hold.wave[\"name\"]` or `hold.ramp[\"per cent\"]`".to_owned()),
        Record::Wave(_) if keyless => Ok(()),
        Record::Storage(_) if keyless => {
            StorageName::new(&*address.label).map(|_| ()).map_err(|error| error.to_string())
        }
        Record::Quarantine(_) | Record::Probe(_) if keyless => {
            Container::try_from(address.label.to_string()).map(|_| ()).map_err(|error| error.to_string())
        }
        Record::Storage(_) | Record::Wave(_) | Record::Quarantine(_) | Record::Probe(_) => {
            Err(format!("a `{kind}` has no key in brackets: its label is the name itself"))
        }
    }
}

/// Parses the text strictly, after the refusals that need no parser.
fn parse(text: &str) -> Result<Value, FormatError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(FormatError::new(
            "the file is empty; a state is never empty, so something cut it",
            format!("{RESTORE} If nothing was ever applied, delete the file."),
        ));
    }
    if let Some(line) = conflict(text) {
        return Err(FormatError::new(
            format!("line {line}: an unresolved merge conflict"),
            "Resolve the merge first: each record is complete on its own, so take one side record by record, or take one \
             side whole with `git checkout --ours` or `--theirs tranship.state.json`; then plan: it shows what differs \
             from the live systems.",
        ));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        if error.is_eof() {
            FormatError::new(format!("line {}: the file ends in the middle; it was cut", error.line()), RESTORE)
        } else {
            FormatError::new(format!("line {}, column {}: {}", error.line(), error.column(), cause(&error)), RESTORE)
        }
    })
}

/// The number, from 1, of the first line that is a conflict marker. None can occur in JSON at a line's start.
fn conflict(text: &str) -> Option<usize> {
    let marker = |line: &str| {
        ["<<<<<<<", "|||||||", "=======", ">>>>>>>"]
            .iter()
            .any(|mark| line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r'])))
    };
    text.split('\n').position(marker).map(|index| index + 1)
}

/// A JSON error's text without the place, which is told apart.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// Brings a document to the newest format, step by step.
fn upgrade(mut document: Value, steps: &[Upgrade], newest: u64) -> Result<Value, FormatError> {
    let format = match document.get("format") {
        Some(value) => value.as_u64().filter(|format| *format >= 1).ok_or_else(|| {
            FormatError::new(format!("`format` must be a whole number from 1, found {}", short(value)), RESTORE)
        })?,
        None => return Err(FormatError::new("`format` is missing: this is not a state file of tranship", RESTORE)),
    };
    if format > newest {
        return Err(FormatError::new(
            format!("written in format {format}; this version reads up to format {newest}"),
            "Use the version of tranship that wrote it, or a newer one. Nothing was changed.",
        ));
    }
    let first = usize::try_from(format - 1).unwrap_or(usize::MAX);
    for (step, from) in steps.iter().skip(first).zip(format..) {
        document = step(document)
            .map_err(|error| FormatError::new(format!("upgrading from format {from}: {error}"), RESTORE))?;
    }
    Ok(document)
}

/// A value cut short for a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(40).chain(['…']).collect() }
}

/// Writes any JSON value canonically: keys sorted by their bytes, two-space indent, LF, a final newline.
fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            // Not left to the map: whether it sorts is a feature of serde_json that any dependency may switch.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for (index, key) in keys.into_iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                line(out, depth + 1);
                let _ = write!(out, "{}: ", Value::from(key.as_str()));
                write(map.get(key).unwrap_or(&Value::Null), depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                line(out, depth + 1);
                write(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Reads any JSON value, but refuses an object that has a key twice: which of both was meant cannot be known.
struct Strict;

impl<'de> de::DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(list.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands twice in one object")));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::{
        ApprovalRecord, AssignmentRecord, HoldRecord, ProbeRecord, QuarantineRecord, StorageRecord, Tenths, WaveRecord,
    };
    use super::*;
    use crate::model::Weight;

    fn example() -> State {
        let mut state = State::new("staging");
        state.storage_mut(&StorageName::new("gitaly-01").expect("name")).weight =
            Some(Weight::new(100).expect("weight"));
        state.records.insert(
            Address::new("wave", "sample"),
            Record::Wave(WaveRecord { sample_threshold: Some("00ff00ff00ff00ff".into()), ends_due: false }),
        );
        state
    }

    #[test]
    fn the_text_is_canonical() {
        let expected = "{\n  \"environment\": \"staging\",\n  \"format\": 1,\n  \"records\": {\n    \"storage.gitaly-01\": {\n      \"kind\": \"storage\",\n      \"weight\": 100\n    },\n    \"wave.sample\": {\n      \"kind\": \"wave\",\n      \"sample_threshold\": \"00ff00ff00ff00ff\"\n    }\n  }\n}\n";
        assert_eq!(encode(&example()), expected);
        assert_eq!(decode(expected), Ok(example()));
        assert_eq!(encode(&State::new("e")), "{\n  \"environment\": \"e\",\n  \"format\": 1,\n  \"records\": {}\n}\n");
    }

    /// Each refusal names what is wrong, where, and the way out.
    #[test]
    fn what_is_not_a_state_is_refused_with_the_way_out() {
        let good = encode(&example());
        let refused = |text: &str| decode(text).expect_err(text);
        for (text, message, help) in [
            (String::new(), "the file is empty", "git checkout"),
            (" \n\n".to_owned(), "the file is empty", "delete the file"),
            (good[..good.len() / 2].to_owned(), "line 7: the file ends in the middle", "git checkout"),
            (
                good.replace("  \"format\"", "<<<<<<< HEAD\n  \"format\""),
                "line 3: an unresolved merge conflict",
                "--ours",
            ),
            (
                good.replace("  \"records\"", "=======\n  \"records\""),
                "line 4: an unresolved merge conflict",
                "--theirs",
            ),
            (good.replace("\"format\": 1", "\"format\": 2"), "written in format 2; this version reads up to", "newer"),
            (good.replace("\"format\": 1", "\"format\": 0"), "`format` must be a whole number from 1", ""),
            (good.replace("\"format\": 1", "\"format\": \"1\""), "`format` must be a whole number", ""),
            (
                good.replace("\"format\": 1", "\"environment\": \"b\""),
                "line 3, column 20: the key \"environment\" stands twice",
                "",
            ),
            (good.replace("\"format\": 1,\n", ""), "`format` is missing", ""),
            (good.replace("\"format\": 1", "\"format\": 1, \"serial\": 3"), "unknown key \"serial\"", ""),
            (good.replace("\"staging\"", "7"), "`environment` must be a name, found 7", ""),
            (
                good.replace("\"storage.gitaly-01\"", "\"wave.gitaly-01\""),
                "a record of kind `storage` cannot stand under",
                "",
            ),
            (good.replace("\"storage.gitaly-01\"", "\"storage.gitaly 01\""), "is not a storage name", ""),
            (good.replace("\"storage.gitaly-01\"", "\"storage\""), "a record's key: \"storage\" is not an address", ""),
            (good.replace("\"weight\": 100", "\"weight\": 101"), "the record storage.gitaly-01", "version"),
            (good.replace("\"weight\": 100", "\"wieght\": 100"), "unknown field `wieght`", ""),
            (good.replace("\"kind\": \"wave\"", "\"kind\": \"moon\""), "unknown variant `moon`", ""),
            ("[]".to_owned(), "`format` is missing", ""),
            (format!("{good}{good}"), "trailing characters", ""),
        ] {
            let error = refused(&text);
            assert!(error.message.contains(message), "{text}\n{error:?}");
            assert!(!error.help.is_empty() && error.help.contains(help), "{text}\n{error:?}");
        }
    }

    #[test]
    fn older_formats_are_upgraded_step_by_step() {
        fn rename(mut document: Value) -> Result<Value, String> {
            let map = document.as_object_mut().ok_or("not an object")?;
            let name = map.remove("env").ok_or("`env` is missing")?;
            map.insert("environment".into(), name);
            map.insert("format".into(), 2.into());
            Ok(document)
        }
        fn count(mut document: Value) -> Result<Value, String> {
            document["format"] = 3.into();
            Ok(document)
        }
        let steps: &[Upgrade] = &[rename, count];
        let old = serde_json::json!({ "format": 1, "env": "x" });
        let new = serde_json::json!({ "format": 3, "environment": "x" });
        assert_eq!(upgrade(old, steps, 3), Ok(new.clone()));
        assert_eq!(upgrade(new.clone(), steps, 3), Ok(new));
        let error = upgrade(serde_json::json!({ "format": 1 }), steps, 3).expect_err("lacks env");
        assert_eq!(error.message, "upgrading from format 1: `env` is missing");
        assert_eq!(UPGRADES.len() as u64, FORMAT - 1, "each older format has its step");
    }

    /// `testdata/state/*.in.json` are files as some version or person left them, `*.out.json` as this one writes them.
    #[test]
    fn pairs_of_files_hold() {
        let folder = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/state");
        let mut pairs = 0;
        for entry in folder.read_dir_utf8().expect("testdata/state") {
            let path = entry.expect("entry").into_path();
            let Some(stem) = path.as_str().strip_suffix(".in.json") else { continue };
            let old = std::fs::read_to_string(&path).expect("in");
            let new = std::fs::read_to_string(format!("{stem}.out.json")).expect("out");
            let state = decode(&old).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(encode(&state), new, "{path}");
            assert_eq!(decode(&new), Ok(state), "{path}");
            pairs += 1;
        }
        assert!(pairs >= 1);
    }

    fn records() -> impl Strategy<Value = (Address, Record)> {
        let name = "[a-z0-9][a-z0-9._-]{0,12}";
        prop_oneof![
            (name, prop::option::of(0u64..=100), prop::option::of(".{0,20}")).prop_map(|(name, weight, id)| (
                Address::new("storage", name),
                Record::Storage(StorageRecord {
                    weight: weight.map(|w| Weight::new(w).expect("weight")),
                    filesystem_id: id,
                    rotation_seconds: weight.and_then(|w| u32::try_from(w).ok()).map(Tenths),
                    objects: BTreeMap::from([("StatefulSet/a".to_owned(), "00".to_owned())]),
                    ..StorageRecord::default()
                })
            )),
            (name, prop::option::of(".{0,12}"), any::<u64>(), prop::collection::btree_set(".{0,8}", 0..4)).prop_map(
                |(name, key, count, waves)| {
                    let address = Address { kind: "assignment".into(), label: name.into(), key: key.map(Into::into) };
                    let waves: BTreeSet<String> = waves;
                    (
                        address,
                        Record::Assignment(AssignmentRecord {
                            count,
                            verdicts: BTreeMap::from([("attested".into(), count)]),
                            waves,
                            ..AssignmentRecord::default()
                        }),
                    )
                }
            ),
            (any::<[bool; 2]>(), ".{0,12}", ".{1,12}", any::<u64>()).prop_map(|([passed, at_once], key, by, id)| {
                let storage = StorageName::new("gitaly-01").expect("name");
                let approval = ApprovalRecord { by, reason: key.clone() };
                if id % 5 == 0 {
                    let record = ProbeRecord { home: storage.clone(), storage };
                    return (Address::new("probe", format!("project-{id}")), Record::Probe(record));
                }
                let label = if at_once { "ramp" } else { "wave" };
                let record = HoldRecord {
                    storages: BTreeSet::from([storage.clone()]),
                    passed,
                    at_once,
                    approvals: BTreeMap::from([(Address::new("gate", "go"), approval)]),
                    rollback: BTreeMap::from([(storage, Weight::ZERO)]),
                };
                (Address::new("hold", label).with_key(key), Record::Hold(record))
            }),
            (any::<u64>(), ".{0,30}", prop::collection::vec(".{0,30}", 0..3)).prop_map(|(id, path, evidence)| (
                Address::new("quarantine", format!("project-{id}")),
                Record::Quarantine(QuarantineRecord {
                    path,
                    source: StorageName::new("default").expect("name"),
                    destination: StorageName::new("gitaly-01").expect("name"),
                    cause: "missing reference".into(),
                    evidence,
                    remedy: "look".into(),
                    urgent: true,
                })
            )),
        ]
    }

    proptest! {
        #[test]
        fn any_state_reads_back_and_writes_the_same_bytes(
            environment in "[a-z]{1,8}", records in prop::collection::btree_map(any::<u8>(), records(), 0..8)
        ) {
            let state = State { environment, records: records.into_values().collect() };
            let text = encode(&state);
            prop_assert_eq!(decode(&text), Ok(state.clone()));
            prop_assert_eq!(encode(&decode(&text).expect("reads")), text);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}", cut in 0usize..200) {
            let _ = decode(&text);
            let good = encode(&example());
            let cut = cut.min(good.len() - 2);
            prop_assert!(decode(&good[..cut]).is_err(), "a cut file is never taken for a state");
        }
    }
}
