//! stub
use super::{ActionId, Plan};
use std::collections::{BTreeMap, BTreeSet};
/// The ready-set.
#[derive(Debug)]
pub struct Queue {
    after: BTreeMap<ActionId, BTreeSet<ActionId>>,
    ready: BTreeSet<ActionId>,
    edges: Vec<(ActionId, ActionId)>,
    waiting: BTreeSet<ActionId>,
}
impl Queue {
    /// All of a plan's actions.
    pub fn new(plan: &Plan) -> Self {
        let mut after: BTreeMap<ActionId, BTreeSet<ActionId>> = BTreeMap::new();
        for e in &plan.edges {
            after.entry(e.to).or_default().insert(e.from);
        }
        let all: BTreeSet<ActionId> = (0..plan.actions.len() as u32).map(ActionId).collect();
        let ready = all.iter().copied().filter(|id| !after.contains_key(id)).collect::<BTreeSet<_>>();
        let waiting = all.difference(&ready).copied().collect();
        Self { after, ready, edges: plan.edges.iter().map(|e| (e.from, e.to)).collect(), waiting }
    }
    /// Takes the first that may start.
    pub fn next(&mut self) -> Option<ActionId> {
        self.ready.pop_first()
    }
    /// True when one may start.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
    /// An action ended well.
    pub fn finish(&mut self, id: ActionId) {
        for (from, to) in self.edges.clone() {
            if from == id
                && let Some(set) = self.after.get_mut(&to)
            {
                set.remove(&id);
                if set.is_empty() && self.waiting.remove(&to) {
                    self.ready.insert(to);
                }
            }
        }
    }
    /// An action failed: what depends on it, each with the failed action.
    pub fn fail(&mut self, id: ActionId) -> Vec<(ActionId, ActionId)> {
        let mut out = Vec::new();
        let mut stack = vec![id];
        while let Some(at) = stack.pop() {
            for (from, to) in self.edges.clone() {
                if from == at && self.waiting.remove(&to) {
                    out.push((to, id));
                    stack.push(to);
                }
            }
        }
        out.sort();
        out
    }
    /// What was neither taken nor skipped.
    pub fn left(&self) -> Vec<ActionId> {
        self.ready.iter().chain(&self.waiting).copied().collect()
    }
}
