//! The laws for everything that a fleet holds beside ordinary projects: snippets, group wikis, projects that are not
//! shown, object pools. As `laws`, over the in-memory fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use tranship::apply::event::{Event, Outcome};
use tranship::model::{ContainerKind, MoveState, SandboxConnection, SandboxFault};
use tranship::plan::{Change, WaitingOn};
use tranship::sandbox::content::Content as _;
use tranship::sandbox::world::{Presence, Project};

use crate::laws::{Tool, name, passed, spec};

fn kinds() -> SandboxConnection {
    SandboxConnection { snippets: 5, group_wikis: 4, ..spec(6, &[]) }
}

fn proof(tool: &Tool) -> Option<Outcome> {
    tool.events().into_iter().rev().find_map(|e| match e {
        Event::ActionEnded { address, outcome } if address.to_string() == "drain.default" => Some(outcome),
        _ => None,
    })
}

fn on_default(tool: &Tool) -> usize {
    let default = Some(name("default"));
    let projects = tool.fleet.projects().into_iter().map(|p| Some(p.storage));
    let snippets = tool.fleet.snippets().into_iter().map(|s| s.storage);
    let groups = tool.fleet.groups().into_iter().map(|g| g.storage);
    projects.chain(snippets).chain(groups).filter(|s| *s == default).count()
}

#[tokio::test]
async fn law_1_every_kind_moves_and_the_next_plan_is_empty() {
    let mut tool = Tool::new(&kinds());
    let before = on_default(&tool);
    let plan = tool.plan().await;
    let mut kinds: BTreeMap<ContainerKind, usize> = BTreeMap::new();
    plan.moves.iter().for_each(|m| *kinds.entry(m.container.kind).or_default() += 1);
    assert_eq!(kinds.values().sum::<usize>(), before);
    assert!(kinds.len() == 3, "{kinds:?}");
    assert!(plan.moves.iter().all(|m| m.bytes.0 > 0 || m.empty), "sizes are asked of Gitaly");
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.failed, summary.unknown), (before as u64, 0, 0), "{summary:?}");
    assert_eq!(on_default(&tool), 0);
    assert!(matches!(proof(&tool), Some(Outcome::Done { .. })), "{:?}", proof(&tool));
    let next = tool.plan().await;
    assert!(next.is_empty() && next.report.is_empty(), "{:?} {:?}", next.actions, next.report);
    // What has no repository has no storage: it is left alone.
    let scheduled: Vec<_> = tool.fleet.moves().iter().map(|m| m.container).collect();
    let bare: Vec<_> = tool.fleet.snippets().into_iter().filter(|s| s.storage.is_none()).map(|s| s.id).collect();
    assert!(scheduled.iter().all(|c| c.kind != ContainerKind::Snippet || !bare.contains(&c.id)), "{bare:?}");
}

#[tokio::test]
async fn law_4_a_lost_tip_of_a_snippet_is_found() {
    // The ninth move is no project's.
    let mut tool = Tool::new(&SandboxConnection {
        faults: (1..=15).map(|nth| SandboxFault { kind: "corrupt_copy".into(), nth, count: 1 }).collect(),
        repositories: 0,
        ..kinds()
    });
    let summary = tool.apply().await;
    assert!(summary.lost > 0, "{summary:?}");
    let lost = tool.events().into_iter().find_map(|e| match e {
        Event::Quarantined { container, loss: true, .. } => Some(container.kind),
        _ => None,
    });
    assert!(lost.is_some_and(|kind| kind != ContainerKind::Project), "{lost:?}");
}

