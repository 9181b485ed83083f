//! The functions of the language: one table with name, parameters and meaning, Terraform's names throughout. Pure.
//! The reference is generated from the table, and calls are checked by it before a function runs.

mod collections;
mod convert;
mod numbers;
mod strings;
mod texts;
mod times;

pub(crate) use texts::pattern;
pub use times::duration as parse_duration;
pub(crate) use times::{parse as parse_time, print as print_time};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::eval::{Env, Fault};
use super::tree::{Call, Node};
use super::{Number, Value};
use crate::diag::{Diagnostic, nearest};

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Anything, null too.
    Any,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Whole,
    /// A list or set.
    List,
    /// A map or object.
    Object,
}

impl Takes {
    /// With its article, for messages and the reference.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::List => "a list or set",
            Self::Object => "a map or object",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text => matches!(value, Value::String(_)),
            Self::Number => matches!(value, Value::Number(_)),
            Self::Whole => value.as_int().is_some(),
            Self::List => matches!(value, Value::List(_) | Value::Set(_)),
            Self::Object => matches!(value, Value::Object(_)),
        }
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
    /// What it gives, in one sentence.
    pub doc: &'static str,
    run: Run,
}

type Run = fn(&mut Arguments<'_>) -> Result<Value, Wrong>;

/// Why a function gave no value.
pub(crate) struct Wrong {
    /// Which argument is at fault, from 0; `None`: the call.
    argument: Option<usize>,
    message: String,
}

impl Wrong {
    fn argument(argument: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), message: message.into() }
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { argument: None, message }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        Self { argument: None, message: message.to_owned() }
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
        [numbers::TABLE, strings::TABLE, texts::TABLE, collections::TABLE, convert::TABLE, times::TABLE]
            .into_iter()
            .flat_map(|make| make())
            .map(|f| (f.name, f))
            .collect()
    });
    &TABLE
}

/// Makes a row of the table.
fn row(name: &'static str, parameters: &'static [(&'static str, Takes)], doc: &'static str, run: Run) -> Function {
    Function { name, parameters, optional: 0, variadic: false, doc, run }
}

impl Function {
    fn optional(self, optional: usize) -> Self {
        Self { optional, ..self }
    }

    fn variadic(self) -> Self {
        Self { variadic: true, ..self }
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
                                    split, startswith, regex, replace, toset, range, file.";
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
    values: &[Value],
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
    let mut cost = 0;
    for (i, value) in values.iter().enumerate() {
        cost += match value {
            Value::List(items) => items.len(),
            Value::Set(items) => items.len(),
            Value::Object(entries) => entries.len(),
            // These may make an element of each character.
            Value::String(text) if matches!(function.name, "split" | "jsondecode" | "regexall") => text.len(),
            Value::String(text) => text.len() / 64,
            _ => 0,
        };
        let Some((name, takes)) = function.parameters.get(i).or_else(|| function.parameters.last()) else { continue };
        if !takes.accepts(value) {
            let at = nodes.get(i).copied().unwrap_or(node);
            let found = match (takes, value) {
                (Takes::Whole, Value::Number(_)) => "a number with a fraction",
                _ => value.kind(),
            };
            let detail = format!("`{name}` of `{}` must be {}; this is {found}.", function.name, takes.describe());
            return Err(env.fault(at, "expr/wrong-type", "Wrong type").detail(detail).into());
        }
    }
    env.spend(node, cost as u64)?;
    let result: Result<Value, Fault> = (function.run)(&mut Arguments { values, env, node }).map_err(|wrong| {
        let at = wrong.argument.and_then(|i| nodes.get(i).copied()).unwrap_or(node);
        env.fault(at, "expr/call", "Function cannot give a value")
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
