//! Carries out a plan through the ports. Sees no configuration.
pub mod event;
pub mod port;

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::state::State;
use crate::state::store::Store;
use event::{Event, Summary};
use port::Ports;

/// What a run needs beside its plan.
pub struct Context {
    /// The world.
    pub ports: Ports,
    /// Where the state is kept.
    pub store: Arc<dyn Store>,
    /// The run's folder, `.tranship/runs/<run>`: the journal is made in it.
    pub folder: camino::Utf8PathBuf,
    /// Where events go.
    pub events: UnboundedSender<Event>,
    /// Cancelled by the first signal: nothing new is scheduled, what is in flight is followed.
    pub stop: CancellationToken,
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
/// Carries out a plan.
pub async fn run(_plan: &Plan, state: State, _context: Context) -> RunResult {
    RunResult { state, summary: Summary::default(), fatal: None }
}
/// The unfinished runs below a folder of runs: what `plan` shows and `apply` takes up first.
///
/// # Errors
/// A journal that cannot be read.
pub fn unfinished(_runs: &camino::Utf8Path) -> Result<Vec<Unfinished>, String> {
    Ok(Vec::new())
}
/// A run that was cut short.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// Its folder's name.
    pub run: String,
    /// Moves whose end it did not see.
    pub in_doubt: u64,
}
/// Takes up the moves of unfinished runs: follows, compares and records them. Plans nothing new. Same context as a run;
/// `folder` is the folder of all runs.
pub async fn recover(state: State, _context: Context) -> RunResult {
    RunResult { state, summary: Summary::default(), fatal: None }
}
/// Packs a finished run's journal and keeps at most the newest few runs.
pub fn finish(_runs: &camino::Utf8Path, _run: &str) -> Result<(), String> {
    Ok(())
}
