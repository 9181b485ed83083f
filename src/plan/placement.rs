//! Which destination a repository gets: fork networks together, spread by bytes below soft levels and ceilings. The
//! spreading itself is `balance`. A storage's name decides between equals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::assign::Claimer;
use super::balance::{Bins, Free, Spread, Unit};
use super::networks::{Homes, pool_need};
use super::room::SOFT_BELOW;
use crate::model::{Bytes, Container, DiskSpace, Repository, StorageName};

/// All storages that a plan may name, sorted: a storage is its place in it, so that a million repositories compare
/// numbers instead of names, and numbers sort as names do.
#[derive(Debug, Default)]
pub(super) struct Names<'a>(Vec<&'a StorageName>);

impl<'a> Names<'a> {
    /// Sorts the names; repeated ones count once.
    pub(super) fn new(names: impl IntoIterator<Item = &'a StorageName>) -> Self {
        let names: BTreeSet<&StorageName> = names.into_iter().collect();
        Self(names.into_iter().collect())
    }

    /// A storage's number.
    pub(super) fn number(&self, name: &StorageName) -> Option<u32> {
        self.0.binary_search(&name).ok().and_then(|number| u32::try_from(number).ok())
    }

    /// The storage of a number.
    pub(super) fn name(&self, number: u32) -> Option<&'a StorageName> {
        self.0.get(number as usize).copied()
    }
}

/// A repository that is to move, and what has been decided for it so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// The repository.
    pub(super) repository: &'a Repository,
    /// For which assignment.
    pub(super) claimer: Claimer<'a>,
    /// Where it is: a number of [`Names`].
    pub(super) source: u32,
    /// Where it goes, once placed.
    pub(super) destination: Option<u32>,
    /// Its wave's position, once sorted into one.
    pub(super) wave: u32,
    /// Its fork network, if it is a fork or has one.
    pub(super) network: Option<NonZeroU64>,
    /// Its size; 0 when GitLab gave none. Here too, because items are summed up in orders in which their repositories
    /// lie far apart in memory.
    pub(super) bytes: Bytes,
    /// Of its object pool.
    pub(super) shared: Bytes,
}

impl Item<'_> {
    /// The largest first; ids decide between equals.
    pub(super) fn largest_first(&self) -> (Reverse<Bytes>, Container) {
        (Reverse(self.bytes), self.repository.container)
    }
}

/// What a move needs on its destination: 1.1 × its size, rounded up. A fresh copy is packed less well than a
/// repository that was housekept (safe-migration §9).
pub fn need(size: Bytes) -> Bytes {
    Bytes(size.0.saturating_add(size.0.div_ceil(10)))
}

/// Bytes that a disk may hold before its ceiling.
pub(super) fn ceiling(disk: DiskSpace, permille: u16) -> i128 {
    (i128::from(disk.available.0) + i128::from(disk.used.0)) * i128::from(permille) / 1000
}

/// Room on each storage.
#[derive(Debug)]
pub(super) struct Room<'n, 'a> {
    names: &'n Names<'a>,
    /// By number; `None`: not known.
    free: Vec<Option<Free>>,
}

impl<'n, 'a> Room<'n, 'a> {
    /// Begins with no disk known.
    pub(super) fn new(names: &'n Names<'a>) -> Self {
        Self { names, free: vec![None; names.0.len()] }
    }

    /// Adds a storage whose disk is known. `growth`: what new repositories bring meanwhile.
    pub(super) fn add(&mut self, storage: &StorageName, disk: DiskSpace, ceiling_permille: u16, growth: Bytes) {
        if let Some(slot) = self.names.number(storage).and_then(|number| self.free.get_mut(number as usize)) {
            let below = |permille| ceiling(disk, permille) - i128::from(disk.used.0) - i128::from(growth.0);
            let soft = ceiling_permille.saturating_sub(SOFT_BELOW);
            *slot = Some(Free { soft: below(soft), hard: below(ceiling_permille) });
        }
    }

    /// Takes room away, for a move that is under way already.
    pub(super) fn reserve(&mut self, storage: &StorageName, bytes: Bytes) {
        let slot = self.names.number(storage).and_then(|number| self.free.get_mut(number as usize));
        if let Some(Some(free)) = slot {
            free.soft -= i128::from(bytes.0);
            free.hard -= i128::from(bytes.0);
        }
    }

