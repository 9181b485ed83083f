//! What is legal and likely not meant, as the fleet shows it: a wave whose `where` selects nothing.

use super::make::Planner;
use super::{Level, placement::Item};
use crate::expr::Truth;
use crate::model::{Repository, Wave};
use crate::state::Record;

impl<'a> Planner<'a, '_> {
    /// Says which waves select none of the repositories that were listed. One that was passed had its own.
    pub(super) fn empty_waves(&mut self, ordered: &[&'a Repository], items: &[Item<'a>]) {
        if items.is_empty() {
            return;
        }
        let passed = |wave: &Wave| {
            self.state.records.values().any(|r| matches!(r, Record::Assignment(r) if r.waves.contains(&wave.name)))
        };
        let selects = |wave: &Wave| {
            ordered.iter().any(|one| wave.filter.test(&self.claims.row(one, &one.storage)).ok() == Some(Truth::True))
        };
        // What can select nothing anywhere was told with the configuration.
        let doubtful = |wave: &&'a Wave| wave.filter.as_constant().is_none() && !passed(wave) && !selects(wave);
        let empty: Vec<&str> =
            self.desired.rollout.waves.iter().filter(doubtful).map(|wave| wave.name.as_str()).collect();
        for name in empty {
            let message = "its `where` selects none of the repositories that were listed".to_owned();
            let help = "Correct its `where`, unless such repositories are still to come.";
            self.preflight.add(Level::Notice, "empty-wave", &format!("wave.{name}"), message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::expr::Predicate;
    use crate::expr::tree::Binary;
    use crate::plan::fixture::{World, compare, filter, wave};
    use crate::state::{AssignmentRecord, Record};

    fn told(world: &World) -> Vec<String> {
        let plan = world.plan();
        plan.findings.iter().filter(|f| f.code == "empty-wave").map(|f| f.subject.clone()).collect()
    }

    fn only(id: u64) -> Predicate {
        filter(&compare("id", Binary::Equal, id))
    }

    #[test]
    fn a_wave_that_selects_nothing_is_told_until_it_was_passed() {
        let mut world = World::drain(&[1, 1]);
        world.desired.rollout.waves = vec![wave("first", None), wave("gone", None)];
        world.desired.rollout.waves[0].filter = only(1);
        world.desired.rollout.waves[1].filter = only(99);
        assert_eq!(told(&world), ["wave.gone"]);
        let record = AssignmentRecord { waves: ["gone".to_owned()].into(), ..AssignmentRecord::default() };
        world.state.records.insert("assignment.all".parse().expect("an address"), Record::Assignment(record));
        assert_eq!(told(&world), [""; 0]);
    }

    #[test]
    fn a_plan_without_moves_says_nothing_of_waves() {
        let mut world = World::drain(&[]);
        world.desired.rollout.waves = vec![wave("gone", None)];
        world.desired.rollout.waves[0].filter = only(99);
        assert_eq!(told(&world), [""; 0]);
    }
}
