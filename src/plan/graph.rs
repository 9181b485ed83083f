//! The actions as a graph: edges with reasons, what a selection takes along, a topological order that is the same
//! for the same plan, and cycles, should there ever be one.

mod released;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::diff::all_zero;
use super::pods::ChangeClass;
use super::select::Selection;
use super::{Action, ActionId, Change, Edge};
use crate::diag::Diagnostic;
use crate::model::cluster::ObjectKind;
use crate::model::{StorageName, Weight};

/// Above this many pairs of raised and zeroed weights, the zeroes wait for the first of them, and that one for all
/// raises: edges then grow with the sum instead of the product.
const MOST_PAIRS: usize = 4096;

/// Orders actions that are free to come in any order: pods' objects by kind, what pods wait for, weights that rise,
/// other weights, moves by wave, proofs, what is forgotten.
fn rank(change: &Change) -> (Stage, u32) {
    let kind = |kind: ObjectKind| {
        let place = ObjectKind::APPLIED.iter().position(|one| *one == kind).unwrap_or(ObjectKind::APPLIED.len());
        u32::try_from(place).unwrap_or(u32::MAX)
    };
    match change {
        Change::ApplyObject { manifest, .. } | Change::RecreateStatefulSet { manifest, .. } => {
            (Stage::Object, kind(manifest.key.kind))
        }
        Change::GrowDisk { .. } => (Stage::Object, u32::MAX),
        Change::ReplacePod { .. } => (Stage::Pod, 0),
        Change::AwaitReady { .. } => (Stage::Ready, 0),
        Change::AwaitKnown { .. } => (Stage::Known, 0),
        Change::SetWeight { from, to, .. } if to > from => (Stage::Raise, 0),
        Change::SetWeight { to, .. } if *to > Weight::ZERO => (Stage::Lower, 0),
        Change::SetWeight { .. } => (Stage::Zero, 0),
        Change::Moves { position, .. } => (Stage::Moves, *position),
        Change::ProveEmpty { .. } => (Stage::Proof, 0),
        Change::Probe { .. } => (Stage::Probe, 0),
        Change::Ramp { percent, .. } => (Stage::Ramp, u32::from(*percent)),
        Change::RunHook { .. } => (Stage::Moves, 0),
        Change::Hold { .. } => (Stage::Moves, u32::MAX),
        Change::Forget { .. } => (Stage::Forget, 0),
    }
}

/// Groups of actions, in the order in which a plan lists what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Object,
    Pod,
    Ready,
    Known,
    Probe,
    Ramp,
    Raise,
    Lower,
    Zero,
    Moves,
    Proof,
    Forget,
}

/// Why one action comes before another.
#[derive(Debug, Clone)]
struct Link {
    /// The later one makes no sense without the earlier. Otherwise it is an order among what is there: it draws
    /// nothing along when the earlier is left out.
    need: bool,
    reason: String,
}

impl Link {
    fn need(reason: String) -> Self {
        Self { need: true, reason }
    }

    fn order(reason: &str) -> Self {
        Self { need: false, reason: reason.to_owned() }
    }
}

/// The actions of one pod storage.
#[derive(Debug, Default)]
struct PodNodes {
    objects: Vec<NodeIndex>,
    set: Option<NodeIndex>,
    restarts: bool,
    disk: Option<NodeIndex>,
    pod: Option<NodeIndex>,
    ready: Option<NodeIndex>,
    known: Option<NodeIndex>,
    /// And whether it rises.
    weight: Option<(NodeIndex, bool)>,
}

/// Actions and what each depends on.
#[derive(Debug, Default)]
pub(super) struct Graph {
    graph: DiGraph<Action, Link>,
    /// Where the moves of a wave off a storage go.
    towards: BTreeMap<(u32, StorageName), BTreeSet<StorageName>>,
    /// Wave names by position, of those without moves too.
    positions: BTreeMap<String, u32>,
}

impl Graph {
    /// Makes the graph of these actions. `towards`: where the moves of each wave off each storage go.
    pub(super) fn new(actions: Vec<Action>, towards: BTreeMap<(u32, StorageName), BTreeSet<StorageName>>) -> Self {
        let mut graph = DiGraph::new();
        for action in actions {
            graph.add_node(action);
        }
        let mut this = Self { graph, towards, positions: BTreeMap::new() };
        this.connect();
        this
    }

