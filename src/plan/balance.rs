//! Spreads groups of repositories over storages by bytes: largest first onto the storage with most room (LPT: at most
//! 4/3 of the best possible fullest one), then small ones once more, so that counts are even too; and says how near
//! that comes to what is possible. (safe-migration §9.)
//!
//! Numbers only, and nothing but the standard library: the planner and the bench use the same code. A lower number
//! decides between equals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What a storage still takes. Below 0 where it is over that already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes below the level from which on nothing is assigned unless it fits nowhere else.
    pub soft: i128,
    /// Bytes below the ceiling.
    pub hard: i128,
}

/// What goes to one storage as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Which set of storages it may go to.
    pub set: u32,
    /// Bytes it needs there, with inflation.
    pub need: u64,
    /// How many repositories it is.
    pub members: u32,
    /// Where it was put.
    pub bin: u32,
    /// It stays there: most of its fork network is there already, or it was split.
    pub fixed: bool,
}

/// How evenly a family of sets that share storages was filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The storages.
    pub bins: Vec<u32>,
    /// The fullest of those that got something.
    pub fullest: u32,
    /// Bytes that it lies above the emptiest as it was before: what was brought, where all began alike.
    pub level: u128,
    /// No way of spreading could make the fullest lower than that.
    pub bound: u128,
    /// Repositories brought, at least and at most.
    pub members: (u64, u64),
}

impl Spread {
    /// Level over bound in thousandths, rounded up; at least 1000.
    pub fn permille(&self) -> u64 {
        let ratio = (self.level * 1000).div_ceil(self.bound.max(1));
        u64::try_from(ratio).unwrap_or(u64::MAX).max(1000)
    }
}

/// The storages while they are filled.
#[derive(Debug)]
pub struct Bins {
    began: Vec<Option<Free>>,
    free: Vec<Option<Free>>,
    members: Vec<u64>,
    sets: Vec<Vec<u32>>,
    soft: Vec<Heap>,
    hard: Vec<Heap>,
}

/// A set's storages, the one with most room on top. Room only shrinks while units are put, so an entry that was
/// overtaken is found out when it comes to the top, and put back where it belongs now.
type Heap = Option<BinaryHeap<(i128, Reverse<u32>)>>;

impl Bins {
    /// Begins. `free`: by number, `None` where nothing is known and nothing goes; `sets`: the storages that units may
    /// go to, each sorted.
    pub fn new(free: Vec<Option<Free>>, sets: Vec<Vec<u32>>) -> Self {
        let (members, heaps) = (vec![0; free.len()], vec![None; sets.len()]);
        Self { began: free.clone(), free, members, sets, soft: heaps.clone(), hard: heaps }
    }

    /// What a storage still takes.
    pub fn free(&self, bin: u32) -> Option<Free> {
        self.free.get(bin as usize).copied().flatten()
    }

    /// What all storages still take.
    pub fn into_free(self) -> Vec<Option<Free>> {
        self.free
    }

    /// The storages of a set.
    pub fn set(&self, set: u32) -> &[u32] {
        self.sets.get(set as usize).map_or(&[], Vec::as_slice)
    }

    /// Puts something where most room is, at `home` if it fits there; `None`: it fits nowhere.
    pub fn put(&mut self, set: u32, need: u64, members: u32, home: Option<u32>) -> Option<u32> {
        let bytes = i128::from(need);
        let home = home.and_then(|home| Some((home, self.free(home)?)));
        let soft = home.filter(|(_, free)| free.soft >= bytes).map(|(home, _)| home);
        let soft = soft.or_else(|| Self::best(&mut self.soft, &self.sets, &self.free, set, bytes, |free| free.soft));
        let hard = || home.filter(|(_, free)| free.hard >= bytes).map(|(home, _)| home);
        let found = soft
            .or_else(hard)
            .or_else(|| Self::best(&mut self.hard, &self.sets, &self.free, set, bytes, |free| free.hard))?;
        self.shift(found, bytes, u64::from(members));
        Some(found)
    }

