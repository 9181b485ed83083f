//! The engine's ports onto a fleet in memory, and what stands around each call: kills, ordered failures, faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::super::content::{Content as _, ContentError, checksum};
use super::super::lock;
use super::super::world::{Ability, Presence, Project, Refusal, ScheduleError, family};
use super::answer::{answered, families, of_group, of_project, of_snippet, page, record, weights};
use super::{Inner, KillPoint, Shared, Write};
use crate::apply::port::{Clock, Cursor, GitLab, Gitaly, Listing, PortError, PortErrorKind, PortResult, Version};
use crate::model::{
    Bytes, Container, ContainerKind, DiskSpace, MoveRecord, Reference, Repository, ServerFacts, StorageName,
    TokenFacts, Weight,
};

/// Rounds of a millisecond without any call before the clock jumps by more than so many seconds: a journal's fsync on a busy
/// disk takes that long, and what comes after it must not be late.
const QUIET: [(SignedDuration, u32); 2] = [(SignedDuration::from_secs(70), 60), (SignedDuration::from_secs(8), 4)];

pub(super) struct Port {
    pub(super) shared: Arc<Shared>,
}

/// What stands around a call: kills, ordered failures.
impl Port {
    pub(super) async fn call<T>(
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

    /// A reading call to GitLab. As the real adapter does, it repeats what a 500 or 429 answered, and waits as long as
    /// a spent budget asks for.
    async fn get<T>(
        &self,
        method: &'static str,
        path: String,
        f: impl Fn(&Inner) -> PortResult<T> + Send + Sync,
    ) -> PortResult<T> {
        let call = format!("GET /api/v4{path}");
        let mut waited = Duration::ZERO;
        loop {
            let answer = self.call(method, call.clone(), |_, inner| {
                let mut refused = None;
                for _ in 0..5 {
                    refused = refusal(inner, &call);
                    if refused.as_ref().is_none_or(|(_, spent)| *spent) {
                        break;
                    }
                }
                match refused {
                    Some((error, true)) => Ok(Err(error)),
                    Some((error, false)) => Err(error),
                    None => f(inner).map(Ok),
                }
            });
            match answer.await? {
                Ok(value) => return Ok(value),
                Err(spent) => {
                    let wait = spent.retry_after.unwrap_or(Duration::from_secs(1));
                    waited = waited.saturating_add(wait);
                    if waited > ASKED {
                        return Err(spent);
                    }
                    self.sleep(wait).await;
                }
            }
        }
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
            if inner.silent.contains(storage) || inner.world.is_down(storage, inner.now) {
                return Err(PortError::new(PortErrorKind::Transient, name, "connection refused"));
            }
            if !inner.world.has_storage(storage) {
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

/// Waits that GitLab asks for are honoured up to this sum, as by the real adapter.
const ASKED: Duration = Duration::from_secs(60);

/// Why a call (`GET /api/v4/projects?page=1`) is not answered, and whether that is because a budget is spent.
fn refusal(inner: &mut Inner, call: &str) -> Option<(PortError, bool)> {
    let (method, path) = call.split_once(' ').unwrap_or(("", call));
    let path = path.strip_prefix("/api/v4").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let now = inner.now;
    let limited = |message: &str| answered(429, call, message);
    Some(match inner.world.admit(method, path, now, now).refused? {
        Refusal::Error => (answered(500, call, "500 Internal Server Error"), false),
        Refusal::Endpoint => (limited("This endpoint has been requested too many times. Try again later."), false),
        Refusal::Middleware(quota) => {
            let retry_after = Some(Duration::from_secs(quota.retry_after));
            let spent = inner.world.spec.faults.iter().any(|f| f.kind == "request_budget") && quota.remaining == 0;
            (PortError { retry_after, ..limited("429 Retry later") }, spent)
        }
    })
}

#[async_trait]
impl GitLab for Port {
    async fn version(&self) -> PortResult<Version> {
        self.get("version", "/metadata".into(), |inner| {
            let release = inner.world.release;
            let enterprise = release.can(Ability::TellsEdition).then_some(release.enterprise);
            Ok(Version { version: inner.world.gitlab_version(), enterprise })
        })
        .await
    }

    async fn token(&self) -> PortResult<TokenFacts> {
        self.get("token", "/personal_access_tokens/self".into(), |inner| {
            if !inner.world.release.can(Ability::TokenSelf) {
                return Err(PortError::new(
                    PortErrorKind::NotFound,
                    "GET /personal_access_tokens/self",
                    "404 Not Found",
                ));
            }
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
            if let Some((error, _)) = refusal(inner, &call) {
                return Err(error);
            }
            inner.writes.push(Write::Weights(new.clone()));
            let map = new.iter().map(|(n, w)| (n.to_string(), i64::from(w.get()))).collect();
            inner.world.put_weights(&map).map_err(|e| PortError::new(PortErrorKind::Refused, call, e.join("; ")))?;
            Ok(weights(&inner.world))
        })
        .await
    }

    async fn list(&self, kind: ContainerKind, storage: &StorageName, at: Cursor) -> PortResult<Listing> {
        let path = match kind {
            ContainerKind::Project => format!("/projects?repository_storage={storage}&id_after={}", at.after),
            ContainerKind::Snippet => format!("/snippets/all?repository_storage={storage}&page={}", at.page),
            ContainerKind::GroupWiki => format!("/groups?repository_storage={storage}&page={}", at.page),
        };
        let call = format!("GET /api/v4{path}");
        self.get("list", path, |inner| page(&inner.world, kind, storage, at, &call)).await
    }

    async fn container(&self, container: Container) -> PortResult<Option<Repository>> {
        let Container { kind, id } = container;
        let path = format!("/{}s/{id}", family(kind));
        let call = format!("GET /api/v4{path}");
        self.get("container", path, |inner| {
            let world = &inner.world;
            Ok(match kind {
                ContainerKind::Project => match world.project(id).filter(|p| p.presence == Presence::Live) {
                    Some(p) if p.poisoned => return Err(answered(500, &call, "500 Internal Server Error")),
                    found => found.map(|p| of_project(world, p)),
                },
                ContainerKind::Snippet => world.snippet(id).and_then(|s| of_snippet(world, s)),
                ContainerKind::GroupWiki => world.group(id).and_then(of_group),
            })
        })
        .await
    }

    async fn disk_path(&self, container: Container) -> PortResult<Option<String>> {
        if container.kind != ContainerKind::Project {
            return Ok(None);
        }
        self.get("disk_path", format!("/projects/{}/storage", container.id), |inner| {
            let project = inner.world.project(container.id).filter(|p| p.presence == Presence::Live);
            Ok(project.map(Project::disk_path))
        })
        .await
    }

    async fn project(&self, path: &str) -> PortResult<Option<Repository>> {
        self.get("project", format!("/projects/{}", path.replace('/', "%2F")), |inner| {
            let world = &inner.world;
            let project = world.project_by_path(path).filter(|p| p.presence == Presence::Live);
            Ok(project.map(|p| of_project(world, p)))
        })
        .await
    }

    async fn commit(&self, project: u64, branch: &str, _start: Option<&str>, message: &str) -> PortResult<String> {
        let call = format!("POST /api/v4/projects/{project}/repository/commits");
        self.call("commit", call.clone(), |shared, inner| {
            if let Some((error, _)) = refusal(inner, &call) {
                return Err(error);
            }
            let Some(p) = inner.world.project(project).filter(|p| p.presence == Presence::Live).cloned() else {
                return Err(PortError::new(PortErrorKind::NotFound, &call, "404 Project Not Found"));
            };
            if p.read_only || p.archived {
                return Err(PortError::new(PortErrorKind::Forbidden, &call, "403 Forbidden"));
            }
            inner.writes.push(Write::Commit(project, p.storage.clone()));
            let path = format!("{}.git", p.disk_path());
            let pushed = shared.content.push(&p.storage, &path, Some(branch), message);
            let commit = pushed.map_err(|e| PortError::new(PortErrorKind::Refused, &call, e.to_string()))?;
            inner.world.put_project(Project { empty: false, ..p });
            Ok(commit)
        })
        .await
    }

    async fn moves(&self, kind: ContainerKind, page: u32) -> PortResult<Vec<MoveRecord>> {
        let path = format!("/{}_repository_storage_moves?page={page}", family(kind));
        let call = format!("GET /api/v4{path}");
        self.get("moves", path, |inner| {
            families(&inner.world, kind, &call)?;
            let skip = (page.max(1) as usize - 1) * 100;
            Ok(inner.world.moves(kind).skip(skip).take(100).map(|m| record(&inner.world, m)).collect())
        })
        .await
    }

    async fn moves_of(&self, container: Container, limit: u32) -> PortResult<Vec<MoveRecord>> {
        let path = format!("/{}s/{}/repository_storage_moves", family(container.kind), container.id);
        let call = format!("GET /api/v4{path}");
        self.get("moves_of", path, |inner| {
            if let Some(kind) = inner.broken.get(&container) {
                return Err(PortError::new(*kind, &call, "500 Internal Server Error"));
            }
            families(&inner.world, container.kind, &call)?;
            if inner.world.housed(container).is_none() {
                return Err(PortError::new(PortErrorKind::NotFound, &call, "404 Not Found"));
            }
            let moves = inner.world.moves_of(container).take(limit.clamp(1, 100) as usize);
            Ok(moves.map(|m| record(&inner.world, m)).collect())
        })
        .await
    }

    async fn move_record(&self, kind: ContainerKind, id: u64) -> PortResult<Option<MoveRecord>> {
        self.get("move_record", format!("/{}_repository_storage_moves/{id}", family(kind)), |inner| {
            Ok(inner.world.find_move(kind, id).map(|m| record(&inner.world, m)))
        })
        .await
    }

    async fn schedule(&self, container: Container, destination: &StorageName) -> PortResult<MoveRecord> {
        let call = format!("POST /api/v4/{}s/{}/repository_storage_moves", family(container.kind), container.id);
        self.call("schedule", call.clone(), |shared, inner| {
            let error = |kind, message: String| PortError::new(kind, call.clone(), message);
            match refusal(inner, &call) {
                // Not carried out, and said so.
                Some((limited, _)) if limited.status == Some(429) => return Err(limited),
                Some((cut, _)) => return Err(error(PortErrorKind::Ambiguous, cut.message)),
                None => {}
            }
            inner.writes.push(Write::Schedule(container, destination.clone()));
            let lost = inner.world.strikes("lost_response");
            let now = inner.now;
            let made = inner.world.schedule(container, destination.as_str(), now).map_err(|e| match e {
                ScheduleError::NotFound => error(PortErrorKind::NotFound, "404 Not Found".to_owned()),
                ScheduleError::Invalid(fields) => {
                    let text: Vec<String> = fields.iter().map(|(field, what)| format!("{field} {what}")).collect();
                    error(PortErrorKind::Refused, text.join("; "))
                }
            })?;
            let id = made.id;
            let made = inner.world.find_move(container.kind, id).map(|m| record(&inner.world, m));
            let made = made.ok_or_else(|| error(PortErrorKind::Protocol, "the move is gone".to_owned()))?;
            if inner.world.is_fast(container.kind, id) {
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
                version: inner.world.gitaly_version(storage),
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
            let space = inner.world.disk(storage, inner.now);
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
        self.ask("checksum", storage, |shared, _| Ok(checksum(&shared.content.references(storage, path)?))).await
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

    async fn fsck(&self, storage: &StorageName, path: &str) -> PortResult<Vec<String>> {
        self.ask("fsck", storage, |shared, _| {
            let complaints = shared.content.fsck(storage, path)?;
            Ok(String::from_utf8_lossy(&complaints).lines().map(str::to_owned).collect())
        })
        .await
    }

    async fn pool(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        self.ask("pool", storage, |shared, _| shared.content.pool(storage, path)).await
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
        let (mut seen, mut quiet) = (0, 0);
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
            quiet = if seen == inner.activity { quiet + 1 } else { 0 };
            // Far jumps pass over what real work outside would still begin: they wait until that has had its time.
            let jump = deadline.duration_since(inner.now);
            let enough = QUIET.iter().find(|(far, _)| jump > *far).map_or(1, |(_, rounds)| *rounds);
            if first == Some(sleeper.id) && quiet >= enough && !inner.killed {
                self.shared.advance(&mut inner, deadline);
                break;
            }
            seen = inner.activity;
        }
        lock(&self.shared.inner).activity += 1;
    }
}
