//! The engine's ports onto a fleet in memory, and what stands around each call: kills, ordered failures, faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::super::content::{Content as _, ContentError, checksum};
use super::super::lock;
use super::super::world::{Move, Project, ScheduleError, World};
use super::{Inner, KillPoint, Shared, Write};
use crate::apply::port::{Clock, Cursor, GitLab, Gitaly, Listing, PortError, PortErrorKind, PortResult, Version};
use crate::model::{
    Bytes, Container, ContainerKind, DiskSpace, MoveRecord, Reference, Repository, RepositoryRole, ServerFacts,
    StorageName, TokenFacts, Weight, relative_path,
};

pub(super) struct Port {
    pub(super) shared: Arc<Shared>,
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
        archived: Some(p.archived),
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

    async fn list(&self, kind: ContainerKind, storage: &StorageName, at: Cursor) -> PortResult<Listing> {
        if kind != ContainerKind::Project {
            let path = format!("/{}s?repository_storage={storage}&page={}", kind.as_str(), at.page);
            return self.get("list", path, |_| Ok(Listing { found: Vec::new(), next: None })).await;
        }
        self.get("list", format!("/projects?repository_storage={storage}&id_after={}", at.after), |inner| {
            let projects = inner.world.projects_after(Some(storage), at.after);
            let found: Vec<_> = projects.take(at.size as usize).map(repository).collect();
            let next = found.last().map(|last| Cursor { after: last.container.id, ..at });
            Ok(Listing { found, next })
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
