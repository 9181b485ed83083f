//! A linter over finished plans: what must hold of every plan, whoever made it. The planner's own output has no
//! faults (a property test), and a plan that is read from a file must have none either.

mod released;

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, Plan, pods};
use crate::model::{Address, Container, StorageName, Weight};

/// Lists what is wrong with a plan, a line each, in a stable order; empty: nothing.
pub fn faults(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    addresses(plan, &mut faults);
    edges(plan, &mut faults);
    // The other rules follow edges, and take them for sound.
    if faults.is_empty() {
        moves(plan, &mut faults);
        weights(plan, &mut faults);
        order(plan, &mut faults);
        room(plan, &mut faults);
        let before = Ancestors::new(plan);
        released::faults(plan, &before, &mut faults);
        pods::check::faults(plan, |id| before.of(id), &mut faults);
    }
    faults
}

fn addresses(plan: &Plan, faults: &mut Vec<String>) {
    let mut seen: BTreeSet<&Address> = BTreeSet::new();
    for action in &plan.actions {
        if !seen.insert(&action.address) {
            faults.push(format!("two actions have the address {}", action.address));
        }
        if action.reason.is_empty() {
            faults.push(format!("{} has no reason", action.address));
        }
    }
}

fn edges(plan: &Plan, faults: &mut Vec<String>) {
    for edge in &plan.edges {
        let (from, to) = (edge.from.0, edge.to.0);
        if to as usize >= plan.actions.len() {
            faults.push(format!("an edge names action {to}, and there are {}", plan.actions.len()));
        } else if from >= to {
            faults.push(format!("an edge leads from action {from} back to {to}"));
        }
        if edge.reason.is_empty() {
            faults.push(format!("the edge from action {from} to {to} has no reason"));
        }
    }
    if !plan.edges.is_sorted() {
        faults.push("the edges are not sorted".to_owned());
    }
}

fn moves(plan: &Plan, faults: &mut Vec<String>) {
    let mut covered: u64 = 0;
    let mut ranges = Vec::new();
    for action in &plan.actions {
        let Change::Moves { source, first, count, bytes, .. } = &action.change else { continue };
        let list = plan.moves_of_checked(action);
        let Some(list) = list else {
            faults.push(format!("{} names moves that do not exist", action.address));
            continue;
        };
        if let Change::Moves { window: Some(window), .. } = &action.change
            && !plan.windows.contains_key(window)
        {
            faults.push(format!("{} names the window {window}, whose hours the plan lacks", action.address));
        }
        if *count == 0 {
            faults.push(format!("{} has no moves", action.address));
        }
        covered += u64::from(*count);
        ranges.push((*first, *count));
        if list.iter().any(|one| one.source != *source) {
            faults.push(format!("{} has a move of another source", action.address));
        }
        if list.iter().fold(0u64, |sum, one| sum.saturating_add(one.bytes.0)) != bytes.0 {
            faults.push(format!("{} does not add up to its bytes", action.address));
        }
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).any(|pair| match pair {
        [(first, count), (next, _)] => u64::from(*first) + u64::from(*count) > u64::from(*next),
        _ => false,
    });
    if overlap || covered != plan.moves.len() as u64 {
        faults.push("not every move belongs to exactly one action".to_owned());
    }
    let mut containers: Vec<Container> = plan.moves.iter().map(|one| one.container).collect();
    containers.sort_unstable();
    if containers.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        faults.push("two moves touch one repository".to_owned());
    }
    let quarantined = plan.quarantined.iter().find(|q| containers.binary_search(&q.container).is_ok());
    if let Some(one) = quarantined {
        faults.push(format!("{} is quarantined and moves", one.container));
    }
    let mut pairs: BTreeSet<(&StorageName, &StorageName)> = BTreeSet::new();
    pairs.extend(plan.moves.iter().map(|one| (&one.source, &one.destination)));
    for (source, destination) in pairs {
        pair(plan, source, destination, faults);
    }
}

