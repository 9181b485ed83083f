//! The functions of the language: one table with name, parameters and meaning, Terraform's names throughout. Pure.
//! The reference is generated from the table, and calls are checked by it before a function runs.

mod convert;
mod csv;
mod encodings;
mod files;
mod format;
mod lists;
mod maps;
mod numbers;
mod re2;
mod regexes;
mod sets;
mod strings;
mod times;
mod yaml;

pub(crate) use regexes::pattern;
pub use times::duration as parse_duration;
pub(crate) use times::{Time, print as print_time};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::eval::{Env, Fault};
use super::tree::{Call, Kind, Node};
use super::types::{Type, convert};
use super::{Number, Value};
use crate::diag::{Diagnostic, nearest};

/// What a parameter takes. Strings that write a number or a bool are taken for one, and those for strings, as in
/// Terraform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Anything, null too.
    Any,
    /// Anything but null.
    Some,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Whole,
    /// A list or set, as it is.
    List,
    /// A list or set whose elements are brought to one type.
    Uniform,
    /// A list or set of strings.
    Texts,
    /// A list or set of numbers.
    Numbers,
    /// A list or set of bools.
    Bools,
    /// A map or object.
    Object,
}

impl Takes {
    /// With its article, for messages and the reference.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Some => "any value but null",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::List => "a list or set",
            Self::Uniform => "a list or set whose elements have one type",
            Self::Texts => "a list or set of strings",
            Self::Numbers => "a list or set of numbers",
            Self::Bools => "a list or set of bools",
            Self::Object => "a map or object",
        }
    }

    /// Brings a value to what is taken.
    ///
    /// # Errors
    /// What it is instead, and the element at fault, from 0.
    fn take(self, value: &mut Value) -> Result<(), (Option<usize>, String)> {
        let found = |value: &Value| (None, format!("this is {}", value.kind()));
        let to = |value: &mut Value, wanted: Type| match convert(value, &wanted) {
            Ok(converted) => {
                *value = converted;
                Ok(())
            }
            Err(_) => Err(describe(value)),
        };
        match (self, &*value) {
            (Self::Any, _) => Ok(()),
            (_, Value::Null) => Err(found(value)),
            (Self::Some, _) => Ok(()),
            (Self::Text, _) => to(value, Type::String).map_err(|found| (None, found)),
            (Self::Number, _) => to(value, Type::Number).map_err(|found| (None, found)),
            (Self::Whole, _) => {
                to(value, Type::Number).map_err(|found| (None, found))?;
                if value.as_int().is_none() {
                    return Err((None, format!("this is {value}")));
                }
                Ok(())
            }
            (Self::List, Value::List(_) | Value::Set(_)) | (Self::Object, Value::Object(_)) => Ok(()),
            (Self::Uniform, Value::List(_) | Value::Set(_)) => {
                let wanted = match value {
                    Value::Set(_) => Type::Set(Box::new(Type::Any)),
                    _ => Type::List(Box::new(Type::Any)),
                };
                match convert(value, &wanted) {
                    Ok(converted) => *value = converted,
                    Err(mismatch) => {
                        let found = mismatch.message.split_once("; ").map_or("they differ", |(_, found)| found);
                        return Err((None, found.to_owned()));
                    }
                }
                Ok(())
            }
            (Self::Texts | Self::Numbers | Self::Bools, Value::List(_) | Value::Set(_)) => {
                let inner = match self {
                    Self::Texts => Type::String,
                    Self::Numbers => Type::Number,
                    _ => Type::Bool,
                };
                let items: Vec<&Value> = value.elements().into_iter().flatten().collect();
                if let Some((i, wrong)) = items.iter().enumerate().find(|(_, v)| convert(v, &inner).is_err()) {
                    return Err((
                        Some(i),
                        format!("this element is {}", describe(wrong).trim_start_matches("this is ")),
                    ));
                }
                to(value, Type::List(Box::new(inner))).map_err(|found| (None, found))
            }
            _ => Err(found(value)),
        }
    }
}

