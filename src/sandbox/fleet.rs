//! A world that runs: the driver of its moves, its clock, and its record on disk. Every change is written before its
//! answer goes out, so that killing the process loses nothing; a restart takes moves up where they stood.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::content::Content;
use super::git::Git;
use super::synthetic::Synthetic;
use super::world::{Change, Job, World, carry_out};
use super::{SandboxError, lock};
use crate::model::SandboxConnection;

/// The record's file, replaced as a whole at each start; what happened since stands in [`LOG`].
pub(super) const SNAPSHOT: &str = "world.json";
/// One line a change, appended.
pub(super) const LOG: &str = "world.log";
/// The folder of real repositories.
pub(super) const STORAGES: &str = "storages";
/// 2: snippets, groups and object pools.
const FORMAT: u32 = 2;

#[derive(Deserialize)]
struct Layout {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    format: u32,
    spec: SandboxConnection,
    fleet_epoch: Timestamp,
    real_epoch: Timestamp,
    gitlab_token: String,
    gitaly_token: String,
    cluster_token: String,
    changes: Vec<Change>,
}

/// A running world.
pub(super) struct Fleet {
    world: Mutex<World>,
    /// What the storages hold.
    pub(super) content: Arc<dyn Content>,
    log: Mutex<std::fs::File>,
    /// The fleet's time at `real_epoch`.
    pub(super) fleet_epoch: Timestamp,
    /// Real time.
    pub(super) real_epoch: Timestamp,
    speed: u32,
    /// Administrator's token.
    pub(super) gitlab_token: String,
    /// All Gitalys' token.
    pub(super) gitaly_token: String,
    /// The cluster administrator's token.
    pub(super) cluster_token: String,
    wake: Notify,
    begun: Instant,
    touched: AtomicU64,
    /// Cancelled when the fleet must end.
    pub(super) stop: CancellationToken,
    dir: Utf8PathBuf,
}

fn failed(what: &str, error: impl std::fmt::Display) -> SandboxError {
    SandboxError {
        message: format!("the sandbox's {what}: {error}"),
        help: Some("Make the folder writable, or start anew with: tranship sandbox reset".to_owned()),
    }
}

fn token(prefix: &str) -> Result<String, SandboxError> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    let mut source = fs::File::open("/dev/urandom").map_err(|e| failed("token", e))?;
    source.read_exact(&mut bytes).map_err(|e| failed("token", e))?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

/// Writes a file that only its owner can read, all or nothing.
pub(super) fn write_private(file: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Several starters may write at once, threads of one process among them.
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let unique = UNIQUE.fetch_add(1, Ordering::Relaxed);
    let temporary = file.with_extension(format!("tmp{}-{unique}", std::process::id()));
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&temporary, file)
}

