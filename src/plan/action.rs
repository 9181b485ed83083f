//! What a plan does: its actions, their order, and the moves that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pods::{ChangeClass, FieldChange};
use crate::model::cluster::Manifest;
use crate::model::{Address, Bytes, Container, Hook, HookEvent, StorageName, Weight};

/// Index of an action in [`super::Plan::actions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub u32);

/// One thing to do that an operator would name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Unique and stable: `weight.gitaly-01`, `moves.default["archived"]`, `drain.default`.
    pub address: Address,
    /// What is done.
    pub change: Change,
    /// Why, in a line.
    pub reason: String,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// Sets one storage's weight. Precondition: the weight is `from` (or already `to`).
    SetWeight {
        /// GitLab's name.
        storage: StorageName,
        /// As observed.
        from: Weight,
        /// As desired.
        to: Weight,
    },
    /// One wave of moves off one storage. Preconditions, for each: the container exists, is on the source, has no
    /// live move; filesystem ids as in [`super::Basis`].
    Moves {
        /// The wave's name; `rest` for what no wave of the rollout selects.
        wave: String,
        /// The wave's place in the rollout, from 0.
        position: u32,
        /// Where all of them are.
        source: StorageName,
        /// They start only inside this window: a key of [`super::Plan::windows`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
        /// Which of them goes next.
        #[serde(default)]
        order: MoveOrder,
        /// First index into [`super::Plan::moves`].
        first: u32,
        /// How many.
        count: u32,
        /// Sum of their sizes.
        bytes: Bytes,
    },
    /// Finds a storage empty twice, by GitLab's lists and Gitaly's walk, and records it as drained.
    ProveEmpty {
        /// GitLab's name.
        storage: StorageName,
    },
    /// Applies one object of a pod storage: server-side apply, field manager `tranship`.
    ApplyObject {
        /// GitLab's name.
        storage: StorageName,
        /// The exact object.
        manifest: Manifest,
        /// What it does to the storage.
        class: ChangeClass,
        /// Of the live object; `None`: there must be none.
        uid: Option<String>,
        /// `resourceVersion` that the dry run saw. Another one: a dry run again must give the same changes, else stale.
        resource_version: Option<String>,
        /// All fields that differ, by path; empty for a new object.
        changes: Vec<FieldChange>,
        /// Takes over fields that another manager owns.
        force: bool,
    },
    /// Deletes a StatefulSet but not its pod (orphan), waits until it is gone, and applies it anew. Never touches the volume.
    RecreateStatefulSet {
        /// GitLab's name.
        storage: StorageName,
        /// The exact object.
        manifest: Manifest,
        /// Of the live object.
        uid: String,
        /// All fields that differ, by path.
        changes: Vec<FieldChange>,
        /// Its pod restarts: it has another template than the new one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        restarts: bool,
    },
    /// Grows the volume's claim.
    GrowDisk {
        /// GitLab's name.
        storage: StorageName,
        /// The claim's name.
        claim: String,
        /// What it asks for now.
        from: Bytes,
        /// What it will ask for.
        to: Bytes,
    },
    /// Deletes a pod that hangs in Pending with an old template (a pod is not data), or one that must restart to take
    /// a change.
    ReplacePod {
        /// GitLab's name.
        storage: StorageName,
        /// The pod's name.
        pod: String,
        /// Of the live pod.
        uid: String,
        /// What for, in a line.
        why: String,
    },
    /// Waits until the claim is bound, the pod ready, and Gitaly answers with the storage's name, writable, not older
    /// than `version`, with the filesystem id as recorded (recorded on first sight, and equal to no other storage's).
    AwaitReady {
        /// GitLab's name.
        storage: StorageName,
        /// At least this version of Gitaly.
        version: Option<String>,
        /// As recorded; `None`: seen for the first time.
        filesystem_id: Option<String>,
        /// After so many seconds it fails, with what it waited for.
        deadline_seconds: u32,
    },
    /// Waits until GitLab lists the storage. Only planned where GitLab learns by itself.
    AwaitKnown {
        /// GitLab's name.
        storage: StorageName,
        /// After so many seconds it fails.
        deadline_seconds: u32,
    },
    /// Drops the record of a pod storage that the configuration does not declare any more. Nothing is deleted.
    Forget {
        /// GitLab's name.
        storage: StorageName,
    },
    /// Moves the operator's project to a new destination, commits to it through GitLab's API, reads the commit at our own
    /// address of that Gitaly, and moves it back: addresses, secrets and hooks are proven right before anything else.
    Probe {
        /// The destination that is tried.
        storage: StorageName,
        /// The project.
        container: Container,
        /// Its full path.
        path: Arc<str>,
        /// Where it is, and is brought back to.
        home: StorageName,
    },
    /// One step of the ramp before the last, which is the weights' own actions: sets several weights at once.
    Ramp {
        /// The share of new repositories that the storages whose weight rises are to take, per cent.
        percent: u8,
        /// The share that these weights really give, thousandths.
        share_permille: u16,
        /// Of each storage that changes. Precondition: the weights are the former ones, or already the latter.
        weights: BTreeMap<StorageName, WeightChange>,
    },
    /// Watches for a while, then asks gates; what comes after begins only when all of them said yes.
    Hold {
        /// After what.
        after: After,
        /// The storages that take more: gates are asked about each of them.
        storages: BTreeSet<StorageName>,
        /// Seconds of watching before the gates are asked.
        soak_seconds: u64,
        /// When there is no watching any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        calm: Option<Calm>,
        /// What Prometheus is asked.
        checks: Vec<Check>,
        /// Gates that a person must approve.
        approvals: Vec<Address>,
        /// When a gate says no, these weights are set before the run ends; empty: all stay.
        rollback: BTreeMap<StorageName, Weight>,
    },
    /// Runs a program of the operator's; its failure keeps what comes after from beginning.
    RunHook {
        /// The hook.
        hook: Hook,
        /// For what: `wave-start` for a backup, too.
        on: HookEvent,
        /// The wave.
        wave: String,
    },
}

