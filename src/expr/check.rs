//! Finds in a folded expression what no later value could mend: wrong types, and attributes that are not there.

use std::collections::BTreeMap;

use super::eval::Fault;
use super::functions::{Function, Takes, Time, find, pattern};
use super::tree::{Binary, Call, For, Kind, Node, Step, StepKind, Unary};
use super::{Field, Number, Value};
use crate::diag::{Diagnostic, Span, nearest};

/// What is known of a value before there is one.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Nothing.
    Any,
    /// A bool.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A list or set whose elements are all such.
    List(Box<Self>),
    /// An object whose keys are not known, and whose values are all such.
    Map(Box<Self>),
    /// An object that has these attributes and no others.
    Object(BTreeMap<String, Self>),
}

impl Shape {
    /// With its article, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Bool => "a bool",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Object(_) => "an object",
        }
    }

    /// What a list or object of anything is.
    fn list() -> Self {
        Self::List(Box::new(Self::Any))
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::List(_) | Value::Set(_) => Self::list(),
            Value::Null | Value::Unknown | Value::Object(_) => Self::Any,
        }
    }

    fn of_field(field: Field) -> Self {
        match field {
            Field::Kind | Field::Path | Field::Storage | Field::LastActivity | Field::Created => Self::Text,
            Field::Id | Field::Size => Self::Number,
            Field::Archived => Self::Bool,
            // Rows differ.
            Field::ForkNetwork => Self::Any,
        }
    }
}

/// The shape of what an expression gives. `roots`: the names in it that get their values later.
///
/// # Errors
/// The smallest part that is wrong whatever the values are.
pub(super) fn check(node: &Node, roots: &[(&str, &Shape)]) -> Result<Shape, Fault> {
    let known = roots.iter().map(|(name, shape)| (*name, (*shape).clone())).collect();
    Checker { known }.node(node)
}

/// The diagnostic for a value of another type than is needed.
pub(super) fn mistyped(node: &Node, expected: &str, found: &str) -> Fault {
    Diagnostic::error("expr/wrong-type", "Wrong type")
        .detail(format!("Expected {expected}; this is {found}."))
        .at(node.span)
        .into()
}

/// `a < b` is `b > a`; arithmetic has no mirror.
pub(super) fn mirrored(operator: Binary) -> Option<Binary> {
    Some(match operator {
        Binary::Less => Binary::Greater,
        Binary::LessEqual => Binary::GreaterEqual,
        Binary::Greater => Binary::Less,
        Binary::GreaterEqual => Binary::LessEqual,
        Binary::Equal | Binary::NotEqual => operator,
        _ => return None,
    })
}

struct Checker<'n> {
    /// The names that are known, the innermost last.
    known: Vec<(&'n str, Shape)>,
}

impl<'n> Checker<'n> {
    fn node(&mut self, node: &'n Node) -> Result<Shape, Fault> {
        Ok(match &node.kind {
            Kind::Literal(value) => Shape::of(value),
            Kind::Field(field) => Shape::of_field(*field),
            Kind::Name(name) => {
                self.known.iter().rev().find(|(known, _)| known == name).map_or(Shape::Any, |(_, shape)| shape.clone())
            }
            Kind::Template(parts) => {
                for part in parts {
                    let shape = self.node(part)?;
                    if matches!(shape, Shape::List(_) | Shape::Map(_) | Shape::Object(_)) {
                        let expected = "a string, number or bool to put into the text";
                        return Err(mistyped(part, expected, shape.describe()));
                    }
                }
                Shape::Text
            }
            Kind::Join(inner) => {
                self.node(inner)?;
                Shape::Text
            }
            Kind::List(items) => {
                items.iter().try_for_each(|item| self.node(item).map(drop))?;
                Shape::list()
            }
            Kind::Object(entries) => {
                for (key, value) in entries {
                    self.node(key)?;
                    self.node(value)?;
                }
                Shape::Any
            }
            Kind::Path(base, steps) => {
                let shape = self.node(base)?;
                self.steps(shape, base.span, steps)?
            }
            Kind::Unary(operator, inner) => {
                let (wanted, sign) = match operator {
                    Unary::Not => (Shape::Bool, "!"),
                    Unary::Negate => (Shape::Number, "-"),
                };
                self.must(inner, &wanted, sign)?;
                wanted
            }
            Kind::Binary(Binary::Equal | Binary::NotEqual, left, right) => self.equal(node, left, right)?,
            Kind::Binary(operator, left, right) => {
                let logic = matches!(operator, Binary::And | Binary::Or);
                let wanted = if logic { Shape::Bool } else { Shape::Number };
                self.must(left, &wanted, operator.as_str())?;
                self.must(right, &wanted, operator.as_str())?;
                if mirrored(*operator).is_some() || logic { Shape::Bool } else { Shape::Number }
            }
            Kind::Conditional(condition, yes, no) => {
                self.must(condition, &Shape::Bool, "?")?;
                let (yes, no) = (self.node(yes)?, self.node(no)?);
                if yes == no { yes } else { Shape::Any }
            }
            Kind::For(each) => self.each(each)?,
            Kind::Call(call) => self.call(call)?,
            Kind::Fail(_) => Shape::Any,
        })
    }

