//! How long a plan may take: the lower bound of safe-migration §8, wave by wave, what binds it, and the read-only time
//! that users bear meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use jiff::Timestamp;

use super::freeze::Timing;
use super::placement::{Item, Names};
use super::waves::Waves;
use super::window::{Window, after};
use super::{Action, After, Binding, Calm, Change, Estimate};
use crate::model::{Container, Desired};

/// Slots that an operator is offered for each storage that binds: enough to be felt, few enough to be had.
const MORE_SLOTS: u64 = 2;

/// What the clock on the wall adds to the work.
pub(super) struct Clock<'c> {
    /// When the fleet was read.
    pub(super) now: Timestamp,
    /// In order.
    pub(super) actions: &'c [Action],
    /// The window of a wave, by the wave's name.
    pub(super) window: &'c dyn Fn(&str) -> Option<Window>,
    /// Days that the freeze budget makes the moves take at least.
    pub(super) days: u64,
}

impl Clock<'_> {
    /// Seconds of watching: before the first wave, and after each wave, by its name.
    fn watching(&self) -> (u64, BTreeMap<&str, u64>) {
        let (mut before, mut after_waves, mut left) = (0u64, BTreeMap::new(), usize::MAX);
        for action in self.actions {
            let Change::Hold { after, soak_seconds, calm, .. } = &action.change else { continue };
            if let Some(Calm { after, so_far }) = calm {
                // Once so many holds were passed at once, nothing is watched any more.
                left = left.min((*after as usize).saturating_sub(*so_far as usize));
            }
            if left == 0 {
                break;
            }
            left -= 1;
            match after {
                After::Ramp { .. } => before = before.saturating_add(*soak_seconds),
                After::Wave { wave } => drop(after_waves.insert(wave.as_str(), *soak_seconds)),
            }
        }
        (before, after_waves)
    }

    /// Seconds until the last wave has ended and been watched, with nothing begun outside of its window.
    fn elapsed(&self, waves: &[(&str, u64)]) -> u64 {
        let (before, watching) = self.watching();
        let mut at = after(self.now, before.saturating_mul(1000));
        for (name, ms) in waves {
            let end = match (self.window)(name) {
                Some(window) => window.worked(at, *ms),
                None => Some(after(at, *ms)),
            };
            // A window that never opens is an error of its own.
            at = end.unwrap_or_else(|| after(at, *ms));
            at = after(at, watching.get(name).copied().unwrap_or(0).saturating_mul(1000));
        }
        let by_days = self.days.saturating_sub(1).saturating_mul(24 * 60 * 60);
        at.duration_since(self.now).as_secs().max(0).unsigned_abs().max(by_days)
    }
}

/// Estimates; items must be placed and sorted by waves, which run one after the other.
pub(super) fn estimate(
    items: &[Item<'_>],
    names: &Names<'_>,
    desired: &Desired,
    waves: &Waves,
    timing: &Timing,
    clock: &Clock<'_>,
) -> Estimate {
    let (mut freeze, mut longest) = (0u64, None);
    let (mut loads, mut of) = (Vec::new(), Vec::new());
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
        of.push(wave.first().map_or("", |first| waves.name(first.wave)));
    }
    let limits = Limits { names, desired, more: BTreeSet::new() };
    let times: Vec<(&str, u64)> = of.into_iter().zip(loads.iter().map(|load| limits.most_ms(load))).collect();
    let work = times.iter().fold(0u64, |sum, (_, ms)| sum.saturating_add(*ms));
    let seconds = work.div_ceil(1000);
    let (before, watching) = clock.watching();
    let soak_seconds = watching.into_values().fold(before, u64::saturating_add);
    let binding = if soak_seconds > seconds { Some(Binding::Soak) } else { limits.binding(&loads, work) };
    let duration_seconds = seconds.saturating_add(soak_seconds);
    let elapsed = if items.is_empty() { 0 } else { clock.elapsed(&times) };
    Estimate {
        duration_seconds,
        elapsed_seconds: (elapsed > duration_seconds).then_some(elapsed),
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

    fn most_ms(&self, load: &Load) -> u64 {
        self.terms(load).into_iter().map(|(_, ms)| ms).max().unwrap_or(0)
    }

    fn all_ms(&self, loads: &[Load]) -> u64 {
        loads.iter().fold(0, |sum: u64, load| sum.saturating_add(self.most_ms(load)))
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
        assert_eq!(world.plan().estimate.soak_seconds, 0, "nothing comes after the only wave");
        world.desired.rollout.waves = vec![wave("first", Some(1))];
        let estimate = world.plan().estimate;
        assert_eq!((estimate.soak_seconds, estimate.binding), (2000, Some(Binding::Soak)));
    }

    #[test]
    fn what_is_watched_is_counted_as_the_holds_have_it() {
        let mut world = World::drain(&[1; 40]);
        let mut rest = wave("rest", None);
        (rest.batch, rest.growth) = (Some(10), 1);
        world.desired.rollout.waves = vec![rest];
        world.desired.rollout.soak_seconds = 600;
        assert_eq!(world.plan().estimate.soak_seconds, 3 * 600, "between four batches");
        world.desired.rollout.calm = Some(2);
        assert_eq!(world.plan().estimate.soak_seconds, 3 * 600, "calm is what gates say, and there is none");
        world.desired.rollout.waves[0].soak_seconds = Some(60);
        assert_eq!(world.plan().estimate.soak_seconds, 3 * 60);
    }

    #[test]
    fn windows_and_the_days_of_a_budget_are_waited_for() {
        use crate::model::{Hours, Window};
        let mut world = World::drain(&[60_000_000; 60]);
        // 75 s of work.
        assert_eq!(world.plan().estimate.elapsed_seconds, None);
        let hours = Hours { days: (0..7).collect(), start: 60, end: 61, timezone: "UTC".into() };
        let span = world.desired.storages[&crate::plan::fixture::name("old")].span;
        world.desired.windows.insert("minute".into(), Window { name: "minute".into(), hours, span });
        world.desired.rollout.window = Some("minute".into());
        let estimate = world.plan().estimate;
        let midnight = world.observed.as_of.as_second().rem_euclid(86_400);
        let first = (3600 - midnight).rem_euclid(86_400).unsigned_abs();
        assert_eq!((estimate.duration_seconds, estimate.elapsed_seconds), (75, Some(first + 86_400 + 15)));
        world.desired.rollout.window = None;
        // One group, 300 s of freeze.
        world.desired.freeze.per_day = Some(100);
        let plan = world.plan();
        assert_eq!((plan.freeze.forecast.days, plan.estimate.elapsed_seconds), (3, Some(2 * 86_400)));
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
