//! The fleet in memory and the fleet over sockets are one world: each script below is run on both, through the ports that
//! the engine uses, must tell the same, and tells it in a snapshot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use secrecy::SecretString;
use tranship::apply::port::{Cursor, PortError, PortResult, Ports};
use tranship::live::{GitalyTarget, PrometheusTarget, ScaledClock, Target, connect};
use tranship::model::{
    Bytes, Container, ContainerKind, Endpoint, MoveRecord, MoveState, RepositoryRole, SandboxConnection, SandboxFault,
    SandboxStorage, Scheme, StorageName, Weight, relative_path,
};
use tranship::sandbox::memory::{Handle, MemoryFleet};
use tranship::sandbox::{self, Endpoints};

use super::sandbox_fleet::World;

const KINDS: [ContainerKind; 3] = [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki];

fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("valid")
}

fn project(id: u64) -> Container {
    Container { kind: ContainerKind::Project, id }
}

fn snippet(id: u64) -> Container {
    Container { kind: ContainerKind::Snippet, id }
}

fn group(id: u64) -> Container {
    Container { kind: ContainerKind::GroupWiki, id }
}

fn path(container: Container) -> String {
    relative_path(container, RepositoryRole::Main)
}

/// Twenty projects, four of them a fork network; snippets and group wikis; all on `default`.
fn spec(faults: &[(&str, u32)]) -> SandboxConnection {
    let storage = |n: &str| SandboxStorage { name: name(n), disk: Bytes(1 << 50), weight: None };
    SandboxConnection {
        name: "office".into(),
        repositories: 20,
        snippets: 5,
        group_wikis: 4,
        fork_networks: 1,
        real_limit: 0,
        seed: 7,
        speed: 600,
        workers: 4,
        gitlab_version: "18.2.0-ee".into(),
        gitaly_version: "18.2.0".into(),
        storages: vec![storage("default"), storage("second"), storage("third")],
        pods: Default::default(),
        faults: faults.iter().map(|(k, nth)| SandboxFault { kind: (*k).into(), nth: *nth, count: 1 }).collect(),
    }
}

/// A fleet, one way or the other.
enum Fleet {
    Memory(Handle),
    Sockets(Endpoints),
}

/// What a script has, and where it tells what it saw.
struct Stage {
    ports: Ports,
    fleet: Fleet,
    told: String,
}

impl Stage {
    fn tell(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.told, "{line}");
    }

    async fn wait(&self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(60);
            self.ports.clock.sleep(Duration::from_secs(step)).await;
            // A fleet that nobody asks ends.
            self.ports.gitlab.version().await.expect("there");
            left -= step;
        }
    }

    /// Schedules a move and tells how it stands, or of the refusal.
    async fn schedule(&mut self, container: Container, to: &str) -> u64 {
        match self.ports.gitlab.schedule(container, &name(to)).await {
            Ok(made) => {
                self.record(&made);
                made.id
            }
            Err(e) => {
                self.tell(format!("{container} to {to}: {:?}", e.kind));
                0
            }
        }
    }

    fn record(&mut self, m: &MoveRecord) {
        let error = m.error_message.as_deref().map_or_else(String::new, |e| format!(": {e}"));
        self.tell(format!("{} move {} {} from {} to {}{error}", m.container, m.id, m.state, m.source, m.destination));
    }

    async fn read(&self, kind: ContainerKind, id: u64) -> MoveRecord {
        self.ports.gitlab.move_record(kind, id).await.expect("read").expect("known")
    }

    /// Follows a move to its end, for two hours of the fleet's clock at most, and tells of the end.
    async fn follow(&mut self, kind: ContainerKind, id: u64) {
        for _ in 0..720 {
            if self.read(kind, id).await.state.is_terminal() {
                break;
            }
            self.wait(10).await;
        }
        let record = self.read(kind, id).await;
        self.record(&record);
    }

    async fn moved(&mut self, container: Container, to: &str) {
        let id = self.schedule(container, to).await;
        if id > 0 {
            self.follow(container.kind, id).await;
        }
    }

    /// Tells where GitLab says that a container is, and which Gitalys have it.
    async fn whereabouts(&mut self, container: Container) {
        let found = self.ports.gitlab.container(container).await;
        let found = outcome(found.map(|r| r.map_or_else(|| "nobody's".to_owned(), |r| r.storage.to_string())));
        let mut has = Vec::new();
        for storage in ["default", "second", "third"] {
            if self.ports.gitaly.exists(&name(storage), &path(container)).await.expect("asked") {
                has.push(storage);
            }
        }
        self.tell(format!("{container} is {found}, on Gitaly {}", has.join(", ")));
    }

    async fn repair(&mut self, container: Container) {
        let ended = match &self.fleet {
            Fleet::Memory(handle) => handle.repair(container).expect("there"),
            Fleet::Sockets(endpoints) => sandbox::repair(endpoints, container).await.expect("there"),
        };
        self.tell(format!("repaired {container}, ended {ended:?}"));
    }

    /// Tells the pages of a list, `size` items each.
    async fn list(&mut self, kind: ContainerKind, storage: &str, size: u32) {
        let mut at = Cursor { size, ..Cursor::START };
        loop {
            match self.ports.gitlab.list(kind, &name(storage), at).await {
                Ok(listing) => {
                    let found: Vec<String> =
                        listing.found.iter().map(|r| format!("{}={}", r.container.id, r.path)).collect();
                    self.tell(format!("{} on {storage}: {}", kind.as_str(), found.join(" ")));
                    match listing.next {
                        Some(next) => at = next,
                        None => return,
                    }
                }
                Err(e) => return self.tell(format!("{} on {storage}: {}", kind.as_str(), said(&e))),
            }
        }
    }

    /// Tells the pools that a Gitaly holds, and how large the fork network's members are there.
    async fn pools(&mut self, storage: &str) {
        let walked = self.ports.gitaly.walk(&name(storage)).await.expect("walked");
        let pools = walked.iter().filter(|p| p.starts_with("@pools/")).count();
        let mut sizes = Vec::new();
        for id in 13..=16 {
            if let Ok(size) = self.ports.gitaly.size(&name(storage), &path(project(id))).await {
                sizes.push(format!("{id}: {size}"));
            }
        }
        self.tell(format!("{storage} has {pools} pools, members {}", sizes.join(", ")));
    }
}

