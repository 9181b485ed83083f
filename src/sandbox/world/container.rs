//! What GitLab's database has: projects, snippets, groups, object pools; and shelves on which they are found by id and
//! by storage.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Container, ContainerKind, RepositoryRole, StorageName, relative_path};

/// Who sees a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Everybody who may.
    #[default]
    Live,
    /// Being deleted: in lists on request, not found by its id, and movable all the same.
    PendingDelete,
    /// Hidden by an administrator: as above.
    Hidden,
}

/// A project as GitLab's database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// GitLab's id.
    pub id: u64,
    /// Full path.
    pub path: String,
    /// Who sees it.
    pub presence: Presence,
    /// Whatever shows it is answered 500.
    pub poisoned: bool,
    /// Archived.
    pub archived: bool,
    /// Column `repository_storage`.
    pub storage: StorageName,
    /// The flag that a move sets; not in the API.
    pub read_only: bool,
    /// Without a commit.
    pub empty: bool,
    /// Has a wiki repository.
    pub wiki: bool,
    /// Has a design repository.
    pub design: bool,
    /// Bytes.
    pub repository_size: u64,
    /// Bytes.
    pub wiki_size: u64,
    /// The project it was forked from.
    pub fork_parent: Option<u64>,
    /// The object pool it is a member of, on its storage.
    pub pool: Option<u64>,
    /// Bytes of the pool that a move brought along within the repository, until housekeeping takes them out.
    pub inlined: u64,
    /// Where it lies on Gitaly, without suffix, if not where its id says.
    pub disk_path: Option<String>,
    /// By the fleet's clock.
    pub created: Timestamp,
    /// By the fleet's clock.
    pub last_activity: Timestamp,
}

impl Project {
    /// An ordinary project without repository sizes.
    pub fn new(id: u64, path: String, storage: StorageName, created: Timestamp) -> Self {
        Self {
            id,
            path,
            presence: Presence::Live,
            poisoned: false,
            archived: false,
            storage,
            read_only: false,
            empty: false,
            wiki: false,
            design: false,
            repository_size: 0,
            wiki_size: 0,
            fork_parent: None,
            pool: None,
            inlined: 0,
            disk_path: None,
            created,
            last_activity: created,
        }
    }

    /// GitLab's kind and id.
    pub fn container(&self) -> Container {
        Container { kind: ContainerKind::Project, id: self.id }
    }

    /// Where it lies on Gitaly, without suffix.
    pub fn disk_path(&self) -> String {
        self.disk_path.clone().unwrap_or_else(|| {
            let path = relative_path(self.container(), RepositoryRole::Main);
            path.strip_suffix(".git").unwrap_or(&path).to_owned()
        })
    }

    /// The relative paths of its repositories, the main one first.
    pub fn repositories(&self) -> Vec<String> {
        let path = self.disk_path();
        let mut paths = vec![format!("{path}.git")];
        if self.wiki {
            paths.push(format!("{path}.wiki.git"));
        }
        if self.design {
            paths.push(format!("{path}.design.git"));
        }
        paths
    }

    /// Bytes of repository and wiki, as the statistics say.
    pub fn bytes(&self) -> u64 {
        self.repository_size.saturating_add(self.wiki_size)
    }
}

/// A snippet as GitLab's database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// GitLab's id.
    pub id: u64,
    /// What it is called.
    pub title: String,
    /// Its project; `None` for a personal one.
    pub project: Option<u64>,
    /// `None`: it has no repository record.
    pub storage: Option<StorageName>,
    /// The flag that a move sets; not in the API.
    pub read_only: bool,
    /// Bytes.
    pub size: u64,
    /// By the fleet's clock.
    pub created: Timestamp,
    /// By the fleet's clock.
    pub updated: Timestamp,
}

/// A group as GitLab's database has it. Its wiki is what has a storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// GitLab's id.
    pub id: u64,
    /// Full path.
    pub path: String,
    /// The wiki's; `None`: it has no repository record.
    pub storage: Option<StorageName>,
    /// The flag that a move sets; not in the API.
    pub read_only: bool,
    /// Bytes of the wiki.
    pub size: u64,
    /// By the fleet's clock.
    pub created: Timestamp,
}

