//! What may start next: a pure structure over a plan's edges, asked by the engine. Ties are broken by the plan's
//! order. A failure skips what depends on it, each action once, with the action that failed as the reason.

use std::collections::BTreeSet;

use super::{ActionId, Plan};

/// Where one action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Depends on this many that have not ended well.
    Waiting(u32),
    /// Was given out.
    Started,
    /// Ended well.
    Finished,
    /// Ended otherwise.
    Failed,
    /// Never starts.
    Skipped,
}

/// An action that will not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub id: ActionId,
    /// The action that failed.
    pub because: ActionId,
}

/// The ready-set of one run.
#[derive(Debug, Clone)]
pub struct Queue {
    stages: Vec<Stage>,
    /// By action: those that wait for it, in order.
    dependants: Vec<Vec<u32>>,
    ready: BTreeSet<u32>,
    running: u32,
}

impl Queue {
    /// Makes the queue of a plan, nothing started.
    pub fn new(plan: &Plan) -> Self {
        Self::from_edges(plan.actions.len(), plan.edges.iter().map(|edge| (edge.from.0, edge.to.0)))
    }

    /// Makes a queue of `count` actions; an edge `(a, b)` lets `b` start only after `a` ended well. Edges that name
    /// no action are left out, repeated ones count once.
    pub fn from_edges(count: usize, edges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut waiting = vec![0u32; count];
        let mut dependants = vec![Vec::new(); count];
        let edges: BTreeSet<(u32, u32)> = edges.into_iter().collect();
        for (from, to) in edges {
            if let (Some(list), Some(number)) = (dependants.get_mut(from as usize), waiting.get_mut(to as usize)) {
                list.push(to);
                *number += 1;
            }
        }
        let ready = (0u32..).zip(&waiting).filter(|(_, number)| **number == 0).map(|(id, _)| id).collect();
        Self { stages: waiting.into_iter().map(Stage::Waiting).collect(), dependants, ready, running: 0 }
    }

    /// Gives out the actions that may start now, in the plan's order, each once.
    pub fn ready(&mut self) -> Vec<ActionId> {
        self.ready_of(|_| true)
    }

    /// The same, of some; the others stay.
    pub fn ready_of(&mut self, wanted: impl Fn(ActionId) -> bool) -> Vec<ActionId> {
        let (ready, others) = self.ready.iter().copied().partition::<BTreeSet<u32>, _>(|id| wanted(ActionId(*id)));
        self.ready = others;
        for id in &ready {
            self.set(*id, Stage::Started);
            self.running += 1;
        }
        ready.into_iter().map(ActionId).collect()
    }

    /// Notes that a started action ended well.
    pub fn finish(&mut self, id: ActionId) {
        if self.end(id, Stage::Finished) {
            for dependant in self.dependants_of(id.0) {
                if let Some(Stage::Waiting(number)) = self.stages.get_mut(dependant as usize) {
                    *number = number.saturating_sub(1);
                    if *number == 0 {
                        self.ready.insert(dependant);
                    }
                }
            }
        }
    }

    /// Notes that a started action did not end well, and gives what will not start because of it, in order: all that
    /// depend on it, directly or not, and were not skipped before.
    pub fn fail(&mut self, id: ActionId) -> Vec<Skipped> {
        let mut skipped = BTreeSet::new();
        if self.end(id, Stage::Failed) {
            let mut next = self.dependants_of(id.0);
            while let Some(dependant) = next.pop() {
                if matches!(self.stages.get(dependant as usize), Some(Stage::Waiting(_))) {
                    self.set(dependant, Stage::Skipped);
                    skipped.insert(dependant);
                    next.extend(self.dependants_of(dependant));
                }
            }
        }
        skipped.into_iter().map(|dependant| Skipped { id: ActionId(dependant), because: id }).collect()
    }

    /// Actions that were given out and have not ended.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// True when nothing runs and nothing can start any more.
    pub fn is_done(&self) -> bool {
        self.running == 0 && self.ready.is_empty()
    }

