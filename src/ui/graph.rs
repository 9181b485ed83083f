//! A plan's graph, with the reason on every edge: for Graphviz and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::text::escape;
use super::words;
use crate::model::Address;
use crate::plan::{Action, Change, Edge, Plan};

/// A plan's graph for Graphviz: `tranship graph | dot -Tsvg`.
pub fn graph_dot(plan: &Plan) -> String {
    let mut out = String::from("digraph plan {\n  rankdir = \"LR\";\n  node [shape = \"box\"];\n");
    for action in &plan.actions {
        let address = action.address.to_string();
        let label = format!("{address}\n{}", words::action(action));
        let _ = writeln!(out, "  {} [label = {}];", quoted(&address), quoted(&label));
    }
    for Edge { from, to, reason } in &plan.edges {
        if let (Some(from), Some(to)) = (plan.actions.get(from.0 as usize), plan.actions.get(to.0 as usize)) {
            let (from, to) = (quoted(&from.address.to_string()), quoted(&to.address.to_string()));
            let _ = writeln!(out, "  {from} -> {to} [label = {}];", quoted(reason));
        }
    }
    out.push_str("}\n");
    out
}

/// A string of the DOT language: quotes and backslashes escaped, line breaks as `\n`, nothing that draws on a screen.
fn quoted(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|l| escape(l).replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}

#[derive(Serialize)]
struct Graph<'a> {
    format_version: &'static str,
    nodes: Vec<Node<'a>>,
    edges: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    id: usize,
    address: &'a Address,
    what: String,
    reason: &'a str,
    change: &'a Change,
}

#[derive(Serialize)]
struct Line<'a> {
    from: &'a Address,
    to: &'a Address,
    reason: &'a str,
}

/// A plan's graph as JSON: `nodes` in topological order, `edges` by address.
pub fn graph_json(plan: &Plan) -> String {
    let node = |(id, action)| {
        let Action { address, change, reason }: &Action = action;
        Node { id, address, what: words::action(action), reason, change }
    };
    let edges = plan.edges.iter().filter_map(|Edge { from, to, reason }| {
        let from = &plan.actions.get(from.0 as usize)?.address;
        let to = &plan.actions.get(to.0 as usize)?.address;
        Some(Line { from, to, reason })
    });
    super::pretty(&Graph {
        format_version: "1.0",
        nodes: plan.actions.iter().enumerate().map(node).collect(),
        edges: edges.collect(),
    })
}
