//! Predicates: a `where`, compiled once, asked for every repository. The common forms (comparisons of a field with a
//! constant, `startswith` and its kin, membership, `&&`, `||`, `!`) are asked without any allocation; the rest goes
//! through the evaluator.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::Offset;
use regex::Regex;

use super::check::{Shape, check, mirrored, mistyped};
use super::eval::{Fault, Names, evaluate};
use super::fold::{REPOSITORY, fold};
use super::functions::{Time, pattern, print_time};
use super::operators::holds;
use super::tree::{Binary, Call, Kind, Node, Unary};
use super::{Number, Value};
use crate::diag::{SourceId, Span};

/// An answer that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be answered.
    Unknown,
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

/// A field of `repository`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `project`, `snippet` or `group_wiki`.
    Kind,
    /// Full path in GitLab.
    Path,
    /// GitLab's id within the kind.
    Id,
    /// Bytes, repository and wiki.
    Size,
    /// The storage it is on.
    Storage,
    /// Read-only in GitLab.
    Archived,
    /// The network of forks it belongs to.
    ForkNetwork,
    /// When it last changed.
    LastActivity,
    /// When it was made.
    Created,
}

impl Field {
    /// All fields by the name they have in `where`.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("kind", Self::Kind),
        ("path", Self::Path),
        ("id", Self::Id),
        ("size", Self::Size),
        ("storage", Self::Storage),
        ("archived", Self::Archived),
        ("fork_network", Self::ForkNetwork),
        ("last_activity", Self::LastActivity),
        ("created", Self::Created),
    ];

    /// Finds a field by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }
}

/// A field's value, borrowed from the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// The kind lacks it, or it was not read.
    Unknown,
    /// A bool.
    Bool(bool),
    /// A whole number.
    Integer(u64),
    /// A text.
    Text(&'a str),
    /// Seconds since 1970; its text form is RFC 3339.
    Time(i64),
}

/// One row that a predicate is asked about.
pub trait Row {
    /// Returns a field's value.
    fn field(&self, field: Field) -> FieldValue<'_>;
}

/// A `where`, compiled once, asked for every repository.
#[derive(Debug, Clone)]
pub struct Predicate {
    node: Node,
    test: Arc<Test>,
    quiet: bool,
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

#[derive(Debug)]
enum Test {
    Constant(bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Flag(Field),
    Number(Field, Binary, Number),
    Text(Field, Match, String),
    OneOf(Field, BTreeSet<String>),
    Pattern(Field, Regex),
    /// `timecmp(field, time)`, the time in nanoseconds since 1970, compared with a constant.
    Time(Field, i128, Binary, i128),
    General(Node),
}

#[derive(Debug, Clone, Copy)]
enum Match {
    Equal,
    NotEqual,
    Starts,
    Ends,
    Contains,
}

impl Predicate {
    /// The predicate that holds for everything.
    pub fn always() -> Self {
        let nowhere = Span { source: SourceId(u32::MAX), start: 0, end: 0 };
        Self {
            node: Node::new(Kind::Literal(Value::Bool(true)), nowhere),
            test: Arc::new(Test::Constant(true)),
            quiet: false,
        }
    }

    /// What stands for a predicate that is in error, which has been told: nothing is known of what it selects.
    pub fn undecided() -> Self {
        let nowhere = Span { source: SourceId(u32::MAX), start: 0, end: 0 };
        let node = Node::new(Kind::Literal(Value::Unknown), nowhere);
        Self { test: Arc::new(Test::General(node.clone())), node, quiet: false }
    }

    /// Folds everything but `repository.*`, checks the types and chooses the fast forms.
    ///
    /// # Errors
    /// What cannot be evaluated, unknown fields, wrong types: anything that a row could not mend.
    pub fn compile(node: &Node, names: &dyn Names) -> Result<Self, Fault> {
        let node = fold(node, names, REPOSITORY)?;
        const EXPECTED: &str = "true or false for each repository";
        match check(&node, &[])? {
            Shape::Any | Shape::Bool => {}
            other => return Err(mistyped(&node, EXPECTED, other.describe())),
        }
        if let Kind::Literal(value) = &node.kind
            && value.as_bool().is_none()
        {
            return Err(mistyped(&node, EXPECTED, value.kind()));
        }
        let test = Arc::new(compile(&node));
        Ok(Self { node, test, quiet: false })
    }

