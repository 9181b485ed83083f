//! The plan: what takes observed to desired, as a total, ordered, explained value; and the pure function that makes it.
//!
//! No clock, no randomness, no I/O: the same input gives the same bytes, in any order of listing. `make` runs the
//! steps; each of the other files holds one concern.

mod assemble;
mod assign;
pub mod balance;
mod basis;
pub mod check;
mod checks;
mod diff;
mod doubt;
mod drain;
pub mod durations;
mod estimate;
mod fit;
#[cfg(test)]
mod fixture;
pub mod freeze;
mod gates;
mod graph;
mod growth;
pub mod judge;
#[cfg(test)]
mod laws;
mod make;
mod moved;
mod networks;
pub mod order;
mod placement;
pub mod pods;
mod policy;
mod preflight;
mod ramp;
pub mod ready;
mod release;
mod report;
pub mod room;
mod row;
pub mod saved;
mod select;
mod sizes;
mod unlisted;
mod waves;
pub mod window;

pub use basis::{stale, state_digest};
pub use fit::Observations;
pub use gates::gates_wanted;
pub use make::make;
pub use networks::pools_wanted;
pub use placement::need;
pub(crate) use preflight::version;
pub use release::hold_address;
pub use sizes::unmeasured;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::cluster::Manifest;
use crate::model::{
    Address, Bytes, Container, ContainerKind, Hook, HookEvent, Hours, Listed, Profile, SourceFsck, StorageName, Veto,
    Weight,
};
use pods::{ChangeClass, FieldChange};

/// The cause of a quarantine that may have lost something: a tip that the frozen source had is missing on the
/// destination. While such a record stands, nothing is planned off its source.
pub const MISSING_REFERENCE: &str = "missing reference";
/// The same for objects behind the references: the source was whole, its copy is not.
pub const MISSING_OBJECTS: &str = "missing objects";

/// True for the cause of a quarantine that may have lost something.
pub fn is_possible_loss(cause: &str) -> bool {
    [MISSING_REFERENCE, MISSING_OBJECTS].contains(&cause)
}

/// The whole plan. `apply` sees only this and the ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The format's version: [`Plan::FORMAT`].
    pub format: u32,
    /// The environment it is for.
    pub environment: String,
    /// When the fleet was observed, by the fleet's clock.
    pub as_of: Timestamp,
    /// When GitLab's lists were read, where that was not just then: from an inventory, or by a listing that had been
    /// interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
    /// What it was made from.
    pub basis: Basis,
    /// In topological order; an [`ActionId`] is the index here.
    pub actions: Vec<Action>,
    /// Each with its reason; sorted.
    pub edges: Vec<Edge>,
    /// The moves of all actions; an action names a range of it.
    pub moves: Vec<PlannedMove>,
    /// What changed outside of tranship since the state was written.
    pub drift: Vec<Drift>,
    /// What must be known before: errors forbid an apply.
    pub findings: Vec<Finding>,
    /// What was not planned, and why.
    pub report: Vec<NotPlanned>,
    /// Quarantined repositories, from the state.
    pub quarantined: Vec<Quarantined>,
    /// Weights of all storages that GitLab knows, now and after the apply.
    pub weights: BTreeMap<StorageName, WeightChange>,
    /// Per storage: room and limits that the mover keeps.
    pub storages: BTreeMap<StorageName, StoragePlan>,
    /// How evenly destinations are filled: one entry for each family of storages that assignments share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlacementPlan>,
    /// Moves outstanding at once, over all storages.
    pub max_moves: u32,
    /// How many run at once, and what stops them.
    #[serde(default)]
    pub concurrency: ConcurrencyPlan,
    /// Windows that moves or the freeze budget name, by label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub windows: BTreeMap<String, Hours>,
    /// Read-only time that users may be made to bear.
    #[serde(default)]
    pub freeze: FreezePlan,
    /// Whether sources are checked to be whole before they move.
    #[serde(default)]
    pub source_fsck: SourceFsck,
    /// Programs that run on what happens during the apply (all events but `wave-start` and `wave-done`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// How long moves take.
    #[serde(default)]
    pub durations: durations::Durations,
    /// How long it may take.
    pub estimate: Estimate,
    /// Policies that were asked, each with its verdict.
    pub policies: Vec<PolicyVerdict>,
    /// Thresholds of waves with a sample, and of batches, fixed by this plan: wave name → parts like `p2:16 hex digits`,
    /// for a kind and size, and `to:16 hex digits`, for a batch.
    pub samples: BTreeMap<String, String>,
    /// Records of the state that get another address, by their old one; before everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<Rename>,
}

