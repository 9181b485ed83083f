//! What a plan comes to: counts, groups and words, derived once. The text and the JSON both show this value, so that
//! neither holds what the other lacks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::hours::{self, FreezeRow, WindowRow};
use super::pods::{self, PodRow, PodTotals};
use super::release::Release;
use super::text;
use super::words::{self, Advice};
use crate::model::{Address, Bytes, Container, ContainerKind, Listed, Profile, StorageName, Weight};
use crate::plan::room::RoomLevel;
use crate::plan::{
    Action, Change, Check, ConcurrencyPlan, Estimate, Level, MoveOrder, NotPlanned, Plan, StoragePlan, Verdict,
    WeightChange,
};

/// A plan's totals, groups and what to do next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// The totals.
    pub summary: PlanSummary,
    /// How old the lists of repositories are, where they were not read just then.
    pub listed: Option<ListedRow>,
    /// Pod storages and what is done to them, in the order of names.
    pub pods: Vec<PodRow>,
    /// All weights that GitLab knows, changed ones first, each group in the order of names.
    pub weights: Vec<WeightRow>,
    /// Moves by source and destination.
    pub routes: Vec<Route>,
    /// Moves by wave, in the order of the rollout.
    pub waves: Vec<WaveRow>,
    /// Windows in which moves start.
    pub windows: Vec<WindowRow>,
    /// The freeze budget; `None` without one.
    pub freeze: Option<FreezeRow>,
    /// Storages that get or lose repositories.
    pub rooms: Vec<RoomRow>,
    /// How weights and moves are released.
    pub release: Release,
    /// Storages to prove empty.
    pub drains: Vec<DrainRow>,
    /// What was not planned, in words.
    pub not_planned: Vec<NotPlannedRow>,
    /// How many moves run at once; `None` where nothing but the declared limits says that.
    pub concurrency: Option<ConcurrencyRow>,
    /// The estimate in words; `None` without moves.
    pub estimate: Option<EstimateRow>,
    /// What to do next, a line each.
    pub next: Vec<String>,
}

/// How old the lists of repositories are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedRow {
    /// In words.
    pub text: String,
    /// Seconds from the oldest entry to the plan.
    pub age_seconds: u64,
}

/// A plan's totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanSummary {
    /// The one sentence that stands first and last.
    pub text: String,
    /// What is done to pod storages.
    pub pods: PodTotals,
    /// Weights to set.
    pub weights: u64,
    /// Repositories to move.
    pub moves: u64,
    /// Their bytes.
    pub bytes: Bytes,
    /// Storages to prove empty.
    pub drains: u64,
    /// Actions in all.
    pub actions: u64,
    /// Records of the state that get another address.
    pub renames: u64,
    /// Facts that changed outside of tranship.
    pub drift: u64,
    /// Findings that forbid an apply.
    pub errors: u64,
    /// Findings to be read before saying yes.
    pub dangers: u64,
    /// Findings that are good to know.
    pub notices: u64,
    /// Policies that said no or could not be answered.
    pub policies_refusing: u64,
    /// Quarantined repositories.
    pub quarantined: u64,
    /// Repositories that were not planned.
    pub not_planned: u64,
    /// A drain that the configuration asks for cannot end with this plan.
    pub drain_is_stuck: bool,
}

/// One storage's weight now and after, with its share of new repositories.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightRow {
    /// GitLab's name.
    pub storage: StorageName,
    /// The action that sets it.
    pub address: Option<Address>,
    /// Observed.
    pub before: Weight,
    /// After the apply.
    pub after: Weight,
    /// Thousandths of the sum of weights now; `None` when all weights are 0.
    pub share_before_permille: Option<u64>,
    /// The same after the apply.
    pub share_after_permille: Option<u64>,
    /// Why it is set.
    pub reason: String,
}

/// All moves from one storage to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// From.
    pub source: StorageName,
    /// To.
    pub destination: StorageName,
    /// How many.
    pub repositories: u64,
    /// The same by kind.
    pub kinds: BTreeMap<ContainerKind, u64>,
    /// Sum of their sizes.
    pub bytes: Bytes,
    /// Waves that hold some of them, in the order of the rollout.
    pub waves: Vec<String>,
    /// Indices into the plan's moves; the text reads them, the JSON has the moves themselves.
    #[serde(skip)]
    pub moves: Vec<MoveRef>,
}

