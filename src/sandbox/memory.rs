//! The fleet without sockets: the engine's ports straight onto the world, synthetic content and a virtual clock.
//!
//! Sleeping is what makes time pass: when every sleeper waits and nobody has called for a while, the clock jumps to the
//! earliest deadline and the world carries out what became due. Time stands still while calls are made, so that a run is
//! repeatable. What a test does to the fleet behind the engine's back goes through [`Handle`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::content::{Content, ContentError};
use super::lock;
use super::synthetic::Synthetic;
use super::world::{Move, Project, ScheduleError, World, carry_out};
use crate::apply::port::{Clock, GitLab, Gitaly, PortError, PortErrorKind, PortResult, Ports, Version};
use crate::model::{
    Bytes, Container, ContainerKind, DiskSpace, MoveRecord, Reference, Repository, RepositoryRole, SandboxConnection,
    ServerFacts, StorageName, TokenFacts, Weight, relative_path,
};

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
            silent: BTreeSet::new(),
        };
        let handle =
            Handle { shared: Arc::new(Shared { inner: Mutex::new(inner), content, died: Default::default() }) };
        (handle.ports(), handle)
    }
}

/// A call that changes the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// `PUT /application/settings`.
    Weights(BTreeMap<StorageName, Weight>),
    /// `POST /projects/:id/repository_storage_moves`.
    Schedule(Container, StorageName),
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
    silent: BTreeSet<StorageName>,
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
                let spare = inner.world.spares(&job);
                let result = carry_out(&self.content, &job, spare);
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

