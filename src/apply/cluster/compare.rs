//! What differs between two objects, without what the server changes by itself.

use serde_json::Value;

use crate::plan::pods::FieldChange;

/// Of the metadata, and beside it.
const VOLATILE: [&str; 4] = ["managedFields", "resourceVersion", "generation", "creationTimestamp"];

/// The fields that differ, sorted by path.
pub(crate) fn changes(live: &Value, then: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    walk("", Some(&bare(live)), Some(&bare(then)), &mut found);
    found
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        VOLATILE.iter().for_each(|field| drop(metadata.remove(*field)));
    }
    object
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (before, after) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            walk(&format!("{path}.{key}"), a.get(key), b.get(key), found);
        }
        return;
    }
    found.push(FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
}
