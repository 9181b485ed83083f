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
}

impl SyntheticRepository {
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
    fn settle(&self, settlers: &[Settler], lacking_object: &[u64]) -> ContentResult<Vec<(u64, u64)>> {
        let mut inner = lock(&self.inner);
        let mut sizes = Vec::with_capacity(settlers.len());
        for Settler { project, shape } in settlers {
            for (index, path) in project.repositories().into_iter().enumerate() {
                let main = index == 0;
                let mut repository = SyntheticRepository {
                    seed: project.id.wrapping_mul(4).wrapping_add(index as u64),
                    shape: if main { *shape } else { Shape::Ordinary },
                    size: Bytes(if main { project.repository_size } else { project.wiki_size }),
                    head: match shape {
                        Shape::UnbornHead if main => b"refs/heads/gone".to_vec(),
                        _ => b"refs/heads/main".to_vec(),
                    },
                    pushes: Vec::new(),
                    dropped: Vec::new(),
                    lost: Vec::new(),
                };
                if main && lacking_object.contains(&project.id) {
                    repository.lost.push("parent".to_owned());
                }
                inner.repositories.insert((project.storage.clone(), path), repository);
            }
            sizes.push((project.repository_size, project.wiki_size));
        }
        Ok(sizes)
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
            size: r.size.0,
            objects: r.size.0,
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
        let repository = SyntheticRepository {
            seed: path.bytes().fold(7, |h: u64, b| h.wrapping_mul(31).wrapping_add(u64::from(b))),
            shape: if sha256 { Shape::Sha256 } else { Shape::Empty },
            size: Bytes(0),
            head: [b"refs/heads/".as_slice(), branch].concat(),
            pushes: Vec::new(),
            dropped: Vec::new(),
            lost: Vec::new(),
        };
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
        let copy = inner.repositories.get(&(source.clone(), path.to_owned())).cloned();
        inner.put((destination.clone(), path.to_owned()), Some(copy.ok_or(ContentError::NotFound)?));
        Ok(())
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