/// What tests see and do behind the engine's back. Cheap to clone; all clones are one fleet.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.shared.inner)
    }

    /// Ports onto this fleet; as many as wanted.
    pub fn ports(&self) -> Ports {
        let port = Arc::new(Port { shared: Arc::clone(&self.shared) });
        Ports { gitlab: port.clone(), gitaly: port.clone(), clock: port }
    }

    /// Looks at the world, or changes anything in it.
    pub fn world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.inner().world)
    }

    /// The storages' content.
    pub fn content(&self) -> &Synthetic {
        &self.shared.content
    }

    /// The fleet's time.
    pub fn now(&self) -> Timestamp {
        self.inner().now
    }

    /// Lets time pass without anybody sleeping.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.inner();
        let then = inner.now + SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.shared.advance(&mut inner, then);
    }

    /// Lets time pass until no move is in flight (at most ten days).
    pub fn finish_moves(&self) {
        let mut inner = self.inner();
        let end = inner.now + SignedDuration::from_hours(240);
        while inner.world.busy() && inner.now < end {
            let then = inner.now + SignedDuration::from_secs(10);
            self.shared.advance(&mut inner, then);
        }
    }

    /// How many calls the ports had, clock aside.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// The writing calls so far, in order, those that were refused among them.
    pub fn writes(&self) -> Vec<Write> {
        self.inner().writes.clone()
    }

    /// Forgets the writing calls so far.
    pub fn clear_writes(&self) {
        self.inner().writes.clear();
    }

    /// From the `call`th call on (counted as [`Handle::calls`] does, from 1), no call returns any more, as if the caller's
    /// process had died there. Await [`Handle::killed`] beside the run, drop the run, then [`Handle::revive`].
    pub fn kill_at(&self, call: u64, point: KillPoint) {
        self.inner().kill = Some((call, point));
    }

    /// Returns once a kill has struck.
    pub async fn killed(&self) {
        loop {
            let notified = self.shared.died.notified();
            if self.inner().killed {
                return;
            }
            notified.await;
        }
    }

    /// Calls return again. Sleepers of the dead process are forgotten.
    pub fn revive(&self) {
        let mut inner = self.inner();
        inner.kill = None;
        inner.killed = false;
        inner.sleepers.clear();
    }

    /// The next `times` calls of a port's method (by its Rust name, `references`) fail.
    pub fn fail_next(&self, method: &'static str, times: u32, kind: PortErrorKind) {
        self.inner().failures.insert(method, (times, kind));
    }

    /// A storage's Gitaly does not answer, or does again.
    pub fn set_reachable(&self, storage: &StorageName, reachable: bool) {
        let mut inner = self.inner();
        if reachable {
            inner.silent.remove(storage)
        } else {
            inner.silent.insert(storage.clone())
        };
    }

    /// GitLab's configuration names a storage, or does not.
    pub fn set_known(&self, storage: &StorageName, known: bool) {
        let world = &mut self.inner().world;
        if known {
            world.known.insert(storage.clone())
        } else {
            world.known.remove(storage)
        };
    }

    /// A storage's Gitaly says that filesystem id.
    pub fn set_filesystem_id(&self, storage: &StorageName, id: &str) {
        self.inner().world.filesystem_ids.insert(storage.clone(), id.to_owned());
    }

    /// Somebody else sets one weight.
    pub fn set_weight(&self, storage: &StorageName, weight: Weight) {
        let world = &mut self.inner().world;
        let mut all: BTreeMap<String, i64> =
            world.weights().into_iter().filter_map(|(n, w)| Some((n.to_string(), i64::try_from(w).ok()?))).collect();
        all.insert(storage.to_string(), i64::from(weight.get()));
        drop(world.put_weights(&all));
    }

    /// Somebody pushes to the default branch of a project where GitLab says that it lives. Returns the commit, or why
    /// it was refused.
    ///
    /// # Errors
    /// The project is gone, read-only, or has no repository.
    pub fn push(&self, project: u64) -> Result<String, String> {
        let mut inner = self.inner();
        let p = inner.world.project(project).ok_or("404 Project Not Found")?.clone();
        if p.read_only {
            return Err("The repository is temporarily read-only. Please try again later.".to_owned());
        }
        let path = relative_path(Container { kind: ContainerKind::Project, id: project }, RepositoryRole::Main);
        let commit = self.shared.content.push(&p.storage, &path, None, "A push").map_err(|e| e.to_string())?;
        inner.world.put_project(Project { empty: false, ..p });
        Ok(commit)
    }

    /// Somebody else schedules a move. Returns its id.
    ///
    /// # Errors
    /// What GitLab complains of.
    pub fn foreign_move(&self, project: u64, destination: &StorageName) -> Result<u64, ScheduleError> {
        let mut inner = self.inner();
        let now = inner.now;
        let id = inner.world.schedule(project, destination.as_str(), now)?.id;
        self.shared.settle(&mut inner);
        Ok(id)
    }

    /// Somebody deletes a project, with its repositories.
    pub fn delete(&self, project: u64) -> Option<Project> {
        let gone = self.inner().world.delete_project(project)?;
        for path in gone.repositories() {
            drop(self.shared.content.remove(&gone.storage, &path));
        }
        Some(gone)
    }

    /// Somebody makes a project with an ordinary repository. Returns its id.
    pub fn add_project(&self, path: &str, storage: &StorageName) -> u64 {
        let mut inner = self.inner();
        let project = Project {
            id: inner.world.next_project_id(),
            path: path.to_owned(),
            archived: false,
            storage: storage.clone(),
            read_only: false,
            empty: false,
            wiki: false,
            design: false,
            repository_size: 100_000,
            wiki_size: 0,
            fork_parent: None,
            created: inner.now,
            last_activity: inner.now,
        };
        let id = project.id;
        let settler = super::draw::Settler { project: project.clone(), shape: super::draw::Shape::Ordinary };
        drop(self.shared.content.settle(&[settler], &[]));
        inner.world.put_project(project);
        id
    }

    /// All projects, by ascending id.
    pub fn projects(&self) -> Vec<Project> {
        self.inner().world.projects_after(None, 0).cloned().collect()
    }

    /// All moves, oldest first.
    pub fn moves(&self) -> Vec<Move> {
        let mut all: Vec<Move> = self.inner().world.moves().cloned().collect();
        all.reverse();
        all
    }

    /// Every repository with its references, by storage and path: equal means the same world, content-wise.
    pub fn fingerprint(&self) -> BTreeMap<(StorageName, String), Vec<Reference>> {
        let names: Vec<StorageName> = self.inner().world.spec.storages.iter().map(|s| s.name.clone()).collect();
        let mut all = BTreeMap::new();
        for name in names {
            for (path, _) in self.shared.content.walk(&name).unwrap_or_default() {
                let references = self.shared.content.references(&name, &path).unwrap_or_default();
                all.insert((name.clone(), path), references);
            }
        }
        all
    }
}

