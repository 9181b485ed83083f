//! Sets of an object's fields, as server-side apply keeps them in `managedFields`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema::Type;

/// A step from a value into one of its parts. Ordered as the server lists conflicts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A struct's field, a map's entry.
    Field(String),
    /// A keyed list's item: its keys, each with its value as JSON.
    Key(BTreeMap<String, String>),
    /// A set's item, as JSON.
    Value(String),
    /// An item of a list that is taken as a whole: only errors name one.
    Index(usize),
}

impl Step {
    /// As in `.spec.containers[name="gitaly"]`.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Self::Value(value) => format!("[={value}]"),
            Self::Index(index) => format!("[{index}]"),
        }
    }

    /// As in a `fieldsV1` object.
    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
                format!("k:{{{}}}", keys.join(","))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "v" => Some(Self::Value(rest.to_owned())),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::Key(keys.into_iter().map(|(key, value)| (key, value.to_string())).collect()))
            }
            _ => None,
        }
    }
}

/// A path as `.spec.replicas`.
pub(super) fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |mut text, step| {
        let _ = write!(text, "{}", step.shown());
        text
    })
}

/// A set of fields. A field may be in it without its parts, and its parts without it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    nodes: BTreeMap<Step, Node>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    parts: FieldSet,
}

impl FieldSet {
    /// Adds a field. The empty path is the object itself, which is no field.
    pub(super) fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.parts.insert(rest);
        }
    }

    /// True when that very step is in it.
    pub(super) fn has(&self, step: &Step) -> bool {
        self.nodes.get(step).is_some_and(|n| n.member)
    }

    /// What is in it below a step.
    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        self.nodes.get(step).map(|n| &n.parts).filter(|parts| !parts.is_empty())
    }

    /// True when no field is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.values().all(|n| !n.member && n.parts.is_empty())
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let empty = Node::default();
        let steps: std::collections::BTreeSet<&Step> = self.nodes.keys().chain(other.nodes.keys()).collect();
        let nodes = steps.into_iter().filter_map(|step| {
            let (a, b) = (self.nodes.get(step).unwrap_or(&empty), other.nodes.get(step).unwrap_or(&empty));
            let node = Node { member: keep(a.member, b.member), parts: a.parts.combine(&b.parts, keep) };
            (node.member || !node.parts.nodes.is_empty()).then(|| (step.clone(), node))
        });
        Self { nodes: nodes.collect() }
    }

    /// What is in either.
    pub(super) fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// What is in this one only.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    /// The same, with all structs' fields that lead to its fields.
    pub(super) fn with_named(&self, of: &Type) -> Self {
        let nodes = self.nodes.iter().map(|(step, node)| {
            let (named, inner) = match (step, of) {
                (Step::Field(name), Type::Struct(_)) => (of.entry(name).is_some(), of.entry(name)),
                (Step::Field(name), _) => (false, of.entry(name)),
                (_, Type::List(item, _)) => (false, Some(item.as_ref())),
                _ => (false, None),
            };
            let parts = inner.map_or_else(|| node.parts.clone(), |inner| node.parts.with_named(inner));
            (step.clone(), Node { member: node.member || (named && !node.parts.is_empty()), parts })
        });
        Self { nodes: nodes.collect() }
    }

    /// All fields in the order in which the server lists them: those of one level, then what is below each.
    pub(super) fn paths(&self) -> Vec<Vec<Step>> {
        fn walk(set: &FieldSet, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
            for step in set.nodes.iter().filter(|(_, n)| n.member).map(|(step, _)| step) {
                found.push(path.iter().chain([step]).cloned().collect());
            }
            for (step, node) in &set.nodes {
                path.push(step.clone());
                walk(&node.parts, path, found);
                path.pop();
            }
        }
        let mut found = Vec::new();
        walk(self, &mut Vec::new(), &mut found);
        found
    }

    /// As a `fieldsV1` object.
    pub(super) fn to_json(&self) -> Value {
        let parts = self.nodes.iter().map(|(step, node)| {
            let mut inner = match node.parts.to_json() {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            if node.member && !inner.is_empty() {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (step.written(), Value::Object(inner))
        });
        Value::Object(parts.collect())
    }

    /// From a `fieldsV1` object; what cannot be read is left out.
    pub(super) fn from_json(value: &Value) -> Self {
        let parts = value.as_object().into_iter().flatten().filter_map(|(text, inner)| {
            let step = Step::read(text)?;
            let alone = inner.as_object().is_none_or(|map| map.is_empty() || map.contains_key("."));
            Some((step, Node { member: alone, parts: Self::from_json(inner) }))
        });
        Self { nodes: parts.collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_are_read_and_written_as_managed_fields() {
        let written = json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
            "f:spec": {
                "f:containers": { "k:{\"name\":\"gitaly\"}": {
                    ".": {}, "f:image": {},
                    "f:ports": { "k:{\"containerPort\":8075,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {} } },
                } },
                "f:finalizers": { "v:\"a\"": {} },
            },
        });
        let set = FieldSet::from_json(&written);
        assert_eq!(set.to_json(), written);
        let shown: Vec<String> = set.paths().iter().map(|p| shown(p)).collect();
        assert_eq!(
            shown,
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.containers[name=\"gitaly\"]",
                ".spec.containers[name=\"gitaly\"].image",
                ".spec.containers[name=\"gitaly\"].ports[containerPort=8075,protocol=\"TCP\"]",
                ".spec.containers[name=\"gitaly\"].ports[containerPort=8075,protocol=\"TCP\"].name",
                ".spec.finalizers[=\"a\"]",
            ]
        );
    }

    #[test]
    fn a_field_and_its_parts_are_apart() {
        let set = |text: Value| FieldSet::from_json(&text);
        let (outer, inner) = (set(json!({ "f:a": {} })), set(json!({ "f:a": { "f:b": {} } })));
        assert_eq!(outer.union(&inner).to_json(), json!({ "f:a": { ".": {}, "f:b": {} } }));
        assert!(outer.intersection(&inner).is_empty());
        assert_eq!(outer.union(&inner).difference(&inner), outer);
        let named = set(json!({ "f:spec": { "f:selector": {} }, "f:metadata": { "f:labels": { "f:a": {} } } }))
            .with_named(&super::super::schema::named("StatefulSet"));
        assert_eq!(
            named.to_json(),
            json!({
                "f:spec": { ".": {}, "f:selector": {} },
                "f:metadata": { ".": {}, "f:labels": { ".": {}, "f:a": {} } },
            })
        );
    }
}
