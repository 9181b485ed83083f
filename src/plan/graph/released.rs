//! The edges around what releases weights and moves: probes, steps of the ramp, holds, programs around waves.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use super::{Graph, Link};
use crate::model::HookEvent;
use crate::plan::{After, Change};

type Edges = Vec<(NodeIndex, NodeIndex, Link)>;

/// What stands around one wave.
#[derive(Debug, Default)]
struct Wave {
    starts: Vec<NodeIndex>,
    moves: Vec<NodeIndex>,
    ends: Vec<NodeIndex>,
    hold: Option<NodeIndex>,
}

impl Graph {
    /// Probe → ramp, hold after each step → weights → hold → waves: program → moves → program → hold → next wave.
    pub(super) fn release_edges(&self) -> Edges {
        let mut edges = Vec::new();
        let (mut probes, mut weights, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        // By percent: the step and its hold; the last step is the weights' own actions.
        let mut ramp: BTreeMap<u8, [Option<NodeIndex>; 2]> = BTreeMap::new();
        let mut waves: BTreeMap<u32, Wave> = BTreeMap::new();
        let mut places: BTreeMap<&str, u32> = self.positions.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        for action in self.graph.node_weights() {
            if let Change::Moves { wave, position, .. } = &action.change {
                places.insert(wave, *position);
            }
        }
        for node in self.graph.node_indices() {
            let Some(action) = self.graph.node_weight(node) else { continue };
            match &action.change {
                Change::Probe { .. } => probes.push((&action.address, node)),
                Change::SetWeight { .. } => weights.push(node),
                Change::Ramp { percent, .. } => ramp.entry(*percent).or_default()[0] = Some(node),
                Change::Hold { after: After::Ramp { percent }, .. } => {
                    ramp.entry(*percent).or_default()[1] = Some(node);
                }
                Change::Hold { after: After::Wave { wave }, .. } => {
                    let place = places.get(wave.as_str()).copied().unwrap_or(u32::MAX);
                    waves.entry(place).or_default().hold = Some(node);
                }
                Change::Moves { position, .. } => {
                    moves.push(node);
                    waves.entry(*position).or_default().moves.push(node);
                }
                Change::RunHook { on, wave, .. } => {
                    let place = places.get(wave.as_str()).copied().unwrap_or(u32::MAX);
                    let wave = waves.entry(place).or_default();
                    if *on == HookEvent::WaveStart { &mut wave.starts } else { &mut wave.ends }.push(node);
                }
                _ => {}
            }
        }
        probes.sort();
        for pair in probes.windows(2) {
            if let [(_, before), (_, after)] = pair {
                edges.push((*before, *after, Link::order("one project cannot be on two storages at once")));
            }
        }
        let steps = ramp.values().filter_map(|[step, _]| *step);
        if let Some((_, probe)) = probes.last() {
            let released = steps.chain(weights.iter().copied()).chain(moves.iter().copied());
            edges.extend(
                released.map(|node| (*probe, node, Link::order("new storages are tried before they are used"))),
            );
        }
        self.ramp_edges(&ramp, &weights, &mut edges);
        let last = ramp.get(&100).and_then(|[_, hold]| *hold);
        let mut before: Vec<(NodeIndex, &str)> =
            last.map(|hold| (hold, "nothing moves before the new weights have held")).into_iter().collect();
        let mut earlier_moves: &[NodeIndex] = &[];
        for Wave { starts, moves, ends, hold } in waves.values() {
            for start in starts {
                let order = Link::order("the program runs right before its wave");
                edges.extend(earlier_moves.iter().map(|node| (*node, *start, order.clone())));
            }
            if !moves.is_empty() {
                earlier_moves = moves;
            }
            for (earlier, reason) in &before {
                edges.extend(starts.iter().chain(moves).map(|node| (*earlier, *node, Link::order(reason))));
                // Its own moves are done: what it holds up still comes after.
                if let (true, Some(hold)) = (moves.is_empty(), hold) {
                    edges.push((*earlier, *hold, Link::order(reason)));
                }
            }
            let pairs = |from: &[NodeIndex], to: &[NodeIndex], reason: &str| {
                let pairs = from.iter().flat_map(|f| to.iter().map(|t| (*f, *t, Link::order(reason))));
                pairs.collect::<Vec<_>>()
            };
            edges.extend(pairs(starts, moves, "the program ends before the wave begins"));
            edges.extend(pairs(moves, ends, "the program runs when the wave has ended well"));
            let mut of_wave: Vec<(NodeIndex, &str)> =
                ends.iter().map(|end| (*end, "the program of the wave before ends first")).collect();
            if let Some(hold) = hold {
                edges.extend(pairs(moves, &[*hold], "a wave has ended before it is watched"));
                edges.extend(pairs(ends, &[*hold], "the program ends before the wave is watched"));
                of_wave.push((*hold, "what the wave before must have held comes first"));
            }
            if !of_wave.is_empty() {
                before = of_wave;
            }
        }
        edges
    }

    /// Has a program before a wave wait for all that the wave's moves wait for: a backup is worth the more the less time lies
    /// between it and the moves.
    pub(super) fn start_late(&mut self) {
        let mut starts: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        let mut moves: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for node in self.graph.node_indices() {
            match self.graph.node_weight(node).map(|action| &action.change) {
                Some(Change::RunHook { on: HookEvent::WaveStart, wave, .. }) => {
                    starts.entry(wave).or_default().push(node);
                }
                Some(Change::Moves { wave, .. }) => moves.entry(wave).or_default().push(node),
                _ => {}
            }
        }
        let mut edges = Vec::new();
        for (wave, starts) in &starts {
            let moves = moves.get(wave).into_iter().flatten();
            let before: BTreeSet<NodeIndex> =
                moves.flat_map(|node| self.graph.neighbors_directed(*node, Direction::Incoming)).collect();
            for start in starts {
                let known: BTreeSet<NodeIndex> = self.graph.neighbors_directed(*start, Direction::Incoming).collect();
                let new = before.iter().filter(|node| !starts.contains(node) && !known.contains(node));
                edges.extend(new.map(|node| (*node, *start)));
            }
        }
        for (from, to) in edges {
            self.graph.add_edge(from, to, Link::order("the program runs right before its wave"));
        }
    }

    fn ramp_edges(&self, ramp: &BTreeMap<u8, [Option<NodeIndex>; 2]>, weights: &[NodeIndex], edges: &mut Edges) {
        let mut before = None;
        let held = "a step begins only when the one before has held";
        for (_, [step, hold]) in ramp.range(..100) {
            for node in [step, hold].into_iter().flatten() {
                let reason = if Some(*node) == *step { held } else { "a step is set before it is watched" };
                edges.extend(before.map(|before| (before, *node, Link::order(reason))));
                before = Some(*node);
            }
        }
        edges.extend(before.into_iter().flat_map(|b| weights.iter().map(move |w| (b, *w, Link::order(held)))));
        if let Some([_, Some(hold)]) = ramp.get(&100) {
            edges.extend(weights.iter().map(|w| (*w, *hold, Link::order("a step is set before it is watched"))));
        }
        // A storage is ready and known before anything is given to it, or tried on it.
        let mut waits: BTreeMap<_, Vec<NodeIndex>> = BTreeMap::new();
        for node in self.graph.node_indices() {
            let change = self.graph.node_weight(node).map(|action| &action.change);
            if let Some(Change::AwaitReady { storage, .. } | Change::AwaitKnown { storage, .. }) = change {
                waits.entry(storage).or_default().push(node);
            }
        }
        for node in self.graph.node_indices() {
            let Some(action) = self.graph.node_weight(node) else { continue };
            let needs: Vec<_> = match &action.change {
                Change::Ramp { weights, .. } => weights.keys().collect(),
                Change::Probe { storage, home, .. } => vec![storage, home],
                _ => continue,
            };
            for storage in needs {
                let reason = format!("{storage} must be ready, and GitLab know it");
                let waits = waits.get(storage).into_iter().flatten();
                edges.extend(waits.map(|wait| (*wait, node, Link::need(reason.clone()))));
            }
        }
    }
}