struct Port {
    shared: Arc<Shared>,
}

/// What stands around a call: kills, ordered failures.
impl Port {
    async fn call<T>(
        &self,
        method: &'static str,
        call: String,
        f: impl FnOnce(&Shared, &mut Inner) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        let result = {
            let mut inner = lock(&self.shared.inner);
            inner.activity += 1;
            if inner.killed {
                None
            } else {
                inner.calls += 1;
                let kill = inner.kill.filter(|(at, _)| *at <= inner.calls).map(|(_, point)| point);
                if kill.is_some() {
                    inner.killed = true;
                    self.shared.died.notify_waiters();
                }
                let failure = inner.failures.get_mut(method).filter(|(times, _)| *times > 0).map(|(times, kind)| {
                    *times -= 1;
                    *kind
                });
                match (kill, failure) {
                    (Some(KillPoint::Before), _) => None,
                    (_, Some(kind)) => Some(Err(PortError::new(kind, call, "a failure that was ordered"))),
                    (kill, None) => {
                        self.shared.settle(&mut inner);
                        let result = f(&self.shared, &mut inner);
                        self.shared.settle(&mut inner);
                        if kill.is_none() { Some(result) } else { None }
                    }
                }
            }
        };
        match result {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    /// A reading call to GitLab. As the real adapter does, it repeats what a 500 or 429 answered.
    async fn get<T>(
        &self,
        method: &'static str,
        path: String,
        f: impl FnOnce(&Inner) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        let call = format!("GET /api/v4{path}");
        self.call(method, call.clone(), |_, inner| {
            let mut error = None;
            for _ in 0..5 {
                error = request_fault(inner, &call);
                if error.is_none() {
                    break;
                }
            }
            error.map_or_else(|| f(inner), Err)
        })
        .await
    }

    async fn ask<T>(
        &self,
        method: &'static str,
        storage: &StorageName,
        f: impl FnOnce(&Shared, &mut Inner) -> Result<T, ContentError> + Send,
    ) -> PortResult<T> {
        let call = format!("{method} of storage {storage}");
        let name = call.clone();
        self.call(method, call, move |shared, inner| {
            if inner.silent.contains(storage) {
                return Err(PortError::new(PortErrorKind::Transient, name, "connection refused"));
            }
            if !inner.world.spec.storages.iter().any(|s| s.name == *storage) {
                let message = format!("GetStorageByName: no such storage: {:?}", storage.as_str());
                return Err(PortError::new(PortErrorKind::Refused, name, message));
            }
            f(shared, inner).map_err(|e| match e {
                ContentError::NotFound => PortError::new(PortErrorKind::NotFound, name, e.to_string()),
                e => PortError::new(PortErrorKind::Refused, name, e.to_string()),
            })
        })
        .await
    }
}

fn request_fault(inner: &mut Inner, call: &str) -> Option<PortError> {
    let (cut, limited) = (inner.world.strikes("server_error"), inner.world.strikes("rate_limit"));
    if cut {
        return Some(PortError::new(PortErrorKind::Transient, call, "500 Internal Server Error"));
    }
    limited.then(|| {
        let mut error = PortError::new(PortErrorKind::Transient, call, "429 Retry later");
        error.retry_after = Some(Duration::from_secs(1));
        error
    })
}

fn repository(p: &Project) -> Repository {
    Repository {
        container: Container { kind: ContainerKind::Project, id: p.id },
        path: p.path.clone().into_boxed_str(),
        storage: p.storage.clone(),
        size: Some(Bytes(p.bytes())),
        archived: p.archived,
        empty: Some(p.empty),
        fork_parent: p.fork_parent,
        last_activity: Some(p.last_activity.as_second()),
        created: Some(p.created.as_second()),
    }
}

fn record(m: &Move) -> MoveRecord {
    MoveRecord {
        container: Container { kind: ContainerKind::Project, id: m.project },
        id: m.id,
        state: m.state.clone(),
        source: m.source.to_string(),
        destination: m.destination.to_string(),
        created_at: Some(m.created_at),
        error_message: m.error.clone(),
    }
}

fn weights(world: &World) -> BTreeMap<StorageName, Weight> {
    world.weights().into_iter().filter_map(|(name, weight)| Some((name, Weight::new(weight).ok()?))).collect()
}

#[async_trait]
impl GitLab for Port {
    async fn version(&self) -> PortResult<Version> {
        self.get("version", "/metadata".into(), |inner| {
            let version = inner.world.spec.gitlab_version.clone();
            Ok(Version { enterprise: Some(version.ends_with("-ee")), version })
        })
        .await
    }

    async fn token(&self) -> PortResult<TokenFacts> {
        self.get("token", "/personal_access_tokens/self".into(), |_| {
            Ok(TokenFacts { scopes: vec!["api".into(), "admin_mode".into()], expires_at: None })
        })
        .await
    }

    async fn weights(&self) -> PortResult<BTreeMap<StorageName, Weight>> {
        self.get("weights", "/application/settings".into(), |inner| Ok(weights(&inner.world))).await
    }

    async fn put_weights(&self, new: &BTreeMap<StorageName, Weight>) -> PortResult<BTreeMap<StorageName, Weight>> {
        let call = "PUT /api/v4/application/settings".to_owned();
        self.call("put_weights", call.clone(), |_, inner| {
            if let Some(error) = request_fault(inner, &call) {
                return Err(error);
            }
            inner.writes.push(Write::Weights(new.clone()));
            let map = new.iter().map(|(n, w)| (n.to_string(), i64::from(w.get()))).collect();
            inner.world.put_weights(&map).map_err(|e| PortError::new(PortErrorKind::Refused, call, e.join("; ")))?;
            Ok(weights(&inner.world))
        })
        .await
    }

    async fn projects(&self, storage: &StorageName, after: u64) -> PortResult<Vec<Repository>> {
        self.get("projects", format!("/projects?repository_storage={storage}&id_after={after}"), |inner| {
            Ok(inner.world.projects_after(Some(storage), after).take(100).map(repository).collect())
        })
        .await
    }

    async fn count(&self, kind: ContainerKind, storage: &StorageName) -> PortResult<u64> {
        let path = format!("/{}?repository_storage={storage}", kind.as_str());
        self.get("count", path, |inner| {
            let projects = inner.world.projects_after(Some(storage), 0).count() as u64;
            Ok(if kind == ContainerKind::Project { projects } else { 0 })
        })
        .await
    }

    async fn container(&self, container: Container) -> PortResult<Option<Repository>> {
        self.get("container", format!("/projects/{}", container.id), |inner| {
            let of_kind = container.kind == ContainerKind::Project;
            Ok(inner.world.project(container.id).filter(|_| of_kind).map(repository))
        })
        .await
    }

    async fn disk_path(&self, container: Container) -> PortResult<Option<String>> {
        self.get("disk_path", format!("/projects/{}/storage", container.id), |inner| {
            let path = relative_path(container, RepositoryRole::Main);
            let path = path.strip_suffix(".git").unwrap_or(&path).to_owned();
            Ok(inner.world.project(container.id).map(|_| path))
        })
        .await
    }

    async fn moves(&self, kind: ContainerKind, page: u32) -> PortResult<Vec<MoveRecord>> {
        self.get("moves", format!("/{}_repository_storage_moves?page={page}", kind.as_str()), |inner| {
            let skip = (page.max(1) as usize - 1) * 100;
            let of_kind = kind == ContainerKind::Project;
            Ok(inner.world.moves().filter(|_| of_kind).skip(skip).take(100).map(record).collect())
        })
        .await
    }

    async fn moves_of(&self, container: Container, limit: u32) -> PortResult<Vec<MoveRecord>> {
        self.get("moves_of", format!("/projects/{}/repository_storage_moves", container.id), |inner| {
            let of_kind = container.kind == ContainerKind::Project;
            let moves = inner.world.moves_of(container.id).filter(|_| of_kind);
            Ok(moves.take(limit.clamp(1, 100) as usize).map(record).collect())
        })
        .await
    }

    async fn move_record(&self, kind: ContainerKind, id: u64) -> PortResult<Option<MoveRecord>> {
        self.get("move_record", format!("/{}_repository_storage_moves/{id}", kind.as_str()), |inner| {
            Ok(inner.world.find_move(id).filter(|_| kind == ContainerKind::Project).map(record))
        })
        .await
    }

    async fn schedule(&self, container: Container, destination: &StorageName) -> PortResult<MoveRecord> {
        let call = format!("POST /api/v4/projects/{}/repository_storage_moves", container.id);
        self.call("schedule", call.clone(), |shared, inner| {
            let error = |kind, message: String| PortError::new(kind, call.clone(), message);
            match request_fault(inner, &call) {
                // Not carried out, and said so.
                Some(limited) if limited.retry_after.is_some() => return Err(limited),
                Some(cut) => return Err(error(PortErrorKind::Ambiguous, cut.message)),
                None => {}
            }
            inner.writes.push(Write::Schedule(container, destination.clone()));
            if container.kind != ContainerKind::Project {
                return Err(error(PortErrorKind::NotFound, "404 Not Found".to_owned()));
            }
            let lost = inner.world.strikes("lost_response");
            let now = inner.now;
            let made = inner.world.schedule(container.id, destination.as_str(), now).map_err(|e| match e {
                ScheduleError::NotFound => error(PortErrorKind::NotFound, "404 Project Not Found".to_owned()),
                ScheduleError::Invalid(fields) => {
                    let text: Vec<String> = fields.iter().map(|(field, what)| format!("{field} {what}")).collect();
                    error(PortErrorKind::Refused, text.join("; "))
                }
            })?;
            let made = record(made);
            if inner.world.is_fast(made.id) {
                shared.settle(inner);
            }
            if lost {
                return Err(error(PortErrorKind::Ambiguous, "the connection was closed before the answer".to_owned()));
            }
            Ok(made)
        })
        .await
    }
}

#[async_trait]
impl Gitaly for Port {
    async fn server(&self, storage: &StorageName) -> PortResult<ServerFacts> {
        self.ask("server", storage, |_, inner| {
            Ok(ServerFacts {
                version: inner.world.spec.gitaly_version.clone(),
                git_version: "2.39.5".to_owned(),
                readable: true,
                writeable: true,
                filesystem_id: inner.world.filesystem_ids.get(storage).cloned().unwrap_or_default(),
                replication_factor: 1,
            })
        })
        .await
    }

    async fn disk(&self, storage: &StorageName) -> PortResult<Option<DiskSpace>> {
        self.ask("disk", storage, |_, inner| {
            let space = inner.world.disk(storage);
            Ok(space.map(|(used, available)| DiskSpace { available: Bytes(available), used: Bytes(used) }))
        })
        .await
    }

    async fn exists(&self, storage: &StorageName, path: &str) -> PortResult<bool> {
        self.ask("exists", storage, |shared, _| Ok(shared.content.exists(storage, path))).await
    }

    async fn references(&self, storage: &StorageName, path: &str) -> PortResult<Vec<Reference>> {
        self.ask("references", storage, |shared, inner| {
            inner.world.was_read(storage, path);
            let all = shared.content.references(storage, path)?;
            // Without a matching reference Gitaly sends nothing at all.
            Ok(if all.iter().all(|r| r.name == b"HEAD") { Vec::new() } else { all })
        })
        .await
    }

    async fn head(&self, storage: &StorageName, path: &str) -> PortResult<Option<Vec<u8>>> {
        self.ask("head", storage, |shared, _| shared.content.head(storage, path).map(Some)).await
    }

    async fn object_format(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        self.ask("object_format", storage, |shared, _| shared.content.object_format(storage, path).map(Some)).await
    }

    async fn checksum(&self, storage: &StorageName, path: &str) -> PortResult<String> {
        self.ask("checksum", storage, |shared, _| {
            Ok(super::content::checksum(&shared.content.references(storage, path)?))
        })
        .await
    }

    async fn objects_exist(&self, storage: &StorageName, path: &str, ids: &[String]) -> PortResult<Vec<bool>> {
        self.ask("objects_exist", storage, |shared, _| {
            let revisions: Vec<Vec<u8>> = ids.iter().map(|id| id.clone().into_bytes()).collect();
            shared.content.objects_exist(storage, path, &revisions)
        })
        .await
    }

    async fn size(&self, storage: &StorageName, path: &str) -> PortResult<Bytes> {
        self.ask("size", storage, |shared, _| Ok(Bytes(shared.content.measure(storage, path)?.size))).await
    }

    async fn walk(&self, storage: &StorageName) -> PortResult<Vec<String>> {
        self.ask("walk", storage, |shared, _| {
            Ok(shared.content.walk(storage)?.into_iter().map(|(path, _)| path).collect())
        })
        .await
    }
}

/// Wakes a sleeper that is dropped before its time.
struct Sleeper<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        lock(&self.shared.inner).sleepers.remove(&self.id);
    }
}