fn pair(plan: &Plan, source: &StorageName, destination: &StorageName, faults: &mut Vec<String>) {
    let ids = &plan.basis.filesystem_ids;
    let made = |storage: &StorageName| {
        let awaits = |change: &Change| matches!(change, Change::AwaitReady { storage: one, .. } if one == storage);
        plan.actions.iter().any(|action| awaits(&action.change))
    };
    match (ids.get(source), ids.get(destination)) {
        (Some(from), Some(to)) if from != to && !from.is_empty() && !to.is_empty() => {}
        // A disk that this plan makes gets its id when its Gitaly starts.
        (Some(from), None) if !from.is_empty() && made(destination) => {}
        _ => faults.push(format!("{source} and {destination} are not known to be different disks")),
    }
    if !plan.weights.contains_key(destination) {
        faults.push(format!("GitLab does not know {destination}, and moves go there"));
    }
}

fn weights(plan: &Plan, faults: &mut Vec<String>) {
    let mut expected: BTreeMap<&StorageName, Weight> = plan.weights.iter().map(|(n, c)| (n, c.before)).collect();
    for action in &plan.actions {
        let set: Vec<(&StorageName, Weight, Weight)> = match &action.change {
            Change::SetWeight { storage, from, to } => vec![(storage, *from, *to)],
            Change::Ramp { weights, .. } => weights.iter().map(|(name, c)| (name, c.before, c.after)).collect(),
            _ => continue,
        };
        for (storage, from, to) in set {
            if expected.insert(storage, to) != Some(from) || from == to {
                faults.push(format!("{} does not start from the weight that GitLab has", action.address));
            }
        }
    }
    if plan.weights.iter().any(|(name, change)| expected.get(name) != Some(&change.after)) {
        faults.push("the weights after the plan are not those that its actions set".to_owned());
    }
}

/// Fences before moves, raises before zeroes, waves in order, proofs after everything.
fn order(plan: &Plan, faults: &mut Vec<String>) {
    let before = Ancestors::new(plan);
    let remains: BTreeSet<&str> =
        plan.report.iter().filter(|row| row.blocks_drain).map(|row| row.subject.as_str()).collect();
    let arriving: BTreeSet<&StorageName> = plan.moves.iter().map(|one| &one.destination).collect();
    let mut fences: BTreeMap<&StorageName, u32> = BTreeMap::new();
    let mut raises = Vec::new();
    for (id, action) in (0u32..).zip(&plan.actions) {
        match &action.change {
            Change::SetWeight { storage, to, .. } if *to == Weight::ZERO => {
                fences.insert(storage, id);
            }
            Change::SetWeight { from, to, .. } if to > from => raises.push(id),
            _ => {}
        }
    }
    let waves: Vec<(u32, u32, &StorageName)> = (0u32..)
        .zip(&plan.actions)
        .filter_map(|(id, action)| match &action.change {
            Change::Moves { position, source, .. } => Some((id, *position, source)),
            _ => None,
        })
        .collect();
    for (id, action) in (0u32..).zip(&plan.actions) {
        let mut needs: Vec<u32> = Vec::new();
        match &action.change {
            Change::SetWeight { to, .. } if *to == Weight::ZERO => needs.clone_from(&raises),
            Change::SetWeight { .. } => {}
            Change::Moves { position, source, .. } => {
                needs.extend(fences.get(source));
                needs.extend(waves.iter().filter(|(_, earlier, _)| earlier < position).map(|(id, ..)| *id));
            }
            Change::ProveEmpty { storage } => {
                needs.extend(fences.get(storage));
                needs.extend(waves.iter().filter(|(.., source)| *source == storage).map(|(id, ..)| *id));
                proof(plan, action, storage, &remains, faults);
                if arriving.contains(storage) {
                    faults.push(format!("{} is planned although repositories move to {storage}", action.address));
                }
            }
            _ => {}
        }
        if needs.is_empty() {
            continue;
        }
        let known = before.of(id);
        if let Some(missing) = needs.iter().find(|need| !known.contains(need)) {
            let missing = plan.actions.get(*missing as usize).map(|a| a.address.to_string()).unwrap_or_default();
            faults.push(format!("{} does not wait for {missing}", action.address));
        }
    }
}

/// A proof of emptiness is planned only where nothing is known to remain and nothing new can arrive.
fn proof(plan: &Plan, action: &Action, storage: &StorageName, remains: &BTreeSet<&str>, faults: &mut Vec<String>) {
    let subject = crate::state::State::storage_address(storage).to_string();
    if remains.contains(subject.as_str()) {
        faults.push(format!("{} is planned although something is known to remain", action.address));
    }
    if plan.weights.get(storage).is_none_or(|change| change.after != Weight::ZERO) {
        faults.push(format!("{} is planned although {storage} may take new repositories", action.address));
    }
}

