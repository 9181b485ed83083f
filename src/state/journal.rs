//! The journal's file: the append-only, checksummed log of an apply in flight. Encoding, decoding and folding only;
//! who writes when is the engine's matter.
//!
//! A record is its length (4 bytes, big endian), the CRC-32 of its payload (4 bytes, big endian) and the payload, one
//! JSON object. A torn tail, which a crash in the middle of a write leaves, is cut when the file is read.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::QuarantineRecord;
use crate::model::cluster::Manifest;
use crate::model::{Address, Bytes, Container, RefDigest, RefSnapshot, Reference, RepositoryRole, StorageName};

/// The name of the journal in a run's folder.
pub const FILE: &str = "journal";
/// And of the journal of a run that is finished.
const PACKED: &str = "journal.gz";
/// The version of the records below. A reader refuses newer ones.
pub const FORMAT: u32 = 3;
/// References above this are journaled as their digest only: a journal is for recovery, not a second copy.
const MOST_REFERENCES: usize = 50_000;
/// A length above this is damage, not a record.
pub(super) const MOST_BYTES: u32 = 64 << 20;

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first of a journal.
    Began {
        /// [`FORMAT`].
        format: u32,
        /// Of the state.
        environment: String,
    },
    /// A move is about to be asked for. Durable before the POST.
    Intent {
        /// What, from where, to where.
        intent: Box<Intent>,
    },
    /// GitLab took it.
    Accepted {
        /// What moves.
        container: Container,
        /// GitLab's id of the move.
        move_id: u64,
    },
    /// The source as it was read while frozen.
    Frozen {
        /// What moves.
        container: Container,
        /// Its repositories.
        sides: Vec<Side>,
    },
    /// The move was compared; nothing more to do for it.
    Verified {
        /// What moved.
        container: Container,
        /// `attested`, `advanced`, `bracketed` or `unknown`.
        verdict: String,
        /// Digest over the destination's repositories.
        destination: String,
        /// Whether the destination is whole, where that was looked at: `pass`, `unknown`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole: Option<String>,
        /// GitLab left the copy on the source.
        #[serde(default)]
        left: bool,
    },
    /// A move that GitLab had taken has ended, or is given up: its repository's read-only time is over, or was at least so
    /// long.
    Thawed {
        /// What moved.
        container: Container,
        /// Its path: its top-level group bears the time.
        path: String,
        /// When the freeze began, at most: just before the POST.
        at: Timestamp,
        /// Milliseconds from there to the end as it was seen.
        frozen_ms: u64,
    },
    /// The repository was set aside.
    Quarantined {
        /// Which.
        container: Container,
        /// Why.
        quarantine: Box<QuarantineRecord>,
        /// A reference tip is missing.
        loss: bool,
    },
    /// The intent came to nothing: refused, failed and to be tried again, or moot.
    Dropped {
        /// What did not move.
        container: Container,
        /// Why.
        why: String,
    },
    /// An object is about to be applied. Durable before the call.
    ObjectIntent {
        /// Of which storage.
        storage: StorageName,
        /// The exact object.
        manifest: Box<Manifest>,
        /// Takes over fields that another manager owns.
        force: bool,
    },
    /// An object is as it was to be applied.
    Object {
        /// Of which storage.
        storage: StorageName,
        /// Like `StatefulSet/gitaly-a`.
        key: String,
        /// Of the manifest.
        digest: String,
        /// Of the live object.
        uid: Option<String>,
    },
    /// How many moves may be in flight was changed.
    Throttled {
        /// Of what: a storage as source or destination, GitLab's workers.
        what: String,
        /// Slots before.
        from: u32,
        /// Slots since.
        to: u32,
        /// Why.
        why: String,
    },
    /// The watching of a hold began, or ended for good.
    Soak {
        /// The hold's address.
        hold: Address,
        /// Since when it is watched, by the fleet's clock; `None`: a later watching begins anew.
        since: Option<Timestamp>,
    },
    /// The probe's project leaves home, or is back.
    Probe {
        /// The project.
        container: Container,
        /// Where it belongs.
        home: StorageName,
        /// The storage that is tried.
        storage: StorageName,
        /// It is back.
        back: bool,
    },
    /// The state file is about to be replaced.
    Checkpoint {
        /// SHA-256 of its new canonical text, hex.
        state: String,
        /// Whose ends it holds that no earlier checkpoint names. An end that stands above but is not named here had not
        /// reached the state yet.
        holds: Vec<Container>,
    },
    /// The run is over, and nothing is in doubt.
    Ended,
}

