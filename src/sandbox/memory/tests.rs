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