#[async_trait]
impl Clock for Port {
    fn now(&self) -> Timestamp {
        lock(&self.shared.inner).now
    }

    async fn sleep(&self, duration: Duration) {
        let (sleeper, deadline) = {
            let mut inner = lock(&self.shared.inner);
            let by = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
            let deadline = inner.now.checked_add(by).unwrap_or(Timestamp::MAX);
            let id = inner.next_sleeper;
            inner.next_sleeper += 1;
            inner.activity += 1;
            inner.sleepers.insert(id, deadline);
            (Sleeper { shared: &self.shared, id }, deadline)
        };
        let mut seen = 0;
        loop {
            // Everybody who can run runs first; then real work outside (a journal's fsync) gets a moment.
            for _ in 0..32 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut inner = lock(&self.shared.inner);
            if inner.now >= deadline && !inner.killed {
                break;
            }
            let first = inner.sleepers.iter().min_by_key(|(id, at)| (**at, **id)).map(|(id, _)| *id);
            if first == Some(sleeper.id) && seen == inner.activity && !inner.killed {
                self.shared.advance(&mut inner, deadline);
                break;
            }
            seen = inner.activity;
        }
        lock(&self.shared.inner).activity += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MoveState, SandboxFault, SandboxStorage};

    fn spec(faults: &[(&str, u32)]) -> SandboxConnection {
        let storage = |name: &str| SandboxStorage {
            name: StorageName::new(name).expect("valid"),
            disk: Bytes(1 << 40),
            weight: None,
        };
        SandboxConnection {
            name: "test".into(),
            repositories: 24,
            real_limit: 200,
            seed: 7,
            speed: 60,
            workers: 2,
            gitlab_version: "18.1.1-ee".into(),
            gitaly_version: "16.0.0".into(),
            storages: vec![storage("default"), storage("second")],
            faults: faults.iter().map(|(k, nth)| SandboxFault { kind: (*k).into(), nth: *nth, count: 1 }).collect(),
        }
    }

