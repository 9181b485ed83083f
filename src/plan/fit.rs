//! Learns how long moves take from those that have ended. Robust: medians of bins by size, so that one stuck move or one
//! giant decides nothing; bounded: the newest few of each size, however many end.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::durations::{Durations, Fit, RATE};
use crate::model::{Bytes, StorageName};

/// Finished moves that are kept of one pair of storages and one size (within a factor of two): enough for a median; and
/// the newest, because networks and disks change.
const KEPT: usize = 24;
/// Fewer finished moves say too little of how long the slowest twentieth takes: of 30 that is one and a half.
const LEAST: usize = 30;
/// Between the smallest and the largest bin a copy must make at least this difference, or its rate cannot be told from
/// the noise of a poll every two seconds.
const APART_MS: u64 = 2_000;
/// No copy is faster than this, bytes per second: a slope of nothing is noise.
const FASTEST: u64 = 10_000_000_000;

/// Finished moves, as far as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observations {
    /// Source → destination → moves.
    #[serde(default)]
    pairs: BTreeMap<StorageName, BTreeMap<StorageName, Pair>>,
}

/// Those of one pair of storages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Pair {
    /// How many there were in all.
    seen: u64,
    /// By the binary logarithm of their bytes, oldest first: bytes and milliseconds.
    moves: BTreeMap<u32, VecDeque<(u64, u64)>>,
}

impl Observations {
    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Takes a move that has ended: what its copy brought, and how long its repository was read-only.
    pub fn add(&mut self, source: &StorageName, destination: &StorageName, bytes: Bytes, ms: u64) {
        let pairs = self.pairs.entry(source.clone()).or_default();
        let pair = pairs.entry(destination.clone()).or_default();
        pair.seen = pair.seen.saturating_add(1);
        let bin = pair.moves.entry(bytes.0.checked_ilog2().unwrap_or(0)).or_default();
        while bin.len() >= KEPT {
            bin.pop_front();
        }
        bin.push_back((bytes.0, ms));
    }

    /// What they teach. Pairs of which too few are known go by all together, and those by the assumption.
    pub fn durations(&self) -> Durations {
        let mut all: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        let (mut pairs, mut seen) = (Vec::new(), 0u64);
        for (source, destinations) in &self.pairs {
            for (destination, pair) in destinations {
                seen = seen.saturating_add(pair.seen);
                let mut own: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
                for (bin, moves) in &pair.moves {
                    // A file that a person wrote may hold more than is kept.
                    let newest = moves.iter().rev().take(KEPT).copied();
                    own.entry(*bin).or_default().extend(newest.clone());
                    all.entry(*bin).or_default().extend(newest);
                }
                if let Some(fit) = fit(own, pair.seen) {
                    pairs.push((source.clone(), destination.clone(), fit));
                }
            }
        }
        Durations { overall: fit(all, seen).unwrap_or_default(), pairs }
    }
}

/// Fits one set of moves by their bins; `None`: too few.
fn fit(bins: BTreeMap<u32, Vec<(u64, u64)>>, seen: u64) -> Option<Fit> {
    let count: usize = bins.values().map(Vec::len).sum();
    if count < LEAST {
        return None;
    }
    let moves: Vec<(u64, u64)> = bins.values().flatten().copied().collect();
    let points: Vec<(u64, u64, usize)> = bins
        .into_values()
        .filter(|bin| !bin.is_empty())
        .map(|bin| {
            let (mut bytes, mut times): (Vec<u64>, Vec<u64>) = bin.iter().copied().unzip();
            (quantile(&mut bytes, 500), quantile(&mut times, 500), bin.len())
        })
        .collect();
    let rate = rate(&points);
    let copy = |bytes: u64| u64::try_from(u128::from(bytes) * 1000 / u128::from(rate)).unwrap_or(u64::MAX);
    let mut rests: Vec<u64> = moves.iter().map(|(bytes, ms)| ms.saturating_sub(copy(*bytes))).collect();
    let fixed_ms = quantile(&mut rests, 500);
    let mut fit = Fit { fixed_ms, rate, samples: seen, ..Fit::default() };
    let ratio = |(bytes, ms): &(u64, u64)| {
        let expected = u128::from(fit.expected_ms(Bytes(*bytes)).max(1));
        u64::try_from(u128::from(*ms) * 1000 / expected).unwrap_or(u64::MAX)
    };
    let mut ratios: Vec<u64> = moves.iter().map(ratio).collect();
    let mut at = |permille| quantile(&mut ratios, permille);
    (fit.p10_permille, fit.p90_permille, fit.p95_permille) = (at(100).min(1000), at(900).max(1000), at(950).max(1000));
    Some(fit)
}