/// A move and the action it belongs to, as indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveRef {
    /// Index into the plan's moves.
    pub index: u32,
    /// Index into the plan's actions.
    pub action: u32,
}

/// One wave's moves off one storage: one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaveRow {
    /// The wave's place, from 0.
    pub position: u32,
    /// Its name.
    pub wave: String,
    /// The action.
    pub address: Address,
    /// Where the repositories are.
    pub source: StorageName,
    /// How many.
    pub repositories: u64,
    /// Sum of their sizes.
    pub bytes: Bytes,
    /// They start only inside this window.
    pub window: Option<String>,
    /// The thresholds of the wave's sample or batch, if it has any.
    pub sample: Option<String>,
    /// Which of them goes next.
    pub order: MoveOrder,
    /// Why.
    pub reason: String,
}

/// Room on one storage now and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomRow {
    /// GitLab's name.
    pub storage: StorageName,
    /// Repositories brought.
    pub incoming_count: u64,
    /// Bytes brought, with inflation.
    pub incoming: Bytes,
    /// Repositories taken away.
    pub outgoing_count: u64,
    /// Bytes taken away.
    pub outgoing: Bytes,
    /// Used now; `None`: unknown.
    pub used: Option<Bytes>,
    /// Size of the disk; `None`: unknown.
    pub capacity: Option<Bytes>,
    /// Used now, thousandths of the disk.
    pub used_permille: Option<u64>,
    /// Used when everything has come and, at worst, nothing has gone yet; thousandths of the disk.
    pub full_permille: Option<u64>,
    /// Bytes that new repositories are expected to bring meanwhile.
    pub growth: Bytes,
    /// How full that is.
    pub level: RoomLevel,
    /// No move may take it above this, thousandths of the disk.
    pub disk_ceiling_permille: u64,
    /// Moves in flight towards or from it.
    pub max_moves: u32,
}

/// One storage to prove empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainRow {
    /// The action.
    pub address: Address,
    /// GitLab's name.
    pub storage: StorageName,
    /// Why.
    pub reason: String,
}

/// Something that was not planned, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotPlannedRow {
    /// What it is about.
    pub subject: String,
    /// How many repositories it concerns.
    pub count: u64,
    /// Why not, and what to do.
    #[serde(flatten)]
    pub advice: Advice,
    /// At most five examples.
    pub examples: Vec<String>,
    /// A drain cannot end because of it.
    pub blocks_drain: bool,
}

/// How many moves run at once, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConcurrencyRow {
    /// The profile's name, as it is written.
    pub profile: String,
    /// What it does.
    pub text: String,
    /// What each storage is asked, beside what is always watched: its gates.
    pub signals: BTreeMap<StorageName, Vec<String>>,
    /// What stops all of it: name and source.
    pub vetoes: Vec<String>,
}

/// The estimate in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EstimateRow {
    /// All moves.
    pub duration: String,
    /// By the clock, where something must be waited for.
    pub elapsed: Option<String>,
    /// Read-only time summed over repositories.
    pub frozen: String,
    /// Read-only time of the longest.
    pub longest: String,
    /// Read-only time that half of the repositories do not exceed; `None`: not predicted.
    pub half: Option<String>,
    /// That 99 of 100 do not exceed.
    pub nearly_all: Option<String>,
    /// The repository with the longest.
    pub longest_repository: Option<Container>,
    /// Its path, where it is among the moves.
    pub longest_path: Option<String>,
    /// Moves outstanding at once.
    pub max_moves: u32,
    /// How much of it is watching between waves; `None`: nothing.
    pub soak: Option<String>,
    /// What keeps it from being shorter, and what would help.
    pub binding: Option<String>,
    /// The assumption.
    pub assumption: String,
}

