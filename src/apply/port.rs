//! What the engine needs of the world, as traits. Adapters over the wire and the in-memory world implement them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::cluster::{Answer, Manifest, ObjectKey, ObjectKind, Surroundings};
use crate::model::{
    Address, Bytes, Container, ContainerKind, DiskSpace, Hook, MoveRecord, Reference, Repository, ServerFacts,
    StorageName, TokenFacts, VetoSource, Weight,
};
pub use crate::model::{Cursor, Series};

/// What kind of failure a call met. Decides whether it may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// Unreachable, 5xx, 429, a reset: the same call may succeed later. The call was not, or need not have been, carried out.
    Transient,
    /// A writing call whose answer was lost: it may have been carried out.
    Ambiguous,
    /// 401, UNAUTHENTICATED, a wrong Gitaly token.
    Unauthenticated,
    /// 403, not an administrator, a missing scope.
    Forbidden,
    /// 404, NOT_FOUND.
    NotFound,
    /// 400, INVALID_ARGUMENT, FAILED_PRECONDITION: asked rightly, refused.
    Refused,
    /// An answer that is not what the API says: HTML, a cut body, a missing field, TLS trouble.
    Protocol,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {message}")]
pub struct PortError {
    /// What kind.
    pub kind: PortErrorKind,
    /// The call as a user knows it: `GET /api/v4/metadata`, `ServerInfo of storage default at tcp://…`.
    pub call: String,
    /// What was found and what was expected. No secret, one line.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
    /// How long the server asked us to wait.
    pub retry_after: Option<Duration>,
    /// GitLab's HTTP status, where it answered: a listing's 500 may be one broken item's.
    pub status: Option<u16>,
}

impl PortError {
    /// Makes an error without help.
    pub fn new(kind: PortErrorKind, call: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, call: call.into(), message: message.into(), help: None, retry_after: None, status: None }
    }

    /// True when the same call may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        self.kind == PortErrorKind::Transient
    }
}

/// The result of a port's call.
pub type PortResult<T> = Result<T, PortError>;

/// What `GET /metadata` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Like `18.1.1-ee`.
    pub version: String,
    /// `None` before 15.6.
    pub enterprise: Option<bool>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What is on the storage; may be empty before the end.
    pub found: Vec<Repository>,
    /// Where it goes on; `None` at the end.
    pub next: Option<Cursor>,
}

/// GitLab's REST API, as far as it is needed. Adapters retry what is safe to repeat (all GETs, 429), with bounded
/// backoff; a POST of a move is never repeated inside an adapter.
#[async_trait]
pub trait GitLab: Send + Sync {
    /// `GET /metadata`, or `GET /version` on old ones.
    async fn version(&self) -> PortResult<Version>;
    /// `GET /personal_access_tokens/self`.
    async fn token(&self) -> PortResult<TokenFacts>;
    /// `GET /application/settings`: the weights of all storages that GitLab knows. Proves administrator and Admin Mode.
    async fn weights(&self) -> PortResult<BTreeMap<StorageName, Weight>>;
    /// `PUT /application/settings` with the whole map; returns the map of the answer. Replaces: callers read first.
    async fn put_weights(&self, weights: &BTreeMap<StorageName, Weight>) -> PortResult<BTreeMap<StorageName, Weight>>;
    /// One page of the containers of a kind that GitLab has on a storage, by their own field `repository_storage`.
    ///
    /// - Projects: `GET /projects` by keyset, ascending id, also those that wait for their deletion and hidden ones. An
    ///   item whose own field names another storage, or none, is an error: GitLab dropped the filter, which means that
    ///   the token has no administrator's rights.
    /// - Snippets: `GET /snippets/all`; group wikis: `GET /groups`; by offset, so that rows are missed or come twice
    ///   while any of them moves. Items of other storages, which an edition without the filter sends, are dropped, and so
    ///   are those without a repository. No group wiki on an edition without them.
    ///
    /// [`PortErrorKind::NotFound`] when this GitLab has no such list. A 500 is told after few repetitions, as an error
    /// with that [`PortError::status`]: one broken item makes its whole page fail for good.
    async fn list(&self, kind: ContainerKind, storage: &StorageName, at: Cursor) -> PortResult<Listing>;
    /// One container as it is now (`GET /projects/:id`); `None` when GitLab does not show it, or not on which storage it
    /// is. That need not mean that it is gone: hidden projects, those that wait for their deletion and other people's
    /// snippets are there all the same, and `moves_of` tells.
    async fn container(&self, container: Container) -> PortResult<Option<Repository>>;
    /// The disk path on Gitaly without suffix (`GET /projects/:id/storage`), for a path that was not where its id says.
    async fn disk_path(&self, container: Container) -> PortResult<Option<String>>;
    /// `GET /projects/:path`: a project by its full path; `None` when GitLab shows none.
    async fn project(&self, path: &str) -> PortResult<Option<Repository>>;
    /// `POST /projects/:id/repository/commits`: one commit that adds a small file, on `branch`, which is made anew from
    /// the branch `start` (`None`: the repository has no commit) whether it is there or not. Returns the commit's id. Never
    /// repeated by the adapter; repeating it is safe.
    async fn commit(&self, project: u64, branch: &str, start: Option<&str>, message: &str) -> PortResult<String>;
    /// One page of the moves of a family, newest first; `page` from 1, 100 a page.
    async fn moves(&self, kind: ContainerKind, page: u32) -> PortResult<Vec<MoveRecord>>;
    /// The newest moves of one container, newest first, at most `limit` (1 to 100). [`PortErrorKind::NotFound`] when there
    /// is no such container.
    async fn moves_of(&self, container: Container, limit: u32) -> PortResult<Vec<MoveRecord>>;
    /// One move; `None` when GitLab does not know it.
    async fn move_record(&self, kind: ContainerKind, id: u64) -> PortResult<Option<MoveRecord>>;
    /// `POST /projects/:id/repository_storage_moves` with the destination named. Never repeated by the adapter.
    async fn schedule(&self, container: Container, destination: &StorageName) -> PortResult<MoveRecord>;
}