impl Fleet {
    /// Loads the world of a folder, or makes it from `spec`.
    ///
    /// # Errors
    /// There is none and no `spec`; it was made from another block; files or git failed.
    pub(super) fn open(dir: &Utf8Path, spec: Option<SandboxConnection>) -> Result<Self, SandboxError> {
        let file = dir.join(SNAPSHOT);
        let snapshot = if file.exists() {
            let text = fs::read(&file).map_err(|e| failed("world", e))?;
            let unreadable = |e| failed(&format!("world {file}"), e);
            let Layout { format } = serde_json::from_slice(&text).map_err(unreadable)?;
            if format != FORMAT {
                let message = format!("{file} has the layout {format}, this version knows {FORMAT}");
                return Err(failed("world", message));
            }
            let snapshot: Snapshot = serde_json::from_slice(&text).map_err(unreadable)?;
            snapshot
        } else {
            let spec = spec.clone().ok_or_else(|| failed("world", format!("{file} does not exist")))?;
            Snapshot {
                format: FORMAT,
                spec,
                // Whole seconds, so that a clock read back from a file is the clock that was written.
                fleet_epoch: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH),
                real_epoch: Timestamp::now(),
                gitlab_token: token("glpat-sandbox-admin-")?,
                gitaly_token: token("gitaly-sandbox-")?,
                cluster_token: token("cluster-sandbox-")?,
                changes: Vec::new(),
            }
        };
        let new = !file.exists();
        let mut world = World::new(snapshot.spec.clone(), snapshot.fleet_epoch);
        let real = world.spec.repositories <= world.spec.real_limit;
        let (content, synthetic): (Arc<dyn Content>, _) = if real {
            // The copy of a small repository takes a real Gitaly 0.1 s, and a frozen one must be readable that long.
            world.floor = SignedDuration::from_millis(100 * i64::from(world.spec.speed.max(1)));
            let root = dir.join(STORAGES);
            (Arc::new(Git::new(&root, world.spec.seed)), None)
        } else {
            let synthetic = Arc::new(Synthetic::default());
            (synthetic.clone(), Some(synthetic))
        };
        for (storage, id) in &world.filesystem_ids {
            content.prepare(storage, id).map_err(|e| failed("storages", e))?;
        }
        if new {
            super::settle(&mut world, content.as_ref()).map_err(|e| failed("first repositories", e))?;
        }
        for change in snapshot.changes {
            content.replay(&change);
            world.replay(change);
        }
        let log = dir.join(LOG);
        if log.exists() {
            let text = fs::read(&log).map_err(|e| failed("log", e))?;
            // A line that a kill cut short was never answered for.
            for line in text.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let changes: Vec<Change> =
                    serde_json::from_slice(line).map_err(|e| failed(&format!("log {log}"), e))?;
                for change in changes {
                    content.replay(&change);
                    world.replay(change);
                }
            }
        }
        for (storage, id) in world.pod_disks() {
            content.prepare(storage, id).map_err(|e| failed("storages", e))?;
        }
        drop((world.take_changes(), content.changes()));
        if let Some(wanted) = &spec {
            super::compare(&world.spec, wanted)?;
            adopt(&mut world, wanted, content.as_ref()).map_err(|e| failed("storages", e))?;
        }
        let mut changes = world.as_changes();
        changes.extend(synthetic.iter().flat_map(|s| s.as_changes()));
        let snapshot = Snapshot { spec: world.spec.clone(), changes, ..snapshot };
        let text = serde_json::to_vec(&snapshot).map_err(|e| failed("world", e))?;
        write_private(&file, &text).map_err(|e| failed("world", e))?;
        let out = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(&log);
        Ok(Self {
            speed: world.spec.speed.max(1),
            world: Mutex::new(world),
            content,
            log: Mutex::new(out.map_err(|e| failed("log", e))?),
            fleet_epoch: snapshot.fleet_epoch,
            real_epoch: snapshot.real_epoch,
            gitlab_token: snapshot.gitlab_token,
            gitaly_token: snapshot.gitaly_token,
            cluster_token: snapshot.cluster_token,
            wake: Notify::new(),
            begun: Instant::now(),
            touched: AtomicU64::new(0),
            stop: CancellationToken::new(),
            dir: dir.to_owned(),
        })
    }

    /// The fleet's time.
    pub(super) fn now(&self) -> Timestamp {
        let real = Timestamp::now().duration_since(self.real_epoch);
        let fleet = real.checked_mul(i32::try_from(self.speed).unwrap_or(i32::MAX)).unwrap_or(SignedDuration::MAX);
        self.fleet_epoch.checked_add(fleet).unwrap_or(Timestamp::MAX)
    }

    /// Looks at the world, changes it, and writes down what changed before it returns.
    pub(super) fn world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.world);
        let result = f(&mut world);
        let mut changes = self.content.changes();
        changes.extend(world.take_changes());
        if !changes.is_empty() {
            let written = serde_json::to_vec(&changes).map_err(std::io::Error::from).and_then(|mut line| {
                line.push(b'\n');
                lock(&self.log).write_all(&line)
            });
            if let Err(error) = written {
                // Going on would promise what a restart does not know.
                tracing::error!(%error, "the sandbox cannot write its log; it ends");
                self.stop.cancel();
            }
        }
        result
    }

    /// Has the driver look again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Somebody asked for something.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(now, Ordering::Relaxed);
    }

    /// How long nobody has asked and nothing has moved.
    pub(super) fn idle(&self) -> Duration {
        if self.world(|w| w.busy()) {
            self.touch();
        }
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.touched.load(Ordering::Relaxed)))
    }

    /// Takes up storages of a `sandbox` block that are new.
    ///
    /// # Errors
    /// The block differs in anything else; files failed.
    pub(super) fn adopt(&self, wanted: &SandboxConnection) -> Result<(), SandboxError> {
        self.world(|world| {
            super::compare(&world.spec, wanted)?;
            if !adopt(world, wanted, self.content.as_ref()).map_err(|e| failed("storages", e))? {
                return Ok(());
            }
            let file = self.dir.join(SNAPSHOT);
            let text = fs::read(&file).map_err(|e| failed("world", e))?;
            let mut snapshot: Snapshot = serde_json::from_slice(&text).map_err(|e| failed("world", e))?;
            snapshot.spec = world.spec.clone();
            let text = serde_json::to_vec(&snapshot).map_err(|e| failed("world", e))?;
            write_private(&file, &text).map_err(|e| failed("world", e))
        })
    }

    /// Begins jobs, each on a thread of its own.
    fn begin(self: &Arc<Self>, jobs: Vec<Job>) -> Vec<tokio::task::JoinHandle<()>> {
        let begin = |job: Job| {
            let fleet = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                let result = carry_out(fleet.content.as_ref(), &job);
                fleet.world(|world| world.complete(&job, result, fleet.now()));
                fleet.wake();
            })
        };
        jobs.into_iter().map(begin).collect()
    }

    /// Carries out jobs, and waits for their end.
    pub(super) async fn carry_out(self: &Arc<Self>, jobs: Vec<Job>) {
        for job in self.begin(jobs) {
            drop(job.await);
        }
    }

    /// Sidekiq: moves the world on until the fleet ends.
    pub(super) async fn drive(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let (jobs, next) = self.world(|world| (world.tick(self.now()), world.next_due()));
            drop(self.begin(jobs));
            let pause = next.map_or(Duration::from_secs(1), |due| {
                let fleet = Duration::try_from(due.duration_since(self.now())).unwrap_or(Duration::ZERO);
                (fleet / self.speed).clamp(Duration::from_micros(500), Duration::from_secs(1))
            });
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

/// Adds the storages of `wanted` that the world lacks, empty. True when there were any.
fn adopt(
    world: &mut World,
    wanted: &SandboxConnection,
    content: &dyn Content,
) -> Result<bool, super::content::ContentError> {
    let mut added = false;
    for storage in &wanted.storages {
        if !world.spec.storages.iter().any(|s| s.name == storage.name) {
            world.add_storage(storage.clone());
            let id = world.filesystem_ids.get(&storage.name).cloned().unwrap_or_default();
            content.prepare(&storage.name, &id)?;
            added = true;
        }
    }
    Ok(added)
}