/// What a value is, for someone who expected another kind of plain value.
fn describe(value: &Value) -> String {
    match value {
        Value::String(_) => "this is a string that does not write one".to_owned(),
        other => format!("this is {}", other.kind()),
    }
}

/// One function.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Name and kind of each parameter.
    pub parameters: &'static [(&'static str, Takes)],
    /// How many of the last parameters may be left out.
    pub optional: usize,
    /// The last parameter may stand any number of times, also none.
    pub variadic: bool,
    /// A text may come to an element for each of its characters.
    bulky: bool,
    /// What it gives, in one sentence.
    pub doc: &'static str,
    run: Run,
}

type Run = fn(&mut Arguments<'_>) -> Result<Value, Wrong>;

/// Why a function gave no value.
pub(crate) struct Wrong {
    /// Which argument is at fault, from 0; `None`: the call.
    argument: Option<usize>,
    /// Which element of that argument, from 0, where it is a list.
    element: Option<usize>,
    message: String,
}

impl Wrong {
    fn argument(argument: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), element: None, message: message.into() }
    }

    fn element(argument: usize, element: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), element: Some(element), message: message.into() }
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { argument: None, element: None, message }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        Self { argument: None, element: None, message: message.to_owned() }
    }
}

/// The checked arguments of a call.
pub(crate) struct Arguments<'a> {
    values: &'a [Value],
    env: &'a Env<'a>,
    node: &'a Node,
}

impl<'a> Arguments<'a> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn any(&self, i: usize) -> &'a Value {
        self.values.get(i).unwrap_or(&Value::Null)
    }

    fn text(&self, i: usize) -> &'a str {
        self.any(i).as_str().unwrap_or("")
    }

    fn number(&self, i: usize) -> Number {
        match self.any(i) {
            Value::Number(number) => *number,
            _ => Number::Int(0),
        }
    }

    fn whole(&self, i: usize) -> i128 {
        self.any(i).as_int().unwrap_or(0)
    }

    fn items(&self, i: usize) -> Vec<&'a Value> {
        self.any(i).elements().into_iter().flatten().collect()
    }

    fn entries(&self, i: usize) -> &'a BTreeMap<String, Value> {
        static EMPTY: BTreeMap<String, Value> = BTreeMap::new();
        match self.any(i) {
            Value::Object(entries) => entries,
            _ => &EMPTY,
        }
    }

    /// Takes from what the expression may cost, before something large is made.
    fn spend(&self, cost: u64) -> Result<(), Wrong> {
        self.env.spend(self.node, cost).map_err(|fault| Wrong::from(fault.detail))
    }
}

/// Every function by name.
pub fn all() -> &'static BTreeMap<&'static str, Function> {
    static TABLE: LazyLock<BTreeMap<&'static str, Function>> = LazyLock::new(|| {
        [
            numbers::TABLE,
            strings::TABLE,
            format::TABLE,
            regexes::TABLE,
            lists::TABLE,
            sets::TABLE,
            maps::TABLE,
            encodings::TABLE,
            files::TABLE,
            convert::TABLE,
            times::TABLE,
        ]
        .into_iter()
        .flat_map(|make| make())
        .map(|f| (f.name, f))
        .collect()
    });
    &TABLE
}