    /// Gives the actions, in no order that matters.
    pub(super) fn take(&mut self) -> Vec<Action> {
        let graph = std::mem::take(&mut self.graph);
        graph.into_nodes_edges().0.into_iter().map(|node| node.weight).collect()
    }

    /// The graph of these actions instead; `positions`: of all waves by their names.
    pub(super) fn put(&mut self, actions: Vec<Action>, positions: BTreeMap<String, u32>) {
        for action in actions {
            self.graph.add_node(action);
        }
        self.positions = positions;
        self.connect();
    }

    fn connect(&mut self) {
        self.graph.clear_edges();
        let (mut raises, mut zeroes, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        let mut fences: BTreeMap<&StorageName, NodeIndex> = BTreeMap::new();
        let mut moves: BTreeMap<u32, Vec<NodeIndex>> = BTreeMap::new();
        let mut moves_off: BTreeMap<&StorageName, Vec<NodeIndex>> = BTreeMap::new();
        for node in self.graph.node_indices() {
            let Some(action) = self.graph.node_weight(node) else { continue };
            let Some(storage) = action.change.storage() else { continue };
            match rank(&action.change) {
                (Stage::Raise, _) => raises.push(node),
                (Stage::Zero, _) => {
                    zeroes.push(node);
                    fences.insert(storage, node);
                }
                (Stage::Moves, position) => {
                    moves.entry(position).or_default().push(node);
                    moves_off.entry(storage).or_default().push(node);
                }
                (Stage::Proof, _) => proofs.push((node, storage)),
                _ => {}
            }
        }
        let mut edges: Vec<(NodeIndex, NodeIndex, Link)> = Vec::new();
        let other = "new repositories must have another storage to go to before this one takes none";
        if raises.len().saturating_mul(zeroes.len()) <= MOST_PAIRS {
            edges.extend(raises.iter().flat_map(|r| zeroes.iter().map(|z| (*r, *z, Link::order(other)))));
        } else if let Some((first, rest)) = zeroes.split_first() {
            edges.extend(raises.iter().map(|raise| (*raise, *first, Link::order(other))));
            edges.extend(rest.iter().map(|zero| (*first, *zero, Link::order(other))));
        }
        for (storage, nodes) in &moves_off {
            if let Some(fence) = fences.get(storage) {
                let reason = format!("{storage} must take no new repositories before its own leave");
                edges.extend(nodes.iter().map(|node| (*fence, *node, Link::need(reason.clone()))));
            }
        }
        let positions: Vec<&Vec<NodeIndex>> = moves.values().collect();
        for pair in positions.windows(2) {
            if let [earlier, later] = pair {
                let pairs = earlier.iter().flat_map(|e| later.iter().map(|l| (*e, *l)));
                edges.extend(pairs.map(|(e, l)| (e, l, Link::order("waves go in the rollout's order"))));
            }
        }
        for (proof, storage) in proofs {
            if let Some(fence) = fences.get(storage) {
                edges.push((
                    *fence,
                    proof,
                    Link::need(format!("{storage} must take no new repositories before it is proven empty")),
                ));
            }
            let reason = format!("{storage} is empty only when all its repositories have moved");
            let nodes = moves_off.get(storage).into_iter().flatten();
            edges.extend(nodes.map(|node| (*node, proof, Link::need(reason.clone()))));
        }
        edges.extend(self.pod_edges());
        edges.extend(self.release_edges());
        for (from, to, link) in edges {
            self.graph.add_edge(from, to, link);
        }
        self.start_late();
    }

    /// Objects before the StatefulSet, that before the pod, that before it is ready and known, and all that before weight
    /// and moves. One restart after the other: what a bad image does to the first storage, it does to no other.
    fn pod_edges(&self) -> Vec<(NodeIndex, NodeIndex, Link)> {
        let mut pods: BTreeMap<&StorageName, PodNodes> = BTreeMap::new();
        for node in self.graph.node_indices() {
            let Some(action) = self.graph.node_weight(node) else { continue };
            let change = &action.change;
            let Some(storage) = change.storage() else { continue };
            let of = pods.entry(storage).or_default();
            match change {
                Change::ApplyObject { manifest, class, .. } if manifest.key.kind == ObjectKind::StatefulSet => {
                    of.set = Some(node);
                    of.restarts = *class == ChangeClass::RollsPod;
                }
                // Also where nothing restarts: should a pod fail in the gap, it is one.
                Change::RecreateStatefulSet { .. } => {
                    of.set = Some(node);
                    of.restarts = true;
                }
                Change::ApplyObject { .. } => of.objects.push(node),
                Change::GrowDisk { .. } => of.disk = Some(node),
                Change::ReplacePod { .. } => of.pod = Some(node),
                Change::AwaitReady { .. } => of.ready = Some(node),
                Change::AwaitKnown { .. } => of.known = Some(node),
                Change::SetWeight { from, to, .. } => of.weight = Some((node, to > from)),
                _ => {}
            }
        }
        let mut edges = Vec::new();
        for (storage, of) in &pods {
            let mut need = |from: Option<NodeIndex>, to: Option<NodeIndex>, reason: String| {
                edges.extend(from.zip(to).map(|(from, to)| (from, to, Link::need(reason))));
            };
            let next = of.set.or(of.pod).or(of.ready);
            for object in &of.objects {
                need(Some(*object), next, format!("the pod of {storage} needs it when it starts"));
            }
            need(
                of.set,
                of.pod.or(of.ready),
                format!("{storage} is ready only when its StatefulSet is as it should be"),
            );
            need(of.pod, of.ready, format!("{storage} is ready only when its new pod is"));
            need(of.ready, of.known, format!("GitLab learns of {storage} when it is ready"));
            let (raised, weight) =
                (of.weight.filter(|(_, rises)| *rises).map(|(node, _)| node), of.weight.map(|(node, _)| node));
            need(of.ready, raised, format!("{storage} takes new repositories only when it is ready"));
            need(of.known, weight, format!("GitLab must list {storage} before it has a weight"));
            if let (Some(disk), Some(set)) = (of.disk, of.set) {
                edges.push((disk, set, Link::order("a restart gives the file system its new size")));
            }
        }
        let restarts: Vec<&PodNodes> = pods.values().filter(|of| of.restarts).collect();
        for pair in restarts.windows(2) {
            if let [PodNodes { ready: Some(before), .. }, PodNodes { set: Some(after), .. }] = pair {
                edges.push((*before, *after, Link::order("one storage restarts after the other")));
            }
        }
        for node in self.graph.node_indices() {
            let Some(change) = self.graph.node_weight(node).map(|action| &action.change) else { continue };
            let source = change.storage().and_then(|storage| pods.get(storage));
            if let (Change::Moves { .. } | Change::ProveEmpty { .. }, Some(ready)) =
                (change, source.and_then(|of| of.ready))
            {
                edges.push((ready, node, Link::order("its pod starts anew first")));
            }
            let Change::Moves { position, source, .. } = change else { continue };
            for to in self.towards.get(&(*position, source.clone())).into_iter().flatten() {
                let Some(of) = pods.get(to) else { continue };
                let steps = [
                    (of.ready, format!("repositories move to {to} only when it is ready")),
                    (of.known, format!("GitLab must list {to} before anything moves there")),
                    (of.disk, format!("{to} must have room for what moves there")),
                ];
                edges.extend(steps.into_iter().filter_map(|(step, reason)| Some((step?, node, Link::need(reason)))));
            }
        }
        edges
    }

    /// Takes away what was not asked for: what is excluded and all that needs it; and weights and proofs that no
    /// target names and nothing that stays needs. Gives the changes that were taken away. `weights`: GitLab's, now.
    pub(super) fn select(&mut self, selection: &Selection<'_>, weights: &BTreeMap<StorageName, Weight>) -> Vec<Change> {
        if selection.is_all() {
            return Vec::new();
        }
        let asks = |pick: &dyn Fn(&Action) -> bool| -> BTreeSet<NodeIndex> {
            self.graph.node_indices().filter(|n| self.graph.node_weight(*n).is_some_and(pick)).collect()
        };
        let of_storage = |action: &Action| !matches!(action.change, Change::Moves { .. });
        let excluded = asks(&|a| of_storage(a) && selection.is_excluded(&a.address, a.change.storage()));
        let mut excluded = self.reach(excluded, Direction::Outgoing, |_| true);
        // A pod that starts is waited for, or not started.
        let starts = self.starts();
        let unwatched = starts.iter().filter(|(_, ready)| excluded.contains(ready)).map(|(start, _)| *start);
        excluded.extend(self.reach(unwatched.collect(), Direction::Outgoing, |_| true));
        // Moves were selected one by one before. Waves are an order, not a need: a target takes no other's moves along.
        let wanted = asks(&|a| !of_storage(a) || selection.is_target(&a.address, a.change.storage()));
        let whole = |wanted: BTreeSet<NodeIndex>| {
            let mut wanted = self.reach(wanted, Direction::Incoming, of_storage);
            let watches = starts.iter().filter(|(start, _)| wanted.contains(start)).map(|(_, ready)| *ready);
            wanted.extend(self.reach(watches.collect(), Direction::Incoming, of_storage));
            wanted
        };
        let mut wanted = whole(wanted);
        // A weight that goes to 0 takes along the weights that rise in its place.
        let of_rank = |wanted: Stage| asks(&|action| rank(&action.change).0 == wanted);
        let (raises, zeroes) = (of_rank(Stage::Raise), of_rank(Stage::Zero));
        if zeroes.iter().any(|zero| wanted.contains(zero) && !excluded.contains(zero)) {
            wanted.extend(&raises);
            wanted = whole(wanted);
        }
        // Without an excluded rise no weight above 0 may be left: then none goes to 0, and nothing leaves its storage.
        if !raises.is_disjoint(&excluded) && all_zero(&self.after(weights, &wanted, &excluded)) {
            excluded.extend(self.reach(zeroes, Direction::Outgoing, |_| true));
        }
        let mut left_out = Vec::new();
        self.graph = self.graph.filter_map(
            |node, action| {
                let stays = wanted.contains(&node) && !excluded.contains(&node);
                if !stays {
                    left_out.push(action.change.clone());
                }
                stays.then(|| action.clone())
            },
            |_, link| Some(link.clone()),
        );
        // What went may have held the order of what stays.
        self.connect();
        left_out
    }

    /// What makes a pod start, each with what waits for it.
    fn starts(&self) -> Vec<(NodeIndex, NodeIndex)> {
        let starts = |change: &Change| match change {
            Change::ApplyObject { manifest, class, .. } => {
                manifest.key.kind == ObjectKind::StatefulSet && *class != ChangeClass::InPlace
            }
            Change::RecreateStatefulSet { .. } | Change::ReplacePod { .. } => true,
            _ => false,
        };
        let nodes = |pick: &dyn Fn(&Change) -> bool| -> BTreeMap<NodeIndex, &StorageName> {
            let of = |node| {
                self.graph.node_weight(node).filter(|a| pick(&a.change)).and_then(|a| Some((node, a.change.storage()?)))
            };
            self.graph.node_indices().filter_map(of).collect()
        };
        let ready = nodes(&|change| matches!(change, Change::AwaitReady { .. }));
        let pairs = nodes(&starts).into_iter().filter_map(|(start, storage)| {
            ready.iter().find(|(_, one)| **one == storage).map(|(ready, _)| (start, *ready))
        });
        pairs.collect()
    }

    /// The weights after what is wanted and not excluded.
    fn after(
        &self,
        weights: &BTreeMap<StorageName, Weight>,
        wanted: &BTreeSet<NodeIndex>,
        excluded: &BTreeSet<NodeIndex>,
    ) -> BTreeMap<StorageName, Weight> {
        let mut after = weights.clone();
        for node in wanted.difference(excluded) {
            if let Some(Change::SetWeight { storage, to, .. }) = self.graph.node_weight(*node).map(|a| &a.change) {
                after.insert(storage.clone(), *to);
            }
        }
        after
    }

    /// All nodes that can be reached from some over needs, by way of nodes that may be taken.
    fn reach(&self, from: BTreeSet<NodeIndex>, way: Direction, take: impl Fn(&Action) -> bool) -> BTreeSet<NodeIndex> {
        let mut next: Vec<NodeIndex> = from.iter().copied().collect();
        let mut found = from;
        while let Some(node) = next.pop() {
            for edge in self.graph.edges_directed(node, way).filter(|edge| edge.weight().need) {
                let other = if way == Direction::Outgoing { edge.target() } else { edge.source() };
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
        self.connect();
    }

    /// Gives the actions in topological order, the edges with them.
    ///
    /// # Errors
    /// A cycle, which would be a fault of the planner: an action would wait for itself.
    pub(super) fn order(mut self) -> Result<(Vec<Action>, Vec<Edge>), Box<Diagnostic>> {
        let order = self.topological().ok_or_else(|| Box::new(self.cycle()))?;
        let place: BTreeMap<NodeIndex, ActionId> =
            (0u32..).zip(&order).map(|(place, node)| (*node, ActionId(place))).collect();
        let edge = |e: petgraph::graph::EdgeReference<'_, Link>| {
            Some(Edge {
                from: *place.get(&e.source())?,
                to: *place.get(&e.target())?,
                reason: e.weight().reason.clone(),
            })
        };
        let mut edges: Vec<Edge> = self.graph.edge_references().filter_map(edge).collect();
        edges.sort();
        let actions = order.iter().filter_map(|node| {
            let placeholder = Action {
                address: crate::model::Address::new("", ""),
                change: Change::Ramp { percent: 0, share_permille: 0, weights: BTreeMap::new() },
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
    use crate::plan::Options;
    use crate::plan::fixture::{World, name, weight};

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
            window: None,
            order: crate::plan::MoveOrder::TwoEnded,
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
            let (order, found) = lines(Graph::new(list, BTreeMap::new()));
            assert_eq!(order, expected);
            assert_eq!(found, edges);
        }
    }

    #[test]
    fn many_weights_do_not_make_the_product_of_edges() {
        let mut list: Vec<_> = (0..200).map(|n| set(&format!("new-{n:03}"), 0, 1)).collect();
        list.extend((0..200).map(|n| set(&format!("old-{n:03}"), 1, 0)));
        let (order, edges) = lines(Graph::new(list, BTreeMap::new()));
        assert_eq!(edges.len(), 200 + 199);
        assert_eq!(order[200], "weight.old-000");
    }

    #[test]
    fn the_order_holds_when_the_action_that_carried_it_is_excluded() {
        let mut world = World::new(&["spare"]);
        let mut list: Vec<_> = (0..65).map(|n| set(&format!("new-{n:03}"), 0, 1)).collect();
        list.extend((0..65).map(|n| set(&format!("old-{n:03}"), 1, 0)));
        for action in &list {
            world.storage(action.change.storage().expect("of one storage").as_str(), 1);
        }
        let selected = |target: &[&str], exclude: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            let options = Options { target: own(target), exclude: own(exclude), ..Options::default() };
            let mut graph = Graph::new(list.clone(), BTreeMap::new());
            let selection = Selection::new(&world.desired, &world.state, &options).expect("named");
            graph.select(&selection, &world.observed.gitlab.weights);
            lines(graph)
        };
        let (order, edges) = selected(&[], &["weight.old-000"]);
        assert_eq!((order.len(), order[65].as_str()), (129, "weight.old-001"));
        assert_eq!(edges.len(), 65 + 63);
        assert!(edges.contains(&"weight.new-064 -> weight.old-001".to_owned()));
        // A target brings the rises that its zero needs, and no other zero.
        let (order, _) = selected(&["weight.old-007"], &[]);
        assert_eq!((order.len(), order[65].as_str()), (66, "weight.old-007"));
    }

    #[test]
    fn a_cycle_is_told_with_its_members() {
        let mut graph = Graph::new(vec![prove("a"), prove("b"), prove("c")], BTreeMap::new());
        let nodes: Vec<_> = graph.graph.node_indices().collect();
        graph.graph.add_edge(nodes[0], nodes[1], Link::order(""));
        graph.graph.add_edge(nodes[1], nodes[0], Link::order(""));
        let error = graph.order().expect_err("a cycle");
        assert_eq!(error.detail, "None of these could ever start: drain.a, drain.b.");
    }
}