    fn name(n: &str) -> StorageName {
        StorageName::new(n).expect("valid")
    }

    fn project(id: u64) -> Container {
        Container { kind: ContainerKind::Project, id }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(future)
    }

    #[test]
    fn a_move_freezes_copies_switches_and_cleans_up() {
        let (ports, handle) = MemoryFleet::new(&spec(&[]));
        let path = relative_path(project(1), RepositoryRole::Main);
        run(async {
            let before = ports.gitaly.references(&name("default"), &path).await.expect("there");
            assert!(before.len() > 3);
            let made = ports.gitlab.schedule(project(1), &name("second")).await.expect("accepted");
            assert_eq!(made.state, MoveState::Scheduled);
            assert!(handle.push(1).is_err(), "frozen");
            let again = ports.gitlab.schedule(project(1), &name("second")).await.expect_err("frozen");
            assert_eq!((again.kind, again.message.as_str()), (PortErrorKind::Refused, "project is read-only"));
            assert_eq!(ports.gitaly.references(&name("default"), &path).await.expect("still there"), before);
            let begun = ports.clock.now();
            let mut states = Vec::new();
            loop {
                let state = ports
                    .gitlab
                    .move_record(ContainerKind::Project, made.id)
                    .await
                    .expect("read")
                    .expect("known")
                    .state;
                if states.last() != Some(&state) {
                    states.push(state.clone());
                }
                if state.is_terminal() {
                    break;
                }
                ports.clock.sleep(Duration::from_millis(500)).await;
            }
            assert_eq!(states, [MoveState::Started, MoveState::Replicated, MoveState::Finished]);
            let took = ports.clock.now().duration_since(begun).as_secs();
            assert!((4..10).contains(&took), "{took}");
            assert!(!ports.gitaly.exists(&name("default"), &path).await.expect("asked"));
            assert_eq!(ports.gitaly.references(&name("second"), &path).await.expect("there"), before);
            let found = ports.gitlab.container(project(1)).await.expect("read").expect("there");
            assert_eq!(found.storage, name("second"));
            handle.push(1).expect("writable");
        });
        assert_eq!(handle.writes().len(), 2);
    }

