//! Content without files: references computed from a seed, and what has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::content::{Content, ContentError, ContentResult, Measure};
use super::draw::{Draw, Settler, Shape};
use super::lock;
use super::world::Change;
use crate::model::{Bytes, Reference, StorageName};

/// A repository of a synthetic world: tens of bytes, whatever it is said to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyntheticRepository {
    seed: u64,
    shape: Shape,
    /// Bytes it is said to hold.
    size: Bytes,
    /// What HEAD names.
    head: Vec<u8>,
    /// Commits since, by branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pushes: Vec<Vec<u8>>,
    /// References that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dropped: Vec<Vec<u8>>,
    /// Objects that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<String>,
    /// The pool it borrows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// Bytes of the pool that it holds itself.
    #[serde(default, skip_serializing_if = "nothing")]
    inlined: Bytes,
    /// It is a pool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_pool: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn nothing(bytes: &Bytes) -> bool {
    bytes.0 == 0
}

impl SyntheticRepository {
    fn new(seed: u64, shape: Shape, size: u64, head: &[u8]) -> Self {
        Self {
            seed,
            shape,
            size: Bytes(size),
            head: head.to_vec(),
            pushes: Vec::new(),
            dropped: Vec::new(),
            lost: Vec::new(),
            pool: None,
            inlined: Bytes(0),
            is_pool: false,
        }
    }

    fn id(&self, what: &[u8], version: usize) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(what);
        hash.update((version as u64).to_be_bytes());
        let mut hex = hex::encode(hash.finalize());
        if self.shape != Shape::Sha256 {
            hex.truncate(40);
        }
        hex
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        if self.shape != Shape::Empty {
            names.extend([b"refs/heads/main".to_vec(), b"refs/heads/topic".to_vec(), b"refs/tags/v1.0".to_vec()]);
            let more = Draw::new(self.seed, 99).below(4);
            names.extend((0..more).map(|n| format!("refs/heads/feature-{n}").into_bytes()));
        }
        match self.shape {
            Shape::ManyReferences => names.extend((0..10_000).map(|n| format!("refs/heads/b{n:05}").into_bytes())),
            Shape::OddNamespaces => names.extend(
                [
                    "custom/thing",
                    "environments/prod/deployments/1",
                    "keep-around/1",
                    "merge-requests/1/head",
                    "notes/commits",
                    "pipelines/17",
                    "remotes/origin/main",
                ]
                .map(|n| format!("refs/{n}").into_bytes()),
            ),
            Shape::NotUtf8 => names.extend([b"refs/heads/caf\xe9".to_vec(), b"refs/tags/\xfcber".to_vec()]),
            Shape::Ordinary | Shape::Empty | Shape::Sha256 | Shape::UnbornHead => {}
        }
        names.extend(self.pushes.iter().cloned());
        names.retain(|n| !self.dropped.contains(n));
        names.sort();
        names.dedup();
        names
    }

    fn references(&self) -> Vec<Reference> {
        let target = |name: &[u8]| self.id(name, self.pushes.iter().filter(|p| *p == name).count());
        let mut all: Vec<Reference> =
            self.names().into_iter().map(|name| Reference { target: target(&name), name }).collect();
        if self.is_pool {
            for Reference { name, .. } in &mut all {
                name.splice(..b"refs".len(), b"refs/remotes/origin".iter().copied());
            }
        }
        if let Some(head) = all.iter().find(|r| r.name == self.head) {
            let head = Reference { name: b"HEAD".to_vec(), target: head.target.clone() };
            all.insert(0, head);
        }
        all
    }

    /// Every object that a reference names or has named.
    fn objects(&self) -> BTreeSet<String> {
        let whole = Self { dropped: Vec::new(), ..self.clone() };
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for name in whole.names() {
            let versions = self.pushes.iter().filter(|p| **p == name).count();
            ids.extend((0..=versions).map(|v| self.id(&name, v)));
        }
        for lost in &self.lost {
            ids.remove(lost);
        }
        ids
    }
}

type Key = (StorageName, String);

#[derive(Debug, Default)]
struct Inner {
    repositories: BTreeMap<Key, SyntheticRepository>,
    /// Storages' disks, by their file systems' ids.
    disks: BTreeMap<StorageName, String>,
    changes: Vec<Change>,
}

impl Inner {
    fn put(&mut self, key: Key, repository: Option<SyntheticRepository>) {
        self.changes.push(Change::Synthetic {
            storage: key.0.clone(),
            path: key.1.clone(),
            repository: repository.clone(),
        });
        match repository {
            Some(repository) => drop(self.repositories.insert(key, repository)),
            None => drop(self.repositories.remove(&key)),
        }
    }
}

/// References in memory.
#[derive(Debug, Default)]
pub struct Synthetic {
    inner: Mutex<Inner>,
}

impl Synthetic {
    fn get<T>(&self, storage: &StorageName, path: &str, f: impl FnOnce(&SyntheticRepository) -> T) -> ContentResult<T> {
        let inner = lock(&self.inner);
        inner.repositories.get(&(storage.clone(), path.to_owned())).map(f).ok_or(ContentError::NotFound)
    }