/// A record of the state that gets another address, as a `moved` block says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rename {
    /// Where it stands.
    pub from: Address,
    /// Where it will stand; there is none yet.
    pub to: Address,
}

impl Plan {
    /// The format that this version writes and the only one it reads.
    pub const FORMAT: u32 = 1;

    /// The one definition of "anything to do".
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.renames.is_empty()
    }

    /// True when an apply must not begin.
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|f| f.level == Level::Error) || self.refused_by_policy()
    }

    /// True when a policy said no or could not be answered.
    pub fn refused_by_policy(&self) -> bool {
        self.policies.iter().any(|p| p.verdict != Verdict::Pass)
    }

    /// True when a drain that the configuration asks for cannot end with this plan: exit code 7.
    pub fn drain_is_stuck(&self) -> bool {
        self.report.iter().any(|r| r.blocks_drain) || self.findings.iter().any(|f| f.blocks_drain)
    }

    /// The moves of an action; empty for actions of other kinds.
    pub fn moves_of(&self, action: &Action) -> &[PlannedMove] {
        self.moves_of_checked(action).unwrap_or(&[])
    }

    /// The moves of an action; `None` when it names a range that does not exist.
    fn moves_of_checked(&self, action: &Action) -> Option<&[PlannedMove]> {
        match &action.change {
            Change::Moves { first, count, .. } => {
                let first = *first as usize;
                self.moves.get(first..first.checked_add(*count as usize)?)
            }
            _ => Some(&[]),
        }
    }
}

/// What a plan was made from, so that a saved one can be found stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// SHA-256 of the configuration, hex.
    pub configuration: String,
    /// SHA-256 of the state file's canonical text, hex.
    pub state: String,
    /// SHA-256 of the observed facts that the plan relied on (weights, filesystem ids, versions), hex. Repositories'
    /// own preconditions travel with each move.
    pub observed: String,
    /// The filesystem id of every storage that a move touches.
    pub filesystem_ids: BTreeMap<StorageName, String>,
}

/// Index of an action in [`Plan::actions`].
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
    /// live move; filesystem ids as in [`Basis`].
    Moves {
        /// The wave's name; `rest` for what no wave of the rollout selects.
        wave: String,
        /// The wave's place in the rollout, from 0.
        position: u32,
        /// Where all of them are.
        source: StorageName,
        /// They start only inside this window: a key of [`Plan::windows`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
        /// Which of them goes next.
        #[serde(default)]
        order: MoveOrder,
        /// First index into [`Plan::moves`].
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

/// How many moves run at once, and what stops them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConcurrencyPlan {
    /// How slots are found.
    pub profile: Profile,
    /// Seconds between two decisions; `None`: the profile's.
    pub interval_seconds: Option<u64>,
    /// Seconds after which unknown signals pause the run; `None`: the profile's.
    pub deadline_seconds: Option<u64>,
    /// What is asked for each storage that moves touch.
    pub signals: BTreeMap<StorageName, Vec<Check>>,
    /// While one of them holds, nothing new is scheduled.
    pub vetoes: Vec<Veto>,
}

/// Read-only time that users may be made to bear.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FreezePlan {
    /// Seconds that one repository may be read-only.
    pub per_repository: Option<u64>,
    /// Seconds in one day, summed over the repositories of one top-level group.
    pub per_day: Option<u64>,
    /// For what would exceed `per_repository`: a window's label.
    pub window: Option<String>,
    /// The time zone whose calendar says what a day is.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What is predicted for the plan's moves.
    #[serde(default)]
    pub forecast: freeze::Forecast,
}