/// The Gitalys, addressed by storage name.
#[async_trait]
pub trait Gitaly: Send + Sync {
    /// ServerInfo, the entry of that storage. [`PortErrorKind::Refused`] when the server does not serve the name.
    async fn server(&self, storage: &StorageName) -> PortResult<ServerFacts>;
    /// ServerInfo by one attempt over a connection of its own, answered or failed within about a second: for measuring
    /// how long a server is away.
    async fn probe(&self, storage: &StorageName) -> PortResult<ServerFacts> {
        self.server(storage).await
    }
    /// DiskStatistics, the entry of that storage; `None` when the server could not find out (both figures 0).
    async fn disk(&self, storage: &StorageName) -> PortResult<Option<DiskSpace>>;
    /// RepositoryExists.
    async fn exists(&self, storage: &StorageName, path: &str) -> PortResult<bool>;
    /// ListRefs of `refs/` with HEAD, the whole stream. A stream that ends early is an error, never a short list.
    async fn references(&self, storage: &StorageName, path: &str) -> PortResult<Vec<Reference>>;
    /// FindDefaultBranchName with `head_only`; `None` when the repository has none.
    async fn head(&self, storage: &StorageName, path: &str) -> PortResult<Option<Vec<u8>>>;
    /// ObjectFormat as `sha1` or `sha256`; `None` on servers without the call.
    async fn object_format(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>>;
    /// CalculateChecksum, as text.
    async fn checksum(&self, storage: &StorageName, path: &str) -> PortResult<String>;
    /// CheckObjectsExist: for each object id, in order, whether the repository has it.
    async fn objects_exist(&self, storage: &StorageName, path: &str, ids: &[String]) -> PortResult<Vec<bool>>;
    /// RepositoryInfo's size, bytes.
    async fn size(&self, storage: &StorageName, path: &str) -> PortResult<Bytes>;
    /// Fsck: what git complains of, line by line; empty when the repository is clean. Reads every object: minutes for a
    /// large one.
    async fn fsck(&self, storage: &StorageName, path: &str) -> PortResult<Vec<String>>;
    /// GetObjectPool: the relative path of the pool that a repository borrows from; `None` without one.
    async fn pool(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>>;
    /// WalkRepos: relative paths of all repositories on the storage, sorted; those that start with `+` are Gitaly's own.
    async fn walk(&self, storage: &StorageName) -> PortResult<Vec<String>>;
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Apply {
    /// `dryRun=All`: nothing is stored.
    pub dry_run: bool,
    /// Takes fields over that another manager owns.
    pub force: bool,
}

/// What a delete asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delete {
    /// `propagationPolicy: Orphan`: what it owns stays.
    pub orphan: bool,
    /// `preconditions.uid`: not another object of the same name.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`: nothing of it changed since.
    pub resource_version: Option<String>,
    /// `dryRun=All`.
    pub dry_run: bool,
}

/// The Kubernetes API, within the configured namespace. Refusals are answers, not errors: errors are what kept the
/// server from answering. Adapters retry reads and dry runs, never a write.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// `GET /version`, like `v1.34.4`.
    async fn version(&self) -> PortResult<String>;
    /// One LIST of a kind (all pages): whole objects, with managedFields. Empty for a kind that the server does not have.
    async fn list(&self, kind: ObjectKind) -> PortResult<Vec<Value>>;
    /// What is not ours and must be there: Secrets by name, classes, nodes, quota. What may not be read is unknown.
    async fn surroundings(&self, secrets: &BTreeSet<String>) -> PortResult<Surroundings>;
    /// One object; `None` when there is none.
    async fn get(&self, key: &ObjectKey) -> PortResult<Option<Value>>;
    /// Server-side apply with field manager `tranship` and strict field validation.
    async fn apply(&self, manifest: &Manifest, how: Apply) -> PortResult<Answer>;
    /// Dry-run POST of a Pod: admission's own word on a template, which an apply of its StatefulSet does not give.
    async fn try_pod(&self, pod: &Manifest) -> PortResult<Answer>;
    /// Sets a claim's `spec.resources.requests.storage` (a merge patch).
    async fn grow(&self, claim: &str, size: Bytes, dry_run: bool) -> PortResult<Answer>;
    /// Deletes an object. Callers delete pods, and StatefulSets with `orphan`; nothing that holds data.
    async fn delete(&self, key: &ObjectKey, how: &Delete) -> PortResult<Answer>;
    /// Evicts a pod under its disruption budget ([`Why::Budget`](crate::model::cluster::Why::Budget) when that forbids it).
    /// `uid`: not another pod of the same name.
    async fn evict(&self, pod: &str, uid: Option<&str>, dry_run: bool) -> PortResult<Answer>;
    /// What tells this cluster from every other one: the uid of its namespace kube-system. `None` where that may not be
    /// read.
    async fn identity(&self) -> PortResult<Option<String>> {
        Ok(None)
    }
    /// Whether a volume (a PersistentVolume's name) is attached to a node; `None` where that cannot be seen: its driver
    /// attaches nothing, or the right is lacking.
    async fn attached(&self, volume: &str, node: &str) -> PortResult<Option<bool>> {
        let _ = (volume, node);
        Ok(None)
    }
    /// The newest events of an object, oldest first, as `Reason: message`; at most 20.
    async fn events(&self, key: &ObjectKey) -> PortResult<Vec<String>>;
    /// SelfSubjectAccessReview for a verb on a resource in the namespace (`None`: it could not be asked).
    async fn may(&self, verb: &str, kind: ObjectKind) -> PortResult<Option<bool>>;
}

/// Prometheus' HTTP API, as far as gates, signals and vetoes need it. Adapters retry what is safe to repeat.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// `GET /api/v1/query` at a time: a vector, or a scalar as one series without labels; one point each. A query that
    /// Prometheus refuses is [`PortErrorKind::Refused`] with its own words.
    async fn query(&self, query: &str, at: Timestamp) -> PortResult<Vec<Series>>;
    /// `GET /api/v1/query_range`.
    async fn range(&self, query: &str, from: Timestamp, to: Timestamp, step: Duration) -> PortResult<Vec<Series>>;
    /// What Prometheus warned of beside its answers until now, each once: of a query that covers a part only, say.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEnd {
    /// Its exit code; `None`: it was ended by a signal, or by its timeout.
    pub code: Option<i32>,
    /// The last lines that it wrote, at most 2,000 characters, no secrets of ours among its environment.
    pub output: String,
}