    /// Actions that were neither given out nor skipped: what a stopped run leaves.
    pub fn not_started(&self) -> Vec<ActionId> {
        let waiting = (0u32..).zip(&self.stages).filter(|(_, stage)| matches!(stage, Stage::Waiting(_)));
        waiting.map(|(id, _)| ActionId(id)).collect()
    }

    fn end(&mut self, id: ActionId, stage: Stage) -> bool {
        let started = self.stages.get(id.0 as usize) == Some(&Stage::Started);
        if started {
            self.set(id.0, stage);
            self.running = self.running.saturating_sub(1);
        }
        started
    }

    fn set(&mut self, id: u32, stage: Stage) {
        if let Some(slot) = self.stages.get_mut(id as usize) {
            *slot = stage;
        }
    }

    fn dependants_of(&self, id: u32) -> Vec<u32> {
        self.dependants.get(id as usize).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(list: &[ActionId]) -> Vec<u32> {
        list.iter().map(|id| id.0).collect()
    }

    #[test]
    fn what_depends_on_nothing_starts_at_once_and_each_only_once() {
        let mut queue = Queue::from_edges(4, [(0, 2), (1, 2), (2, 3)]);
        assert_eq!(ids(&queue.ready()), [0, 1]);
        assert_eq!(ids(&queue.ready()), [0u32; 0]);
        queue.finish(ActionId(1));
        assert_eq!(ids(&queue.ready()), [0u32; 0]);
        queue.finish(ActionId(0));
        queue.finish(ActionId(0));
        assert_eq!(ids(&queue.ready()), [2]);
        assert_eq!((queue.running(), ids(&queue.not_started())), (1, vec![3]));
        queue.finish(ActionId(2));
        assert_eq!(ids(&queue.ready()), [3]);
        queue.finish(ActionId(3));
        assert!(queue.is_done());
    }

    #[test]
    fn a_failure_skips_its_dependants_once_and_lets_others_go_on() {
        let mut queue = Queue::from_edges(6, [(0, 2), (1, 2), (2, 3), (1, 4), (1, 1 + 4)]);
        assert_eq!(ids(&queue.ready()), [0, 1]);
        let skipped = queue.fail(ActionId(0));
        assert_eq!(skipped.iter().map(|s| (s.id.0, s.because.0)).collect::<Vec<_>>(), [(2, 0), (3, 0)]);
        let skipped = queue.fail(ActionId(1));
        assert_eq!(skipped.iter().map(|s| (s.id.0, s.because.0)).collect::<Vec<_>>(), [(4, 1), (5, 1)]);
        assert!(queue.is_done() && queue.not_started().is_empty());
    }

    #[test]
    fn what_was_not_started_can_neither_end_nor_fail() {
        let mut queue = Queue::from_edges(2, [(0, 1), (0, 9), (7, 1)]);
        queue.finish(ActionId(1));
        assert_eq!(queue.fail(ActionId(1)), []);
        assert_eq!(queue.fail(ActionId(40)), []);
        assert_eq!(ids(&queue.ready()), [0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Every action is started, skipped, or left waiting for one that failed; none before what it depends on.
        #[test]
        fn order_is_kept_and_everything_is_accounted_for(
            pairs in prop::collection::vec((0u32..20, 0u32..20), 0..60),
            failing in prop::collection::btree_set(0u32..20, 0..5),
        ) {
            let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b).collect();
            let mut queue = Queue::from_edges(20, edges.clone());
            let (mut well, mut skipped) = (BTreeSet::new(), BTreeSet::new());
            let mut failed = BTreeSet::new();
            loop {
                let ready = ids(&queue.ready());
                if ready.is_empty() {
                    break;
                }
                for id in ready {
                    for (from, _) in edges.iter().filter(|(_, to)| *to == id) {
                        prop_assert!(well.contains(from), "{} before {}", id, from);
                    }
                    if failing.contains(&id) {
                        failed.insert(id);
                        for one in queue.fail(ActionId(id)) {
                            prop_assert!(skipped.insert(one.id.0), "told twice");
                        }
                    } else {
                        well.insert(id);
                        queue.finish(ActionId(id));
                    }
                }
            }
            prop_assert!(queue.is_done() && queue.not_started().is_empty());
            prop_assert_eq!(well.len() + failed.len() + skipped.len(), 20);
        }
    }
}
