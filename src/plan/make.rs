//! Makes the plan, step by step: claims, placement, waves, actions, order, and what must be said about it.

use std::collections::{BTreeMap, BTreeSet};

use super::assign::{Claim, Claimer, Claims, Faults};
use super::diff::{self, WeightStep};
use super::drain::{self, Sources};
use super::estimate::estimate;
use super::graph::Graph;
use super::placement::{Item, Room, need};
use super::preflight::Preflight;
use super::report::Report;
use super::select::{Selection, moves_address};
use super::waves::Waves;
use super::{
    Action, Change, Level, Options, Plan, PlannedMove, Quarantined, StoragePlan, WaitingOn, WeightChange, basis, policy,
};
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::{
    Address, Bytes, Container, Desired, MoveRecord, Observed, Reading, Repository, StorageName, Weight,
};
use crate::state::State;

/// Makes the plan. Pure: same input, same bytes, in any order of listing.
///
/// # Errors
/// What in the configuration contradicts itself or the fleet (circular assignments, two assignments claiming one
/// repository, `where` failing on a repository), and selected addresses that do not exist.
pub fn make(desired: &Desired, observed: &Observed, state: &State, options: &Options) -> Result<Plan, Diagnostics> {
    let later: Vec<Diagnostic> = desired.later.iter().filter(|d| d.is_error()).cloned().collect();
    if !later.is_empty() {
        return Err(Diagnostics { items: later });
    }
    let selection = Selection::new(desired, options)?;
    let claims = Claims::new(desired, observed)?;
    let live = live_moves(observed);
    let mut planner = Planner {
        desired,
        observed,
        state,
        selection: &selection,
        claims: &claims,
        live: &live,
        preflight: Preflight::new(desired, observed, state),
        report: Report::default(),
    };
    planner.run()
}

/// Moves that have not ended, the oldest of a container.
fn live_moves(observed: &Observed) -> BTreeMap<Container, &MoveRecord> {
    let mut live: BTreeMap<Container, &MoveRecord> = BTreeMap::new();
    for record in observed.moves.iter().filter(|record| !record.state.is_terminal()) {
        let first = live.entry(record.container).or_insert(record);
        if record < *first {
            *first = record;
        }
    }
    live
}

/// The repositories in the order of containers, each once, whatever the order of listing.
fn in_order(repositories: &[Repository]) -> Vec<&Repository> {
    let mut ordered: Vec<&Repository> = repositories.iter().collect();
    if !ordered.is_sorted_by(|a, b| a.container < b.container) {
        ordered.sort_by(|a, b| (a.container, &a.storage, &a.path).cmp(&(b.container, &b.storage, &b.path)));
        ordered.dedup_by_key(|repository| repository.container);
    }
    ordered
}

struct Planner<'a, 'b> {
    desired: &'a Desired,
    observed: &'a Observed,
    state: &'a State,
    selection: &'b Selection<'a>,
    claims: &'b Claims<'a>,
    live: &'a BTreeMap<Container, &'a MoveRecord>,
    preflight: Preflight<'a>,
    report: Report<'a>,
}

