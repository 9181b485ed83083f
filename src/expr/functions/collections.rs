//! Functions over lists, sets and maps.

use std::collections::{BTreeMap, BTreeSet};

use unicode_segmentation::UnicodeSegmentation as _;

use super::Takes::{Any, List, Number as Num, Object, Text, Whole};
use super::numbers::told;
use super::strings::plain;
use super::{Arguments, Function, Wrong, row};
use crate::expr::{Number, Value};

/// Most numbers that `range` gives: enough for the largest fleet, small enough to notice a mistake.
const RANGE_LIMIT: usize = 1_000_000;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("alltrue", &[("list", List)], "True when every element is true; also for an empty list.", |a| {
            every(a, true)
        }),
        row("anytrue", &[("list", List)], "True when an element is true; false for an empty list.", |a| {
            every(a, false)
        }),
        row("coalesce", &[("values", Any)], "The first value that is neither null nor an empty string.", |a| {
            (0..a.len())
                .map(|i| a.any(i))
                .find(|v| !matches!(v, Value::Null) && v.as_str() != Some(""))
                .cloned()
                .ok_or_else(|| "every value is null or an empty string.".into())
        })
        .variadic(),
        row("compact", &[("list", List)], "The list without nulls and empty strings.", |a| {
            Ok(Value::list(
                a.items(0).into_iter().filter(|v| !matches!(v, Value::Null) && v.as_str() != Some("")).cloned(),
            ))
        }),
        row("concat", &[("lists", List)], "The lists' elements in one list.", |a| {
            Ok(Value::list((0..a.len()).flat_map(|i| a.items(i)).cloned()))
        })
        .variadic(),
        row("contains", &[("list", List), ("value", Any)], "True when the value is an element.", |a| {
            Ok(match a.any(0) {
                Value::Set(items) => items.contains(a.any(1)),
                _ => a.items(0).contains(&a.any(1)),
            }
            .into())
        }),
        row("distinct", &[("list", List)], "The list with each value once, where it stands first.", |a| {
            let mut seen = BTreeSet::new();
            Ok(Value::list(a.items(0).into_iter().filter(|v| seen.insert(*v)).cloned()))
        }),
        row(
            "element",
            &[("list", List), ("index", Whole)],
            "The element at an index, counted round the list's end.",
            |a| {
                let items = a.items(0);
                let size = i128::try_from(items.len()).unwrap_or(i128::MAX);
                let at = a.whole(1).checked_rem_euclid(size).ok_or_else(|| Wrong::argument(0, "the list is empty."))?;
                usize::try_from(at)
                    .ok()
                    .and_then(|i| items.get(i))
                    .map(|v| (*v).clone())
                    .ok_or_else(|| "no such element.".into())
            },
        ),
        row("flatten", &[("list", List)], "The list with lists in it replaced by their elements.", |a| {
            fn walk(a: &Arguments<'_>, value: &Value, out: &mut Vec<Value>) -> Result<(), Wrong> {
                a.spend(1)?;
                match value {
                    Value::List(_) | Value::Set(_) => {
                        value.elements().into_iter().flatten().try_for_each(|item| walk(a, item, out))
                    }
                    other => {
                        out.push(other.clone());
                        Ok(())
                    }
                }
            }
            let mut out = Vec::new();
            walk(a, a.any(0), &mut out)?;
            Ok(out.into())
        }),
        row(
            "index",
            &[("list", List), ("value", Any)],
            "The position of the first element that equals the value.",
            |a| {
                let at = a.items(0).iter().position(|v| *v == a.any(1));
                at.map(|i| Value::from(i as u64)).ok_or_else(|| Wrong::argument(1, "no element equals this value."))
            },
        ),
        row("keys", &[("map", Object)], "The map's keys, sorted.", |a| {
            Ok(Value::list(a.entries(0).keys().map(|k| Value::from(k.as_str()))))
        }),
        row("length", &[("value", Any)], "The number of elements, or of a string's characters.", |a| {
            let size = match a.any(0) {
                Value::String(text) => text.graphemes(true).count(),
                Value::List(items) => items.len(),
                Value::Set(items) => items.len(),
                Value::Object(entries) => entries.len(),
                other => {
                    return Err(Wrong::argument(
                        0,
                        format!("only a list, set, map or string has a length; this is {}.", other.kind()),
                    ));
                }
            };
            Ok(Value::from(size as u64))
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
                        return Err(Wrong::argument(
                            i,
                            format!("this must be a map or object; it is {}.", other.kind()),
                        ));
                    }
                }
            }
            Ok(Value::object(merged))
        })
        .variadic(),
        row("one", &[("list", List)], "The only element, or null when there is none.", |a| {
            match a.items(0).as_slice() {
                [] => Ok(Value::Null),
                [only] => Ok((*only).clone()),
                more => Err(Wrong::argument(0, format!("at most one element is expected; there are {}.", more.len()))),
            }
        }),
        row(
            "range",
            &[("start or limit", Num), ("limit", Num), ("step", Num)],
            "The numbers from start (default 0) to before limit, by step (default 1 or -1).",
            range,
        )
        .optional(2),
        row("reverse", &[("list", List)], "The elements in reverse order.", |a| {
            Ok(Value::list(a.items(0).into_iter().rev().cloned()))
        }),
        row("setintersection", &[("set", List), ("sets", List)], "The values that are in every set.", |a| {
            combined(a, |first, other| first.retain(|v| other.contains(v)))
        })
        .variadic(),
        row(
            "setproduct",
            &[("list", List), ("lists", List)],
            "All combinations, each a list with one element of each list.",
            |a| {
                let mut product: Vec<Vec<Value>> = vec![Vec::new()];
                for i in 0..a.len() {
                    let items = a.items(i);
                    a.spend((product.len() as u64).saturating_mul(items.len() as u64).saturating_mul(a.len() as u64))?;
                    product = product
                        .iter()
                        .flat_map(|row| items.iter().map(|item| row.iter().cloned().chain([(*item).clone()]).collect()))
                        .collect();
                }
                Ok(Value::list(product.into_iter().map(Value::from)))
            },
        )
        .variadic(),
        row(
            "setsubtract",
            &[("set", List), ("other", List)],
            "The values of the first set that the other lacks.",
            |a| combined(a, |first, other| first.retain(|v| !other.contains(v))),
        ),
        row("setunion", &[("set", List), ("sets", List)], "The values that are in any of the sets.", |a| {
            combined(a, |first, other| first.extend(other.iter().copied()))
        })
        .variadic(),
        row(
            "slice",
            &[("list", List), ("start", Whole), ("end", Whole)],
            "The elements from start to before end.",
            |a| {
                let items = a.items(0);
                let (start, end) = (usize::try_from(a.whole(1)), usize::try_from(a.whole(2)));
                let part = match (start, end) {
                    (Ok(start), Ok(end)) => items.get(start..end),
                    _ => None,
                };
                part.map(|p| Value::list(p.iter().map(|v| (*v).clone()))).ok_or_else(|| {
                    format!(
                        "0 <= start <= end <= {} must hold; start is {}, end is {}.",
                        items.len(),
                        a.whole(1),
                        a.whole(2)
                    )
                    .into()
                })
            },
        ),
        row("sort", &[("list", List)], "The strings in the order of their bytes.", |a| {
            let mut texts = strings(a, 0)?;
            texts.sort();
            Ok(Value::list(texts.into_iter().map(Value::from)))
        }),
        row("sum", &[("list", List)], "The numbers' sum.", |a| {
            let items = a.items(0);
            if items.is_empty() {
                return Err(Wrong::argument(0, "the list is empty."));
            }
            let mut sum = Number::Int(0);
            for item in items {
                let Value::Number(number) = item else {
                    return Err(Wrong::argument(0, format!("every element must be a number; one is {}.", item.kind())));
                };
                sum = sum.plus(*number).map_err(told)?;
            }
            Ok(sum.into())
        }),
        row("values", &[("map", Object)], "The map's values in the order of its keys.", |a| {
            Ok(Value::list(a.entries(0).values().cloned()))
        }),
        row(
            "zipmap",
            &[("keys", List), ("values", List)],
            "A map of keys and values that stand at the same place.",
            |a| {
                let (keys, values) = (strings(a, 0)?, a.items(1));
                if keys.len() != values.len() {
                    return Err(format!("there are {} keys and {} values.", keys.len(), values.len()).into());
                }
                Ok(Value::object(keys.into_iter().zip(values.into_iter().cloned())))
            },
        ),
    ]
};