    #[test]
    fn workers_bound_what_runs() {
        let (ports, handle) = MemoryFleet::new(&spec(&[]));
        run(async {
            for id in 1..=5 {
                ports.gitlab.schedule(project(id), &name("second")).await.expect("accepted");
            }
        });
        let started = || handle.moves().iter().filter(|m| m.state == MoveState::Started).count();
        assert_eq!(started(), 2);
        handle.finish_moves();
        assert!(handle.moves().iter().all(|m| m.state == MoveState::Finished));
    }

    /// What the fault does to the first move's state, error and destination.
    fn struck(kind: &str) -> (Handle, Move, Vec<Reference>, Vec<Reference>) {
        let (ports, handle) = MemoryFleet::new(&spec(&[(kind, 1)]));
        let path = relative_path(project(1), RepositoryRole::Main);
        let before = handle.content().references(&name("default"), &path).expect("there");
        drop(run(ports.gitlab.schedule(project(1), &name("second"))));
        handle.finish_moves();
        let m = handle.moves().first().cloned().expect("made");
        let at = handle.projects()[0].storage.clone();
        let after = handle.content().references(&at, &path).expect("there");
        (handle, m, before, after)
    }

    #[test]
    fn faults_on_copies_do_what_they_say() {
        for (kind, objects) in [("corrupt_copy", false), ("lose_reference", true)] {
            let (handle, m, before, after) = struck(kind);
            assert_eq!((m.state, after.len()), (MoveState::Finished, before.len() - 1), "{kind}");
            let lost = before.iter().find(|r| !after.contains(r)).expect("lost");
            let path = relative_path(project(1), RepositoryRole::Main);
            let ids = [lost.target.clone().into_bytes()];
            assert_eq!(handle.content().objects_exist(&name("second"), &path, &ids), Ok(vec![objects]), "{kind}");
        }
        let (_, m, before, after) = struck("push_after_move");
        assert_eq!((m.state, before.len()), (MoveState::Finished, after.len()));
        assert_ne!(before, after);
    }

