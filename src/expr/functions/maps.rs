//! Functions over maps and objects. Their keys are sorted.

use std::collections::BTreeMap;

use super::Takes::{Any, List, Object, Text, Texts};
use super::{Function, Wrong, row};
use crate::expr::Value;
use crate::expr::types::{Type, convert};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("keys", &[("map", Object)], "The map's keys, sorted.", |a| {
            Ok(Value::list(a.entries(0).keys().map(|k| Value::from(k.as_str()))))
        }),
        row(
            "lookup",
            &[("map", Object), ("key", Text), ("default", Any)],
            "The value under a key, or the default.",
            |a| match (a.entries(0).get(a.text(1)), a.len()) {
                (Some(value), _) => Ok(value.clone()),
                (None, 3) => Ok(a.any(2).clone()),
                _ => Err(Wrong::argument(1, "the map has no such key, and there is no default.")),
            },
        )
        .optional(1),
        row("merge", &[("maps", Any)], "One map of all entries; of equal keys the last one wins.", |a| {
            let mut merged = BTreeMap::new();
            for i in 0..a.len() {
                match a.any(i) {
                    Value::Null => {}
                    Value::Object(entries) => merged.extend(entries.iter().map(|(k, v)| (k.clone(), v.clone()))),
                    other => {
                        let message = format!("this must be a map or object; it is {}.", other.kind());
                        return Err(Wrong::argument(i, message));
                    }
                }
            }
            Ok(Value::object(merged))
        })
        .variadic(),
        row(
            "transpose",
            &[("map", Object)],
            "A map of lists of strings turned round: under each string the keys whose lists have it.",
            |a| {
                let wanted = Type::List(Box::new(Type::String));
                let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
                for (key, list) in a.entries(0) {
                    let list = convert(list, &wanted)
                        .map_err(|e| Wrong::argument(0, format!("its value under {key:?} must be {}.", e.message)))?;
                    if list == Value::Null {
                        return Err(Wrong::argument(0, format!("its value under {key:?} is null.")));
                    }
                    for text in list.elements().into_iter().flatten() {
                        let text = text.as_str().ok_or_else(|| {
                            Wrong::argument(0, format!("its value under {key:?} must be a list of strings."))
                        })?;
                        found.entry(text.to_owned()).or_default().push(Value::from(key.as_str()));
                    }
                }
                Ok(Value::object(found.into_iter().map(|(text, keys)| (text, Value::from(keys)))))
            },
        ),
        row("values", &[("map", Object)], "The map's values in the order of its keys.", |a| {
            Ok(Value::list(a.entries(0).values().cloned()))
        }),
        row(
            "zipmap",
            &[("keys", Texts), ("values", List)],
            "A map of keys and values that stand at the same place.",
            |a| {
                let (keys, values) = (super::lists::texts(a, 0)?, a.items(1));
                if keys.len() != values.len() {
                    return Err(format!("there are {} keys and {} values.", keys.len(), values.len()).into());
                }
                Ok(Value::object(keys.into_iter().zip(values.into_iter().cloned())))
            },
        ),
    ]
};
