//! The finished inventory on disk: read line by line, replaced atomically.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};

use camino::Utf8Path;

use super::{Block, FORMAT, Head, Inventory, Line, Origin, crc, encode};
use crate::model::{Bytes, Container, ContainerKind, ListFacts, Repository, StorageName};
use crate::state::store::{StateError, replace_by};

/// Repositories a block. A fault is told by its block's line.
const BLOCK: usize = 10_000;
/// No line is longer: GitLab's paths have at most a few hundred characters. Only the head, with its list of storages, is.
const LONGEST: u64 = 1 << 16;
const LONGEST_HEAD: u64 = 1 << 26;
const AGAIN: &str = "Let a plan read GitLab's lists again: leave out --refresh=false and --inventory.";

/// What is wrong at a line.
pub(super) struct Fault {
    line: u64,
    what: String,
}

impl Fault {
    pub(super) fn error(self, file: &Utf8Path) -> StateError {
        StateError::new(format!("{file}, line {}: {}", self.line, self.what), AGAIN)
    }
}

/// Reads blocks off a file.
pub(super) struct Blocks<R> {
    reader: BufReader<R>,
    line: u64,
    /// Bytes of whole blocks so far.
    pub(super) whole: u64,
    bytes: u64,
    text: Vec<u8>,
    storages: Vec<StorageName>,
}

impl<R: std::io::Read> Blocks<R> {
    /// Reads the head.
    pub(super) fn new(file: R) -> Result<(Head, Self), Fault> {
        let reader = BufReader::with_capacity(1 << 18, file);
        let mut blocks = Self { reader, line: 0, whole: 0, bytes: 0, text: Vec::new(), storages: Vec::new() };
        if !blocks.next_line(LONGEST_HEAD)? {
            return Err(blocks.fault("the file is empty"));
        }
        let value: serde_json::Value =
            serde_json::from_slice(&blocks.text).map_err(|_| blocks.fault("this is no inventory"))?;
        let format = value.get("inventory").and_then(serde_json::Value::as_u64);
        match format {
            None => return Err(blocks.fault("this is no inventory: its first line has no `inventory`")),
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                let age = if format > u64::from(FORMAT) { "newer" } else { "older" };
                return Err(blocks.fault(&format!(
                    "the inventory has format {format}, {age} than the one that this tranship reads ({FORMAT})"
                )));
            }
        }
        let head: Head =
            serde_json::from_value(value).map_err(|e| blocks.fault(&format!("the head is damaged: {e}")))?;
        if !head.is_whole() || !head.storages.is_sorted() {
            return Err(blocks.fault("the head was changed or damaged: its checksum is another"));
        }
        blocks.storages.clone_from(&head.storages);
        blocks.whole = blocks.bytes;
        Ok((head, blocks))
    }

    /// Sound, and yet nothing to go on with.
    pub(super) fn unusable(&self) -> Fault {
        self.fault("this draft is of another listing")
    }

    fn fault(&self, what: &str) -> Fault {
        Fault { line: self.line.max(1), what: what.to_owned() }
    }

    /// Reads a line with its end; false at the end of the file.
    fn next_line(&mut self, longest: u64) -> Result<bool, Fault> {
        self.text.clear();
        self.line += 1;
        let read = (&mut self.reader).take(longest).read_until(b'\n', &mut self.text);
        let read = read.map_err(|e| self.fault(&format!("cannot be read: {e}")))?;
        self.bytes += read as u64;
        if read > 0 && self.text.last() != Some(&b'\n') {
            let long = read as u64 >= longest;
            return Err(self.fault(if long {
                "the line is too long for an inventory"
            } else {
                "the file ends in the middle of this line"
            }));
        }
        Ok(read > 0)
    }

    /// The next block, its repositories appended to `into`; `None` at the end.
    pub(super) fn next(&mut self, into: &mut Vec<Repository>) -> Result<Option<Block>, Fault> {
        if !self.next_line(LONGEST_HEAD)? {
            return Ok(None);
        }
        let block: Block = serde_json::from_slice(&self.text)
            .map_err(|e| self.fault(&format!("expected the line before a block of repositories: {e}")))?;
        let begins = self.line;
        let before = into.len();
        let mut sum = flate2::Crc::new();
        match block.kind {
            Some(kind) => {
                for n in 0..block.count {
                    if !self.next_line(LONGEST)? {
                        return Err(self.fault(&format!(
                            "the file was cut short: {n} of the {} {} announced in line {begins} are there",
                            block.count,
                            kind.plural()
                        )));
                    }
                    sum.update(&self.text);
                    let repository = self.repository(kind)?;
                    into.push(repository);
                }
            }
            None => sum.update(serde_json::to_string(&block.moved).unwrap_or_default().as_bytes()),
        }
        if sum.sum() != block.crc {
            into.truncate(before);
            return Err(Fault {
                line: begins,
                what: format!("this block, to line {}, was changed or damaged: its checksum is another", self.line),
            });
        }
        self.whole = self.bytes;
        Ok(Some(block))
    }

    /// A storage's name, sharing its text where it is one of the head's.
    fn parent(&self, name: Option<&str>) -> Option<StorageName> {
        let name = name?;
        match self.storages.binary_search_by(|known| known.as_str().cmp(name)) {
            Ok(at) => self.storages.get(at).cloned(),
            Err(_) => StorageName::new(name).ok(),
        }
    }

    fn repository(&self, kind: ContainerKind) -> Result<Repository, Fault> {
        let Line(id, storage, path, size, archived, empty, fork_parent, last_activity, created, parent) =
            serde_json::from_slice(&self.text).map_err(|e| self.fault(&format!("this is no repository: {e}")))?;
        let storage = self.storages.get(storage as usize).ok_or_else(|| {
            self.fault(&format!("the storage number {storage} is not among the {} of the head", self.storages.len()))
        })?;
        Ok(Repository {
            container: Container { kind, id },
            path: path.into(),
            storage: storage.clone(),
            size: size.map(Bytes),
            archived: archived.map(|n| n != 0),
            empty: empty.map(|n| n != 0),
            fork_parent,
            parent_storage: self.parent(parent.as_deref()),
            last_activity,
            created,
        })
    }
}

