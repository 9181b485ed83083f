//! What tests see of a fleet in memory, and do to it behind the engine's back.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::PodNeeds;
use super::super::content::Content as _;
use super::super::draw::{Settler, Shape};
use super::super::lock;
use super::super::synthetic::Synthetic;
use super::super::world::{Group, Housed, Move, Project, ScheduleError, Snippet, World};
use super::port::Port;
use super::{Inner, KillPoint, Shared, Write};
use crate::apply::port::{Approval, Delete, HookEnd, PortErrorKind, Ports};
use crate::model::cluster::ObjectKey;
use crate::model::{Address, Container, ContainerKind, Reference, StorageName, Weight};

/// What tests see and do behind the engine's back. Cheap to clone; all clones are one fleet.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
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
        Ports {
            gitlab: port.clone(),
            gitaly: port.clone(),
            cluster: Some(port.clone()),
            metrics: Some(port.clone()),
            operator: Some(port.clone()),
            clock: port,
        }
    }

    /// A person approves a gate.
    pub fn approve(&self, gate: &Address, by: &str) {
        let approval = Approval { by: by.to_owned(), reason: String::new() };
        self.inner().script.approvals.insert(gate.clone(), approval);
    }

    /// How the operator's program ends from now on; without a word, with 0.
    pub fn set_hook(&self, name: &str, end: HookEnd) {
        self.inner().script.hooks.insert(name.to_owned(), end);
    }

    /// The programs that were run, in order, each with what it was told.
    pub fn hooks_run(&self) -> Vec<(String, serde_json::Value)> {
        self.inner().script.ran.clone()
    }

    /// What Prometheus answers a query from now on; `None`: it has no data.
    pub fn set_metric(&self, query: &str, value: Option<f64>) {
        let mut inner = self.inner();
        let now = inner.now;
        inner.script.values.entry(query.to_owned()).or_default().push((now, value));
    }

    /// The same from a while on.
    pub fn set_metric_in(&self, query: &str, after: Duration, value: Option<f64>) {
        let mut inner = self.inner();
        let at = inner.now + SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        inner.script.values.entry(query.to_owned()).or_default().push((at, value));
    }

    /// A veto that is a file or an address holds for this reason, or does not any more.
    pub fn set_veto(&self, source: &str, reason: Option<&str>) {
        let vetoes = &mut self.inner().script.vetoes;
        match reason {
            Some(reason) => drop(vetoes.insert(source.to_owned(), reason.to_owned())),
            None => drop(vetoes.remove(source)),
        }
    }

    /// Puts into the cluster what its operator would have put there for a configuration's pods.
    pub fn expect_pods(&self, needs: &PodNeeds) {
        let mut inner = self.inner();
        let now = inner.now;
        inner.world.cluster(|store| store.meet(needs, now));
    }

    /// Somebody deletes an object of the pods' namespace.
    pub fn delete_object(&self, key: &ObjectKey) {
        let mut inner = self.inner();
        super::cluster::direct(&mut inner, |cluster| drop(cluster.delete(key, &Delete::default())));
    }

    /// Writes the fleet into a file, for [`super::MemoryFleet::resume`].
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, file: &camino::Utf8Path) -> std::io::Result<()> {
        let inner = self.inner();
        let mut changes = inner.world.as_changes();
        changes.extend(self.shared.content.as_changes());
        let text = serde_json::to_vec(&super::Kept { now: inner.now, changes })?;
        drop(inner);
        if let Some(folder) = file.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(file, text)
    }

    /// Becomes a fleet that was kept.
    pub(super) fn take_up(&self, spec: &crate::model::SandboxConnection, kept: super::Kept) {
        let mut inner = self.inner();
        let epoch = inner.world.epoch;
        inner.world = World::new(spec.clone(), epoch);
        inner.world.courteous = true;
        inner.now = kept.now;
        self.shared.content.clear();
        for change in kept.changes {
            self.shared.content.replay(&change);
            inner.world.replay(change);
        }
        drop((inner.world.take_changes(), self.shared.content.changes()));
    }

    /// Looks at the world, or changes anything in it.
    pub fn world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.inner().world)
    }

    /// The storages' content.
    pub fn content(&self) -> &Synthetic {
        &self.shared.content
    }

    /// Bytes used and free on a storage's disk, now.
    pub fn disk(&self, storage: &StorageName) -> Option<(u64, u64)> {
        let now = self.now();
        self.world(|w| w.disk(storage, now))
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

    /// GitLab fails for good when it is asked for the moves of one container.
    pub fn fail_about(&self, container: Container, kind: PortErrorKind) {
        self.inner().broken.insert(container, kind);
    }

    /// Somebody makes a container read-only, or writable, beside all moves.
    pub fn set_read_only(&self, container: Container, read_only: bool) {
        self.inner().world.set_read_only(container, read_only);
    }

    /// A project's repository has so many bytes from now on, as far as GitLab and its moves are concerned.
    pub fn set_size(&self, project: u64, bytes: u64) {
        let mut inner = self.inner();
        let found = inner.world.projects_after(None, 0).find(|one| one.id == project).cloned();
        if let Some(one) = found {
            inner.world.put_project(Project { repository_size: bytes, ..one });
        }
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

    /// A storage's Gitaly is away for everybody, GitLab too, for so long from now.
    pub fn set_down(&self, storage: &StorageName, span: Duration) {
        let mut inner = self.inner();
        let until = inner.now + SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        inner.world.set_down(storage, until);
    }

    /// Prometheus labels of storages' servers; of one that is not named, its name.
    pub fn set_labels(&self, labels: BTreeMap<StorageName, BTreeMap<String, String>>) {
        self.inner().world.label(labels);
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
            world.weights().into_iter().filter_map(|(n, w)| Some((n, i64::try_from(w).ok()?))).collect();
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
        let path = format!("{}.git", p.disk_path());
        let commit = self.shared.content.push(&p.storage, &path, None, "A push").map_err(|e| e.to_string())?;
        inner.world.put_project(Project { empty: false, ..p });
        Ok(commit)
    }

    /// Somebody else schedules a move of a project. Returns its id.
    ///
    /// # Errors
    /// What GitLab complains of.
    pub fn foreign_move(&self, project: u64, destination: &StorageName) -> Result<u64, ScheduleError> {
        let mut inner = self.inner();
        let now = inner.now;
        let container = Container { kind: ContainerKind::Project, id: project };
        let id = inner.world.accept(container, destination.as_str(), now)?.id;
        self.shared.settle(&mut inner);
        Ok(id)
    }

    /// Somebody at GitLab's console ends the moves of a container that have not ended, and makes it writable. Returns
    /// the ids of those moves; `None` when there is no such container.
    pub fn repair(&self, container: Container) -> Option<Vec<u64>> {
        self.inner().world.repair(container)
    }

    /// Somebody deletes a project, with its repositories.
    pub fn delete(&self, project: u64) -> Option<Housed> {
        self.delete_container(Container { kind: ContainerKind::Project, id: project })
    }

    /// Somebody deletes a project, snippet or group, with its repositories.
    pub fn delete_container(&self, container: Container) -> Option<Housed> {
        let mut inner = self.inner();
        let now = inner.now;
        let gone = inner.world.delete(container, now)?;
        for path in &gone.paths {
            drop(gone.storage.as_ref().map(|storage| self.shared.content.remove(storage, path)));
        }
        Some(gone)
    }

    /// Somebody makes a project with an ordinary repository. Returns its id.
    pub fn add_project(&self, path: &str, storage: &StorageName) -> u64 {
        let mut inner = self.inner();
        let id = inner.world.next_project_id();
        let project =
            Project { repository_size: 100_000, ..Project::new(id, path.to_owned(), storage.clone(), inner.now) };
        drop(self.shared.content.settle(&[Settler::project(&project, Shape::Ordinary)]));
        inner.world.put_project(project);
        id
    }

    /// All projects, by ascending id.
    pub fn projects(&self) -> Vec<Project> {
        self.inner().world.projects_after(None, 0).cloned().collect()
    }

    /// All snippets, by ascending id.
    pub fn snippets(&self) -> Vec<Snippet> {
        self.inner().world.snippets(None).cloned().collect()
    }

    /// All groups, by ascending id.
    pub fn groups(&self) -> Vec<Group> {
        self.inner().world.groups(None).cloned().collect()
    }

    /// All moves of all families, oldest first.
    pub fn moves(&self) -> Vec<Move> {
        self.inner().world.all_moves().cloned().collect()
    }

    /// Every repository with its references, by storage and path: equal means the same world, content-wise.
    pub fn fingerprint(&self) -> BTreeMap<(StorageName, String), Vec<Reference>> {
        let names = self.inner().world.storages();
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
