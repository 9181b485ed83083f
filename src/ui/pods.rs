//! What a plan does to pod storages: objects by storage, what each change does, and the fields that differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::text;
use super::words;
use crate::model::{Address, StorageName};
use crate::plan::pods::{ChangeClass, FieldChange};
use crate::plan::{Action, Change, Plan};

/// One pod storage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PodRow {
    /// GitLab's name.
    pub storage: StorageName,
    /// Its actions, in the order of the plan.
    pub actions: Vec<PodActionRow>,
}

/// One thing done to a pod storage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PodActionRow {
    /// The action.
    pub address: Address,
    /// What it does to the storage.
    pub class: PodClass,
    /// In a line.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Fields that differ.
    pub changes: Vec<ChangedField>,
}

/// What an action does to a pod storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodClass {
    /// Makes an object.
    Create,
    /// Changes one; nothing restarts.
    InPlace,
    /// The pod restarts.
    RollsPod,
    /// Makes the StatefulSet anew around its pod.
    Recreate,
    /// Grows the disk.
    Grow,
    /// Waits.
    Wait,
    /// Drops the record.
    Forget,
}

/// One field, now and after, as text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedField {
    /// Like `.spec.template.spec.containers[gitaly].image`.
    pub path: String,
    /// As JSON; of a text with several lines only those that differ. `None`: not there.
    pub before: Option<String>,
    /// As JSON; of a text with several lines only those that differ. `None`: it goes.
    pub after: Option<String>,
}

/// How much is done to pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PodTotals {
    /// Objects to apply.
    pub objects: u64,
    /// Pods that restart.
    pub restarts: u64,
    /// Disks to grow.
    pub disks: u64,
    /// Storages to wait for.
    pub waits: u64,
    /// Storages to forget.
    pub forgotten: u64,
}

impl PodTotals {
    /// Counts a plan's actions.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut totals = Self::default();
        let mut restarts: BTreeSet<&StorageName> = BTreeSet::new();
        for change in plan.actions.iter().map(|action| &action.change) {
            let restart = match change {
                Change::ApplyObject { class, .. } => {
                    totals.objects += 1;
                    *class == ChangeClass::RollsPod
                }
                Change::RecreateStatefulSet { restarts, .. } => {
                    totals.objects += 1;
                    *restarts
                }
                Change::ReplacePod { .. } => true,
                Change::GrowDisk { .. } => {
                    totals.disks += 1;
                    false
                }
                Change::AwaitReady { .. } => {
                    totals.waits += 1;
                    false
                }
                Change::Forget { .. } => {
                    totals.forgotten += 1;
                    false
                }
                Change::AwaitKnown { .. }
                | Change::SetWeight { .. }
                | Change::Moves { .. }
                | Change::ProveEmpty { .. }
                | Change::Probe { .. }
                | Change::Ramp { .. }
                | Change::Hold { .. }
                | Change::RunHook { .. } => false,
            };
            if restart {
                restarts.extend(change.storage());
            }
        }
        totals.restarts = restarts.len() as u64;
        totals
    }

    /// In words, for the one sentence about a plan.
    pub(super) fn parts(&self) -> Vec<String> {
        let Self { objects, restarts, disks, waits, forgotten } = *self;
        let mut parts = Vec::new();
        if objects > 0 {
            parts.push(format!("{} to apply", text::count(objects, "object", "objects")));
        }
        if restarts > 0 {
            parts.push(format!("{} to restart", text::count(restarts, "pod", "pods")));
        }
        if disks > 0 {
            parts.push(format!("{} to grow", text::count(disks, "disk", "disks")));
        }
        if waits > 0 && objects + restarts + disks == 0 {
            parts.push(format!("{} to wait for", text::count(waits, "storage", "storages")));
        }
        if forgotten > 0 {
            parts.push(format!("{} to forget", text::count(forgotten, "storage", "storages")));
        }
        parts
    }
}

/// The pod storages of a plan, in the order of their names.
pub(super) fn rows(plan: &Plan) -> Vec<PodRow> {
    let mut rows: BTreeMap<&StorageName, Vec<PodActionRow>> = BTreeMap::new();
    for action in &plan.actions {
        if let Some(row) = row(action) {
            let Some(storage) = action.change.storage() else { continue };
            rows.entry(storage).or_default().push(row);
        }
    }
    rows.into_iter().map(|(storage, actions)| PodRow { storage: storage.clone(), actions }).collect()
}

fn row(action: &Action) -> Option<PodActionRow> {
    let (class, changes): (PodClass, &[FieldChange]) = match &action.change {
        Change::ApplyObject { class, changes, .. } => {
            let class = match class {
                ChangeClass::Create => PodClass::Create,
                ChangeClass::InPlace => PodClass::InPlace,
                ChangeClass::RollsPod => PodClass::RollsPod,
            };
            (class, changes)
        }
        Change::RecreateStatefulSet { changes, .. } => (PodClass::Recreate, changes),
        Change::GrowDisk { .. } => (PodClass::Grow, &[]),
        Change::ReplacePod { .. } => (PodClass::RollsPod, &[]),
        Change::AwaitReady { .. } | Change::AwaitKnown { .. } => (PodClass::Wait, &[]),
        Change::Forget { .. } => (PodClass::Forget, &[]),
        Change::SetWeight { .. }
        | Change::Moves { .. }
        | Change::ProveEmpty { .. }
        | Change::Probe { .. }
        | Change::Ramp { .. }
        | Change::Hold { .. }
        | Change::RunHook { .. } => return None,
    };
    Some(PodActionRow {
        address: action.address.clone(),
        class,
        what: words::action(action),
        reason: action.reason.clone(),
        changes: changes.iter().map(changed).collect(),
    })
}

fn changed(change: &FieldChange) -> ChangedField {
    let FieldChange { path, before, after } = change;
    let (mut was, mut then) = (before.as_ref().map(Value::to_string), after.as_ref().map(Value::to_string));
    if let (Some(Value::String(old)), Some(Value::String(new))) = (before, after)
        && (old.contains('\n') || new.contains('\n'))
    {
        let (old, new) = differing(old, new);
        (was, then) = (Some(old), Some(new));
    }
    ChangedField { path: path.clone(), before: was, after: then }
}

/// The lines between the first and the last that differ.
fn differing(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(same).count().min(most);
    let part = |lines: &[&str]| lines.get(head..lines.len() - tail).unwrap_or_default().join("\n");
    (part(&old), part(&new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_texts_only_the_lines_that_differ_are_told() {
        let of = |a: &str, b: &str| differing(a, b);
        assert_eq!(of("a\nb\nc\n", "a\nx\ny\nc\n"), ("b".to_owned(), "x\ny".to_owned()));
        assert_eq!(of("a\na\n", "a\n"), ("a".to_owned(), String::new()));
        assert_eq!(of("", "a\nb"), (String::new(), "a\nb".to_owned()));
        assert_eq!(of("a\nb\na", "a\nb\nb\na"), (String::new(), "b".to_owned()));
    }
}