    #[test]
    fn faults_on_moves_do_what_they_say() {
        for (kind, text) in [("fail_move", "Failed to verify project"), ("push_timeout", "Timeout waiting")] {
            let (handle, m, before, after) = struck(kind);
            assert!(m.state == MoveState::Failed && before == after, "{kind}");
            assert!(m.error.expect("told").starts_with(text));
            assert!(!handle.projects()[0].read_only);
        }
        let (handle, m, before, after) = struck("cleanup_failed");
        assert!(m.state == MoveState::CleanupFailed && before == after);
        let path = relative_path(project(1), RepositoryRole::Main);
        assert!(handle.content().exists(&name("default"), &path));
    }

    #[test]
    fn faults_on_calls_do_what_they_say() {
        run(async {
            let (ports, handle) =
                MemoryFleet::new(&spec(&[("refuse_move", 1), ("lost_response", 2), ("fast_move", 1)]));
            let refused = ports.gitlab.schedule(project(1), &name("second")).await.expect_err("refused");
            assert_eq!(refused.kind, PortErrorKind::Refused);
            assert!(handle.moves().is_empty());
            let lost = ports.gitlab.schedule(project(1), &name("second")).await.expect_err("lost");
            assert_eq!(lost.kind, PortErrorKind::Ambiguous);
            assert_eq!(handle.moves()[0].state, MoveState::Finished, "fast, and carried out");
            let (ports, _) = MemoryFleet::new(&spec(&[("server_error", 1), ("rate_limit", 2)]));
            let cut = ports.gitlab.schedule(project(1), &name("second")).await.expect_err("cut");
            assert_eq!(cut.kind, PortErrorKind::Ambiguous);
            let limited = ports.gitlab.schedule(project(1), &name("second")).await.expect_err("limited");
            assert_eq!(limited.retry_after, Some(Duration::from_secs(1)));
            ports.gitlab.schedule(project(1), &name("second")).await.expect("third time");
        });
    }