/// What is needed to follow a move that nobody remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What moves.
    pub container: Container,
    /// Full path in GitLab.
    pub path: String,
    /// From.
    pub source: StorageName,
    /// To.
    pub destination: StorageName,
    /// For which assignment.
    pub assignment: Address,
    /// In which wave.
    pub wave: String,
    /// As planned.
    pub bytes: Bytes,
    /// From 1.
    pub attempt: u32,
    /// The greatest id of a move in its family before this one: ours is greater.
    pub before_id: u64,
    /// When, by the fleet's clock: a request that was cut off may run for a while yet.
    pub at: Timestamp,
    /// The source as it was read just before.
    pub before: Vec<Side>,
    /// False when `before` only names the paths: the move was found under way, and its source was not read before it.
    pub before_read: bool,
    /// The filesystem ids of source and destination differ, as seen in this run.
    pub disks_differ: bool,
    /// Whether the source was whole, object by object, where that was looked at: `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
}

/// One repository of a container at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Which.
    pub role: RepositoryRole,
    /// Its path on Gitaly.
    pub path: String,
    /// Over its references; `None`: there is no such repository.
    pub digest: Option<RefDigest>,
    /// The references themselves, where they are few enough to keep.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "snapshot")]
    pub snapshot: Option<RefSnapshot>,
}

impl Side {
    /// Makes a side of what was read.
    pub fn new(role: RepositoryRole, path: String, snapshot: Option<RefSnapshot>) -> Self {
        let digest = snapshot.as_ref().map(RefSnapshot::digest);
        Self { role, path, digest, snapshot }
    }

    /// The same without the references.
    #[must_use]
    pub fn digest_only(&self) -> Self {
        Self { snapshot: None, ..self.clone() }
    }

    /// The same, without references when they are too many for a journal.
    #[must_use]
    pub fn bounded(&self) -> Self {
        match &self.snapshot {
            Some(s) if s.references().len() > MOST_REFERENCES => self.digest_only(),
            _ => self.clone(),
        }
    }
}

/// References as hex and text: names need not be UTF-8.
mod snapshot {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{RefSnapshot, Reference};

