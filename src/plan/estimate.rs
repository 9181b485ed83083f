//! How long a plan may take: the lower bound of safe-migration §8, wave by wave, and the read-only time that users
//! bear meanwhile.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Estimate;
use super::freeze::Timing;
use super::placement::{Item, Names};
use crate::model::Desired;

/// Estimates; items must be placed and sorted by waves, which run one after the other.
pub(super) fn estimate(items: &[Item<'_>], names: &Names<'_>, desired: &Desired, timing: &Timing) -> Estimate {
    let (mut freeze, mut longest, mut duration) = (0u64, None, 0u64);
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
            load.add(item.source, destination, ms);
        }
        duration = duration.saturating_add(load.bound_ms(names, desired));
    }
    Estimate {
        duration_seconds: duration.div_ceil(1000),
        freeze_seconds: freeze.div_ceil(1000),
        longest_freeze_seconds: longest.map_or(0, |(ms, _)| ms.div_ceil(1000)),
        longest: longest.map(|(_, Reverse(container))| container),
        assumption: format!("{}, all slots busy; the wall-clock time is a lower bound", timing.durations.source()),
    }
}

/// The work of one wave, by the slots that it needs; storages by number.
#[derive(Debug, Default)]
struct Load {
    sources: BTreeMap<u32, u64>,
    destinations: BTreeMap<u32, u64>,
    total: u64,
    longest: u64,
}

impl Load {
    fn add(&mut self, source: u32, destination: u32, ms: u64) {
        for sum in [
            self.sources.entry(source).or_default(),
            self.destinations.entry(destination).or_default(),
            &mut self.total,
        ] {
            *sum = sum.saturating_add(ms);
        }
        self.longest = self.longest.max(ms);
    }

    fn bound_ms(&self, names: &Names<'_>, desired: &Desired) -> u64 {
        let slots = |number: u32| {
            let storage = names.name(number).and_then(|name| desired.storages.get(name));
            u64::from(storage.map(|s| s.limits).unwrap_or_default().max_moves.max(1))
        };
        let sides = self.sources.iter().chain(&self.destinations).map(|(number, ms)| ms.div_ceil(slots(*number)));
        let whole = self.total.div_ceil(u64::from(desired.max_moves.max(1)));
        sides.chain([whole, self.longest]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
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
