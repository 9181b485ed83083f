//! What a plan was made from, as digests: how a saved plan is found stale before its first action.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::saved::digest;
use super::{Basis, Change, Plan};
use crate::model::{Observed, StorageName};
use crate::state::State;

/// SHA-256 in hex of a state's records.
pub fn state_digest(state: &State) -> String {
    let records: serde_json::Map<String, Value> = state
        .records
        .iter()
        .map(|(address, record)| (address.to_string(), serde_json::to_value(record).unwrap_or_default()))
        .collect();
    digest(&json!({ "environment": state.environment, "records": records }))
}

/// SHA-256 in hex of the observed facts that a plan relies on: the weights that it changes, and filesystem ids and
/// versions of the storages that its moves touch.
fn observed_digest<'a>(
    observed: &Observed,
    weights: impl IntoIterator<Item = &'a StorageName>,
    touched: impl IntoIterator<Item = &'a StorageName>,
) -> String {
    let weights: BTreeMap<&str, Option<u8>> = weights
        .into_iter()
        .map(|name| (name.as_str(), observed.gitlab.weights.get(name).map(|weight| weight.get())))
        .collect();
    let servers: BTreeMap<&str, Option<[&str; 2]>> = touched
        .into_iter()
        .map(|name| {
            let server = observed.storages.get(name).and_then(|facts| facts.server.known());
            (name.as_str(), server.map(|s| [s.filesystem_id.as_str(), s.version.as_str()]))
        })
        .collect();
    digest(&json!({ "weights": weights, "servers": servers }))
}

/// Makes the basis of a plan whose actions change these weights and move between these storages.
pub(super) fn basis(
    configuration: &str,
    state: &State,
    observed: &Observed,
    weights: &BTreeSet<&StorageName>,
    touched: &BTreeSet<&StorageName>,
) -> Basis {
    let id = |name: &&StorageName| {
        let server = observed.storages.get(*name)?.server.known()?;
        Some(((*name).clone(), server.filesystem_id.clone()))
    };
    Basis {
        configuration: configuration.to_owned(),
        state: state_digest(state),
        observed: observed_digest(observed, weights.iter().copied(), touched.iter().copied()),
        filesystem_ids: touched.iter().filter_map(id).collect(),
    }
}

/// Says why a saved plan no longer fits, a line each; empty: it does. `configuration` is `Desired::digest`.
/// Objects of a cluster are compared by uid and by what an apply would change. Repositories are not compared: their preconditions travel with each move.
pub fn stale(plan: &Plan, configuration: &str, state: &State, observed: &Observed) -> Vec<String> {
    let mut reasons = Vec::new();
    if plan.environment != state.environment {
        reasons.push(format!("the plan is for environment {}, the state for {}", plan.environment, state.environment));
    }
    if plan.basis.configuration != configuration {
        reasons.push("the configuration or its variables changed since the plan was made".to_owned());
    }
    if plan.basis.state != state_digest(state) {
        reasons.push("the state changed since the plan was made".to_owned());
    }
    let before = reasons.len();
    let mut weights = BTreeSet::new();
    let awaited = |storage: &StorageName| {
        plan.actions.iter().any(|a| matches!(&a.change, Change::AwaitKnown { storage: one, .. } if one == storage))
    };
    for action in &plan.actions {
        if let Change::SetWeight { storage, from, .. } = &action.change {
            weights.insert(storage);
            // Of a ramp's last step, what GitLab had before the first.
            let from = plan.weights.get(storage).map_or(from, |change| &change.before);
            match observed.gitlab.weights.get(storage) {
                Some(now) if now == from => {}
                Some(now) => reasons.push(format!("the weight of {storage} was {from} and is now {now}")),
                None if awaited(storage) => {}
                None => reasons.push(format!("GitLab does not know {storage} any more")),
            }
        }
    }
    for (storage, id) in &plan.basis.filesystem_ids {
        match observed.storages.get(storage).and_then(|facts| facts.server.known()) {
            Some(server) if server.filesystem_id == *id => {}
            Some(server) => {
                reasons.push(format!("the filesystem id of {storage} was {id} and is now {}", server.filesystem_id));
            }
            None => reasons.push(format!("{storage} cannot be asked any more")),
        }
    }
    let touched = plan.basis.filesystem_ids.keys();
    if reasons.len() == before && plan.basis.observed != observed_digest(observed, weights, touched) {
        reasons.push("the Gitaly version of a storage that the plan uses changed since it was made".to_owned());
    }
    // Of another configuration other things were asked.
    if plan.basis.configuration == configuration {
        reasons.extend(super::pods::stale(plan, state, observed));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{World, name, weight};

    #[test]
    fn what_the_plan_relied_on_makes_it_stale_and_nothing_else() {
        let world = World::drain(&[1, 2]);
        let plan = world.plan();
        let reasons = |world: &World| stale(&plan, &world.desired.digest, &world.state, &world.observed);
        assert_eq!(reasons(&world), Vec::<String>::new());

        let mut same = world.clone();
        same.storage("other", 3);
        same.observed.repositories.clear();
        same.observed.gitlab.version = "19.0.0".to_owned();
        assert_eq!(reasons(&same), Vec::<String>::new());

        type Break = fn(&mut World);
        let cases: [(Break, &str); 6] = [
            (|w| w.desired.digest = "other".to_owned(), "configuration"),
            (|w| w.state.storage_mut(&name("old")).weight = Some(weight(1)), "state changed"),
            (|w| _ = w.observed.gitlab.weights.insert(name("old"), weight(50)), "was 100 and is now 50"),
            (|w| _ = w.observed.gitlab.weights.remove(&name("new")), "does not know new"),
            (|w| w.server("new").filesystem_id = "fs-x".to_owned(), "was fs-new and is now fs-x"),
            (|w| w.server("new").version = "18.3.0".to_owned(), "version"),
        ];
        for (change, expected) in cases {
            let mut world = world.clone();
            change(&mut world);
            let found = reasons(&world);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