    fn update<T>(
        &self,
        storage: &StorageName,
        path: &str,
        f: impl FnOnce(&mut SyntheticRepository) -> T,
    ) -> ContentResult<T> {
        let mut inner = lock(&self.inner);
        let key = (storage.clone(), path.to_owned());
        let mut repository = inner.repositories.get(&key).cloned().ok_or(ContentError::NotFound)?;
        let result = f(&mut repository);
        inner.put(key, Some(repository));
        Ok(result)
    }

    /// Drops a reference or moves it to another commit of its own: what tests do to a copy.
    ///
    /// # Errors
    /// No repository is there.
    pub fn drop_reference(&self, storage: &StorageName, path: &str, name: &[u8]) -> ContentResult<()> {
        self.update(storage, path, |r| r.dropped.push(name.to_vec()))
    }

    /// Forgets all repositories.
    pub(super) fn clear(&self) {
        lock(&self.inner).repositories.clear();
    }

    /// All repositories, as changes.
    pub fn as_changes(&self) -> Vec<Change> {
        let inner = lock(&self.inner);
        let changes = inner.repositories.iter().map(|((storage, path), repository)| Change::Synthetic {
            storage: storage.clone(),
            path: path.clone(),
            repository: Some(repository.clone()),
        });
        changes.collect()
    }
}

impl Content for Synthetic {
    fn settle(&self, settlers: &[Settler]) -> ContentResult<Vec<Vec<u64>>> {
        let mut inner = lock(&self.inner);
        for settler in settlers {
            for (index, plot) in settler.plots.iter().enumerate() {
                let main = index == 0;
                let head: &[u8] = match settler.shape {
                    Shape::UnbornHead if main => b"refs/heads/gone",
                    _ => b"refs/heads/main",
                };
                let seed = settler.seed(4).wrapping_add(index as u64);
                let shape = if main { settler.shape } else { Shape::Ordinary };
                let mut repository = SyntheticRepository::new(seed, shape, plot.bytes, head);
                if main && settler.lacks_object {
                    repository.lost.push("parent".to_owned());
                }
                if let Some(seat) = settler.seat.as_ref().filter(|_| main) {
                    if seat.root.is_none() {
                        let pool = SyntheticRepository { is_pool: true, size: Bytes(seat.bytes), ..repository.clone() };
                        inner.repositories.insert((settler.storage.clone(), seat.pool.clone()), pool);
                    }
                    repository.pool = Some(seat.pool.clone());
                }
                inner.repositories.insert((settler.storage.clone(), plot.path.clone()), repository);
            }
        }
        Ok(settlers.iter().map(|s| s.plots.iter().map(|p| p.bytes).collect()).collect())
    }

    fn prepare(&self, storage: &StorageName, filesystem_id: &str) -> ContentResult<()> {
        lock(&self.inner).disks.insert(storage.clone(), filesystem_id.to_owned());
        Ok(())
    }

    fn mount(&self, storage: &StorageName, filesystem_id: &str) -> ContentResult<()> {
        let mut inner = lock(&self.inner);
        let before = inner.disks.insert(storage.clone(), filesystem_id.to_owned());
        if before.is_some_and(|before| before != filesystem_id) {
            let here = inner.repositories.keys().filter(|(s, _)| s == storage).cloned().collect::<Vec<_>>();
            for key in here {
                inner.put(key, None);
            }
        }
        Ok(())
    }

    fn exists(&self, storage: &StorageName, path: &str) -> bool {
        self.get(storage, path, |_| ()).is_ok()
    }

