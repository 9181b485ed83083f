//! Records that get another address, as `moved` blocks say. What is planned sees them there already; the state file
//! changes when the plan is carried out.

use super::{Level, Rename};
use crate::model::{Address, Moved};
use crate::plan::preflight::Preflight;
use crate::state::{Record, State};

/// A state as it is after all moves that its records follow, with those moves in the order of the old addresses; and
/// those that cannot be followed, because another record stands there.
pub(super) fn follow(state: &State, moved: &[Moved]) -> (State, Vec<Rename>, Vec<Rename>) {
    let (mut after, mut renames, mut taken) = (state.clone(), Vec::new(), Vec::new());
    for (address, record) in &state.records {
        // A storage's record stands under GitLab's name for it, which no label changes.
        if matches!(record, Record::Storage(_)) {
            continue;
        }
        let Some(to) = moved.iter().find_map(|one| target(one, address)) else { continue };
        let rename = Rename { from: address.clone(), to };
        if after.rename(&rename.from, &rename.to) { renames.push(rename) } else { taken.push(rename) }
    }
    (after, renames, taken)
}

/// Where a move leads an address; `None`: it is about another one.
fn target(moved: &Moved, address: &Address) -> Option<Address> {
    let Moved { from, to, span: _ } = moved;
    if from == address {
        return Some(to.clone());
    }
    let whole = from.key.is_none() && to.key.is_none() && (&from.kind, &from.label) == (&address.kind, &address.label);
    whole.then(|| Address { key: address.key.clone(), ..to.clone() })
}

impl Preflight<'_> {
    /// Says which records stay where they are, as their new address has one.
    pub(super) fn taken(&mut self, taken: &[Rename]) {
        for Rename { from, to } in taken {
            let message = format!("{to} has a record of its own, so that of {from} stays under its old address");
            let help = format!("Keep one of them: tranship state rm '{from}', or tranship state rm '{to}'");
            self.add(Level::Notice, "moved-onto-record", &from.to_string(), message, &help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, span};
    use crate::state::AssignmentRecord;

    fn moved(from: &str, to: &str) -> Moved {
        Moved { from: from.parse().expect("an address"), to: to.parse().expect("an address"), span: span(0) }
    }

    fn state(addresses: &[&str]) -> State {
        let mut state = State::new("test");
        for (count, address) in (1..).zip(addresses) {
            let record = AssignmentRecord { count, ..AssignmentRecord::default() };
            state.records.insert(address.parse().expect("an address"), Record::Assignment(record));
        }
        state
    }

    fn said(renames: &[Rename]) -> Vec<String> {
        renames.iter().map(|Rename { from, to }| format!("{from} -> {to}")).collect()
    }

    #[test]
    fn records_follow_their_block_with_their_keys() {
        let before = state(&["assignment.a", "assignment.b[\"x\"]", "assignment.b[\"y\"]", "assignment.c"]);
        let moves = [
            moved("assignment.a", "assignment.one[\"k\"]"),
            moved("assignment.b", "assignment.two"),
            moved("assignment.gone", "assignment.c"),
        ];
        let (after, renames, taken) = follow(&before, &moves);
        assert_eq!(
            said(&renames),
            [
                "assignment.a -> assignment.one[\"k\"]",
                "assignment.b[\"x\"] -> assignment.two[\"x\"]",
                "assignment.b[\"y\"] -> assignment.two[\"y\"]"
            ]
        );
        assert_eq!(taken, []);
        let numbers: Vec<(String, u64)> = after
            .records
            .iter()
            .map(|(address, record)| match record {
                Record::Assignment(record) => (address.to_string(), record.count),
                _ => panic!("only assignments"),
            })
            .collect();
        let expected = [
            ("assignment.c", 4),
            ("assignment.one[\"k\"]", 1),
            ("assignment.two[\"x\"]", 2),
            ("assignment.two[\"y\"]", 3),
        ];
        assert_eq!(numbers, expected.map(|(address, count)| (address.to_owned(), count)));
        assert_eq!(follow(&after, &moves).1, [], "followed once");
    }

    #[test]
    fn a_record_is_never_replaced_and_that_is_told() {
        let mut world = World::drain(&[]);
        world.state = state(&["assignment.old", "assignment.all"]);
        world.desired.moved = vec![moved("assignment.old", "assignment.all")];
        let plan = world.plan();
        assert_eq!(plan.renames, []);
        let found: Vec<&str> = plan.findings.iter().map(|f| f.code.as_str()).collect();
        assert!(found.contains(&"moved-onto-record"), "{found:?}");
    }

    #[test]
    fn a_rename_is_something_to_do_and_nothing_is_left_after_it() {
        let mut world = World::drain(&[1]);
        let plan = world.plan();
        world.apply(&plan);
        assert!(world.plan().is_empty());
        world.state.records.extend(state(&["assignment.old"]).records);
        world.desired.moved = vec![moved("assignment.old", "assignment.all")];
        let plan = world.plan();
        assert!(!plan.is_empty() && plan.actions.is_empty());
        assert_eq!(said(&plan.renames), ["assignment.old -> assignment.all"]);
        world.apply(&plan);
        assert!(world.plan().is_empty());
    }
}
