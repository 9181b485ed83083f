//! What a plan expects: how evenly it fills, how long it takes, and what keeps it from being shorter.

use serde::{Deserialize, Serialize};

use crate::model::{Bytes, Container, StorageName};

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