    /// Free bytes below the ceiling; 0 when unknown or none.
    pub(super) fn free(&self, storage: &StorageName) -> Bytes {
        let free = self.names.number(storage).and_then(|number| self.free.get(number as usize).copied().flatten());
        Bytes(u64::try_from(free.map_or(0, |free| free.hard).max(0)).unwrap_or(u64::MAX))
    }

    /// Places every item; those that fit nowhere are left without a destination. `groups` is the number of different
    /// sets of destinations. Repositories of one network that may go to the same storages go together, so that they
    /// can share objects there; a network that fits nowhere as a whole is placed one by one. Gives how evenly each
    /// family of storages was filled.
    ///
    /// A network goes where most of it is already, if it may. `at_once`: moves under way at most.
    pub(super) fn place(&mut self, items: &mut [Item<'_>], groups: usize, homes: &Homes, at_once: u32) -> Vec<Spread> {
        let mut sums: BTreeMap<(u32, NonZeroU64), u64> = BTreeMap::new();
        let mut sets: Vec<Vec<u32>> = vec![Vec::new(); groups];
        for item in &*items {
            if let Some(network) = item.network {
                let sum = sums.entry((item.claimer.group, network)).or_default();
                *sum = sum.saturating_add(item.bytes.0);
            }
            if let Some(set) = sets.get_mut(item.claimer.group as usize).filter(|set| set.is_empty()) {
                *set = item.claimer.assignment.to.iter().filter_map(|to| self.names.number(to)).collect();
            }
        }
        items.sort_by_cached_key(|item| {
            let sum = item.network.and_then(|network| sums.get(&(item.claimer.group, network)));
            (Reverse(sum.map_or(item.bytes, |sum| Bytes(*sum))), item.claimer.group, item.network, item.largest_first())
        });
        let together = |a: &Item<'_>, b: &Item<'_>| {
            a.network.is_some() && (a.claimer.group, a.network) == (b.claimer.group, b.network)
        };
        let mut bins = Bins::new(std::mem::take(&mut self.free), sets);
        // Each with the place of its first item.
        let (mut units, mut firsts) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        let mut first = 0u32;
        for unit in items.chunk_by(together) {
            let Some(one) = unit.first() else { continue };
            let (set, place) = (one.claimer.group, first);
            let members = u32::try_from(unit.len()).unwrap_or(u32::MAX);
            first = first.saturating_add(members);
            let own = unit.iter().fold(0u64, |sum, item| sum.saturating_add(need(item.bytes).0));
            let whole = own.saturating_add(pools(unit, at_once));
            let home = one.network.and_then(|network| home(homes.get(&network)?, bins.set(set)));
            if let Some(bin) = bins.put(set, whole, members, home) {
                units.push(Unit { set, need: whole, members, bin, fixed: home == Some(bin) });
                firsts.push(place);
                continue;
            }
            for (at, item) in (place..).zip(unit).filter(|_| members > 1) {
                let needed = need(item.bytes).0.saturating_add(pool_need(item.shared, 1, 1));
                if let Some(bin) = bins.put(set, needed, 1, home) {
                    units.push(Unit { set, need: needed, members: 1, bin, fixed: true });
                    firsts.push(at);
                }
            }
        }
        // Where something was left out, room is what matters.
        let left_out = units.iter().fold(0usize, |sum, unit| sum + unit.members as usize) < items.len();
        if !left_out {
            bins.even(&mut units);
        }
        for (unit, first) in units.iter().zip(firsts) {
            let first = first as usize;
            let own = items.get_mut(first..first + unit.members as usize).into_iter().flatten();
            own.for_each(|item| item.destination = Some(unit.bin));
        }
        let spreads = bins.spreads(&units);
        self.free = bins.into_free();
        spreads
    }
}

/// The storage of a set where most of a network is; the first of equals.
fn home(members: &BTreeMap<u32, u64>, set: &[u32]) -> Option<u32> {
    let there = set.iter().filter_map(|number| Some((*members.get(number)?, Reverse(*number))));
    there.max().map(|(_, Reverse(number))| number)
}

/// What the pools of one network take on its destination; its members may come from several storages.
fn pools(unit: &[Item<'_>], at_once: u32) -> u64 {
    let mut sources: BTreeMap<u32, (Bytes, usize)> = BTreeMap::new();
    for item in unit.iter().filter(|item| item.shared.0 > 0) {
        sources.entry(item.source).or_insert((item.shared, 0)).1 += 1;
    }
    sources.values().fold(0, |sum: u64, (pool, members)| sum.saturating_add(pool_need(*pool, *members, at_once)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Assignment;
    use crate::plan::fixture::{assignment, name, repository};
    use proptest::prelude::*;

    fn disk(capacity: u64, used: u64) -> DiskSpace {
        DiskSpace { available: Bytes(capacity - used), used: Bytes(used) }
    }

    fn items<'a>(list: &'a [Repository], assignment: &'a Assignment) -> Vec<Item<'a>> {
        let claimer = Claimer { assignment, ordinal: 0, group: 0 };
        list.iter()
            .map(|repository| Item {
                repository,
                claimer,
                source: 0,
                destination: None,
                wave: 0,
                network: None,
                bytes: repository.size.unwrap_or_default(),
                shared: Bytes(0),
            })
            .collect()
    }

    #[test]
    fn need_is_rounded_up_and_never_overflows() {
        assert_eq!([0, 1, 10, 11].map(|n| need(Bytes(n)).0), [0, 2, 11, 13]);
        assert_eq!(need(Bytes(u64::MAX)).0, u64::MAX);
    }

    #[test]
    fn the_largest_goes_to_the_emptiest_and_names_break_ties() {
        let names = [name("a"), name("b"), name("c")];
        let assignment = assignment("x", &["s"], &["a", "b", "c"], 0);
        let list: Vec<_> = [(1, 100), (2, 300), (3, 200)].map(|(id, size)| repository(id, "s", size)).into();
        let numbers = Names::new(&names);
        let mut room = Room::new(&numbers);
        for storage in &names {
            room.add(storage, disk(10_000, 0), 1000, Bytes(0));
        }
        let mut placed = items(&list, &assignment);
        room.place(&mut placed, 1, &Homes::new(), 8);
        let got: Vec<_> = placed
            .iter()
            .map(|i| (i.repository.container.id, i.destination.and_then(|n| numbers.name(n)).map(StorageName::as_str)))
            .collect();
        assert_eq!(got, [(2, Some("a")), (3, Some("b")), (1, Some("c"))]);
    }

    #[test]
    fn what_fits_nowhere_is_left_and_smaller_ones_still_fit() {
        let to = name("a");
        let assignment = assignment("x", &["s"], &["a"], 0);
        let list: Vec<_> = [(1, 1000), (2, 100)].map(|(id, size)| repository(id, "s", size)).into();
        let numbers = Names::new([&to]);
        let mut room = Room::new(&numbers);
        room.add(&to, disk(1000, 0), 850, Bytes(0));
        let mut placed = items(&list, &assignment);
        room.place(&mut placed, 1, &Homes::new(), 8);
        assert_eq!(placed.iter().map(|i| i.destination.is_some()).collect::<Vec<_>>(), [false, true]);
        assert_eq!(room.free(&to), Bytes(850 - 110));
    }

    #[test]
    fn a_storage_over_its_ceiling_takes_not_even_an_empty_repository() {
        let to = name("a");
        let assignment = assignment("x", &["s"], &["a"], 0);
        let list = [repository(1, "s", 0)];
        let numbers = Names::new([&to]);
        let mut room = Room::new(&numbers);
        room.add(&to, disk(1000, 900), 850, Bytes(0));
        let mut placed = items(&list, &assignment);
        room.place(&mut placed, 1, &Homes::new(), 8);
        assert!(placed[0].destination.is_none());
        assert_eq!(room.free(&to), Bytes(0));
    }

    #[test]
    fn a_network_goes_together_where_it_fits_and_apart_where_it_does_not() {
        let names = [name("a"), name("b")];
        let assignment = assignment("x", &["s"], &["a", "b"], 0);
        let list: Vec<_> = [(1, 300), (2, 250), (3, 200), (4, 100)].map(|(id, size)| repository(id, "s", size)).into();
        let numbers = Names::new(&names);
        for (disk_size, expected) in [
            // 2 and 4 are one network of 350: the largest, then 1 and 3 onto the other disk.
            (1_000, [(2, Some(0)), (4, Some(0)), (1, Some(1)), (3, Some(1))]),
            // 385 fit nowhere: 2, 4, 1 and 3 one by one; for 3 nothing is left.
            (360, [(2, Some(0)), (4, Some(1)), (1, None), (3, Some(1))]),
        ] {
            let mut room = Room::new(&numbers);
            names.iter().for_each(|storage| room.add(storage, disk(disk_size, 0), 1000, Bytes(0)));
            let mut placed = items(&list, &assignment);
            for item in placed.iter_mut().filter(|item| item.repository.container.id.is_multiple_of(2)) {
                item.network = NonZeroU64::new(2);
            }
            room.place(&mut placed, 1, &Homes::new(), 8);
            let got: Vec<_> = placed.iter().map(|i| (i.repository.container.id, i.destination)).collect();
            assert_eq!(got, expected, "{disk_size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Law 8 in a plan, and networks: no storage goes above its ceiling, what is left out fits nowhere, and a network
        /// lies apart only where it fitted nowhere as a whole.
        #[test]
        fn nothing_crosses_a_ceiling_and_a_network_that_fits_is_not_split(
            sizes in prop::collection::vec((0u64..5_000, 0usize..3, 0u64..4), 1..60),
            disks in prop::collection::vec(1_000u64..30_000, 4),
        ) {
            let names = ["a", "b", "c", "d"].map(name);
            let sets = [
                assignment("x", &["s"], &["a", "b", "c", "d"], 0),
                assignment("y", &["s"], &["b", "c"], 0),
                assignment("z", &["s"], &["c", "d"], 0),
            ];
            let list: Vec<_> = (1..).zip(&sizes).map(|(id, (size, ..))| repository(id, "s", *size)).collect();
            let mut placed: Vec<_> = list.iter().zip(&sizes).map(|(repository, (_, set, network))| Item {
                repository,
                claimer: Claimer { assignment: &sets[*set], ordinal: 0, group: u32::try_from(*set).expect("few") },
                source: 0,
                destination: None,
                wave: 0,
                network: NonZeroU64::new(*network),
                bytes: repository.size.unwrap_or_default(),
                shared: Bytes(0),
            }).collect();
            let numbers = Names::new(&names);
            let mut room = Room::new(&numbers);
            for (storage, size) in names.iter().zip(&disks) {
                room.add(storage, disk(*size, 0), 850, Bytes(0));
            }
            room.place(&mut placed, 3, &Homes::new(), 8);
            let mut brought: BTreeMap<u32, u64> = BTreeMap::new();
            #[expect(clippy::type_complexity, reason = "by group and network: bytes and destinations")]
            let mut networks: BTreeMap<(u32, NonZeroU64), (u64, BTreeSet<Option<u32>>)> = BTreeMap::new();
            for item in &placed {
                let needed = need(item.bytes).0;
                if let Some(to) = item.destination {
                    *brought.entry(to).or_default() += needed;
                    let storage = numbers.name(to).expect("known");
                    prop_assert!(item.claimer.assignment.to.contains(storage));
                } else {
                    let free = item.claimer.assignment.to.iter().map(|to| room.free(to).0).max();
                    prop_assert!(free < Some(needed), "{needed} would fit");
                }
                if let Some(network) = item.network {
                    let (sum, ends) = networks.entry((item.claimer.group, network)).or_default();
                    *sum += needed;
                    ends.insert(item.destination);
                }
            }
            for (number, storage) in (0u32..).zip(&names) {
                let ceiling = disks[number as usize] * 850 / 1000;
                let brought = brought.get(&number).copied().unwrap_or(0);
                prop_assert!(brought <= ceiling, "{storage} is above its ceiling");
                prop_assert_eq!(room.free(storage).0, ceiling - brought);
            }
            // The largest of all is placed first: it cannot have been in want of room that others took.
            let all = placed.iter().filter(|item| item.network.is_none()).map(|item| need(item.bytes).0).max();
            let largest = networks.values().max_by_key(|(sum, _)| *sum);
            if let Some((sum, ends)) = largest.filter(|(sum, _)| Some(*sum) > all) {
                let widest = disks.iter().map(|size| size * 850 / 1000).min().unwrap_or(0);
                prop_assert!(ends.len() == 1 || *sum > widest, "a network that fits was split");
            }
        }
    }
}
