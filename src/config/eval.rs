//! An expression that somebody asks about, evaluated with all names of a configuration: variables, locals, storages,
//! functions.

use camino::Utf8Path;

use super::scope::{Inner, Report, Scope};
use super::{DEPTH, Loaded, Purpose, SIZE, Texts, VariableInputs, syntax, too_large};
use crate::diag::{Diagnostics, SourceMap};
use crate::expr::Value;

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// A value that must not be shown.
    Sensitive,
}

/// What an expression came to, with all that was found on the way.
#[derive(Debug)]
pub struct Evaluated {
    /// All texts that were read, the expression among them.
    pub sources: SourceMap,
    /// The answer, when there is no error.
    pub answer: Option<Answer>,
    /// All errors and warnings, of the configuration too.
    pub diagnostics: Diagnostics,
}

/// Evaluates an expression in a folder's configuration; `name` stands for its text in diagnostics. A folder without
/// configuration gives no names.
pub fn eval(folder: &Utf8Path, variables: &VariableInputs, name: &str, expression: &str) -> Evaluated {
    let mut answer = None;
    let ask = |scope: &Scope, texts: &mut Texts, out: &mut Report| {
        let source = texts.add(name.to_owned(), expression.to_owned());
        let names = Inner { scope, extra: Vec::new() };
        let node = match syntax::parse_expression(source, expression) {
            Ok(node) => node,
            Err(fault) => return out.push(*fault),
        };
        answer = match names.evaluate(&node, out) {
            Some(_) if scope.touches_sensitive(&node) => Some(Answer::Sensitive),
            Some(value) if value.exceeds(DEPTH, SIZE) => return out.push(too_large(node.span)),
            value => value.map(Answer::Value),
        };
    };
    let Loaded { sources, diagnostics, desired: _ } = super::run(folder, variables, Purpose::Ask(ask));
    Evaluated { sources, answer: answer.filter(|_| !diagnostics.has_errors()), diagnostics }
}
