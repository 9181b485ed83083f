//! Regular expressions, in the syntax of RE2 that Terraform has.

use std::cell::RefCell;
use std::collections::VecDeque;

use regex::{Regex, RegexBuilder};

use super::Takes::Text;
use super::strings::{bounded, replaced};
use super::{Function, Wrong, re2, row};
use crate::expr::Value;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row(
            "regex",
            &[("pattern", Text), ("text", Text)],
            "The first match of a regular expression: its text, a list of its groups, or an object of its named groups; an error when nothing matches (use `can`).",
            |a| {
                let pattern = pattern(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                let captures = pattern
                    .captures(a.text(1))
                    .ok_or_else(|| Wrong::argument(1, "the pattern matches nothing in this text."))?;
                groups(&pattern, &captures).map_err(|m| Wrong::argument(0, m))
            },
        ),
        row(
            "regexall",
            &[("pattern", Text), ("text", Text)],
            "A list of all matches, each as `regex` gives it.",
            |a| {
                let pattern = pattern(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                named(&pattern).map_err(|m| Wrong::argument(0, m))?;
                let mut found = Vec::new();
                for captures in pattern.captures_iter(a.text(1)) {
                    a.spend(captures.len() as u64)?;
                    found.push(groups(&pattern, &captures).map_err(|m| Wrong::argument(0, m))?);
                }
                Ok(found.into())
            },
        )
        .bulky(),
        row(
            "replace",
            &[("text", Text), ("part", Text), ("replacement", Text)],
            "The text with each occurrence of the part replaced; a part between slashes is a regular expression, whose groups the replacement names `$1` or `${name}`.",
            |a| match a.text(1).strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
                Some(text) => {
                    let pattern = pattern(text).map_err(|m| Wrong::argument(1, m))?;
                    let found = pattern.find_iter(a.text(0)).count();
                    // A group may stand in the replacement more than once.
                    let each =
                        a.text(2).len().saturating_add(a.text(2).matches('$').count().saturating_mul(a.text(0).len()));
                    bounded(found.saturating_mul(each))?;
                    Ok(pattern.replace_all(a.text(0), a.text(2)).into_owned().into())
                }
                None => replaced(a.text(0), a.text(1), a.text(2)),
            },
        ),
    ]
};

/// Compiles a regular expression, or takes it from those compiled last: compiling takes longer than matching.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    const KEPT: usize = 16;
    thread_local! {
        static COMPILED: RefCell<VecDeque<(String, Regex)>> = const { RefCell::new(VecDeque::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        if let Some((_, known)) = compiled.iter().find(|(known, _)| known == text) {
            return Ok(known.clone());
        }
        let pattern = compile(text)?;
        compiled.truncate(KEPT - 1);
        compiled.push_front((text.to_owned(), pattern.clone()));
        Ok(pattern)
    })
}

/// Compiles a regular expression; the size of what it compiles to is bounded.
fn compile(text: &str) -> Result<Regex, String> {
    let written = re2::translate(text).map_err(|why| format!("this is not a regular expression: {why}."))?;
    RegexBuilder::new(&written).size_limit(1 << 20).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => "this regular expression is too large.".to_owned(),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            format!("this is not a regular expression: {last}.")
        }
    })
}

/// Whether the groups have names.
fn named(pattern: &Regex) -> Result<bool, String> {
    let named = pattern.capture_names().flatten().count();
    if named != 0 && named + 1 != pattern.captures_len() {
        return Err("groups must all have names, or none of them.".to_owned());
    }
    Ok(named > 0)
}

fn groups(pattern: &Regex, captures: &regex::Captures<'_>) -> Result<Value, String> {
    let value = |m: Option<regex::Match<'_>>| m.map_or(Value::Null, |m| m.as_str().into());
    Ok(if named(pattern)? {
        Value::object(pattern.capture_names().flatten().map(|n| (n, value(captures.name(n)))))
    } else if captures.len() == 1 {
        value(captures.get(0))
    } else {
        Value::list(captures.iter().skip(1).map(value))
    })
}
