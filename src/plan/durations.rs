//! How long a move takes: fixed part, part per byte, and how far real ones lie above it, per pair of storages.

use serde::{Deserialize, Serialize};

use crate::model::{Bytes, StorageName};

/// What a move costs beside its bytes: GitLab's scheduling, the creation on the destination, the checksum, the switch
/// and the deletion. Ten times that would be a sick Sidekiq; a tenth, an idle one that nobody has measured.
pub(crate) const OVERHEAD_MS: u64 = 4_000;

/// Bytes per second of one copy: a single fetch stream is bound by one core's compression and hashing, not by the
/// disk. At ten times that a plan of giants would promise an hour for a night's work.
pub(crate) const RATE: u64 = 60_000_000;

/// One fit: duration = fixed + bytes / rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Milliseconds of a move without bytes.
    pub fixed_ms: u64,
    /// Bytes per second.
    pub rate: u64,
    /// 95 of 100 moves take at most this, in thousandths of what the fit says.
    pub p95_permille: u64,
    /// How many finished moves it was made from; 0: it is an assumption.
    pub samples: u64,
}

impl Default for Fit {
    fn default() -> Self {
        Self { fixed_ms: OVERHEAD_MS, rate: RATE, p95_permille: 2_000, samples: 0 }
    }
}

impl Fit {
    /// Milliseconds that a move of so many bytes is expected to take.
    pub fn expected_ms(&self, bytes: Bytes) -> u64 {
        let copy = u128::from(bytes.0) * 1000 / u128::from(self.rate.max(1));
        self.fixed_ms.saturating_add(u64::try_from(copy).unwrap_or(u64::MAX))
    }

    /// Milliseconds that 95 of 100 such moves do not exceed.
    pub fn p95_ms(&self, bytes: Bytes) -> u64 {
        let ms = u128::from(self.expected_ms(bytes)) * u128::from(self.p95_permille) / 1000;
        u64::try_from(ms).unwrap_or(u64::MAX)
    }
}

/// The fits of all pairs of storages that moves were seen between.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durations {
    /// For a pair that was not seen.
    pub overall: Fit,
    /// Source, destination, fit; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<(StorageName, StorageName, Fit)>,
}

impl Durations {
    /// The fit for moves from one storage to another.
    pub fn of(&self, source: &StorageName, destination: &StorageName) -> &Fit {
        let pair = self.pairs.iter().find(|(from, to, _)| from == source && to == destination);
        pair.map_or(&self.overall, |(.., fit)| fit)
    }
}