fn said(e: &PortError) -> String {
    let status = e.status.map_or_else(String::new, |s| format!(" {s}"));
    format!("{:?}{}", e.kind, if e.status == Some(500) { status } else { String::new() })
}

fn outcome<T: std::fmt::Display>(result: PortResult<T>) -> String {
    result.map_or_else(|e| said(&e), |value| value.to_string())
}

fn target(fleet: &Endpoints) -> Target {
    let token = |text: &str| SecretString::from(text.to_owned());
    let gitaly = fleet.gitaly.iter().map(|(name, authority)| {
        let endpoint = Endpoint { scheme: Scheme::Tcp, authority: authority.clone() };
        (name.clone(), GitalyTarget { endpoint, token: Some(token(&fleet.gitaly_token)), ca: None })
    });
    let Endpoints { fleet_epoch, real_epoch, speed, .. } = fleet.clone();
    Target {
        gitlab_url: fleet.gitlab_url.clone(),
        gitlab_token: token(&fleet.gitlab_token),
        gitlab_ca: None,
        gitaly: gitaly.collect::<BTreeMap<_, _>>(),
        cluster: None,
        prometheus: Some(PrometheusTarget { url: fleet.prometheus_url.clone(), token: None, ca: None }),
        clock: Some(ScaledClock { fleet_epoch, real_epoch, speed }),
    }
}

/// Runs a script on both fleets; what both told.
fn both(spec: &SandboxConnection, script: impl AsyncFn(&mut Stage)) -> String {
    let run = |ports, fleet| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let mut stage = Stage { ports, fleet, told: String::new() };
        runtime.block_on(script(&mut stage));
        stage.told
    };
    let (ports, handle) = MemoryFleet::new(spec);
    let in_memory = run(ports, Fleet::Memory(handle));
    let world = World::new();
    let endpoints = world.ensure(spec).expect("up");
    let ports = connect(&target(&endpoints)).expect("ports");
    let over_sockets = run(ports, Fleet::Sockets(endpoints));
    assert_eq!(in_memory, over_sockets, "in memory (left) and over sockets (right)");
    in_memory
}

#[test]
fn every_kind_is_listed_by_pages() {
    let mut spread = spec(&[]);
    for (storage, weight) in spread.storages.iter_mut().zip([50, 50, 0]) {
        storage.weight = Some(Weight::new(weight).expect("valid"));
    }
    let told = both(&spread, async |stage| {
        for kind in KINDS {
            for storage in ["default", "second", "third"] {
                stage.list(kind, storage, 3).await;
            }
        }
        for container in [project(1), snippet(1), snippet(99), group(1), group(4)] {
            let found = stage.ports.gitlab.container(container).await.expect("asked");
            let found = found.map(|r| (r.path, r.storage.to_string(), r.archived, r.created.is_some()));
            let disk_path = stage.ports.gitlab.disk_path(container).await.expect("asked").map(|p| p.len());
            stage.tell(format!("{container}: {found:?} {disk_path:?}"));
        }
        // Without a repository record, another storage is told each time.
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..20 {
            drawn.insert(stage.ports.gitlab.container(snippet(4)).await.expect("asked").expect("told").storage);
        }
        stage.tell(format!("snippet-4 is on {drawn:?}"));
    });
    insta::assert_snapshot!(told);
}

