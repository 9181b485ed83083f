//! What Kubernetes' objects are made of: fields, their types, how lists merge. Read from `types.txt`, one type a line,
//! which a contract test compares with the real server's OpenAPI document.
//!
//! ```text
//! Name field:type…      `Name!`: taken as a whole by server-side apply
//! s i n b t q x *       string, integer, number, boolean, time, quantity, integer or string, anything
//! [T] [T]key,key [T]=   a list taken as a whole, keyed, or a set        {T} {T}!  a map, granular or taken as a whole
//! field:type? type+     the server leaves a zero value out, or always writes one (Go's struct tags say)
//! ```

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Text,
    Integer,
    Number,
    Boolean,
    Time,
    Quantity,
    IntOrText,
    /// Whatever is there, taken as a whole.
    Any,
    Struct(usize),
    List(Box<Self>, Merge),
    /// The values' type; true: taken as a whole.
    Map(Box<Self>, bool),
}

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Merge {
    Atomic,
    Set,
    Keys(Vec<String>),
}

/// What the server does with a field's zero value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// Keeps it as it came.
    Kept,
    /// Leaves it out.
    Dropped,
    /// Writes it where there is none.
    Written,
}

/// A field of a struct.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) of: Type,
    pub(super) zero: Zero,
}

/// A struct.
#[derive(Debug, Default)]
pub(super) struct Struct {
    pub(super) name: &'static str,
    pub(super) atomic: bool,
    pub(super) fields: BTreeMap<&'static str, Field>,
}

static STRUCTS: LazyLock<Vec<Struct>> = LazyLock::new(|| {
    let lines: Vec<&'static str> = TABLE.lines().collect();
    let names: BTreeMap<&str, usize> = lines.iter().enumerate().map(|(at, line)| (name(line).0, at)).collect();
    lines.iter().map(|line| read(line, &names)).collect()
});

/// The table itself.
pub(super) const TABLE: &str = include_str!("types.txt");

fn name(line: &'static str) -> (&'static str, bool) {
    let name = line.split(' ').next().unwrap_or_default();
    name.strip_suffix('!').map_or((name, false), |name| (name, true))
}

fn read(line: &'static str, names: &BTreeMap<&str, usize>) -> Struct {
    let (name, atomic) = name(line);
    let fields = line.split(' ').skip(1).filter_map(|word| word.split_once(':')).map(|(field, text)| {
        let (text, zero) = match (text.strip_suffix('?'), text.strip_suffix('+')) {
            (Some(text), _) => (text, Zero::Dropped),
            (_, Some(text)) => (text, Zero::Written),
            _ => (text, Zero::Kept),
        };
        (field, Field { of: of(text, names), zero })
    });
    Struct { name, atomic, fields: fields.collect() }
}

fn of(text: &str, names: &BTreeMap<&str, usize>) -> Type {
    let enclosed = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.rsplit_once(close));
    if let Some((item, merge)) = enclosed('[', ']') {
        let merge = match merge {
            "" => Merge::Atomic,
            "=" => Merge::Set,
            keys => Merge::Keys(keys.split(',').map(str::to_owned).collect()),
        };
        return Type::List(Box::new(of(item, names)), merge);
    }
    if let Some((value, whole)) = enclosed('{', '}') {
        return Type::Map(Box::new(of(value, names)), whole == "!");
    }
    match text {
        "s" => Type::Text,
        "i" => Type::Integer,
        "n" => Type::Number,
        "b" => Type::Boolean,
        "t" => Type::Time,
        "q" => Type::Quantity,
        "x" => Type::IntOrText,
        name => names.get(name).map_or(Type::Any, |at| Type::Struct(*at)),
    }
}

/// The type of that name; [`Type::Any`] when there is none.
pub(super) fn named(name: &str) -> Type {
    STRUCTS.iter().position(|s| s.name == name).map_or(Type::Any, Type::Struct)
}

