//! How long a plan may take: the lower bound of safe-migration §8, wave by wave, what binds it, and the read-only time
//! that users bear meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::freeze::Timing;
use super::placement::{Item, Names};
use super::waves::Waves;
use super::{Binding, Estimate};
use crate::model::{Container, Desired};

/// Slots that an operator is offered for each storage that binds: enough to be felt, few enough to be had.
const MORE_SLOTS: u64 = 2;

/// Estimates; items must be placed and sorted by waves, which run one after the other.
pub(super) fn estimate(
    items: &[Item<'_>],
    names: &Names<'_>,
    desired: &Desired,
    waves: &Waves,
    timing: &Timing,
) -> Estimate {
    let (mut freeze, mut longest) = (0u64, None);
    let (mut loads, mut soaks) = (Vec::new(), Vec::new());
    for wave in items.chunk_by(|a, b| a.wave == b.wave) {
        let mut load = Load::default();
        for item in wave {
            let Some(destination) = item.destination else { continue };
            let ms = timing.times.freeze_ms(item);
            freeze = freeze.saturating_add(ms);
            if longest.is_none_or(|(most, _)| most <= ms) {
                // The smallest id among equals, whatever the order.
                let this = (ms, Reverse(item.repository.container));
                longest = longest.max(Some(this));
            }
            load.add(item, destination, ms);
        }
        loads.push(load);
        let declared = wave.first().and_then(|first| waves.declared(first.wave, desired));
        soaks.push(declared.and_then(|wave| wave.soak_seconds).unwrap_or(desired.rollout.soak_seconds));
    }
    // Once so many holds were passed at once, nothing is watched any more.
    let watched = desired.rollout.calm.map_or(usize::MAX, |calm| calm as usize);
    let soak_seconds = soaks.iter().take(watched).fold(0u64, |sum, soak| sum.saturating_add(*soak));
    let limits = Limits { names, desired, more: BTreeSet::new() };
    let work = limits.all_ms(&loads);
    let seconds = work.div_ceil(1000);
    let binding = if soak_seconds > seconds { Some(Binding::Soak) } else { limits.binding(&loads, work) };
    Estimate {
        duration_seconds: seconds.saturating_add(soak_seconds),
        freeze_seconds: freeze.div_ceil(1000),
        longest_freeze_seconds: longest.map_or(0, |(ms, _)| ms.div_ceil(1000)),
        longest: longest.map(|(_, Reverse(container))| container),
        soak_seconds,
        binding,
        assumption: format!("{}, all slots busy; the wall-clock time is a lower bound", timing.durations.source()),
    }
}

/// Something that bounds a wave from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    /// Slots of a storage, by number.
    Slots(u32),
    Workers,
    /// What a storage reads or writes.
    Bandwidth(u32),
    One(Container),
    /// The last member of a fork network, off a storage.
    Network(NonZeroU64, u32),
}

/// The work of one wave, by what it needs; storages by number.
#[derive(Debug, Default)]
struct Load {
    /// Milliseconds and bytes off each source.
    sources: BTreeMap<u32, (u64, u64)>,
    destinations: BTreeMap<u32, (u64, u64)>,
    total: u64,
    longest: Option<(u64, Reverse<Container>)>,
    /// Of each network off each source: its members, the longest and the shortest of them.
    networks: BTreeMap<(NonZeroU64, u32), (u32, u64, u64)>,
}

impl Load {
    fn add(&mut self, item: &Item<'_>, destination: u32, ms: u64) {
        let bytes = item.bytes.0.saturating_add(item.shared.0);
        for sums in [self.sources.entry(item.source).or_default(), self.destinations.entry(destination).or_default()] {
            *sums = (sums.0.saturating_add(ms), sums.1.saturating_add(bytes));
        }
        self.total = self.total.saturating_add(ms);
        if self.longest.is_none_or(|(most, _)| most <= ms) {
            self.longest = self.longest.max(Some((ms, Reverse(item.repository.container))));
        }
        if let Some(network) = item.network {
            let (members, longest, shortest) = self.networks.entry((network, item.source)).or_insert((0, 0, u64::MAX));
            *members += 1;
            (*longest, *shortest) = (ms.max(*longest), ms.min(*shortest));
        }
    }
}

