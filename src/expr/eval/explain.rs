//! What an evaluation's diagnostics say: the smallest node at fault, and the values of the names in it.

use std::cell::Cell;

use super::{Env, FUEL, Fault, Names};
use crate::diag::{Diagnostic, SENSITIVE};
use crate::expr::Value;
use crate::expr::tree::{Kind, Node, StepKind};

impl Env<'_> {
    /// Begins a diagnostic about a node, with the values of the names that it holds.
    pub(crate) fn fault(&self, node: &Node, code: &'static str, summary: &str) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(code, summary).at(node.span);
        self.show_values(node, &mut diagnostic);
        diagnostic
    }

    /// The diagnostic for a value of the wrong type.
    pub(crate) fn wrong_type(&self, node: &Node, expected: &str, found: &Value) -> Fault {
        self.fault(node, "expr/wrong-type", "Wrong type")
            .detail(format!("Expected {expected}; this is {}.", found.kind()))
            .into()
    }

    /// Adds the values of the names in a node, each once, at most eight; sensitive ones are named but not shown.
    fn show_values(&self, node: &Node, diagnostic: &mut Diagnostic) {
        let mut paths = Vec::new();
        collect_paths(node, &mut paths);
        for path in paths {
            if diagnostic.values.len() == 8 {
                break;
            }
            let (name, root, attribute) = describe(path);
            if diagnostic.values.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if self.is_free(root) && self.names.is_sensitive(root, attribute) {
                diagnostic.values.push((name, SENSITIVE.to_owned()));
            } else if let Ok(value) = self.value(path) {
                diagnostic.values.push((name, format!("is {}", value.summary())));
            }
        }
    }
}

/// Adds to a diagnostic what the names in an expression are.
pub fn explain(node: &Node, names: &dyn Names, diagnostic: &mut Diagnostic) {
    let fuel = Cell::new(FUEL);
    Env { names, bound: None, depth: 0, fuel: &fuel }.show_values(node, diagnostic);
}

/// Finds names and paths without computed indexes, in the order they are written, but not inside `for`.
fn collect_paths<'a>(node: &'a Node, found: &mut Vec<&'a Node>) {
    match &node.kind {
        Kind::Name(_) => found.push(node),
        Kind::Path(base, steps) => {
            let plain = steps.iter().all(|s| match &s.kind {
                StepKind::Attribute(_) => true,
                StepKind::Index(index) => matches!(index.kind, Kind::Literal(_)),
                StepKind::FullSplat | StepKind::AttributeSplat => false,
            });
            if plain && matches!(base.kind, Kind::Name(_)) {
                found.push(node);
            } else {
                collect_paths(base, found);
                for step in steps {
                    if let StepKind::Index(index) = &step.kind {
                        collect_paths(index, found);
                    }
                }
            }
        }
        Kind::Unary(_, inner) => collect_paths(inner, found),
        Kind::Binary(_, a, b) => {
            collect_paths(a, found);
            collect_paths(b, found);
        }
        Kind::Call(call) => call.arguments.iter().for_each(|a| collect_paths(a, found)),
        _ => {}
    }
}

/// The path as it is written, its root and the root's attribute.
fn describe(node: &Node) -> (String, &str, Option<&str>) {
    match &node.kind {
        Kind::Name(name) => (name.clone(), name, None),
        Kind::Path(base, steps) => {
            let (mut text, root, _) = describe(base);
            let mut first = None;
            for (i, step) in steps.iter().enumerate() {
                match &step.kind {
                    StepKind::Attribute(name) => {
                        text.push('.');
                        text.push_str(name);
                        if i == 0 {
                            first = Some(name.as_str());
                        }
                    }
                    StepKind::Index(Node { kind: Kind::Literal(value), .. }) => {
                        text.push('[');
                        text.push_str(&value.short(40));
                        text.push(']');
                    }
                    _ => text.push_str("[…]"),
                }
            }
            (text, root, first)
        }
        _ => (String::new(), "", None),
    }
}
