//! Which wave a move belongs to: the first of the rollout that selects the repository; what none selects forms a
//! last wave. A sample is drawn by a threshold on a seeded hash of the id for each stratum (kind and size), and a wave
//! with batches is cut at thresholds on such a hash. Thresholds are fixed when first planned and recorded with the wave,
//! so that what was begun keeps its members: those that have moved leave gaps, and shift nobody.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::MoveOrder;
use super::assign::{Claims, Faults};
use super::placement::Item;
use crate::expr::Truth;
use crate::model::{Bytes, Container, ContainerKind, Desired, Wave};
use crate::state::State;

/// The name of the wave of what no wave selects.
const REST: &str = "rest";

/// Batches of one wave; the last takes all that is left. Each is an action of every source, and a person reads them.
const MOST_BATCHES: u64 = 100;

/// A batch's number stands above the wave's while waves are sorted.
const BATCH_SHIFT: u32 = 16;

/// Kind and size of a repository: a sample is drawn from all of them alike.
type Stratum = (char, u8);

/// Where a stratum's sizes end, in bytes; 0 for what is empty. Far apart, so that few repositories grow from one into
/// the next while a sample is under way.
const SIZES: [u64; 5] = [0, 1 << 20, 1 << 25, 1 << 30, 1 << 35];

/// The plan's waves by position, and the thresholds of samples and batches.
#[derive(Debug)]
pub(super) struct Waves {
    waves: Vec<One>,
    /// Wave name → thresholds: `16 hex digits` for all, or several parts, `p2:16 hex digits` for a stratum and
    /// `to:16 hex digits` for the end of a batch.
    pub(super) samples: BTreeMap<String, String>,
}

/// One wave, or one batch of it.
#[derive(Debug)]
struct One {
    name: String,
    /// The name in the configuration, where this is a batch.
    declared: Option<String>,
    order: MoveOrder,
}

impl Waves {
    /// The wave's name at a position.
    pub(super) fn name(&self, position: u32) -> &str {
        self.waves.get(position as usize).map_or(REST, |one| &one.name)
    }

    /// All names that a selection may give to the wave at a position: its own, and that of the wave it is a batch of.
    pub(super) fn names(&self, position: u32) -> impl Iterator<Item = &str> {
        let declared = self.waves.get(position as usize).and_then(|one| one.declared.as_deref());
        std::iter::once(self.name(position)).chain(declared)
    }

    /// Which of its moves goes next.
    pub(super) fn order(&self, position: u32) -> MoveOrder {
        self.waves.get(position as usize).map(|one| one.order).unwrap_or_default()
    }

