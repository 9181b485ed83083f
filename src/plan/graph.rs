//! The actions as a graph: edges with reasons, what a selection takes along, a topological order that is the same
//! for the same plan, and cycles, should there ever be one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::select::Selection;
use super::{Action, ActionId, Change, Edge};
use crate::diag::Diagnostic;
use crate::model::{StorageName, Weight};

/// Above this many pairs of raised and zeroed weights, the zeroes wait for the first of them, and that one for all
/// raises: edges then grow with the sum instead of the product.
const MOST_PAIRS: usize = 4096;

/// Orders actions that are free to come in any order: weights that rise, other weights, moves by wave, proofs.
fn rank(change: &Change) -> (u8, u32) {
    match change {
        Change::SetWeight { from, to, .. } if to > from => (0, 0),
        Change::SetWeight { to, .. } if *to > Weight::ZERO => (1, 0),
        Change::SetWeight { .. } => (2, 0),
        Change::Moves { position, .. } => (3, *position),
        Change::ProveEmpty { .. } => (4, 0),
    }
}

/// The storage that an action is about: the source, for moves.
fn storage_of(change: &Change) -> &StorageName {
    match change {
        Change::SetWeight { storage, .. } | Change::ProveEmpty { storage } => storage,
        Change::Moves { source, .. } => source,
    }
}

/// Actions and what each depends on.
#[derive(Debug, Default)]
pub(super) struct Graph {
    graph: DiGraph<Action, String>,
}

impl Graph {
    /// Makes the graph of these actions.
    pub(super) fn new(actions: Vec<Action>) -> Self {
        let mut graph = DiGraph::new();
        for action in actions {
            graph.add_node(action);
        }
        let mut this = Self { graph };
        this.connect();
        this
    }

    fn connect(&mut self) {
        let (mut raises, mut zeroes, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        let mut fences: BTreeMap<&StorageName, NodeIndex> = BTreeMap::new();
        let mut moves: BTreeMap<u32, Vec<NodeIndex>> = BTreeMap::new();
        let mut moves_off: BTreeMap<&StorageName, Vec<NodeIndex>> = BTreeMap::new();
        for node in self.graph.node_indices() {
            let Some(action) = self.graph.node_weight(node) else { continue };
            let storage = storage_of(&action.change);
            match rank(&action.change) {
                (0, _) => raises.push(node),
                (1, _) => {}
                (2, _) => {
                    zeroes.push(node);
                    fences.insert(storage, node);
                }
                (3, position) => {
                    moves.entry(position).or_default().push(node);
                    moves_off.entry(storage).or_default().push(node);
                }
                _ => proofs.push((node, storage)),
            }
        }
        let mut edges: Vec<(NodeIndex, NodeIndex, String)> = Vec::new();
        let other = "new repositories must have another storage to go to before this one takes none";
        if raises.len().saturating_mul(zeroes.len()) <= MOST_PAIRS {
            edges.extend(raises.iter().flat_map(|r| zeroes.iter().map(|z| (*r, *z, other.to_owned()))));
        } else if let Some((first, rest)) = zeroes.split_first() {
            edges.extend(raises.iter().map(|raise| (*raise, *first, other.to_owned())));
            edges.extend(rest.iter().map(|zero| (*first, *zero, other.to_owned())));
        }
        for (storage, nodes) in &moves_off {
            if let Some(fence) = fences.get(storage) {
                let reason = format!("{storage} must take no new repositories before its own leave");
                edges.extend(nodes.iter().map(|node| (*fence, *node, reason.clone())));
            }
        }
        let positions: Vec<&Vec<NodeIndex>> = moves.values().collect();
        for pair in positions.windows(2) {
            if let [earlier, later] = pair {
                let pairs = earlier.iter().flat_map(|e| later.iter().map(|l| (*e, *l)));
                edges.extend(pairs.map(|(e, l)| (e, l, "waves go in the rollout's order".to_owned())));
            }
        }
        for (proof, storage) in proofs {
            if let Some(fence) = fences.get(storage) {
                edges.push((
                    *fence,
                    proof,
                    format!("{storage} must take no new repositories before it is proven empty"),
                ));
            }
            let reason = format!("{storage} is empty only when all its repositories have moved");
            let nodes = moves_off.get(storage).into_iter().flatten();
            edges.extend(nodes.map(|node| (*node, proof, reason.clone())));
        }
        for (from, to, reason) in edges {
            self.graph.add_edge(from, to, reason);
        }
    }

    /// Takes away what was not asked for: what is excluded and all that depends on it; and weights and proofs that
    /// no target names and nothing that stays depends on. Gives the changes that were taken away.
    pub(super) fn select(&mut self, selection: &Selection<'_>) -> Vec<Change> {
        if selection.is_all() {
            return Vec::new();
        }
        let asks = |pick: &dyn Fn(&Action) -> bool| -> BTreeSet<NodeIndex> {
            self.graph.node_indices().filter(|n| self.graph.node_weight(*n).is_some_and(pick)).collect()
        };
        let of_storage = |action: &Action| !matches!(action.change, Change::Moves { .. });
        let excluded = asks(&|a| of_storage(a) && selection.is_excluded(&a.address, storage_of(&a.change)));
        let excluded = self.reach(excluded, Direction::Outgoing, |_| true);
        // Moves were selected one by one before. Waves are an order, not a need: a target takes no other's moves along.
        let wanted = asks(&|a| !of_storage(a) || selection.is_target(&a.address, storage_of(&a.change)));
        let wanted = self.reach(wanted, Direction::Incoming, |action| of_storage(action));
        let mut left_out = Vec::new();
        self.graph = self.graph.filter_map(
            |node, action| {
                let stays = wanted.contains(&node) && !excluded.contains(&node);
                if !stays {
                    left_out.push(action.change.clone());
                }
                stays.then(|| action.clone())
            },
            |_, reason| Some(reason.clone()),
        );
        left_out
    }

    /// All nodes that can be reached from some, over nodes that may be taken.
    fn reach(&self, from: BTreeSet<NodeIndex>, way: Direction, take: impl Fn(&Action) -> bool) -> BTreeSet<NodeIndex> {
        let mut next: Vec<NodeIndex> = from.iter().copied().collect();
        let mut found = from;
        while let Some(node) = next.pop() {
            for other in self.graph.neighbors_directed(node, way) {
                if self.graph.node_weight(other).is_some_and(&take) && found.insert(other) {
                    next.push(other);
                }
            }
        }
        found
    }

    /// The changes in the graph, in no order that matters.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.graph.node_weights().map(|action| &action.change)
    }