    fn best(
        heaps: &mut [Heap],
        sets: &[Vec<u32>],
        free: &[Option<Free>],
        set: u32,
        bytes: i128,
        room: fn(Free) -> i128,
    ) -> Option<u32> {
        let of = |bin: u32| free.get(bin as usize).copied().flatten().map(room);
        let heap = heaps.get_mut(set as usize)?.get_or_insert_with(|| {
            let set = sets.get(set as usize).into_iter().flatten();
            set.filter_map(|bin| Some((of(*bin)?, Reverse(*bin)))).collect()
        });
        loop {
            let mut top = heap.peek_mut()?;
            let now = of(top.1.0)?;
            if top.0 == now {
                return (now >= bytes).then_some(top.1.0);
            }
            top.0 = now;
        }
    }

    fn shift(&mut self, bin: u32, bytes: i128, members: u64) {
        if let Some(Some(free)) = self.free.get_mut(bin as usize) {
            free.soft -= bytes;
            free.hard -= bytes;
        }
        if let Some(count) = self.members.get_mut(bin as usize) {
            *count += members;
        }
    }

    /// Moves small units from where most repositories came to where fewest did. No storage gets fuller by it than the
    /// fullest was or a thousandth above the bound, whichever is more; none crosses a level. Units come largest first.
    pub fn even(&mut self, units: &mut [Unit]) {
        for set in 0..u32::try_from(self.sets.len()).unwrap_or(u32::MAX) {
            self.even_set(set, units);
        }
    }

