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
pub mod kubernetes;
pub mod memory;
mod process;
pub mod prometheus;
mod rest;
pub mod synthetic;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::model::{Container, ContainerKind, SandboxConnection, StorageName};
use content::{Content, ContentResult};
use draw::{Seat, Settler};
pub use kubernetes::PodFacts;
use process::compare;
pub use process::running;
use world::{Pool, Presence, World};

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
    /// `http://127.0.0.1:PORT` of the embedded cluster's API.
    pub kubernetes_url: String,
    /// Its administrator's token.
    pub kubernetes_token: String,
    /// `http://127.0.0.1:PORT` of its Prometheus, which asks for no token.
    pub prometheus_url: String,
    /// The fleet's time at `real_epoch`.
    pub fleet_epoch: jiff::Timestamp,
    /// Real time.
    pub real_epoch: jiff::Timestamp,
    /// Seconds of the fleet's clock per second.
    pub speed: u32,
}

/// What a configuration's pods find in the embedded cluster: what a real one's operator has put there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodNeeds {
    /// The storages that will be in pods.
    pub storages: BTreeSet<StorageName>,
    /// Their namespace.
    pub namespace: String,
    /// The Secrets that they mount, each with its keys.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
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

/// Tells a running fleet which storages will be in pods; returns where it listens, theirs included. Each answers once its
/// pod is ready.
///
/// # Errors
/// [`SandboxError`].
pub async fn expect_pods(endpoints: &Endpoints, needs: &PodNeeds) -> Result<Endpoints, SandboxError> {
    let (endpoints, needs) = (endpoints.clone(), needs.clone());
    tokio::task::spawn_blocking(move || process::expect_pods(&endpoints, &needs)).await?
}

/// Tells a running fleet of the pods of another cluster than its own: it serves a Gitaly for each that is ready.
///
/// # Errors
/// [`SandboxError`].
pub async fn relay(endpoints: &Endpoints, pods: BTreeMap<StorageName, PodFacts>) -> Result<(), SandboxError> {
    let endpoints = endpoints.clone();
    tokio::task::spawn_blocking(move || process::relay(&endpoints, &pods)).await?
}

/// Tells a running fleet's Prometheus which labels the servers of storages have; one that is not named has its name.
///
/// # Errors
/// [`SandboxError`].
pub async fn label(
    endpoints: &Endpoints,
    labels: BTreeMap<StorageName, BTreeMap<String, String>>,
) -> Result<(), SandboxError> {
    let endpoints = endpoints.clone();
    tokio::task::spawn_blocking(move || process::label(&endpoints, &labels)).await?
}

/// Tells a running fleet that somebody still waits, so that it does not end for want of questions.
pub async fn touch(endpoints: &Endpoints) {
    let endpoints = endpoints.clone();
    // A fleet that is gone is found gone by the next question.
    drop(tokio::task::spawn_blocking(move || process::touch(&endpoints)).await);
}

/// Has a running fleet's GitLab learn of a storage, as a change of its configuration would.
///
/// # Errors
/// There is no such storage.
pub async fn know(endpoints: &Endpoints, storage: &StorageName) -> Result<(), SandboxError> {
    let (endpoints, storage) = (endpoints.clone(), storage.clone());
    tokio::task::spawn_blocking(move || process::know(&endpoints, &storage)).await?
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

/// Does what a person does at GitLab's console for a container that GitLab has left read-only: ends its moves that have
/// not ended, and makes it writable. Returns the ids of the moves it ended.
///
/// # Errors
/// There is no such container, or the fleet does not answer.
pub async fn repair(endpoints: &Endpoints, container: Container) -> Result<Vec<u64>, SandboxError> {
    let endpoints = endpoints.clone();
    tokio::task::spawn_blocking(move || process::repair(&endpoints, container)).await?
}

/// Stops a running fleet and deletes its world.
///
/// # Errors
/// [`SandboxError`].
pub async fn reset(dir: &Utf8Path) -> Result<(), SandboxError> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || process::reset(&dir)).await?
}

/// Fills a new world: draws its population, with the faults that are there from the beginning, and makes the
/// repositories.
///
/// # Errors
/// Files or git failed.
fn settle(world: &mut World, content: &dyn Content) -> ContentResult<()> {
    let weights = world.shares();
    let mut projects = draw::projects(&world.spec, &weights);
    let pools = draw::fork_networks(&world.spec, &mut projects);
    let mut settlers = Vec::new();
    let mut roots: BTreeMap<u64, String> = BTreeMap::new();
    for (project, shape) in &mut projects {
        project.poisoned = world.strikes("poisoned_project");
        if world.strikes("pending_delete") {
            project.presence = Presence::PendingDelete;
        }
        if world.strikes("hidden") {
            project.presence = Presence::Hidden;
        }
        if world.strikes("path_elsewhere") {
            // As before hashed storage: where the project was first, whatever it is called now.
            project.disk_path = Some(format!("legacy/{}", project.path));
        }
        let lacks_object = world.strikes("missing_object");
        let seat = project.pool.and_then(|id| pools.iter().find(|p| p.id == id)).map(|pool| {
            let root = roots.get(&pool.id).cloned();
            roots.entry(pool.id).or_insert_with(|| format!("{}.git", project.disk_path()));
            Seat { pool: Pool::path_of(pool.id), bytes: pool.size, root }
        });
        settlers.push(Settler { seat, lacks_object, ..Settler::project(project, *shape) });
    }
    let first_snippet = settlers.len();
    let mut snippets = draw::snippets(&world.spec, &weights);
    for s in &snippets {
        let container = Container { kind: ContainerKind::Snippet, id: s.id };
        let name = format!("snippets/{}", s.id);
        settlers.extend(s.storage.clone().map(|storage| Settler::other(container, name, storage, s.size)));
    }
    let mut groups = draw::groups(&world.spec, &weights, world.moves_kind(ContainerKind::GroupWiki));
    for g in &groups {
        let container = Container { kind: ContainerKind::GroupWiki, id: g.id };
        settlers.extend(g.storage.clone().map(|storage| Settler::other(container, g.path.clone(), storage, g.size)));
    }
    let mut sizes = content.settle(&settlers)?.into_iter();
    for ((mut project, _), sizes) in projects.into_iter().zip(sizes.by_ref().take(first_snippet)) {
        let mut sizes = sizes.into_iter();
        project.repository_size = sizes.next().unwrap_or(0);
        if project.wiki {
            project.wiki_size = sizes.next().unwrap_or(0);
        }
        world.put_project(project);
    }
    for s in snippets.iter_mut().filter(|s| s.storage.is_some()) {
        s.size = sizes.next().and_then(|sizes| sizes.first().copied()).unwrap_or(0);
    }
    snippets.into_iter().for_each(|s| world.put_snippet(s));
    for g in groups.iter_mut().filter(|g| g.storage.is_some()) {
        g.size = sizes.next().and_then(|sizes| sizes.first().copied()).unwrap_or(0);
    }
    groups.into_iter().for_each(|g| world.put_group(g));
    for pool in pools {
        let size = content.measure(&pool.storage, &Pool::path_of(pool.id))?.size;
        world.put_pool(Pool { size, ..pool });
    }
    Ok(())
}

/// Locks, also after a panic elsewhere: the world is a value that is replaced piece by piece, never left half-made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
