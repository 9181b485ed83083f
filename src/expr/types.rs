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

/// Why a value does not fit a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Which part of the value, like `.disk[2]`; empty for the value itself.
    pub path: String,
    /// What is wrong with it. Never the value itself: it may be secret.
    pub message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "this must be {}.", self.message)
        } else {
            write!(f, "its part {} must be {}.", self.path, self.message)
        }
    }
}

/// Converts a value. Null and unknown stay what they are.
///
/// # Errors
/// What does not fit, and where in the value.
pub fn convert(value: &Value, wanted: &Type) -> Result<Value, Mismatch> {
    let mismatch = || Mismatch { path: String::new(), message: format!("{wanted}; it is {}", value.kind()) };
    Ok(match (wanted, value) {
        (Type::Any, value) | (_, value @ (Value::Null | Value::Unknown)) => value.clone(),
        (Type::Bool, Value::Bool(_)) | (Type::Number, Value::Number(_)) | (Type::String, Value::String(_)) => {
            value.clone()
        }
        (Type::Bool, Value::String(text)) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => {
                return Err(Mismatch {
                    message: "a bool; it is a string other than \"true\" and \"false\"".into(),
                    ..mismatch()
                });
            }
        },
        (Type::Number, Value::String(text)) => match Number::parse(text) {
            Some(number) => number.into(),
            None => {
                return Err(Mismatch {
                    message: "a number; it is a string that does not write one".into(),
                    ..mismatch()
                });
            }
        },
        (Type::String, Value::Number(_) | Value::Bool(_)) => value.to_string().into(),
        (Type::List(inner), Value::List(_) | Value::Set(_)) => Value::list(items(value, inner)?),
        (Type::Set(inner), Value::List(_) | Value::Set(_)) => Value::set(items(value, inner)?),
        (Type::Map(inner), Value::Object(entries)) => {
            let converted: Result<Vec<_>, Mismatch> = entries
                .iter()
                .map(|(k, v)| Ok((k.clone(), convert(v, inner).map_err(|e| within(&format!("[{k:?}]"), e))?)))
                .collect();
            Value::object(converted?)
        }
        (Type::Tuple(types), Value::List(parts)) if types.len() == parts.len() => {
            let converted: Result<Vec<_>, Mismatch> = parts
                .iter()
                .zip(types)
                .enumerate()
                .map(|(i, (v, t))| convert(v, t).map_err(|e| within(&format!("[{i}]"), e)))
                .collect();
            Value::from(converted?)
        }
        (Type::Object(attributes), Value::Object(entries)) => {
            let mut object = Vec::with_capacity(attributes.len());
            for (name, attribute) in attributes {
                let converted = match (entries.get(name), &attribute.default) {
                    (Some(Value::Null) | None, Some(default)) => default.clone(),
                    (Some(value), _) => {
                        convert(value, &attribute.wanted).map_err(|e| within(&format!(".{name}"), e))?
                    }
                    (None, None) => {
                        return Err(Mismatch {
                            path: String::new(),
                            message: format!("{wanted}; it lacks the attribute {name:?}"),
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

fn items(value: &Value, inner: &Type) -> Result<Vec<Value>, Mismatch> {
    let items = value.elements().into_iter().flatten().enumerate();
    items.map(|(i, v)| convert(v, inner).map_err(|e| within(&format!("[{i}]"), e))).collect()
}

fn within(step: &str, inner: Mismatch) -> Mismatch {
    Mismatch { path: format!("{step}{}", inner.path), ..inner }
}