    /// Sorts placed items into waves.
    pub(super) fn sort<'a>(
        items: &mut [Item<'a>],
        desired: &'a Desired,
        state: &State,
        claims: &Claims<'a>,
        faults: &mut Faults<'a>,
    ) -> Self {
        let waves = &desired.rollout.waves;
        let last = u32::try_from(waves.len()).unwrap_or(u32::MAX);
        items.iter_mut().for_each(|item| item.wave = last);
        let mut sorted = Self { waves: Vec::new(), samples: BTreeMap::new() };
        let mut batches: BTreeMap<u32, u32> = BTreeMap::new();
        for (position, wave) in (0u32..).zip(waves) {
            let draw = Draw::new(&desired.environment, &wave.name);
            let drawn = wave.sample.is_some() || wave.batch.is_some();
            let mut members: Vec<(u64, &mut Item<'a>)> = Vec::new();
            for item in items.iter_mut().filter(|item| item.wave == last) {
                let row = claims.row(item.repository, &item.repository.storage);
                match wave.filter.test(&row) {
                    Ok(Truth::True) if !drawn => item.wave = position,
                    Ok(Truth::True) => members.push((draw.of(item.repository.container), item)),
                    // Not known to be in this wave: a later one, in the end the last, takes it.
                    Ok(Truth::False | Truth::Unknown) => {}
                    Err(error) => faults.failure(&format!("wave.{}", wave.name), item.repository, *error),
                }
            }
            if let Some(wanted) = wave.sample {
                let name = if wave.batch.is_some() { batch_name(desired, wave, 1) } else { wave.name.clone() };
                let chosen = sample(wanted, recorded(state, &name), &mut members);
                if let Some(text) = chosen {
                    sorted.samples.insert(wave.name.clone(), text);
                }
            }
            let ends = wave.batch.map(|size| ends(size, wave, desired, state, &mut members)).unwrap_or_default();
            for (hash, item) in &mut members {
                let batch = u32::try_from(ends.partition_point(|end| end < hash)).unwrap_or(u32::MAX);
                item.wave = position | batch << BATCH_SHIFT;
            }
            if wave.batch.is_some() {
                let number = u32::try_from(ends.len()).unwrap_or(u32::MAX).max(1);
                batches.insert(position, number);
                let strata = sorted.samples.remove(&wave.name);
                for (number, end) in (1u64..).zip(&ends) {
                    let end = format!("to:{end:016x}");
                    let text = strata.as_ref().map_or_else(|| end.clone(), |strata| format!("{strata} {end}"));
                    sorted.samples.insert(batch_name(desired, wave, number), text);
                }
            }
        }
        let first = sorted.name_all(desired, &batches);
        for item in items.iter_mut() {
            let (position, batch) = (item.wave & ((1 << BATCH_SHIFT) - 1), item.wave >> BATCH_SHIFT);
            item.wave = first.get(position as usize).map_or(u32::MAX, |first| first + batch);
        }
        sorted
    }

    /// Numbers waves and batches in one row; gives the position of each declared wave's first.
    fn name_all(&mut self, desired: &Desired, batches: &BTreeMap<u32, u32>) -> Vec<u32> {
        let mut first = Vec::new();
        let position = |this: &Self| u32::try_from(this.waves.len()).unwrap_or(u32::MAX);
        for (place, wave) in desired.rollout.waves.iter().enumerate() {
            first.push(position(self));
            // What is tried out shows its faults where they hurt least; what is only long takes the shortest way.
            let tried = wave.sample.is_some();
            let order = |tried| if tried { MoveOrder::SmallFirst } else { MoveOrder::TwoEnded };
            let number = u32::try_from(place).ok().and_then(|place| batches.get(&place)).copied();
            let Some(number) = number else {
                let name = wave.name.clone();
                self.waves.push(One { name, declared: None, order: order(tried) });
                continue;
            };
            for batch in 1..=number {
                self.waves.push(One {
                    name: batch_name(desired, wave, u64::from(batch)),
                    declared: Some(wave.name.clone()),
                    order: order(tried || batch < number),
                });
            }
        }
        first.push(position(self));
        let name = rest_name(desired);
        self.waves.push(One { name, declared: None, order: MoveOrder::TwoEnded });
        first
    }
}

/// The names that waves may have, batches among them: the rollout's, then that of what no wave selects.
pub(super) fn wave_names(desired: &Desired) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for wave in &desired.rollout.waves {
        names.push(wave.name.clone());
        if wave.batch.is_some() {
            names.extend((1..=MOST_BATCHES).map(|number| batch_name(desired, wave, number)));
        }
    }
    names.push(rest_name(desired));
    names
}

/// The declared wave that a name is of, or of one of whose batches.
pub(super) fn wave_of<'d>(desired: &'d Desired, name: &str) -> Option<&'d Wave> {
    let is_batch = |wave: &Wave| {
        wave.batch.is_some() && (1..=MOST_BATCHES).any(|number| batch_name(desired, wave, number) == name)
    };
    let waves = &desired.rollout.waves;
    waves.iter().find(|wave| wave.name == name).or_else(|| waves.iter().find(|wave| is_batch(wave)))
}