/// What storages and workers give, with some more of it to see what that saves.
struct Limits<'n, 'a> {
    names: &'n Names<'a>,
    desired: &'a Desired,
    more: BTreeSet<Term>,
}

impl Limits<'_, '_> {
    fn of(&self, number: u32) -> crate::model::Limits {
        let storage = self.names.name(number).and_then(|name| self.desired.storages.get(name));
        storage.map(|storage| storage.limits).unwrap_or_default()
    }

    fn slots(&self, number: u32) -> u64 {
        let more = if self.more.contains(&Term::Slots(number)) { MORE_SLOTS } else { 0 };
        u64::from(self.of(number).max_moves.max(1)) + more
    }

    fn workers(&self) -> u64 {
        let more = if self.more.contains(&Term::Workers) { MORE_SLOTS } else { 0 };
        u64::from(self.desired.max_moves.max(1)) + more
    }

    /// Bytes per second, if declared.
    fn bandwidth(&self, number: u32) -> Option<u64> {
        let given = self.of(number).bandwidth?.max(1);
        Some(if self.more.contains(&Term::Bandwidth(number)) { given.saturating_add(given / 2) } else { given })
    }

    /// All that bounds a wave, with its milliseconds.
    fn terms(&self, load: &Load) -> Vec<(Term, u64)> {
        let mut terms = Vec::new();
        for (number, (ms, bytes)) in load.sources.iter().chain(&load.destinations) {
            terms.push((Term::Slots(*number), ms.div_ceil(self.slots(*number))));
            if let Some(bandwidth) = self.bandwidth(*number) {
                let ms = u128::from(*bytes) * 1000 / u128::from(bandwidth);
                terms.push((Term::Bandwidth(*number), u64::try_from(ms).unwrap_or(u64::MAX)));
            }
        }
        terms.push((Term::Workers, load.total.div_ceil(self.workers())));
        terms.extend(load.longest.map(|(ms, Reverse(container))| (Term::One(container), ms)));
        // The last member begins when all others have ended; best, the shortest is that.
        let tails = load.networks.iter().filter(|(_, (members, ..))| *members > 1);
        terms.extend(tails.map(|((network, source), (_, longest, shortest))| {
            (Term::Network(*network, *source), longest.saturating_add(*shortest))
        }));
        terms
    }

    fn all_ms(&self, loads: &[Load]) -> u64 {
        let most = |load: &Load| self.terms(load).into_iter().map(|(_, ms)| ms).max().unwrap_or(0);
        loads.iter().fold(0, |sum: u64, load| sum.saturating_add(most(load)))
    }