impl Change {
    /// The storage that it is about: the source, for moves. `None`: it is about several.
    pub fn storage(&self) -> Option<&StorageName> {
        match self {
            Self::Ramp { .. } | Self::Hold { .. } | Self::RunHook { .. } => None,
            Self::Moves { source, .. } => Some(source),
            Self::Probe { storage, .. }
            | Self::SetWeight { storage, .. }
            | Self::ProveEmpty { storage }
            | Self::ApplyObject { storage, .. }
            | Self::RecreateStatefulSet { storage, .. }
            | Self::GrowDisk { storage, .. }
            | Self::ReplacePod { storage, .. }
            | Self::AwaitReady { storage, .. }
            | Self::AwaitKnown { storage, .. }
            | Self::Forget { storage } => Some(storage),
        }
    }
}

/// Which move of a wave goes next, off one storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveOrder {
    /// A few slots take the largest that waits, the others the smallest: the shortest way through.
    #[default]
    TwoEnded,
    /// What is archived or empty, then the smallest: what is tried out shows its faults where they hurt least.
    SmallFirst,
}

/// When holds stop watching: the criterion has held so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calm {
    /// After so many holds in a row whose gates said yes when they were first asked.
    pub after: u32,
    /// So many in a row when the plan was made.
    pub so_far: u32,
}

/// What a hold comes after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum After {
    /// A step of the ramp; 100 for the last.
    Ramp {
        /// Per cent.
        percent: u8,
    },
    /// All moves of a wave, off all storages.
    Wave {
        /// Its name.
        wave: String,
    },
}

/// One question of a gate for one storage, with the query as it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The gate.
    pub gate: Address,
    /// The storage that is asked about.
    pub target: StorageName,
    /// PromQL.
    pub query: String,
    /// The answer must not be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The answer must not be below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Seconds that it must have held; 0: now is enough.
    pub for_seconds: u64,
    /// The same question for storages that it is compared with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baseline: BTreeMap<StorageName, String>,
    /// Answer over the mean of the baseline's must not be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<f64>,
    /// Asked and told, but decides nothing.
    pub dry_run: bool,
    /// Seconds between two questions.
    pub interval_seconds: u64,
    /// Seconds after which an answer that is still unknown pauses the run.
    pub deadline_seconds: u64,
}

/// A weight now and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightChange {
    /// Observed.
    pub before: Weight,
    /// After the apply.
    pub after: Weight,
}

/// `to` starts only after `from` ended well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Earlier.
    pub from: ActionId,
    /// Later.
    pub to: ActionId,
    /// Why.
    pub reason: String,
}

/// One move. The wave and the source stand with the action too; they are here so that a line is complete on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// What moves.
    pub container: Container,
    /// Full path in GitLab, for people; may have changed when the move runs. Shared with what was observed: a plan of a
    /// million moves copies no text.
    pub path: Arc<str>,
    /// Where it is.
    pub source: StorageName,
    /// Where it goes.
    pub destination: StorageName,
    /// For which assignment.
    pub assignment: Address,
    /// Repository and wiki; 0 when GitLab gave no size.
    pub bytes: Bytes,
    /// Of the object pool that it borrows from: its copy brings them along, until Gitaly's housekeeping takes them out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: Bytes,
    /// Its fork network, where all members on the source leave by this plan: the last of them waits until all others
    /// have ended, or GitLab may leave their object pool behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<NonZeroU64>,
    /// GitLab says that it has no commit: absence on Gitaly is then no surprise.
    pub empty: bool,
}

pub(super) fn is_zero(bytes: &Bytes) -> bool {
    bytes.0 == 0
}

impl PlannedMove {
    /// Bytes that its copy brings.
    pub fn copied(&self) -> Bytes {
        Bytes(self.bytes.0.saturating_add(self.shared.0))
    }
}
