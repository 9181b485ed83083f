//! Reading and writing parts of an object.

use serde_json::{Map, Value};

/// Calls `f` with the map at a path, made where there is none.
pub(super) fn with(value: &mut Value, path: &[&str], f: impl FnOnce(&mut Map<String, Value>)) {
    let mut map = match value.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    match path.split_first() {
        None => f(&mut map),
        Some((first, rest)) => with(map.entry(*first).or_insert(Value::Null), rest, f),
    }
    *value = Value::Object(map);
}

/// Sets the value at a path.
pub(super) fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if let Some((last, path)) = path.split_last() {
        with(value, path, |map| drop(map.insert((*last).to_owned(), new.into())));
    }
}

/// Takes the value at a path away.
pub(super) fn unset(value: &mut Value, path: &[&str]) {
    if let Some((last, path)) = path.split_last() {
        with(value, path, |map| drop(map.remove(*last)));
    }
}

/// The text at a pointer, empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a pointer, 0 when there is none.
pub(super) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// The items of the list at a pointer.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of the map at a pointer that are texts.
pub(super) fn texts<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let entries = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// True when a label selector (`matchLabels`, `matchExpressions`) selects these labels. An empty one selects all.
pub(super) fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let equal = texts(selector, "/matchLabels").all(|(key, value)| label(key) == Some(value));
    equal
        && items(selector, "/matchExpressions").iter().all(|expression| {
            let (key, found) = (text(expression, "/key"), label(text(expression, "/key")));
            let among = items(expression, "/values").iter().any(|v| v.as_str() == found && found.is_some());
            match text(expression, "/operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => !key.is_empty() && found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