/// Bytes per second by the weighted median of the slopes between bins (Theil and Sen's, over medians).
fn rate(points: &[(u64, u64, usize)]) -> u64 {
    let (Some(least), Some(most)) = (points.iter().map(|p| p.0).min(), points.iter().map(|p| p.0).max()) else {
        return RATE;
    };
    if u128::from(most - least) * 1000 < u128::from(RATE) * u128::from(APART_MS) {
        return RATE;
    }
    // Slopes in picoseconds per byte, weighted by how far apart their bins are and how many moves stand behind them.
    let mut slopes: Vec<(u128, u128)> = Vec::new();
    for (n, (bytes, ms, count)) in points.iter().enumerate() {
        for (more_bytes, more_ms, more_count) in points.iter().skip(n + 1) {
            let apart = u128::from(more_bytes.saturating_sub(*bytes));
            let more = u128::from(more_ms.saturating_sub(*ms)) * 1_000_000_000;
            if let Some(slope) = more.checked_div(apart) {
                slopes.push((slope, apart * (*count).min(*more_count) as u128));
            }
        }
    }
    slopes.sort_unstable();
    let half = slopes.iter().map(|(_, weight)| weight).sum::<u128>().div_ceil(2);
    let mut sum = 0;
    let median = slopes.into_iter().find(|(_, weight)| {
        sum += weight;
        sum >= half
    });
    let slope = median.map_or(0, |(slope, _)| slope);
    let rate = 1_000_000_000_000u128.checked_div(slope).map_or(FASTEST, |rate| u64::try_from(rate).unwrap_or(FASTEST));
    rate.clamp(1, FASTEST)
}

/// The value that so many thousandths of the list do not exceed; 0 for an empty list.
pub(super) fn quantile(list: &mut [u64], permille: usize) -> u64 {
    if list.is_empty() {
        return 0;
    }
    let at = ((list.len() * permille).div_ceil(1000)).saturating_sub(1).min(list.len() - 1);
    *list.select_nth_unstable(at).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::fixture::name;

    /// Sizes from 100 kB to 20 GB; noise is a share of the time, drawn by the number.
    fn observed(fixed: u64, rate: u64, noise: u64, stuck_every: usize) -> Observations {
        let mut seen = Observations::default();
        for n in 0..400usize {
            let bytes = 100_000u64 << (n % 18);
            let time = fixed + bytes * 1000 / rate;
            let off = (n as u64 * 7919) % (2 * noise + 1);
            let time = time * (1000 + off - noise) / 1000;
            let time = if stuck_every > 0 && n % stuck_every == 0 { time * 50 } else { time };
            seen.add(&name("old"), &name("new"), Bytes(bytes), time);
        }
        seen
    }

    #[test]
    fn what_is_true_is_found_again_through_noise_and_stuck_moves() {
        for (fixed, rate, noise, stuck) in
            [(6_000, 40_000_000, 0, 0), (3_000, 110_000_000, 200, 0), (8_000, 25_000_000, 100, 23)]
        {
            let durations = observed(fixed, rate, noise, stuck).durations();
            let fit = durations.of(&name("old"), &name("new"));
            assert!(fit.fixed_ms.abs_diff(fixed) * 100 <= fixed * 15, "{fit:?}");
            assert!(fit.rate.abs_diff(rate) * 100 <= rate * 15, "{fit:?}");
            assert_eq!(fit.samples, 400);
            assert!(fit.p95_permille <= 1000 + 3 * noise.max(10), "{fit:?}");
            assert_eq!(durations.of(&name("old"), &name("other")), &durations.overall, "unseen pairs go by all");
        }
    }

    #[test]
    fn few_moves_teach_nothing_and_small_ones_nothing_of_the_rate() {
        let mut seen = Observations::default();
        for _ in 0..LEAST - 1 {
            seen.add(&name("old"), &name("new"), Bytes(1000), 7_000);
        }
        assert_eq!(seen.durations(), Durations::default());
        seen.add(&name("old"), &name("new"), Bytes(2000), 7_000);
        // All of one bin or two: newest moves only are kept.
        for n in 0..100 {
            seen.add(&name("old"), &name("new"), Bytes(4000 + n), 7_000);
        }
        let fit = *seen.durations().of(&name("old"), &name("new"));
        assert_eq!((fit.fixed_ms, fit.rate, fit.p95_permille), (7_000, RATE, 1000));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut seen = Observations::default();
        for n in 0..100_000u64 {
            seen.add(&name("old"), &name("new"), Bytes(n * n), n);
        }
        let kept: usize =
            seen.pairs.values().flat_map(BTreeMap::values).flat_map(|p| p.moves.values()).map(VecDeque::len).sum();
        assert!(kept <= 40 * KEPT, "{kept}");
        let text = serde_json::to_string(&seen).expect("text");
        assert_eq!(serde_json::from_str::<Observations>(&text).expect("read"), seen);
    }

    proptest! {
        #[test]
        fn no_moves_make_a_fit_that_cannot_be_used(moves in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..200)) {
            let mut seen = Observations::default();
            for (bytes, ms) in &moves {
                seen.add(&name("old"), &name("new"), Bytes(*bytes), *ms);
            }
            let durations = seen.durations();
            let fit = durations.of(&name("old"), &name("new"));
            prop_assert!(fit.rate > 0);
            let (low, high) = fit.interval_ms(Bytes(u64::MAX));
            prop_assert!(low <= high && fit.p95_ms(Bytes(u64::MAX)) >= fit.expected_ms(Bytes(u64::MAX)));
        }
    }
}
