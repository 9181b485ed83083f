//! Makes the plan, step by step: claims, placement, waves, actions, order, and what must be said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::assign::{Claim, Claimer, Claims, Faults};
use super::balance::Spread;
use super::diff;
use super::drain::{self, Sources};
use super::freeze::Timing;
use super::graph::Graph;
use super::moved;
use super::networks;
use super::placement::{Item, Names, Room, need};
use super::pods::Pods;
use super::preflight::Preflight;
use super::report::Report;
use super::select::Selection;
use super::waves::Waves;
use super::{After, Change, Level, MoveOrder, Plan, Rename, WaitingOn, durations, growth, is_possible_loss};
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::{Bytes, Container, Desired, DiskSpace, MoveRecord, Observed, Repository, StorageName};
use crate::state::State;

/// What the user asked of one planning.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these addresses (globs: `assignment.heavy`, `storage.*`, `moves.default`) and what they depend on; empty: all.
    pub target: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Take over objects and fields in the cluster that others own.
    pub adopt: bool,
    /// How long moves take, as far as finished ones taught it.
    pub durations: durations::Durations,
    /// What earlier runs of this day have spent of the freeze budget: top-level group → milliseconds.
    pub frozen_today: BTreeMap<String, u64>,
}

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
    let (followed, renames, taken) = moved::follow(state, &desired.moved);
    let recorded = state;
    let state = &followed;
    let selection = Selection::new(desired, state, options)?;
    let claims = Claims::new(desired, observed)?;
    let live = live_moves(observed);
    let named = desired.assignments.iter().flat_map(|a| a.from.iter().chain(&a.to));
    let names = Names::new(desired.storages.keys().chain(observed.storages.keys()).chain(named));
    let pods = Pods::look(desired, observed, state, options.adopt, &selection);
    let mut planner = Planner {
        desired,
        observed,
        state,
        recorded,
        renames,
        selection: &selection,
        claims: &claims,
        names: &names,
        live: &live,
        lossy: BTreeSet::new(),
        pods: &pods,
        preflight: Preflight::new(desired, observed, state, &pods),
        report: Report::default(),
        members: BTreeMap::new(),
        growth: BTreeMap::new(),
        timing: Timing::new(desired, options, &names),
    };
    planner.preflight.taken(&taken);
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

/// What is known of one storage while its repositories are gone through.
struct Place<'b, 'a> {
    /// `None`: it is neither declared nor named by an assignment.
    number: Option<u32>,
    drains: bool,
    claimers: &'b [Claimer<'a>],
    count: u64,
    /// By an assignment's ordinal: what it waits for.
    routes: BTreeMap<u32, Option<WaitingOn>>,
}

/// One planning under way.
pub(super) struct Planner<'a, 'b> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    /// As its records stand once they have followed all moves of addresses.
    pub(super) state: &'a State,
    /// As it was read.
    pub(super) recorded: &'a State,
    pub(super) renames: Vec<Rename>,
    selection: &'b Selection<'a>,
    pub(super) claims: &'b Claims<'a>,
    pub(super) names: &'b Names<'a>,
    pub(super) live: &'a BTreeMap<Container, &'a MoveRecord>,
    /// Sources of an unreleased possible loss.
    lossy: BTreeSet<&'a StorageName>,
    pub(super) pods: &'a Pods<'a>,
    pub(super) preflight: Preflight<'a>,
    pub(super) report: Report<'a>,
    /// How many members of each fork network are on each storage, by number.
    pub(super) members: BTreeMap<(u32, NonZeroU64), u32>,
    /// What new repositories bring to each storage while the plan is carried out.
    pub(super) growth: BTreeMap<&'a StorageName, Bytes>,
    pub(super) timing: Timing,
}

