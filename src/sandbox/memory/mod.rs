//! The fleet without sockets: the engine's ports straight onto the world, synthetic content and a virtual clock.
//!
//! Sleeping is what makes time pass: when every sleeper waits and nobody has called for a while, the clock jumps to the
//! earliest deadline and the world carries out what became due. Time stands still while calls are made, so that a run is
//! repeatable. What a test does to the fleet behind the engine's back goes through [`Handle`].

mod answer;
mod cluster;
mod handle;
mod metrics;
mod port;
mod scripted;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use camino::Utf8Path;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::content::Content as _;
use super::synthetic::Synthetic;
use super::world::{Change, World, carry_out};
use crate::apply::port::{PortErrorKind, Ports};
use crate::model::cluster::ObjectKey;
use crate::model::{Container, SandboxConnection, StorageName, Weight};
pub use handle::Handle;

/// Makes fleets in memory.
#[derive(Debug)]
pub struct MemoryFleet;

impl MemoryFleet {
    /// Makes the world that `spec` describes, always with synthetic content, at 2026-01-05T09:00:00Z by its clock.
    #[expect(clippy::new_ret_no_self, reason = "a fleet is its ports and its handle")]
    pub fn new(spec: &SandboxConnection) -> (Ports, Handle) {
        let epoch = Timestamp::from_second(1_767_603_600).unwrap_or(Timestamp::UNIX_EPOCH);
        let content = Synthetic::default();
        let mut world = World::new(spec.clone(), epoch);
        world.courteous = true;
        super::settle(&mut world, &content).unwrap_or_default();
        drop((world.take_changes(), content.changes()));
        let inner = Inner {
            world,
            now: epoch,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
            activity: 0,
            calls: 0,
            writes: Vec::new(),
            kill: None,
            killed: false,
            failures: BTreeMap::new(),
            broken: BTreeMap::new(),
            silent: BTreeSet::new(),
            script: scripted::Script::default(),
        };
        let handle =
            Handle { shared: Arc::new(Shared { inner: Mutex::new(inner), content, died: Default::default() }) };
        (handle.ports(), handle)
    }
}

/// A fleet in memory as it is kept between two commands.
#[derive(Serialize, Deserialize)]
struct Kept {
    now: Timestamp,
    changes: Vec<Change>,
}

impl MemoryFleet {
    /// Takes up the fleet that [`Handle::keep`] wrote into a file; makes it anew when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resume(spec: &SandboxConnection, file: &Utf8Path) -> Result<(Ports, Handle), SandboxError> {
        let (ports, handle) = Self::new(spec);
        if file.exists() {
            let failed = |e: String| SandboxError { message: format!("{file}: {e}"), help: None };
            let text = fs_err::read(file).map_err(|e| failed(e.to_string()))?;
            let kept: Kept = serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?;
            handle.take_up(spec, kept);
        }
        Ok((ports, handle))
    }
}

/// A call that changes the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// `PUT /application/settings`.
    Weights(BTreeMap<StorageName, Weight>),
    /// `POST /projects/:id/repository_storage_moves`.
    Schedule(Container, StorageName),
    /// `POST /projects/:id/repository/commits`, and where the project was.
    Commit(u64, StorageName),
    /// A call of the cluster's port, by its name, on an object.
    Cluster(&'static str, ObjectKey),
}

/// When a kill strikes the call it was ordered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// The call never reaches the world.
    Before,
    /// The call is carried out; its answer never arrives.
    After,
}

struct Inner {
    world: World,
    now: Timestamp,
    sleepers: BTreeMap<u64, Timestamp>,
    next_sleeper: u64,
    activity: u64,
    calls: u64,
    writes: Vec<Write>,
    kill: Option<(u64, KillPoint)>,
    killed: bool,
    failures: BTreeMap<&'static str, (u32, PortErrorKind)>,
    /// Containers whose moves cannot be asked for.
    broken: BTreeMap<Container, PortErrorKind>,
    silent: BTreeSet<StorageName>,
    script: scripted::Script,
}

struct Shared {
    inner: Mutex<Inner>,
    content: Synthetic,
    died: tokio::sync::Notify,
}

impl Shared {
    /// Carries out everything that is due now.
    fn settle(&self, inner: &mut Inner) {
        loop {
            let jobs = inner.world.tick(inner.now);
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let result = carry_out(&self.content, &job);
                inner.world.complete(&job, result, inner.now);
            }
        }
        drop((inner.world.take_changes(), self.content.changes()));
    }

    /// Lets time pass up to `then`, event by event.
    fn advance(&self, inner: &mut Inner, then: Timestamp) {
        self.settle(inner);
        while let Some(due) = inner.world.next_due().filter(|due| *due <= then) {
            inner.now = inner.now.max(due);
            let before = inner.world.next_due();
            self.settle(inner);
            if inner.world.next_due() == before {
                break;
            }
        }
        inner.now = inner.now.max(then);
        self.settle(inner);
    }
}
