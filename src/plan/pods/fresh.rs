//! Whether what a saved plan decided about a cluster still holds: the same objects, and the same changes of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::diff::changes;
use super::statefulset::claim_name;
use super::{FieldChange, made_anew};
use crate::model::cluster::{Answer, ClusterFacts, FIELD_MANAGER, Manifest, ObjectKey, ObjectKind};
use crate::model::quantity::Quantity;
use crate::model::{Observed, Reading, StorageName};
use crate::plan::{Change, Plan};
use crate::state::State;

fn uid(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid")?.as_str()
}

/// Says why the actions on the cluster no longer fit, a line each; empty: they do. For a plan and an observation of the
/// same configuration.
pub(in crate::plan) fn stale(plan: &Plan, state: &State, observed: &Observed) -> Vec<String> {
    let of_cluster = |change: &Change| {
        matches!(change, Change::ApplyObject { .. } | Change::RecreateStatefulSet { .. } | Change::GrowDisk { .. })
            || matches!(change, Change::ReplacePod { .. })
    };
    let touched: Vec<&Change> =
        plan.actions.iter().map(|action| &action.change).filter(|one| of_cluster(one)).collect();
    if touched.is_empty() {
        return Vec::new();
    }
    let facts = match &observed.cluster {
        Some(Reading::Known(facts)) => facts,
        Some(Reading::Unknown(cause)) => {
            return vec![format!("the cluster cannot be read: {}", cause.replace('\n', " "))];
        }
        None => return vec!["no cluster is configured any more".to_owned()],
    };
    let storages: BTreeSet<&StorageName> = touched.iter().filter_map(|change| change.storage()).collect();
    let claims = storages.into_iter().filter_map(|storage| claim(storage, facts, state));
    claims.chain(touched.into_iter().filter_map(|change| changed(change, facts))).collect()
}

/// What became of a storage's claim.
fn claim(storage: &StorageName, facts: &ClusterFacts, state: &State) -> Option<String> {
    let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim_name(storage.as_str()) };
    let recorded = state.storage(storage).and_then(|record| record.claim_uid.as_deref());
    match (facts.objects.get(&key), recorded) {
        (None, Some(_)) => Some(format!("{key} is gone")),
        (Some(live), _) if live.pointer("/metadata/deletionTimestamp").is_some() => {
            Some(format!("{key} is being deleted"))
        }
        (Some(live), Some(recorded)) if uid(live) != Some(recorded) => Some(format!("{key} is another one")),
        _ => None,
    }
}

/// What became of what one action was decided on.
fn changed(change: &Change, facts: &ClusterFacts) -> Option<String> {
    match change {
        Change::ApplyObject { manifest, uid, changes, force, .. } => {
            let forced = if *force { facts.forced.get(&manifest.key) } else { None };
            let answer = forced.or_else(|| facts.dry_runs.get(&manifest.key));
            object(manifest, uid.as_deref(), changes, facts, answer)
        }
        // One that is gone was deleted by an apply that ended in the gap.
        Change::RecreateStatefulSet { manifest, uid, changes, .. } if facts.objects.contains_key(&manifest.key) => {
            let in_place = matches!(facts.dry_runs.get(&manifest.key), Some(Reading::Known(Answer::Accepted(_))));
            if in_place {
                return Some(format!("{} can be changed in place now", manifest.key));
            }
            object(manifest, Some(uid), changes, facts, facts.anew.get(&manifest.key))
        }
        Change::GrowDisk { claim, from, to, .. } => {
            let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim.clone() };
            let asked = facts.objects.get(&key)?.pointer("/spec/resources/requests/storage")?.as_str()?;
            let asked = Quantity::parse(asked).ok()?.bytes();
            (asked != *from && asked < *to).then(|| format!("{key} asked for {from} and now asks for {asked}"))
        }
        _ => None,
    }
}

/// Compares an object, and what an apply would change of it, with what was planned.
fn object(
    manifest: &Manifest,
    planned: Option<&str>,
    decided: &[FieldChange],
    facts: &ClusterFacts,
    answer: Option<&Reading<Answer>>,
) -> Option<String> {
    let key = &manifest.key;
    let live = match (facts.objects.get(key), planned) {
        (None, None) => return None,
        (None, Some(_)) => return Some(format!("{key} is gone")),
        (Some(live), Some(planned)) if uid(live) != Some(planned) => return Some(format!("{key} is another one")),
        (Some(live), _) => live,
    };
    let then = match answer {
        Some(Reading::Known(Answer::Accepted(then))) => then,
        Some(Reading::Known(Answer::Refused(refusal))) => {
            return Some(format!("the cluster refuses {key} now: {}", refusal.message));
        }
        // It is asked again just before the write.
        _ => return None,
    };
    let mut then = then.clone();
    if let (Some(name), Some(live)) = (then.pointer_mut("/metadata/name"), live.pointer("/metadata/name"))
        && *name == made_anew(manifest).key.name
    {
        live.clone_into(name);
    }
    let found = changes(live, &then);
    if planned.is_none() {
        let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
        let ours = managers.into_iter().flatten().any(|entry| entry["manager"] == FIELD_MANAGER);
        return (!found.is_empty() || !ours).then(|| format!("{key} was made by somebody"));
    }
    if found.is_empty() || found == decided {
        return None;
    }
    let new = found.iter().filter(|change| !decided.contains(change));
    let gone = decided.iter().filter(|change| !found.contains(change));
    let fields: BTreeSet<&str> = new.chain(gone).map(|change| change.path.as_str()).collect();
    let fields: Vec<&str> = fields.into_iter().collect();
    Some(format!("{key} changed: {}", fields.join(", ")))
}