/// A person's word that a gate waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What the operator's own side is asked: programs, approvals, vetoes that are no query.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Runs a hook with this JSON on its standard input.
    async fn run_hook(&self, hook: &Hook, input: &Value) -> PortResult<HookEnd>;
    /// The approval that stands for a gate, if there is one.
    async fn approval(&self, gate: &Address) -> PortResult<Option<Approval>>;
    /// Takes an approval away, once it is recorded.
    async fn approval_used(&self, gate: &Address) -> PortResult<()>;
    /// Whether a veto that is a file or an address holds: the reason, in a line.
    async fn veto(&self, source: &VetoSource) -> PortResult<Option<String>>;
}

/// Time. On the sandbox the fleet's clock runs faster than ours.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the fleet's clock.
    fn now(&self) -> Timestamp;
    /// Waits that long by the fleet's clock.
    async fn sleep(&self, duration: Duration);
}

/// All ports together.
#[derive(Clone)]
pub struct Ports {
    /// GitLab.
    pub gitlab: std::sync::Arc<dyn GitLab>,
    /// The Gitalys.
    pub gitaly: std::sync::Arc<dyn Gitaly>,
    /// The cluster, where the configuration has pod storages.
    pub cluster: Option<std::sync::Arc<dyn Cluster>>,
    /// Prometheus, where there is one.
    pub metrics: Option<std::sync::Arc<dyn Metrics>>,
    /// The operator's own side; `None`: no hooks, no approvals, no vetoes.
    pub operator: Option<std::sync::Arc<dyn Operator>>,
    /// Time.
    pub clock: std::sync::Arc<dyn Clock>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}