fn strings(a: &Arguments<'_>, i: usize) -> Result<Vec<String>, Wrong> {
    let wrong = |v: &Value| Wrong::argument(i, format!("every element must be a string; one is {}.", v.kind()));
    a.items(i).into_iter().map(|v| plain(v).ok_or_else(|| wrong(v))).collect()
}

fn every(a: &Arguments<'_>, all: bool) -> Result<Value, Wrong> {
    let mut result = all;
    for item in a.items(0) {
        match item {
            Value::Bool(truth) if *truth != all => result = !all,
            Value::Bool(_) => {}
            Value::Null => result = result && !all,
            other => return Err(Wrong::argument(0, format!("every element must be a bool; one is {}.", other.kind()))),
        }
    }
    Ok(result.into())
}

fn combined<'a>(
    a: &Arguments<'a>,
    with: impl Fn(&mut BTreeSet<&'a Value>, &BTreeSet<&'a Value>),
) -> Result<Value, Wrong> {
    let mut set: BTreeSet<&Value> = a.items(0).into_iter().collect();
    for i in 1..a.len() {
        with(&mut set, &a.items(i).into_iter().collect());
    }
    Ok(Value::set(set.into_iter().cloned()))
}

fn range(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let (start, limit) = if a.len() == 1 { (Number::Int(0), a.number(0)) } else { (a.number(0), a.number(1)) };
    let zero = Number::Int(0);
    let step = match a.len() {
        3 => a.number(2),
        _ if limit < start => Number::Int(-1),
        _ => Number::Int(1),
    };
    if step == zero || (step < zero) != (limit < start) && limit != start {
        return Err(Wrong::argument(2, "the step must lead from the start to the limit."));
    }
    let mut numbers = Vec::new();
    let mut next = start;
    while if step > zero { next < limit } else { next > limit } {
        if numbers.len() == RANGE_LIMIT {
            return Err(format!("more than {RANGE_LIMIT} numbers.").into());
        }
        numbers.push(Value::from(next));
        let after = next.plus(step).map_err(told)?;
        if after == next {
            return Err(Wrong::argument(2, "the step is too small to change the number."));
        }
        next = after;
    }
    a.spend(numbers.len() as u64)?;
    Ok(numbers.into())
}
