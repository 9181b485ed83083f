//! Which destination a repository gets: largest first onto the storage with most free bytes below its ceiling,
//! fork networks together.
//! (LPT: at most 4/3 of the best possible fullest storage.) A storage's name decides between equals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::num::NonZeroU64;

use super::assign::Claimer;
use super::networks::{Homes, pool_need};
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

/// Free bytes below the ceiling of each storage; below 0 when it is over it already.
#[derive(Debug)]
pub(super) struct Room<'n, 'a> {
    names: &'n Names<'a>,
    /// By number; `None`: not known.
    free: Vec<Option<i128>>,
}

impl<'n, 'a> Room<'n, 'a> {
    /// Begins with no disk known.
    pub(super) fn new(names: &'n Names<'a>) -> Self {
        Self { names, free: vec![None; names.0.len()] }
    }

    /// Adds a storage whose disk is known.
    pub(super) fn add(&mut self, storage: &StorageName, disk: DiskSpace, ceiling_permille: u16) {
        if let Some(slot) = self.names.number(storage).and_then(|number| self.free.get_mut(number as usize)) {
            *slot = Some(ceiling(disk, ceiling_permille) - i128::from(disk.used.0));
        }
    }

    /// Takes room away, for a move that is under way already.
    pub(super) fn reserve(&mut self, storage: &StorageName, bytes: Bytes) {
        if let Some(number) = self.names.number(storage) {
            self.take(number, bytes);
        }
    }

    fn take(&mut self, number: u32, bytes: Bytes) {
        if let Some(Some(free)) = self.free.get_mut(number as usize) {
            *free -= i128::from(bytes.0);
        }
    }

    fn of(&self, number: u32) -> Option<i128> {
        self.free.get(number as usize).copied().flatten()
    }

    /// Free bytes below the ceiling; 0 when unknown or none.
    pub(super) fn free(&self, storage: &StorageName) -> Bytes {
        let free = self.names.number(storage).and_then(|number| self.of(number)).unwrap_or(0).max(0);
        Bytes(u64::try_from(free).unwrap_or(u64::MAX))
    }

    /// Places every item; those that fit nowhere are left without a destination. `groups` is the number of different
    /// sets of destinations. Repositories of one network that may go to the same storages go together, so that they
    /// can share objects there; a network that fits nowhere as a whole is placed one by one.
    ///
    /// A network goes where most of it is already, if it may. `at_once`: moves under way at most.
    pub(super) fn place(&mut self, items: &mut [Item<'_>], groups: usize, homes: &Homes, at_once: u32) {
        let mut sums: BTreeMap<(u32, NonZeroU64), u64> = BTreeMap::new();
        for item in &*items {
            if let Some(network) = item.network {
                let sum = sums.entry((item.claimer.group, network)).or_default();
                *sum = sum.saturating_add(item.bytes.0);
            }
        }
        items.sort_by_cached_key(|item| {
            let sum = item.network.and_then(|network| sums.get(&(item.claimer.group, network)));
            (Reverse(sum.map_or(item.bytes, |sum| Bytes(*sum))), item.claimer.group, item.network, item.largest_first())
        });
        let mut candidates: Vec<Option<Candidates>> = (0..groups).map(|_| None).collect();
        let together = |a: &Item<'_>, b: &Item<'_>| {
            a.network.is_some() && (a.claimer.group, a.network) == (b.claimer.group, b.network)
        };
        for unit in items.chunk_by_mut(together) {
            let Some(first) = unit.first() else { continue };
            let Some(slot) = candidates.get_mut(first.claimer.group as usize) else { continue };
            let heap = slot.get_or_insert_with(|| Candidates::new(&first.claimer.assignment.to, self));
            let own = unit.iter().fold(0u64, |sum, item| sum.saturating_add(need(item.bytes).0));
            let whole = Bytes(own.saturating_add(pools(unit, at_once)));
            let home = first.network.and_then(|network| self.home(homes.get(&network)?, &first.claimer.assignment.to));
            let fits = |number: &u32, needed: Bytes, room: &Self| {
                room.of(*number).is_some_and(|free| free >= i128::from(needed.0))
            };
            if let Some(best) = home.filter(|n| fits(n, whole, self)).or_else(|| self.best_for(heap, whole)) {
                unit.iter_mut().for_each(|item| item.destination = Some(best));
                self.take(best, whole);
                continue;
            }
            for item in unit {
                let needed = Bytes(need(item.bytes).0.saturating_add(pool_need(item.shared, 1, 1)));
                if let Some(best) = home.filter(|n| fits(n, needed, self)).or_else(|| self.best_for(heap, needed)) {
                    item.destination = Some(best);
                    self.take(best, needed);
                }
            }
        }
    }

    /// The storage of a set where most of a network is; the first of equals.
    fn home(&self, members: &BTreeMap<u32, u64>, to: &[StorageName]) -> Option<u32> {
        let numbers = to.iter().filter_map(|storage| self.names.number(storage));
        let there = numbers.filter_map(|number| Some((*members.get(&number)?, Reverse(number))));
        there.max().map(|(_, Reverse(number))| number)
    }

    /// The storage of a set with most room, if that is enough.
    fn best_for(&self, heap: &mut Candidates, needed: Bytes) -> Option<u32> {
        heap.best(self).filter(|(_, free)| *free >= i128::from(needed.0)).map(|(best, _)| best)
    }
}

/// What the pools of one network take on its destination; its members may come from several storages.
fn pools(unit: &[Item<'_>], at_once: u32) -> u64 {
    let mut sources: BTreeMap<u32, (Bytes, usize)> = BTreeMap::new();
    for item in unit.iter().filter(|item| item.shared.0 > 0) {
        sources.entry(item.source).or_insert((item.shared, 0)).1 += 1;
    }
    sources.values().fold(0, |sum: u64, (pool, members)| sum.saturating_add(pool_need(*pool, *members, at_once)))
}

/// A set's storages, the one with most room on top. Room only shrinks, so an entry that was overtaken is found out
/// when it comes to the top, and put back where it belongs now.
struct Candidates {
    heap: BinaryHeap<(i128, Reverse<u32>)>,
}

impl Candidates {
    fn new(to: &[StorageName], room: &Room<'_, '_>) -> Self {
        let known = to.iter().filter_map(|storage| {
            let number = room.names.number(storage)?;
            Some((room.of(number)?, Reverse(number)))
        });
        Self { heap: known.collect() }
    }

    fn best(&mut self, room: &Room<'_, '_>) -> Option<(u32, i128)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let now = room.of(top.1.0)?;
            if top.0 == now {
                return Some((top.1.0, now));
            }
            top.0 = now;
        }
    }
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
            room.add(storage, disk(10_000, 0), 1000);
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
        room.add(&to, disk(1000, 0), 850);
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
        room.add(&to, disk(1000, 900), 850);
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
            names.iter().for_each(|storage| room.add(storage, disk(disk_size, 0), 1000));
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