#[test]
fn every_kind_moves_in_its_own_family() {
    let told = both(&spec(&[]), async |stage| {
        for container in [project(1), snippet(1), group(1), snippet(2), snippet(4), group(4)] {
            stage.moved(container, "second").await;
            stage.whereabouts(container).await;
        }
        stage.schedule(snippet(99), "second").await;
        stage.schedule(snippet(3), "nowhere").await;
        for kind in KINDS {
            for m in stage.ports.gitlab.moves(kind, 1).await.expect("read") {
                stage.record(&m);
            }
        }
        for m in stage.ports.gitlab.moves_of(snippet(2), 5).await.expect("read") {
            stage.record(&m);
        }
        stage.list(ContainerKind::Snippet, "second", 100).await;
        stage.list(ContainerKind::GroupWiki, "second", 100).await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn a_fork_networks_pool_is_made_anew_and_the_old_one_goes_later() {
    let mut slow = spec(&[]);
    // Minutes must be long enough to look around in.
    slow.speed = 120;
    let told = both(&slow, async |stage| {
        stage.pools("default").await;
        for id in 13..=16 {
            stage.moved(project(id), "second").await;
            if id == 14 {
                stage.pools("default").await;
            }
        }
        stage.tell("after the last one:");
        stage.pools("default").await;
        stage.pools("second").await;
        stage.wait(6 * 60).await;
        stage.tell("six minutes later:");
        stage.pools("default").await;
        stage.wait(5 * 60).await;
        stage.tell("after housekeeping:");
        stage.pools("second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn old_versions_leave_the_pool_behind() {
    let mut old = spec(&[]);
    old.gitlab_version = "16.5.0-ee".into();
    let told = both(&old, async |stage| {
        for id in 13..=16 {
            stage.moved(project(id), "second").await;
        }
        stage.wait(20 * 60).await;
        stage.pools("default").await;
        stage.pools("second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn a_pool_may_stay() {
    let told = both(&spec(&[("pool_stays", 1)]), async |stage| {
        for id in 13..=16 {
            stage.moved(project(id), "second").await;
        }
        stage.wait(60 * 60).await;
        stage.pools("default").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn editions_and_versions_differ() {
    let mut told = String::new();
    for version in ["18.2.0", "16.3.0-ee", "16.2.0-ee", "15.4.0", "15.1.0-ee", "13.8.0-ee"] {
        let mut other = spec(&[]);
        other.gitlab_version = version.into();
        let _ = writeln!(told, "--- {version}");
        told += &both(&other, async |stage| {
            let gitlab = stage.ports.gitlab.clone();
            let found = gitlab.version().await.expect("asked");
            stage.tell(format!("{} {:?}", found.version, found.enterprise));
            let scopes = gitlab.token().await.map(|t| t.scopes.join(" "));
            stage.tell(format!("token: {}", outcome(scopes)));
            gitlab.put_weights(&BTreeMap::from([(name("second"), Weight::new(7).expect("valid"))])).await.expect("put");
            stage.tell(format!("{:?}", gitlab.weights().await.expect("read")));
            for kind in [ContainerKind::Snippet, ContainerKind::GroupWiki] {
                stage.list(kind, "default", 100).await;
                let moves = gitlab.moves(kind, 1).await.map(|m| m.len());
                stage.tell(format!("moves of {}: {}", kind.as_str(), outcome(moves)));
            }
            stage.schedule(group(1), "second").await;
        });
    }
    insta::assert_snapshot!(told);
}

/// One fault's story.
fn fault(kind: &str, script: impl AsyncFn(&mut Stage)) -> String {
    both(&spec(&[(kind, 1)]), script)
}

#[test]
fn dead_ends_end_by_the_consoles_remedy() {
    let mut told = String::new();
    for kind in ["dead_end_a", "dead_end_b", "stuck_scheduled"] {
        let _ = writeln!(told, "--- {kind}");
        told += &fault(kind, async |stage| {
            for container in [project(1), snippet(1)] {
                let id = stage.schedule(container, "second").await;
                if id == 0 {
                    continue;
                }
                stage.wait(30 * 60).await;
                let record = stage.read(container.kind, id).await;
                stage.record(&record);
                stage.whereabouts(container).await;
                if record.state == MoveState::Finished {
                    continue;
                }
                stage.schedule(container, "second").await;
                stage.repair(container).await;
                let record = stage.read(container.kind, id).await;
                stage.record(&record);
                stage.moved(container, "second").await;
            }
        });
    }
    insta::assert_snapshot!(told);
}

#[test]
fn moves_wait_while_workers_are_short() {
    let told = fault("worker_shortage", async |stage| {
        let id = stage.schedule(project(1), "second").await;
        stage.wait(2 * 60).await;
        let record = stage.read(ContainerKind::Project, id).await;
        stage.record(&record);
        stage.follow(ContainerKind::Project, id).await;
        stage.moved(project(2), "second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn a_move_may_fail_after_its_switch() {
    let told = fault("failed_after_switch", async |stage| {
        stage.moved(project(1), "second").await;
        stage.whereabouts(project(1)).await;
        stage.moved(project(2), "second").await;
        stage.whereabouts(project(2)).await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn somebody_else_may_be_first() {
    let told = fault("foreign_move", async |stage| {
        stage.schedule(project(1), "second").await;
        stage.follow(ContainerKind::Project, 1).await;
        stage.whereabouts(project(1)).await;
        stage.moved(project(1), "second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn a_destinations_gitaly_may_be_away() {
    let mut slow = spec(&[("gitaly_down", 1)]);
    // Two minutes must outlast the adapter's patience.
    slow.speed = 20;
    let told = both(&slow, async |stage| {
        stage.schedule(project(1), "second").await;
        let asked = stage.ports.gitaly.server(&name("second")).await;
        stage.tell(format!("second: {}", outcome(asked.map(|s| s.version))));
        stage.follow(ContainerKind::Project, 1).await;
        stage.wait(2 * 60).await;
        let asked = stage.ports.gitaly.server(&name("second")).await;
        stage.tell(format!("second: {}", outcome(asked.map(|s| s.version))));
        stage.moved(project(1), "second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn one_broken_project_spoils_its_page() {
    let told = both(&spec(&[("poisoned_project", 5)]), async |stage| {
        stage.list(ContainerKind::Project, "default", 3).await;
        for (after, size) in [(3, 1), (4, 1), (5, 100)] {
            let at = Cursor { after, size, ..Cursor::START };
            let listed = stage.ports.gitlab.list(ContainerKind::Project, &name("default"), at).await;
            stage.tell(format!("{size} after {after}: {}", outcome(listed.map(|l| l.found.len()))));
        }
        stage.whereabouts(project(5)).await;
        stage.moved(project(5), "second").await;
    });
    insta::assert_snapshot!(told);
}

#[test]
fn projects_may_be_out_of_sight() {
    let mut told = String::new();
    for version in ["18.2.0-ee", "18.2.0"] {
        let mut hiding = spec(&[("pending_delete", 2), ("hidden", 4)]);
        (hiding.gitlab_version, hiding.repositories) = (version.into(), 5);
        let _ = writeln!(told, "--- {version}");
        told += &both(&hiding, async |stage| {
            stage.ports.gitlab.version().await.expect("asked");
            stage.list(ContainerKind::Project, "default", 100).await;
            for id in [2, 4] {
                let disk_path = stage.ports.gitlab.disk_path(project(id)).await.expect("asked");
                stage.tell(format!("{disk_path:?}"));
                stage.moved(project(id), "second").await;
                stage.whereabouts(project(id)).await;
            }
        });
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_project_may_lie_elsewhere() {
    let told = both(&spec(&[("path_elsewhere", 1)]), async |stage| {
        let disk_path = stage.ports.gitlab.disk_path(project(1)).await.expect("asked").expect("there");
        stage.tell(&disk_path);
        stage.moved(project(1), "second").await;
        stage.whereabouts(project(1)).await;
        let walked = stage.ports.gitaly.walk(&name("second")).await.expect("walked");
        stage.tell(walked.join(" "));
    });
    insta::assert_snapshot!(told);
}

#[test]
fn a_request_budget_is_waited_for() {
    let mut busy = spec(&[]);
    busy.faults = vec![SandboxFault { kind: "request_budget".into(), nth: 4, count: 1 }];
    let told = both(&busy, async |stage| {
        for _ in 0..12 {
            stage.ports.gitlab.token().await.expect("waited for");
        }
        stage.tell("twelve answers, four a second");
    });
    insta::assert_snapshot!(told, @"twelve answers, four a second");
}
