//! Server-side apply's arithmetic on values whose type is known: which fields there are, how two values merge and
//! differ, what is left when fields go (as structured-merge-diff 6 does it).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::{FieldSet, Step, shown};
use super::schema::{Merge, Type};

/// How two values differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// The step to an item of a list that is not atomic; an error for an item without keys.
fn step(merge: &Merge, item: &Value) -> Result<Step, String> {
    match merge {
        Merge::Keys(keys) => {
            let map = item.as_object().ok_or("associative list with keys may not have non-map elements")?;
            let found = keys.iter().filter_map(|key| {
                let given = map.get(key).map(Value::to_string);
                // The one key that the API gives a default.
                let value = given.or_else(|| (key == "protocol").then(|| "\"TCP\"".to_owned()))?;
                Some((key.clone(), value))
            });
            let found: BTreeMap<String, String> = found.collect();
            if found.is_empty() {
                return Err(format!(
                    "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have \
                     default values for any key fields)"
                ));
            }
            Ok(Step::Key(found))
        }
        _ if item.is_object() || item.is_array() || item.is_null() => {
            Err("associative list without keys has an element that is no scalar".to_owned())
        }
        _ => Ok(Step::Value(item.to_string())),
    }
}

/// Says what of a value does not fit its type, in the server's words.
pub(super) fn check(of: &Type, value: &Value) -> Vec<String> {
    fn walk(of: &Type, value: &Value, path: &mut Vec<Step>, wrong: &mut Vec<String>) {
        let mut say = |text: String| wrong.push(format!("{}: {text}", shown(path)));
        match (of, value) {
            (Type::Any, _) | (_, Value::Null) => {}
            (Type::Text | Type::Time, _) if !value.is_string() => say(format!("expected string, got {value}")),
            (Type::Integer | Type::Number, _) if !value.is_number() => {
                let kind = match value {
                    Value::String(_) => "string",
                    Value::Bool(_) => "bool",
                    Value::Array(_) => "[]interface {}",
                    _ => "map[string]interface {}",
                };
                say(format!("expected numeric (int or float), got {kind}"));
            }
            (Type::Boolean, _) if !value.is_boolean() => say(format!("expected boolean, got {value}")),
            (Type::Quantity | Type::IntOrText, Value::Object(_) | Value::Array(_)) => {
                say(format!("expected any scalar, got {value}"));
            }
            (Type::Struct(_) | Type::Map(..), Value::Object(map)) => {
                for (key, inner) in map {
                    path.push(Step::Field(key.clone()));
                    match of.entry(key) {
                        Some(of) => walk(of, inner, path, wrong),
                        None => wrong.push(format!("{}: field not declared in schema", shown(path))),
                    }
                    path.pop();
                }
            }
            (Type::Struct(_) | Type::Map(..), _) => say(format!("expected map, got {value}")),
            (Type::List(item, merge), Value::Array(items)) => {
                let mut seen: Vec<Step> = Vec::new();
                for (index, inner) in items.iter().enumerate() {
                    if *merge == Merge::Atomic {
                        path.push(Step::Index(index));
                    } else {
                        match step(merge, inner) {
                            Err(what) => {
                                wrong.push(format!("{}: element {index}: {what}", shown(path)));
                                break;
                            }
                            Ok(step) => {
                                if seen.contains(&step) {
                                    let key = step.shown();
                                    wrong.push(format!("{}: duplicate entries for key {key}", shown(path)));
                                }
                                seen.push(step.clone());
                                path.push(step);
                            }
                        }
                    }
                    walk(item, inner, path, wrong);
                    path.pop();
                }
            }
            (Type::List(..), _) => say(format!("expected list, got {value}")),
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    walk(of, value, &mut Vec::new(), &mut wrong);
    wrong
}

/// The fields of a value.
pub(super) fn field_set(of: &Type, value: &Value) -> FieldSet {
    fn walk(of: &Type, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
        if of.is_leaf() {
            return set.insert(path);
        }
        match (of, value) {
            (Type::List(item, merge), Value::Array(items)) => {
                for inner in items {
                    let Ok(step) = step(merge, inner) else { continue };
                    path.push(step);
                    walk(item, inner, path, set);
                    set.insert(path);
                    path.pop();
                }
            }
            (_, Value::Object(map)) => {
                for (key, inner) in map {
                    path.push(Step::Field(key.clone()));
                    walk(of.entry(key).unwrap_or(&Type::Any), inner, path, set);
                    let bare = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                    if bare || matches!(of, Type::Map(..)) {
                        set.insert(path);
                    }
                    path.pop();
                }
            }
            _ => {}
        }
    }
    let mut set = FieldSet::default();
    walk(of, value, &mut Vec::new(), &mut set);
    set
}

fn is_bare(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// True where both are taken as a whole.
fn whole(of: &Type, a: Option<&Value>, b: Option<&Value>) -> bool {
    of.is_leaf() || (is_bare(a) && is_bare(b))
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Puts `right` over `left`.
pub(super) fn merge(of: &Type, left: Option<&Value>, right: Option<&Value>) -> Option<Value> {
    if whole(of, left, right) {
        return right.or(left).cloned();
    }
    if let Type::List(item, merging) = of {
        return Some(Value::Array(merge_items(item, merging, items(left), items(right))));
    }
    let empty = Map::new();
    let (left, right) =
        (left.and_then(Value::as_object).unwrap_or(&empty), right.and_then(Value::as_object).unwrap_or(&empty));
    let mut out = Map::new();
    for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
        let inner = of.entry(key).unwrap_or(&Type::Any);
        if let Some(value) = merge(inner, left.get(key), right.get(key)) {
            out.insert(key.clone(), value);
        }
    }
    Some(Value::Object(out))
}

/// Items of both, in the right's order where both have them; the left's own stay where they stand.
fn merge_items(item: &Type, merging: &Merge, left: &[Value], right: &[Value]) -> Vec<Value> {
    let steps = |items: &[Value]| -> Vec<Option<Step>> { items.iter().map(|i| step(merging, i).ok()).collect() };
    let (lefts, rights) = (steps(left), steps(right));
    let at = |steps: &[Option<Step>], step: &Option<Step>| steps.iter().position(|s| s == step);
    let mut shared = rights.iter().filter(|s| lefts.contains(s)).peekable();
    let mut done: Vec<&Option<Step>> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some(mine), Some(theirs)) = (lefts.get(l), rights.get(r)) {
            if mine == theirs {
                done.push(theirs);
                out.extend(merge(item, left.get(l), right.get(r)));
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if rights.contains(mine) && shared.peek().is_some_and(|next| *next != mine) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = lefts.get(l) {
            if !rights.contains(mine) {
                out.extend(left.get(l).cloned());
                l += 1;
                continue;
            }
            if done.contains(&mine) {
                l += 1;
            }
        }
        if let Some(theirs) = rights.get(r) {
            done.push(theirs);
            out.extend(merge(item, at(&lefts, theirs).and_then(|at| left.get(at)), right.get(r)));
            r += 1;
            if shared.peek() == Some(&theirs) {
                shared.next();
            }
        }
    }
    out
}

/// How `new` differs from `old`.
pub(super) fn compare(of: &Type, old: &Value, new: &Value) -> Comparison {
    fn walk(of: &Type, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Step>, found: &mut Comparison) {
        if whole(of, old, new) {
            match (old, new) {
                (None, _) => found.added.insert(path),
                (_, None) => found.removed.insert(path),
                (old, new) if old != new => found.modified.insert(path),
                _ => {}
            }
            return;
        }
        if let Type::List(item, merging) = of {
            let steps =
                |items: &[Value]| -> Vec<Option<Step>> { items.iter().map(|i| step(merging, i).ok()).collect() };
            let (olds, news) = (steps(items(old)), steps(items(new)));
            for step in olds.iter().chain(news.iter().filter(|s| !olds.contains(s))) {
                let Some(inner) = step.clone() else { continue };
                let of_step = |steps: &[Option<Step>]| steps.iter().position(|s| s == step);
                path.push(inner);
                let (a, b) = (of_step(&olds), of_step(&news));
                walk(item, a.and_then(|a| items(old).get(a)), b.and_then(|b| items(new).get(b)), path, found);
                path.pop();
            }
        } else {
            let empty = Map::new();
            let of_map = |value: Option<&Value>| value.and_then(Value::as_object).unwrap_or(&empty).clone();
            let (olds, news) = (of_map(old), of_map(new));
            for key in olds.keys().chain(news.keys().filter(|key| !olds.contains_key(*key))) {
                path.push(Step::Field(key.clone()));
                walk(of.entry(key).unwrap_or(&Type::Any), olds.get(key), news.get(key), path, found);
                path.pop();
            }
        }
        match (old, new) {
            (None, _) => found.added.insert(path),
            (_, None) => found.removed.insert(path),
            _ => {}
        }
    }
    let mut found = Comparison::default();
    walk(of, Some(old), Some(new), &mut Vec::new(), &mut found);
    found
}

/// A value without the fields of a set, those below them included.
pub(super) fn without(of: &Type, value: &Value, gone: &FieldSet) -> Value {
    match (of, value) {
        (Type::List(item, merging), Value::Array(items)) if !of.is_leaf() => {
            let kept = items.iter().filter_map(|inner| match step(merging, inner) {
                Ok(step) if gone.has(&step) => None,
                Ok(step) => Some(gone.below(&step).map_or_else(|| inner.clone(), |gone| without(item, inner, gone))),
                Err(_) => Some(inner.clone()),
            });
            Value::Array(kept.collect())
        }
        (_, Value::Object(map)) if !of.is_leaf() => {
            let kept = map.iter().filter_map(|(key, inner)| {
                let step = Step::Field(key.clone());
                let of = of.entry(key).unwrap_or(&Type::Any);
                (!gone.has(&step)).then(|| {
                    let left = gone.below(&step).map_or_else(|| inner.clone(), |gone| without(of, inner, gone));
                    (key.clone(), left)
                })
            });
            Value::Object(kept.collect())
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::named;
    use super::*;

    #[test]
    fn lists_merge_by_their_keys_in_the_right_ones_order() {
        let of = named("Container");
        let env = |names: &[&str]| json!({ "env": names.iter().map(|n| json!({ "name": n })).collect::<Vec<_>>() });
        for (left, right, merged) in [
            (&["a", "b"][..], &["b", "c"][..], &["a", "b", "c"][..]),
            (&["a", "b"], &["b", "a"], &["b", "a"]),
            (&["x", "a", "b"], &["b", "a"], &["x", "b", "a"]),
            (&["a", "x", "b"], &["n", "b", "a"], &["x", "n", "b", "a"]),
            (&[], &["a"], &["a"]),
            (&["a"], &[], &["a"]),
        ] {
            assert_eq!(merge(&of, Some(&env(left)), Some(&env(right))), Some(env(merged)), "{left:?} {right:?}");
        }
        let left =
            json!({ "image": "a", "ports": [{ "containerPort": 1, "protocol": "TCP", "name": "x" }], "args": ["1"] });
        let right =
            json!({ "ports": [{ "containerPort": 1, "name": "y" }, { "containerPort": 2 }], "args": ["2", "3"] });
        assert_eq!(
            merge(&of, Some(&left), Some(&right)),
            Some(json!({
                "image": "a", "args": ["2", "3"],
                "ports": [{ "containerPort": 1, "protocol": "TCP", "name": "y" }, { "containerPort": 2 }],
            }))
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wrong = json!({ "spec": { "replicas": "1", "bogus": 1, "template": { "spec": { "containers": [
            { "name": "a" }, { "name": "a", "imag": "x" }, { "name": "b", "command": "run" },
        ] } } } });
        assert_eq!(
            check(&named("StatefulSet"), &wrong),
            [
                ".spec.bogus: field not declared in schema",
                ".spec.replicas: expected numeric (int or float), got string",
                ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
                ".spec.template.spec.containers[name=\"a\"].imag: field not declared in schema",
                ".spec.template.spec.containers[name=\"b\"].command: expected list, got \"run\"",
            ]
        );
    }

    #[test]
    fn differences_are_found_and_fields_go() {
        let of = named("Pod");
        let old = json!({ "metadata": { "labels": { "a": "1", "b": "2" } }, "spec": { "containers": [{ "name": "a", "image": "x" }] } });
        let new = json!({ "metadata": { "labels": { "a": "1", "b": "3" } }, "spec": { "containers": [{ "name": "a" }, { "name": "b" }] } });
        let found = compare(&of, &old, &new);
        assert_eq!(found.modified.to_json(), json!({ "f:metadata": { "f:labels": { "f:b": {} } } }));
        assert_eq!(
            found.removed.to_json(),
            json!({ "f:spec": { "f:containers": { "k:{\"name\":\"a\"}": { "f:image": {} } } } })
        );
        assert_eq!(
            found.added.to_json(),
            json!({ "f:spec": { "f:containers": { "k:{\"name\":\"b\"}": { ".": {}, "f:name": {} } } } })
        );
        assert_eq!(
            without(&of, &new, &found.added),
            json!({ "metadata": { "labels": { "a": "1", "b": "3" } }, "spec": { "containers": [{ "name": "a" }] } })
        );
    }
}