    /// What bounds most of the time, and what a little more of it would save.
    fn binding(&self, loads: &[Load], work: u64) -> Option<Binding> {
        let mut bound: BTreeMap<Term, u64> = BTreeMap::new();
        for load in loads {
            let terms = self.terms(load);
            let most = terms.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
            // What is within a hundredth of it binds as soon as that is given more.
            let close = terms.into_iter().filter(|(_, ms)| *ms > 0 && *ms >= most - most / 100);
            close.for_each(|(term, ms)| *bound.entry(term).or_default() += ms);
        }
        let (first, most) = bound.iter().max_by_key(|(term, ms)| (**ms, Reverse(**term)))?;
        let name = |number: u32| self.names.name(number).cloned();
        let saved = |more: BTreeSet<Term>| {
            let with = Limits { names: self.names, desired: self.desired, more };
            work.saturating_sub(with.all_ms(loads)) / 1000
        };
        Some(match *first {
            Term::Slots(_) => {
                let same = bound.iter().filter(|(term, ms)| matches!(term, Term::Slots(_)) && **ms >= most / 2);
                let more: BTreeSet<Term> = same.map(|(term, _)| *term).collect();
                let number = |term: &Term| if let Term::Slots(number) = term { name(*number) } else { None };
                let storages = more.iter().filter_map(number).collect();
                Binding::Slots { storages, saves_seconds: saved(more) }
            }
            Term::Workers => Binding::Workers { saves_seconds: saved(BTreeSet::from([Term::Workers])) },
            Term::Bandwidth(number) => {
                let more = BTreeSet::from([Term::Bandwidth(number)]);
                Binding::Bandwidth { storage: name(number)?, saves_seconds: saved(more) }
            }
            Term::One(container) => Binding::Repository { container },
            Term::Network(network, source) => Binding::Network { network: network.get(), storage: name(source)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, wave};

    #[test]
    fn the_narrowest_slots_decide() {
        let mut world = World::drain(&[60_000_000; 16]);
        // 16 moves of 5 s: 4 slots at the source, 4 at the destination, 8 in all.
        let estimate = world.plan().estimate;
        assert_eq!((estimate.duration_seconds, estimate.freeze_seconds), (20, 80));
        assert_eq!((estimate.longest_freeze_seconds, estimate.longest.map(|c| c.id)), (5, Some(1)));
        world.desired("old").limits.max_moves = 16;
        world.desired("new").limits.max_moves = 16;
        assert_eq!(world.plan().estimate.duration_seconds, 10);
        world.desired.max_moves = 100;
        assert_eq!(world.plan().estimate.duration_seconds, 5);
        world.desired.rollout.waves = vec![wave("first", Some(1))];
        assert_eq!(world.plan().estimate.duration_seconds, 10);
    }

    fn bound(world: &World) -> (u64, Option<Binding>) {
        let estimate = world.plan().estimate;
        (estimate.duration_seconds, estimate.binding)
    }

    #[test]
    fn what_binds_is_named_with_what_more_of_it_saves() {
        use crate::plan::fixture::name;
        // 60 moves of 5 s: 300 s of work.
        let mut world = World::drain(&[60_000_000; 60]);
        let slots = |storages: &[&str], saves_seconds| {
            Some(Binding::Slots { storages: storages.iter().map(|text| name(text)).collect(), saves_seconds })
        };
        assert_eq!(bound(&world), (75, slots(&["new", "old"], 25)));
        world.desired("new").limits.max_moves = 8;
        assert_eq!(bound(&world), (75, slots(&["old"], 25)));
        world.desired("old").limits.max_moves = 30;
        world.desired("new").limits.max_moves = 30;
        assert_eq!(bound(&world), (38, Some(Binding::Workers { saves_seconds: 7 })));
        // 3.6 GB at 40 MB/s.
        world.desired("old").limits.bandwidth = Some(40_000_000);
        assert_eq!(bound(&world), (90, Some(Binding::Bandwidth { storage: name("old"), saves_seconds: 30 })));
        world.desired("old").limits.bandwidth = None;
        world.repositories("old", &[60_000_000_000]);
        let container = world.observed.repositories[60].container;
        assert_eq!(bound(&world), (1004, Some(Binding::Repository { container })));
        // Of a fork network, the last goes alone.
        world.observed.repositories[59].fork_parent = Some(61);
        assert_eq!(bound(&world), (1009, Some(Binding::Network { network: 60, storage: name("old") })));
        world.desired.rollout.soak_seconds = 2000;
        assert_eq!(bound(&world), (3009, Some(Binding::Soak)));
        assert_eq!(world.plan().estimate.soak_seconds, 2000);
    }

    #[test]
    fn watching_ends_when_it_has_been_calm() {
        let mut world = World::drain(&[1; 40]);
        let mut rest = wave("rest", None);
        (rest.batch, rest.growth) = (Some(10), 1);
        world.desired.rollout.waves = vec![rest];
        world.desired.rollout.soak_seconds = 600;
        assert_eq!(world.plan().estimate.soak_seconds, 4 * 600);
        world.desired.rollout.calm = Some(3);
        assert_eq!(world.plan().estimate.soak_seconds, 3 * 600);
        world.desired.rollout.waves[0].soak_seconds = Some(60);
        assert_eq!(world.plan().estimate.soak_seconds, 3 * 60);
    }

    #[test]
    fn nothing_to_move_takes_no_time() {
        let estimate = World::new(&["a"]).plan().estimate;
        assert_eq!((estimate.duration_seconds, estimate.freeze_seconds, estimate.longest), (0, 0, None));
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        assert!(crate::plan::durations::Fit::default().expected_ms(crate::model::Bytes(u64::MAX)) > 300_000_000_000);
    }
}
