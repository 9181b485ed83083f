//! How long moves take, by what a run's own moves show beside those before it: a first run begins with an assumption, and
//! must not go by it for a night.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Bytes, StorageName};
use crate::plan::Observations;
use crate::plan::durations::{Durations, Fit};

/// A fit is made anew after so many moves more: an eighth of those that the run has made, within these bounds. Fitting sorts
/// what is kept, some thousands of numbers; a tenth of it would cost as much as the moves' own bookkeeping.
const AFTER: std::ops::RangeInclusive<u64> = 8..=256;

struct Inner {
    durations: Durations,
    seen: Observations,
    /// Moves of this run, and those since the last fit.
    moves: u64,
    since: u64,
    /// The most that one of them took of what was assumed, thousandths: until they are enough for a fit, an assumption that
    /// they show wrong is not gone by.
    worst_permille: u64,
}

/// No single move makes an assumption worse than this, thousandths: one that hung says nothing of others.
const WORST: u64 = 5_000;

/// What is known of durations. Shared by all that predict.
pub(crate) struct Learned(Mutex<Inner>);

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Learned").field(&self.lock().durations).finish()
    }
}

impl Learned {
    /// Begins with what the plan went by. `seen`: the moves of earlier runs.
    pub(crate) fn new(durations: Durations, seen: Observations) -> Self {
        Self(Mutex::new(Inner { durations, seen, moves: 0, since: 0, worst_permille: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fit for moves from one storage to another, as of now.
    pub(crate) fn of(&self, source: &StorageName, destination: &StorageName) -> Fit {
        let inner = self.lock();
        let fit = *inner.durations.of(source, destination);
        match fit.samples {
            0 => Fit { p95_permille: fit.p95_permille.max(inner.worst_permille), ..fit },
            _ => fit,
        }
    }

    /// Takes in how long a move kept its repository read-only.
    pub(crate) fn took(&self, source: &StorageName, destination: &StorageName, bytes: Bytes, ms: u64) {
        let mut inner = self.lock();
        let expected = inner.durations.of(source, destination).expected_ms(bytes).max(1);
        let ratio = u64::try_from(u128::from(ms) * 1000 / u128::from(expected)).unwrap_or(u64::MAX);
        inner.worst_permille = inner.worst_permille.max(ratio.min(WORST));
        inner.seen.add(source, destination, bytes, ms);
        inner.moves += 1;
        inner.since += 1;
        if inner.since >= (inner.moves / 8).clamp(*AFTER.start(), *AFTER.end()) {
            inner.since = 0;
            let fitted = inner.seen.durations();
            // Until enough is known, what the plan went by stands.
            if fitted.overall.samples > 0 {
                inner.durations = fitted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StorageName {
        StorageName::new(text).expect("a name")
    }

    #[test]
    fn a_run_learns_from_its_own_moves_and_keeps_the_plans_word_until_then() {
        let planned = Fit { fixed_ms: 1000, samples: 500, ..Fit::default() };
        let learned = Learned::new(Durations { overall: planned, pairs: Vec::new() }, Observations::default());
        let (a, b) = (name("a"), name("b"));
        (0..24).for_each(|n| learned.took(&a, &b, Bytes(1000 << (n % 2)), 9000));
        assert_eq!(learned.of(&a, &b), planned, "24 are too few");
        (0..16).for_each(|n| learned.took(&a, &b, Bytes(1000 << (n % 2)), 9000));
        let fit = learned.of(&a, &b);
        assert!((8900..=9100).contains(&fit.expected_ms(Bytes(1000))), "{fit:?}");
        assert!((8900..=9100).contains(&learned.of(&b, &a).expected_ms(Bytes(1000))), "others go by all together");
    }

    #[test]
    fn an_assumption_that_the_first_moves_show_wrong_is_not_gone_by() {
        let learned = Learned::new(Durations::default(), Observations::default());
        let (a, b) = (name("a"), name("b"));
        assert_eq!(learned.of(&a, &b).p95_ms(Bytes(0)), 8000);
        learned.took(&a, &b, Bytes(0), 13_000);
        assert_eq!(learned.of(&a, &b).p95_ms(Bytes(0)), 13_000);
        learned.took(&a, &b, Bytes(0), 4_000_000);
        assert_eq!(learned.of(&a, &b).p95_ms(Bytes(0)), 20_000, "one that hung");
    }

    #[test]
    fn what_earlier_runs_showed_counts_on() {
        let mut seen = Observations::default();
        let (a, b) = (name("a"), name("b"));
        // Giants, whose rate a run of small ones does not show.
        (1..=40).for_each(|n| seen.add(&a, &b, Bytes(n * 1_000_000_000), 4000 + n * 100_000));
        let learned = Learned::new(seen.durations(), seen);
        (0..300).for_each(|_| learned.took(&a, &b, Bytes(1000), 2000));
        let giant = learned.of(&a, &b).expected_ms(Bytes(20_000_000_000));
        assert!((1_500_000..2_500_000).contains(&giant), "10 MB/s: {giant}");
    }
}