impl Overview {
    /// Derives it; a pure function of the plan.
    pub fn of(plan: &Plan) -> Self {
        let (routes, waves) = moves(plan);
        let mut drains = Vec::new();
        for Action { address, change, reason } in &plan.actions {
            if let Change::ProveEmpty { storage } = change {
                let (address, storage) = (address.clone(), storage.clone());
                drains.push(DrainRow { address, storage, reason: reason.clone() });
            }
        }
        let not_planned = plan.report.iter().map(not_planned).collect();
        Self {
            summary: summary(plan),
            listed: plan.listed.map(|listed| listed_row(plan, listed)),
            pods: pods::rows(plan),
            weights: weights(plan),
            routes,
            waves,
            windows: hours::windows(plan),
            freeze: hours::freeze(plan),
            rooms: plan.storages.iter().filter_map(|(name, storage)| room(name, storage)).collect(),
            release: Release::of(plan),
            drains,
            not_planned,
            concurrency: concurrency(plan),
            estimate: estimate(plan),
            next: next(plan),
        }
    }
}

fn listed_row(plan: &Plan, listed: Listed) -> ListedRow {
    let Listed { began, ended } = listed;
    let since =
        |then: jiff::Timestamp| u64::try_from(plan.as_of.as_second().saturating_sub(then.as_second())).unwrap_or(0);
    let (age, end) = (since(began), since(ended));
    let text = if end > 0 {
        format!(
            "Repositories as listed {} ago ({began} to {ended}): what changed since is found by each move itself.",
            text::eta(age)
        )
    } else {
        format!("Repositories as listed since {began}: the listing had been interrupted.")
    };
    ListedRow { text, age_seconds: age }
}

fn summary(plan: &Plan) -> PlanSummary {
    let level = |level: Level| plan.findings.iter().filter(|f| f.level == level).count() as u64;
    let mut s = PlanSummary {
        text: String::new(),
        pods: PodTotals::of(plan),
        weights: 0,
        moves: 0,
        bytes: Bytes(0),
        drains: 0,
        actions: plan.actions.len() as u64,
        renames: plan.renames.len() as u64,
        drift: plan.drift.len() as u64,
        errors: level(Level::Error),
        dangers: level(Level::Danger),
        notices: level(Level::Notice),
        policies_refusing: plan.policies.iter().filter(|p| p.verdict != Verdict::Pass).count() as u64,
        quarantined: plan.quarantined.len() as u64,
        not_planned: plan.report.iter().fold(0, |sum, r| sum.saturating_add(r.count)),
        drain_is_stuck: plan.drain_is_stuck(),
    };
    for action in &plan.actions {
        match &action.change {
            Change::SetWeight { storage: _, from: _, to: _ } => s.weights += 1,
            Change::Moves { wave: _, position: _, source: _, window: _, order: _, first: _, count, bytes } => {
                s.moves = s.moves.saturating_add(u64::from(*count));
                s.bytes = Bytes(s.bytes.0.saturating_add(bytes.0));
            }
            Change::ProveEmpty { storage: _ } => s.drains += 1,
            _ => {}
        }
    }
    s.text = sentence(plan, &s);
    s
}

fn sentence(plan: &Plan, s: &PlanSummary) -> String {
    if !plan.is_empty() {
        let mut parts = s.pods.parts();
        if s.renames > 0 {
            parts.push(format!("{} to rename", text::count(s.renames, "record", "records")));
        }
        if s.weights > 0 {
            parts.push(format!("{} to set", text::count(s.weights, "weight", "weights")));
        }
        if s.moves > 0 {
            parts.push(format!("{} to move ({})", text::repositories(s.moves), s.bytes));
        }
        parts.extend(Release::of(plan).parts());
        if s.drains > 0 {
            parts.push(format!("{} to prove empty", text::count(s.drains, "storage", "storages")));
        }
        if parts.is_empty() {
            parts.push(text::count(s.actions, "step", "steps"));
        }
        return format!("Plan: {}.", parts.join(", "));
    }
    if s.errors > 0 {
        return format!("No changes can be planned: {} forbid it.", text::count(s.errors, "error", "errors"));
    }
    if !plan.report.is_empty() || s.drain_is_stuck {
        return "No changes for now. The fleet is not yet as the configuration says: see what was not planned.".into();
    }
    if s.quarantined > 0 {
        return format!(
            "No changes. {} in quarantine.",
            text::count(s.quarantined, "repository is", "repositories are")
        );
    }
    "No changes. The fleet is as the configuration says.".into()
}

