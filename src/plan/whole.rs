//! The plan as a whole: what `apply` is given, and what is asked of it everywhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Action, Change, ConcurrencyPlan, Drift, Edge, Estimate, Finding, FreezePlan, Level, NotPlanned, PlacementPlan,
    PlannedMove, PolicyVerdict, Quarantined, StoragePlan, Verdict, WeightChange, durations,
};
use crate::model::{Address, Hook, Hours, Listed, SourceFsck, StorageName};

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
    pub(super) fn moves_of_checked(&self, action: &Action) -> Option<&[PlannedMove]> {
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
