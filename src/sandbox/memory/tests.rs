//! The fleet in memory behaves as GitLab is documented to, and each fault does what its line says.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::super::content::Content as _;
use super::super::lock;
use super::super::world::Move;
use super::*;
use crate::apply::port::PortErrorKind;
use crate::model::{
    Bytes, ContainerKind, MoveState, Reference, RepositoryRole, SandboxFault, SandboxStorage, relative_path,
};

fn spec(faults: &[(&str, u32)]) -> SandboxConnection {
    let storage = |name: &str| SandboxStorage {
        name: StorageName::new(name).expect("valid"),
        disk: Bytes(1 << 40),
        weight: None,
    };
    SandboxConnection {
        name: "test".into(),
        repositories: 24,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 200,
        seed: 7,
        speed: 60,
        workers: 2,
        gitlab_version: "18.1.1-ee".into(),
        gitaly_version: "16.0.0".into(),
        storages: vec![storage("default"), storage("second")],
        pods: Default::default(),
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
            let state =
                ports.gitlab.move_record(ContainerKind::Project, made.id).await.expect("read").expect("known").state;
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
    let (handle, m, before, after) = struck("lose_object");
    assert!(m.state == MoveState::Finished && before == after, "nothing is seen of it");
    let path = relative_path(project(1), RepositoryRole::Main);
    let clean = |storage| handle.content().fsck(&name(storage), &path).map(|said| said.is_empty());
    assert_eq!(clean("second"), Ok(false));
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
        let (ports, handle) = MemoryFleet::new(&spec(&[("refuse_move", 1), ("lost_response", 2), ("fast_move", 1)]));
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

#[test]
fn limits_are_repeated_or_told() {
    let mut few = spec(&[("projects_limit", 1)]);
    let asked = |few: &SandboxConnection| {
        let (ports, _) = MemoryFleet::new(few);
        run(async {
            ports.gitlab.token().await.expect("no such limit");
            ports.gitlab.container(project(1)).await
        })
    };
    asked(&few).expect("repeated");
    few.faults[0].count = 5;
    let limited = asked(&few).expect_err("for too long");
    assert_eq!((limited.status, limited.retry_after), (Some(429), None));
    few.faults = vec![SandboxFault { kind: "request_budget".into(), nth: 3, count: 60 }];
    let (ports, handle) = MemoryFleet::new(&few);
    let begun = handle.now();
    run(async {
        for _ in 0..4 {
            ports.gitlab.token().await.expect("waited for");
        }
    });
    assert_eq!(handle.now().duration_since(begun).as_secs(), 60, "the next minute");
}

/// A world with one fork network: projects 13 to 16.
fn networked(faults: &[(&str, u32)]) -> SandboxConnection {
    SandboxConnection { fork_networks: 1, snippets: 3, group_wikis: 2, ..spec(faults) }
}

#[test]
fn a_pool_that_is_joined_again_is_kept() {
    let (ports, handle) = MemoryFleet::new(&networked(&[]));
    let pool = |storage: &str| handle.world(|w| (w.pool(1, &name(storage)).is_some(), w.members(1, &name(storage))));
    let go = |id, to: &str| {
        run(ports.gitlab.schedule(project(id), &name(to))).expect("accepted");
        handle.finish_moves();
    };
    (13..=16).for_each(|id| go(id, "second"));
    assert_eq!([pool("default"), pool("second")], [(true, 0), (true, 4)]);
    // Back before the background job came by.
    go(13, "default");
    handle.advance(Duration::from_secs(3600));
    assert_eq!([pool("default"), pool("second")], [(true, 1), (true, 3)]);
    handle.delete(13).expect("there");
    handle.advance(Duration::from_secs(3600));
    assert_eq!(pool("default"), (false, 0));
    let walked = run(ports.gitaly.walk(&name("default"))).expect("walked");
    assert!(!walked.iter().any(|p| p.starts_with("@pools/")));
}

#[test]
fn disks_count_pools_and_what_comes_with_a_member() {
    let (ports, handle) = MemoryFleet::new(&networked(&[]));
    let used = |storage: &str| handle.disk(&name(storage)).expect("a disk").0;
    let listed = |storage: &str| -> u64 {
        run(async {
            let mut sum = 0;
            for path in ports.gitaly.walk(&name(storage)).await.expect("walked") {
                sum += ports.gitaly.size(&name(storage), &path).await.expect("there").0;
            }
            sum
        })
    };
    // Designs have a size on Gitaly and none in GitLab's statistics.
    let designs: u64 = handle.projects().iter().filter(|p| p.design).map(|p| p.wiki_size).sum();
    assert_eq!(used("default") + designs, listed("default"));
    for id in [13, 14] {
        run(ports.gitlab.schedule(project(id), &name("second"))).expect("accepted");
        handle.finish_moves();
        assert_eq!(used("second"), listed("second"), "with the pool's objects");
    }
    let inflated = used("second");
    handle.advance(Duration::from_secs(3600));
    assert_eq!(used("second"), listed("second"));
    assert!(used("second") < inflated, "after housekeeping");
}

#[test]
fn one_disk_under_two_names_has_no_pool_for_the_second() {
    let (ports, handle) = MemoryFleet::new(&networked(&[]));
    handle.set_filesystem_id(&name("default"), "one");
    handle.set_filesystem_id(&name("second"), "one");
    run(ports.gitlab.schedule(project(13), &name("second"))).expect("accepted");
    handle.finish_moves();
    let m = handle.moves().pop().expect("made");
    assert_eq!((m.state, m.error.as_deref()), (MoveState::Failed, Some("Couldn't find PoolRepository")));
    assert_eq!(handle.projects()[12].storage, name("default"));
}

#[test]
fn what_is_written_down_is_the_whole_world() {
    let faults = [("dead_end_b", 1), ("gitaly_down", 2), ("worker_shortage", 9), ("pending_delete", 3)];
    let (ports, handle) = MemoryFleet::new(&networked(&faults));
    let kinds = [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki];
    run(async {
        for container in (13..=18).map(project).chain(kinds.map(|kind| Container { kind, id: 1 })) {
            drop(ports.gitlab.schedule(container, &name("second")).await);
            handle.advance(Duration::from_secs(90));
        }
    });
    let (changes, spec) = handle.world(|w| (w.as_changes(), w.spec.clone()));
    let told = format!("{changes:?}");
    for part in ["Errand(", "Pool(", "Snippet(", "Group(", "workers: Some", "pool: Some"] {
        assert!(told.contains(part), "{part}");
    }
    let text = serde_json::to_string(&changes).expect("written");
    let mut again = World::new(spec, handle.world(|w| w.epoch));
    for change in serde_json::from_str::<Vec<super::super::world::Change>>(&text).expect("read") {
        again.replay(change);
    }
    assert_eq!(again.as_changes(), changes);
    let now = handle.now();
    let mut original = handle.world(|w| w.clone());
    original.courteous = false;
    assert_eq!(again.disk(&name("second"), now), original.disk(&name("second"), now));
    assert_eq!(again.next_due(), original.next_due());
    assert_eq!(again.tick(now), original.tick(now));
}