impl<'a> Planner<'a, '_> {
    fn run(&mut self) -> Result<Plan, Diagnostics> {
        let weights = diff::weights(self.desired, self.observed, self.state, self.pods, &mut self.report);
        self.losses();
        let ordered = in_order(&self.observed.repositories);
        let mut sources =
            Sources { occupied: BTreeMap::new(), leaving: BTreeSet::new(), live: self.live, told: BTreeSet::new() };
        let mut items = self.movable(&ordered, &weights.held, &mut sources)?;
        let spreads = self.place(&mut items, &ordered);
        let mut faults = Faults::default();
        let waves = Waves::sort(&mut items, self.desired, self.state, self.claims, &mut faults);
        faults.check()?;
        self.empty_waves(&ordered, &items);
        self.within_budget(&mut items, |wave| waves.name(wave).to_owned());
        self.narrow(&mut items, &waves);
        sources.leaving =
            items.chunk_by(|a, b| a.source == b.source).filter_map(|g| Some(&g.first()?.repository.storage)).collect();
        let proofs = drain::proofs(
            self.desired,
            self.observed,
            self.state,
            self.selection,
            &sources,
            &mut self.preflight,
            &mut self.report,
        );
        let mut graph = Graph::new(self.actions(&weights.steps, &items, &waves, &proofs), self.towards(&items));
        self.leave_out(&mut graph, &mut items);
        let (mut actions, towards) = (graph.take(), self.towards(&items));
        self.release(&mut actions, &towards)?;
        graph.put(actions, self.positions());
        self.assemble(graph, items, waves, &spreads, &sources)
    }

    /// True when all of the configuration is planned for.
    pub(super) fn selection_is_all(&self) -> bool {
        self.selection.is_all()
    }

    /// True for a hold that a target names.
    pub(super) fn targets(&self, hold: &After) -> bool {
        self.selection.is_target_hold(hold)
    }

    /// True for a storage that is to be emptied.
    pub(super) fn drains(&self, storage: &StorageName) -> bool {
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
        let mut places: BTreeMap<&StorageName, Place<'_, 'a>> = BTreeMap::new();
        let mut faults = Faults::default();
        let mut items = Vec::with_capacity(ordered.len());
        for &repository in ordered {
            let source = &repository.storage;
            let place = places.entry(source).or_insert_with(|| Place {
                number: self.names.number(source),
                drains: self.drains(source),
                claimers: self.claims.of(source),
                count: 0,
                routes: BTreeMap::new(),
            });
            let (drains, Some(number)) = (place.drains, place.number) else { continue };
            if !drains && place.claimers.is_empty() {
                continue;
            }
            place.count += 1;
            let network = self.claims.networks.among(repository);
            if let Some(network) = network {
                *self.members.entry((number, network)).or_default() += 1;
            }
            let claim = self.claims.claim(place.claimers, repository, &mut faults);
            let wait = match claim {
                Claim::InPlace => continue,
                Claim::None if !drains => continue,
                _ if quarantined.contains(&repository.container) => WaitingOn::Release,
                _ if self.live.contains_key(&repository.container) => self.wait_for_move(repository),
                Claim::None => WaitingOn::Assignment,
                Claim::Unknown(assignment) => WaitingOn::Field { assignment: assignment.address.clone() },
                Claim::Move(claimer) => {
                    let route =
                        place.routes.entry(claimer.ordinal).or_insert_with(|| self.route(source, claimer, held));
                    match route {
                        Some(wait) => wait.clone(),
                        None => {
                            let bytes = repository.size.unwrap_or_default();
                            let shared =
                                network.map_or(Bytes(0), |network| networks::pool_of(self.observed, source, network));
                            items.push(Item {
                                repository,
                                claimer,
                                source: number,
                                destination: None,
                                wave: 0,
                                network,
                                bytes,
                                shared,
                            });
                            continue;
                        }
                    }
                }
            };
            if self.live.contains_key(&repository.container) {
                sources.told.insert(repository.container);
            }
            self.report.repository(repository, drains, wait);
        }
        let counts = places.into_iter().map(|(name, place)| (name, place.count));
        sources.occupied = counts.filter(|(_, count)| *count > 0).collect();
        faults.check()?;
        Ok(items)
    }

    fn wait_for_move(&self, repository: &Repository) -> WaitingOn {
        let (state, destination) = self
            .live
            .get(&repository.container)
            .map(|record| (record.state.to_string(), record.destination.clone()))
            .unwrap_or_default();
        WaitingOn::Move { state, destination }
    }

    /// What repositories of a storage wait for that an assignment wants; `None`: nothing.
    fn route(
        &mut self,
        source: &'a StorageName,
        claimer: Claimer<'a>,
        held: &BTreeMap<&'a StorageName, &'a StorageName>,
    ) -> Option<WaitingOn> {
        if !self.selection.may_move(source, claimer.assignment) {
            return Some(WaitingOn::Selection);
        }
        if self.lossy.contains(source) {
            return Some(WaitingOn::Release);
        }
        // Fencing first: what cannot be fenced does not move.
        if let Some(awaited) = held.get(source) {
            return Some(diff::to_know(self.desired, self.pods, awaited));
        }
        self.preflight.route(source, claimer.assignment)
    }

    /// Says which storages lost something on the way off: nothing more leaves them before a person released it.
    fn losses(&mut self) {
        let mut losses: BTreeMap<&'a StorageName, Vec<(Container, &str)>> = BTreeMap::new();
        let mut causes: BTreeMap<&'a StorageName, BTreeSet<&str>> = BTreeMap::new();
        for (container, record) in self.state.quarantined().filter(|(_, record)| is_possible_loss(&record.cause)) {
            losses.entry(&record.source).or_default().push((container, &record.path));
            causes.entry(&record.source).or_default().insert(&record.cause);
        }
        for (source, lost) in &losses {
            let named: Vec<String> =
                lost.iter().take(5).map(|(container, path)| format!("{container} {path}")).collect();
            let more = if lost.len() > named.len() { ", …" } else { "" };
            let lack = if lost.len() == 1 { "lacks" } else { "lack" };
            let causes: Vec<&str> = causes.get(source).into_iter().flatten().copied().collect();
            let message = format!(
                "{}{more} {lack} something that {source} had when it was frozen ({}). Nothing more moves off {source}.",
                named.join(", "),
                causes.join(", ")
            );
            let ids: Vec<String> = lost.iter().map(|(container, _)| container.to_string()).collect();
            let help = format!(
                "Follow the remedy. Moves off this storage go on after `tranship quarantine release {}`.",
                ids.join(" ")
            );
            self.preflight.add(Level::Danger, "possible-loss", source.as_str(), message, &help);
        }
        self.lossy = losses.into_keys().collect();
    }

    /// Gives each item a destination, and takes those away that fit nowhere.
    fn place(&mut self, items: &mut Vec<Item<'a>>, ordered: &[&'a Repository]) -> Vec<Spread> {
        self.growth = growth::expected(self.desired, self.observed, &self.timing.durations, self.names, items);
        let mut room = Room::new(self.names);
        for name in self.observed.storages.keys().chain(self.pods.coming.keys().copied()) {
            if let Some(disk) = self.disk(name) {
                let limits = self.desired.storages.get(name).map(|s| s.limits).unwrap_or_default();
                let growth = self.growth.get(name).copied().unwrap_or_default();
                room.add(name, disk, limits.disk_ceiling_permille, growth);
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
        let homes = networks::homes(ordered, self.claims, self.names);
        let spreads = room.place(items, self.claims.groups, &homes, self.desired.max_moves.max(1));
        self.networks(items, &homes);
        let mut homeless: BTreeMap<(u32, u32), Vec<Item<'a>>> = BTreeMap::new();
        for item in items.iter().filter(|item| item.destination.is_none()) {
            homeless.entry((item.source, item.claimer.group)).or_default().push(*item);
        }
        items.retain(|item| item.destination.is_some());
        for ((source, _), items) in homeless {
            let Some(source) = self.names.name(source) else { continue };
            let destinations = items.first().map(|item| item.claimer.assignment.to.clone()).unwrap_or_default();
            let free = destinations.iter().map(|to| room.free(to)).max().unwrap_or_default();
            let needed = |item: &Item<'_>| need(Bytes(item.bytes.0.saturating_add(item.shared.0))).0;
            let needed = items.iter().fold(0u64, |sum, item| sum.saturating_add(needed(item)));
            let reason = WaitingOn::Room { destinations, free, needed: Bytes(needed) };
            let drains = self.drains(source);
            let repositories = items.into_iter().map(|item| item.repository).collect();
            self.report.repositories(source, drains, reason, repositories);
        }
        spreads
    }

    /// The disk of a storage when moves to it begin: of one that this plan makes, its empty volume.
    pub(super) fn disk(&self, storage: &StorageName) -> Option<DiskSpace> {
        let known = self.observed.storages.get(storage).and_then(|facts| facts.disk.known()).copied();
        let coming = self.pods.coming.get(storage).map(|one| DiskSpace { available: one.size, used: Bytes(0) });
        let mut disk = coming.or(known)?;
        let grown = self.pods.growth.get(storage).copied().unwrap_or(0);
        disk.available = Bytes(disk.available.0.saturating_add(grown));
        Some(disk)
    }

    /// Where the moves of each wave off each storage go.
    fn towards(&self, items: &[Item<'a>]) -> BTreeMap<(u32, StorageName), BTreeSet<StorageName>> {
        let mut towards: BTreeMap<(u32, StorageName), BTreeSet<StorageName>> = BTreeMap::new();
        for group in items.chunk_by(|a, b| (a.wave, a.source) == (b.wave, b.source)) {
            let Some(first) = group.first() else { continue };
            let numbers: BTreeSet<u32> = group.iter().filter_map(|item| item.destination).collect();
            let names = numbers.into_iter().filter_map(|number| self.names.name(number)).cloned();
            towards.entry((first.wave, first.repository.storage.clone())).or_default().extend(names);
        }
        towards
    }

    /// Takes away moves of waves that were not selected, and sorts the rest into the order of the plan.
    fn narrow(&mut self, items: &mut Vec<Item<'a>>, waves: &Waves) {
        if !self.selection.is_all() {
            let mut wanted: BTreeMap<(&StorageName, u32, u32), bool> = BTreeMap::new();
            self.drop_items(items, |selection, item| {
                let source = &item.repository.storage;
                *wanted
                    .entry((source, item.claimer.ordinal, item.wave))
                    .or_insert_with(|| selection.wants_move(source, item.claimer.assignment, waves.names(item.wave)))
            });
        }
        // Where the smallest go first, what nobody works on goes before those.
        items.sort_by_cached_key(|item| {
            let idle = item.repository.archived == Some(true) || item.repository.empty == Some(true);
            let idle = idle && waves.order(item.wave) == MoveOrder::SmallFirst;
            (item.wave, item.source, idle, item.largest_first())
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

    /// Applies the selection to the graph; moves whose fence was left out are not planned either.
    fn leave_out(&mut self, graph: &mut Graph, items: &mut Vec<Item<'a>>) {
        let mut waves = BTreeSet::new();
        for change in graph.select(self.selection, &self.observed.gitlab.weights) {
            match change {
                Change::Moves { position, source, .. } => {
                    waves.insert((position, source));
                }
                other => {
                    if let Some((storage, _)) =
                        other.storage().and_then(|name| self.desired.storages.get_key_value(name))
                    {
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
}