fn utc() -> String {
    "UTC".to_owned()
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

fn is_zero(bytes: &Bytes) -> bool {
    bytes.0 == 0
}

impl PlannedMove {
    /// Bytes that its copy brings.
    pub fn copied(&self) -> Bytes {
        Bytes(self.bytes.0.saturating_add(self.shared.0))
    }
}

/// Something that changed outside of tranship.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The record it contradicts.
    pub address: Address,
    /// Which fact: `weight`, `filesystem_id` …
    pub fact: String,
    /// As recorded.
    pub recorded: String,
    /// As observed.
    pub observed: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No apply.
    Error,
    /// To be read before saying yes: the danger section.
    Danger,
    /// Good to know.
    Notice,
}

/// Something the preflight found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Stable identifier, like `equal-filesystem-ids`.
    pub code: String,
    /// What it is about: a storage's name, a call, `token` …
    pub subject: String,
    /// What was found and why it matters.
    pub message: String,
    /// What to do.
    pub help: String,
    /// A drain cannot end because of it: exit code 7.
    pub blocks_drain: bool,
}

/// Something that was not planned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotPlanned {
    /// What it is about: `storage.default`, `project-12`.
    pub subject: String,
    /// Why not.
    pub reason: WaitingOn,
    /// How many repositories it concerns.
    pub count: u64,
    /// At most five examples: `project-12 web/shop`.
    pub examples: Vec<String>,
    /// A drain cannot end because of it: exit code 7.
    pub blocks_drain: bool,
}

/// What something waits for that was not planned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WaitingOn {
    /// No assignment sends it anywhere, and its storage drains.
    Assignment,
    /// It fits on none of these.
    Room {
        /// The assignment's destinations.
        destinations: Vec<StorageName>,
        /// Free below the ceiling on the emptiest of them.
        free: Bytes,
        /// Needed, with inflation.
        needed: Bytes,
    },
    /// GitLab does not list this storage: it must be declared there first.
    GitlabToKnow {
        /// The storage.
        storage: StorageName,
        /// Where GitLab would dial it; `None` on the embedded fleet.
        address: Option<String>,
    },
    /// Somebody's move is under way.
    Move {
        /// Its state.
        state: String,
        /// Where it goes.
        destination: String,
    },
    /// A move of ours that was switched and compared, and that GitLab never ended.
    Unended {
        /// What it moved.
        container: Container,
        /// GitLab's id of the move.
        id: u64,
        /// Its state.
        state: String,
    },
    /// `where` cannot be answered for it: a field is not known.
    Field {
        /// The assignment.
        assignment: Address,
    },
    /// It is quarantined.
    Release,
    /// Containers of a kind that could not be listed.
    Listing {
        /// Which.
        kind: ContainerKind,
        /// Why.
        cause: String,
    },
    /// Containers that GitLab fails to show in its list.
    Reading {
        /// Of which kind.
        kind: ContainerKind,
        /// What it answered.
        cause: String,
    },
    /// No opening of its window is long enough for it.
    Window {
        /// The window's label, or both labels.
        window: String,
        /// How long it is open at most, seconds.
        longest_seconds: u64,
        /// How long the move of the largest takes at p95, seconds.
        needed_seconds: u64,
    },
    /// It would be read-only for longer than `freeze.per_repository` allows, and there is no window for that.
    FreezePerRepository {
        /// What is allowed, seconds.
        budget_seconds: u64,
        /// What the largest needs at p95, seconds.
        needed_seconds: u64,
    },
    /// It alone would be read-only for longer than `freeze.per_day` allows to all of its group.
    FreezePerDay {
        /// What is allowed, seconds.
        budget_seconds: u64,
        /// What the largest needs at p95, seconds.
        needed_seconds: u64,
    },
    /// Left out by `--target` or `--exclude`.
    Selection,
    /// Repositories that Gitaly has on the storage and GitLab does not know there.
    Leftovers,
    /// Copies that GitLab left when it could not delete them after their move.
    Copies,
    /// Gitaly's own temporary folders, which it clears away.
    Temporary,
    /// Object pools that nobody uses there any more: GitLab deletes them by a background job.
    Pools,
    /// The storage, or one its moves need, cannot be reached or cannot be trusted; the findings say why.
    Storage {
        /// Which.
        storage: StorageName,
    },
}

/// A quarantined repository, as shown by every plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// What is set aside.
    pub container: Container,
    /// Full path.
    pub path: String,
    /// Where it was to be moved from.
    pub source: StorageName,
    /// Why.
    pub cause: String,
    /// What to do.
    pub remedy: String,
    /// May have lost something or cannot be written to.
    pub urgent: bool,
}

