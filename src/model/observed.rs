//! What the live systems say. Everything that could not be read is an explicit `Unknown` with its reason.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::cluster::ClusterFacts;
use super::{Bytes, Container, ContainerKind, GateFacts, StorageName, Weight};

/// A fact that was read, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// Read.
    Known(T),
    /// Not read, with the reason as one line without secrets.
    Unknown(String),
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::Unknown("it was not read".to_owned())
    }
}

impl<T> Reading<T> {
    /// The fact, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(fact) => Some(fact),
            Self::Unknown(_) => None,
        }
    }
}

/// The fleet as it was seen at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// When the reading began, by the fleet's clock.
    pub as_of: Timestamp,
    /// GitLab itself.
    pub gitlab: GitlabFacts,
    /// One entry for each declared storage.
    pub storages: BTreeMap<StorageName, StorageFacts>,
    /// Projects, snippets and group wikis on storages that an assignment takes from or that drain; sorted by
    /// container, each once.
    pub repositories: Vec<Repository>,
    /// What the lists of each of these storages did not give. A storage that is not here was not listed.
    pub lists: BTreeMap<StorageName, ListFacts>,
    /// Object pools that repositories on a storage borrow from, by their fork network; only those that were asked for.
    pub pools: BTreeMap<(StorageName, u64), PoolFacts>,
    /// When the lists were read, if not just now: an inventory, or a listing that was interrupted before.
    pub listed: Option<Listed>,
    /// The cluster, where the configuration has pod storages.
    pub cluster: Option<Reading<ClusterFacts>>,
    /// Moves that have not ended, anybody's; sorted by container.
    pub moves: Vec<MoveRecord>,
    /// What gates' questions are answered now.
    pub gates: GateFacts,
    /// The project that `rollout.probe` names, where it names one.
    pub probe: Option<Reading<Repository>>,
}

/// An object pool: what forks have in common, stored once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// Relative path on its storage.
    pub path: String,
    /// Bytes; `None` when that could not be asked.
    pub size: Option<Bytes>,
}

/// When GitLab's lists were read, by the fleet's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Nothing in them is older.
    pub began: Timestamp,
    /// Nothing in them is newer.
    pub ended: Timestamp,
}

/// GitLab itself.
#[derive(Debug, Clone, PartialEq)]
pub struct GitlabFacts {
    /// Like `18.1.1-ee`.
    pub version: String,
    /// `None` on versions that do not say.
    pub enterprise: Option<bool>,
    /// The token's own facts.
    pub token: Reading<TokenFacts>,
    /// `repository_storages_weighted`: every storage that GitLab knows, with its weight.
    pub weights: BTreeMap<StorageName, Weight>,
}

/// What `GET /personal_access_tokens/self` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// Like `api`, `admin_mode`.
    pub scopes: Vec<String>,
    /// The day on which, at 00:00 UTC, it stops working; `None`: it does not expire.
    pub expires_at: Option<Date>,
}

/// One storage, as its own Gitaly and the lists of GitLab say.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageFacts {
    /// What ServerInfo says of it; unknown when it cannot be reached or does not serve that name.
    pub server: Reading<ServerFacts>,
    /// What DiskStatistics says.
    pub disk: Reading<DiskSpace>,
    /// What Gitaly's walk found, only asked for a draining storage without repositories: relative paths, sorted.
    pub walk: Option<Reading<Vec<String>>>,
}

/// What ServerInfo says of one storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Gitaly's version.
    pub version: String,
    /// Git's version.
    pub git_version: String,
    /// False when the storage cannot be read.
    pub readable: bool,
    /// False when it is full or read-only.
    pub writeable: bool,
    /// From the metadata file in its root; empty when that could not be read.
    pub filesystem_id: String,
    /// More than 1 is Praefect.
    pub replication_factor: u32,
}

/// Room on a storage's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// For Gitaly.
    pub available: Bytes,
    /// By anything.
    pub used: Bytes,
}