/// Makes a row of the table.
fn row(name: &'static str, parameters: &'static [(&'static str, Takes)], doc: &'static str, run: Run) -> Function {
    Function { name, parameters, optional: 0, variadic: false, bulky: false, doc, run }
}

impl Function {
    fn optional(self, optional: usize) -> Self {
        Self { optional, ..self }
    }

    fn variadic(self) -> Self {
        Self { variadic: true, ..self }
    }

    fn bulky(self) -> Self {
        Self { bulky: true, ..self }
    }

    fn expected(&self) -> String {
        let most = self.parameters.len();
        let least = most - self.optional - usize::from(self.variadic);
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        if self.variadic {
            format!("at least {least} argument{}", plural(least))
        } else if self.optional > 0 {
            format!("{least} to {most} arguments")
        } else {
            format!("{most} argument{}", plural(most))
        }
    }
}

/// Finds the function that a call names.
pub(crate) fn find(call: &Call) -> Result<&'static Function, Fault> {
    all().get(call.name.as_str()).ok_or_else(|| {
        let mut diagnostic = Diagnostic::error("expr/unknown-function", "Unknown function")
            .detail(format!("There is no function `{}`.", call.name))
            .at(call.name_span);
        let names = all().keys().copied();
        diagnostic.help = Some(match call.name.as_str() {
            "timestamp" | "plantimestamp" | "uuid" | "bcrypt" => {
                "Expressions are pure: the same configuration gives the same plan, so there is no clock and no \
                 randomness."
                    .to_owned()
            }
            name => {
                const SOME: &str = "Some there are: length, keys, values, contains, lookup, merge, concat, format, join, \
                                    split, startswith, regex, replace, toset, range, file; all: tranship explain functions";
                nearest(name, names)
                    .map_or_else(|| SOME.to_owned(), |near| format!("Did you mean `{near}`? {SOME}"))
            }
        });
        diagnostic.into()
    })
}

/// The diagnostic for a wrong number of arguments.
pub(crate) fn count(call: &Call, expected: &str) -> Diagnostic {
    Diagnostic::error("expr/arguments", "Wrong number of arguments")
        .detail(format!("`{}` takes {expected}; here are {}.", call.name, call.arguments.len()))
        .at(call.name_span)
}

/// Checks the arguments by the table and runs the function. Anything unknown makes the result unknown.
pub(crate) fn run(
    env: &Env<'_>,
    function: &Function,
    node: &Node,
    call: &Call,
    nodes: &[&Node],
    mut values: Vec<Value>,
) -> Result<Value, Fault> {
    let most = function.parameters.len();
    let least = most - function.optional - usize::from(function.variadic);
    if values.len() < least || values.len() > most && !function.variadic {
        let mut diagnostic = count(call, &function.expected());
        if call.expand {
            diagnostic.detail = format!("`{}` takes {}; here are {}.", call.name, function.expected(), values.len());
        }
        return Err(diagnostic.into());
    }
    let partial = env.names.is_partial();
    if values.iter().any(|v| matches!(v, Value::Unknown) || partial && v.has_unknown()) {
        return Ok(Value::Unknown);
    }
    let place = |argument: Option<usize>, element: Option<usize>| {
        let at = argument.and_then(|i| nodes.get(i).copied()).unwrap_or(node);
        match (&at.kind, element) {
            (Kind::List(items), Some(i)) => items.get(i).unwrap_or(at),
            _ => at,
        }
    };
    let mut cost = 0;
    for (i, value) in values.iter_mut().enumerate() {
        cost += match value {
            Value::List(items) => items.len(),
            Value::Set(items) => items.len(),
            Value::Object(entries) => entries.len(),
            // These may make an element of each character.
            Value::String(text) if function.bulky => text.len(),
            Value::String(text) => text.len() / 64,
            _ => 0,
        };
        let Some((name, takes)) = function.parameters.get(i).or_else(|| function.parameters.last()) else { continue };
        if let Err((element, found)) = takes.take(value) {
            let detail = format!("`{name}` of `{}` must be {}; {found}.", function.name, takes.describe());
            return Err(env.fault(place(Some(i), element), "expr/wrong-type", "Wrong type").detail(detail).into());
        }
    }
    env.spend(node, cost as u64)?;
    let result: Result<Value, Fault> = (function.run)(&mut Arguments { values: &values, env, node }).map_err(|wrong| {
        env.fault(place(wrong.argument, wrong.element), "expr/call", "Function cannot give a value")
            .detail(format!("`{}`: {}", function.name, wrong.message))
            .into()
    });
    let result = result?;
    // What is made counts too; a text's length is counted where every value is.
    env.spend(
        node,
        match &result {
            Value::List(items) => items.len() as u64,
            Value::Set(items) => items.len() as u64,
            Value::Object(entries) => entries.len() as u64,
            _ => 0,
        },
    )?;
    Ok(result)
}