/// Law 8: no disk goes above its ceiling.
fn room(plan: &Plan, faults: &mut Vec<String>) {
    for (name, storage) in &plan.storages {
        if storage.incoming_count == 0 {
            continue;
        }
        let (Some(used), Some(capacity)) = (storage.used, storage.capacity) else {
            faults.push(format!("repositories move to {name}, whose room is not known"));
            continue;
        };
        let ceiling = u128::from(capacity.0) * u128::from(storage.disk_ceiling_permille) / 1000;
        if u128::from(used.0) + u128::from(storage.incoming.0) + u128::from(storage.growth.0) > ceiling {
            faults.push(format!("{name} would go above its ceiling"));
        }
    }
}

/// Which actions come before which, directly or not.
struct Ancestors {
    direct: Vec<Vec<u32>>,
}

impl Ancestors {
    fn new(plan: &Plan) -> Self {
        let mut direct = vec![Vec::new(); plan.actions.len()];
        for edge in &plan.edges {
            if let Some(list) = direct.get_mut(edge.to.0 as usize) {
                list.push(edge.from.0);
            }
        }
        Self { direct }
    }

    fn of(&self, id: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut next = vec![id];
        while let Some(at) = next.pop() {
            for earlier in self.direct.get(at as usize).into_iter().flatten() {
                if found.insert(*earlier) {
                    next.push(*earlier);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;
    use crate::plan::fixture::{World, name, wave, weight};
    use crate::plan::{ActionId, Edge};

    fn plan() -> Plan {
        let mut world = World::drain(&[5, 6, 7, 8]);
        world.desired.rollout.waves = vec![wave("first", Some(2))];
        world.plan()
    }

    #[test]
    fn a_plan_of_the_planner_is_sound() {
        assert_eq!(plan().actions.len(), 5);
        assert_eq!(faults(&plan()), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_fault() {
        type Break = fn(&mut Plan);
        let drop_edge = |plan: &mut Plan, from: &str, to: &str| {
            let at = |id: ActionId| plan.actions[id.0 as usize].address.to_string();
            let gone: Vec<bool> = plan.edges.iter().map(|e| at(e.from) == from && at(e.to) == to).collect();
            assert!(gone.contains(&true), "{from} {to}");
            let mut gone = gone.into_iter();
            plan.edges.retain(|_| !gone.next().unwrap_or(false));
        };
        let cases: [(Break, &str); 14] = [
            (|p| p.actions[1].address = p.actions[0].address.clone(), "two actions"),
            (|p| p.edges.push(Edge { from: ActionId(4), to: ActionId(0), reason: "x".to_owned() }), "back to"),
            (|p| p.edges[0].reason.clear(), "no reason"),
            (|p| p.edges.reverse(), "not sorted"),
            (|p| p.moves[0].container = p.moves[3].container, "touch one repository"),
            (|p| p.moves[0].source = name("x"), "another source"),
            (|p| p.moves[0].bytes = Bytes(99), "add up"),
            (|p| drop(p.moves.pop()), "do not exist"),
            (|p| drop(p.basis.filesystem_ids.insert(name("new"), "fs-old".to_owned())), "different disks"),
            (|p| _ = p.weights.remove(&name("new")), "does not know new"),
            (|p| p.weights.get_mut(&name("old")).expect("known").after = weight(9), "not those that its actions set"),
            (|p| p.storages.get_mut(&name("new")).expect("planned").capacity = Some(Bytes(10)), "above its ceiling"),
            (|p| p.storages.get_mut(&name("new")).expect("planned").used = None, "room is not known"),
            (|p| p.moves[0].destination = name("old"), "repositories move to old"),
        ];
        for (break_it, expected) in cases {
            let mut plan = plan();
            break_it(&mut plan);
            let found = faults(&plan);
            assert!(found.iter().any(|f| f.contains(expected)), "{expected}: {found:?}");
        }
        for (from, to) in [
            ("weight.new", "weight.old"),
            ("weight.old", "moves.old[\"first\"]"),
            ("moves.old[\"first\"]", "moves.old[\"rest\"]"),
            ("moves.old[\"rest\"]", "drain.old"),
        ] {
            let mut plan = plan();
            drop_edge(&mut plan, from, to);
            let expected = format!("{to} does not wait for {from}");
            assert!(faults(&plan).contains(&expected), "{expected}: {:?}", faults(&plan));
        }
    }
}
