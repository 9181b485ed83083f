//! Types of the language (`list(string)`, `object({ … })`) and the conversion of values to them, Terraform's rules.

use std::collections::BTreeMap;
use std::fmt;

use super::{Number, Value};

/// A type as `variable` blocks write it.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// `any`: no conversion.
    Any,
    /// `bool`
    Bool,
    /// `number`
    Number,
    /// `string`
    String,
    /// `list(…)`
    List(Box<Self>),
    /// `set(…)`
    Set(Box<Self>),
    /// `map(…)`
    Map(Box<Self>),
    /// `tuple([…])`
    Tuple(Vec<Self>),
    /// `object({…})`
    Object(BTreeMap<String, Attribute>),
}

/// An attribute of an object type.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its type.
    pub wanted: Type,
    /// `optional(type, default)`: what stands for it when it is left out.
    pub default: Option<Value>,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(inner) => write!(f, "list({inner})"),
            Self::Set(inner) => write!(f, "set({inner})"),
            Self::Map(inner) => write!(f, "map({inner})"),
            Self::Tuple(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "tuple([{}])", items.join(", "))
            }
            Self::Object(attributes) => {
                let attributes: Vec<String> = attributes
                    .iter()
                    .map(|(name, a)| match a.default {
                        Some(_) => format!("{name} = optional({})", a.wanted),
                        None => format!("{name} = {}", a.wanted),
                    })
                    .collect();
                write!(f, "object({{ {} }})", attributes.join(", "))
            }
        }
    }
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What stands under a key.
    Key(String),
    /// The element at an index, from 0.
    Element(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if is_name(key) => write!(f, ".{key}"),
            Self::Key(key) => write!(f, "[{key:?}]"),
            Self::Element(index) => write!(f, "[{index}]"),
        }
    }
}

/// Whether a text can stand as a name in an expression.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

/// Why a value does not fit a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Which part of the value; empty for the value itself.
    pub path: Vec<Part>,
    /// What is wrong with it. Never the value itself: it may be secret.
    pub message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "this must be {}.", self.message)
        } else {
            let path: String = self.path.iter().map(ToString::to_string).collect();
            write!(f, "its part {path} must be {}.", self.message)
        }
    }
}

