//! Which wave a move belongs to: the first of the rollout that selects the repository; what none selects forms a
//! last wave. A sample is a threshold on a seeded hash of the id, so that a wave that was begun keeps its members.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::assign::{Claims, Faults};
use super::placement::Item;
use crate::expr::Truth;
use crate::model::{Container, Desired, Wave};
use crate::state::State;

/// The name of the wave of what no wave selects.
const REST: &str = "rest";

/// The rollout's waves by position, and the thresholds of samples.
#[derive(Debug)]
pub(super) struct Waves {
    /// By position; one more than the rollout has.
    names: Vec<String>,
    /// Wave name → 16 hex digits.
    pub(super) samples: BTreeMap<String, String>,
}

impl Waves {
    /// The wave's name at a position.
    pub(super) fn name(&self, position: u32) -> &str {
        self.names.get(position as usize).map_or(REST, String::as_str)
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
        let mut samples = BTreeMap::new();
        for (position, wave) in (0u32..).zip(waves) {
            let mut candidates: Vec<(u64, &mut Item<'a>)> = Vec::new();
            for item in items.iter_mut().filter(|item| item.wave == last) {
                let row = claims.row(item.repository, &item.repository.storage);
                match wave.filter.test(&row) {
                    Ok(Truth::True) if wave.sample.is_none() => item.wave = position,
                    Ok(Truth::True) => {
                        let hash = draw(&desired.environment, &wave.name, item.repository.container);
                        candidates.push((hash, item));
                    }
                    // Not known to be in this wave: a later one, in the end the last, takes it.
                    Ok(Truth::False | Truth::Unknown) => {}
                    Err(error) => faults.failure(&format!("wave.{}", wave.name), item.repository, *error),
                }
            }
            if let Some(threshold) = threshold(wave, state, &candidates) {
                for (_, item) in candidates.iter_mut().filter(|(hash, _)| *hash <= threshold) {
                    item.wave = position;
                }
                samples.insert(wave.name.clone(), format!("{threshold:016x}"));
            }
        }
        Self { names: wave_names(desired), samples }
    }
}

/// The names of all waves by position: the rollout's, then that of what no wave selects, which is none of those.
pub(super) fn wave_names(desired: &Desired) -> Vec<String> {
    let mut names: Vec<String> = desired.rollout.waves.iter().map(|w| w.name.clone()).collect();
    let mut name = REST.to_owned();
    let mut number = 1;
    while names.contains(&name) {
        number += 1;
        name = format!("{REST}-{number}");
    }
    names.push(name);
    names
}

/// The threshold of a wave's sample: the recorded one, else the hash of the last that is drawn. `None` without a
/// sample or without candidates.
fn threshold(wave: &Wave, state: &State, candidates: &[(u64, &mut Item<'_>)]) -> Option<u64> {
    let wanted = usize::try_from(wave.sample?).unwrap_or(usize::MAX);
    if candidates.is_empty() {
        return None;
    }
    let recorded = state.wave(&wave.name).and_then(|record| record.sample_threshold.as_deref());
    if let Some(threshold) = recorded.and_then(|text| u64::from_str_radix(text, 16).ok()) {
        return Some(threshold);
    }
    let mut hashes: Vec<u64> = candidates.iter().map(|(hash, _)| *hash).collect();
    let last = wanted.min(hashes.len()).checked_sub(1)?;
    Some(*hashes.select_nth_unstable(last).1)
}

/// The hash that decides whether a sample has a repository: the same for everybody, in any order.
fn draw(environment: &str, wave: &str, container: Container) -> u64 {
    let mut hash = Sha256::new();
    for part in [environment, wave, &container.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
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