/// What GitLab's lists of one storage did not give. By default: nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListFacts {
    /// Kinds of which nothing is known, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unlisted: BTreeMap<ContainerKind, Unlisted>,
    /// Containers that GitLab fails to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Why the containers of a kind could not be listed. The reasons are one line, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlisted {
    /// This GitLab has no such list: Gitaly's walk alone can tell.
    Absent(String),
    /// It could not be read.
    Failed(String),
}

/// A container that breaks every page of a list that holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its kind.
    pub kind: ContainerKind,
    /// Its id, where the list goes by id: the last of the range is surely broken, the others are where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<(u64, u64)>,
    /// Its place in the list, from 1, where the list does not go by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// What GitLab answered, one line.
    pub cause: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match (self.ids, self.place) {
            (Some((first, last)), _) if first >= last => write!(f, "{}", Container { kind, id: last }),
            (Some((first, last)), _) => {
                write!(f, "{}, and any other with an id from {first} on", Container { kind, id: last })
            }
            (None, Some(place)) => write!(f, "the {} at place {place} of GitLab's list", kind.word()),
            (None, None) => write!(f, "a {}", kind.word()),
        }
    }
}

/// Where a listing goes on; can be written down and taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Projects (keyset): ids above this. 0 at the start.
    pub after: u64,
    /// Snippets and groups (offset): the page, from 1.
    pub page: u32,
    /// Items a page, 1 to 100.
    pub size: u32,
}

impl Cursor {
    /// The first page, as large as GitLab gives them.
    pub const START: Self = Self { after: 0, page: 1, size: 100 };
}

/// One container as GitLab's lists give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Kind and id.
    pub container: Container,
    /// Full path in GitLab (`web/shop`); a snippet's is `snippets/<id>`, a group wiki's its group's.
    pub path: Arc<str>,
    /// Where GitLab says it is.
    pub storage: StorageName,
    /// Repository and wiki; GitLab's figure may be stale. `None` when not given.
    pub size: Option<Bytes>,
    /// Archived projects are read-only in GitLab. `None`: its kind has no such thing.
    pub archived: Option<bool>,
    /// GitLab says that it has no commit.
    pub empty: Option<bool>,
    /// The project it was forked from, if any.
    pub fork_parent: Option<u64>,
    /// Where that project is, where GitLab says so.
    pub parent_storage: Option<StorageName>,
    /// Seconds since 1970.
    pub last_activity: Option<i64>,
    /// Seconds since 1970.
    pub created: Option<i64>,
}

/// A move's state, GitLab's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum MoveState {
    /// Made, not yet queued.
    Initial,
    /// Read-only, waiting for a worker.
    Scheduled,
    /// Being copied.
    Started,
    /// Copied and switched; the source's copy still exists.
    Replicated,
    /// Done.
    Finished,
    /// Not done.
    Failed,
    /// Lives on the destination; the source's copy was left.
    CleanupFailed,
    /// A state that this version does not know.
    Other(String),
}

impl MoveState {
    /// True when GitLab will not change it any more. An unknown state is not taken for an end.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::CleanupFailed)
    }

    /// GitLab's spelling.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Initial => "initial",
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Replicated => "replicated",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::CleanupFailed => "cleanup failed",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for MoveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for MoveState {
    fn from(name: String) -> Self {
        match name.as_str() {
            "initial" => Self::Initial,
            "scheduled" => Self::Scheduled,
            "started" => Self::Started,
            "replicated" => Self::Replicated,
            "finished" => Self::Finished,
            "failed" => Self::Failed,
            "cleanup failed" | "cleanup_failed" => Self::CleanupFailed,
            _ => Self::Other(name),
        }
    }
}

impl From<MoveState> for String {
    fn from(state: MoveState) -> Self {
        state.as_str().to_owned()
    }
}

/// One repository storage move, as GitLab tells it. `id` is unique within the container's kind only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MoveRecord {
    /// What moves.
    pub container: Container,
    /// GitLab's id of the move.
    pub id: u64,
    /// Where it stands.
    pub state: MoveState,
    /// From.
    pub source: String,
    /// To.
    pub destination: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Why it failed, where GitLab says.
    pub error_message: Option<String>,
}