    #[derive(Serialize, Deserialize)]
    struct Plain {
        head: Option<String>,
        format: Option<String>,
        references: Vec<(String, String)>,
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<RefSnapshot>, serializer: S) -> Result<S::Ok, S::Error> {
        value
            .as_ref()
            .map(|s| Plain {
                head: s.head.as_deref().map(hex::encode),
                format: s.object_format.clone(),
                references: s.references().iter().map(|r| (hex::encode(&r.name), r.target.clone())).collect(),
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RefSnapshot>, D::Error> {
        let Some(plain) = Option::<Plain>::deserialize(deserializer)? else { return Ok(None) };
        let decode = |text: &str| hex::decode(text).map_err(serde::de::Error::custom);
        let references = plain
            .references
            .into_iter()
            .map(|(name, target)| Ok(Reference { name: decode(&name)?, target }))
            .collect::<Result<Vec<_>, D::Error>>()?;
        let head = plain.head.as_deref().map(decode).transpose()?;
        Ok(Some(RefSnapshot::new(references, head, plain.format)))
    }
}

/// Appends records to the bytes of a journal.
pub fn encode(records: &[Record], into: &mut Vec<u8>) {
    for record in records {
        // A record is made of strings and numbers: it always serialises.
        let payload = serde_json::to_vec(record).unwrap_or_default();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        into.extend(length.to_be_bytes());
        into.extend(crc(&payload).to_be_bytes());
        into.extend(payload);
    }
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Reads all whole records; returns them and how many bytes of a torn tail were left out.
pub fn decode(mut bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    while let Some((record, rest)) = decode_one(bytes) {
        records.push(record);
        bytes = rest;
    }
    (records, bytes.len())
}

/// Reads a journal. A torn tail is what a crash leaves; what is broken with whole records after it is damage, and nothing
/// may be concluded from half of what was done.
fn read(path: &Utf8Path) -> std::io::Result<(Vec<Record>, usize)> {
    let bytes = fs::read(path)?;
    let (records, torn) = decode(&bytes);
    let newer = matches!(records.first(), Some(Record::Began { format, .. }) if *format > FORMAT);
    let at = bytes.len() - torn;
    let rest = bytes.get(at..).unwrap_or_default();
    if !newer && (0..rest.len()).any(|from| rest.get(from..).is_some_and(is_record)) {
        let what = format!(
            "{path} is damaged at byte {at}, and records stand after that. What this run did cannot be known from it: restore \
             the file from a backup; or move it away, look at GitLab's moves since then by hand, and apply again"
        );
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    Ok((records, torn))
}

/// True when bytes begin with a whole record, of this version or another.
fn is_record(bytes: &[u8]) -> bool {
    frame(bytes).is_some_and(|(payload, _)| payload.starts_with(b"{") && payload.ends_with(b"}"))
}

fn decode_one(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (payload, rest) = frame(bytes)?;
    Some((serde_json::from_slice(payload).ok()?, rest))
}

/// The payload of the first record, if that is whole, and what follows.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length);
    if length > MOST_BYTES {
        return None;
    }
    let payload = rest.get(..length as usize)?;
    if crc(payload) != u32::from_be_bytes(*sum) {
        return None;
    }
    Some((payload, rest.get(length as usize..)?))
}

/// An open journal. Every append is durable when it returns.
#[derive(Debug)]
pub struct JournalFile {
    file: fs::File,
    buffer: Vec<u8>,
    /// An append failed, perhaps half-way: what would be written now could not be read.
    broken: bool,
}

impl JournalFile {
    /// Makes a run's folder and the journal in it.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn create(folder: &Utf8Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        if path.exists() {
            // What a crash tore off would hide all that is appended after it.
            let (_, torn) = read(&path)?;
            if torn > 0 {
                let file = fs::OpenOptions::new().write(true).open(&path)?;
                file.set_len(fs::metadata(&path)?.len().saturating_sub(torn as u64))?;
                file.sync_all()?;
            }
        }
        let file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
        for folder in folder.ancestors().take(3).filter(|f| !f.as_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, buffer: Vec::new(), broken: false })
    }

    /// Writes records and waits until they are on the disk: one fsync for all of them.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn append(&mut self, records: &[Record]) -> std::io::Result<()> {
        use std::io::Write as _;
        if self.broken {
            return Err(std::io::Error::other("an earlier write to the journal failed"));
        }
        self.buffer.clear();
        encode(records, &mut self.buffer);
        let written = self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data());
        self.broken = written.is_err();
        written
    }
}

/// What a journal says of one container that no record closes.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// What was asked for.
    pub intent: Intent,
    /// GitLab's id of the move, if its answer was seen.
    pub move_id: Option<u64>,
    /// The frozen read, if it was made.
    pub frozen: Option<Vec<Side>>,
}

/// What a journal says of one object that was to be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum ObjectFate {
    /// It was.
    Applied {
        /// Of the manifest.
        digest: String,
        /// Of the live object.
        uid: Option<String>,
    },
    /// Nobody saw the end.
    InDoubt {
        /// The exact object.
        manifest: Box<Manifest>,
        /// As it was sent.
        force: bool,
    },
}

/// What a verified move showed beside its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// Whether the destination is whole, where that was looked at.
    pub whole: Option<String>,
    /// GitLab left the copy on the source.
    pub left: bool,
}

/// A journal, folded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folded {
    /// The environment it is of.
    pub environment: Option<String>,
    /// The run ended by itself.
    pub ended: bool,
    /// Containers in doubt.
    pub doubts: BTreeMap<Container, Doubt>,
    /// Verified moves that the state file does not hold yet: intent, verdict, frozen digest, destination's digest.
    pub verified: Vec<(Intent, String, Vec<Side>, String)>,
    /// What else each of them showed, in the same order.
    pub beside: Vec<Beside>,
    /// Quarantines that the state file does not hold yet, each with whether a reference tip is missing.
    pub quarantined: Vec<(Container, QuarantineRecord, bool)>,
    /// Objects that were applied, or may have been; by storage and key.
    pub objects: BTreeMap<(StorageName, String), ObjectFate>,
    /// Projects of probes that are away from home: home, and the storage that was tried.
    pub probes: BTreeMap<Container, (StorageName, StorageName)>,
    /// Written by a newer tranship.
    pub newer: bool,
}

