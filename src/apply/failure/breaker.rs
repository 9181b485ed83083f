//! When nothing more is scheduled on a pair of storages: counted per pair and per cause, so that one sick destination stops
//! no other, and many repositories with the same defect are told from a pair that fails. Pure.

use std::collections::BTreeMap;

use super::Class;
use crate::model::StorageName;

/// So many failures in a row on one pair of storages pause it.
const IN_A_ROW: u32 = 3;
/// More failures of one cause than this share, over at least [`OVER`] moves of the pair, pause it.
const PERCENT: u64 = 2;
const OVER: u64 = 50;

/// The pairs of one source.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    pairs: BTreeMap<StorageName, Pair>,
    paused: BTreeMap<StorageName, String>,
}

#[derive(Debug, Default)]
struct Pair {
    ended: u64,
    in_a_row: u32,
    failed: BTreeMap<Class, u64>,
}

impl Breaker {
    /// A move to a destination ended well.
    pub(crate) fn well(&mut self, destination: &StorageName) {
        let pair = self.pairs.entry(destination.clone()).or_default();
        pair.ended += 1;
        pair.in_a_row = 0;
    }

    /// A repository was set aside. Says why the pair is paused, when that is so from now on.
    pub(crate) fn failed(&mut self, source: &StorageName, destination: &StorageName, class: Class) -> Option<String> {
        let pair = self.pairs.entry(destination.clone()).or_default();
        pair.ended += 1;
        if !class.counts() {
            return None;
        }
        pair.in_a_row += 1;
        let of_class = pair.failed.entry(class).or_default();
        *of_class += 1;
        let cause = class.row().cause;
        let why = if pair.in_a_row >= IN_A_ROW {
            format!("{} moves in a row failed from {source} to {destination}, the last: {cause}", pair.in_a_row)
        } else if pair.ended >= OVER && *of_class * 100 > pair.ended * PERCENT {
            format!("{of_class} of {} moves from {source} to {destination} failed: {cause}", pair.ended)
        } else {
            return None;
        };
        self.pause(destination, why)
    }

    /// Pauses a pair for a reason of its own. Says the reason, when that is new.
    pub(crate) fn pause(&mut self, destination: &StorageName, why: String) -> Option<String> {
        if self.paused.contains_key(destination) {
            return None;
        }
        self.paused.insert(destination.clone(), why.clone());
        Some(why)
    }

    /// True while no pair is paused.
    pub(crate) fn is_whole(&self) -> bool {
        self.paused.is_empty()
    }

    /// True while nothing more is scheduled there.
    pub(crate) fn is_paused(&self, destination: &StorageName) -> bool {
        self.paused.contains_key(destination)
    }

    /// The reasons of all that are paused, by destination.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (&StorageName, &str)> {
        self.paused.iter().map(|(destination, why)| (destination, why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StorageName {
        StorageName::new(text).expect("valid")
    }

    #[test]
    fn three_in_a_row_pause_their_pair_and_no_other() {
        let (mut breaker, from, a, b) = (Breaker::default(), name("old"), name("a"), name("b"));
        assert_eq!(breaker.failed(&from, &a, Class::Checksum), None);
        assert_eq!(breaker.failed(&from, &b, Class::Checksum), None);
        assert_eq!(breaker.failed(&from, &a, Class::Other), None);
        breaker.well(&a);
        assert_eq!(breaker.failed(&from, &a, Class::Other), None);
        assert_eq!(breaker.failed(&from, &a, Class::Other), None);
        let why = breaker.failed(&from, &a, Class::DeadEndB).expect("paused");
        assert!(why.contains("3 moves in a row failed from old to a"), "{why}");
        assert!(breaker.is_paused(&a) && !breaker.is_paused(&b));
        assert_eq!(breaker.failed(&from, &a, Class::Other), None, "said once");
    }

    #[test]
    fn a_share_is_counted_per_cause_and_only_over_enough() {
        let (mut breaker, from, a) = (Breaker::default(), name("old"), name("a"));
        for n in 0..200u64 {
            let class = match n % 100 {
                10 => Class::Checksum,
                30 => Class::Other,
                60 => Class::DeadEndA,
                // What is the repository's own says nothing of the pair, however often.
                20 | 40 | 50 | 70 | 80 | 90 => Class::SourceNotWhole,
                _ => {
                    breaker.well(&a);
                    continue;
                }
            };
            assert_eq!(breaker.failed(&from, &a, class), None, "{n}");
        }
        breaker.well(&a);
        assert_eq!(breaker.failed(&from, &a, Class::Checksum), None);
        breaker.well(&a);
        assert_eq!(breaker.failed(&from, &a, Class::Checksum), None);
        breaker.well(&a);
        let why = breaker.failed(&from, &a, Class::Checksum).expect("5 of 206 are more than 2 %");
        assert!(why.starts_with("5 of 206 moves"), "{why}");
    }
}
