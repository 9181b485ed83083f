//! What new repositories bring to storages while a plan is carried out: room that is not there for moves.

use std::collections::BTreeMap;

use super::durations::Durations;
use super::placement::{Item, Names};
use crate::model::{Bytes, Desired, Hours, Observed, StorageName, Weight};

/// New repositories are looked for that far back, seconds: long enough for a weekend not to count.
const LOOK_BACK: i64 = 30 * 24 * 3600;

/// Minutes of a week.
const WEEK: u64 = 7 * 24 * 60;

/// Bytes that come to each storage by new repositories until the moves have ended: as many a second as in the last 30
/// days, shared out by the weights after the plan. Storages without any are left out.
pub(super) fn expected<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    durations: &Durations,
    names: &Names<'_>,
    items: &[Item<'_>],
) -> BTreeMap<&'a StorageName, Bytes> {
    let since = observed.as_of.as_second().saturating_sub(LOOK_BACK);
    let recent = observed.repositories.iter().filter(|one| one.created.is_some_and(|created| created >= since));
    let came = recent.fold(0u64, |sum, one| sum.saturating_add(one.size.unwrap_or_default().0));
    if came == 0 || items.is_empty() {
        return BTreeMap::new();
    }
    let milliseconds = lasts_ms(desired, durations, names, items);
    let after: BTreeMap<&StorageName, u64> = desired
        .storages
        .iter()
        .filter_map(|(name, storage)| {
            let now = observed.gitlab.weights.get(name).copied().unwrap_or(Weight::ZERO);
            let after = if storage.drain { Weight::ZERO } else { storage.weight.unwrap_or(now) };
            (after > Weight::ZERO).then(|| (name, u64::from(after.get())))
        })
        .collect();
    let others = observed.gitlab.weights.iter().filter(|(name, _)| !desired.storages.contains_key(*name));
    let all: u64 = after.values().sum::<u64>() + others.map(|(_, weight)| u64::from(weight.get())).sum::<u64>();
    let share = |weight: u64| {
        let bytes = u128::from(came) * u128::from(milliseconds) * u128::from(weight)
            / (u128::from(LOOK_BACK.unsigned_abs()) * 1000 * u128::from(all.max(1)));
        Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    };
    after.into_iter().map(|(name, weight)| (name, share(weight))).filter(|(_, bytes)| bytes.0 > 0).collect()
}

/// Milliseconds that the plan may last, before it is known where each repository goes: the work of the busiest source, or of
/// all, by the slots for it, within the window's hours; and what is watched meanwhile.
fn lasts_ms(desired: &Desired, durations: &Durations, names: &Names<'_>, items: &[Item<'_>]) -> u64 {
    let mut work: BTreeMap<u32, u64> = BTreeMap::new();
    for item in items {
        let copied = Bytes(item.bytes.0.saturating_add(item.shared.0));
        let of = work.entry(item.source).or_default();
        *of = of.saturating_add(durations.overall.expected_ms(copied));
    }
    let slots = |storage: u32| {
        let limits = names.name(storage).and_then(|name| desired.storages.get(name)).map(|s| s.limits);
        limits.map_or(desired.max_moves, |limits| limits.max_moves)
    };
    let all = work.values().fold(0u64, |sum, ms| sum.saturating_add(*ms)) / u64::from(desired.max_moves.max(1));
    let longest = work.iter().map(|(storage, ms)| ms / u64::from(slots(*storage).max(1))).fold(all, u64::max);
    let rollout = &desired.rollout;
    let open = rollout
        .window
        .as_ref()
        .and_then(|name| desired.windows.get(name))
        .map_or(WEEK, |window| open_minutes(&window.hours));
    let stretched = u128::from(longest) * u128::from(WEEK) / u128::from(open.clamp(1, WEEK));
    let holds = (rollout.waves.len() + 1 + rollout.ramp.len()) as u64;
    let soaks = holds.saturating_mul(rollout.soak_seconds).saturating_mul(1000);
    u64::try_from(stretched).unwrap_or(u64::MAX).saturating_add(soaks)
}

/// Minutes of a week that a window is open.
fn open_minutes(hours: &Hours) -> u64 {
    let (start, end) = (u64::from(hours.start), u64::from(hours.end));
    let length = if end > start { end - start } else { 24 * 60 + end - start };
    length * hours.days.len() as u64
}

#[cfg(test)]
mod tests {
    use crate::model::Bytes;
    use crate::plan::fixture::{GIB, World, weight};

    #[test]
    fn what_came_lately_comes_again_by_weight_and_takes_room() {
        // 30 moves of 1 GB and more keep the 4 slots of their source busy for 155 s; 30 GB came in 30 days, all of them to
        // `new` from now on.
        let mut world = World::drain(&[1_000_000_000; 30]);
        assert_eq!(world.plan().storages.values().map(|s| s.growth).max(), Some(Bytes(0)));
        let now = world.observed.as_of.as_second();
        world.observed.repositories.iter_mut().for_each(|one| one.created = Some(now - 3600));
        let growth =
            |world: &World| world.plan().storages.iter().map(|(n, s)| (n.to_string(), s.growth.0)).collect::<Vec<_>>();
        assert_eq!(growth(&world), [("new".to_owned(), 1_793_923), ("old".to_owned(), 0)]);
        world.storage("third", 0);
        world.desired("third").weight = Some(weight(100));
        assert_eq!(growth(&world).last(), Some(&("third".to_owned(), 896_961)));
        // It counts against the ceiling.
        world.facts("new").disk =
            crate::model::Reading::Known(crate::model::DiskSpace { available: Bytes(33 * GIB), used: Bytes(0) });
        world.desired("new").limits.disk_ceiling_permille = 1000;
        let room = &world.plan().storages[&crate::plan::fixture::name("new")];
        assert!(room.incoming.0 + room.growth.0 <= 33 * GIB, "{room:?}");
    }
}
