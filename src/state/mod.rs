//! The state file: what tranship has done, record by record, in a form that people review and git merges.

pub mod edit;
pub mod format;
pub mod frozen;
pub mod inventory;
pub mod journal;
pub mod lock;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Address, Container, StorageName, Weight};

/// The state of one environment. See `format` for the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The environment it belongs to.
    pub environment: String,
    /// By address. A storage's record stands under `storage.<GitLab's name>`.
    pub records: BTreeMap<Address, Record>,
}

/// One record, complete on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// `storage.<name>`.
    Storage(StorageRecord),
    /// `assignment.<label>`.
    Assignment(AssignmentRecord),
    /// `wave.<name>`: what was fixed when the wave was first planned.
    Wave(WaveRecord),
    /// `quarantine.<container>`.
    Quarantine(QuarantineRecord),
    /// `hold.wave["<name>"]` and `hold.ramp["<per cent>"]`: what was done, and whether what it had to wait for was passed.
    Hold(HoldRecord),
    /// `probe.<container>`: the probe's project is away from home.
    Probe(ProbeRecord),
}

/// Seconds, kept in tenths: `7.4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tenths(pub u32);

impl Tenths {
    /// Rounds milliseconds.
    pub fn of_millis(millis: u64) -> Self {
        Self(u32::try_from(millis.saturating_add(50) / 100).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0 / 10, self.0 % 10)
    }
}

impl Serialize for Tenths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 10.0)
    }
}

impl<'de> Deserialize<'de> for Tenths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tenths = (f64::deserialize(deserializer)? * 10.0).round();
        if (0.0..=f64::from(u32::MAX)).contains(&tenths) {
            // Checked above: within the range, and whole.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range")]
            return Ok(Self(tenths as u32));
        }
        Err(serde::de::Error::custom("expected seconds, 0 or more"))
    }
}

/// What tranship applied to, and learned of, one storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageRecord {
    /// The weight that was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Seen when tranship first moved something to or from it; compared ever after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_id: Option<String>,
    /// Found empty twice; SHA-256 of the certificate (canonical JSON of both observations).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<String>,
    /// A pod storage's objects, `StatefulSet/gitaly-a`: SHA-256 of the manifest that was last applied (canonical JSON),
    /// hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, String>,
    /// `metadata.uid` of its StatefulSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statefulset_uid: Option<String>,
    /// `metadata.uid` of its volume's claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// The namespace of its objects when it was last seen ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The uid of the namespace kube-system of the cluster that it was in then, where that may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// The filesystem id of the disk behind it when it was last probed and found right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<String>,
    /// How long the last restart that was measured kept it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_seconds: Option<Tenths>,
    /// Containers that moved off it and whose copies GitLab left there; until it is proven empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<Container>,
}

/// What was moved for one assignment, cumulative; changed by verified moves only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentRecord {
    /// Verified moves.
    pub count: u64,
    /// Bytes of them, as planned.
    pub bytes: u64,
    /// By verdict: `attested`, `advanced`, `bracketed`, `unknown`.
    pub verdicts: BTreeMap<String, u64>,
    /// Fingerprint of the moved set: sum modulo 2^256 of the hashes of (container, source, destination), hex.
    pub digest: String,
    /// SHA-256 chained over the waves' Merkle roots of (container, digests, verdict), hex.
    pub verification: String,
    /// Waves that were passed, by name.
    pub waves: BTreeSet<String>,
    /// Destinations that were checked object by object, by verdict: `pass`, `unknown`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub whole: BTreeMap<String, u64>,
}

/// What was fixed when a wave was first planned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveRecord {
    /// A repository is drawn when its seeded hash is at most this: 16 hex digits, or parts with such a number each,
    /// `p2:…` for those of a kind and size, `to:…` for the end of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_threshold: Option<String>,
    /// It has moved something, and not every program that runs at its end has ended well since: planned until they have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_due: bool,
}

/// A hold after a wave or a step of the ramp, from the first change that it follows on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRecord {
    /// The storages that take more by it: gates are asked about them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub storages: BTreeSet<StorageName>,
    /// What came after may begin.
    pub passed: bool,
    /// All of its gates said yes when they were first asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
    /// Who approved, by gate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<Address, ApprovalRecord>,
    /// Weights that are set when a gate says no; empty: all stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rollback: BTreeMap<StorageName, Weight>,
}

/// A person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRecord {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A probe that was begun and whose project was not brought back yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRecord {
    /// Where the project belongs.
    pub home: StorageName,
    /// The storage that was being tried.
    pub storage: StorageName,
}

/// One repository that is set aside until a person releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRecord {
    /// Full path in GitLab when it was set aside.
    pub path: String,
    /// Where it was to be moved from.
    pub source: StorageName,
    /// And to.
    pub destination: StorageName,
    /// Short cause: `missing reference`, `move failed` …
    pub cause: String,
    /// What was seen, one line each.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: String,
    /// True when it may have lost something or cannot be written to.
    pub urgent: bool,
}

impl Record {
    /// The word for its kind: what the file says under `kind`, and the first part of its address.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Storage(_) => "storage",
            Self::Assignment(_) => "assignment",
            Self::Wave(_) => "wave",
            Self::Quarantine(_) => "quarantine",
            Self::Hold(_) => "hold",
            Self::Probe(_) => "probe",
        }
    }
}