/// An object pool on one storage. Its copies on other storages have the same id and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// GitLab's id of the first one, which its path is made from.
    pub id: u64,
    /// Where.
    pub storage: StorageName,
    /// Bytes.
    pub size: u64,
}

impl Pool {
    /// The relative path of the pool with that id, on any storage.
    pub fn path_of(id: u64) -> String {
        let path = relative_path(Container { kind: ContainerKind::Project, id }, RepositoryRole::Main);
        path.replacen("@hashed", "@pools", 1)
    }
}

/// What a move needs to know of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Housed {
    /// `None`: it has no repository record.
    pub storage: Option<StorageName>,
    /// Frozen.
    pub read_only: bool,
    /// Nothing that could be lost.
    pub empty: bool,
    /// What it takes on its storage's disk.
    pub bytes: u64,
    /// Its repositories, the main one first.
    pub paths: Vec<String>,
    /// Its object pool.
    pub pool: Option<u64>,
}

/// What a shelf asks of its things.
pub(super) trait Kept {
    fn id(&self) -> u64;
    fn storage(&self) -> Option<&StorageName>;
    /// Bytes on disk.
    fn weighs(&self) -> u64;
}

impl Kept for Project {
    fn id(&self) -> u64 {
        self.id
    }
    fn storage(&self) -> Option<&StorageName> {
        Some(&self.storage)
    }
    fn weighs(&self) -> u64 {
        self.bytes().saturating_add(self.inlined)
    }
}

impl Kept for Snippet {
    fn id(&self) -> u64 {
        self.id
    }
    fn storage(&self) -> Option<&StorageName> {
        self.storage.as_ref()
    }
    fn weighs(&self) -> u64 {
        self.size
    }
}

impl Kept for Group {
    fn id(&self) -> u64 {
        self.id
    }
    fn storage(&self) -> Option<&StorageName> {
        self.storage.as_ref()
    }
    fn weighs(&self) -> u64 {
        self.size
    }
}

/// Containers of one kind.
#[derive(Debug, Clone)]
pub(super) struct Shelf<T> {
    all: BTreeMap<u64, T>,
    by_storage: BTreeMap<StorageName, BTreeSet<u64>>,
    used: BTreeMap<StorageName, u64>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), by_storage: BTreeMap::new(), used: BTreeMap::new() }
    }
}

impl<T: Kept> Shelf<T> {
    /// Puts a thing as it is now; gives back what it was.
    pub(super) fn put(&mut self, thing: T) -> Option<T> {
        let old = self.take(thing.id());
        if let Some(storage) = thing.storage() {
            self.by_storage.entry(storage.clone()).or_default().insert(thing.id());
            *self.used.entry(storage.clone()).or_default() += thing.weighs();
        }
        self.all.insert(thing.id(), thing);
        old
    }

    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        let old = self.all.remove(&id)?;
        if let Some(storage) = old.storage() {
            if let Some(here) = self.by_storage.get_mut(storage) {
                here.remove(&id);
            }
            if let Some(used) = self.used.get_mut(storage) {
                *used = used.saturating_sub(old.weighs());
            }
        }
        Some(old)
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        self.all.get(&id)
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.all.values()
    }

    pub(super) fn used(&self, storage: &StorageName) -> u64 {
        self.used.get(storage).copied().unwrap_or(0)
    }

    /// The greatest id plus one.
    pub(super) fn next_id(&self) -> u64 {
        self.all.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// By ascending id after `after`; only those of one storage, if given.
    pub(super) fn after<'a>(
        &'a self,
        storage: Option<&StorageName>,
        after: u64,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a T> + 'a> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        match storage {
            None => Box::new(self.all.range(range).map(|(_, t)| t)),
            Some(storage) => match self.by_storage.get(storage) {
                None => Box::new(std::iter::empty()),
                Some(ids) => Box::new(ids.range(range).filter_map(|id| self.all.get(id))),
            },
        }
    }
}