        /// The lazy heap gives what a plain search of all storages gives, with several overlapping sets.
        #[test]
        fn the_heap_agrees_with_a_plain_search(
            sizes in prop::collection::vec((0u64..5_000, 0usize..3), 1..60),
            disks in prop::collection::vec(1_000u64..30_000, 4),
        ) {
            let names = ["a", "b", "c", "d"].map(name);
            let sets = [
                assignment("x", &["s"], &["a", "b", "c", "d"], 0),
                assignment("y", &["s"], &["b", "c"], 0),
                assignment("z", &["s"], &["c", "d"], 0),
            ];
            let list: Vec<_> = (1..).zip(&sizes).map(|(id, (size, _))| repository(id, "s", *size)).collect();
            let mut placed: Vec<_> = list.iter().zip(&sizes).map(|(repository, (_, set))| Item {
                repository,
                claimer: Claimer { assignment: &sets[*set], ordinal: 0, group: u32::try_from(*set).expect("few") },
                source: 0,
                destination: None,
                wave: 0,
                network: None,
                bytes: repository.size.unwrap_or_default(),
                shared: Bytes(0),
            }).collect();
            let numbers = Names::new(&names);
            let mut room = Room::new(&numbers);
            let mut plain: BTreeMap<&StorageName, i128> = BTreeMap::new();
            for (storage, size) in names.iter().zip(&disks) {
                room.add(storage, disk(*size, 0), 850);
                plain.insert(storage, i128::from(*size) * 850 / 1000);
            }
            room.place(&mut placed, 3, &Homes::new(), 8);
            for item in &placed {
                let needed = i128::from(need(item.bytes).0);
                let best = item.claimer.assignment.to.iter().max_by_key(|s| (plain[s], Reverse(*s))).expect("some");
                let expected = (plain[best] >= needed).then_some(best);
                prop_assert_eq!(item.destination.and_then(|n| numbers.name(n)), expected);
                if let Some(best) = expected {
                    *plain.get_mut(best).expect("known") -= needed;
                }
            }
            for (storage, free) in &plain {
                prop_assert!(*free >= 0, "{} is above its ceiling", storage);
            }
        }
    }
}