impl State {
    /// Makes an empty state.
    pub fn new(environment: impl Into<String>) -> Self {
        Self { environment: environment.into(), records: BTreeMap::new() }
    }

    /// SHA-256 of the file's canonical text, hex.
    pub fn digest(&self) -> String {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(format::encode(self)))
    }

    /// Puts a record under another address; false, and nothing changes, when there is none or its new place is taken.
    pub fn rename(&mut self, from: &Address, to: &Address) -> bool {
        if self.records.contains_key(to) {
            return false;
        }
        let record = self.records.remove(from);
        record.is_some_and(|record| self.records.insert(to.clone(), record).is_none())
    }

    /// The address of a storage's record.
    pub fn storage_address(name: &StorageName) -> Address {
        Address::new("storage", name.as_str())
    }

    /// A storage's record, if there is one.
    pub fn storage(&self, name: &StorageName) -> Option<&StorageRecord> {
        match self.records.get(&Self::storage_address(name)) {
            Some(Record::Storage(record)) => Some(record),
            _ => None,
        }
    }

    /// A storage's record, made if there is none.
    pub fn storage_mut(&mut self, name: &StorageName) -> &mut StorageRecord {
        let entry = self.records.entry(Self::storage_address(name));
        let record = entry.or_insert_with(|| Record::Storage(StorageRecord::default()));
        if !matches!(record, Record::Storage(_)) {
            *record = Record::Storage(StorageRecord::default());
        }
        match record {
            Record::Storage(record) => record,
            _ => unreachable!("made a storage's record above"),
        }
    }

    /// A wave's record, if there is one.
    pub fn wave(&self, name: &str) -> Option<&WaveRecord> {
        match self.records.get(&Address::new("wave", name)) {
            Some(Record::Wave(record)) => Some(record),
            _ => None,
        }
    }

    /// The waves whose programs at the end are due.
    pub fn waves_with_ends_due(&self) -> impl Iterator<Item = &str> {
        self.records.iter().filter_map(|(address, record)| match record {
            Record::Wave(WaveRecord { ends_due: true, .. }) => Some(&*address.label),
            _ => None,
        })
    }

    /// Notes of a wave whether its programs at the end are due. A record that says nothing more is removed.
    pub fn set_ends_due(&mut self, wave: &str, due: bool) {
        let address = Address::new("wave", wave);
        let record = WaveRecord { ends_due: due, ..self.wave(wave).cloned().unwrap_or_default() };
        if record == WaveRecord::default() {
            self.records.remove(&address);
        } else {
            self.records.insert(address, Record::Wave(record));
        }
    }

    /// A hold's record, if there is one.
    pub fn hold(&self, address: &Address) -> Option<&HoldRecord> {
        match self.records.get(address) {
            Some(Record::Hold(record)) => Some(record),
            _ => None,
        }
    }

    /// A hold's record, made if there is none.
    pub fn hold_mut(&mut self, address: &Address) -> &mut HoldRecord {
        let entry = self.records.entry(address.clone());
        let record = entry.or_insert_with(|| Record::Hold(HoldRecord::default()));
        if !matches!(record, Record::Hold(_)) {
            *record = Record::Hold(HoldRecord::default());
        }
        match record {
            Record::Hold(record) => record,
            _ => unreachable!("made a hold's record above"),
        }
    }

    /// The holds after waves (`wave`) or after steps of the ramp (`ramp`), each with its key.
    pub fn holds<'a>(&'a self, label: &'a str) -> impl Iterator<Item = (&'a str, &'a HoldRecord)> {
        self.records.iter().filter_map(move |(address, record)| match (record, &address.key) {
            (Record::Hold(record), Some(key)) if *address.label == *label => Some((&**key, record)),
            _ => None,
        })
    }

    /// Forgets the ramp that came to its end, so that another can begin.
    pub fn begin_ramp(&mut self) {
        let last = Address::new("hold", "ramp").with_key("100");
        if self.hold(&last).is_some_and(|record| record.passed) {
            self.records.retain(|address, _| (&*address.kind, &*address.label) != ("hold", "ramp"));
        }
    }

    /// The address of a probe's record.
    pub fn probe_address(container: Container) -> Address {
        Address::new("probe", container.to_string())
    }

    /// The record of a probe whose project is away.
    pub fn probe(&self, container: Container) -> Option<&ProbeRecord> {
        match self.records.get(&Self::probe_address(container)) {
            Some(Record::Probe(record)) => Some(record),
            _ => None,
        }
    }

    /// The address of a quarantine's record.
    pub fn quarantine_address(container: Container) -> Address {
        Address::new("quarantine", container.to_string())
    }

    /// All quarantined containers, in the order of their addresses.
    pub fn quarantined(&self) -> impl Iterator<Item = (Container, &QuarantineRecord)> {
        self.records.iter().filter_map(|(address, record)| match record {
            Record::Quarantine(record) => {
                Container::try_from(address.label.to_string()).ok().map(|container| (container, record))
            }
            _ => None,
        })
    }
}
