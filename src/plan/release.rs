//! How the plan's weights and moves are released: the probe before them, the ramp's steps, what is waited for after each
//! of them and after each wave, and the operator's programs around waves. Made from the actions that a selection left: all
//! of it follows what it releases, and is planned with it.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::checks;
use super::make::Planner;
use super::ramp;
use super::waves::{wave_names, wave_of};
use super::{Action, After, Calm, Change, Level};
use crate::diag::Diagnostics;
use crate::model::{Address, Hook, HookEvent, Reading, StorageName, Weight};
use crate::state::HoldRecord;

/// Where the moves of each wave off each storage go.
pub(super) type Towards = BTreeMap<(u32, StorageName), BTreeSet<StorageName>>;

/// The address of the hold after something.
pub fn hold_address(after: &After) -> Address {
    match after {
        After::Ramp { percent } => Address::new("hold", "ramp").with_key(percent.to_string()),
        After::Wave { wave } => Address::new("hold", "wave").with_key(wave.as_str()),
    }
}

/// The events that the plan's own actions stand for; the others are run as they happen.
pub(super) fn planned(event: HookEvent) -> bool {
    matches!(event, HookEvent::WaveStart | HookEvent::WaveDone)
}

impl<'a> Planner<'a, '_> {
    /// Adds all that releases these actions, and has the last step of a ramp begin where the one before ends.
    pub(super) fn release(&mut self, actions: &mut Vec<Action>, towards: &Towards) -> Result<(), Diagnostics> {
        let mut more = self.probes(towards);
        more.extend(self.ramp(actions)?);
        more.extend(self.waves(actions, towards)?);
        actions.extend(more);
        Ok(())
    }

    /// Wave names by position.
    pub(super) fn positions(&self) -> BTreeMap<String, u32> {
        wave_names(self.desired).into_iter().zip(0..).collect()
    }

    /// One probe for each destination of moves whose disk was not found right before.
    fn probes(&mut self, towards: &Towards) -> Vec<Action> {
        let Some(path) = &self.desired.rollout.probe else { return Vec::new() };
        let seen = |storage: &StorageName| {
            self.observed.storages.get(storage)?.server.known().map(|server| server.filesystem_id.as_str())
        };
        let proven = |storage: &StorageName| {
            let probed = self.state.storage(storage).and_then(|record| record.probed.as_deref());
            probed.is_some() && probed == seen(storage)
        };
        let mut wanted: BTreeSet<&StorageName> = towards.values().flatten().filter(|to| !proven(to)).collect();
        let project = match &self.observed.probe {
            Some(Reading::Known(project)) => project,
            _ if wanted.is_empty() => return Vec::new(),
            unread => {
                let cause = match unread {
                    Some(Reading::Unknown(cause)) => format!(": {cause}"),
                    _ => String::new(),
                };
                let message = format!("The project {path} that rollout.probe names cannot be read{cause}.");
                let help = "Name a project that exists and that the token may push to, by its full path; or leave `probe` out.";
                self.preflight.add(Level::Error, "probe-project", path, message, help);
                return Vec::new();
            }
        };
        let away = self.state.probe(project.container);
        if self.selection_is_all() {
            wanted.extend(away.map(|record| &record.storage));
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let quarantined = self.state.quarantined().any(|(container, _)| container == project.container);
        let cannot = match (project.archived, quarantined) {
            (Some(true), _) => Some("is archived: nothing can be committed to it"),
            (_, true) => Some("is quarantined: it must be released before it can move"),
            _ => None,
        };
        if let Some(why) = cannot {
            let message = format!("The project {path} that rollout.probe names {why}.");
            self.preflight.add(Level::Error, "probe-project", path, message, "Name another project.");
            return Vec::new();
        }
        let home = away.map_or(&project.storage, |record| &record.home);
        let probe = |storage: &StorageName| Action {
            address: Address::new("probe", storage.as_str()),
            change: Change::Probe {
                storage: storage.clone(),
                container: project.container,
                path: project.path.clone(),
                home: home.clone(),
            },
            reason: format!("{storage} was not yet found right: by GitLab's way to it and by ours"),
        };
        wanted.into_iter().map(probe).collect()
    }

    /// The steps of the ramp, each with its hold.
    fn ramp(&self, actions: &mut Vec<Action>) -> Result<Vec<Action>, Diagnostics> {
        let rollout = &self.desired.rollout;
        if rollout.ramp.is_empty() {
            return Ok(Vec::new());
        }
        let mut before = self.observed.gitlab.weights.clone();
        let (mut after, mut rising) = (before.clone(), BTreeSet::new());
        for action in actions.iter() {
            let Change::SetWeight { storage, from, to } = &action.change else { continue };
            before.entry(storage.clone()).or_insert(*from);
            after.insert(storage.clone(), *to);
            if to > from {
                rising.insert(storage.clone());
            }
        }
        let mut records: Vec<(u8, &HoldRecord)> =
            self.state.holds("ramp").filter_map(|(key, record)| Some((key.parse().ok()?, record))).collect();
        if records.iter().any(|(percent, record)| *percent == 100 && record.passed) {
            // Of a ramp that came to its end.
            records.clear();
        }
        // Storages that join begin at the first step.
        records.retain(|(_, record)| rising.is_subset(&record.storages));
        let floor = records.iter().map(|(percent, _)| *percent).max().unwrap_or(0);
        let pending = records.iter().filter(|(_, record)| !record.passed).max_by_key(|(percent, _)| *percent);
        let pending = pending.filter(|(percent, _)| *percent == floor).copied();
        let mut found = Vec::new();
        // Those that rise may have come where they go before the others fell.
        let falls = !records.is_empty() && after != before;
        if rising.is_empty() && !falls {
            // Named alone, it is watched on as it was begun.
            if let Some((percent, record)) =
                pending.filter(|(percent, _)| self.targets(&After::Ramp { percent: *percent }))
            {
                let (storages, rollback) = (record.storages.clone(), record.rollback.clone());
                found.extend(self.hold(After::Ramp { percent }, storages, None, None, rollback)?);
            }
            // Without a record of its last step it was cut short right after that was set.
            let last = records.iter().max_by_key(|(percent, _)| *percent).filter(|_| self.selection_is_all());
            if let Some((percent, record)) = last.filter(|(percent, record)| *percent < 100 || !record.passed) {
                let rollback = if *percent == 100 { record.rollback.clone() } else { BTreeMap::new() };
                found.extend(self.hold(After::Ramp { percent: 100 }, record.storages.clone(), None, None, rollback)?);
            }
            return Ok(found);
        }
        let mut new = rising.clone();
        new.extend(records.iter().flat_map(|(_, record)| record.storages.iter().cloned()));
        if let Some((percent, record)) = pending.filter(|(percent, _)| *percent < 100) {
            found.extend(self.hold(After::Ramp { percent }, new.clone(), None, None, record.rollback.clone())?);
        }
        let back = |weights: &BTreeMap<StorageName, Weight>, of: &mut dyn Iterator<Item = &StorageName>| {
            let own = of.filter_map(|name| Some((name.clone(), *weights.get(name)?)));
            if rollout.rollback { own.collect() } else { BTreeMap::new() }
        };
        let percents = rollout.ramp.iter().copied().filter(|percent| *percent > floor && *percent < 100);
        let mut now = before.clone();
        let steps = ramp::steps(&before, &after, &new, percents.clone());
        // A step that is taken already and of which nothing is recorded: a run was cut short right after it set it.
        let first = steps.first().map_or(100, |step| step.percent);
        let taken = percents.filter(|percent| *percent < first).max();
        let has_share = new.iter().any(|name| before.get(name).is_some_and(|weight| *weight > Weight::ZERO));
        if let Some(percent) = taken.filter(|_| has_share && pending.is_none()) {
            found.extend(self.hold(After::Ramp { percent }, new.clone(), None, None, BTreeMap::new())?);
        }
        for step in steps {
            let ramp::Step { percent, share_permille, weights } = step;
            let rollback = back(&now, &mut weights.keys());
            now.extend(weights.iter().map(|(name, change)| (name.clone(), change.after)));
            found.push(Action {
                address: Address::new("ramp", "weights").with_key(percent.to_string()),
                change: Change::Ramp { percent, share_permille, weights },
                reason: format!("the new storages take {percent} % of new repositories before they take more"),
            });
            found.extend(self.hold(After::Ramp { percent }, new.clone(), None, None, rollback)?);
        }
        let rollback = back(&now, &mut after.keys().filter(|name| now.get(*name) != after.get(*name)));
        actions.retain_mut(|action| match &mut action.change {
            Change::SetWeight { storage, from, to } => {
                *from = now.get(storage).copied().unwrap_or(*from);
                from != to
            }
            _ => true,
        });
        found.extend(self.hold(After::Ramp { percent: 100 }, new, None, None, rollback)?);
        Ok(found)
    }

    /// What is waited for after waves, and the programs around them.
    fn waves(&self, actions: &[Action], towards: &Towards) -> Result<Vec<Action>, Diagnostics> {
        let rollout = &self.desired.rollout;
        let mut found = Vec::new();
        // By position: the name, and the storages that its moves go to.
        let mut waves: BTreeMap<u32, (String, BTreeSet<StorageName>)> = BTreeMap::new();
        for action in actions {
            let Change::Moves { wave, position, source, .. } = &action.change else { continue };
            let to = towards.get(&(*position, source.clone())).into_iter().flatten().cloned();
            waves.entry(*position).or_insert_with(|| (wave.clone(), BTreeSet::new())).1.extend(to);
        }
        for (name, _) in waves.values() {
            found.extend(self.hooks(HookEvent::WaveStart, name));
            found.extend(self.hooks(HookEvent::WaveDone, name));
        }
        // Of waves that ended while nobody saw it.
        let ended = |name: &&str| !waves.values().any(|(wave, _)| wave == name);
        for name in self.state.waves_with_ends_due().filter(|_| self.selection_is_all()).filter(ended) {
            found.extend(self.hooks(HookEvent::WaveDone, name));
        }
        let last = waves.keys().next_back().copied();
        let places = self.positions();
        let mut alone = BTreeSet::new();
        for (name, record) in self.state.holds("wave").filter(|(_, record)| !record.passed) {
            let Some(position) = places.get(name) else { continue };
            let named = self.targets(&After::Wave { wave: name.to_owned() });
            if named && !waves.contains_key(position) {
                alone.insert(*position);
            }
            if named || last.is_some_and(|last| *position < last) || self.selection_is_all() {
                let wave = waves.entry(*position).or_insert_with(|| (name.to_owned(), BTreeSet::new()));
                wave.1.extend(record.storages.iter().cloned());
            }
        }
        for (position, (name, storages)) in waves {
            let own = wave_of(self.desired, &name);
            let soak = own.and_then(|wave| wave.soak_seconds);
            let gates = own.and_then(|wave| wave.gates.as_deref());
            // What comes after one that was named alone was not selected.
            let ends = last.is_none_or(|last| position >= last) && !alone.contains(&position);
            if ends && gates.unwrap_or(&rollout.gates).is_empty() {
                // Nothing comes after it, and nothing is asked.
                continue;
            }
            found.extend(self.hold(After::Wave { wave: name }, storages, soak, gates, BTreeMap::new())?);
        }
        Ok(found)
    }

    /// The hold after something, if there is anything to wait for. One of a wave that was passed is there again as soon as
    /// the wave has moves again: it was passed for what had moved by then.
    fn hold(
        &self,
        after: After,
        storages: BTreeSet<StorageName>,
        soak: Option<u64>,
        gates: Option<&[Address]>,
        rollback: BTreeMap<StorageName, Weight>,
    ) -> Result<Option<Action>, Diagnostics> {
        let rollout = &self.desired.rollout;
        let (soak_seconds, gates) = (soak.unwrap_or(rollout.soak_seconds), gates.unwrap_or(&rollout.gates));
        let address = hold_address(&after);
        if soak_seconds == 0 && gates.is_empty() {
            return Ok(None);
        }
        let (checks, approvals) = checks(self.desired, gates, &storages)?;
        let reason = match &after {
            After::Ramp { percent: 100 } => "nothing moves before the new weights have held".to_owned(),
            After::Ramp { percent } => format!("no more than {percent} % before that has held"),
            After::Wave { wave } => format!("what comes after wave {wave} begins only when it has held"),
        };
        let calm = rollout.calm.filter(|_| !checks.is_empty()).map(|after| Calm { after, so_far: self.calm() });
        let change = Change::Hold { after, storages, soak_seconds, calm, checks, approvals, rollback };
        Ok(Some(Action { address, change, reason }))
    }

    /// So many holds in a row were passed at once, up to the newest: the ramp's in their order, then those of waves.
    fn calm(&self) -> u32 {
        let mut ramp: Vec<(u8, &HoldRecord)> =
            self.state.holds("ramp").filter_map(|(key, record)| Some((key.parse().ok()?, record))).collect();
        ramp.sort_by_key(|(percent, _)| *percent);
        let places = self.positions();
        let mut waves: Vec<(u32, &HoldRecord)> =
            self.state.holds("wave").filter_map(|(key, record)| Some((*places.get(key)?, record))).collect();
        waves.sort_by_key(|(position, _)| *position);
        let all = ramp.into_iter().map(|(_, r)| r).chain(waves.into_iter().map(|(_, r)| r));
        all.filter(|record| record.passed).fold(0u32, |row, record| if record.at_once { row + 1 } else { 0 })
    }

    fn hooks(&self, on: HookEvent, wave: &str) -> impl Iterator<Item = Action> {
        let backup = self.desired.rollout.backup.as_ref().filter(|_| on == HookEvent::WaveStart);
        let runs = |hook: &&Hook| hook.on.contains(&on) || backup == Some(&hook.name);
        let hooks: Vec<Action> = self
            .desired
            .hooks
            .values()
            .filter(runs)
            .map(|hook| Action {
                address: Address::new("hook", hook.name.as_str()).with_key(format!("{on} {wave}")),
                change: Change::RunHook { hook: hook.clone(), on, wave: wave.to_owned() },
                reason: match on {
                    HookEvent::WaveStart if backup == Some(&hook.name) => {
                        "it makes the backup before a wave".to_owned()
                    }
                    _ => format!("the configuration runs it on {on}"),
                },
            })
            .collect();
        hooks.into_iter()
    }
}