impl Type {
    /// The struct that it is.
    pub(super) fn fields(&self) -> Option<&'static Struct> {
        match self {
            Self::Struct(at) => STRUCTS.get(*at),
            _ => None,
        }
    }

    /// True when server-side apply takes a value as a whole.
    pub(super) fn is_leaf(&self) -> bool {
        match self {
            Self::Struct(_) => self.fields().is_none_or(|s| s.atomic),
            Self::List(_, merge) => *merge == Merge::Atomic,
            Self::Map(_, whole) => *whole,
            _ => true,
        }
    }

    /// The type of a map's or struct's entry.
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Struct(_) => self.fields()?.fields.get(key).map(|f| &f.of),
            Self::Map(value, _) => Some(value),
            _ => None,
        }
    }

    /// Calls `f` with each struct in a value that has a name, outer ones first.
    pub(super) fn visit(&self, value: &mut Value, f: &mut dyn FnMut(&'static str, &mut Map<String, Value>)) {
        match (self, value) {
            (Self::Struct(_), Value::Object(map)) => {
                let Some(shape) = self.fields() else { return };
                f(shape.name, map);
                for (key, inner) in map.iter_mut() {
                    if let Some(field) = shape.fields.get(key.as_str()) {
                        field.of.visit(inner, f);
                    }
                }
            }
            (Self::List(item, _), Value::Array(items)) => items.iter_mut().for_each(|i| item.visit(i, f)),
            (Self::Map(inner, _), Value::Object(map)) => map.values_mut().for_each(|v| inner.visit(v, f)),
            _ => {}
        }
    }

    /// Takes fields away that there are none of.
    pub(super) fn prune(&self, value: &mut Value) {
        match (self, value) {
            (Self::Any, _) => {}
            (Self::List(item, _), Value::Array(items)) => items.iter_mut().for_each(|i| item.prune(i)),
            (_, Value::Object(map)) => {
                map.retain(|key, _| self.entry(key).is_some());
                for (key, inner) in map {
                    if let Some(of) = self.entry(key) {
                        of.prune(inner);
                    }
                }
            }
            _ => {}
        }
    }

    /// Brings a value into the form in which the server stores and writes it: zero values left out or written as Go's
    /// types do, quantities canonical. What is of another type than it should be stays as it is.
    pub(super) fn normalise(&self, value: &mut Value) {
        match (self, value) {
            (Self::Quantity, value) => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => return,
                };
                if let Some(quantity) = super::quantity::Quantity::parse(&text) {
                    *value = Value::String(quantity.to_string());
                }
            }
            (Self::Struct(_), Value::Object(map)) => {
                let Some(shape) = self.fields() else { return };
                map.retain(|_, inner| !inner.is_null());
                for (name, field) in &shape.fields {
                    match map.get_mut(*name) {
                        Some(inner) => {
                            field.of.normalise(inner);
                            if field.zero == Zero::Dropped && is_zero(inner) {
                                map.remove(*name);
                            }
                        }
                        None if field.zero == Zero::Written => {
                            if let Some(mut zero) = field.of.zero() {
                                field.of.normalise(&mut zero);
                                map.insert((*name).to_owned(), zero);
                            }
                        }
                        None => {}
                    }
                }
            }
            (Self::List(item, _), Value::Array(items)) => items.iter_mut().for_each(|i| item.normalise(i)),
            (Self::Map(inner, _), Value::Object(map)) => map.values_mut().for_each(|v| inner.normalise(v)),
            _ => {}
        }
    }

    fn zero(&self) -> Option<Value> {
        match self {
            Self::Text => Some(Value::from("")),
            Self::Integer => Some(Value::from(0)),
            Self::Boolean => Some(Value::from(false)),
            Self::Struct(_) => Some(Value::Object(Map::new())),
            _ => None,
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_that_the_table_names_is_in_it() {
        for line in TABLE.lines() {
            for word in line.split(' ').skip(1) {
                let text = word.split_once(':').expect("a field").1;
                let named = text.trim_matches(|c| "[]{}!?+=".contains(c)).split(']').next().expect("a type");
                let known = "sinbtqx*".contains(named) || super::named(named) != Type::Any;
                assert!(known, "{word} in {line}");
            }
        }
    }

    #[test]
    fn values_take_the_form_in_which_the_server_writes_them() {
        let mut set = json!({ "spec": {
            "replicas": 0, "minReadySeconds": 0, "selector": {},
            "template": { "spec": {
                "hostNetwork": false, "nodeSelector": {}, "securityContext": {},
                "containers": [{ "name": "a", "image": "", "env": [], "resources": { "limits": { "cpu": 0.5, "memory": "1024Mi" } } }],
            } },
            "volumeClaimTemplates": [],
        } });
        named("StatefulSet").normalise(&mut set);
        assert_eq!(
            set,
            json!({ "metadata": {}, "status": { "availableReplicas": 0, "replicas": 0 }, "spec": {
                "replicas": 0, "selector": {}, "serviceName": "", "updateStrategy": {},
                "template": { "metadata": {}, "spec": {
                    "securityContext": {},
                    "containers": [{ "name": "a", "resources": { "limits": { "cpu": "500m", "memory": "1Gi" } } }],
                } },
            } })
        );
    }
}