    /// A sensitive value takes part: what goes wrong is told without details.
    #[must_use]
    pub fn hushed(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// The answer, when it does not depend on the row.
    pub fn as_constant(&self) -> Option<bool> {
        self.test.constant()
    }

    /// Visits the texts that a field is compared with, each with its place; none of what must not be shown.
    pub fn compared(&self, visit: &mut dyn FnMut(Field, &str, Span)) {
        if !self.quiet {
            compared(&self.node, visit);
        }
    }

    /// Visits the comparisons that no whole number from 0 fits, alone or together with those that `&&` puts beside them:
    /// the field's name and the place.
    pub fn impossible(&self, visit: &mut dyn FnMut(&'static str, Span)) {
        impossible(&self.node, &mut BTreeMap::new(), visit);
    }

    /// Asks.
    ///
    /// # Errors
    /// What only a row can show: a pattern that does not match, a division by a field that is 0.
    pub fn test(&self, row: &dyn Row) -> Result<Truth, Fault> {
        self.test.ask(row).map_err(|fault| if self.quiet { fault.hushed().into() } else { fault })
    }
}

/// Visits the texts that a field is compared with where a comparison decides: beside `&&`, `||`, `!` and `? :`.
fn compared(node: &Node, visit: &mut dyn FnMut(Field, &str, Span)) {
    match &node.kind {
        Kind::Unary(_, inner) => compared(inner, visit),
        Kind::Binary(Binary::Equal | Binary::NotEqual, left, right) => match (&left.kind, &right.kind) {
            (Kind::Field(field), Kind::Literal(Value::String(text))) => visit(*field, text, right.span),
            (Kind::Literal(Value::String(text)), Kind::Field(field)) => visit(*field, text, left.span),
            _ => {}
        },
        Kind::Binary(_, left, right) => {
            compared(left, visit);
            compared(right, visit);
        }
        Kind::Conditional(condition, yes, no) => [condition, yes, no].into_iter().for_each(|n| compared(n, visit)),
        Kind::Call(call) if call.name == "contains" => {
            if let [Node { kind: Kind::Literal(list), span }, Node { kind: Kind::Field(field), .. }] =
                call.arguments.as_slice()
            {
                let texts = list.elements().into_iter().flatten().filter_map(Value::as_str);
                texts.for_each(|text| visit(*field, text, *span));
            }
        }
        _ => {}
    }
}

/// What is left of each numeric field, from and to, both included.
type Left = BTreeMap<&'static str, (i128, i128)>;

fn impossible(node: &Node, left: &mut Left, visit: &mut dyn FnMut(&'static str, Span)) {
    match &node.kind {
        Kind::Binary(Binary::And, a, b) => {
            impossible(a, left, visit);
            impossible(b, left, visit);
        }
        Kind::Binary(Binary::Or, a, b) => {
            impossible(a, &mut left.clone(), visit);
            impossible(b, &mut left.clone(), visit);
        }
        Kind::Binary(operator, a, b) => {
            let found = bound(*operator, a, b).or_else(|| bound(mirrored(*operator)?, b, a));
            let Some((name, (from, to))) = found else { return };
            let (low, high) = left.get(name).copied().unwrap_or((0, i128::MAX));
            let now = (low.max(from), high.min(to));
            if now.0 <= now.1 {
                left.insert(name, now);
            } else if low <= high {
                visit(name, node.span);
                // Told once for all that stand beside each other.
                left.insert(name, now);
            }
        }
        _ => {}
    }
}

/// The whole numbers that a comparison of a field with a constant lets through, from and to; of `!=`, and of what is no
/// such comparison, nothing is said.
fn bound(operator: Binary, field: &Node, constant: &Node) -> Option<(&'static str, (i128, i128))> {
    let (Kind::Field(field @ (Field::Id | Field::Size)), Kind::Literal(Value::Number(number))) =
        (&field.kind, &constant.kind)
    else {
        return None;
    };
    let name = if *field == Field::Id { "id" } else { "size" };
    let (floor, whole) = match number.as_int() {
        Some(n) => (n, true),
        None => (number.floor(), false),
    };
    const ALL: (i128, i128) = (i128::MIN, i128::MAX);
    Some((
        name,
        match operator {
            Binary::Less => (ALL.0, if whole { floor.checked_sub(1)? } else { floor }),
            Binary::LessEqual => (ALL.0, floor),
            Binary::Greater => (floor.checked_add(1)?, ALL.1),
            Binary::GreaterEqual => (if whole { floor } else { floor.checked_add(1)? }, ALL.1),
            Binary::Equal if whole => (floor, floor),
            Binary::Equal => (1, 0),
            _ => return None,
        },
    ))
}

impl Test {
    /// The answer that every row gives.
    fn constant(&self) -> Option<bool> {
        match self {
            Self::Constant(truth) => Some(*truth),
            Self::Not(inner) => inner.constant().map(|truth| !truth),
            Self::And(left, right) => match (left.constant(), right.constant()) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), other) | (other, Some(true)) => other,
                (None, None) => None,
            },
            Self::Or(left, right) => match (left.constant(), right.constant()) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), other) | (other, Some(false)) => other,
                (None, None) => None,
            },
            _ => None,
        }
    }

    fn ask(&self, row: &dyn Row) -> Result<Truth, Fault> {
        Ok(match self {
            Self::Constant(truth) => (*truth).into(),
            Self::Not(inner) => match inner.ask(row)? {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            },
            Self::And(left, right) => match left.ask(row)? {
                Truth::False => Truth::False,
                Truth::True => right.ask(row)?,
                Truth::Unknown => match right.ask(row)? {
                    Truth::False => Truth::False,
                    _ => Truth::Unknown,
                },
            },
            Self::Or(left, right) => match left.ask(row)? {
                Truth::True => Truth::True,
                Truth::False => right.ask(row)?,
                Truth::Unknown => match right.ask(row)? {
                    Truth::True => Truth::True,
                    _ => Truth::Unknown,
                },
            },
            Self::Flag(field) => match row.field(*field) {
                FieldValue::Bool(truth) => truth.into(),
                _ => Truth::Unknown,
            },
            Self::Number(field, operator, number) => match row.field(*field) {
                FieldValue::Integer(n) => holds(*operator, Number::Int(n.into()).cmp(number)).into(),
                _ => Truth::Unknown,
            },
            Self::Text(field, how, text) => match row.field(*field) {
                FieldValue::Text(found) => match how {
                    Match::Equal => found == text,
                    Match::NotEqual => found != text,
                    Match::Starts => found.starts_with(text.as_str()),
                    Match::Ends => found.ends_with(text.as_str()),
                    Match::Contains => found.contains(text.as_str()),
                }
                .into(),
                _ => Truth::Unknown,
            },
            Self::OneOf(field, texts) => match row.field(*field) {
                FieldValue::Text(found) => texts.contains(found).into(),
                _ => Truth::Unknown,
            },
            Self::Pattern(field, pattern) => match row.field(*field) {
                FieldValue::Text(found) => pattern.is_match(found).into(),
                _ => Truth::Unknown,
            },
            Self::Time(field, time, operator, number) => match row.field(*field) {
                FieldValue::Time(seconds) => {
                    let order: Ordering = (i128::from(seconds) * 1_000_000_000).cmp(time);
                    holds(*operator, (order as i128).cmp(number)).into()
                }
                _ => Truth::Unknown,
            },
            Self::General(node) => match evaluate(node, &RowNames(row))? {
                Value::Bool(truth) => truth.into(),
                Value::Unknown => Truth::Unknown,
                other => return Err(mistyped(node, "true or false for each repository", other.kind())),
            },
        })
    }
}

