//! What a journal comes to: what is in doubt, and what the state file does not hold yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::Deserialize;

use super::file::{Payloads, folders, is_record};
use super::{FILE, FORMAT, Intent, Record, Side};
use crate::model::cluster::Manifest;
use crate::model::{Address, Container, StorageName};
use crate::state::QuarantineRecord;

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
    /// Waves of which nothing was left to begin, by name and source: the assignments that had moves in it, and what had not
    /// ended. A wave without any of these has passed.
    pub closing: BTreeMap<(String, StorageName), (BTreeSet<Address>, BTreeSet<Container>)>,
    /// Written by a newer tranship.
    pub newer: bool,
}

/// A journal that was read through once: what is whole of it, and which ends the state files hold that it names.
#[derive(Debug)]
pub struct Log {
    path: Utf8PathBuf,
    /// Bytes of whole records.
    whole: u64,
    ended: bool,
    newer: bool,
    /// The digests of the states that were written, each with whose ends it holds.
    checkpoints: Vec<(String, Vec<Container>)>,
}

/// What is looked at of each record.
#[derive(Deserialize)]
struct Gist {
    container: Option<Container>,
    intent: Option<Whose>,
}

#[derive(Deserialize)]
struct Whose {
    container: Container,
}

impl Log {
    /// Reads a journal through. A torn tail is what a crash leaves; what is broken with whole records after it is damage,
    /// and nothing may be concluded from half of what was done.
    pub(super) fn read(path: &Utf8Path) -> std::io::Result<Self> {
        let mut log = Self { path: path.to_owned(), whole: 0, ended: false, newer: false, checkpoints: Vec::new() };
        // As it is now: what were appended between two looks would seem to stand behind damage.
        let size = fs::metadata(path)?.len();
        let mut payloads = Payloads::new(BufReader::new(fs::File::open(path)?.take(size)));
        loop {
            let at = payloads.whole;
            let Some(payload) = payloads.next()? else { break };
            match tag(payload) {
                b"began" => match decode(payload) {
                    Some(Record::Began { format, .. }) => log.newer |= format > FORMAT,
                    _ => return Err(log.damaged(at)),
                },
                b"checkpoint" => match decode(payload) {
                    Some(Record::Checkpoint { state, holds }) => log.checkpoints.push((state, holds)),
                    _ if log.newer => {}
                    _ => return Err(log.damaged(at)),
                },
                b"ended" => log.ended = true,
                _ => {}
            }
        }
        log.whole = payloads.whole;
        let mut rest = Vec::new();
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(log.whole))?;
        file.take(size.saturating_sub(log.whole)).read_to_end(&mut rest)?;
        if !log.newer && (0..rest.len()).any(|from| rest.get(from..).is_some_and(is_record)) {
            return Err(log.damaged(log.whole));
        }
        Ok(log)
    }

    fn damaged(&self, at: u64) -> std::io::Error {
        let what = format!(
            "{} is damaged at byte {at}, and records stand after that. What this run did cannot be known from it: restore \
             the file from a backup; or move it away, look at GitLab's moves since then by hand, and apply again",
            self.path
        );
        std::io::Error::new(std::io::ErrorKind::InvalidData, what)
    }

    /// Bytes of whole records: what stands after them was torn.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// Whose ends the state file of a digest holds: what the checkpoints up to the one of that digest name. If none fits (a
    /// person edited the state), the last one counts as written.
    fn held(&self, state_digest: &str) -> BTreeSet<Container> {
        let saved = match self.checkpoints.iter().rposition(|(state, _)| state == state_digest) {
            Some(at) => at + 1,
            // Only one checkpoint and the state is none of it: the crash came between the two writes.
            None if self.checkpoints.len() == 1 => 0,
            None => self.checkpoints.len(),
        };
        self.checkpoints.iter().take(saved).flat_map(|(_, holds)| holds).copied().collect()
    }

    /// Folds the records, given the digest of the state file as it is now.
    ///
    /// # Errors
    /// The file system's, with the path; a whole record that cannot be understood.
    pub fn fold(&self, state_digest: &str) -> std::io::Result<Folded> {
        let mut folded = Folded { newer: self.newer, ..Folded::default() };
        if self.newer {
            return Ok(folded);
        }
        let held = self.held(state_digest);
        let mut open = Open::new();
        let mut payloads = Payloads::new(BufReader::new(fs::File::open(&self.path)?.take(self.whole)));
        loop {
            let at = payloads.whole;
            let Some(payload) = payloads.next()? else { break };
            folded.take(payload, &held, &mut open).ok_or_else(|| self.damaged(at))?;
        }
        for (container, records) in open {
            folded.doubts.insert(container, doubt(&records).ok_or_else(|| self.damaged(self.whole))?);
        }
        Ok(folded)
    }
}

/// The records of containers in doubt, as they stand.
type Open = BTreeMap<Container, Vec<Vec<u8>>>;

