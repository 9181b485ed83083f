//! Carries out a plan through the ports. Sees no configuration.
//!
//! [`run`] starts actions as the graph allows and moves as slots and room allow, journals every intent before its call,
//! verifies every move, and writes the state after every step. [`recover`] takes up what an earlier run left in doubt.
//! [`rotate`] restarts one pod and measures it.

mod action;
mod cluster;
pub mod counted;
mod engine;
mod eta;
pub mod event;
pub(crate) mod failure;
pub mod gate;
mod hooks;
mod journal;
mod learned;
mod mover;
mod order;
mod pace;
mod poll;
mod pools;
pub mod port;
mod proof;
mod recover;
mod room;
pub mod rotate;
mod tally;
pub mod verify;
mod version;
mod wave;
mod whole;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::state::State;
use crate::state::journal::{self as log, Carried};
use crate::state::store::Store;
use event::{Event, Summary};
use port::Ports;

/// Packed journals of finished runs that are kept; the oldest above it are deleted, once they tell nothing of this day's or
/// yesterday's freeze.
pub(crate) const KEEP_RUNS: usize = 50;
/// So long a run counts for a day's freeze, whatever the time zone.
const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

/// What is shared, also after a task that held it has ended by a fault.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Since when the journals of runs are kept whatever their number.
pub(crate) fn recent(now: jiff::Timestamp) -> jiff::Timestamp {
    now.saturating_sub(RECENT).unwrap_or(jiff::Timestamp::MIN)
}

