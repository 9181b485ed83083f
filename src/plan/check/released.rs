//! What must hold of probes, of the ramp's steps, and of what is waited for.

use std::collections::BTreeMap;

use super::Ancestors;
use crate::model::{HookEvent, StorageName, Weight};
use crate::plan::{After, Change, Plan};

/// Lists what is wrong.
pub(super) fn faults(plan: &Plan, before: &Ancestors, faults: &mut Vec<String>) {
    let all: Vec<(u32, &Change)> = (0u32..).zip(plan.actions.iter().map(|action| &action.change)).collect();
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, change) in &all {
        if let Change::Moves { wave, position, .. } = change {
            places.insert(wave, *position);
        }
    }
    let stage = |change: &Change| match change {
        Change::Ramp { percent, .. } => Some((*percent, 0)),
        Change::Hold { after: After::Ramp { percent }, .. } => Some((*percent, 1)),
        Change::SetWeight { .. } => Some((100, 0)),
        _ => None,
    };
    let ramped = all
        .iter()
        .any(|(_, change)| matches!(change, Change::Ramp { .. } | Change::Hold { after: After::Ramp { .. }, .. }));
    for (id, change) in &all {
        let mut needs: Vec<u32> = Vec::new();
        let comes_before = |pick: &dyn Fn(&Change) -> bool| {
            all.iter().filter(|(_, other)| pick(other)).map(|(other, _)| *other).collect::<Vec<u32>>()
        };
        if matches!(change, Change::Ramp { .. } | Change::SetWeight { .. } | Change::Moves { .. }) {
            needs.extend(comes_before(&|other| matches!(other, Change::Probe { .. })));
        }
        if let (true, Some(own)) = (ramped, stage(change)) {
            needs.extend(comes_before(&|other| stage(other).is_some_and(|other| other < own)));
        }
        if let Change::Moves { wave, position, .. } = change {
            needs.extend(comes_before(&|other| match other {
                Change::Hold { after: After::Ramp { percent: 100 }, .. } => true,
                Change::Hold { after: After::Wave { wave }, .. } => {
                    places.get(wave.as_str()).is_some_and(|place| place < position)
                }
                Change::RunHook { on: HookEvent::WaveStart, wave: of, .. } => of == wave,
                _ => false,
            }));
        }
        if let Change::Hold { after: After::Wave { wave }, .. } = change {
            needs.extend(comes_before(&|other| matches!(other, Change::Moves { wave: of, .. } if of == wave)));
        }
        let known = if needs.is_empty() { continue } else { before.of(*id) };
        let name = |id: u32| plan.actions.get(id as usize).map(|a| a.address.to_string()).unwrap_or_default();
        if let Some(missing) = needs.iter().find(|need| !known.contains(need)) {
            faults.push(format!("{} does not wait for {}", name(*id), name(*missing)));
        }
    }
    never_zero(plan, faults);
}

/// After no step all weights are 0.
fn never_zero(plan: &Plan, faults: &mut Vec<String>) {
    let mut now: BTreeMap<&StorageName, Weight> = plan.weights.iter().map(|(name, c)| (name, c.before)).collect();
    for action in &plan.actions {
        let Change::Ramp { weights, .. } = &action.change else { continue };
        now.extend(weights.iter().map(|(name, change)| (name, change.after)));
        if now.values().all(|weight| *weight == Weight::ZERO) {
            faults.push(format!("{} leaves every weight at 0", action.address));
        }
    }
}
