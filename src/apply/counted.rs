//! Counts the requests that a run makes of GitLab, by call. A wrapper around the port: what an adapter repeats by itself
//! counts once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::port::{Cursor, GitLab, Listing, PortResult, Version};
use crate::model::{Container, ContainerKind, MoveRecord, Repository, StorageName, TokenFacts, Weight};

/// The calls, as they are counted.
const CALLS: [&str; 13] = [
    "version",
    "token",
    "weights",
    "put_weights",
    "list",
    "container",
    "project",
    "commit",
    "disk_path",
    "moves",
    "moves_of",
    "move_record",
    "schedule",
];

/// How often each call was made. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    calls: Arc<[AtomicU64; CALLS.len()]>,
}

impl Counts {
    fn count(&self, call: &str) {
        if let Some(counter) = CALLS.iter().position(|name| *name == call).and_then(|at| self.calls.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests by call.
    pub fn by_call(&self) -> BTreeMap<&'static str, u64> {
        CALLS.iter().zip(self.calls.iter()).map(|(name, counter)| (*name, counter.load(Ordering::Relaxed))).collect()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.by_call().values().sum()
    }
}

/// A GitLab whose requests are counted.
pub struct Counted {
    inner: Arc<dyn GitLab>,
    counts: Counts,
}

impl Counted {
    /// Wraps one.
    pub fn new(inner: Arc<dyn GitLab>) -> (Arc<Self>, Counts) {
        let counts = Counts::default();
        (Arc::new(Self { inner, counts: counts.clone() }), counts)
    }
}

#[async_trait]
impl GitLab for Counted {
    async fn version(&self) -> PortResult<Version> {
        self.counts.count("version");
        self.inner.version().await
    }

    async fn token(&self) -> PortResult<TokenFacts> {
        self.counts.count("token");
        self.inner.token().await
    }

    async fn weights(&self) -> PortResult<BTreeMap<StorageName, Weight>> {
        self.counts.count("weights");
        self.inner.weights().await
    }

    async fn put_weights(&self, weights: &BTreeMap<StorageName, Weight>) -> PortResult<BTreeMap<StorageName, Weight>> {
        self.counts.count("put_weights");
        self.inner.put_weights(weights).await
    }

    async fn list(&self, kind: ContainerKind, storage: &StorageName, at: Cursor) -> PortResult<Listing> {
        self.counts.count("list");
        self.inner.list(kind, storage, at).await
    }

    async fn container(&self, container: Container) -> PortResult<Option<Repository>> {
        self.counts.count("container");
        self.inner.container(container).await
    }

    async fn project(&self, path: &str) -> PortResult<Option<Repository>> {
        self.counts.count("project");
        self.inner.project(path).await
    }

    async fn commit(&self, project: u64, branch: &str, start: Option<&str>, message: &str) -> PortResult<String> {
        self.counts.count("commit");
        self.inner.commit(project, branch, start, message).await
    }

    async fn disk_path(&self, container: Container) -> PortResult<Option<String>> {
        self.counts.count("disk_path");
        self.inner.disk_path(container).await
    }

    async fn moves(&self, kind: ContainerKind, page: u32) -> PortResult<Vec<MoveRecord>> {
        self.counts.count("moves");
        self.inner.moves(kind, page).await
    }

    async fn moves_of(&self, container: Container, limit: u32) -> PortResult<Vec<MoveRecord>> {
        self.counts.count("moves_of");
        self.inner.moves_of(container, limit).await
    }

    async fn move_record(&self, kind: ContainerKind, id: u64) -> PortResult<Option<MoveRecord>> {
        self.counts.count("move_record");
        self.inner.move_record(kind, id).await
    }

    async fn schedule(&self, container: Container, destination: &StorageName) -> PortResult<MoveRecord> {
        self.counts.count("schedule");
        self.inner.schedule(container, destination).await
    }
}