/// What a run needs beside its plan.
#[derive(Clone)]
pub struct Context {
    /// The world.
    pub ports: Ports,
    /// Where the state is kept.
    pub store: Arc<dyn Store>,
    /// For [`run`] the run's folder, `.tranship/runs/<run>`, in which the journal is made; for [`recover`] the folder of
    /// all runs. A run's name sorts by its time.
    pub folder: Utf8PathBuf,
    /// Where events go.
    pub events: UnboundedSender<Event>,
    /// Cancelled by the first signal: nothing new is scheduled, what is in flight is followed.
    pub stop: CancellationToken,
    /// The longest that a hold, an approval or a window is waited for, by the fleet's clock; `None`: as long as it takes.
    pub max_wait: Option<std::time::Duration>,
    /// How long moves of earlier runs took.
    pub seen: crate::plan::Observations,
    /// The operator's programs, for what [`recover`] finds; [`run`] goes by those of its plan.
    pub hooks: Vec<crate::model::Hook>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct RunResult {
    /// The state as saved last.
    pub state: State,
    /// Totals.
    pub summary: Summary,
    /// What ended the run before its time (the state or the journal could not be written).
    pub fatal: Option<String>,
}

/// Carries out a plan. A plan without actions writes nothing at all.
pub async fn run(plan: &Plan, state: State, context: Context) -> RunResult {
    let run = context.folder.file_name().unwrap_or("run").to_owned();
    let started = Event::RunStarted {
        run: run.clone(),
        actions: plan.actions.len() as u64,
        moves: plan.moves.len() as u64,
        bytes: crate::model::Bytes(plan.moves.iter().fold(0, |sum, m| sum.saturating_add(m.bytes.0))),
        expected_seconds: plan.estimate.elapsed_seconds.unwrap_or(plan.estimate.duration_seconds),
    };
    let _ = context.events.send(started);
    if plan.is_empty() {
        let summary = Summary::default();
        let _ = context.events.send(Event::RunEnded { summary: summary.clone() });
        return RunResult { state, summary, fatal: None };
    }
    let runs = context.folder.parent().map(Utf8Path::to_owned).unwrap_or_default();
    let doubted = match unfinished(&runs) {
        Ok(unfinished) => unfinished.into_iter().filter(|one| one.run != run).flat_map(|one| one.containers).collect(),
        Err(cause) => return RunResult { state, summary: Summary::default(), fatal: Some(cause) },
    };
    let journal = match journal::Journal::open(&context.folder) {
        Ok(journal) => journal,
        Err(e) => return RunResult { state, summary: Summary::default(), fatal: Some(e.to_string()) },
    };
    // What earlier runs left to know is written down once more: their journals are not kept for ever.
    let earlier = runs.clone();
    let carried = tokio::task::spawn_blocking(move || Carried::read(&earlier)).await.unwrap_or_default();
    let mut first = vec![recover::began(&plan.environment)];
    first.extend(carried.records());
    if let Err(e) = journal.append(first).await {
        return RunResult { state, summary: Summary::default(), fatal: Some(e.to_string()) };
    }
    let version = gitlab_version(&context.ports, !plan.moves.is_empty()).await;
    let learned = learned::Learned::new(plan.durations.clone(), context.seen);
    let rules = mover::Rules::new(&run, version, plan.hooks.clone(), learned, plan.source_fsck);
    let mover = mover::Mover::new(context.ports, journal.clone(), context.events.clone(), context.stop.clone(), rules);
    let patience = engine::Patience::new(&carried, context.max_wait);
    let engine = engine::Engine::new(plan, state, mover, context.store, context.stop, patience);
    let (result, in_doubt) = engine.waiting(runs, context.max_wait).leaving(doubted).tried(carried.tries).run().await;
    if !in_doubt
        && result.fatal.is_none()
        && let Err(e) = journal.append(vec![log::Record::Ended]).await
    {
        let _ = context.events.send(Event::Warning { message: e.to_string() });
    }
    let _ = context.events.send(Event::RunEnded { summary: result.summary.clone() });
    result
}

/// GitLab's version, where it matters and can be read; empty otherwise.
async fn gitlab_version(ports: &Ports, matters: bool) -> String {
    let found = if matters { ports.gitlab.version().await.ok() } else { None };
    found.map_or_else(String::new, |found| found.version)
}

/// Packs the journal of a finished run and keeps the newest 50, and all that froze anything in the 48 hours before `now`, the
/// fleet's clock.
///
/// # Errors
/// The file system's, with the path.
pub fn finish(runs: &Utf8Path, run: &str, now: jiff::Timestamp) -> Result<(), String> {
    log::pack(runs, run, KEEP_RUNS, recent(now)).map_err(|e| e.to_string())
}

/// Milliseconds of freeze by top-level group that runs below a folder have spent of the day that a time is in, by the
/// calendar of a time zone.
///
/// # Errors
/// A journal that cannot be read, with its path.
pub fn frozen_today(
    runs: &Utf8Path,
    timezone: &str,
    at: jiff::Timestamp,
) -> Result<std::collections::BTreeMap<String, u64>, String> {
    let zone = crate::model::zone(timezone).unwrap_or(jiff::tz::TimeZone::UTC);
    let day = engine::day_of(&zone, at);
    crate::state::frozen::spent(runs, day, crate::plan::freeze::group_of).map_err(|e| e.to_string())
}

/// A run that was cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its folder's name.
    pub run: String,
    /// Moves whose end it did not see.
    pub in_doubt: u64,
    /// What they move.
    pub containers: Vec<crate::model::Container>,
}

/// The unfinished runs below a folder of runs: what `plan` shows and `apply` takes up first.
///
/// # Errors
/// A journal that cannot be read, with its path.
pub fn unfinished(runs: &Utf8Path) -> Result<Vec<Unfinished>, String> {
    let found = log::unfinished(runs).map_err(|e| e.to_string())?;
    let told = |(folder, journal): (camino::Utf8PathBuf, log::Log)| {
        let containers: Vec<_> = journal.fold("").map_err(|e| e.to_string())?.doubts.into_keys().collect();
        let run = folder.file_name().unwrap_or_default().to_owned();
        Ok(Unfinished { run, in_doubt: containers.len() as u64, containers })
    };
    found.into_iter().map(told).collect()
}

/// Takes up the moves of unfinished runs: follows, compares and records them. Plans nothing new.
pub async fn recover(state: State, context: Context) -> RunResult {
    let runs = context.folder.clone();
    recover::recover(state, &context, &runs).await
}