    fn must(&mut self, node: &'n Node, wanted: &Shape, beside: &str) -> Result<(), Fault> {
        match self.node(node)? {
            Shape::Any => Ok(()),
            found if found == *wanted || *wanted == Shape::Number && writes_number(node) => Ok(()),
            found => Err(mistyped(node, &format!("{} beside `{beside}`", wanted.describe()), found.describe())),
        }
    }

    fn equal(&mut self, node: &Node, left: &'n Node, right: &'n Node) -> Result<Shape, Fault> {
        let (a, b) = (self.node(left)?, self.node(right)?);
        if a != Shape::Any && b != Shape::Any && a.describe() != b.describe() {
            let detail =
                format!("The left side is {}, the right side {}: they are never equal.", a.describe(), b.describe());
            return Err(Diagnostic::error("expr/wrong-type", "Wrong type").detail(detail).at(node.span).into());
        }
        Ok(Shape::Bool)
    }

    fn steps(&mut self, shape: Shape, span: Span, steps: &'n [Step]) -> Result<Shape, Fault> {
        let Some((step, rest)) = steps.split_first() else { return Ok(shape) };
        let whole = Span { end: step.span.end, ..span };
        let name = match &step.kind {
            StepKind::Attribute(name) => Some(name.as_str()),
            StepKind::Index(Node { kind: Kind::Literal(Value::String(name)), .. }) => Some(name.as_str()),
            StepKind::Index(index) => {
                self.node(index)?;
                None
            }
            StepKind::FullSplat | StepKind::AttributeSplat => return Ok(Shape::Any),
        };
        let next = match (shape, name) {
            (Shape::Any, _) => Shape::Any,
            (Shape::Object(attributes), Some(name)) => match attributes.get(name) {
                Some(shape) => shape.clone(),
                None => return Err(missing(name, &attributes, whole)),
            },
            (Shape::Object(_), None) => Shape::Any,
            (Shape::Map(inner), _) | (Shape::List(inner), None) => *inner,
            (other, _) => {
                return Err(Diagnostic::error("expr/no-parts", "Value without such a part")
                    .detail(format!("This is {}, and what follows cannot be taken of it.", other.describe()))
                    .at(whole)
                    .into());
            }
        };
        self.steps(next, whole, rest)
    }

    fn each(&mut self, each: &'n For) -> Result<Shape, Fault> {
        let (key, value) = match self.node(&each.collection)? {
            Shape::List(inner) => (Shape::Any, *inner),
            Shape::Map(inner) => (Shape::Text, *inner),
            Shape::Any | Shape::Object(_) => (Shape::Any, Shape::Any),
            other => return Err(mistyped(&each.collection, "a list, set or object to go over", other.describe())),
        };
        let depth = self.known.len();
        self.known.extend(each.key.as_deref().map(|name| (name, key)));
        self.known.push((&each.value, value));
        let result = self.each_element(each);
        self.known.truncate(depth);
        result
    }

    fn each_element(&mut self, each: &'n For) -> Result<Shape, Fault> {
        if let Some(condition) = &each.condition {
            self.must(condition, &Shape::Bool, "if")?;
        }
        if let Some(key) = &each.result_key {
            self.node(key)?;
        }
        let result = Box::new(self.node(&each.result)?);
        Ok(match (&each.result_key, each.grouping) {
            (None, _) => Shape::List(result),
            (Some(_), false) => Shape::Map(result),
            (Some(_), true) => Shape::Map(Box::new(Shape::List(result))),
        })
    }

    fn call(&mut self, call: &'n Call) -> Result<Shape, Fault> {
        match call.name.as_str() {
            "can" => return Ok(Shape::Bool),
            "try" => return Ok(Shape::Any),
            _ => {}
        }
        let function = find(call)?;
        let mut shapes = Vec::with_capacity(call.arguments.len());
        for (i, argument) in call.arguments.iter().enumerate() {
            let shape = self.node(argument)?;
            if !call.expand {
                fits(function, call, i, argument, &shape)?;
            }
            shapes.push(shape);
        }
        constants_fit(call)?;
        Ok(result(&call.name, shapes.first()))
    }
}

