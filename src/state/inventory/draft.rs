//! The inventory while it is being made: appended to page by page, so that an interrupted listing goes on where it
//! stopped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use super::file::{Blocks, Fault};
use super::{Block, FORMAT, Head, Origin, encode, write};
use crate::model::{ContainerKind, Cursor, ListFacts, Repository, StorageName, Unreadable};

/// An interrupted listing that is older is not gone on with: by then too much of it has changed.
const STALE: SignedDuration = SignedDuration::from_hours(12);

/// What an interrupted listing had read of one list.
#[derive(Debug, Default)]
pub struct Taken {
    /// Some may be there twice.
    pub found: Vec<Repository>,
    /// What broke its page.
    pub unreadable: Vec<Unreadable>,
    /// Where the list goes on; `None`: it was read to its end.
    pub next: Option<Cursor>,
}

type Lists = BTreeMap<(StorageName, ContainerKind), Taken>;

/// An inventory that is being made.
#[derive(Debug)]
pub struct Draft {
    file: Utf8PathBuf,
    part: Utf8PathBuf,
    head: Head,
    inner: Mutex<Inner>,
    resumed: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None`: another process writes it, or writing failed. The listing goes on without.
    out: Option<File>,
    failed: Option<String>,
    taken: Lists,
}

impl Draft {
    /// Begins an inventory of these storages, or goes on with one that was interrupted. Nothing that fails here keeps
    /// GitLab from being read: [`Draft::finish`] tells of it.
    pub fn begin(file: &Utf8Path, gitlab: &str, environment: &str, storages: Vec<StorageName>, now: Timestamp) -> Self {
        let mut storages = storages;
        storages.sort();
        storages.dedup();
        let now = whole_seconds(now);
        let head = Head {
            inventory: FORMAT,
            environment: environment.to_owned(),
            gitlab: gitlab.to_owned(),
            began: now,
            ended: None,
            storages,
            lists: BTreeMap::new(),
            repositories: None,
            crc: 0,
        };
        let part = Utf8PathBuf::from(format!("{file}.part"));
        let mut draft = Self { file: file.to_owned(), part, head, inner: Mutex::new(Inner::default()), resumed: false };
        let inner = match draft.open(now) {
            Ok((out, taken)) => Inner { out, failed: None, taken },
            Err(error) => Inner { failed: Some(error.to_string()), ..Inner::default() },
        };
        draft.inner = Mutex::new(inner);
        draft
    }

    fn open(&mut self, now: Timestamp) -> std::io::Result<(Option<File>, Lists)> {
        if let Some(folder) = self.part.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let mut out = File::options().read(true).write(true).create(true).truncate(false).open(&self.part)?;
        if out.try_lock().is_err() {
            return Ok((None, BTreeMap::new()));
        }
        if let Ok((began, whole, taken)) = self.taken(&out, now) {
            out.set_len(whole)?;
            out.seek(SeekFrom::End(0))?;
            self.resumed = !taken.is_empty();
            self.head.began = began;
            return Ok((Some(out), taken));
        }
        out.set_len(0)?;
        out.rewind()?;
        let mut text = serde_json::to_vec(&self.head.clone().sealed())?;
        text.push(b'\n');
        out.write_all(&text)?;
        Ok((Some(out), BTreeMap::new()))
    }

    /// What a part holds that this draft can go on with: when it began, its whole bytes, and what was read.
    fn taken(&self, part: &File, now: Timestamp) -> Result<(Timestamp, u64, Lists), Fault> {
        let (head, mut blocks) = Blocks::new(part)?;
        let ours = Head { began: head.began, ..self.head.clone() }.sealed() == head;
        let age = now.duration_since(head.began);
        if !ours || age > STALE || age < SignedDuration::ZERO {
            return Err(blocks.unusable());
        }
        let mut taken = Lists::new();
        let mut found = Vec::new();
        // A torn end is cut: its page is read again.
        while let Ok(Some(block)) = blocks.next(&mut found) {
            let (Some(storage), Some(kind)) = (block.storage, block.kind) else { return Err(blocks.unusable()) };
            let entry = taken.entry((storage, kind)).or_default();
            entry.found.append(&mut found);
            entry.unreadable.extend(block.unreadable);
            entry.next = block.next;
        }
        Ok((head.began, blocks.whole, taken))
    }

    /// When the listing began: earlier than now when it was interrupted.
    pub fn began(&self) -> Timestamp {
        self.head.began
    }

    /// True when it goes on with a listing that was interrupted.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// What an interrupted listing had read of a list. Given once.
    pub fn take(&self, storage: &StorageName, kind: ContainerKind) -> Option<Taken> {
        self.lock().taken.remove(&(storage.clone(), kind))
    }

    /// Writes a page down: what came, and where the list goes on.
    pub fn page(
        &self,
        storage: &StorageName,
        kind: ContainerKind,
        found: &[Repository],
        unreadable: &[Unreadable],
        next: Option<Cursor>,
    ) {
        let mut inner = self.lock();
        let Some(out) = &mut inner.out else { return };
        let block = Block {
            kind: Some(kind),
            storage: Some(storage.clone()),
            next,
            unreadable: unreadable.to_vec(),
            ..Block::default()
        };
        let mut text = Vec::new();
        let written = encode(&mut text, block, found, &self.head.storages).and_then(|()| out.write_all(&text));
        if let Err(error) = written {
            inner.out = None;
            inner.failed = Some(format!("{}: {error}", self.part));
        }
    }

    /// Replaces the inventory by the finished one, and throws the draft away. Returns what kept it from being written.
    pub fn finish(
        self,
        ended: Timestamp,
        lists: &BTreeMap<StorageName, ListFacts>,
        repositories: &[Repository],
    ) -> Option<String> {
        let Head { gitlab, environment, began, .. } = self.head;
        let origin = Origin { gitlab, environment, began, ended: whole_seconds(ended) };
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (Some(out), None) = (inner.out, inner.failed.as_ref()) else { return inner.failed };
        let written = write(&self.file, &origin, lists, repositories).and_then(|()| fs_err::remove_file(&self.part));
        // The lock stands until the draft is gone.
        drop(out);
        written.err().map(|error| error.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