fn weights(plan: &Plan) -> Vec<WeightRow> {
    let mut set: BTreeMap<&StorageName, &Action> = BTreeMap::new();
    for action in &plan.actions {
        if let Change::SetWeight { storage, from: _, to: _ } = &action.change {
            set.insert(storage, action);
        }
    }
    let sum = |pick: fn(&WeightChange) -> Weight| plan.weights.values().map(|w| u64::from(pick(w).get())).sum::<u64>();
    let (all_before, all_after) = (sum(|w| w.before), sum(|w| w.after));
    // Rounded half up, so that 2 of 3 is 66.7 %.
    let share = |w: Weight, all: u64| (all > 0).then(|| (u64::from(w.get()) * 2000 + all) / (2 * all));
    let row = |storage: &StorageName, before: Weight, after: Weight| {
        let action = set.get(storage);
        WeightRow {
            storage: storage.clone(),
            address: action.map(|a| a.address.clone()),
            before,
            after,
            share_before_permille: share(before, all_before),
            share_after_permille: share(after, all_after),
            reason: action.map(|a| a.reason.clone()).unwrap_or_default(),
        }
    };
    let mut rows: Vec<WeightRow> = plan.weights.iter().map(|(s, w)| row(s, w.before, w.after)).collect();
    // A weight action is shown even when the table of weights lacks its storage.
    for (storage, action) in &set {
        if let (false, Change::SetWeight { storage: _, from, to }) =
            (plan.weights.contains_key(*storage), &action.change)
        {
            rows.push(row(storage, *from, *to));
        }
    }
    rows.sort_by(|a, b| (a.address.is_none(), &a.storage).cmp(&(b.address.is_none(), &b.storage)));
    rows
}

/// What gathers for one route.
#[derive(Default)]
struct Gathered<'p> {
    bytes: u64,
    kinds: BTreeMap<ContainerKind, u64>,
    waves: BTreeSet<(u32, &'p str)>,
    moves: Vec<MoveRef>,
}

fn moves(plan: &Plan) -> (Vec<Route>, Vec<WaveRow>) {
    let mut routes: BTreeMap<(&StorageName, &StorageName), Gathered<'_>> = BTreeMap::new();
    let mut waves = Vec::new();
    for (number, action) in plan.actions.iter().enumerate() {
        let Change::Moves { wave, position, source, window, order, first, count, bytes } = &action.change else {
            continue;
        };
        waves.push(WaveRow {
            position: *position,
            wave: wave.clone(),
            address: action.address.clone(),
            source: source.clone(),
            repositories: u64::from(*count),
            bytes: *bytes,
            window: window.clone(),
            sample: plan.samples.get(wave).cloned(),
            order: *order,
            reason: action.reason.clone(),
        });
        for (offset, item) in plan.moves_of(action).iter().enumerate() {
            let route = routes.entry((&item.source, &item.destination)).or_default();
            route.bytes = route.bytes.saturating_add(item.bytes.0);
            *route.kinds.entry(item.container.kind).or_default() += 1;
            route.waves.insert((*position, wave));
            let index = first.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX));
            route.moves.push(MoveRef { index, action: u32::try_from(number).unwrap_or(u32::MAX) });
        }
    }
    waves.sort_by(|a, b| (a.position, &a.wave, &a.source).cmp(&(b.position, &b.wave, &b.source)));
    let routes = routes.into_iter().map(|((source, destination), Gathered { bytes, kinds, waves, moves })| Route {
        source: source.clone(),
        destination: destination.clone(),
        repositories: moves.len() as u64,
        kinds,
        bytes: Bytes(bytes),
        waves: waves.into_iter().map(|(_, name)| name.to_owned()).collect(),
        moves,
    });
    (routes.collect(), waves)
}

