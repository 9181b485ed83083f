//! What differs: weights between desired and observed, and what changed outside of tranship since it was recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::pods::Pods;
use super::report::Report;
use super::{Drift, WaitingOn};
use crate::model::{Desired, Observed, Reading, StorageName, Weight};
use crate::state::{State, StorageRecord};

/// One weight to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WeightStep<'a> {
    /// Whose.
    pub(super) storage: &'a StorageName,
    /// As observed.
    pub(super) from: Weight,
    /// As desired.
    pub(super) to: Weight,
}

/// The weights to set, and what must wait because they cannot be.
#[derive(Debug, Default)]
pub(super) struct Weights<'a> {
    /// In the order of names.
    pub(super) steps: Vec<WeightStep<'a>>,
    /// Sources whose weight must not go to 0 yet, each with the storage that GitLab must know first. Without a
    /// weight above 0 GitLab would put new repositories on `default`, whether it exists or not.
    pub(super) held: BTreeMap<&'a StorageName, &'a StorageName>,
}

/// The weight that the configuration asks for; `None`: not managed.
fn wanted(storage: &crate::model::DesiredStorage) -> Option<Weight> {
    if storage.drain { Some(Weight::ZERO) } else { storage.weight }
}

/// Finds the weights that differ. A storage that GitLab does not know is reported.
pub(super) fn weights<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    state: &State,
    pods: &Pods<'a>,
    report: &mut Report<'a>,
) -> Weights<'a> {
    let mut weights = Weights::default();
    let mut awaited = None;
    for (name, storage) in &desired.storages {
        let Some(to) = wanted(storage) else {
            if pods.unknown.contains(name) {
                report.storage(name, false, to_know(desired, pods, name), 0, []);
            }
            continue;
        };
        match observed.gitlab.weights.get(name) {
            Some(from) if *from == to => {}
            // What is wrong with its pod is said, and was not to be settled.
            Some(from) if to > *from && pods.left_out.contains(name) => {
                report.storage(name, false, WaitingOn::Storage { storage: name.clone() }, 0, []);
            }
            Some(from) => weights.steps.push(WeightStep { storage: name, from: *from, to }),
            // What GitLab comes to list takes nothing at first.
            None if pods.learned.contains(name) => {
                if to != Weight::ZERO {
                    weights.steps.push(WeightStep { storage: name, from: Weight::ZERO, to });
                }
            }
            // A drained storage may be taken out of GitLab's configuration: that is how its life ends.
            None if storage.drain && is_drained(state, name) => {}
            None => {
                report.storage(name, storage.drain, to_know(desired, pods, name), 0, []);
                if to != Weight::ZERO {
                    awaited = awaited.or(Some(name));
                }
            }
        }
    }
    if let Some(awaited) = awaited
        && all_zero(&after(observed, &weights.steps))
    {
        let (zeroes, others) = weights.steps.into_iter().partition(|step| step.to == Weight::ZERO);
        weights.steps = others;
        let zeroes: Vec<WeightStep<'a>> = zeroes;
        weights.held = zeroes.into_iter().map(|step| (step.storage, awaited)).collect();
        for storage in weights.held.keys() {
            let drains = desired.storages.get(*storage).is_some_and(|s| s.drain);
            report.storage(storage, drains, to_know(desired, pods, awaited), 0, []);
        }
    }
    weights
}

/// What waits for GitLab to know a storage.
pub(super) fn to_know(desired: &Desired, pods: &Pods<'_>, storage: &StorageName) -> WaitingOn {
    if desired.gitlab_learns && pods.refused.contains(storage) {
        // GitLab learns of it by itself, once its pod is up; what keeps it from that is said.
        return WaitingOn::Storage { storage: storage.clone() };
    }
    let endpoint = desired.storages.get(storage).and_then(|declared| declared.endpoint.as_ref());
    WaitingOn::GitlabToKnow { storage: storage.clone(), address: endpoint.map(ToString::to_string) }
}

/// True when tranship proved a storage empty.
pub(super) fn is_drained(state: &State, storage: &StorageName) -> bool {
    state.storage(storage).is_some_and(|record| record.drained.is_some())
}

