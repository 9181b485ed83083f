//! Turns what was decided into actions, and puts the plan together, with what must be said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::balance::Spread;
use super::diff::{self, WeightStep};
use super::drain::Sources;
use super::estimate::{Clock, estimate};
use super::graph::Graph;
use super::make::Planner;
use super::networks::pool_need;
use super::placement::{Item, need};
use super::preflight::Preflight;
use super::select::moves_address;
use super::waves::Waves;
use super::window::Window;
use super::{
    Action, Change, ConcurrencyPlan, Level, PlacementPlan, Plan, PlannedMove, Quarantined, StoragePlan, WeightChange,
    basis, policy,
};
use crate::diag::Diagnostics;
use crate::model::{Address, Bytes, DesiredStorage, Hook, Hours, Profile, StorageName, Weight};

impl<'a> Planner<'a, '_> {
    /// Makes the actions; items are sorted by wave and source.
    pub(super) fn actions(
        &self,
        steps: &[WeightStep<'a>],
        items: &[Item<'a>],
        waves: &Waves,
        proofs: &[&'a StorageName],
    ) -> Vec<Action> {
        let mut actions: Vec<Action> = steps.iter().map(|step| self.weight_action(step)).collect();
        for group in items.chunk_by(|a, b| (a.wave, a.source) == (b.wave, b.source)) {
            let Some(first) = group.first() else { continue };
            let (wave, source) = (waves.name(first.wave), &first.repository.storage);
            let assignments: BTreeSet<u32> = group.iter().map(|item| item.claimer.ordinal).collect();
            let named = assignments.iter().take(3).filter_map(|n| self.desired.assignments.get(*n as usize));
            let mut names: Vec<String> = named.map(|assignment| assignment.address.to_string()).collect();
            if assignments.len() > names.len() {
                names.push("…".to_owned());
            }
            actions.push(Action {
                address: moves_address(source, wave),
                // The range is set when the order of actions is known.
                change: Change::Moves {
                    wave: wave.to_owned(),
                    position: first.wave,
                    source: source.clone(),
                    window: self.window_of(wave).cloned(),
                    order: waves.order(first.wave),
                    first: 0,
                    count: 0,
                    bytes: Bytes(0),
                },
                reason: format!("assigned elsewhere by {}", names.join(", ")),
            });
        }
        actions.extend(self.pods.actions.iter().cloned());
        actions.extend(proofs.iter().map(|storage| Action {
            address: Address::new("drain", storage.as_str()),
            change: Change::ProveEmpty { storage: (*storage).clone() },
            reason: format!("{storage} drains, and nothing is known to remain on it"),
        }));
        actions
    }

    fn weight_action(&self, step: &WeightStep<'a>) -> Action {
        let reason = if self.drains(step.storage) {
            format!("{} drains: it must take no new repositories", step.storage)
        } else {
            format!("the configuration gives {} the weight {}", step.storage, step.to)
        };
        Action {
            address: Address::new("weight", step.storage.as_str()),
            change: Change::SetWeight { storage: step.storage.clone(), from: step.from, to: step.to },
            reason,
        }
    }

    /// Puts the plan together from its parts.
    pub(super) fn assemble(
        &mut self,
        graph: Graph,
        items: Vec<Item<'a>>,
        waves: Waves,
        spreads: &[Spread],
        sources: &Sources<'a>,
    ) -> Result<Plan, Diagnostics> {
        let (mut actions, edges) = graph.order().map_err(|cycle| Diagnostics::from(*cycle))?;
        set_ranges(&mut actions, &items);
        let freeze = self.freeze_plan(&items);
        let window = |wave: &str| {
            let name = self.window_of(wave)?;
            Window::new(&self.desired.windows.get(name)?.hours)
        };
        let clock = Clock { now: self.observed.as_of, actions: &actions, window: &window, days: freeze.forecast.days };
        let estimate = estimate(&items, self.names, self.desired, &waves, &self.timing, &clock);
        let pairs: BTreeSet<(u32, u32)> =
            items.iter().filter_map(|item| Some((item.source, item.destination?))).collect();
        let touched: BTreeSet<&StorageName> =
            pairs.iter().flat_map(|(from, to)| [*from, *to]).filter_map(|number| self.names.name(number)).collect();
        let mut by_name = BTreeSet::new();
        for (from, to) in pairs {
            if let (Some(from), Some(to)) = (self.names.name(from), self.names.name(to)) {
                self.preflight.versions(from, to);
                by_name.insert((from, to));
            }
        }
        let weights = self.weights(&actions);
        let managed: BTreeSet<&StorageName> = actions.iter().flat_map(|a| weights_of(&a.change)).collect();
        let basis = basis::basis(&self.desired.digest, self.recorded, self.observed, &managed, &touched);
        self.look(&actions, &items, &weights, estimate.duration_seconds);
        let windows = self.windows(&actions);
        let durations = self.timing.durations.among(&by_name);
        self.try_gates(&managed, &touched)?;
        let storages = self.storages(&items);
        let moves = self.moves(&items);
        drop(items);
        let concurrency = self.concurrency(&touched)?;
        let preflight =
            std::mem::replace(&mut self.preflight, Preflight::new(self.desired, self.observed, self.state, self.pods));
        let mut plan = Plan {
            format: Plan::FORMAT,
            environment: self.desired.environment.clone(),
            as_of: self.observed.as_of,
            listed: self.observed.listed,
            basis,
            actions,
            edges,
            moves,
            drift: diff::drift(self.desired, self.observed, self.state, self.pods, &sources.occupied),
            findings: preflight.finish(),
            report: std::mem::take(&mut self.report).finish(),
            quarantined: self.quarantined(),
            weights,
            storages,
            placement: spreads.iter().filter_map(|spread| self.spread(spread)).collect(),
            max_moves: self.desired.max_moves.max(1),
            concurrency,
            windows,
            freeze,
            source_fsck: self.desired.source_fsck,
            hooks: self.runtime_hooks(),
            durations,
            estimate,
            policies: Vec::new(),
            samples: waves.samples,
            renames: std::mem::take(&mut self.renames),
        };
        plan.policies = policy::verdicts(self.desired, &plan);
        Ok(plan)
    }

    /// The hours of the windows that moves or the freeze budget name.
    fn windows(&self, actions: &[Action]) -> BTreeMap<String, Hours> {
        let moves = |action: &'_ Action| match &action.change {
            Change::Moves { window, .. } => Some(window.clone()),
            _ => None,
        };
        let mut named: BTreeSet<String> = actions.iter().filter_map(moves).flatten().collect();
        if actions.iter().any(|action| matches!(action.change, Change::Moves { .. })) {
            named.extend(self.desired.freeze.window.clone());
        }
        let hours = |name: String| Some((self.desired.windows.get(&name)?.hours.clone(), name));
        named.into_iter().filter_map(hours).map(|(hours, name)| (name, hours)).collect()
    }

    /// How many moves run at once; nothing is asked where nothing moves.
    fn concurrency(&self, touched: &BTreeSet<&StorageName>) -> Result<ConcurrencyPlan, Diagnostics> {
        let desired = &self.desired.concurrency;
        let mut signals = BTreeMap::new();
        let adapts = desired.profile != Profile::Fixed;
        for storage in touched.iter().filter(|_| adapts && !desired.signals.is_empty()) {
            let (checks, _) = super::checks::checks(self.desired, &desired.signals, [*storage])?;
            signals.insert((*storage).clone(), checks);
        }
        Ok(ConcurrencyPlan {
            profile: desired.profile,
            interval_seconds: desired.interval_seconds,
            deadline_seconds: desired.deadline_seconds,
            signals,
            vetoes: desired.vetoes.clone(),
        })
    }

    /// The programs that run on what happens, not by an action of their own.
    fn runtime_hooks(&self) -> Vec<Hook> {
        let happens = |hook: &&Hook| hook.on.iter().any(|event| !super::release::planned(*event));
        self.desired.hooks.values().filter(happens).cloned().collect()
    }

    fn weights(&self, actions: &[Action]) -> BTreeMap<StorageName, WeightChange> {
        let same =
            |(name, weight): (&StorageName, &Weight)| (name.clone(), WeightChange { before: *weight, after: *weight });
        let mut weights: BTreeMap<_, _> = self.observed.gitlab.weights.iter().map(same).collect();
        let known = actions.iter().filter(|action| matches!(action.change, Change::AwaitKnown { .. }));
        weights.extend(known.filter_map(|action| Some(same((action.change.storage()?, &Weight::ZERO)))));
        for action in actions {
            let set: Vec<(&StorageName, Weight)> = match &action.change {
                Change::SetWeight { storage, to, .. } => vec![(storage, *to)],
                Change::Ramp { weights, .. } => weights.iter().map(|(name, change)| (name, change.after)).collect(),
                _ => continue,
            };
            for (storage, to) in set {
                if let Some(change) = weights.get_mut(storage) {
                    change.after = to;
                }
            }
        }
        weights
    }

    /// Looks over the plan for what an operator must know before saying yes.
    fn look(
        &mut self,
        actions: &[Action],
        items: &[Item<'a>],
        weights: &BTreeMap<StorageName, WeightChange>,
        seconds: u64,
    ) {
        for action in actions {
            if let Change::SetWeight { storage, from, to } = &action.change
                && to > from
                && let Some((storage, _)) = self.desired.storages.get_key_value(storage)
            {
                self.preflight.receives(storage);
            }
        }
        if !actions.is_empty() {
            self.preflight.token(seconds);
        }
        let managed = self.desired.storages.values().any(|s| s.drain || s.weight.is_some());
        if managed && !weights.is_empty() && weights.values().all(|change| change.after == Weight::ZERO) {
            let message = "Every storage that GitLab knows would have weight 0: new repositories would go to `default`, \
                           whether it exists or not.";
            let help = "Give at least one storage that stays a `weight` above 0.";
            self.preflight.add(Level::Error, "all-weights-zero", "weights", message.to_owned(), help);
        }
        let backup = self.desired.rollout.backup_declined || self.desired.rollout.backup.is_some();
        if !items.is_empty() && !backup {
            let message = "The source's copy is deleted by GitLab after each move; nothing here makes a backup.";
            let help = "Make a backup first. Name the hook that makes it, rollout.backup = hook.NAME; or, to say that you have one otherwise, \"none\".";
            self.preflight.add(Level::Danger, "no-backup", "moves", message.to_owned(), help);
        }
        let sizeless = items.iter().filter(|item| item.bytes == Bytes(0) && item.repository.size.is_none()).count();
        if sizeless > 0 {
            let message =
                format!("GitLab gave no size for {sizeless} of the repositories to move: they count as 0 bytes.");
            let help =
                "Room and times are underestimated by them. GitLab computes sizes when a repository is pushed to.";
            self.preflight.add(Level::Notice, "size-unknown", "moves", message, help);
        }
        if !self.live.is_empty() {
            let count = self.live.len();
            let moves = if count == 1 { "move is" } else { "moves are" };
            let message = format!("{count} {moves} under way in GitLab that this plan does not make.");
            let help = "They are waited for, not fought. Plan again when they have ended.";
            self.preflight.add(Level::Notice, "foreign-moves", "moves", message, help);
        }
    }

    fn storages(&self, items: &[Item<'a>]) -> BTreeMap<StorageName, StoragePlan> {
        let plan = |(name, storage): (&StorageName, &DesiredStorage)| {
            let disk = self.disk(name);
            let plan = StoragePlan {
                max_moves: storage.limits.max_moves.max(1),
                disk_ceiling_permille: storage.limits.disk_ceiling_permille,
                used: disk.map(|disk| disk.used),
                capacity: disk.map(|disk| Bytes(disk.used.0.saturating_add(disk.available.0))),
                incoming: Bytes(0),
                outgoing: Bytes(0),
                growth: self.growth.get(name).copied().unwrap_or_default(),
                bandwidth: storage.limits.bandwidth,
                incoming_count: 0,
                outgoing_count: 0,
            };
            (name.clone(), plan)
        };
        let mut storages: BTreeMap<_, _> = self.desired.storages.iter().map(plan).collect();
        let mut sums: BTreeMap<u32, [u64; 4]> = BTreeMap::new();
        let mut pools: BTreeMap<(u32, u32, Option<NonZeroU64>), (Bytes, usize)> = BTreeMap::new();
        for item in items {
            let [_, _, outgoing, count] = sums.entry(item.source).or_default();
            *outgoing = outgoing.saturating_add(item.bytes.0);
            *count += 1;
            if let Some(destination) = item.destination {
                let [incoming, count, _, _] = sums.entry(destination).or_default();
                *incoming = incoming.saturating_add(need(item.bytes).0);
                *count += 1;
                if item.shared.0 > 0 {
                    pools.entry((destination, item.source, item.network)).or_insert((item.shared, 0)).1 += 1;
                }
            }
        }
        for ((destination, ..), (pool, members)) in pools {
            let [incoming, ..] = sums.entry(destination).or_default();
            *incoming = incoming.saturating_add(pool_need(pool, members, self.desired.max_moves.max(1)));
        }
        for (number, [incoming, incoming_count, outgoing, outgoing_count]) in sums {
            if let Some(storage) = self.names.name(number).and_then(|name| storages.get_mut(name)) {
                (storage.incoming, storage.incoming_count) = (Bytes(incoming), incoming_count);
                (storage.outgoing, storage.outgoing_count) = (Bytes(outgoing), outgoing_count);
            }
        }
        storages
    }

    /// How evenly one family of storages was filled, by name.
    fn spread(&self, spread: &Spread) -> Option<PlacementPlan> {
        let bytes = |bytes: u128| Bytes(u64::try_from(bytes).unwrap_or(u64::MAX));
        let (fewest, most) = spread.members;
        Some(PlacementPlan {
            destinations: spread.bins.iter().filter_map(|bin| self.names.name(*bin)).cloned().collect(),
            fullest: self.names.name(spread.fullest)?.clone(),
            level: bytes(spread.level),
            bound: bytes(spread.bound),
            ratio_permille: spread.permille(),
            fewest,
            most,
        })
    }

    /// The networks whose members all leave a storage by this plan: the last of them goes alone.
    fn leaving_whole(&self, items: &[Item<'a>]) -> BTreeSet<(u32, NonZeroU64)> {
        let mut leaving: BTreeMap<(u32, NonZeroU64), u32> = BTreeMap::new();
        for item in items {
            if let Some(network) = item.network {
                *leaving.entry((item.source, network)).or_default() += 1;
            }
        }
        leaving.retain(|key, number| *number > 1 && self.members.get(key) == Some(number));
        leaving.into_keys().collect()
    }

    fn moves(&self, items: &[Item<'a>]) -> Vec<PlannedMove> {
        let whole = self.leaving_whole(items);
        let mut moves = Vec::with_capacity(items.len());
        moves.extend(items.iter().filter_map(|item| {
            let repository = item.repository;
            Some(PlannedMove {
                container: repository.container,
                path: repository.path.clone(),
                source: repository.storage.clone(),
                destination: self.names.name(item.destination?)?.clone(),
                assignment: item.claimer.assignment.address.clone(),
                bytes: item.bytes,
                shared: item.shared,
                pool: item.network.filter(|network| whole.contains(&(item.source, *network))),
                empty: repository.empty == Some(true),
            })
        }));
        moves
    }

    fn quarantined(&self) -> Vec<Quarantined> {
        let mut list: Vec<Quarantined> = self
            .state
            .quarantined()
            .map(|(container, record)| Quarantined {
                container,
                path: record.path.clone(),
                source: record.source.clone(),
                cause: record.cause.clone(),
                remedy: record.remedy.clone(),
                urgent: record.urgent,
            })
            .collect();
        list.sort_by_key(|one| (!one.urgent, one.container));
        list
    }
}

fn weights_of(change: &Change) -> Vec<&StorageName> {
    match change {
        Change::SetWeight { storage, .. } => vec![storage],
        Change::Ramp { weights, .. } => weights.keys().collect(),
        _ => Vec::new(),
    }
}

/// Gives every action of moves its range; items are sorted by wave and source.
fn set_ranges(actions: &mut [Action], items: &[Item<'_>]) {
    let mut ranges: BTreeMap<(u32, &StorageName), (u32, u32, u64)> = BTreeMap::new();
    let mut next = 0u32;
    for group in items.chunk_by(|a, b| (a.wave, a.source) == (b.wave, b.source)) {
        let Some(item) = group.first() else { continue };
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let bytes = group.iter().fold(0u64, |sum, item| sum.saturating_add(item.bytes.0));
        ranges.insert((item.wave, &item.repository.storage), (next, count, bytes));
        next = next.saturating_add(count);
    }
    for action in actions {
        if let Change::Moves { position, source, first, count, bytes, .. } = &mut action.change
            && let Some(range) = ranges.get(&(*position, &*source))
        {
            (*first, *count, *bytes) = (range.0, range.1, Bytes(range.2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostic;
    use crate::model::{Container, ContainerKind, DiskSpace, Reading};
    use crate::plan::fixture::{GIB, World, name, weight};
    use crate::plan::{Options, WaitingOn, make};
    use crate::state::{QuarantineRecord, Record, State};

    fn codes(plan: &Plan) -> Vec<(Level, &str)> {
        plan.findings.iter().map(|f| (f.level, f.code.as_str())).collect()
    }

    #[test]
    fn moves_come_largest_first_with_all_that_a_move_needs() {
        let plan = World::drain(&[10, 30, 20]).plan();
        let moves: Vec<_> = plan.moves.iter().map(|m| (m.container.id, m.bytes.0)).collect();
        assert_eq!(moves, [(2, 30), (3, 20), (1, 10)]);
        let Some(first) = plan.moves.first() else { panic!("planned") };
        assert_eq!(
            (first.source.as_str(), first.destination.as_str(), &*first.path),
            ("old", "new", "group/project-2")
        );
        assert_eq!(first.assignment.to_string(), "assignment.all");
        let lines: Vec<_> = plan.actions.iter().map(|a| format!("{}: {}", a.address, a.reason)).collect();
        assert_eq!(
            lines,
            [
                "weight.new: the configuration gives new the weight 100",
                "weight.old: old drains: it must take no new repositories",
                "moves.old[\"rest\"]: assigned elsewhere by assignment.all",
                "drain.old: old drains, and nothing is known to remain on it",
            ]
        );
        assert_eq!(plan.storages[&name("new")].incoming, Bytes(66));
        assert_eq!((plan.storages[&name("old")].outgoing, plan.storages[&name("old")].outgoing_count), (Bytes(60), 3));
        assert_eq!(plan.basis.filesystem_ids[&name("old")], "fs-old");
    }

    #[test]
    fn what_an_operator_must_know_is_said() {
        let mut world = World::drain(&[10]);
        world.desired.rollout.backup_declined = false;
        world.observed.repositories[0].size = None;
        assert_eq!(codes(&world.plan()), [(Level::Danger, "no-backup"), (Level::Notice, "size-unknown")]);
    }

    #[test]
    fn no_weight_is_given_to_a_storage_that_cannot_be_reached() {
        let mut world = World::new(&["a", "b"]);
        world.desired("b").weight = Some(weight(10));
        assert_eq!(codes(&world.plan()), []);
        world.facts("b").server = Reading::Unknown("refused".to_owned());
        assert_eq!(codes(&world.plan()), [(Level::Error, "storage-unreachable")]);
        world.desired("b").weight = Some(weight(0));
        assert_eq!(codes(&world.plan()), [(Level::Notice, "storage-unreachable")]);
    }

    #[test]
    fn what_fits_nowhere_is_told_with_figures() {
        let mut world = World::drain(&[90 * GIB, 10 * GIB]);
        world.facts("new").disk = Reading::Known(DiskSpace { available: Bytes(60 * GIB), used: Bytes(40 * GIB) });
        let plan = world.plan();
        assert_eq!(plan.moves.len(), 1);
        let destinations = vec![name("new")];
        let reason = WaitingOn::Room { destinations, free: Bytes(34 * GIB), needed: Bytes(99 * GIB) };
        assert_eq!((&plan.report[0].reason, plan.report[0].blocks_drain), (&reason, true));
        assert!(!plan.actions.iter().any(|a| matches!(a.change, Change::ProveEmpty { .. })));
    }

    #[test]
    fn quarantined_repositories_are_shown_and_stay() {
        let mut world = World::drain(&[1, 2]);
        let container = Container { kind: ContainerKind::Project, id: 2 };
        let record = QuarantineRecord {
            path: "group/project-2".to_owned(),
            source: name("old"),
            destination: name("new"),
            cause: "move failed".to_owned(),
            evidence: vec!["refs/heads/main".to_owned()],
            remedy: "restore it".to_owned(),
            urgent: true,
        };
        world.state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
        let plan = world.plan();
        assert_eq!((plan.moves.len(), plan.quarantined.len(), plan.drain_is_stuck()), (1, 1, true));
        assert_eq!(plan.report[0].reason, WaitingOn::Release);
    }

    #[test]
    fn what_this_version_cannot_bring_about_is_an_error() {
        let mut world = World::drain(&[1]);
        world.desired.later.push(Diagnostic::warning("config/x", "only a warning"));
        world.plan();
        world.desired.later.push(Diagnostic::error("config/later", "Not yet"));
        let errors = make(&world.desired, &world.observed, &world.state, &Options::default()).expect_err("refused");
        assert_eq!(errors.items.len(), 1);
    }

    #[test]
    fn an_excluded_fence_takes_its_moves_and_its_proof_along() {
        let world = World::drain(&[1, 2]);
        let lines = |target: &[&str], exclude: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            let plan = world.plan_with(&Options { target: own(target), exclude: own(exclude), ..Options::default() });
            assert!(!plan.drain_is_stuck());
            plan.actions.iter().map(|a| a.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(lines(&[], &["weight.old"]), ["weight.new"]);
        assert_eq!(lines(&[], &["weight.new"]), Vec::<String>::new());
        assert_eq!(lines(&[], &["drain.old"]), ["weight.new", "weight.old", "moves.old[\"rest\"]"]);
        assert_eq!(lines(&["weight.new"], &[]), ["weight.new"]);
        assert_eq!(lines(&["assignment.all"], &[]), ["weight.new", "weight.old", "moves.old[\"rest\"]"]);
        assert_eq!(lines(&["drain.old"], &[]).len(), 4);
    }

    #[test]
    fn an_exclusion_leaves_drains_alone_that_only_come_after_it() {
        // a and b drain into c, whose weight rises, and into d, which has one already.
        let mut world = World::new(&["a", "b", "c", "d"]);
        world.desired("a").drain = true;
        world.desired("b").drain = true;
        world.observed.gitlab.weights.insert(name("b"), weight(50));
        world.desired("c").weight = Some(weight(100));
        world.observed.gitlab.weights.insert(name("d"), weight(10));
        world.assign("all", &["a", "b"], &["d"], 0);
        world.repositories("a", &[1, 2]);
        world.repositories("b", &[3, 4]);
        let lines = |world: &World, exclude: &str| {
            let plan = world.plan_with(&Options { exclude: vec![exclude.to_owned()], ..Options::default() });
            plan.actions.iter().map(|a| a.address.to_string()).collect::<Vec<_>>()
        };
        let without = |world: &World, what: &str| {
            let whole = world.plan().actions.into_iter().map(|a| a.address.to_string());
            whole.filter(|address| !address.contains(what)).collect::<Vec<_>>()
        };
        for (exclude, what) in [("storage.c", ".c"), ("storage.a", ".a"), ("weight.a", ".a")] {
            assert_eq!(lines(&world, exclude), without(&world, what));
            assert_eq!(without(&world, what).len(), if what == ".a" { 4 } else { 6 });
        }
        // Waves are an order as well.
        let mut waves = world.clone();
        waves.desired.rollout.waves = vec![crate::plan::fixture::wave("first", Some(2))];
        assert!(without(&waves, "none").iter().any(|a| a == "moves.a[\"first\"]"));
        assert_eq!(lines(&waves, "weight.a"), without(&waves, ".a"));
        assert!(lines(&waves, "weight.a").iter().any(|a| a == "moves.b[\"rest\"]"));
        // Were d's weight 0, no storage would take new repositories without c's rise.
        world.observed.gitlab.weights.insert(name("d"), weight(0));
        assert_eq!(lines(&world, "storage.c"), Vec::<String>::new());
    }
}