    fn references(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<Reference>> {
        self.get(storage, path, SyntheticRepository::references)
    }

    fn head(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>> {
        self.get(storage, path, |r| r.head.clone())
    }

    fn object_format(&self, storage: &StorageName, path: &str) -> ContentResult<String> {
        self.get(storage, path, |r| if r.shape == Shape::Sha256 { "sha256" } else { "sha1" }.to_owned())
    }

    fn objects_exist(&self, storage: &StorageName, path: &str, revisions: &[Vec<u8>]) -> ContentResult<Vec<bool>> {
        self.get(storage, path, |r| {
            let objects = r.objects();
            let names = r.names();
            let there = |revision: &Vec<u8>| {
                names.contains(revision) || std::str::from_utf8(revision).is_ok_and(|id| objects.contains(id))
            };
            revisions.iter().map(there).collect()
        })
    }

    fn peel(&self, storage: &StorageName, path: &str, references: &[Reference]) -> ContentResult<Vec<String>> {
        self.get(storage, path, |_| vec![String::new(); references.len()])
    }

    fn fsck(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>> {
        self.get(storage, path, |r| {
            r.lost.iter().flat_map(|id| format!("missing commit {id}\n").into_bytes()).collect()
        })
    }

    fn measure(&self, storage: &StorageName, path: &str) -> ContentResult<Measure> {
        self.get(storage, path, |r| Measure {
            size: r.size.0.saturating_add(r.inlined.0),
            objects: r.size.0.saturating_add(r.inlined.0),
            loose_references: r.names().len() as u64,
            packed_references: 0,
        })
    }

    fn walk(&self, storage: &StorageName) -> ContentResult<Vec<(String, Timestamp)>> {
        let inner = lock(&self.inner);
        let here = inner.repositories.range((storage.clone(), String::new())..);
        Ok(here.take_while(|((s, _), _)| s == storage).map(|((_, p), _)| (p.clone(), Timestamp::UNIX_EPOCH)).collect())
    }

    fn create(&self, storage: &StorageName, path: &str, default_branch: &[u8], sha256: bool) -> ContentResult<()> {
        let mut inner = lock(&self.inner);
        let key = (storage.clone(), path.to_owned());
        if inner.repositories.contains_key(&key) {
            return Err(ContentError::Exists);
        }
        let branch: &[u8] = if default_branch.is_empty() { b"main" } else { default_branch };
        let seed = path.bytes().fold(7, |h: u64, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let shape = if sha256 { Shape::Sha256 } else { Shape::Empty };
        let repository = SyntheticRepository::new(seed, shape, 0, &[b"refs/heads/", branch].concat());
        inner.put(key, Some(repository));
        Ok(())
    }

    fn remove(&self, storage: &StorageName, path: &str) -> ContentResult<()> {
        let mut inner = lock(&self.inner);
        let key = (storage.clone(), path.to_owned());
        if !inner.repositories.contains_key(&key) {
            return Err(ContentError::NotFound);
        }
        inner.put(key, None);
        Ok(())
    }

    fn replicate(&self, source: &StorageName, destination: &StorageName, path: &str) -> ContentResult<()> {
        let mut inner = lock(&self.inner);
        let whole = |path: &str| inner.repositories.get(&(source.clone(), path.to_owned())).cloned();
        let mut copy = whole(path).ok_or(ContentError::NotFound)?;
        if let Some(pool) = copy.pool.take().and_then(|pool| whole(&pool)) {
            copy.inlined = copy.inlined.max(pool.size);
        }
        inner.put((destination.clone(), path.to_owned()), Some(copy));
        Ok(())
    }

    fn pool(&self, storage: &StorageName, path: &str) -> ContentResult<Option<String>> {
        self.get(storage, path, |r| r.pool.clone())
    }

    fn make_pool(&self, storage: &StorageName, pool: &str, origin: &str) -> ContentResult<()> {
        let mut inner = lock(&self.inner);
        let key = (storage.clone(), pool.to_owned());
        if inner.repositories.contains_key(&key) {
            return Err(ContentError::Exists);
        }
        let origin = inner.repositories.get(&(storage.clone(), origin.to_owned()));
        let origin = origin.cloned().ok_or(ContentError::NotFound)?;
        inner.put(key, Some(SyntheticRepository { is_pool: true, pool: None, ..origin }));
        Ok(())
    }

    fn link(&self, storage: &StorageName, path: &str, pool: &str) -> ContentResult<()> {
        if !self.exists(storage, pool) {
            return Err(ContentError::NotFound);
        }
        self.update(storage, path, |r| r.pool = Some(pool.to_owned()))
    }

    fn tidy(&self, storage: &StorageName, path: &str) -> ContentResult<()> {
        self.update(storage, path, |r| {
            if r.pool.is_some() {
                r.inlined = Bytes(0);
            }
        })
    }

    fn push(&self, storage: &StorageName, path: &str, branch: Option<&str>, _message: &str) -> ContentResult<String> {
        self.update(storage, path, |r| {
            let name = branch.map_or_else(|| r.head.clone(), |b| format!("refs/heads/{b}").into_bytes());
            r.pushes.push(name.clone());
            r.dropped.retain(|d| *d != name);
            let version = r.pushes.iter().filter(|p| **p == name).count();
            r.id(&name, version)
        })
    }

    fn lose(&self, storage: &StorageName, path: &str, with_objects: bool) -> ContentResult<bool> {
        self.update(storage, path, |r| {
            let Some(lost) = r.references().into_iter().find(|x| x.name != b"HEAD" && x.name != r.head) else {
                return false;
            };
            r.dropped.push(lost.name);
            if with_objects {
                r.lost.push(lost.target);
            }
            true
        })
    }

    fn lose_object(&self, storage: &StorageName, path: &str) -> ContentResult<bool> {
        self.update(storage, path, |r| {
            let there = !r.names().is_empty();
            if there {
                r.lost.push("parent".to_owned());
            }
            there
        })
    }

    fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut lock(&self.inner).changes)
    }

    fn replay(&self, change: &Change) {
        if let Change::Synthetic { storage, path, repository } = change {
            let mut inner = lock(&self.inner);
            let key = (storage.clone(), path.clone());
            match repository {
                Some(repository) => drop(inner.repositories.insert(key, repository.clone())),
                None => drop(inner.repositories.remove(&key)),
            }
        }
    }
}
