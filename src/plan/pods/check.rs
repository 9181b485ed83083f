//! The linter's rules for what a plan does to pod storages.

use std::collections::{BTreeMap, BTreeSet};

use super::ChangeClass;
use crate::model::StorageName;
use crate::model::cluster::{ObjectKey, ObjectKind};
use crate::plan::{Change, Plan};

/// The actions of one storage, by their places in the plan.
#[derive(Debug, Default)]
struct Steps {
    /// Objects, the StatefulSet and the pod's replacement: all that comes before it is ready.
    before_ready: Vec<u32>,
    /// What restarts a pod that is there, or takes its StatefulSet away for a moment.
    restart: Option<u32>,
    /// The pod starts, for the first time or anew.
    starts: bool,
    disk: Option<u32>,
    ready: Option<u32>,
    known: Option<u32>,
    forgets: bool,
}

/// Lists what is wrong with the actions on pods. `earlier`: all that an action waits for, directly or not.
pub(in crate::plan) fn faults(plan: &Plan, earlier: impl Fn(u32) -> BTreeSet<u32>, faults: &mut Vec<String>) {
    let mut steps: BTreeMap<&StorageName, Steps> = BTreeMap::new();
    let mut seen: BTreeSet<&ObjectKey> = BTreeSet::new();
    for (id, action) in (0u32..).zip(&plan.actions) {
        shape(&action.change, &action.address.to_string(), &mut seen, faults);
        let Some(storage) = action.change.storage() else { continue };
        let of = steps.entry(storage).or_default();
        match &action.change {
            Change::ApplyObject { manifest, class, .. } => {
                of.before_ready.push(id);
                if manifest.key.kind == ObjectKind::StatefulSet {
                    of.starts |= *class != ChangeClass::InPlace;
                    of.restart = of.restart.or((*class == ChangeClass::RollsPod).then_some(id));
                }
            }
            Change::RecreateStatefulSet { .. } => {
                of.before_ready.push(id);
                of.starts = true;
                of.restart = of.restart.or(Some(id));
            }
            Change::ReplacePod { .. } => {
                of.before_ready.push(id);
                of.starts = true;
            }
            Change::GrowDisk { .. } => of.disk = Some(id),
            Change::AwaitReady { .. } => of.ready = Some(id),
            Change::AwaitKnown { .. } => of.known = Some(id),
            Change::Forget { .. } => of.forgets = true,
            _ => {}
        }
    }
    if steps.values().all(|of| of.ready.is_none() && !of.starts && of.disk.is_none() && !of.forgets) {
        return;
    }
    for (storage, of) in &steps {
        if of.starts && of.ready.is_none() {
            faults.push(format!("the pod of {storage} starts and nothing waits until it is ready"));
        }
        if of.forgets && (of.ready.is_some() || !of.before_ready.is_empty() || plan.storages.contains_key(*storage)) {
            faults.push(format!("{storage} is forgotten and worked on"));
        }
        let ready = of.ready.map(|ready| (ready, of.before_ready.as_slice()));
        let known = of.known.zip(of.ready.as_ref()).map(|(known, ready)| (known, std::slice::from_ref(ready)));
        for (id, needs) in ready.into_iter().chain(known) {
            waits(plan, id, needs, &earlier, faults);
        }
    }
    for (id, action) in (0u32..).zip(&plan.actions) {
        let mut needs = Vec::new();
        match &action.change {
            Change::SetWeight { storage, from, to } => {
                if let Some(of) = steps.get(storage) {
                    needs.extend(of.known);
                    needs.extend(of.ready.filter(|_| to > from));
                }
            }
            Change::Moves { .. } => {
                let to: BTreeSet<&StorageName> = plan.moves_of(action).iter().map(|one| &one.destination).collect();
                let of = to.into_iter().filter_map(|storage| steps.get(storage));
                needs.extend(of.flat_map(|of| [of.ready, of.known, of.disk]).flatten());
            }
            _ => {}
        }
        waits(plan, id, &needs, &earlier, faults);
    }
    // One restart after the other.
    let restarts: Vec<(&StorageName, u32, Option<u32>)> =
        steps.iter().filter_map(|(name, of)| Some((*name, of.restart?, of.ready))).collect();
    for pair in restarts.windows(2) {
        if let [(first, one, first_ready), (second, two, second_ready)] = pair {
            let after = |later: u32, ready: &Option<u32>| ready.is_some_and(|ready| earlier(later).contains(&ready));
            if !after(*two, first_ready) && !after(*one, second_ready) {
                faults.push(format!("{first} and {second} restart at once"));
            }
        }
    }
}

fn waits(plan: &Plan, id: u32, needs: &[u32], earlier: &impl Fn(u32) -> BTreeSet<u32>, faults: &mut Vec<String>) {
    if needs.is_empty() {
        return;
    }
    let before = earlier(id);
    let name = |id: u32| plan.actions.get(id as usize).map(|action| action.address.to_string()).unwrap_or_default();
    if let Some(missing) = needs.iter().find(|need| !before.contains(need)) {
        faults.push(format!("{} does not wait for {}", name(id), name(*missing)));
    }
}

/// What must hold of one action by itself.
fn shape<'p>(change: &'p Change, address: &str, seen: &mut BTreeSet<&'p ObjectKey>, faults: &mut Vec<String>) {
    match change {
        Change::ApplyObject { manifest, class, uid, changes, force, .. } => {
            let kind = manifest.key.kind;
            if !ObjectKind::APPLIED.contains(&kind) {
                faults.push(format!("{address} applies a {kind}, which is never applied"));
            }
            // A pod that lost its StatefulSet may restart when that is made.
            let made = *class == ChangeClass::Create || (*class == ChangeClass::RollsPod && uid.is_none());
            if made != uid.is_none() {
                faults.push(format!("{address} does not say whether its object exists"));
            }
            if *class == ChangeClass::RollsPod && kind != ObjectKind::StatefulSet {
                faults.push(format!("{address} restarts a pod, and is no StatefulSet"));
            }
            if !made && changes.is_empty() && !force {
                faults.push(format!("{address} changes nothing"));
            }
            let name = manifest.body.pointer("/metadata/name").and_then(serde_json::Value::as_str);
            if name != Some(manifest.key.name.as_str()) {
                faults.push(format!("{address} applies an object of another name"));
            }
            if !seen.insert(&manifest.key) {
                faults.push(format!("two actions apply {}", manifest.key));
            }
        }
        Change::RecreateStatefulSet { manifest, uid, changes, .. } => {
            if manifest.key.kind != ObjectKind::StatefulSet || uid.is_empty() || changes.is_empty() {
                faults.push(format!("{address} does not say which StatefulSet it makes anew, and why"));
            }
            if !seen.insert(&manifest.key) {
                faults.push(format!("two actions apply {}", manifest.key));
            }
        }
        Change::GrowDisk { from, to, .. } if to <= from => faults.push(format!("{address} does not grow its disk")),
        _ => {}
    }
}