fn room(name: &StorageName, storage: &StoragePlan) -> Option<RoomRow> {
    let StoragePlan {
        max_moves,
        disk_ceiling_permille,
        used,
        capacity,
        incoming,
        outgoing,
        growth,
        bandwidth: _,
        incoming_count,
        outgoing_count,
    } = storage;
    if *incoming_count == 0 && *outgoing_count == 0 && incoming.0 == 0 && outgoing.0 == 0 {
        return None;
    }
    let share = |bytes: u128| {
        let capacity = u128::from(capacity.as_ref()?.0);
        u64::try_from((bytes * 1000).checked_div(capacity)?).ok()
    };
    let used_bytes = used.map(|u| u128::from(u.0));
    Some(RoomRow {
        storage: name.clone(),
        incoming_count: *incoming_count,
        incoming: *incoming,
        outgoing_count: *outgoing_count,
        outgoing: *outgoing,
        used: *used,
        capacity: *capacity,
        used_permille: used_bytes.and_then(share),
        full_permille: used_bytes.and_then(|u| share(u + u128::from(incoming.0) + u128::from(growth.0))),
        growth: *growth,
        level: used.zip(*capacity).map_or(RoomLevel::Open, |(used, capacity)| {
            let full = used.0.saturating_add(incoming.0).saturating_add(growth.0);
            RoomLevel::of(Bytes(full), capacity, *disk_ceiling_permille)
        }),
        disk_ceiling_permille: u64::from(*disk_ceiling_permille),
        max_moves: *max_moves,
    })
}

fn not_planned(item: &NotPlanned) -> NotPlannedRow {
    let NotPlanned { subject, reason, count, examples, blocks_drain } = item;
    NotPlannedRow {
        subject: subject.clone(),
        count: *count,
        advice: words::waiting_on(reason, subject),
        examples: examples.clone(),
        blocks_drain: *blocks_drain,
    }
}

fn concurrency(plan: &Plan) -> Option<ConcurrencyRow> {
    let ConcurrencyPlan { profile, interval_seconds: _, deadline_seconds: _, signals, vetoes } = &plan.concurrency;
    if plan.moves.is_empty() || (*profile == Profile::Fixed && vetoes.is_empty()) {
        return None;
    }
    let (profile, text) = words::profile(*profile);
    let gates = |checks: &Vec<Check>| {
        let names =
            checks.iter().map(|check| format!("{}{}", check.gate, if check.dry_run { " (only told)" } else { "" }));
        names.collect::<Vec<_>>()
    };
    Some(ConcurrencyRow {
        profile: profile.to_owned(),
        text: text.to_owned(),
        signals: signals.iter().map(|(storage, checks)| (storage.clone(), gates(checks))).collect(),
        vetoes: vetoes.iter().map(words::veto).collect(),
    })
}

fn estimate(plan: &Plan) -> Option<EstimateRow> {
    let Estimate { duration_seconds, freeze_seconds, longest_freeze_seconds, longest, assumption, .. } = &plan.estimate;
    let Estimate { soak_seconds, elapsed_seconds, binding, .. } = &plan.estimate;
    if plan.moves.is_empty() && *duration_seconds == 0 {
        return None;
    }
    let quantile = |ms: u64| (ms > 0).then(|| text::duration(ms.div_ceil(1000)));
    let path = longest.and_then(|c| plan.moves.iter().find(|m| m.container == c)).map(|m| m.path.to_string());
    Some(EstimateRow {
        duration: text::duration(*duration_seconds),
        elapsed: elapsed_seconds.map(text::duration),
        frozen: text::duration(*freeze_seconds),
        longest: text::duration(*longest_freeze_seconds),
        half: quantile(plan.freeze.forecast.p50_ms),
        nearly_all: quantile(plan.freeze.forecast.p99_ms),
        longest_repository: *longest,
        longest_path: path,
        max_moves: plan.max_moves,
        soak: (*soak_seconds > 0).then(|| text::duration(*soak_seconds)),
        binding: binding.as_ref().map(|binding| words::binding(binding, plan)),
        assumption: assumption.clone(),
    })
}

fn next(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.findings.iter().any(|f| f.level == Level::Error) {
        lines.push(
            "Nothing will be applied before the errors under \"Danger\" are resolved; then plan again.".to_owned(),
        );
    }
    if plan.refused_by_policy() {
        lines.push("A policy refuses this plan (exit code 7): change the configuration or the policy.".to_owned());
    }
    if plan.drain_is_stuck() {
        lines.push("A drain cannot end with this plan (exit code 7): see what blocks it above.".to_owned());
    }
    if !plan.quarantined.is_empty() {
        lines.push(
            "Quarantined repositories stay aside until released: follow the remedy, then `tranship quarantine release ID`."
                .to_owned(),
        );
    }
    if !plan.is_empty() && !plan.is_blocked() {
        lines.push(
            "`tranship apply` carries this out; `tranship plan --out FILE`, then `tranship apply FILE`, exactly this plan."
                .to_owned(),
        );
    }
    lines
}
