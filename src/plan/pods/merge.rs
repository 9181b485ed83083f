//! Strategic merge: lays an operator's patch over a StatefulSet as the API server would. Lists whose elements have a key
//! are merged by it, all others replaced; null removes; `$patch` is honoured.
//! (Kubernetes, "Update API objects in place using kubectl patch"; the keys are `patchMergeKey` of the pod's types.)

use serde_json::{Map, Value};

/// What tells an element what to do.
const DIRECTIVE: &str = "$patch";

/// The field by which the elements of a list are told apart, as a path; `None`: the list is one value.
pub(super) fn key_of(list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "schedulingGates"
        | "resourceClaims"
        | "claims" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "ports" => "containerPort",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        // One value to the API server; merged here, so that a patch of the one volume need not say all of it.
        "volumeClaimTemplates" => "metadata/name",
        _ => return None,
    })
}

/// What tells an element of a list apart.
pub(super) fn id<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('/').try_fold(value, |value, field| value.get(field))
}

/// Lays a patch over an object.
pub(super) fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *base = patch.clone();
        return;
    };
    if directive(patch) == Some("replace") || !base.is_object() {
        *base = plain(patch);
        return;
    }
    let Value::Object(target) = base else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() || directive(value) == Some("delete") {
            target.remove(name);
            continue;
        }
        match (target.get_mut(name), value, key_of(name)) {
            (Some(Value::Array(mine)), Value::Array(theirs), Some(key)) => merge_list(mine, theirs, key),
            (Some(mine @ Value::Object(_)), Value::Object(_), _) => merge(mine, value),
            _ => {
                target.insert(name.clone(), plain(value));
            }
        }
    }
}

fn merge_list(mine: &mut Vec<Value>, theirs: &[Value], key: &str) {
    let lone = |value: &&Value| directive(value) == Some("replace") && id(value, key).is_none();
    if theirs.iter().any(|value| lone(&value)) {
        *mine = theirs.iter().filter(|value| !lone(value)).map(plain).collect();
        return;
    }
    for value in theirs {
        let place = id(value, key).and_then(|found| mine.iter().position(|one| id(one, key) == Some(found)));
        match (place, directive(value)) {
            (Some(place), Some("delete")) => drop(mine.remove(place)),
            (None, Some("delete")) => {}
            (Some(place), _) => {
                if let Some(one) = mine.get_mut(place) {
                    merge(one, value);
                }
            }
            (None, _) => mine.push(plain(value)),
        }
    }
}

fn directive(value: &Value) -> Option<&str> {
    value.get(DIRECTIVE).and_then(Value::as_str)
}

/// A value without directives, nulls and what is to be deleted.
fn plain(value: &Value) -> Value {
    let stays = |value: &&Value| !value.is_null() && directive(value) != Some("delete");
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, value)| !name.starts_with('$') && stays(value));
            Value::Object(fields.map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            Value::Array(items.iter().filter(|item| directive(item) != Some("delete")).map(plain).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut base: Value, patch: Value) -> Value {
        merge(&mut base, &patch);
        base
    }

    #[test]
    fn lists_with_a_key_are_merged_by_it_and_others_replaced() {
        let base = json!({ "containers": [
            { "name": "gitaly", "image": "a", "args": ["x"], "env": [{ "name": "A", "value": "1" }],
              "ports": [{ "containerPort": 8075, "name": "grpc" }], "volumeMounts": [{ "mountPath": "/a", "name": "v" }] },
        ], "tolerations": [{ "key": "old" }] });
        let patch = json!({ "containers": [
            { "name": "gitaly", "args": ["y"], "env": [{ "name": "B", "value": "2" }, { "name": "A", "value": "3" }],
              "ports": [{ "containerPort": 8075, "name": "tcp" }], "volumeMounts": [{ "mountPath": "/b", "name": "v" }] },
            { "name": "log", "image": "b" },
        ], "tolerations": [{ "key": "new" }] });
        assert_eq!(
            merged(base, patch),
            json!({ "containers": [
                { "name": "gitaly", "image": "a", "args": ["y"],
                  "env": [{ "name": "A", "value": "3" }, { "name": "B", "value": "2" }],
                  "ports": [{ "containerPort": 8075, "name": "tcp" }],
                  "volumeMounts": [{ "mountPath": "/a", "name": "v" }, { "mountPath": "/b", "name": "v" }] },
                { "name": "log", "image": "b" },
            ], "tolerations": [{ "key": "new" }] })
        );
    }

    #[test]
    fn null_and_directives_remove_and_replace() {
        let base = || json!({ "a": 1, "b": { "c": 1, "d": 2 }, "env": [{ "name": "A" }, { "name": "B" }] });
        assert_eq!(merged(base(), json!({ "a": null }))["a"], Value::Null);
        assert_eq!(merged(base(), json!({ "b": { "c": null } }))["b"], json!({ "d": 2 }));
        assert_eq!(merged(base(), json!({ "b": { "$patch": "delete" } })).get("b"), None);
        assert_eq!(merged(base(), json!({ "b": { "$patch": "replace", "e": 3 } }))["b"], json!({ "e": 3 }));
        let env = |patch: Value| merged(base(), json!({ "env": patch }))["env"].clone();
        assert_eq!(
            env(json!([{ "name": "A", "$patch": "delete" }, { "name": "X", "$patch": "delete" }])),
            json!([{ "name": "B" }])
        );
        assert_eq!(env(json!([{ "$patch": "replace" }, { "name": "C" }])), json!([{ "name": "C" }]));
        assert_eq!(
            env(json!([{ "name": "A", "value": "1", "$patch": "replace" }]))[0],
            json!({ "name": "A", "value": "1" })
        );
        // Where there is nothing yet, directives leave no trace.
        assert_eq!(merged(base(), json!({ "n": { "x": null, "$patch": "merge", "y": 1 } }))["n"], json!({ "y": 1 }));
        assert_eq!(merged(base(), json!({ "a": { "x": 1 } }))["a"], json!({ "x": 1 }));
    }
}
