//! What the mover keeps to while a plan is carried out: how many moves at once, read-only time, and room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::action::is_zero;
use super::{Check, freeze};
use crate::model::{Bytes, Profile, StorageName, Veto};

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
