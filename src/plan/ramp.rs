//! The steps of a ramp: which integers give the storages whose weight rises a share of the new repositories, while those
//! that they replace keep the rest. Weights are relative, so both sides are chosen together.

use std::collections::{BTreeMap, BTreeSet};

use super::WeightChange;
use crate::model::{StorageName, Weight};

/// A whole, in the unit of shares here.
const WHOLE: u64 = 1_000_000;
/// A step may miss the best share that integers can give by this part of what it asks for, and half a per cent at most,
/// where the old weights then stay higher: low ones would leave no room for the steps after it.
const TOLERANCE: u64 = 20;

/// One step before the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// As asked for.
    pub(super) percent: u8,
    /// As the integers give it.
    pub(super) share_permille: u16,
    /// The weights that change.
    pub(super) weights: BTreeMap<StorageName, WeightChange>,
}

/// A storage whose weight changes.
#[derive(Debug, Clone, Copy)]
struct Ends {
    from: u64,
    to: u64,
}

/// One side of the scale: storages whose weights change in proportion.
struct Side<'a> {
    storages: Vec<(&'a StorageName, Ends)>,
    top: u64,
}

impl<'a> Side<'a> {
    fn new(storages: Vec<(&'a StorageName, Ends)>, end: fn(&Ends) -> u64) -> Self {
        let top = storages.iter().map(|(_, ends)| end(ends)).max().unwrap_or(0);
        Self { storages, top }
    }

    /// The sum of weights at each place of the scale, from 0.
    fn sums(&self, at: impl Fn(Ends, u64, u64) -> u64) -> Vec<u64> {
        (0..=self.top).map(|place| self.storages.iter().map(|(_, ends)| at(*ends, place, self.top)).sum()).collect()
    }
}

/// A weight that rises: in proportion to where it goes, at least 1, never back.
fn raised(ends: Ends, place: u64, top: u64) -> u64 {
    let share = (2 * ends.to * place + top) / (2 * top.max(1));
    share.clamp(1, ends.to.max(1)).max(ends.from)
}

/// A weight that falls: in proportion to where it was, at least 1 and what it ends with, never up.
fn lowered(ends: Ends, place: u64, top: u64) -> u64 {
    let share = (2 * ends.from * place + top) / (2 * top.max(1));
    share.max(1).max(ends.to).min(ends.from)
}

fn share(new: u64, old: u64) -> u64 {
    (new * WHOLE).checked_div(new + old).unwrap_or(WHOLE)
}

/// Thousandths, rounded half up.
fn permille(share: u64) -> u16 {
    u16::try_from((share + 500) / 1000).unwrap_or(1000)
}

/// The steps from `before` to `after` by which the storages of `new` come to take `percents` (rising) of the new
/// repositories. The last step, to `after` itself, is none of them. Left out: what is below the share that they have, what
/// is not below the share that they end with, and what no integers can tell from the step before.
pub(super) fn steps(
    before: &BTreeMap<StorageName, Weight>,
    after: &BTreeMap<StorageName, Weight>,
    new: &BTreeSet<StorageName>,
    percents: impl IntoIterator<Item = u8>,
) -> Vec<Step> {
    let number = |weight: Option<&Weight>| u64::from(weight.map_or(0, |w| w.get()));
    let (mut rising, mut falling, mut new_fixed, mut old_fixed) = (Vec::new(), Vec::new(), 0, 0);
    for (name, weight) in before {
        let ends = Ends { from: number(Some(weight)), to: number(after.get(name).or(Some(weight))) };
        match ends.to.cmp(&ends.from) {
            std::cmp::Ordering::Greater => rising.push((name, ends)),
            std::cmp::Ordering::Less if !new.contains(name) => falling.push((name, ends)),
            _ if new.contains(name) => new_fixed += ends.from,
            _ => old_fixed += ends.from,
        }
    }
    let rising = Side::new(rising, |ends| ends.to);
    let falling = Side::new(falling, |ends| ends.from);
    let total = |side: &Side<'_>, end: fn(&Ends) -> u64| side.storages.iter().map(|(_, ends)| end(ends)).sum::<u64>();
    let observed = share(new_fixed + total(&rising, |e| e.from), old_fixed + total(&falling, |e| e.from));
    let last = share(new_fixed + total(&rising, |e| e.to), old_fixed + total(&falling, |e| e.to));
    let (new_sums, old_sums) = (rising.sums(raised), falling.sums(lowered));
    let mut now = before.clone();
    // Those that rise take something at least; they may all be where they go.
    let (mut reached, mut lowest, mut highest) = (observed, u64::from(rising.top > 0), falling.top);
    let mut steps = Vec::new();
    for percent in percents {
        let wanted = u64::from(percent) * WHOLE / 100;
        if wanted <= reached || wanted >= last {
            continue;
        }
        let places = new_sums.iter().zip(0u64..).filter(|(_, place)| *place >= lowest).flat_map(|(new, up)| {
            let olds =
                old_sums.iter().zip(0u64..).filter(|(_, down)| *down <= highest && (*down > 0 || falling.top == 0));
            olds.map(move |(old, down)| (share(new_fixed + new, old_fixed + old), up, down))
        });
        let places: Vec<(u64, u64, u64)> = places.collect();
        let Some(best) = places.iter().map(|(share, ..)| share.abs_diff(wanted)).min() else { continue };
        let good = places
            .into_iter()
            .filter(|(share, ..)| share.abs_diff(wanted) <= best + (wanted / TOLERANCE).min(WHOLE / 200));
        let Some((found, up, down)) =
            good.min_by_key(|(share, up, down)| (std::cmp::Reverse(*down), share.abs_diff(wanted), *up))
        else {
            continue;
        };
        if permille(found) <= permille(reached) || found >= last {
            continue;
        }
        let mut weights = BTreeMap::new();
        let raises = rising.storages.iter().map(|(name, ends)| (*name, raised(*ends, up, rising.top)));
        let falls = falling.storages.iter().map(|(name, ends)| (*name, lowered(*ends, down, falling.top)));
        for (name, weight) in raises.chain(falls) {
            let (Ok(weight), Some(before)) = (Weight::new(weight), now.get(name).copied()) else { continue };
            if weight != before {
                weights.insert(name.clone(), WeightChange { before, after: weight });
            }
        }
        now.extend(weights.iter().map(|(name, change)| (name.clone(), change.after)));
        (reached, lowest, highest) = (found, up, down);
        steps.push(Step { percent, share_permille: permille(found), weights });
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::fixture::{name, weight};

    fn map(weights: &[(&str, u64)]) -> BTreeMap<StorageName, Weight> {
        weights.iter().map(|(storage, number)| (name(storage), weight(*number))).collect()
    }

    fn lines(before: &[(&str, u64)], after: &[(&str, u64)], percents: &[u8]) -> Vec<String> {
        let (before, after) = (map(before), map(after));
        let new =
            after.iter().filter(|(n, w)| before.get(*n).is_some_and(|b| b < *w)).map(|(n, _)| n.clone()).collect();
        steps(&before, &after, &new, percents.iter().copied())
            .into_iter()
            .map(|step| {
                let set: Vec<String> =
                    step.weights.iter().map(|(n, c)| format!("{n} {}->{}", c.before, c.after)).collect();
                format!("{} % is {}: {}", step.percent, step.share_permille, set.join(", "))
            })
            .collect()
    }

    #[test]
    fn both_sides_are_chosen_together_and_the_old_ones_stay_high() {
        let before = [("vm", 100), ("a", 0), ("b", 0), ("c", 0)];
        let after = [("vm", 0), ("a", 100), ("b", 100), ("c", 100)];
        let found = lines(&before, &after, &[1, 5, 25, 50, 100]);
        assert_eq!(
            found,
            [
                "1 % is 29: a 0->1, b 0->1, c 0->1",
                "5 % is 48: vm 100->60",
                "25 % is 247: a 1->6, b 1->6, c 1->6, vm 60->55",
                "50 % is 495: a 6->18, b 6->18, c 6->18",
            ]
        );
    }

    #[test]
    fn what_is_reached_and_what_is_beyond_the_end_is_left_out() {
        // A tenth is theirs already, and half is what they end with: others keep their weight.
        let before = [("vm", 90), ("a", 10)];
        assert_eq!(lines(&before, &[("vm", 90), ("a", 90)], &[5, 10, 30, 50, 75]).len(), 1);
        assert_eq!(lines(&before, &before, &[50]), Vec::<String>::new());
        // They are where they go; the others step aside.
        let (weights, end) = (map(&[("vm", 100), ("a", 100)]), map(&[("vm", 0), ("a", 100)]));
        let aside = steps(&weights, &end, &BTreeSet::from([name("a")]), [75]);
        assert_eq!(aside.iter().map(|step| step.share_permille).collect::<Vec<_>>(), [746]);
        // Nobody else takes anything: there is no share to give.
        assert_eq!(lines(&[("a", 0)], &[("a", 50)], &[1, 50]), Vec::<String>::new());
        // Ten storages of weight 1 have a tenth at once.
        let pods: Vec<String> = (0..10).map(|n| format!("pod-{n}")).collect();
        let mut before: Vec<(&str, u64)> = pods.iter().map(|pod| (pod.as_str(), 0)).collect();
        let mut after: Vec<(&str, u64)> = pods.iter().map(|pod| (pod.as_str(), 100)).collect();
        before.push(("vm", 100));
        after.push(("vm", 0));
        let found = lines(&before, &after, &[1, 5, 50]);
        assert!(found.len() == 2 && found[0].starts_with("1 % is 91:"), "{found:?}");
    }

    proptest! {
        /// Shares rise and are near what was asked for; no weight leaves its range or turns back; somebody takes something.
        #[test]
        fn steps_are_sound(
            olds in prop::collection::vec((1u64..=100, any::<bool>()), 1..5),
            news in prop::collection::vec((0u64..20, 20u64..=100), 1..5),
            percents in prop::collection::btree_set(1u8..100, 1..8),
        ) {
            let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
            for (n, (from, drains)) in olds.iter().enumerate() {
                before.insert(name(&format!("old-{n}")), weight(*from));
                after.insert(name(&format!("old-{n}")), weight(if *drains { 0 } else { *from }));
            }
            for (n, (from, to)) in news.iter().enumerate() {
                before.insert(name(&format!("new-{n}")), weight(*from));
                after.insert(name(&format!("new-{n}")), weight(*to));
            }
            let new: BTreeSet<StorageName> = after.iter().filter(|(n, w)| before[*n] < **w).map(|(n, _)| n.clone()).collect();
            let found = steps(&before, &after, &new, percents.iter().copied());
            let mut now = before.clone();
            let mut last = 0;
            for step in &found {
                for (storage, change) in &step.weights {
                    prop_assert_eq!(now.insert(storage.clone(), change.after), Some(change.before));
                    let (start, end) = (before[storage].get(), after[storage].get());
                    let (low, high) = (start.min(end).max(u8::from(change.after.get() == 1 && start.min(end) == 0)), start.max(end).max(1));
                    prop_assert!((low..=high).contains(&change.after.get()), "{storage}: {change:?} of {start} to {end}");
                    if new.contains(storage) {
                        prop_assert!(change.after > change.before);
                    } else {
                        prop_assert!(change.after < change.before && change.after >= weight(1));
                    }
                }
                prop_assert!(now.values().any(|w| w.get() > 0));
                let sum = |pick: &dyn Fn(&StorageName) -> bool| now.iter().filter(|(n, _)| pick(n)).map(|(_, w)| f64::from(w.get())).sum::<f64>();
                let (ours, all) = (sum(&|n| new.contains(n)), sum(&|_| true));
                prop_assert!((ours / all * 1000.0 - f64::from(step.share_permille)).abs() <= 0.51);
                prop_assert!(step.share_permille > last);
                last = step.share_permille;
            }
            // Where the old ones can step aside freely, a step misses what it asks for by little.
            if olds == [(100, true)] {
                let floor = news.iter().map(|(from, _)| (*from).max(1)).sum::<u64>();
                for step in found {
                    let best = 1000 * floor / (100 + floor);
                    let missed = u64::from(step.share_permille).abs_diff(u64::from(step.percent) * 10);
                    prop_assert!(missed <= 60 || u64::from(step.share_permille) <= best + 10, "{step:?}");
                }
            }
        }
    }
}
