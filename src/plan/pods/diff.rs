//! How an object differs from what it would be: the live one against the server's answer to a dry run, both with the
//! server's defaults, so that those never show.

use serde_json::Value;

use super::FieldChange;
use super::merge::{id, key_of};

/// What only the server writes.
const NOISE: [&str; 7] = [
    ".status",
    ".metadata.managedFields",
    ".metadata.resourceVersion",
    ".metadata.generation",
    ".metadata.creationTimestamp",
    ".metadata.uid",
    ".metadata.selfLink",
];

/// All fields that differ between the live object and what it would be then, by path.
pub fn changes(live: &Value, then: &Value) -> Vec<FieldChange> {
    let mut differ = Differ { found: Vec::new() };
    differ.values("", "", Some(live), Some(then));
    differ.sorted()
}

struct Differ {
    found: Vec<FieldChange>,
}

impl Differ {
    fn sorted(mut self) -> Vec<FieldChange> {
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        self.found
    }

    /// Compares two values; `field` is the name of the list or field that they stand in.
    fn values(&mut self, path: &str, field: &str, before: Option<&Value>, after: Option<&Value>) {
        if NOISE.contains(&path) || before == after {
            return;
        }
        match (before, after) {
            (Some(Value::Object(mine)), Some(Value::Object(theirs))) => {
                for (name, value) in theirs {
                    self.values(&join(path, name), name, mine.get(name), Some(value));
                }
                for (name, value) in mine.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
                    self.values(&join(path, name), name, Some(value), None);
                }
            }
            (Some(Value::Array(mine)), Some(Value::Array(theirs))) => self.lists(path, field, mine, theirs),
            _ => self.found.push(FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() }),
        }
    }

    fn lists(&mut self, path: &str, field: &str, mine: &[Value], theirs: &[Value]) {
        let name = |value: &Value| {
            let found = id(value, key_of(field)?)?;
            Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
        };
        let keyed = |list: &[Value]| list.iter().all(|value| name(value).is_some());
        if keyed(mine) && keyed(theirs) {
            let find = |list: &'_ [Value], wanted: &Value| list.iter().position(|one| name(one) == name(wanted));
            for after in theirs {
                let before = find(mine, after).and_then(|place| mine.get(place));
                let at = format!("{path}[{}]", name(after).unwrap_or_default());
                self.values(&at, "", before, Some(after));
            }
            for before in mine.iter().filter(|before| find(theirs, before).is_none()) {
                let at = format!("{path}[{}]", name(before).unwrap_or_default());
                self.values(&at, "", Some(before), None);
            }
        } else if mine.len() == theirs.len() {
            for (place, (before, after)) in mine.iter().zip(theirs).enumerate() {
                self.values(&format!("{path}[{place}]"), "", Some(before), Some(after));
            }
        } else {
            let (before, after) = (Value::Array(mine.to_vec()), Value::Array(theirs.to_vec()));
            self.found.push(FieldChange { path: path.to_owned(), before: Some(before), after: Some(after) });
        }
    }
}

/// A path with one more field: `.metadata.labels["app.kubernetes.io/name"]`.
fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { format!("{path}.{name}") } else { format!("{path}[{}]", Value::from(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(changes: &[FieldChange]) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        changes.iter().map(|c| format!("{} {} {}", c.path, text(&c.before), text(&c.after))).collect()
    }

    #[test]
    fn what_only_the_server_writes_never_shows() {
        let object = |version: &str, ready: u64| {
            json!({ "metadata": { "name": "x", "resourceVersion": version, "generation": ready, "uid": version,
                "creationTimestamp": version, "managedFields": [version] }, "status": { "ready": ready }, "spec": { "a": 1 } })
        };
        assert_eq!(lines(&changes(&object("1", 1), &object("2", 0))), Vec::<String>::new());
    }

    #[test]
    fn fields_are_named_by_what_tells_them_apart() {
        let live = json!({
            "metadata": { "labels": { "app.kubernetes.io/name": "x", "gone": "y" } },
            "spec": { "template": { "spec": {
                "containers": [{ "name": "gitaly", "image": "a", "args": ["1", "2"],
                    "ports": [{ "containerPort": 8075, "name": "p" }] }],
                "tolerations": [{ "key": "a" }],
            } } },
        });
        let then = json!({
            "metadata": { "labels": { "app.kubernetes.io/name": "z" } },
            "spec": { "template": { "spec": {
                "containers": [
                    { "name": "new" },
                    { "name": "gitaly", "image": "b", "args": ["1"], "ports": [{ "containerPort": 8075, "name": "q" }] },
                ],
                "tolerations": [{ "key": "b" }],
            } } },
        });
        assert_eq!(
            lines(&changes(&live, &then)),
            [
                ".metadata.labels.gone \"y\" -",
                ".metadata.labels[\"app.kubernetes.io/name\"] \"x\" \"z\"",
                ".spec.template.spec.containers[gitaly].args [\"1\",\"2\"] [\"1\"]",
                ".spec.template.spec.containers[gitaly].image \"a\" \"b\"",
                ".spec.template.spec.containers[gitaly].ports[8075].name \"p\" \"q\"",
                ".spec.template.spec.containers[new] - {\"name\":\"new\"}",
                ".spec.template.spec.tolerations[0].key \"a\" \"b\"",
            ]
        );
    }
}