/// What to do without an inventory that can be read.
const ANOTHER: &str = "Correct the name behind --inventory; or let a plan read GitLab's lists first: tranship plan";

/// Reads a finished inventory.
///
/// # Errors
/// Not there, not finished, cut short, changed, of another format; with the line.
pub fn read(file: &Utf8Path) -> Result<Inventory, StateError> {
    if fs_err::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Err(StateError::new(format!("{file} is no regular file, and an inventory is one"), ANOTHER));
    }
    let opened = fs_err::File::open(file).map_err(|error| {
        let help = if error.kind() == std::io::ErrorKind::NotFound {
            ANOTHER
        } else {
            "Make the file readable, then run the command again."
        };
        StateError::new(format!("the inventory cannot be read: {error}"), help)
    })?;
    parse(opened).map_err(|fault| fault.error(file))
}

fn parse(file: impl std::io::Read) -> Result<Inventory, Fault> {
    let (head, mut blocks) = Blocks::new(file)?;
    let (Some(ended), Some(number)) = (head.ended, head.repositories) else {
        return Err(blocks
            .fault("this inventory is not finished: its listing was interrupted, and the next plan goes on with it"));
    };
    let mut repositories = Vec::with_capacity(usize::try_from(number).unwrap_or(0).min(1 << 22));
    let mut moved = BTreeMap::new();
    while let Some(block) = blocks.next(&mut repositories)? {
        moved.extend(block.moved);
    }
    if repositories.len() as u64 != number {
        let found = repositories.len();
        return Err(blocks.fault(&format!(
            "the file was cut short: {found} of the {number} repositories announced in line 1 are there"
        )));
    }
    if !repositories.is_sorted_by(|a, b| a.container < b.container) {
        return Err(blocks.fault("the repositories are not in the order of their ids"));
    }
    let Head { environment, gitlab, began, storages, mut lists, .. } = head;
    for storage in storages {
        lists.entry(storage).or_default();
    }
    let origin = Origin { gitlab, environment, began, ended };
    let mut inventory = Inventory { origin, lists, repositories };
    inventory.moved(&moved);
    Ok(inventory)
}

/// Replaces an inventory, atomically. Its repositories are sorted by container.
///
/// # Errors
/// The call that failed; the old file is then whole.
pub fn write(
    file: &Utf8Path,
    origin: &Origin,
    lists: &BTreeMap<StorageName, ListFacts>,
    repositories: &[Repository],
) -> std::io::Result<()> {
    let Origin { gitlab, environment, began, ended } = origin;
    let storages: Vec<StorageName> = lists.keys().cloned().collect();
    let told = |r: &&Repository| storages.binary_search(&r.storage).is_ok();
    let head = Head {
        inventory: FORMAT,
        environment: environment.clone(),
        gitlab: gitlab.clone(),
        began: *began,
        ended: Some(*ended),
        lists: lists
            .iter()
            .filter(|(_, facts)| **facts != ListFacts::default())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        repositories: Some(repositories.iter().filter(told).count() as u64),
        storages: storages.clone(),
        crc: 0,
    };
    replace_by(file, |temporary| {
        let mut out = BufWriter::with_capacity(1 << 18, temporary);
        serde_json::to_writer(&mut out, &head.sealed())?;
        out.write_all(b"\n")?;
        let mut text = Vec::new();
        for group in repositories.chunk_by(|a, b| a.container.kind == b.container.kind) {
            for block in group.chunks(BLOCK) {
                let kind = block.first().map(|r| r.container.kind);
                text.clear();
                encode(&mut text, Block { kind, ..Block::default() }, block, &storages)?;
                out.write_all(&text)?;
            }
        }
        out.flush()
    })
}

/// Says in a finished inventory what was moved since it was made. Does nothing when there is none.
///
/// # Errors
/// The call that failed.
pub fn append_moved(file: &Utf8Path, moved: &BTreeMap<Container, StorageName>) -> std::io::Result<()> {
    if moved.is_empty() || !file.exists() {
        return Ok(());
    }
    let crc = crc(serde_json::to_string(moved)?.as_bytes());
    let mut text = serde_json::to_vec(&Block { moved: moved.clone(), crc, ..Block::default() })?;
    text.push(b'\n');
    fs_err::OpenOptions::new().append(true).open(file)?.write_all(&text)
}
