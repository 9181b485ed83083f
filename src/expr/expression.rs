//! An expression that is evaluated later than the configuration: a policy's condition over the finished plan.

use std::collections::BTreeMap;

use super::Value;
use super::check::{Shape, check, mistyped};
use super::eval::{self, Fault, Names};
use super::fold::fold;
use super::tree::{Kind, Node};
use crate::diag::{SourceId, Span};

/// An expression whose only free name is one root (`plan`); everything else in it is folded to constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// Where it stands.
    pub span: Option<Span>,
    node: Node,
    quiet: bool,
}

impl Expression {
    /// Folds everything but the root `free`.
    ///
    /// # Errors
    /// What cannot be evaluated in the parts that do not depend on it.
    pub fn compile(node: &Node, names: &dyn Names, free: &str) -> Result<Self, Fault> {
        Ok(Self { span: Some(node.span), node: fold(node, names, free)?, quiet: false })
    }

    /// A sensitive value takes part: what goes wrong is told without details.
    #[must_use]
    pub fn hushed(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Makes an expression that is always this value.
    pub fn constant(value: impl Into<Value>) -> Self {
        let nowhere = Span { source: SourceId(u32::MAX), start: 0, end: 0 };
        Self { span: None, node: Node::new(Kind::Literal(value.into()), nowhere), quiet: false }
    }

    /// The value, when it does not depend on the free root.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.node.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Checks that it comes to true or false, `root` being of that shape.
    ///
    /// # Errors
    /// The smallest part that is wrong whatever the values are: an attribute that is not there, a wrong type.
    pub fn must_decide(&self, root: &str, shape: &Shape) -> Result<(), Fault> {
        match check(&self.node, &[(root, shape)])? {
            Shape::Any | Shape::Bool => Ok(()),
            other => Err(mistyped(&self.node, "true or false", other.describe())),
        }
    }

    /// Evaluates with the free roots given.
    ///
    /// # Errors
    /// The smallest part at fault.
    pub fn evaluate(&self, roots: &BTreeMap<String, Value>) -> Result<Value, Fault> {
        eval::evaluate(&self.node, roots).map_err(|fault| if self.quiet { fault.hushed().into() } else { fault })
    }
}