#[tokio::test]
async fn projects_that_are_not_shown_move_as_well() {
    let mut tool = Tool::new(&spec(6, &[("pending_delete", 2), ("hidden", 4)]));
    assert_eq!(tool.fleet.projects().iter().filter(|p| p.presence != Presence::Live).count(), 2);
    let plan = tool.plan().await;
    assert_eq!(plan.moves.len(), 6);
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.moves_skipped), (6, 0), "{summary:?}");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn what_is_deleted_meanwhile_is_done_whatever_it_is() {
    let mut tool = Tool::new(&kinds());
    let plan = tool.plan().await;
    let mut gone = 0;
    for kind in ContainerKind::ALL {
        let one = plan.moves.iter().find(|m| m.container.kind == kind).expect("one of each");
        tool.fleet.delete_container(one.container).expect("there");
        gone += 1;
    }
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.moves_skipped, summary.moves_moot), (gone, gone), "{summary:?}");
    assert_eq!(passed(&summary), plan.moves.len() as u64 - gone);
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_project_elsewhere_on_its_disk_is_found_there() {
    let mut tool = Tool::new(&spec(4, &[("path_elsewhere", 2)]));
    assert_eq!(tool.fleet.projects().iter().filter(|p| p.disk_path.is_some()).count(), 1);
    let summary = tool.apply().await;
    assert_eq!(passed(&summary), 4, "{summary:?}");
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn the_community_edition_moves_what_it_can_and_says_what_it_cannot_see() {
    let mut tool = Tool::new(&SandboxConnection { gitlab_version: "18.2.0".into(), ..kinds() });
    let bare: Vec<_> = tool.fleet.snippets().into_iter().filter(|s| s.storage.is_none()).map(|s| s.id).collect();
    assert!(!bare.is_empty(), "some have no repository, and yet a storage, another each time");
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed, summary.unknown, summary.refused), (11, 0, 0, 0), "{summary:?}");
    let moved: Vec<_> = tool.fleet.moves().iter().map(|m| m.container).collect();
    assert!(moved.iter().all(|c| c.kind != ContainerKind::GroupWiki), "no such moves there");
    assert!(moved.iter().all(|c| c.kind != ContainerKind::Snippet || !bare.contains(&c.id)), "{bare:?}");
    assert!(tool.plan().await.is_empty());
    // An old one, with snippets that it cannot list: Gitaly's walk finds them, and nothing is proven.
    let mut tool = Tool::new(&SandboxConnection { gitlab_version: "16.2.1-ee".into(), group_wikis: 0, ..kinds() });
    let plan = tool.plan().await;
    assert!(plan.findings.iter().any(|f| f.code == "no-list" && f.subject == "snippets"), "{:?}", plan.findings);
    assert!(!plan.drain_is_stuck(), "{:?}", plan.report);
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.refused), (6, 1), "{summary:?}");
    let Some(Outcome::Refused { cause }) = proof(&tool) else { panic!("{:?}", proof(&tool)) };
    assert!(cause.contains("@snippets/"), "{cause}");
    let plan = tool.plan().await;
    assert!(plan.is_empty() && plan.drain_is_stuck());
    let waits = plan.report.iter().find(|r| matches!(r.reason, WaitingOn::Listing { .. })).expect("told");
    assert!(waits.count > 0 && waits.examples[0].starts_with("@snippets/"), "{waits:?}");
}

#[tokio::test]
async fn a_project_that_gitlab_cannot_show_is_named_and_the_rest_moves() {
    let mut tool = Tool::new(&spec(12, &[("poisoned_project", 5)]));
    let broken = tool.fleet.projects().iter().find(|p| p.poisoned).expect("there").id;
    let plan = tool.plan().await;
    assert_eq!(plan.moves.len(), 11);
    assert!(plan.drain_is_stuck() && !plan.actions.iter().any(|a| matches!(a.change, Change::ProveEmpty { .. })));
    let row = plan.report.iter().find(|r| matches!(r.reason, WaitingOn::Reading { .. })).expect("told");
    assert_eq!(row.examples, [format!("project-{broken}")], "ids without gaps name it exactly");
    let summary = tool.run(&plan).await.summary;
    assert_eq!(passed(&summary), 11, "{summary:?}");
    assert!(tool.plan().await.moves.is_empty());
}

#[tokio::test]
async fn pools_are_waited_for_and_an_orphan_is_named() {
    let networks = |faults: &[(&str, u32)]| SandboxConnection { fork_networks: 2, ..spec(24, faults) };
    let mut tool = Tool::new(&networks(&[]));
    assert!(tool.fleet.world(|w| w.pools().count()) > 0, "there is a pool");
    let summary = tool.apply().await;
    assert_eq!((summary.refused, summary.failed), (0, 0), "{summary:?} {:?}", proof(&tool));
    let waited = |tool: &Tool| {
        tool.events().into_iter().any(|e| matches!(e, Event::Waiting { what } if what.contains("object pool")))
    };
    assert!(waited(&tool), "GitLab deletes a pool minutes after its last member has left");
    assert!(tool.plan().await.is_empty());

    let mut tool = Tool::new(&networks(&[("pool_stays", 1)]));
    let summary = tool.apply().await;
    assert_eq!(summary.refused, 1, "{summary:?}");
    let Some(Outcome::Refused { cause }) = proof(&tool) else { panic!("{:?}", proof(&tool)) };
    assert!(cause.contains("1 object pool (@pools/") && cause.contains("ObjectPool::Destroy"), "{cause}");
    let plan = tool.plan().await;
    assert_eq!(plan.actions.len(), 1, "the proof is tried again by the next apply");
    assert!(plan.report.iter().any(|r| r.reason == WaitingOn::Pools), "{:?}", plan.report);
}