impl Folded {
    /// Takes one record in; `None`: it cannot be understood.
    fn take(&mut self, payload: &[u8], held: &BTreeSet<Container>, open: &mut Open) -> Option<()> {
        match tag(payload) {
            b"intent" => drop(open.insert(whose(payload)?, vec![payload.to_vec()])),
            b"accepted" | b"frozen" => {
                if let Some(records) = open.get_mut(&whose(payload)?) {
                    records.push(payload.to_vec());
                }
            }
            b"dropped" => drop(open.remove(&whose(payload)?)),
            b"verified" => {
                let container = whose(payload)?;
                self.ended_well(container);
                if let Some(records) = open.remove(&container).filter(|_| !held.contains(&container)) {
                    self.verified(&records, decode(payload)?)?;
                }
            }
            b"quarantined" => {
                let container = whose(payload)?;
                open.remove(&container);
                self.ended_well(container);
                if !held.contains(&container) {
                    let Record::Quarantined { quarantine, loss, .. } = decode(payload)? else { return None };
                    self.quarantined.push((container, *quarantine, loss));
                }
            }
            b"checkpoint" | b"thawed" | b"throttled" | b"soak" | b"tried" | b"carried" | b"answered" => {}
            _ => self.take_other(decode(payload)?)?,
        }
        Some(())
    }

    /// A move has ended, verified or set aside: its wave waits for it no more.
    pub fn ended_well(&mut self, container: Container) {
        for (_, flying) in self.closing.values_mut() {
            flying.remove(&container);
        }
    }

    fn verified(&mut self, records: &[Vec<u8>], end: Record) -> Option<()> {
        let Doubt { intent, frozen, .. } = doubt(records)?;
        let Record::Verified { verdict, destination, whole, left, .. } = end else { return None };
        let frozen = frozen.unwrap_or_else(|| intent.before.clone());
        self.verified.push((intent, verdict, frozen, destination));
        self.beside.push(Beside { whole, left });
        Some(())
    }

    fn take_other(&mut self, record: Record) -> Option<()> {
        match record {
            // What was taken up before stands in the state, where later runs may have changed it.
            Record::Began { environment, .. } => {
                let closing = std::mem::take(&mut self.closing);
                *self = Self { environment: Some(environment), closing, ..Self::default() };
            }
            Record::ObjectIntent { storage, manifest, force } => {
                let key = manifest.key.to_string();
                self.objects.insert((storage, key), ObjectFate::InDoubt { manifest, force });
            }
            // Whether the state holds it is no matter: recording it once more changes nothing.
            Record::Object { storage, key, digest, uid } => {
                self.objects.insert((storage, key), ObjectFate::Applied { digest, uid });
            }
            Record::Probe { container, back: true, .. } => drop(self.probes.remove(&container)),
            Record::Probe { container, home, storage, .. } => drop(self.probes.insert(container, (home, storage))),
            Record::Closing { wave, source, assignments, flying } => {
                self.closing.insert((wave, source), (assignments, flying));
            }
            Record::Ended => self.ended = true,
            _ => return None,
        }
        Some(())
    }
}

/// A record's tag, which stands first in its payload.
fn tag(payload: &[u8]) -> &[u8] {
    let rest = payload.strip_prefix(br#"{"record":""#).unwrap_or_default();
    rest.split(|byte| *byte == b'"').next().unwrap_or_default()
}

fn decode(payload: &[u8]) -> Option<Record> {
    serde_json::from_slice(payload).ok()
}

fn whose(payload: &[u8]) -> Option<Container> {
    let gist: Gist = serde_json::from_slice(payload).ok()?;
    gist.container.or(gist.intent.map(|intent| intent.container))
}

/// What the records of a container that none closes say: the intent, and what followed it.
fn doubt(records: &[Vec<u8>]) -> Option<Doubt> {
    let (first, more) = records.split_first()?;
    let Record::Intent { intent } = decode(first)? else { return None };
    let mut doubt = Doubt { intent: *intent, move_id: None, frozen: None };
    for payload in more {
        match decode(payload)? {
            Record::Accepted { move_id, .. } => doubt.move_id = Some(move_id),
            Record::Frozen { sides, .. } => doubt.frozen = Some(sides),
            _ => return None,
        }
    }
    Some(doubt)
}

/// The folders of runs whose journal has no end, oldest first.
///
/// # Errors
/// The file system's, with the path; a journal that is damaged in its middle.
pub fn unfinished(runs: &Utf8Path) -> std::io::Result<Vec<(Utf8PathBuf, Log)>> {
    let mut found = Vec::new();
    for folder in folders(runs)? {
        let file = folder.join(FILE);
        if file.is_file() {
            let log = Log::read(&file)?;
            if !log.ended {
                found.push((folder, log));
            }
        }
    }
    Ok(found)
}