/// GitLab's weights once these steps are done.
pub(super) fn after(observed: &Observed, steps: &[WeightStep<'_>]) -> BTreeMap<StorageName, Weight> {
    let mut weights = observed.gitlab.weights.clone();
    for step in steps {
        weights.insert(step.storage.clone(), step.to);
    }
    weights
}

/// True when GitLab knows storages and none of them would take new repositories.
pub(super) fn all_zero(weights: &BTreeMap<StorageName, Weight>) -> bool {
    !weights.is_empty() && weights.values().all(|weight| *weight == Weight::ZERO)
}

/// Compares the records of declared storages with what is observed. `occupied`: storages with repositories, each
/// with how many.
pub(super) fn drift(
    desired: &Desired,
    observed: &Observed,
    state: &State,
    pods: &Pods<'_>,
    occupied: &BTreeMap<&StorageName, u64>,
) -> Vec<Drift> {
    let mut found = BTreeSet::new();
    for (name, storage) in &desired.storages {
        let Some(record) = state.storage(name) else { continue };
        let mut add = |fact: &str, recorded: &str, observed: String| {
            found.insert((State::storage_address(name), fact.to_owned(), recorded.to_owned(), observed));
        };
        if let (Some(recorded), Some(seen)) = (record.weight, observed.gitlab.weights.get(name))
            // A weight that came to be what the configuration wants needs nothing: said once more in every plan, it
            // would never settle, as no apply sets it.
            && wanted(storage).is_some_and(|wanted| wanted != *seen)
            && recorded != *seen
        {
            add("weight", &recorded.to_string(), seen.to_string());
        }
        if let Some((recorded, seen)) = other_disk(record, observed, name) {
            add("filesystem_id", recorded, if seen.is_empty() { "none".to_owned() } else { seen.to_owned() });
        }
        if storage.drain && record.drained.is_some() {
            if let Some(count) = occupied.get(name) {
                add("drained", "empty", repositories(*count, ""));
            } else if let Some(count) = leftovers(observed, name) {
                add("drained", "empty", repositories(count, " that GitLab does not list there"));
            }
        }
    }
    for one in &pods.drift {
        let Drift { address, fact, recorded, observed } = one.clone();
        found.insert((address, fact, recorded, observed));
    }
    found.into_iter().map(|(address, fact, recorded, observed)| Drift { address, fact, recorded, observed }).collect()
}

fn other_disk<'a>(record: &'a StorageRecord, observed: &'a Observed, name: &StorageName) -> Option<(&'a str, &'a str)> {
    let recorded = record.filesystem_id.as_deref()?;
    let seen = observed.storages.get(name)?.server.known()?.filesystem_id.as_str();
    (recorded != seen).then_some((recorded, seen))
}

fn leftovers(observed: &Observed, name: &StorageName) -> Option<u64> {
    match &observed.storages.get(name)?.walk {
        Some(Reading::Known(paths)) if !paths.is_empty() => Some(paths.len() as u64),
        _ => None,
    }
}

fn repositories(count: u64, which: &str) -> String {
    let noun = if count == 1 { "repository" } else { "repositories" };
    format!("{count} {noun}{which}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, name, weight};
    use crate::plan::{Change, Level};

    fn steps(world: &World) -> Vec<String> {
        let line = |change: &Change| match change {
            Change::SetWeight { storage, from, to } => Some(format!("{storage} {from} {to}")),
            _ => None,
        };
        world.plan().actions.iter().filter_map(|a| line(&a.change)).collect()
    }

    #[test]
    fn raises_come_before_zeroes_and_what_is_not_managed_stays() {
        let mut world = World::new(&["a", "b", "z", "other"]);
        world.desired("a").drain = true;
        world.desired("z").weight = Some(weight(60));
        world.desired("b").weight = Some(weight(0));
        world.observed.gitlab.weights.insert(name("undeclared"), weight(7));
        assert_eq!(steps(&world), ["z 0 60", "a 100 0"]);
        let plan = world.plan();
        assert_eq!(plan.weights[&name("undeclared")].after, weight(7));
        assert_eq!((plan.weights[&name("a")].before, plan.weights[&name("a")].after), (weight(100), weight(0)));
    }

    #[test]
    fn no_weight_left_is_an_error() {
        let mut world = World::new(&["a", "b"]);
        world.desired("a").drain = true;
        let plan = world.plan();
        assert_eq!((plan.findings[0].level, plan.findings[0].code.as_str()), (Level::Error, "all-weights-zero"));
        assert!(plan.is_blocked());
    }

    #[test]
    fn a_storage_that_gitlab_does_not_know_holds_the_source_that_it_is_to_replace() {
        let mut world = World::drain(&[1, 2]);
        world.observed.gitlab.weights.remove(&name("new"));
        let plan = world.plan();
        assert!(plan.is_empty() && !plan.is_blocked() && plan.drain_is_stuck());
        let waits = WaitingOn::GitlabToKnow { storage: name("new"), address: None };
        assert!(plan.report.iter().all(|row| row.reason == waits));
        assert!(plan.report.iter().any(|row| row.subject == "storage.old" && row.count == 2 && row.blocks_drain));
        // Another storage takes new repositories: the source is fenced already, its moves wait.
        world.storage("third", 50);
        assert_eq!(steps(&world), ["old 100 0"]);
        assert!(world.plan().drain_is_stuck());
    }

    #[test]
    fn drift_compares_records_with_the_world() {
        let mut world = World::drain(&[1]);
        *world.state.storage_mut(&name("old")) = StorageRecord {
            weight: Some(weight(0)),
            filesystem_id: Some("fs-before".to_owned()),
            drained: Some("certificate".to_owned()),
            ..StorageRecord::default()
        };
        world.state.storage_mut(&name("gone")).weight = Some(weight(3));
        let facts: Vec<_> = world.plan().drift.into_iter().map(|d| (d.fact, d.recorded, d.observed)).collect();
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            facts,
            [
                text("drained", "empty", "1 repository"),
                text("filesystem_id", "fs-before", "fs-old"),
                text("weight", "0", "100"),
            ]
        );
    }

    #[test]
    fn a_weight_that_somebody_else_set_as_wanted_is_no_drift() {
        let mut world = World::new(&["a", "b"]);
        world.desired("b").weight = Some(weight(0));
        world.state.storage_mut(&name("b")).weight = Some(weight(55));
        assert_eq!(world.plan().drift, []);
        world.observed.gitlab.weights.insert(name("b"), weight(7));
        assert_eq!(world.plan().drift.len(), 1);
    }

    #[test]
    fn a_recorded_weight_that_is_not_managed_any_more_is_let_go() {
        let mut world = World::new(&["a"]);
        world.state.storage_mut(&name("a")).weight = Some(weight(3));
        assert_eq!(world.plan().drift, []);
    }
}
