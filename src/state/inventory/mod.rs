//! The inventory: what GitLab's lists gave, as a file. A million repositories take GitLab an hour to list and a second
//! to read from here.
//!
//! Text, a JSON value a line. The first line is the head; behind it come blocks: a line that says how many repositories
//! follow, with a checksum over their lines, then a line for each. A finished inventory is in the order of containers and
//! says in its head when it began and ended; `file` reads and writes it. A draft grows page by page while GitLab is read;
//! each of its blocks says where its list goes on, so that an interrupted listing is taken up again: `draft`. Lines that
//! an apply adds behind the last block say what it moved since.
//!
//! A change of this format raises [`FORMAT`]: an inventory of another format is refused, and simply made anew.

mod draft;
mod file;

pub use draft::{Draft, Taken};
pub use file::{append_moved, read, write};

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store::StateError;
use crate::model::{Container, ContainerKind, Cursor, ListFacts, Repository, StorageName, Unreadable};

/// The format that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Of which fleet an inventory is, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which GitLab: its URL, or the sandbox's name.
    pub gitlab: String,
    /// For which environment.
    pub environment: String,
    /// When the listing began, by the fleet's clock.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// What GitLab's lists gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Of which fleet, and as of when.
    pub origin: Origin,
    /// What the lists of each storage did not give. A storage that is not here was not listed.
    pub lists: BTreeMap<StorageName, ListFacts>,
    /// Sorted by container, each once.
    pub repositories: Vec<Repository>,
}

impl Inventory {
    /// Checks that it tells of this fleet, and of all these storages.
    ///
    /// # Errors
    /// What it tells of instead.
    pub fn check(
        &self,
        file: &Utf8Path,
        gitlab: &str,
        environment: &str,
        storages: &BTreeSet<StorageName>,
    ) -> Result<(), StateError> {
        let foreign = |what: &str, found: &str, expected: &str| {
            StateError::new(
                format!("{file}: the inventory is of {what} {found:?}, the configuration is of {expected:?}"),
                "Take the inventory that was made here, or let a plan read GitLab's lists: leave out --refresh=false and \
                 --inventory.",
            )
        };
        if self.origin.environment != environment {
            return Err(foreign("environment", &self.origin.environment, environment));
        }
        if self.origin.gitlab != gitlab {
            return Err(foreign("GitLab", &self.origin.gitlab, gitlab));
        }
        let missing: Vec<&str> =
            storages.iter().filter(|name| !self.lists.contains_key(*name)).map(StorageName::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StateError::new(
            format!(
                "{file}: the inventory lacks what is on {}: they were not listed when it was made",
                missing.join(", ")
            ),
            "Let a plan read GitLab's lists: leave out --refresh=false and --inventory.",
        ))
    }

    /// Takes in what was moved since.
    pub fn moved(&mut self, moved: &BTreeMap<Container, StorageName>) {
        for (container, storage) in moved {
            if let Ok(at) = self.repositories.binary_search_by_key(container, |r| r.container)
                && let Some(repository) = self.repositories.get_mut(at)
            {
                repository.storage = storage.clone();
            }
        }
    }
}

/// Where the inventory of an environment is kept.
pub fn path(configuration: &Utf8Path, environment: &str) -> Utf8PathBuf {
    configuration.join(".tranship/inventory").join(format!("{environment}.jsonl"))
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    /// The format.
    inventory: u32,
    environment: String,
    gitlab: String,
    began: Timestamp,
    /// `None`: a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    /// All that were listed; a repository names its own by the place here.
    storages: Vec<StorageName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<StorageName, ListFacts>,
    /// How many follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repositories: Option<u64>,
    /// Over this line, this number being 0.
    crc: u32,
}

impl Head {
    /// With its checksum.
    fn sealed(mut self) -> Self {
        self.crc = 0;
        self.crc = crc(serde_json::to_string(&self).unwrap_or_default().as_bytes());
        self
    }

    fn is_whole(&self) -> bool {
        self.clone().sealed().crc == self.crc
    }
}

/// The line before the repositories of a kind.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Block {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<ContainerKind>,
    /// Of a draft: whose list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage: Option<StorageName>,
    /// Of a draft: where the list goes on; absent at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
    /// Behind the last block: what an apply moved, and where to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    moved: BTreeMap<Container, StorageName>,
    /// How many lines follow that belong here.
    #[serde(default)]
    count: u32,
    /// Over those lines; of `moved`, over its JSON.
    crc: u32,
}

/// One repository: id, place of its storage, path, bytes, archived, empty, parent, last activity, creation.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a>(
    u64,
    u32,
    #[serde(borrow)] std::borrow::Cow<'a, str>,
    Option<u64>,
    Option<u8>,
    Option<u8>,
    Option<u64>,
    Option<i64>,
    Option<i64>,
);

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Appends a block: its line, then one for each repository.
fn encode(
    into: &mut Vec<u8>,
    mut block: Block,
    repositories: &[Repository],
    storages: &[StorageName],
) -> std::io::Result<()> {
    let mut lines = Vec::with_capacity(repositories.len() * 80);
    for r in repositories {
        let storage = storages.binary_search(&r.storage).ok().and_then(|at| u32::try_from(at).ok());
        let Some(storage) = storage else { continue };
        let line = Line(
            r.container.id,
            storage,
            std::borrow::Cow::Borrowed(&r.path),
            r.size.map(|s| s.0),
            r.archived.map(u8::from),
            r.empty.map(u8::from),
            r.fork_parent,
            r.last_activity,
            r.created,
        );
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
        block.count += 1;
    }
    block.crc = crc(&lines);
    serde_json::to_writer(&mut *into, &block)?;
    into.push(b'\n');
    into.append(&mut lines);
    Ok(())
}

#[cfg(test)]
mod tests;
