//! Values of the language. Lists, sets and objects are shared, so that a value is cheap to pass on.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::Number;

/// A value of the language. The derived order is only for sets and sorting: kinds first, null last, then contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list or tuple.
    List(Arc<Vec<Self>>),
    /// A set, in its order.
    Set(Arc<BTreeSet<Self>>),
    /// A map or object, by key.
    Object(Arc<BTreeMap<String, Self>>),
    /// Nothing.
    Null,
    /// Not known: what depends on it is not known either, unless the rest decides.
    Unknown,
}

impl Value {
    /// Makes a list.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(Arc::new(items.into_iter().collect()))
    }

    /// Makes a set.
    pub fn set(items: impl IntoIterator<Item = Self>) -> Self {
        Self::Set(Arc::new(items.into_iter().collect()))
    }

    /// Makes an object.
    pub fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(Arc::new(entries.into_iter().map(|(k, v)| (composed(k.into()), v)).collect()))
    }

    /// The kind with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Object(_) => "an object",
            Self::Unknown => "unknown",
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Number(number) => number.as_int(),
            _ => None,
        }
    }

    /// The attribute or element under a key, if it is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.get(key),
            _ => None,
        }
    }

    /// True when it is unknown or holds something unknown.
    pub fn has_unknown(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::List(items) => items.iter().any(Self::has_unknown),
            Self::Set(items) => items.iter().any(Self::has_unknown),
            Self::Object(entries) => entries.values().any(Self::has_unknown),
            _ => false,
        }
    }

    /// True when it nests deeper than `depth` or holds more than `size` parts in all. Bounds what later walks cost.
    pub fn exceeds(&self, depth: usize, size: usize) -> bool {
        fn walk(value: &Value, depth: usize, left: &mut usize) -> bool {
            if *left == 0 {
                return true;
            }
            *left -= 1;
            match value {
                Value::List(_) | Value::Set(_) | Value::Object(_) if depth == 0 => true,
                Value::List(items) => items.iter().any(|v| walk(v, depth - 1, left)),
                Value::Set(items) => items.iter().any(|v| walk(v, depth - 1, left)),
                Value::Object(entries) => entries.values().any(|v| walk(v, depth - 1, left)),
                _ => false,
            }
        }
        walk(self, depth, &mut { size })
    }

    /// How many parts it holds in all, itself one of them; counts no further than `most`.
    pub(crate) fn parts(&self, most: usize) -> usize {
        let mut count = 1;
        for item in self.elements().into_iter().flatten() {
            if count >= most {
                break;
            }
            count += item.parts(most - count);
        }
        count
    }

    /// The value as it would be written, cut to about `limit` characters: for messages.
    pub fn short(&self, limit: usize) -> String {
        let mut out = Bounded { text: String::new(), left: limit };
        if fmt::write(&mut out, format_args!("{self}")).is_err() {
            out.text.push('…');
        }
        out.text
    }

    /// The value in a few words, as Terraform names it in messages: what is short as it is, of a collection its kind and
    /// size.
    pub fn summary(&self) -> String {
        let count = |n: usize| match n {
            1 => "1 element".to_owned(),
            n => format!("{n} elements"),
        };
        match self {
            Self::List(items) if items.is_empty() => "empty list".to_owned(),
            Self::Set(items) if items.is_empty() => "empty set".to_owned(),
            Self::List(items) => match alike(items.iter()) {
                Some(inner) => format!("list of {inner} with {}", count(items.len())),
                None => format!("tuple with {}", count(items.len())),
            },
            Self::Set(items) => match alike(items.iter()) {
                Some(inner) => format!("set of {inner} with {}", count(items.len())),
                None => format!("set with {}", count(items.len())),
            },
            Self::Object(entries) => match entries.len() {
                0 => "object with no attributes".to_owned(),
                1 => format!("object with 1 attribute {:?}", entries.keys().next().map_or("", String::as_str)),
                n => format!("object with {n} attributes"),
            },
            Self::Unknown => "not known".to_owned(),
            plain => plain.short(80),
        }
    }

    /// The kind without an article.
    fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Object(_) => "object",
            Self::Unknown => "unknown",
        }
    }

    /// The elements of a list or set, or the values of an object in the order of its keys.
    pub(crate) fn elements(&self) -> Option<Box<dyn Iterator<Item = &Self> + '_>> {
        match self {
            Self::List(items) => Some(Box::new(items.iter())),
            Self::Set(items) => Some(Box::new(items.iter())),
            Self::Object(entries) => Some(Box::new(entries.values())),
            _ => None,
        }
    }
}