    fn even_set(&mut self, set: u32, units: &mut [Unit]) {
        let bins: Vec<u32> = self.set(set).iter().copied().filter(|bin| self.free(*bin).is_some()).collect();
        let Some(spread) = self.spread(&bins, units.iter().filter(|unit| unit.set == set)) else { return };
        let top = self.top(&bins);
        // The least room below the soft level that may be left on one.
        let most = i128::try_from(spread.level.max(spread.bound + spread.bound / 1000)).unwrap_or(i128::MAX);
        let least = top.saturating_sub(most).max(0);
        let mut smallest: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, unit) in units.iter().enumerate().filter(|(_, unit)| unit.set == set && !unit.fixed) {
            smallest.entry(unit.bin).or_default().push(at);
        }
        let count = |this: &Self, bin: u32| this.members.get(bin as usize).copied().unwrap_or(0);
        let mut givers: BTreeSet<(u64, u32)> = bins.iter().map(|bin| (count(self, *bin), *bin)).collect();
        let mut takers = givers.clone();
        while let (Some((most, from)), Some((fewest, to))) = (givers.last().copied(), takers.first().copied()) {
            let unit = smallest.get_mut(&from).and_then(Vec::pop).and_then(|at| Some((at, units.get_mut(at)?)));
            let Some((at, unit)) = unit else {
                givers.remove(&(most, from));
                continue;
            };
            if from == to || fewest + u64::from(unit.members) >= most {
                if unit.members <= 1 {
                    break;
                }
                continue;
            }
            let bytes = i128::from(unit.need);
            if self.free(to).is_none_or(|free| free.soft - bytes < least) {
                takers.remove(&(fewest, to));
                smallest.entry(from).or_default().push(at);
                continue;
            }
            unit.bin = to;
            let members = u64::from(unit.members);
            self.shift(to, bytes, members);
            self.shift(from, -bytes, 0);
            if let Some(count) = self.members.get_mut(from as usize) {
                *count -= members;
            }
            for (bin, before, after) in [(from, most, most - members), (to, fewest, fewest + members)] {
                for ranking in [&mut givers, &mut takers] {
                    if ranking.remove(&(before, bin)) {
                        ranking.insert((after, bin));
                    }
                }
            }
        }
    }

    /// Says how evenly each family of sets that share storages was filled; units come largest first.
    pub fn spreads(&self, units: &[Unit]) -> Vec<Spread> {
        let mut used: BTreeSet<u32> = units.iter().map(|unit| unit.set).collect();
        let mut spreads = Vec::new();
        while let Some(first) = used.pop_first() {
            let mut bins: BTreeSet<u32> = self.set(first).iter().copied().collect();
            let mut sets = BTreeSet::from([first]);
            loop {
                let joins = |set: &&u32| self.set(**set).iter().any(|bin| bins.contains(bin));
                let joined: Vec<u32> = used.iter().filter(joins).copied().collect();
                if joined.is_empty() {
                    break;
                }
                for set in joined {
                    used.remove(&set);
                    sets.insert(set);
                    bins.extend(self.set(set));
                }
            }
            let bins: Vec<u32> = bins.into_iter().filter(|bin| self.free(*bin).is_some()).collect();
            let Some(mut whole) = self.spread(&bins, units.iter().filter(|unit| sets.contains(&unit.set))) else {
                continue;
            };
            // What may go to some of them only is bound by those.
            let top = self.top(&bins);
            for set in sets.iter().filter(|_| sets.len() > 1) {
                let own: Vec<u32> = self.set(*set).iter().copied().filter(|bin| self.free(*bin).is_some()).collect();
                if let Some(part) = self.spread(&own, units.iter().filter(|unit| unit.set == *set)) {
                    let lower = u128::try_from(top - self.top(&own)).unwrap_or(0);
                    whole.bound = whole.bound.max(part.bound + lower);
                }
            }
            spreads.push(whole);
        }
        spreads
    }

    /// Most room that one of them began with.
    fn top(&self, bins: &[u32]) -> i128 {
        bins.iter().filter_map(|bin| Some(self.began(*bin)?.soft)).max().unwrap_or(0)
    }

    fn began(&self, bin: u32) -> Option<Free> {
        self.began.get(bin as usize).copied().flatten()
    }

    /// How evenly storages were filled with these units, largest first; `None` without any.
    fn spread<'u>(&self, bins: &[u32], units: impl Iterator<Item = &'u Unit>) -> Option<Spread> {
        let top = self.top(bins);
        let below = |free: Free| u128::try_from(top - free.soft).unwrap_or(0);
        let (mut sum, mut largest) = (0u128, None);
        for unit in units {
            sum += u128::from(unit.need);
            largest = largest.max(Some(unit.need));
        }
        let largest = largest?;
        let got = bins.iter().filter(|bin| self.free(**bin) != self.began(**bin) || self.members(**bin) > 0);
        let fullest = got.filter_map(|bin| Some((below(self.free(*bin)?), Reverse(*bin)))).max();
        let (level, Reverse(fullest)) = fullest?;
        // Filled like water: to which level do they stand when nothing can be cut finer?
        let mut floors: Vec<u128> = bins.iter().filter_map(|bin| Some(below(self.began(*bin)?))).collect();
        floors.sort_unstable();
        let (mut water, mut under) = (0u128, 0u128);
        for (n, floor) in (1u128..).zip(&floors) {
            if n > 1 && *floor >= water {
                break;
            }
            under += floor;
            water = (sum + under).div_ceil(n);
        }
        let takes = |bin: &&u32| self.began(**bin).is_some_and(|free| free.hard >= i128::from(largest));
        let alone = bins.iter().filter(takes).filter_map(|bin| Some(below(self.began(*bin)?))).min();
        let bound = water.max(alone.map_or(0, |floor| floor + u128::from(largest)));
        let counts = || bins.iter().map(|bin| self.members(*bin));
        let members = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        Some(Spread { bins: bins.to_vec(), fullest, level, bound, members })
    }

    fn members(&self, bin: u32) -> u64 {
        self.members.get(bin as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bins(free: &[i128], sets: &[&[u32]]) -> Bins {
        let free = free.iter().map(|free| Some(Free { soft: free - 100, hard: *free })).collect();
        Bins::new(free, sets.iter().map(|set| set.to_vec()).collect())
    }

    fn put(bins: &mut Bins, needs: &[(u64, u32)]) -> Vec<Unit> {
        let mut units = Vec::new();
        for (need, set) in needs {
            if let Some(bin) = bins.put(*set, *need, 1, None) {
                units.push(Unit { set: *set, need: *need, members: 1, bin, fixed: false });
            }
        }
        units
    }

    #[test]
    fn above_the_soft_level_only_what_fits_nowhere_else() {
        let mut bins = bins(&[1000, 500], &[&[0, 1]]);
        assert_eq!([850, 60, 350].map(|need| bins.put(0, need, 1, None)), [Some(0), Some(1), Some(1)].map(|b| b));
        // 50 and -10 are left below the soft levels, 150 and 90 below the ceilings.
        assert_eq!([60, 100, 90].map(|need| bins.put(0, need, 1, None)), [Some(0), None, Some(0)]);
        assert_eq!(bins.put(0, 91, 1, Some(1)), None);
        assert_eq!(bins.put(0, 90, 1, Some(1)), Some(1));
    }

    #[test]
    fn a_home_is_kept_where_it_has_room() {
        let mut bins = bins(&[1000, 500], &[&[0, 1]]);
        assert_eq!([400, 400].map(|need| bins.put(0, need, 1, Some(1))), [Some(1), Some(0)]);
    }

    #[test]
    fn counts_are_evened_out_by_what_is_small() {
        let mut bins = bins(&[1_000_000; 2], &[&[0, 1]]);
        let mut needs = vec![(100_000, 0)];
        needs.extend((1..=100).map(|n| (1000 - n, 0)));
        let mut units = put(&mut bins, &needs);
        assert_eq!(bins.spreads(&units)[0].members, (1, 100));
        bins.even(&mut units);
        let spread = &bins.spreads(&units)[0];
        // A thousandth of 100,000 is let go; none of them is as small as that.
        assert_eq!((spread.members, spread.permille(), spread.bound), ((1, 100), 1000, 100_000));
        let mut bins = super::tests::bins(&[1_000_000; 2], &[&[0, 1]]);
        needs.extend((1..=40).map(|_| (2, 0)));
        let mut units = put(&mut bins, &needs);
        bins.even(&mut units);
        let spread = &bins.spreads(&units)[0];
        assert_eq!((spread.members, spread.fullest, spread.level), ((41, 100), 0, 100_080));
    }

    #[test]
    fn the_bound_counts_what_is_there_and_what_may_go_to_some_only() {
        // 300 more stand on the second: 700 fill both to (700 + 300) / 2.
        let mut bins = bins(&[10_000, 9_700], &[&[0, 1], &[1]]);
        let units = put(&mut bins, &[(300, 0), (200, 0), (200, 0)]);
        let spread = &bins.spreads(&units)[0];
        assert_eq!((spread.bound, spread.level, spread.permille()), (500, 500, 1000));
        // 600 may go to the second only.
        let units = [units, put(&mut bins, &[(600, 1)])].concat();
        let spread = &bins.spreads(&units)[0];
        assert_eq!((spread.bins.len(), spread.bound), (2, 900));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The lazy heaps give what a plain search gives, with several overlapping sets; evening out crosses no level,
        /// makes the fullest no fuller than is let go, and counts no less even.
        #[test]
        fn heaps_agree_with_a_plain_search_and_evening_out_is_harmless(
            needs in prop::collection::vec((0u64..5_000, 0u32..3), 1..80),
            disks in prop::collection::vec(1_000i128..40_000, 4),
        ) {
            let sets: [&[u32]; 3] = [&[0, 1, 2, 3], &[1, 2], &[2, 3]];
            let mut needs = needs;
            needs.sort_by_key(|(need, _)| Reverse(*need));
            let mut bins = bins(&disks, &sets);
            let mut plain = disks.clone();
            let mut units = Vec::new();
            for (need, set) in &needs {
                let best = sets[*set as usize].iter().max_by_key(|bin| (plain[**bin as usize], Reverse(**bin)));
                let best = best.copied().filter(|bin| plain[*bin as usize] >= i128::from(*need));
                prop_assert_eq!(bins.put(*set, *need, 1, None), best);
                if let Some(bin) = best {
                    plain[bin as usize] -= i128::from(*need);
                    units.push(Unit { set: *set, need: *need, members: 1, bin, fixed: false });
                }
            }
            let before = bins.spreads(&units);
            bins.even(&mut units);
            let mut left = disks.clone();
            for unit in &units {
                prop_assert!(sets[unit.set as usize].contains(&unit.bin));
                left[unit.bin as usize] -= i128::from(unit.need);
            }
            for (bin, left) in (0u32..).zip(&left) {
                prop_assert!(*left >= 0);
                prop_assert_eq!(bins.free(bin).map(|free| free.hard), Some(*left));
            }
            let after = bins.spreads(&units);
            prop_assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                prop_assert_eq!(before.bound, after.bound);
                prop_assert!(after.level >= after.bound || units.len() < needs.len());
                prop_assert!(after.level <= before.level.max(before.bound + before.bound / 1000));
                let apart = |(least, most): (u64, u64)| most - least;
                prop_assert!(apart(after.members) <= apart(before.members));
            }
        }
    }
}