/// Checks an argument by the table of functions.
fn fits(function: &Function, call: &Call, i: usize, argument: &Node, shape: &Shape) -> Result<(), Fault> {
    let Some((_, takes)) = function.parameters.get(i).or(function.parameters.last()) else { return Ok(()) };
    let fits = match (takes, shape) {
        (_, Shape::Any) | (Takes::Any | Takes::Some, _) => true,
        // A number or bool is taken for the string that writes it.
        (Takes::Text, shape) => matches!(shape, Shape::Bool | Shape::Number | Shape::Text),
        (Takes::Number | Takes::Whole, shape) => *shape == Shape::Number || writes_number(argument),
        (Takes::Object, shape) => matches!(shape, Shape::Map(_) | Shape::Object(_)),
        (Takes::List | Takes::Uniform | Takes::Texts | Takes::Numbers | Takes::Bools, shape) => {
            matches!(shape, Shape::List(_))
        }
    };
    if fits {
        return Ok(());
    }
    Err(mistyped(argument, &format!("{} in `{}`", takes.describe(), call.name), shape.describe()))
}

/// What a function gives, as far as it is known before.
fn result(name: &str, first: Option<&Shape>) -> Shape {
    match name {
        "startswith" | "endswith" | "strcontains" | "contains" | "alltrue" | "anytrue" | "tobool" | "fileexists" => {
            Shape::Bool
        }
        "length" | "timecmp" | "abs" | "ceil" | "floor" | "max" | "min" | "pow" | "tonumber" | "sum" | "signum"
        | "parseint" => Shape::Number,
        "lower" | "upper" | "substr" | "trimprefix" | "trimsuffix" | "trimspace" | "replace" | "tostring"
        | "format" | "join" | "timeadd" | "formatdate" | "title" | "trim" | "chomp" => Shape::Text,
        "keys" | "split" | "sort" => Shape::List(Box::new(Shape::Text)),
        "values" => match first {
            Some(Shape::Map(inner)) => Shape::List(inner.clone()),
            _ => Shape::list(),
        },
        "toset" | "tolist" | "reverse" | "distinct" | "slice" => match first {
            Some(list @ Shape::List(_)) => list.clone(),
            _ => Shape::list(),
        },
        "concat" | "flatten" | "regexall" | "range" | "setunion" | "setintersection" | "setsubtract" | "compact" => {
            Shape::list()
        }
        _ => Shape::Any,
    }
}

/// Whether a constant string is taken for the number that it writes.
fn writes_number(node: &Node) -> bool {
    matches!(&node.kind, Kind::Literal(Value::String(text)) if Number::parse(text).is_some())
}

/// Finds constant arguments that no value could mend: times and patterns.
fn constants_fit(call: &Call) -> Result<(), Fault> {
    for (i, argument) in call.arguments.iter().enumerate() {
        let Kind::Literal(Value::String(text)) = &argument.kind else { continue };
        let outcome = match (call.name.as_str(), i) {
            ("timecmp", _) => Time::parse_loosely(text).map(|_| ()),
            ("timeadd", 0) | ("formatdate", 1) => Time::parse(text).map(|_| ()),
            ("regex" | "regexall", 0) => pattern(text).map(|_| ()),
            _ => Ok(()),
        };
        if let Err(message) = outcome {
            let diagnostic = Diagnostic::error("expr/call", "Function cannot give a value");
            return Err(diagnostic.detail(format!("`{}`: {message}", call.name)).at(argument.span).into());
        }
    }
    Ok(())
}

fn missing(name: &str, attributes: &BTreeMap<String, Shape>, span: Span) -> Fault {
    let known: Vec<&str> = attributes.keys().map(String::as_str).collect();
    let mut diagnostic = Diagnostic::error("expr/no-attribute", "No such attribute")
        .detail(format!("There is no {name:?} here; there are {}.", known.join(", ")))
        .at(span);
    diagnostic.help = nearest(name, known.iter().copied()).map(|near| format!("Did you mean {near:?}?"));
    diagnostic.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::SourceId;

    #[test]
    fn a_literal_list_is_no_number_and_an_object_may_be_anything() {
        let nowhere = Span { source: SourceId(0), start: 0, end: 0 };
        let of = |value: Value| check(&Node::new(Kind::Literal(value), nowhere), &[]).expect("fine");
        assert_eq!(of(Value::list([Value::Null])), Shape::list());
        assert_eq!(of(Value::object::<String>([])), Shape::Any);
        assert_eq!(of(Value::from(1u64)), Shape::Number);
    }
}