/// A weight now and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightChange {
    /// Observed.
    pub before: Weight,
    /// After the apply.
    pub after: Weight,
}

/// What the mover keeps for one storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoragePlan {
    /// Moves in flight towards or from it.
    pub max_moves: u32,
    /// No move may take used bytes above this share of the disk, thousandths.
    pub disk_ceiling_permille: u16,
    /// Used now; `None`: unknown.
    pub used: Option<Bytes>,
    /// Size of the disk (used and available); `None`: unknown.
    pub capacity: Option<Bytes>,
    /// What the plan brings, with inflation.
    pub incoming: Bytes,
    /// What the plan takes away.
    pub outgoing: Bytes,
    /// What new repositories are expected to bring meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub growth: Bytes,
    /// Bytes per second that it gives to copies, if declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Repositories brought.
    pub incoming_count: u64,
    /// Repositories taken away.
    pub outgoing_count: u64,
}

/// How evenly a family of storages is filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementPlan {
    /// The storages, sorted.
    pub destinations: Vec<StorageName>,
    /// The fullest of those that get something.
    pub fullest: StorageName,
    /// Bytes that the fullest will have above what the emptiest has now, with inflation: all it gets, where they begin
    /// alike.
    pub level: Bytes,
    /// No placement could have the fullest below that.
    pub bound: Bytes,
    /// Level over bound in thousandths, rounded up; at least 1000.
    pub ratio_permille: u64,
    /// Repositories that one of them gets, at least.
    pub fewest: u64,
    /// And at most.
    pub most: u64,
}

/// How long the plan may take. Seconds of the fleet's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// All moves, with the slots at hand.
    pub duration_seconds: u64,
    /// By the clock, from the time at which the fleet was read, where windows or the days of the freeze budget make it
    /// longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<u64>,
    /// Read-only time summed over repositories.
    pub freeze_seconds: u64,
    /// Read-only time of the longest.
    pub longest_freeze_seconds: u64,
    /// The repository with the longest.
    pub longest: Option<Container>,
    /// Seconds of the duration that are watching between waves.
    #[serde(default)]
    pub soak_seconds: u64,
    /// What keeps it from being shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The assumption, in words: seconds per move and bytes per second.
    pub assumption: String,
}

/// What keeps a plan from being carried out sooner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Binding {
    /// Moves at once from or to these storages.
    Slots {
        /// Which.
        storages: Vec<StorageName>,
        /// Seconds that two more on each would save.
        saves_seconds: u64,
    },
    /// Moves at once over all storages: GitLab's workers.
    Workers {
        /// Seconds that two more would save.
        saves_seconds: u64,
    },
    /// What a storage can read or write, as declared.
    Bandwidth {
        /// Which.
        storage: StorageName,
        /// Seconds that half as much again would save.
        saves_seconds: u64,
    },
    /// One repository that takes longer than all others together.
    Repository {
        /// Which.
        container: Container,
    },
    /// A fork network whose last member leaves a storage alone.
    Network {
        /// Its smallest project's id.
        network: u64,
        /// The storage.
        storage: StorageName,
    },
    /// Watching between waves takes more than half of it.
    Soak,
}

/// Three-valued: no `bool` crosses a policy, a gate, a verification or a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Holds.
    Pass,
    /// Does not hold.
    Fail,
    /// Could not be answered.
    Unknown,
}

/// What a policy said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVerdict {
    /// Which.
    pub address: Address,
    /// Its answer.
    pub verdict: Verdict,
    /// `error_message`, or why it could not be answered; empty for a pass.
    pub message: String,
    /// Where its condition stands, `file:line:column`; none for a pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What the user asked of one planning.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these addresses (globs: `assignment.heavy`, `storage.*`, `moves.default`) and what they depend on; empty: all.
    pub target: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Take over objects and fields in the cluster that others own.
    pub adopt: bool,
    /// How long moves take, as far as finished ones taught it.
    pub durations: durations::Durations,
    /// What earlier runs of this day have spent of the freeze budget: top-level group → milliseconds.
    pub frozen_today: BTreeMap<String, u64>,
}