impl<'a> Planner<'a, '_> {
    fn run(&mut self) -> Result<Plan, Diagnostics> {
        let weights = diff::weights(self.desired, self.observed, self.state, &mut self.report);
        let ordered = in_order(&self.observed.repositories);
        let mut sources =
            Sources { occupied: BTreeMap::new(), leaving: BTreeSet::new(), live: self.live, told: BTreeSet::new() };
        let mut items = self.movable(&ordered, &weights.held, &mut sources)?;
        self.place(&mut items, &ordered);
        let mut faults = Faults::default();
        let waves = Waves::sort(&mut items, self.desired, self.state, self.claims, &mut faults);
        faults.check()?;
        self.narrow(&mut items, &waves);
        sources.leaving = items.iter().map(|item| &item.repository.storage).collect();
        let proofs = drain::proofs(
            self.desired,
            self.observed,
            self.state,
            self.selection,
            &sources,
            &mut self.preflight,
            &mut self.report,
        );
        let mut graph = Graph::new(self.actions(&weights.steps, &items, &waves, &proofs));
        self.leave_out(&mut graph, &mut items);
        self.assemble(graph, items, waves, &sources)
    }

    fn drains(&self, storage: &StorageName) -> bool {
        self.desired.storages.get(storage).is_some_and(|s| s.drain)
    }

    /// Finds the repositories that belong elsewhere and may go there; what waits is reported.
    fn movable(
        &mut self,
        ordered: &[&'a Repository],
        held: &BTreeMap<&'a StorageName, &'a StorageName>,
        sources: &mut Sources<'a>,
    ) -> Result<Vec<Item<'a>>, Diagnostics> {
        let quarantined: BTreeSet<Container> = self.state.quarantined().map(|(container, _)| container).collect();
        let mut selected: BTreeMap<(&StorageName, u32), bool> = BTreeMap::new();
        let mut faults = Faults::default();
        let mut items = Vec::with_capacity(ordered.len());
        for &repository in ordered {
            let source = &repository.storage;
            let drains = self.drains(source);
            if !drains && !self.claims.takes_from(source) {
                continue;
            }
            *sources.occupied.entry(source).or_default() += 1;
            let claim = self.claims.claim(repository, &mut faults);
            let wait = match claim {
                Claim::InPlace => continue,
                Claim::None if !drains => continue,
                _ if quarantined.contains(&repository.container) => WaitingOn::Release,
                _ if self.live.contains_key(&repository.container) => self.wait_for_move(repository, sources),
                Claim::None => WaitingOn::Assignment,
                Claim::Unknown(assignment) => WaitingOn::Field { assignment: assignment.address.clone() },
                Claim::Move(claimer) => {
                    let may = selected
                        .entry((source, claimer.ordinal))
                        .or_insert_with(|| self.selection.may_move(source, claimer.assignment));
                    match self.route(source, claimer, *may, held) {
                        Some(wait) => wait,
                        None => {
                            items.push(Item { repository, claimer, destination: None, wave: 0 });
                            continue;
                        }
                    }
                }
            };
            self.report.repository(repository, drains, wait);
        }
        faults.check()?;
        Ok(items)
    }

    fn wait_for_move(&self, repository: &Repository, sources: &mut Sources<'a>) -> WaitingOn {
        sources.told.insert(repository.container);
        let (state, destination) = self
            .live
            .get(&repository.container)
            .map(|record| (record.state.to_string(), record.destination.clone()))
            .unwrap_or_default();
        WaitingOn::Move { state, destination }
    }

    fn route(
        &mut self,
        source: &'a StorageName,
        claimer: Claimer<'a>,
        selected: bool,
        held: &BTreeMap<&'a StorageName, &'a StorageName>,
    ) -> Option<WaitingOn> {
        if !selected {
            return Some(WaitingOn::Selection);
        }
        // Fencing first: what cannot be fenced does not move.
        if let Some(awaited) = held.get(source) {
            return Some(WaitingOn::GitlabToKnow { storage: (*awaited).clone() });
        }
        self.preflight.route(source, claimer.assignment, claimer.ordinal)
    }

    /// Gives each item a destination, and takes those away that fit nowhere.
    fn place(&mut self, items: &mut Vec<Item<'a>>, ordered: &[&Repository]) {
        let mut room = Room::default();
        for (name, facts) in &self.observed.storages {
            if let Reading::Known(disk) = facts.disk {
                let limits = self.desired.storages.get(name).map(|s| s.limits).unwrap_or_default();
                room.add(name, disk, limits.disk_ceiling_permille);
            }
        }
        // What is on its way to a disk will be on it.
        for record in self.live.values() {
            let listed = ordered.binary_search_by_key(&record.container, |repository| repository.container);
            let size = listed.ok().and_then(|n| ordered.get(n)).and_then(|repository| repository.size);
            if let (Ok(destination), Some(size)) = (StorageName::new(record.destination.as_str()), size) {
                room.reserve(&destination, need(size));
            }
        }
        room.place(items, self.claims.groups);
        let mut homeless: BTreeMap<(&'a StorageName, u32), Vec<Item<'a>>> = BTreeMap::new();
        for item in items.iter().filter(|item| item.destination.is_none()) {
            homeless.entry((&item.repository.storage, item.claimer.group)).or_default().push(*item);
        }
        items.retain(|item| item.destination.is_some());
        for ((source, _), items) in homeless {
            let destinations = items.first().map(|item| item.claimer.assignment.to.clone()).unwrap_or_default();
            let free = destinations.iter().map(|to| room.free(to)).max().unwrap_or_default();
            let needed = items.iter().fold(0u64, |sum, item| sum.saturating_add(need(item.bytes()).0));
            let reason = WaitingOn::Room { destinations, free, needed: Bytes(needed) };
            let drains = self.drains(source);
            let repositories = items.into_iter().map(|item| item.repository).collect();
            self.report.repositories(source, drains, reason, repositories);
        }
    }

    /// Takes away moves of waves that were not selected, and sorts the rest into the order of the plan.
    fn narrow(&mut self, items: &mut Vec<Item<'a>>, waves: &Waves) {
        if !self.selection.is_all() {
            let mut wanted: BTreeMap<(&StorageName, u32, u32), bool> = BTreeMap::new();
            self.drop_items(items, |selection, item| {
                let source = &item.repository.storage;
                *wanted
                    .entry((source, item.claimer.ordinal, item.wave))
                    .or_insert_with(|| selection.wants_move(source, item.claimer.assignment, waves.name(item.wave)))
            });
        }
        items.sort_unstable_by(|a, b| {
            let key = |item: &Item<'a>| (item.wave, &item.repository.storage);
            let size = |item: &Item<'a>| (std::cmp::Reverse(item.bytes()), item.repository.container);
            key(a).cmp(&key(b)).then_with(|| size(a).cmp(&size(b)))
        });
    }

    /// Keeps the items that are wanted and reports the others as not selected.
    fn drop_items(&mut self, items: &mut Vec<Item<'a>>, mut wanted: impl FnMut(&Selection<'a>, &Item<'a>) -> bool) {
        let mut dropped: BTreeMap<&'a StorageName, Vec<&Repository>> = BTreeMap::new();
        items.retain(|item| {
            let keep = wanted(self.selection, item);
            if !keep {
                dropped.entry(&item.repository.storage).or_default().push(item.repository);
            }
            keep
        });
        for (source, repositories) in dropped {
            let drains = self.drains(source);
            self.report.repositories(source, drains, WaitingOn::Selection, repositories);
        }
    }

    fn actions(
        &self,
        steps: &[WeightStep<'a>],
        items: &[Item<'a>],
        waves: &Waves,
        proofs: &[&'a StorageName],
    ) -> Vec<Action> {
        let mut actions: Vec<Action> = steps.iter().map(|step| self.weight_action(step)).collect();
        for group in items.chunk_by(|a, b| a.wave == b.wave && a.repository.storage == b.repository.storage) {
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
                    first: 0,
                    count: 0,
                    bytes: Bytes(0),
                },
                reason: format!("they belong elsewhere by {}", names.join(", ")),
            });
        }
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

    /// Applies the selection to the graph; moves whose fence was left out are not planned either.
    fn leave_out(&mut self, graph: &mut Graph, items: &mut Vec<Item<'a>>) {
        let mut waves = BTreeSet::new();
        for change in graph.select(self.selection) {
            match change {
                Change::Moves { position, source, .. } => {
                    waves.insert((position, source));
                }
                Change::SetWeight { storage, .. } | Change::ProveEmpty { storage } => {
                    if let Some((storage, _)) = self.desired.storages.get_key_value(&storage) {
                        let drains = self.drains(storage);
                        self.report.storage(storage, drains, WaitingOn::Selection, 0, []);
                    }
                }
            }
        }
        if !waves.is_empty() {
            self.drop_items(items, |_, item| !waves.contains(&(item.wave, item.repository.storage.clone())));
        }
        // Whatever left a move out left something on its storage.
        let partly: BTreeSet<StorageName> = graph
            .changes()
            .filter_map(|change| match change {
                Change::ProveEmpty { storage } if self.report.is_stuck(storage) => Some(storage.clone()),
                _ => None,
            })
            .collect();
        graph.remove(|change| matches!(change, Change::ProveEmpty { storage } if partly.contains(storage)));
    }

    /// Puts the plan together from its parts.
    fn assemble(
        &mut self,
        graph: Graph,
        items: Vec<Item<'a>>,
        waves: Waves,
        sources: &Sources<'a>,
    ) -> Result<Plan, Diagnostics> {
        let (mut actions, edges) = graph.order()?;
        set_ranges(&mut actions, &items);
        let estimate = estimate(&items, self.desired);
        let touched: BTreeSet<&StorageName> =
            items.iter().flat_map(|item| [Some(&item.repository.storage), item.destination]).flatten().collect();
        let weights = self.weights(&actions);
        let managed: BTreeSet<&StorageName> = actions.iter().filter_map(|a| weight_of(&a.change)).collect();
        let basis = basis::basis(&self.desired.digest, self.state, self.observed, &managed, &touched);
        self.look(&actions, &items, &weights, estimate.duration_seconds);
        let storages = self.storages(&items);
        let moves = items.iter().filter_map(planned).collect();
        drop(items);
        let preflight = std::mem::replace(&mut self.preflight, Preflight::new(self.desired, self.observed, self.state));
        let mut plan = Plan {
            format: Plan::FORMAT,
            environment: self.desired.environment.clone(),
            as_of: self.observed.as_of,
            basis,
            actions,
            edges,
            moves,
            drift: diff::drift(self.desired, self.observed, self.state, &sources.occupied),
            findings: preflight.finish(),
            report: std::mem::take(&mut self.report).finish(),
            quarantined: self.quarantined(),
            weights,
            storages,
            max_moves: self.desired.max_moves.max(1),
            estimate,
            policies: Vec::new(),
            samples: waves.samples,
        };
        plan.policies = policy::verdicts(self.desired, &plan);
        Ok(plan)
    }

    fn weights(&self, actions: &[Action]) -> BTreeMap<StorageName, WeightChange> {
        let same =
            |(name, weight): (&StorageName, &Weight)| (name.clone(), WeightChange { before: *weight, after: *weight });
        let mut weights: BTreeMap<_, _> = self.observed.gitlab.weights.iter().map(same).collect();
        for action in actions {
            if let Change::SetWeight { storage, to, .. } = &action.change
                && let Some(change) = weights.get_mut(storage)
            {
                change.after = *to;
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
        let pairs: BTreeSet<(&StorageName, &StorageName)> =
            items.iter().filter_map(|item| Some((&item.repository.storage, item.destination?))).collect();
        for (source, destination) in pairs {
            self.preflight.versions(source, destination);
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
        if !items.is_empty() && !self.desired.rollout.backup_declined {
            let message = "The source's copy is deleted by GitLab after each move; nothing here makes a backup.";
            let help = "Make a backup first. To say that you have one otherwise, set rollout.backup = \"none\".";
            self.preflight.add(Level::Danger, "no-backup", "moves", message.to_owned(), help);
        }
        let sizeless = items.iter().filter(|item| item.repository.size.is_none()).count();
        if sizeless > 0 {
            let message =
                format!("GitLab gave no size for {sizeless} of the repositories to move: they count as 0 bytes.");
            let help =
                "Room and times are underestimated by them. GitLab computes sizes when a repository is pushed to.";
            self.preflight.add(Level::Notice, "size-unknown", "moves", message, help);
        }
        if !self.live.is_empty() {
            let message = format!("{} moves are under way in GitLab that this plan does not make.", self.live.len());
            let help = "They are waited for, not fought. Plan again when they have ended.";
            self.preflight.add(Level::Notice, "foreign-moves", "moves", message, help);
        }
    }

    fn storages(&self, items: &[Item<'a>]) -> BTreeMap<StorageName, StoragePlan> {
        let plan = |(name, storage): (&StorageName, &crate::model::DesiredStorage)| {
            let disk = self.observed.storages.get(name).and_then(|facts| facts.disk.known());
            let plan = StoragePlan {
                max_moves: storage.limits.max_moves.max(1),
                disk_ceiling_permille: storage.limits.disk_ceiling_permille,
                used: disk.map(|disk| disk.used),
                capacity: disk.map(|disk| Bytes(disk.used.0.saturating_add(disk.available.0))),
                incoming: Bytes(0),
                outgoing: Bytes(0),
                incoming_count: 0,
                outgoing_count: 0,
            };
            (name.clone(), plan)
        };
        let mut storages: BTreeMap<_, _> = self.desired.storages.iter().map(plan).collect();
        for item in items {
            if let Some(source) = storages.get_mut(&item.repository.storage) {
                source.outgoing.0 = source.outgoing.0.saturating_add(item.bytes().0);
                source.outgoing_count += 1;
            }
            if let Some(destination) = item.destination.and_then(|name| storages.get_mut(name)) {
                destination.incoming.0 = destination.incoming.0.saturating_add(need(item.bytes()).0);
                destination.incoming_count += 1;
            }
        }
        storages
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

fn weight_of(change: &Change) -> Option<&StorageName> {
    match change {
        Change::SetWeight { storage, .. } => Some(storage),
        Change::Moves { .. } | Change::ProveEmpty { .. } => None,
    }
}

/// Gives every action of moves its range; items are sorted by wave and source.
fn set_ranges(actions: &mut [Action], items: &[Item<'_>]) {
    let mut ranges: BTreeMap<(u32, &StorageName), (u32, u32, u64)> = BTreeMap::new();
    for (index, item) in (0u32..).zip(items) {
        let range = ranges.entry((item.wave, &item.repository.storage)).or_insert((index, 0, 0));
        range.1 += 1;
        range.2 = range.2.saturating_add(item.bytes().0);
    }
    for action in actions {
        if let Change::Moves { position, source, first, count, bytes, .. } = &mut action.change
            && let Some(range) = ranges.get(&(*position, &*source))
        {
            (*first, *count, *bytes) = (range.0, range.1, Bytes(range.2));
        }
    }
}

fn planned(item: &Item<'_>) -> Option<PlannedMove> {
    let repository = item.repository;
    Some(PlannedMove {
        container: repository.container,
        path: repository.path.clone(),
        source: repository.storage.clone(),
        destination: item.destination?.clone(),
        assignment: item.claimer.assignment.address.clone(),
        bytes: item.bytes(),
        empty: repository.empty == Some(true),
    })
}
