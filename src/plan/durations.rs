//! How long a move takes: fixed part, part per byte, and how far real ones lie from that, per pair of storages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::placement::{Item, Names};
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
    /// 10 of 100 moves take less than this, in thousandths of what the fit says.
    pub p10_permille: u64,
    /// 90 of 100 moves take at most this, in the same.
    pub p90_permille: u64,
    /// 95 of 100 moves take at most this, in the same.
    pub p95_permille: u64,
    /// How many finished moves it was made from; 0: it is an assumption.
    pub samples: u64,
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            fixed_ms: OVERHEAD_MS,
            rate: RATE,
            p10_permille: 500,
            p90_permille: 1_750,
            p95_permille: 2_000,
            samples: 0,
        }
    }
}

fn scaled(ms: u64, permille: u64) -> u64 {
    u64::try_from(u128::from(ms) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

impl Fit {
    /// Milliseconds that a move of so many bytes is expected to take.
    pub fn expected_ms(&self, bytes: Bytes) -> u64 {
        let copy = u128::from(bytes.0) * 1000 / u128::from(self.rate.max(1));
        self.fixed_ms.saturating_add(u64::try_from(copy).unwrap_or(u64::MAX))
    }

    /// Milliseconds that 95 of 100 such moves do not exceed.
    pub fn p95_ms(&self, bytes: Bytes) -> u64 {
        scaled(self.expected_ms(bytes), self.p95_permille)
    }

    /// Milliseconds between which 80 of 100 such moves lie.
    pub fn interval_ms(&self, bytes: Bytes) -> (u64, u64) {
        let expected = self.expected_ms(bytes);
        (scaled(expected, self.p10_permille), scaled(expected, self.p90_permille))
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
        let key = (source, destination);
        let found = self.pairs.binary_search_by(|(from, to, _)| (from, to).cmp(&key));
        found.ok().and_then(|at| self.pairs.get(at)).map_or(&self.overall, |(.., fit)| fit)
    }

    /// Where the figures come from: `4 s per move and 60 MB/s per copy`, or as fitted from so many moves.
    pub fn source(&self) -> String {
        let Fit { fixed_ms, rate, samples, .. } = self.overall;
        let fixed = if fixed_ms.is_multiple_of(1000) {
            format!("{}", fixed_ms / 1000)
        } else {
            format!("{}.{}", fixed_ms / 1000, fixed_ms % 1000 / 100)
        };
        let figures = format!("{fixed} s per move and {} MB/s per copy", rate / 1_000_000);
        match (samples, self.pairs.len()) {
            (0, _) => figures,
            (samples, 0 | 1) => format!("{figures}, as fitted from {samples} moves"),
            (samples, pairs) => {
                format!("{figures}, as fitted from {samples} moves, for each of {pairs} pairs of storages by itself")
            }
        }
    }

    /// The same, for these pairs of storages only.
    #[must_use]
    pub(super) fn among(&self, pairs: &std::collections::BTreeSet<(&StorageName, &StorageName)>) -> Self {
        let kept = self.pairs.iter().filter(|(from, to, _)| pairs.contains(&(from, to)));
        Self { overall: self.overall, pairs: kept.cloned().collect() }
    }
}

/// The fits by the numbers of storages: a million repositories look up no names.
#[derive(Debug)]
pub(super) struct Times {
    overall: Fit,
    pairs: BTreeMap<(u32, u32), Fit>,
}

impl Times {
    pub(super) fn new(durations: &Durations, names: &Names<'_>) -> Self {
        let number =
            |(from, to, fit): &(StorageName, StorageName, Fit)| Some(((names.number(from)?, names.number(to)?), *fit));
        Self { overall: durations.overall, pairs: durations.pairs.iter().filter_map(number).collect() }
    }

    /// The fit for a placed item.
    pub(super) fn of(&self, item: &Item<'_>) -> &Fit {
        let pair = item.destination.filter(|_| !self.pairs.is_empty()).map(|to| (item.source, to));
        pair.and_then(|pair| self.pairs.get(&pair)).unwrap_or(&self.overall)
    }

    /// Milliseconds that its move is expected to keep an item's repository read-only.
    pub(super) fn freeze_ms(&self, item: &Item<'_>) -> u64 {
        self.of(item).expected_ms(copied(item))
    }

    /// Milliseconds that 95 of 100 such moves do not exceed.
    pub(super) fn p95_ms(&self, item: &Item<'_>) -> u64 {
        self.of(item).p95_ms(copied(item))
    }
}

/// Bytes that its copy brings.
fn copied(item: &Item<'_>) -> Bytes {
    Bytes(item.bytes.0.saturating_add(item.shared.0))
}