/// The name of what no wave selects, which is no other wave's.
fn rest_name(desired: &Desired) -> String {
    let taken = |name: &str| desired.rollout.waves.iter().any(|wave| wave.name == name || is_batch(wave, name));
    let mut name = REST.to_owned();
    let mut number = 1;
    while taken(&name) {
        number += 1;
        name = format!("{REST}-{number}");
        // Beside batches that are called so.
        if number > MOST_BATCHES {
            name = format!("{REST}-of-all-{number}");
        }
    }
    name
}

/// True when a batch of the wave may have this name.
fn is_batch(wave: &Wave, name: &str) -> bool {
    let number = name.strip_prefix(wave.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
    wave.batch.is_some()
        && number.and_then(|number| number.parse().ok()).is_some_and(|number: u64| number <= MOST_BATCHES)
}

/// The name of a wave's batch, from 1: `rest-1`, or `rest-batch-1` where another wave is called that.
fn batch_name(desired: &Desired, wave: &Wave, number: u64) -> String {
    let name = format!("{}-{number}", wave.name);
    let taken = desired.rollout.waves.iter().any(|other| other.name == name);
    if taken { format!("{}-batch-{number}", wave.name) } else { name }
}

/// What was recorded of a wave.
fn recorded<'s>(state: &'s State, name: &str) -> Option<&'s str> {
    state.wave(name)?.sample_threshold.as_deref()
}

/// The part of recorded thresholds that stands after a key; a text without keys is one for all.
fn part(text: &str, key: &str) -> Option<u64> {
    let value = text.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix(':'));
    let value = value.or_else(|| (!text.contains(':')).then_some(text))?;
    u64::from_str_radix(value, 16).ok()
}