/// The names that are left in a folded expression: none but the row's fields.
struct RowNames<'a>(&'a dyn Row);

impl Names for RowNames<'_> {
    fn get(&self, _name: &str) -> Option<&Value> {
        None
    }

    fn roots(&self) -> Vec<String> {
        vec![REPOSITORY.to_owned()]
    }

    fn field(&self, field: Field) -> Value {
        match self.0.field(field) {
            FieldValue::Unknown => Value::Unknown,
            FieldValue::Bool(truth) => truth.into(),
            FieldValue::Integer(number) => number.into(),
            FieldValue::Text(text) => text.into(),
            FieldValue::Time(seconds) => {
                Timestamp::from_second(seconds).map_or(Value::Unknown, |time| print_time(time, Offset::UTC).into())
            }
        }
    }

    fn is_partial(&self) -> bool {
        true
    }
}

/// Chooses the fast form of a folded node, or the evaluator.
fn compile(node: &Node) -> Test {
    fast(node).unwrap_or_else(|| Test::General(node.clone()))
}

fn fast(node: &Node) -> Option<Test> {
    match &node.kind {
        Kind::Literal(value) => value.as_bool().map(Test::Constant),
        Kind::Field(field @ Field::Archived) => Some(Test::Flag(*field)),
        Kind::Unary(Unary::Not, inner) => Some(Test::Not(Box::new(compile(inner)))),
        Kind::Binary(Binary::And, left, right) => Some(Test::And(Box::new(compile(left)), Box::new(compile(right)))),
        Kind::Binary(Binary::Or, left, right) => Some(Test::Or(Box::new(compile(left)), Box::new(compile(right)))),
        Kind::Binary(operator, left, right) => {
            comparison(*operator, left, right).or_else(|| comparison(mirrored(*operator)?, right, left))
        }
        Kind::Call(call) if !call.expand => function(call),
        _ => None,
    }
}

