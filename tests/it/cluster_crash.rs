//! Law 5 for clusters: killed at any call, the next apply ends in the same world, with the same record; no pod restarts
//! for it, no claim is touched. And servers that go away at any call change nothing of the end.

use std::sync::Arc;

use tranship::apply;
use tranship::apply::port::Cluster;
use tranship::state::format;

use super::common::memory_cluster::{MemoryCluster, Strike, memory_cluster};
use super::common::pods::{Spec, Tool};

/// What is changed in one apply.
struct Story {
    name: &'static str,
    before: Option<Spec>,
    after: Spec,
}

fn stories() -> Vec<Story> {
    let first = Spec::new(&["gitaly-a"]);
    let rolled = Spec { image: "example.com/gitaly:v18.3.0".into(), ..first.clone() };
    let budget = Spec { more: "max_unavailable = 0".into(), ..first.clone() };
    let anew = Spec { more: r#"extra = { spec = { serviceName = "other" } }"#.into(), ..first.clone() };
    let grown = Spec { size: "20Gi".into(), ..first.clone() };
    vec![
        Story { name: "made", before: None, after: first.clone() },
        Story { name: "rolled", before: Some(first.clone()), after: rolled },
        Story { name: "in place", before: Some(first.clone()), after: budget },
        Story { name: "made anew", before: Some(first.clone()), after: anew },
        Story { name: "grown", before: Some(first), after: grown },
    ]
}

async fn begun(story: &Story) -> (Arc<MemoryCluster>, Tool) {
    let cluster = memory_cluster();
    let mut tool = Tool::on(cluster.clone(), "gitaly");
    if let Some(before) = &story.before {
        whole(&mut tool, before).await;
    }
    (cluster, tool)
}

/// What `tranship apply` does: takes up what was cut short, plans, applies.
async fn whole(tool: &mut Tool, spec: &Spec) {
    let recovered = apply::recover(tool.state(), tool.context(tool.runs.clone())).await;
    assert_eq!(recovered.fatal, None);
    let plan = tool.plan(spec).await;
    let result = tool.run(&plan).await;
    assert_eq!(result.fatal, None);
    let s = &result.summary;
    assert_eq!(s.failed + s.skipped + s.stale + s.not_started, 0, "{}", tool.told());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn law_5_killed_at_any_call_to_a_cluster_the_next_apply_ends_in_the_same_world() {
    for story in stories() {
        let (first, last, world, state) = runtime().block_on(async {
            let (cluster, mut tool) = begun(&story).await;
            let first = cluster.calls();
            whole(&mut tool, &story.after).await;
            (first, cluster.calls(), cluster.fingerprint(), format::encode(&tool.state()))
        });
        assert!(last > first, "{}", story.name);
        // Every third call, struck in turn before it arrives and after; all of both with TRANSHIP_ALL_KILLS set.
        let all = std::env::var_os("TRANSHIP_ALL_KILLS").is_some();
        for call in (first + 1..=last).step_by(if all { 1 } else { 3 }) {
            let strikes: &[Strike] = match call % 2 {
                _ if all => &[Strike::DieBefore, Strike::DieAfter],
                0 => &[Strike::DieBefore],
                _ => &[Strike::DieAfter],
            };
            for &strike in strikes {
                let at = format!("{}: {strike:?} {call} of {}..={last}", story.name, first + 1);
                // A runtime for each life: what a process had under way ends with it.
                let (cluster, mut tool) = runtime().block_on(async {
                    let (cluster, mut tool) = begun(&story).await;
                    cluster.strike(call, strike);
                    let killed = tokio::select! {
                        biased;
                        () = cluster.died() => true,
                        () = whole(&mut tool, &story.after) => false,
                    };
                    assert!(killed, "{at}");
                    (cluster, tool)
                });
                cluster.revive();
                tool.fleet.revive();
                runtime().block_on(async {
                    whole(&mut tool, &story.after).await;
                    assert_eq!(cluster.fingerprint(), world, "{at}");
                    assert_eq!(format::encode(&tool.state()), state, "{at}");
                    assert!(tool.plan(&story.after).await.is_empty(), "{at}");
                });
            }
        }
        println!("{}: {} calls", story.name, last - first);
    }
}

#[test]
fn a_server_that_restarts_at_any_call_of_an_apply_changes_nothing_of_its_end() {
    runtime().block_on(async {
        for story in stories() {
            let (cluster, mut tool) = begun(&story).await;
            let plan = tool.plan(&story.after).await;
            let first = cluster.calls();
            tool.run(&plan).await;
            let (last, world, state) = (cluster.calls(), cluster.fingerprint(), format::encode(&tool.state()));
            let all = std::env::var_os("TRANSHIP_ALL_KILLS").is_some();
            for call in (first + 1..=last).step_by(if all { 1 } else { 2 }) {
                for strike in [Strike::Away, Strike::LostAnswer] {
                    let (cluster, mut tool) = begun(&story).await;
                    let plan = tool.plan(&story.after).await;
                    cluster.strike(call, strike);
                    let result = tool.run(&plan).await;
                    let at = format!("{}: {strike:?} {call} of {}..={last}", story.name, first + 1);
                    assert_eq!((result.fatal, result.summary.failed), (None, 0), "{at}\n{}", tool.told());
                    assert_eq!(cluster.fingerprint(), world, "{at}");
                    assert_eq!(format::encode(&tool.state()), state, "{at}");
                }
            }
        }
    });
}

#[test]
fn a_signal_ends_a_wait_and_the_next_apply_takes_it_up() {
    runtime().block_on(async {
        let cluster = memory_cluster();
        let mut tool = Tool::on(cluster.clone() as Arc<dyn Cluster>, "gitaly");
        let spec = Spec::new(&["gitaly-a"]);
        let plan = tool.plan(&spec).await;
        tool.stop.cancel();
        let result = tool.run(&plan).await;
        assert!(result.summary.interrupted);
        assert!(cluster.fingerprint().is_empty(), "nothing new is begun");
        tool.stop = Default::default();
        whole(&mut tool, &spec).await;
        assert!(tool.plan(&spec).await.is_empty());
    });
}
