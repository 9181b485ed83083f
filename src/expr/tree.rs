//! The expression tree: what a parser makes and the evaluator walks. Every node has its span.

use super::{Field, Part, Value};
use crate::diag::{Diagnostic, Span};

/// One node with the text that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A constant.
    Literal(Value),
    /// A text with parts to fill in; the result is always a string.
    Template(Vec<Node>),
    /// A template's repetition: a `For` whose parts are joined without a separator.
    Join(Box<Node>),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{ k = v }`; keys are expressions, a bare word is a literal.
    Object(Vec<(Node, Node)>),
    /// A root name: `var`, or a variable of a surrounding `for`.
    Name(String),
    /// A base followed by `.name`, `[index]` and splats.
    Path(Box<Node>, Vec<Step>),
    /// `-a`, `!a`.
    Unary(Unary, Box<Node>),
    /// `a + b`.
    Binary(Binary, Box<Node>, Box<Node>),
    /// `a ? b : c`.
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    /// `[for …]`, `{for …}`.
    For(Box<For>),
    /// `name(arguments)`.
    Call(Call),
    /// A field of the row that a predicate is asked about.
    Field(Field),
    /// A part that could not be folded; an error when it is reached.
    Fail(Box<Diagnostic>),
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// Where it stands.
    pub span: Span,
}

/// What a step of a path does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// `.name`.
    Attribute(String),
    /// `[expression]`, `.0`.
    Index(Node),
    /// `[*]`: what follows applies to each element.
    FullSplat,
    /// `.*`: the attributes that follow apply to each element.
    AttributeSplat,
}

/// An operator before its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// `-`
    Negate,
    /// `!`
    Not,
}

/// An operator between its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `&&`
    And,
    /// `||`
    Or,
}

impl Binary {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::And => "&&",
            Self::Or => "||",
        }
    }
}

/// A `for` expression.
#[derive(Debug, Clone, PartialEq)]
pub struct For {
    /// The name of the key or index, if it is wanted.
    pub key: Option<String>,
    /// The name of the element.
    pub value: String,
    /// What it goes over.
    pub collection: Node,
    /// Present in the object form.
    pub result_key: Option<Node>,
    /// What each element becomes.
    pub result: Node,
    /// `...`: values of equal keys are collected in a list.
    pub grouping: bool,
    /// `if …`.
    pub condition: Option<Node>,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Where its name stands.
    pub name_span: Span,
    /// The arguments.
    pub arguments: Vec<Node>,
    /// `...` after the last: its elements are arguments of their own.
    pub expand: bool,
}

impl Node {
    /// Makes a node.
    pub fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span }
    }

    /// The expression that writes a part of this one's value, as far as it is written out; and what is left of the way.
    pub fn part<'n, 'p>(&'n self, path: &'p [Part]) -> (&'n Self, &'p [Part]) {
        let Some((step, rest)) = path.split_first() else { return (self, path) };
        let next = match (&self.kind, step) {
            (Kind::List(items), Part::Element(index)) => items.get(*index),
            (Kind::Object(entries), Part::Key(key)) => entries
                .iter()
                .find(|(k, _)| matches!(&k.kind, Kind::Literal(value) if value.as_str() == Some(key)))
                .map(|(_, value)| value),
            _ => None,
        };
        next.map_or((self, path), |next| next.part(rest))
    }

    /// Calls `visit` for each root name that is not bound by a surrounding `for`, with the attribute that follows
    /// it (`var.x` gives `var`, `x`) and the span of both.
    pub fn free_names<'a>(&'a self, visit: &mut dyn FnMut(&'a str, Option<&'a str>, Span)) {
        self.walk_names(&mut Vec::new(), visit);
    }

    fn walk_names<'a>(&'a self, bound: &mut Vec<&'a str>, visit: &mut dyn FnMut(&'a str, Option<&'a str>, Span)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Field(_) | Kind::Fail(_) => {}
            Kind::Name(name) => {
                if !bound.contains(&name.as_str()) {
                    visit(name, None, self.span);
                }
            }
            Kind::Template(parts) | Kind::List(parts) => parts.iter().for_each(|p| p.walk_names(bound, visit)),
            Kind::Object(entries) => {
                for (key, value) in entries {
                    key.walk_names(bound, visit);
                    value.walk_names(bound, visit);
                }
            }
            Kind::Path(base, steps) => {
                match (&base.kind, steps.first()) {
                    (Kind::Name(name), Some(Step { kind: StepKind::Attribute(attribute), span })) => {
                        if !bound.contains(&name.as_str()) {
                            visit(name, Some(attribute), Span { end: span.end, ..base.span });
                        }
                    }
                    _ => base.walk_names(bound, visit),
                }
                for step in steps {
                    if let StepKind::Index(index) = &step.kind {
                        index.walk_names(bound, visit);
                    }
                }
            }
            Kind::Unary(_, inner) | Kind::Join(inner) => inner.walk_names(bound, visit),
            Kind::Binary(_, left, right) => {
                left.walk_names(bound, visit);
                right.walk_names(bound, visit);
            }
            Kind::Conditional(condition, yes, no) => {
                condition.walk_names(bound, visit);
                yes.walk_names(bound, visit);
                no.walk_names(bound, visit);
            }
            Kind::For(each) => {
                each.collection.walk_names(bound, visit);
                let depth = bound.len();
                bound.extend(each.key.as_deref());
                bound.push(&each.value);
                for part in each.result_key.iter().chain([&each.result]).chain(&each.condition) {
                    part.walk_names(bound, visit);
                }
                bound.truncate(depth);
            }
            Kind::Call(call) => call.arguments.iter().for_each(|a| a.walk_names(bound, visit)),
        }
    }
}
