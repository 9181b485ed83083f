//! Order, batches and room while moves run, over the in-memory fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use tranship::apply::event::{Event, Outcome};
use tranship::model::{Bytes, Container, SandboxConnection};
use tranship::plan::{Change, MoveOrder, Plan};
use tranship::sandbox::memory::Write;

use crate::laws::{Tool, name, passed, spec};

/// Waves by name, in the order of the plan, each with its moves.
fn waves(plan: &Plan) -> Vec<(String, Vec<Container>)> {
    let wave = |action: &tranship::plan::Action| match &action.change {
        Change::Moves { wave, .. } => {
            Some((wave.clone(), plan.moves_of(action).iter().map(|one| one.container).collect()))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(wave).collect()
}

/// Law 8, pools: of the last two members of a fork network on a storage, the second is scheduled when the first's move
/// has ended. Were the token not asked for, several members of a small wave would fly together.
#[tokio::test]
async fn the_last_of_a_fork_network_leaves_alone() {
    let mut tool = Tool::new(&SandboxConnection { fork_networks: 4, ..spec(24, &[]) });
    tool.desired.rollout.waves.clear();
    let plan = tool.plan().await;
    let pool =
        |container: &Container| plan.moves.iter().find(|one| one.container == *container).and_then(|one| one.pool);
    let mut left: BTreeMap<NonZeroU64, u64> = BTreeMap::new();
    for network in plan.moves.iter().filter_map(|one| one.pool) {
        *left.entry(network).or_default() += 1;
    }
    assert!(left.values().any(|members| *members >= 2), "a network leaves as a whole");
    let summary = tool.run(&plan).await.summary;
    assert_eq!((passed(&summary), summary.failed), (24, 0), "{summary:?}");
    let mut flying: BTreeMap<NonZeroU64, BTreeSet<Container>> = BTreeMap::new();
    for event in tool.events() {
        match event {
            Event::MoveScheduled { container, .. } => {
                let Some(network) = pool(&container) else { continue };
                let others = flying.entry(network).or_default();
                let last = left[&network] == others.len() as u64 + 1;
                assert!(!last || others.is_empty(), "{container} is the last of {network}, and {others:?} fly");
                others.insert(container);
            }
            Event::MoveVerified { container, .. } => {
                let Some(network) = pool(&container) else { continue };
                flying.entry(network).or_default().remove(&container);
                *left.entry(network).or_default() -= 1;
            }
            _ => {}
        }
    }
    assert!(left.values().all(|members| *members == 0));
}

#[tokio::test]
async fn the_large_and_the_small_go_together() {
    let mut tool = Tool::new(&spec(40, &[]));
    tool.desired.rollout.waves.clear();
    let plan = tool.plan().await;
    let order = plan.actions.iter().find_map(|action| match &action.change {
        Change::Moves { order, .. } => Some(*order),
        _ => None,
    });
    assert_eq!(order, Some(MoveOrder::TwoEnded));
    tool.run(&plan).await;
    let writes = tool.fleet.writes();
    let scheduled: Vec<Container> =
        writes.iter().filter_map(|w| if let Write::Schedule(c, _) = w { Some(*c) } else { None }).collect();
    // Four slots: three for large ones, off both destinations' lists, and one for small ones.
    let first: BTreeSet<Container> = scheduled.iter().take(4).copied().collect();
    let ends = [plan.moves.first(), plan.moves.last()].map(|one| one.expect("a move").container);
    assert!(ends.iter().all(|end| first.contains(end)), "{ends:?} {first:?}");
    assert_eq!(scheduled.len(), 40);
}

#[tokio::test]
async fn batches_are_waves_and_coming_back_goes_on_where_it_was() {
    let mut tool = Tool::new(&spec(40, &[]));
    (tool.desired.rollout.waves[0].sample, tool.desired.rollout.waves[0].batch) = (None, Some(5));
    tool.desired.rollout.waves[0].name = "all".into();
    tool.desired.rollout.waves[0].growth = 2;
    let plan = tool.plan().await;
    let whole = waves(&plan);
    let sizes: Vec<(&str, usize)> = whole.iter().map(|(wave, moves)| (wave.as_str(), moves.len())).collect();
    assert_eq!(sizes, [("all-1", 5), ("all-2", 10), ("all-3", 20), ("all-4", 5)]);
    // Only the first is carried out; the next plan holds the others as they were.
    let mut first = plan.clone();
    let keep = |change: &Change| !matches!(change, Change::Moves { wave, .. } if wave != "all-1");
    let kept: Vec<bool> = plan.actions.iter().map(|action| keep(&action.change)).collect();
    let ends = kept.iter().take_while(|kept| **kept).count();
    first.actions.truncate(ends);
    first.edges.retain(|edge| (edge.to.0 as usize) < ends);
    assert_eq!(passed(&tool.run(&first).await.summary), 5);
    assert_eq!(waves(&tool.plan().await), whole[1..]);
    let summary = tool.apply().await;
    assert_eq!((passed(&summary), summary.failed), (35, 0), "{summary:?}");
    assert!(tool.plan().await.is_empty());
}

/// Were the level not looked at, each move would be given up one by one, and nobody told that the disk runs full.
#[tokio::test]
async fn a_wave_towards_a_disk_that_others_fill_stops() {
    let mut small = spec(12, &[]);
    small.storages[1].disk = Bytes(200 << 20);
    small.storages[2].disk = Bytes(200 << 20);
    let mut tool = Tool::new(&small);
    let plan = tool.plan().await;
    for n in 0.. {
        let (used, available) = tool.fleet.disk(&name("pod-b")).expect("a disk");
        if used * 100 >= (available + used) * 94 || n == 5_000 {
            break;
        }
        tool.fleet.add_project(&format!("else/where-{n}"), &name("pod-b"));
    }
    tool.run(&plan).await;
    let stopped = |event: &Event| matches!(event, Event::ActionEnded { outcome: Outcome::Failed { cause }, .. } if cause.contains("far above its ceiling of 85 %"));
    let events = tool.events();
    assert!(events.iter().any(stopped), "{events:?}");
    assert!(events.iter().any(|e| matches!(e, Event::Warning { message } if message.contains("pod-b"))));
}