/// Keeps the members that a sample takes, and gives its thresholds; `None` when there was nothing to draw from.
///
/// Every stratum gives as many as every other, or all it has: a corner that has three is seen whole, and what is
/// usual is not seen three hundred times.
fn sample(wanted: u64, recorded: Option<&str>, members: &mut Vec<(u64, &mut Item<'_>)>) -> Option<String> {
    if members.is_empty() {
        return None;
    }
    let mut thresholds: BTreeMap<Stratum, u64> = BTreeMap::new();
    if let Some(text) = recorded {
        for (_, item) in members.iter() {
            let stratum = stratum(item);
            if let Some(threshold) = part(text, &format!("{}{}", stratum.0, stratum.1)) {
                thresholds.insert(stratum, threshold);
            }
        }
        members.retain(|(hash, item)| thresholds.get(&stratum(item)).is_some_and(|threshold| hash <= threshold));
        return Some(text.to_owned());
    }
    let mut strata: BTreeMap<Stratum, Vec<u64>> = BTreeMap::new();
    for (hash, item) in members.iter() {
        strata.entry(stratum(item)).or_default().push(*hash);
    }
    let mut order: Vec<(&Stratum, &mut Vec<u64>)> = strata.iter_mut().collect();
    order.sort_by_key(|(stratum, hashes)| (hashes.len(), **stratum));
    let mut left = usize::try_from(wanted).unwrap_or(usize::MAX);
    let number = order.len();
    for (n, (stratum, hashes)) in order.into_iter().enumerate() {
        let quota = hashes.len().min(left / (number - n));
        left -= quota;
        if let Some(last) = quota.checked_sub(1) {
            thresholds.insert(*stratum, *hashes.select_nth_unstable(last).1);
        }
    }
    members.retain(|(hash, item)| thresholds.get(&stratum(item)).is_some_and(|threshold| hash <= threshold));
    let parts = thresholds.iter().map(|((kind, size), threshold)| format!("{kind}{size}:{threshold:016x}"));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn stratum(item: &Item<'_>) -> Stratum {
    let kind = match item.repository.container.kind {
        // Members of a fork network bring a pool along.
        ContainerKind::Project if item.network.is_some() => 'f',
        ContainerKind::Project => 'p',
        ContainerKind::Snippet => 's',
        ContainerKind::GroupWiki => 'w',
    };
    let Bytes(bytes) = item.bytes;
    (kind, u8::try_from(SIZES.partition_point(|end| *end < bytes)).unwrap_or(u8::MAX))
}

/// Where the batches of a wave end, by the members' hashes: as recorded for those that were begun, then so that each
/// that is left has `growth` times the members of the one before.
fn ends(size: u64, wave: &Wave, desired: &Desired, state: &State, members: &mut [(u64, &mut Item<'_>)]) -> Vec<u64> {
    let mut ends: Vec<u64> = Vec::new();
    while let Some(end) =
        recorded(state, &batch_name(desired, wave, ends.len() as u64 + 1)).and_then(|text| part(text, "to"))
    {
        if ends.len() as u64 >= MOST_BATCHES || ends.last().is_some_and(|before| end <= *before) {
            break;
        }
        ends.push(end);
    }
    let begun = ends.last().copied();
    let mut left: Vec<u64> = members.iter().map(|(hash, _)| *hash).filter(|hash| Some(*hash) > begun).collect();
    left.sort_unstable();
    let mut next = (0..ends.len()).fold(size.max(1), |size, _| size.saturating_mul(u64::from(wave.growth)));
    let mut taken = 0usize;
    while taken < left.len() {
        let last = ends.len() as u64 + 1 >= MOST_BATCHES;
        let number = if last { usize::MAX } else { usize::try_from(next).unwrap_or(usize::MAX) };
        taken = taken.saturating_add(number).min(left.len());
        ends.extend(taken.checked_sub(1).and_then(|at| left.get(at)));
        next = next.saturating_mul(u64::from(wave.growth));
    }
    // The 100th of those that were begun takes what came since, too.
    if ends.len() as u64 >= MOST_BATCHES
        && let Some(end) = ends.last_mut()
    {
        *end = u64::MAX;
    }
    ends
}

/// Draws the hash that decides whether a sample or a batch has a repository: the same for everybody, in any order.
struct Draw(Sha256);

impl Draw {
    fn new(environment: &str, wave: &str) -> Self {
        let mut hash = Sha256::new();
        [environment, wave].iter().for_each(|part| feed(&mut hash, part));
        Self(hash)
    }

    fn of(&self, container: Container) -> u64 {
        let mut hash = self.0.clone();
        feed(&mut hash, &container.to_string());
        hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn feed(hash: &mut Sha256, part: &str) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use crate::plan::Change;
    use crate::plan::fixture::{World, wave};

    fn waves(world: &World) -> Vec<(String, u32, u32)> {
        let plan = world.plan();
        let wave = |change: &Change| match change {
            Change::Moves { wave, position, count, .. } => Some((wave.clone(), *position, *count)),
            _ => None,
        };
        plan.actions.iter().filter_map(|a| wave(&a.change)).collect()
    }

    #[test]
    fn without_a_rollout_there_is_one_wave() {
        assert_eq!(waves(&World::drain(&[1; 4])), [("rest".to_owned(), 0, 4)]);
    }

    #[test]
    fn a_sample_takes_its_number_and_the_rest_goes_last() {
        let mut world = World::drain(&[1; 20]);
        world.desired.rollout.waves = vec![wave("sample", Some(3))];
        assert_eq!(waves(&world), [("sample".to_owned(), 0, 3), ("rest".to_owned(), 1, 17)]);
        world.desired.rollout.waves.push(wave("rest", None));
        assert_eq!(waves(&world), [("sample".to_owned(), 0, 3), ("rest".to_owned(), 1, 17)]);
        world.desired.rollout.waves = vec![wave("sample", Some(0))];
        assert_eq!(waves(&world), [("rest".to_owned(), 1, 20)]);
        world.desired.rollout.waves = vec![wave("sample", Some(30))];
        assert_eq!(waves(&world), [("sample".to_owned(), 0, 20)]);
    }

    #[test]
    fn a_last_wave_that_is_not_the_configurations_rest_has_its_own_name() {
        let mut world = World::drain(&[1; 9]);
        world.desired.rollout.waves = vec![wave("rest", Some(3))];
        assert_eq!(waves(&world), [("rest".to_owned(), 0, 3), ("rest-2".to_owned(), 1, 6)]);
    }

    fn batches(world: &World) -> Vec<(String, Vec<u64>)> {
        let plan = world.plan();
        let wave = |action: &crate::plan::Action| match &action.change {
            Change::Moves { wave, .. } => {
                let mut ids: Vec<u64> = plan.moves_of(action).iter().map(|m| m.container.id).collect();
                ids.sort_unstable();
                Some((wave.clone(), ids))
            }
            _ => None,
        };
        plan.actions.iter().filter_map(wave).collect()
    }

    /// Carries out some of a plan: these moves, and the waves with them are recorded as begun.
    fn carry_out(world: &mut World, moves: &[u64], begun: &[&str]) {
        let plan = world.plan();
        for one in &mut world.observed.repositories {
            if moves.contains(&one.container.id) {
                one.storage = crate::plan::fixture::name("new");
            }
        }
        for wave in begun {
            let record =
                crate::state::WaveRecord { sample_threshold: Some(plan.samples[*wave].clone()), ends_due: false };
            let address = crate::model::Address::new("wave", *wave);
            world.state.records.insert(address, crate::state::Record::Wave(record));
        }
    }

    #[test]
    fn batches_grow_and_cover_the_wave() {
        let mut world = World::drain(&[1; 50]);
        let mut rest = wave("rest", None);
        (rest.batch, rest.growth) = (Some(4), 3);
        world.desired.rollout.waves = vec![wave("first", Some(2)), rest];
        let counts: Vec<_> = waves(&world).into_iter().map(|(name, position, count)| (position, name, count)).collect();
        let expected = [(0, "first", 2), (1, "rest-1", 4), (2, "rest-2", 12), (3, "rest-3", 32)];
        assert_eq!(counts, expected.map(|(position, name, count)| (position, name.to_owned(), count)));
        let mut all: Vec<u64> = batches(&world).into_iter().flat_map(|(_, ids)| ids).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=50).collect::<Vec<_>>());
        // Which of them goes first, by what the wave is for.
        let orders: Vec<_> = world
            .plan()
            .actions
            .iter()
            .filter_map(|action| match &action.change {
                Change::Moves { order, .. } => Some(*order),
                _ => None,
            })
            .collect();
        use crate::plan::MoveOrder::{SmallFirst, TwoEnded};
        assert_eq!(orders, [SmallFirst, SmallFirst, SmallFirst, TwoEnded]);
        // Another wave that is called like a batch keeps its name.
        world.desired.rollout.waves.insert(0, wave("rest-1", Some(1)));
        assert_eq!(waves(&world)[2].0, "rest-batch-1");
    }

    #[test]
    fn batches_that_were_begun_keep_their_members_and_shift_no_others() {
        let mut world = World::drain(&[1; 50]);
        let mut rest = wave("rest", None);
        (rest.batch, rest.growth) = (Some(4), 3);
        world.desired.rollout.waves = vec![rest];
        let whole = batches(&world);
        // The first is through, and two of the second.
        let moved = [whole[0].1.clone(), whole[1].1[..2].to_vec()].concat();
        carry_out(&mut world, &moved, &["rest-1", "rest-2"]);
        let again = batches(&world);
        assert_eq!(again[0], ("rest-2".to_owned(), whole[1].1[2..].to_vec()));
        assert_eq!(again[1..], whole[2..]);
        // Had the second not been begun, the rest would be cut where it was.
        let mut world = World::drain(&[1; 50]);
        world.desired.rollout.waves = vec![wave("rest", None)];
        (world.desired.rollout.waves[0].batch, world.desired.rollout.waves[0].growth) = (Some(4), 3);
        carry_out(&mut world, &whole[0].1, &["rest-1"]);
        assert_eq!(batches(&world), whole[1..]);
    }

    #[test]
    fn no_wave_has_more_than_a_hundred_batches() {
        let mut world = World::drain(&[1; 150]);
        let mut rest = wave("rest", None);
        (rest.batch, rest.growth) = (Some(1), 1);
        world.desired.rollout.waves = vec![rest];
        let counts = waves(&world);
        assert_eq!((counts.len(), counts[98].2, counts[99].2), (100, 1, 51));
    }

    #[test]
    fn a_target_names_a_batch_or_all_of_them() {
        let mut world = World::drain(&[1; 50]);
        world.desired.rollout.waves = vec![wave("rest", None)];
        world.desired.rollout.waves[0].batch = Some(4);
        let number = |pattern: &str| {
            let target = vec![pattern.to_owned()];
            world.plan_with(&crate::plan::Options { target, ..Default::default() }).moves.len()
        };
        assert_eq!([number("moves.old[\"rest-2\"]"), number("moves.old[\"rest\"]")], [12, 50]);
    }

    #[test]
    fn a_sample_is_drawn_from_all_sizes_and_kinds_alike() {
        const MIB: u64 = 1 << 20;
        let sizes: Vec<u64> = (0..200)
            .map(|n| {
                if n < 3 {
                    40 * 1024 * MIB
                } else if n < 100 {
                    2 * MIB
                } else {
                    5
                }
            })
            .collect();
        let mut world = World::drain(&[]);
        world.facts("new").disk = crate::model::Reading::Known(crate::model::DiskSpace {
            available: crate::model::Bytes(1 << 40),
            used: crate::model::Bytes(0),
        });
        world.repositories("old", &sizes);
        for one in &mut world.observed.repositories[190..] {
            one.container.kind = crate::model::ContainerKind::Snippet;
        }
        world.desired.rollout.waves = vec![wave("sample", Some(20))];
        let plan = world.plan();
        let drawn = &plan.moves[..20];
        let count = |pick: &dyn Fn(&crate::plan::PlannedMove) -> bool| drawn.iter().filter(|m| pick(m)).count();
        let snippet = |m: &crate::plan::PlannedMove| m.container.kind == crate::model::ContainerKind::Snippet;
        let found = [
            count(&|m| m.bytes.0 > 1 << 35),
            count(&|m| m.bytes.0 == 2 * MIB),
            count(&|m| m.bytes.0 == 5 && !snippet(m)),
            count(&snippet),
        ];
        assert_eq!(found, [3, 6, 6, 5]);
        let keys: Vec<&str> = plan.samples["sample"].split(' ').map(|part| &part[..3]).collect();
        assert_eq!(keys, ["p1:", "p2:", "p5:", "s1:"]);
    }

    #[test]
    fn the_threshold_of_an_older_state_holds_for_all() {
        let mut world = World::drain(&[1, 1 << 21, 1 << 26]);
        world.desired.rollout.waves = vec![wave("sample", Some(1))];
        let record =
            crate::state::WaveRecord { sample_threshold: Some("ffffffffffffffff".to_owned()), ends_due: false };
        world.state.records.insert(crate::model::Address::new("wave", "sample"), crate::state::Record::Wave(record));
        assert_eq!(waves(&world), [("sample".to_owned(), 0, 3)]);
    }

    #[test]
    fn a_sample_that_was_begun_keeps_its_members() {
        let mut world = World::drain(&[1; 20]);
        world.desired.rollout.waves = vec![wave("sample", Some(5))];
        let whole = world.plan();
        let members: Vec<_> = whole.moves.iter().take(5).map(|m| m.container).collect();
        // The first two were moved, and the run was cut short.
        let mut cut = whole.clone();
        cut.actions.retain(|a| !matches!(a.change, Change::Moves { .. }));
        let first = cut.moves[..2].to_vec();
        world.apply(&cut);
        for one in &mut world.observed.repositories {
            if first.iter().any(|m| m.container == one.container) {
                one.storage = first[0].destination.clone();
            }
        }
        let again = world.plan();
        let mut left: Vec<_> = again.moves.iter().take(3).map(|m| m.container).collect();
        left.extend(first.iter().map(|m| m.container));
        left.sort();
        let mut members = members;
        members.sort();
        assert_eq!(left, members);
        assert_eq!(again.samples, whole.samples);
    }
}