impl Type {
    /// The type of a value. There is no telling a list from a tuple, or a map from an object: a list whose elements have
    /// one type is a list of it, any other a tuple; what has keys is an object.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Unknown => Self::Any,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::List(items) => match plain(items.iter()) {
                Some(inner) => Self::List(Box::new(inner)),
                None => {
                    let types: Vec<Self> = items.iter().map(Self::of).collect();
                    match types.split_first() {
                        Some((first, rest)) if rest.iter().all(|t| t == first) => Self::List(Box::new(first.clone())),
                        _ => Self::Tuple(types),
                    }
                }
            },
            Value::Set(items) => Self::Set(Box::new(common(items.iter()).unwrap_or(Self::Any))),
            Value::Object(entries) => Self::Object(
                entries.iter().map(|(k, v)| (k.clone(), Attribute { wanted: Self::of(v), default: None })).collect(),
            ),
        }
    }

    /// As it is written, with its article, for messages.
    fn with_article(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Object(_) => format!("an {self}"),
            _ => format!("a {self}"),
        }
    }

    /// The one type that values of all these types can be converted to, if there is one: a string beside numbers or
    /// bools makes strings, lists and objects are unified part by part.
    pub fn unify(types: &[Self]) -> Option<Self> {
        let known: Vec<&Self> = types.iter().filter(|t| **t != Self::Any).collect();
        let Some((first, rest)) = known.split_first() else { return Some(Self::Any) };
        if rest.iter().all(|t| t == first) {
            return Some((*first).clone());
        }
        let all = |test: fn(&Self) -> bool| known.iter().all(|t| test(t));
        if all(|t| matches!(t, Self::Bool | Self::Number | Self::String)) {
            return known.contains(&&Self::String).then_some(Self::String);
        }
        let sets = known.iter().any(|t| matches!(t, Self::Set(_)));
        if sets && all(|t| matches!(t, Self::Set(_) | Self::List(_) | Self::Tuple(_))) {
            return Self::unify(&known.iter().flat_map(|t| t.parts()).collect::<Vec<_>>()).map(|t| Self::Set(t.into()));
        }
        if all(|t| matches!(t, Self::List(_) | Self::Tuple(_))) {
            return Self::unify_tuples(&known).or_else(|| {
                Self::unify(&known.iter().flat_map(|t| t.parts()).collect::<Vec<_>>()).map(|t| Self::List(t.into()))
            });
        }
        if all(|t| matches!(t, Self::Map(_) | Self::Object(_))) {
            return Self::unify_objects(&known).or_else(|| {
                Self::unify(&known.iter().flat_map(|t| t.parts()).collect::<Vec<_>>()).map(|t| Self::Map(t.into()))
            });
        }
        None
    }

    /// The types of what it holds.
    fn parts(&self) -> Vec<Self> {
        match self {
            Self::List(inner) | Self::Set(inner) | Self::Map(inner) => vec![(**inner).clone()],
            Self::Tuple(types) => types.clone(),
            Self::Object(attributes) => attributes.values().map(|a| a.wanted.clone()).collect(),
            Self::Any | Self::Bool | Self::Number | Self::String => Vec::new(),
        }
    }

    /// Tuples of one length, each place on its own.
    fn unify_tuples(tuples: &[&Self]) -> Option<Self> {
        let rows: Vec<&Vec<Self>> = tuples
            .iter()
            .map(|t| match t {
                Self::Tuple(types) => Some(types),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let size = rows.first()?.len();
        if rows.iter().any(|row| row.len() != size) {
            return None;
        }
        let column = |i: usize| Self::unify(&rows.iter().filter_map(|row| row.get(i)).cloned().collect::<Vec<_>>());
        (0..size).map(column).collect::<Option<Vec<_>>>().map(Self::Tuple)
    }

    /// Objects with the same attributes, each attribute on its own.
    fn unify_objects(objects: &[&Self]) -> Option<Self> {
        let rows: Vec<&BTreeMap<String, Attribute>> = objects
            .iter()
            .map(|t| match t {
                Self::Object(attributes) => Some(attributes),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let first = rows.first()?;
        if rows.iter().any(|row| !row.keys().eq(first.keys())) {
            return None;
        }
        let attribute = |name: &String| {
            let types: Vec<Self> = rows.iter().filter_map(|row| row.get(name)).map(|a| a.wanted.clone()).collect();
            Some((name.clone(), Attribute { wanted: Self::unify(&types)?, default: None }))
        };
        first.keys().map(attribute).collect::<Option<_>>().map(Self::Object)
    }
}

/// The type of elements that are all bools, all numbers or all strings: the usual case, without a look at each type.
fn plain<'v>(mut items: impl Iterator<Item = &'v Value>) -> Option<Type> {
    let (kind, test): (Type, fn(&Value) -> bool) = match items.next()? {
        Value::Bool(_) => (Type::Bool, |v| matches!(v, Value::Bool(_))),
        Value::Number(_) => (Type::Number, |v| matches!(v, Value::Number(_))),
        Value::String(_) => (Type::String, |v| matches!(v, Value::String(_))),
        _ => return None,
    };
    items.all(test).then_some(kind)
}

/// The one type that all elements can be converted to.
pub(crate) fn common<'v>(items: impl Iterator<Item = &'v Value> + Clone) -> Option<Type> {
    plain(items.clone()).or_else(|| Type::unify(&items.map(Type::of).collect::<Vec<_>>()))
}

/// Converts a value. Null and unknown stay what they are. The elements of a `list(any)`, `set(any)` or `map(any)` are
/// brought to one type.
///
/// # Errors
/// What does not fit, and where in the value.
pub fn convert(value: &Value, wanted: &Type) -> Result<Value, Mismatch> {
    if let (Type::List(inner) | Type::Set(inner) | Type::Map(inner), Value::List(_) | Value::Set(_) | Value::Object(_)) =
        (wanted, value)
        && **inner == Type::Any
    {
        let items: Vec<&Value> = value.elements().into_iter().flatten().collect();
        let Some(found) = common(items.iter().copied()) else { return Err(mixed(&items, wanted)) };
        if found != Type::Any {
            let found = Box::new(found);
            return convert(
                value,
                &match wanted {
                    Type::List(_) => Type::List(found),
                    Type::Set(_) => Type::Set(found),
                    _ => Type::Map(found),
                },
            );
        }
    }
    let mismatch =
        || Mismatch { path: Vec::new(), message: format!("{}; it is {}", wanted.with_article(), value.kind()) };
    Ok(match (wanted, value) {
        (Type::Any, value) | (_, value @ (Value::Null | Value::Unknown)) => value.clone(),
        (Type::Bool, Value::Bool(_)) | (Type::Number, Value::Number(_)) | (Type::String, Value::String(_)) => {
            value.clone()
        }
        (Type::Bool, Value::String(text)) => match text.as_str() {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => {
                return Err(Mismatch {
                    message: "a bool; it is a string other than \"true\" and \"false\"".into(),
                    ..mismatch()
                });
            }
        },
        (Type::Number, Value::String(text)) => match written(text) {
            Some(number) => number.into(),
            None => {
                return Err(Mismatch {
                    message: "a number; it is a string that does not write one".into(),
                    ..mismatch()
                });
            }
        },
        (Type::String, Value::Number(_) | Value::Bool(_)) => value.to_string().into(),
        (Type::List(inner), Value::List(list)) if plain(list.iter()).is_some_and(|t| t == **inner) => value.clone(),
        (Type::Set(inner), Value::Set(set)) if plain(set.iter()).is_some_and(|t| t == **inner) => value.clone(),
        (Type::List(inner), Value::List(_) | Value::Set(_)) => Value::list(items(value, inner)?),
        (Type::Set(inner), Value::List(_) | Value::Set(_)) => Value::set(items(value, inner)?),
        (Type::Map(inner), Value::Object(entries)) => {
            let converted: Result<Vec<_>, Mismatch> = entries
                .iter()
                .map(|(k, v)| Ok((k.clone(), convert(v, inner).map_err(|e| within(Part::Key(k.clone()), e))?)))
                .collect();
            Value::object(converted?)
        }
        (Type::Tuple(types), Value::List(parts)) if types.len() == parts.len() => {
            let converted: Result<Vec<_>, Mismatch> = parts
                .iter()
                .zip(types)
                .enumerate()
                .map(|(i, (v, t))| convert(v, t).map_err(|e| within(Part::Element(i), e)))
                .collect();
            Value::from(converted?)
        }
        (Type::Tuple(types), Value::List(parts)) => {
            let many = |n: usize| if n == 1 { "one element".to_owned() } else { format!("{n} elements") };
            let found = match types.get(parts.len()) {
                Some(missing) => format!("element {} is missing, {}", parts.len(), missing.with_article()),
                None => format!("element {} is one too many", types.len()),
            };
            return Err(Mismatch {
                path: Vec::new(),
                message: format!(
                    "{}, with {}; it has {}: {found}, counted from 0",
                    wanted.with_article(),
                    many(types.len()),
                    many(parts.len())
                ),
            });
        }
        (Type::Object(attributes), Value::Object(entries)) => {
            let mut object = Vec::with_capacity(attributes.len());
            for (name, attribute) in attributes {
                let converted = match (entries.get(name), &attribute.default) {
                    (Some(Value::Null) | None, Some(default)) => default.clone(),
                    (Some(value), _) => {
                        convert(value, &attribute.wanted).map_err(|e| within(Part::Key(name.clone()), e))?
                    }
                    (None, None) => {
                        return Err(Mismatch {
                            path: Vec::new(),
                            message: format!("{}; it lacks the attribute {name:?}", wanted.with_article()),
                        });
                    }
                };
                object.push((name.clone(), converted));
            }
            Value::object(object)
        }
        _ => return Err(mismatch()),
    })
}

/// Reads a number as a user may write it in a string: also `+1`, `.5` and `5.`.
fn written(text: &str) -> Option<Number> {
    Number::parse(text).or_else(|| {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let zero = if digits.starts_with('.') { "0" } else { "" };
        let ends = digits.len() > 1 && digits.ends_with('.') && !digits.contains(['e', 'E']);
        Number::parse(&format!("{sign}{zero}{}", if ends { digits.trim_end_matches('.') } else { digits }))
            .filter(|_| digits.matches('.').count() < 2)
    })
}

/// The mismatch of elements that cannot have one type.
fn mixed(items: &[&Value], wanted: &Type) -> Mismatch {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in items.iter().map(|v| v.kind()) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let what = match wanted {
        Type::Map(_) => "a map whose values",
        Type::Set(_) => "a set whose elements",
        _ => "a list whose elements",
    };
    let found = match kinds.as_slice() {
        [only] => format!("each is {only}, but of different types"),
        more => format!("here are {}", more.join(" and ")),
    };
    Mismatch { path: Vec::new(), message: format!("{what} have one type; {found}") }
}

fn items(value: &Value, inner: &Type) -> Result<Vec<Value>, Mismatch> {
    let items = value.elements().into_iter().flatten().enumerate();
    items.map(|(i, v)| convert(v, inner).map_err(|e| within(Part::Element(i), e))).collect()
}

fn within(step: Part, mut inner: Mismatch) -> Mismatch {
    inner.path.insert(0, step);
    inner
}