    #[test]
    fn a_missing_object_is_there_from_the_beginning() {
        let (_, handle) = MemoryFleet::new(&spec(&[("missing_object", 2)]));
        let dirty = |id| {
            let path = relative_path(project(id), RepositoryRole::Main);
            !handle.content().fsck(&name("default"), &path).expect("asked").is_empty()
        };
        assert_eq!([dirty(1), dirty(2), dirty(3)], [false, true, false]);
    }

    #[test]
    fn weights_are_replaced_as_a_whole_and_checked() {
        let (ports, handle) = MemoryFleet::new(&spec(&[]));
        run(async {
            let weight = |w| Weight::new(w).expect("valid");
            let now = ports.gitlab.weights().await.expect("read");
            assert_eq!(now, BTreeMap::from([(name("default"), weight(100)), (name("second"), weight(0))]));
            let answer = ports.gitlab.put_weights(&BTreeMap::from([(name("second"), weight(7))])).await.expect("put");
            assert_eq!(answer, BTreeMap::from([(name("default"), weight(0)), (name("second"), weight(7))]));
            let unknown = ports.gitlab.put_weights(&BTreeMap::from([(name("gone"), weight(7))])).await;
            assert_eq!(unknown.expect_err("unknown").message, "can't include: gone");
        });
        assert_eq!(handle.writes().len(), 2);
    }

    #[test]
    fn a_kill_stops_every_call_and_revival_finds_the_world_as_it_was() {
        for (point, moves) in [(KillPoint::Before, 0), (KillPoint::After, 1)] {
            let (ports, handle) = MemoryFleet::new(&spec(&[]));
            run(async {
                handle.kill_at(2, point);
                let work = async {
                    ports.gitlab.version().await.expect("before the kill");
                    drop(ports.gitlab.schedule(project(1), &name("second")).await);
                    panic!("outlived its own death");
                };
                tokio::select! { () = work => {}, () = handle.killed() => {} }
                handle.revive();
                assert_eq!(ports.gitlab.moves(ContainerKind::Project, 1).await.expect("again").len(), moves);
            });
        }
    }

    #[test]
    fn sleepers_wake_in_order_of_their_deadlines() {
        let (ports, handle) = MemoryFleet::new(&spec(&[]));
        let woken = Mutex::new(Vec::new());
        let begun = handle.now();
        run(async {
            let nap = async |seconds: u64| {
                ports.clock.sleep(Duration::from_secs(seconds)).await;
                lock(&woken).push((seconds, ports.clock.now().duration_since(begun).as_secs()));
            };
            tokio::join!(nap(30), nap(10), nap(20));
        });
        assert_eq!(*lock(&woken), [(10, 10), (20, 20), (30, 30)]);
    }

    #[test]
    fn equal_filesystem_ids_copy_nothing() {
        let (ports, handle) = MemoryFleet::new(&spec(&[]));
        handle.set_filesystem_id(&name("default"), "one");
        handle.set_filesystem_id(&name("second"), "one");
        run(ports.gitlab.schedule(project(1), &name("second"))).expect("accepted");
        handle.finish_moves();
        let path = relative_path(project(1), RepositoryRole::Main);
        assert_eq!(handle.projects()[0].storage, name("second"));
        assert!(handle.content().exists(&name("default"), &path) && !handle.content().exists(&name("second"), &path));
    }
}