#[tokio::test]
async fn what_gitaly_keeps_for_itself_is_told_and_is_no_part_of_the_certificate() {
    let certificate = |tool: &Tool| tool.state().storage(&name("default")).and_then(|record| record.drained.clone());
    let own = |tool: &Tool| {
        for path in ["+gitaly/tmp/a", "+gitaly/tmp/b"] {
            tool.fleet.content().create(&name("default"), path, b"", false).expect("made");
        }
    };
    let told = "Gitaly has 2 temporary folders of its own (+gitaly/tmp/a first), which it clears away itself";
    let (mut clean, mut tool) = (Tool::new(&spec(6, &[])), Tool::new(&spec(6, &[])));
    clean.apply().await;
    own(&tool);
    tool.apply().await;
    let Some(Outcome::Done { detail }) = proof(&tool) else { panic!("{:?}", proof(&tool)) };
    assert_eq!(detail, format!("found empty twice; {told}"));
    assert_eq!(proof(&clean), Some(Outcome::Done { detail: "found empty twice".to_owned() }));
    assert!(certificate(&tool).is_some() && certificate(&tool) == certificate(&clean), "the same was found");

    // Of each class that is left, a line.
    let mut tool =
        Tool::new(&SandboxConnection { fork_networks: 1, ..spec(24, &[("cleanup_failed", 2), ("pool_stays", 1)]) });
    own(&tool);
    tool.fleet.content().create(&name("default"), "@hashed/00/00/orphan.git", b"", false).expect("made");
    tool.apply().await;
    let Some(Outcome::Refused { cause }) = proof(&tool) else { panic!("{:?}", proof(&tool)) };
    for line in [
        "that moves left (`cleanup failed`)",
        "Gitaly has 1 repository (@hashed/00/00/orphan.git)",
        "Gitaly has 1 object pool (@pools/",
        told,
    ] {
        assert!(cause.contains(line), "{line} in {cause}");
    }
    assert_eq!(certificate(&tool), None);
}

#[tokio::test]
async fn a_storage_that_a_live_move_leads_to_is_not_proven_empty() {
    for late in [false, true] {
        let mut tool = Tool::new(&spec(6, &[]));
        let plan = tool.plan().await;
        assert!(plan.actions.iter().any(|a| matches!(a.change, Change::ProveEmpty { .. })));
        let id = tool.fleet.add_project("big/one", &name("other"));
        tool.fleet.world(|w| {
            let project = w.project(id).expect("made").clone();
            w.put_project(Project { repository_size: 500 << 30, ..project });
        });
        let (fleet, events) = (tool.fleet.clone(), tool.events_shared());
        let begins = move || {
            events.lock().expect("not poisoned").iter().any(|event| match event {
                Event::ActionStarted { address, .. } => address.to_string() == "drain.default",
                _ => false,
            })
        };
        // Already under way, or asked for when the first look has found nothing.
        let ordered = tokio::spawn(async move {
            while late && !begins() {
                tokio::task::yield_now().await;
            }
            fleet.foreign_move(id, &name("default")).expect("taken")
        });
        let summary = tool.run(&plan).await.summary;
        let move_id = ordered.await.expect("ordered");
        assert_eq!((passed(&summary), summary.refused), (6, 1), "{summary:?}");
        let Some(Outcome::Refused { cause }) = proof(&tool) else { panic!("{:?}", proof(&tool)) };
        assert_eq!(cause, format!("move {move_id} of project-{id} is started"));
        assert_eq!(tool.state().storage(&name("default")).and_then(|record| record.drained.clone()), None);
        let plan = tool.plan().await;
        assert!(plan.drain_is_stuck(), "{:?}", plan.report);
    }
}

#[tokio::test]
async fn somebody_elses_move_of_a_snippet_is_waited_for() {
    let mut tool = Tool::new(&SandboxConnection { repositories: 0, group_wikis: 0, ..kinds() });
    let plan = tool.plan().await;
    let one = plan.moves.first().expect("a snippet").container;
    let now = tool.fleet.now();
    tool.fleet.world(|world| world.accept(one, "other", now).map(|m| m.id).expect("accepted"));
    let summary = tool.run(&plan).await.summary;
    assert!(tool.events().iter().any(|e| matches!(e, Event::Waiting { what } if what.contains("somebody"))));
    assert_eq!(summary.moves_skipped, 1, "it is on `other` now: {summary:?}");
    tool.fleet.advance(Duration::from_secs(1));
    assert!(tool.fleet.moves().iter().all(|m| m.state == MoveState::Finished));
}
