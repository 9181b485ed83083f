//! What a plan tells beside what it does: changes from outside, findings, what was not planned, what is set aside, verdicts.

use serde::{Deserialize, Serialize};

use crate::model::{Address, Bytes, Container, ContainerKind, StorageName};

/// The cause of a quarantine that may have lost something: a tip that the frozen source had is missing on the
/// destination. While such a record stands, nothing is planned off its source.
pub const MISSING_REFERENCE: &str = "missing reference";
/// The same for objects behind the references: the source was whole, its copy is not.
pub const MISSING_OBJECTS: &str = "missing objects";

/// True for the cause of a quarantine that may have lost something.
pub fn is_possible_loss(cause: &str) -> bool {
    [MISSING_REFERENCE, MISSING_OBJECTS].contains(&cause)
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