/// The kind that all these values have.
fn alike<'v>(mut items: impl Iterator<Item = &'v Value>) -> Option<&'static str> {
    let first = items.next()?.noun();
    items.all(|item| item.noun() == first).then_some(first)
}

/// Takes text until its limit is reached, then refuses.
struct Bounded {
    text: String,
    left: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.text.push(c);
        }
        Ok(())
    }
}

/// Writes a value as an expression that gives it (a set as the list of its elements within `toset()`).
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::String(text) => write_string(f, text),
            Self::List(items) => write_items(f, items.iter()),
            Self::Set(items) => {
                f.write_str("toset(")?;
                write_items(f, items.iter())?;
                f.write_str(")")
            }
            Self::Object(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if i == 0 { " " } else { ", " })?;
                    write_string(f, key)?;
                    write!(f, " = {value}")?;
                }
                f.write_str(if entries.is_empty() { "}" } else { " }" })
            }
            Self::Unknown => f.write_str("(unknown)"),
        }
    }
}

fn write_items<'a>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = &'a Value>) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_str("]")
}

/// Writes a text in quotes with HCL's escapes.
fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '$' | '%' if chars.peek() == Some(&'{') => write!(f, "{c}{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Number::Int(number.into()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Number::Int(number.into()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(composed(text))
    }
}

/// Brings a text into the form NFC: what looks the same and is composed of other code points is the same text. So does
/// Terraform with every text.
fn composed(text: String) -> String {
    if text.is_ascii() {
        return text;
    }
    match ComposingNormalizerBorrowed::new_nfc().normalize(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(composed) => composed,
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Number::Int(number.into()))
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(Number::Int(number.into()))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

/// What is not finite is unknown.
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Number::from_f64(number).map_or(Self::Unknown, Self::Number)
    }
}

impl From<BTreeMap<String, Self>> for Value {
    fn from(entries: BTreeMap<String, Self>) -> Self {
        Self::Object(Arc::new(entries))
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::list(items)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::list(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_they_are_written() {
        let value = Value::object([
            ("a", Value::list([Value::from(1u64), Value::Null])),
            ("b", Value::from("x\"${y}\n")),
            ("c", Value::set([Value::from("k")])),
        ]);
        assert_eq!(value.to_string(), r#"{ "a" = [1, null], "b" = "x\"$${y}\n", "c" = toset(["k"]) }"#);
        assert_eq!(value.short(9), "{ \"a\" = […");
    }

    #[test]
    fn a_summary_names_what_is_large_and_shows_what_is_small() {
        let texts = |n: usize| Value::list((0..n).map(|i| Value::from(i.to_string())));
        for (value, expected) in [
            (Value::from("a"), "\"a\""),
            (Value::Null, "null"),
            (texts(0), "empty list"),
            (texts(1), "list of string with 1 element"),
            (texts(3), "list of string with 3 elements"),
            (Value::list([Value::Null, Value::from(1u64)]), "tuple with 2 elements"),
            (Value::set([Value::from(1u64)]), "set of number with 1 element"),
            (Value::object([("a", Value::Null)]), "object with 1 attribute \"a\""),
            (Value::object([("a", Value::Null), ("b", Value::Null)]), "object with 2 attributes"),
        ] {
            assert_eq!(value.summary(), expected);
        }
    }

    #[test]
    fn bounds_are_found_without_walking_everything() {
        let mut value = Value::from(1u64);
        for _ in 0..60 {
            value = Value::list([value.clone(), value]);
        }
        assert!(value.exceeds(100, 1_000_000));
        assert!(value.exceeds(10, usize::MAX));
        assert!(!Value::list([Value::Null]).exceeds(1, 10));
    }
}