    /// Takes away single actions.
    pub(super) fn remove(&mut self, unwanted: impl Fn(&Change) -> bool) {
        self.graph.retain_nodes(|graph, node| graph.node_weight(node).is_none_or(|action| !unwanted(&action.change)));
    }

    /// Gives the actions in topological order, the edges with them.
    ///
    /// # Errors
    /// A cycle, which would be a fault of the planner: an action would wait for itself.
    pub(super) fn order(mut self) -> Result<(Vec<Action>, Vec<Edge>), Box<Diagnostic>> {
        let order = self.topological().ok_or_else(|| Box::new(self.cycle()))?;
        let place: BTreeMap<NodeIndex, ActionId> =
            (0u32..).zip(&order).map(|(place, node)| (*node, ActionId(place))).collect();
        let edge = |e: petgraph::graph::EdgeReference<'_, String>| {
            Some(Edge { from: *place.get(&e.source())?, to: *place.get(&e.target())?, reason: e.weight().clone() })
        };
        let mut edges: Vec<Edge> = self.graph.edge_references().filter_map(edge).collect();
        edges.sort();
        let actions = order.iter().filter_map(|node| {
            let placeholder = Action {
                address: crate::model::Address::new("", ""),
                change: Change::ProveEmpty { storage: storage_of(&self.graph.node_weight(*node)?.change).clone() },
                reason: String::new(),
            };
            Some(std::mem::replace(self.graph.node_weight_mut(*node)?, placeholder))
        });
        Ok((actions.collect(), edges))
    }

    /// Kahn's algorithm; of the actions that are free, the lowest rank and address comes first.
    fn topological(&self) -> Option<Vec<NodeIndex>> {
        let key = |node: NodeIndex| self.graph.node_weight(node).map(|a| (rank(&a.change), &a.address));
        let mut waiting: BTreeMap<NodeIndex, usize> = BTreeMap::new();
        let mut free = BinaryHeap::new();
        for node in self.graph.node_indices() {
            let number = self.graph.edges_directed(node, Direction::Incoming).count();
            if number == 0 {
                free.push(Reverse((key(node), node)));
            } else {
                waiting.insert(node, number);
            }
        }
        let mut order = Vec::with_capacity(self.graph.node_count());
        while let Some(Reverse((_, node))) = free.pop() {
            order.push(node);
            for edge in self.graph.edges_directed(node, Direction::Outgoing) {
                let next = edge.target();
                if let Some(number) = waiting.get_mut(&next) {
                    *number -= 1;
                    if *number == 0 {
                        waiting.remove(&next);
                        free.push(Reverse((key(next), next)));
                    }
                }
            }
        }
        waiting.is_empty().then_some(order)
    }

    fn cycle(&self) -> Diagnostic {
        let parts = tarjan_scc(&self.graph);
        let part = parts.iter().find(|part| part.len() > 1 || part.iter().any(|n| self.graph.contains_edge(*n, *n)));
        let mut names: Vec<String> = part
            .into_iter()
            .flatten()
            .filter_map(|node| self.graph.node_weight(*node).map(|action| action.address.to_string()))
            .collect();
        names.sort();
        Diagnostic::error("plan/cycle", "Actions wait for each other")
            .detail(format!("None of these could ever start: {}.", names.join(", ")))
            .help("This is a fault in tranship. Plan parts with --target meanwhile, and report it.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;
    use crate::plan::fixture::{name, weight};

    fn set(storage: &str, from: u64, to: u64) -> Action {
        action(
            Address::new("weight", storage),
            Change::SetWeight { storage: name(storage), from: weight(from), to: weight(to) },
        )
    }

    fn moves(source: &str, wave: &str, position: u32) -> Action {
        let change = Change::Moves {
            wave: wave.to_owned(),
            position,
            source: name(source),
            first: 0,
            count: 1,
            bytes: crate::model::Bytes(1),
        };
        action(Address::new("moves", source).with_key(wave), change)
    }

    fn prove(storage: &str) -> Action {
        action(Address::new("drain", storage), Change::ProveEmpty { storage: name(storage) })
    }

    fn action(address: Address, change: Change) -> Action {
        Action { address, change, reason: String::new() }
    }

    fn lines(graph: Graph) -> (Vec<String>, Vec<String>) {
        let (actions, edges) = graph.order().expect("no cycle");
        let at = |id: ActionId| actions[id.0 as usize].address.to_string();
        let edges = edges.iter().map(|e| format!("{} -> {}", at(e.from), at(e.to))).collect();
        (actions.iter().map(|a| a.address.to_string()).collect(), edges)
    }

    #[test]
    fn the_order_is_that_of_the_laws_however_actions_are_given() {
        let actions = [
            prove("old"),
            moves("old", "rest", 1),
            moves("old", "first", 0),
            moves("other", "rest", 1),
            set("old", 100, 0),
            set("new", 0, 100),
            set("mid", 50, 20),
        ];
        let expected = [
            "weight.new",
            "weight.mid",
            "weight.old",
            "moves.old[\"first\"]",
            "moves.old[\"rest\"]",
            "moves.other[\"rest\"]",
            "drain.old",
        ];
        let edges = [
            "weight.new -> weight.old",
            "weight.old -> moves.old[\"first\"]",
            "weight.old -> moves.old[\"rest\"]",
            "weight.old -> drain.old",
            "moves.old[\"first\"] -> moves.old[\"rest\"]",
            "moves.old[\"first\"] -> moves.other[\"rest\"]",
            "moves.old[\"first\"] -> drain.old",
            "moves.old[\"rest\"] -> drain.old",
        ];
        for turn in 0..actions.len() {
            let mut list = actions.to_vec();
            list.rotate_left(turn);
            let (order, found) = lines(Graph::new(list));
            assert_eq!(order, expected);
            assert_eq!(found, edges);
        }
    }

    #[test]
    fn many_weights_do_not_make_the_product_of_edges() {
        let mut list: Vec<_> = (0..200).map(|n| set(&format!("new-{n:03}"), 0, 1)).collect();
        list.extend((0..200).map(|n| set(&format!("old-{n:03}"), 1, 0)));
        let (order, edges) = lines(Graph::new(list));
        assert_eq!(edges.len(), 200 + 199);
        assert_eq!(order[200], "weight.old-000");
    }

    #[test]
    fn a_cycle_is_told_with_its_members() {
        let mut graph = Graph::new(vec![prove("a"), prove("b"), prove("c")]);
        let nodes: Vec<_> = graph.graph.node_indices().collect();
        graph.graph.add_edge(nodes[0], nodes[1], String::new());
        graph.graph.add_edge(nodes[1], nodes[0], String::new());
        let error = graph.order().expect_err("a cycle");
        assert_eq!(error.detail, "None of these could ever start: drain.a, drain.b.");
    }
}