/// Folds a journal's records, given the digest of the state file as it is now. What the checkpoints up to the one of that
/// digest name is in the state; if no checkpoint fits (a person edited the state), the last one counts as written.
pub fn fold(records: &[Record], state_digest: &str) -> Folded {
    let checkpoint = |wanted: Option<&str>| {
        records.iter().rposition(|r| matches!(r, Record::Checkpoint { state, .. } if wanted.is_none_or(|w| w == state)))
    };
    let first = records.iter().position(|r| matches!(r, Record::Checkpoint { .. }));
    let saved = match checkpoint(Some(state_digest)) {
        Some(at) => Some(at),
        // Only one checkpoint and the state is none of it: the crash came between the two writes.
        None if checkpoint(None) == first => None,
        None => checkpoint(None),
    };
    let held: BTreeSet<Container> = records
        .iter()
        .take(saved.map_or(0, |at| at + 1))
        .filter_map(|r| if let Record::Checkpoint { holds, .. } = r { Some(holds) } else { None })
        .flatten()
        .copied()
        .collect();
    let mut folded = Folded::default();
    for record in records {
        match record {
            Record::Began { format, environment } => {
                folded.newer |= *format > FORMAT;
                folded.environment = Some(environment.clone());
            }
            Record::Intent { intent } => {
                let doubt = Doubt { intent: (**intent).clone(), move_id: None, frozen: None };
                folded.doubts.insert(intent.container, doubt);
            }
            Record::Accepted { container, move_id } => {
                if let Some(doubt) = folded.doubts.get_mut(container) {
                    doubt.move_id = Some(*move_id);
                }
            }
            Record::Frozen { container, sides } => {
                if let Some(doubt) = folded.doubts.get_mut(container) {
                    doubt.frozen = Some(sides.clone());
                }
            }
            Record::Verified { container, verdict, destination, whole, left } => {
                if let Some(doubt) = folded.doubts.remove(container)
                    && !held.contains(container)
                {
                    let frozen = doubt.frozen.unwrap_or(doubt.intent.before.clone());
                    folded.verified.push((doubt.intent, verdict.clone(), frozen, destination.clone()));
                    folded.beside.push(Beside { whole: whole.clone(), left: *left });
                }
            }
            Record::Quarantined { container, quarantine, loss } => {
                folded.doubts.remove(container);
                if !held.contains(container) {
                    folded.quarantined.push((*container, (**quarantine).clone(), *loss));
                }
            }
            Record::Dropped { container, .. } => {
                folded.doubts.remove(container);
            }
            Record::ObjectIntent { storage, manifest, force } => {
                let fate = ObjectFate::InDoubt { manifest: manifest.clone(), force: *force };
                folded.objects.insert((storage.clone(), manifest.key.to_string()), fate);
            }
            Record::Object { storage, key, digest, uid } => {
                // Whether the state holds it is no matter: recording it once more changes nothing.
                let fate = ObjectFate::Applied { digest: digest.clone(), uid: uid.clone() };
                folded.objects.insert((storage.clone(), key.clone()), fate);
            }
            Record::Probe { container, home, storage, back } => {
                if *back {
                    folded.probes.remove(container);
                } else {
                    folded.probes.insert(*container, (home.clone(), storage.clone()));
                }
            }
            Record::Checkpoint { .. } | Record::Thawed { .. } | Record::Throttled { .. } | Record::Soak { .. } => {}
            Record::Ended => folded.ended = true,
        }
    }
    folded
}