fn comparison(operator: Binary, left: &Node, right: &Node) -> Option<Test> {
    mirrored(operator)?;
    let Kind::Literal(constant) = &right.kind else { return None };
    match (&left.kind, constant) {
        (Kind::Field(field @ (Field::Id | Field::Size)), Value::Number(number)) => {
            Some(Test::Number(*field, operator, *number))
        }
        (Kind::Field(field @ (Field::Kind | Field::Path | Field::Storage)), Value::String(text)) => {
            let how = match operator {
                Binary::Equal => Match::Equal,
                Binary::NotEqual => Match::NotEqual,
                _ => return None,
            };
            Some(Test::Text(*field, how, text.clone()))
        }
        (Kind::Field(field @ Field::Archived), Value::Bool(truth)) => match operator {
            Binary::Equal | Binary::NotEqual if *truth == (operator == Binary::Equal) => Some(Test::Flag(*field)),
            Binary::Equal | Binary::NotEqual => Some(Test::Not(Box::new(Test::Flag(*field)))),
            _ => None,
        },
        (Kind::Call(call), Value::Number(number)) if call.name == "timecmp" && !call.expand => {
            let [Node { kind: Kind::Field(field @ (Field::LastActivity | Field::Created)), .. }, time] =
                call.arguments.as_slice()
            else {
                return None;
            };
            let Kind::Literal(Value::String(time)) = &time.kind else { return None };
            let time = Time::parse_loosely(time).ok()?;
            Some(Test::Time(*field, time.instant(), operator, number.as_int()?))
        }
        _ => None,
    }
}

fn function(call: &Call) -> Option<Test> {
    let arguments: Vec<&Kind> = call.arguments.iter().map(|a| &a.kind).collect();
    let plain = |field: &Field| matches!(field, Field::Kind | Field::Path | Field::Storage);
    match (call.name.as_str(), arguments.as_slice()) {
        (name, [Kind::Field(field), Kind::Literal(Value::String(text))]) if plain(field) => {
            let how = match name {
                "startswith" => Match::Starts,
                "endswith" => Match::Ends,
                "strcontains" => Match::Contains,
                _ => return None,
            };
            Some(Test::Text(*field, how, text.clone()))
        }
        ("contains", [Kind::Literal(list @ (Value::List(_) | Value::Set(_))), Kind::Field(field)]) if plain(field) => {
            // An element that is no text equals no text.
            let texts = list.elements()?.filter_map(Value::as_str).map(str::to_owned).collect();
            Some(Test::OneOf(*field, texts))
        }
        ("can", [Kind::Call(inner)]) if inner.name == "regex" && !inner.expand => match inner.arguments.as_slice() {
            [Node { kind: Kind::Literal(Value::String(text)), .. }, Node { kind: Kind::Field(field), .. }]
                if plain(field) =>
            {
                Some(Test::Pattern(*field, pattern(text).ok()?))
            }
            _ => None,
        },
        _ => None,
    }
}
