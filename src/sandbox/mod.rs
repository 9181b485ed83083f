//! The embedded fleet: a GitLab and its Gitalys to try everything on.
//!
//! One world ([`world`]), a pure state machine with seeded names and a clock that is handed in, is served twice: over
//! sockets in a process of its own, and in memory as the engine's ports ([`memory`]), so that a script gives the
//! same output either way. What storages hold is [`content`]: real bare repositories, or references computed from a seed.

pub mod content;
pub mod draw;
mod fleet;
mod git;
mod gitaly;
mod kubernetes;
pub mod memory;
mod process;
mod rest;
pub mod synthetic;
pub mod world;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::model::{SandboxConnection, StorageName};
use content::{Content, ContentResult};
use process::compare;
pub use process::running;
use world::World;

/// How to reach a running fleet. Written by the fleet's process, mode 0600, read by its clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The fleet's process.
    pub pid: u32,
    /// `http://127.0.0.1:PORT`.
    pub gitlab_url: String,
    /// Administrator's token.
    pub gitlab_token: String,
    /// `127.0.0.1:PORT` of each storage's Gitaly.
    pub gitaly: BTreeMap<StorageName, String>,
    /// All Gitalys' token.
    pub gitaly_token: String,
    /// The fleet's time at `real_epoch`.
    pub fleet_epoch: jiff::Timestamp,
    /// Real time.
    pub real_epoch: jiff::Timestamp,
    /// Seconds of the fleet's clock per second.
    pub speed: u32,
}

/// Why the fleet could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SandboxError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}
impl From<tokio::task::JoinError> for SandboxError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self { message: error.to_string(), help: None }
    }
}

/// Finds the fleet of a folder, starting its process (`<exe> sandbox serve --dir … --idle 30`) when none runs. `dir` is
/// `<configuration>/.tranship/sandbox/<name>`. Refuses a world made from another `sandbox` block; storages that are
/// new in the block are taken up, empty, by the world that is there.
///
/// # Errors
/// [`SandboxError`].
pub async fn ensure(
    dir: &Utf8Path,
    exe: &std::path::Path,
    spec: &SandboxConnection,
) -> Result<Endpoints, SandboxError> {
    let (dir, exe, spec) = (dir.to_owned(), exe.to_owned(), spec.clone());
    tokio::task::spawn_blocking(move || process::ensure(&dir, &exe, &spec)).await?
}

/// Serves the fleet of `dir` until nobody has asked for `idle` (`None`: for ever) or a signal comes. `spec` is
/// written on first use; left out, the folder must hold a world, or the block that [`ensure`] left for one.
///
/// # Errors
/// [`SandboxError`].
pub async fn serve(
    dir: &Utf8Path,
    spec: Option<SandboxConnection>,
    idle: Option<std::time::Duration>,
    announce: &mut (dyn FnMut(&Endpoints) + Send),
) -> Result<(), SandboxError> {
    process::serve(dir, spec, idle, announce).await
}

/// Stops a running fleet and deletes its world.
///
/// # Errors
/// [`SandboxError`].
pub async fn reset(dir: &Utf8Path) -> Result<(), SandboxError> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || process::reset(&dir)).await?
}

/// Fills a new world: draws its population and makes the repositories.
///
/// # Errors
/// Files or git failed.
fn settle(world: &mut World, content: &dyn Content) -> ContentResult<()> {
    let weights = world.weights();
    let settlers = draw::population(&world.spec, &weights);
    let lacking: Vec<u64> = settlers.iter().map(|s| s.project.id).filter(|_| world.strikes("missing_object")).collect();
    let sizes = content.settle(&settlers, &lacking)?;
    for (settler, (repository_size, wiki_size)) in settlers.into_iter().zip(sizes) {
        world.put_project(world::Project { repository_size, wiki_size, ..settler.project });
    }
    Ok(())
}

/// Locks, also after a panic elsewhere: the world is a value that is replaced piece by piece, never left half-made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