/// The folders of runs whose journal has no end, oldest first (a run's name begins with its time).
///
/// # Errors
/// The file system's, with the path.
pub fn unfinished(runs: &Utf8Path) -> std::io::Result<Vec<(Utf8PathBuf, Vec<Record>)>> {
    let mut found = Vec::new();
    if !runs.exists() {
        return Ok(found);
    }
    for entry in runs.read_dir_utf8()? {
        let folder = entry?.into_path();
        let file = folder.join(FILE);
        if !file.is_file() {
            continue;
        }
        let (records, _torn) = read(&file)?;
        if !records.contains(&Record::Ended) {
            found.push((folder, records));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Since when each hold is watched, by its address: the newest word of all runs that are kept, finished or not. A run that
/// cannot be read counts for nothing: its holds are watched anew.
///
/// # Errors
/// The file system's, with the path.
pub fn soaks(runs: &Utf8Path) -> std::io::Result<BTreeMap<Address, Timestamp>> {
    use std::io::Read as _;
    // The tag comes first in a record: only these are parsed, of millions.
    const TAG: &[u8] = br#"{"record":"soak""#;
    let mut folders = Vec::new();
    if runs.exists() {
        for entry in runs.read_dir_utf8()? {
            folders.push(entry?.into_path());
        }
    }
    folders.sort();
    let mut found = BTreeMap::new();
    for folder in folders {
        let (open, packed) = (folder.join(FILE), folder.join(PACKED));
        let bytes = if open.is_file() {
            fs::read(&open)?
        } else if packed.is_file() {
            let mut bytes = Vec::new();
            match flate2::read::GzDecoder::new(fs::File::open(&packed)?).read_to_end(&mut bytes) {
                Ok(_) => bytes,
                Err(_) => continue,
            }
        } else {
            continue;
        };
        let mut rest = bytes.as_slice();
        while let Some((payload, after)) = frame(rest) {
            rest = after;
            if !payload.starts_with(TAG) {
                continue;
            }
            if let Ok(Record::Soak { hold, since }) = serde_json::from_slice(payload) {
                match since {
                    Some(since) => drop(found.insert(hold, since)),
                    None => drop(found.remove(&hold)),
                }
            }
        }
    }
    Ok(found)
}

/// Packs the journal of a finished run and deletes the oldest packed ones above `keep`.
///
/// # Errors
/// The file system's, with the path.
pub fn pack(runs: &Utf8Path, run: &str, keep: usize) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = runs.join(run);
    let packed = folder.join(PACKED);
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::default());
    gz.write_all(&fs::read(folder.join(FILE))?)?;
    gz.finish()?.sync_all()?;
    fs::remove_file(folder.join(FILE))?;
    let mut finished: Vec<_> = runs
        .read_dir_utf8()?
        .filter_map(|e| e.ok().map(camino::Utf8DirEntry::into_path))
        .filter(|p| p.join(PACKED).is_file() && !p.join(FILE).exists())
        .collect();
    finished.sort();
    let surplus = finished.len().saturating_sub(keep);
    for old in finished.iter().take(surplus) {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerKind;

    fn container(id: u64) -> Container {
        Container { kind: ContainerKind::Project, id }
    }

    fn intent(id: u64) -> Record {
        Record::Intent {
            intent: Box::new(Intent {
                container: container(id),
                path: format!("web/p{id}"),
                source: StorageName::new("default").expect("valid"),
                destination: StorageName::new("gitaly-01").expect("valid"),
                assignment: Address::new("assignment", "all"),
                wave: "rest".into(),
                bytes: Bytes(10),
                attempt: 1,
                before_id: 0,
                at: Timestamp::UNIX_EPOCH,
                before: vec![Side::new(
                    RepositoryRole::Main,
                    "@hashed/x.git".into(),
                    Some(RefSnapshot::new(
                        vec![Reference { name: b"refs/heads/\xff".to_vec(), target: "ab".into() }],
                        None,
                        None,
                    )),
                )],
                before_read: true,
                disks_differ: true,
                whole: None,
            }),
        }
    }

    fn saved(state: &str, holds: &[u64]) -> Record {
        Record::Checkpoint { state: state.into(), holds: holds.iter().map(|id| container(*id)).collect() }
    }

    fn verified(id: u64) -> Record {
        Record::Verified {
            container: container(id),
            verdict: "attested".into(),
            destination: "d".into(),
            whole: None,
            left: false,
        }
    }

    #[test]
    fn every_prefix_of_a_journal_reads_as_its_whole_records() {
        let records = [
            Record::Began { format: FORMAT, environment: "e".into() },
            intent(1),
            Record::Accepted { container: container(1), move_id: 7 },
            verified(1),
            Record::Ended,
        ];
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for record in &records {
            encode(std::slice::from_ref(record), &mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|e| **e <= cut).count() - 1;
            let (read, torn) = decode(&bytes[..cut]);
            assert_eq!(read, records[..whole], "cut at {cut}");
            assert_eq!(torn, cut - ends[whole]);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_reading() {
        let mut bytes = Vec::new();
        encode(&[Record::Ended, Record::Ended], &mut bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).0.len() < 2, "byte {at}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_an_error_and_nothing_is_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let run = runs.join("run");
        JournalFile::create(&run).expect("made").append(&[intent(1), verified(1), intent(2)]).expect("written");
        let whole = fs::read(run.join(FILE)).expect("read");
        let mut first = Vec::new();
        encode(&[intent(1)], &mut first);
        let mut damaged = whole;
        damaged[first.len() + 20] ^= 1;
        fs::write(run.join(FILE), &damaged).expect("written");
        let error = unfinished(runs).expect_err("damaged").to_string();
        assert!(error.contains(&format!("journal is damaged at byte {}", first.len())), "{error}");
        assert!(JournalFile::create(&run).is_err());
        assert_eq!(fs::read(run.join(FILE)).expect("read"), damaged);
    }

    #[test]
    fn an_end_that_overtook_its_checkpoint_is_not_taken_for_saved() {
        let records = [intent(1), intent(2), verified(1), verified(2), saved("s1", &[1])];
        let ids: Vec<u64> = fold(&records, "s1").verified.iter().map(|v| v.0.container.id).collect();
        assert_eq!(ids, [2]);
    }

    #[test]
    fn what_is_appended_after_a_crash_in_the_middle_of_a_write_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = Utf8Path::from_path(folder.path()).expect("UTF-8").join("run");
        JournalFile::create(&run).expect("made").append(&[intent(1), verified(1)]).expect("written");
        let bytes = fs::read(run.join(FILE)).expect("read");
        fs::write(run.join(FILE), &bytes[..bytes.len() - 3]).expect("cut");
        JournalFile::create(&run).expect("opened").append(&[Record::Ended]).expect("written");
        let (records, torn) = decode(&fs::read(run.join(FILE)).expect("read"));
        assert_eq!((records.len(), torn), (2, 0));
        assert_eq!(records[1], Record::Ended);
    }

    #[test]
    fn the_clock_of_a_hold_outlives_its_run_and_ends_when_it_was_passed() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let soak = |key: &str, since: Option<i64>| Record::Soak {
            hold: Address::new("hold", "wave").with_key(key),
            since: since.map(at),
        };
        let write = |run: &str, records: &[Record]| {
            JournalFile::create(&runs.join(run)).expect("made").append(records).expect("written");
        };
        assert_eq!(soaks(&runs.join("none")).expect("read"), BTreeMap::new());
        write("1", &[soak("a", Some(10)), intent(1), soak("b", Some(20)), Record::Ended]);
        pack(runs, "1", 5).expect("packed");
        write("2", &[soak("b", None), soak("c", Some(30))]);
        let found = soaks(runs).expect("read");
        let found: Vec<_> = found.iter().map(|(a, t)| (a.key.as_deref().expect("keyed"), *t)).collect();
        assert_eq!(found, [("a", at(10)), ("c", at(30))]);
    }

    #[test]
    fn what_the_state_holds_is_not_folded_again() {
        let records = [intent(1), verified(1), saved("s1", &[1]), intent(2), verified(2), intent(3)];
        let ids = |digest: &str| fold(&records, digest).verified.iter().map(|v| v.0.container.id).collect::<Vec<_>>();
        assert_eq!(ids("s1"), [2], "the checkpoint's state is on the disk");
        assert_eq!(ids("s0"), [1, 2], "the crash came before the state was replaced");
        let folded = fold(&records, "s1");
        assert_eq!(folded.doubts.keys().copied().collect::<Vec<_>>(), [container(3)]);
    }
}
