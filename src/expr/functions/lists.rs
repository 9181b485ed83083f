//! Functions over lists: what has an order. A set has one here, too, that of its elements.

use std::collections::BTreeSet;

use super::Takes::{Bools, List, Number as Num, Numbers, Some as Anything, Texts, Uniform, Whole};
use super::numbers::told;
use super::{Arguments, Function, Wrong, row};
use crate::expr::types::{Type, convert};
use crate::expr::{Number, Value};

/// Most numbers that `range` gives: enough for the largest fleet, small enough to notice a mistake.
const RANGE_LIMIT: usize = 1_000_000;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("alltrue", &[("list", Bools)], "True when every element is true; also for an empty list.", |a| {
            Ok(a.items(0).into_iter().all(|v| *v == Value::Bool(true)).into())
        }),
        row("anytrue", &[("list", Bools)], "True when an element is true; false for an empty list.", |a| {
            Ok(a.items(0).into_iter().any(|v| *v == Value::Bool(true)).into())
        }),
        row(
            "chunklist",
            &[("list", Uniform), ("size", Whole)],
            "The list in parts of this size, the last of what is left; size 0 gives one part.",
            |a| {
                let items = a.items(0);
                let size = match usize::try_from(a.whole(1)) {
                    Ok(0) => items.len().max(1),
                    Ok(size) => size,
                    Err(_) => return Err(Wrong::argument(1, "the size must not be negative.")),
                };
                Ok(Value::list(items.chunks(size).map(|part| Value::list(part.iter().copied().cloned()))))
            },
        ),
        row("coalescelist", &[("list", List), ("lists", List)], "The first list that is not empty.", |a| {
            let found = (0..a.len()).find(|i| !a.items(*i).is_empty());
            found.map(|i| a.any(i).clone()).ok_or_else(|| "every list is empty.".into())
        })
        .variadic(),
        row("compact", &[("list", Texts)], "The strings without nulls and empty strings.", |a| {
            Ok(Value::list(
                a.items(0).into_iter().filter(|v| !matches!(v, Value::Null) && v.as_str() != Some("")).cloned(),
            ))
        }),
        row("concat", &[("list", List), ("lists", List)], "The lists' elements in one list.", |a| {
            Ok(Value::list((0..a.len()).flat_map(|i| a.items(i)).cloned()))
        })
        .variadic(),
        row("contains", &[("list", List), ("value", Anything)], "True when the value is an element.", |a| {
            Ok(match a.any(0) {
                Value::Set(items) => items.contains(a.any(1)),
                _ => a.items(0).contains(&a.any(1)),
            }
            .into())
        }),
        row("distinct", &[("list", Uniform)], "The list with each value once, where it stands first.", |a| {
            let mut seen = BTreeSet::new();
            Ok(Value::list(a.items(0).into_iter().filter(|v| seen.insert(*v)).cloned()))
        }),
        row(
            "element",
            &[("list", List), ("index", Whole)],
            "The element at an index; an index beyond the end begins again at the start.",
            |a| {
                let items = a.items(0);
                if items.is_empty() {
                    return Err(Wrong::argument(0, "the list is empty."));
                }
                let index = u128::try_from(a.whole(1)).map_err(|_| {
                    Wrong::argument(1, "the index must not be negative; the last element is at length(list) - 1.")
                })?;
                let at = usize::try_from(index % items.len() as u128).unwrap_or(0);
                items.get(at).map(|v| (*v).clone()).ok_or_else(|| Wrong::argument(0, "the list is empty."))
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
            &[("list", List), ("value", Anything)],
            "The position of the first element that equals the value.",
            |a| {
                let at = a.items(0).iter().position(|v| *v == a.any(1));
                at.map(|i| Value::from(i as u64)).ok_or_else(|| Wrong::argument(1, "no element equals this value."))
            },
        ),
        row(
            "length",
            &[("value", Anything)],
            "The number of elements, or of a string's characters as a reader counts them.",
            |a| {
                let size = match a.any(0) {
                    Value::String(text) => super::strings::characters(text),
                    Value::List(items) => items.len(),
                    Value::Set(items) => items.len(),
                    Value::Object(entries) => entries.len(),
                    other => {
                        let message =
                            format!("only a list, set, map or string has a length; this is {}.", other.kind());
                        return Err(Wrong::argument(0, message));
                    }
                };
                Ok(Value::from(size as u64))
            },
        ),
        row(
            "matchkeys",
            &[("values", Uniform), ("keys", Uniform), ("wanted", Uniform)],
            "The values whose key, at the same place, is one of those wanted.",
            |a| {
                let (values, keys) = (a.items(0), a.items(1));
                if values.len() != keys.len() {
                    return Err(format!("there are {} values and {} keys.", values.len(), keys.len()).into());
                }
                let (keys, wanted) = alike(a, 1, 2)?;
                let found = values.into_iter().zip(keys).filter(|(_, key)| wanted.contains(key));
                Ok(Value::list(found.map(|(value, _)| value.clone())))
            },
        ),
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
                part.map(|p| Value::list(p.iter().copied().cloned())).ok_or_else(|| {
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
        row("sort", &[("list", Texts)], "The strings in the order of their characters' code points.", |a| {
            let mut texts = texts(a, 0)?;
            texts.sort_unstable();
            Ok(Value::list(texts.into_iter().map(Value::from)))
        }),
        row("sum", &[("list", Numbers)], "The numbers' sum.", |a| {
            let items = a.items(0);
            if items.is_empty() {
                return Err(Wrong::argument(0, "the list is empty."));
            }
            let mut sum = Number::Int(0);
            for (i, item) in items.into_iter().enumerate() {
                let Value::Number(number) = item else { return Err(Wrong::element(0, i, "this element is null.")) };
                sum = sum.plus(*number).map_err(told)?;
            }
            Ok(sum.into())
        }),
    ]
};

/// The strings of a list; null is none.
pub(super) fn texts<'a>(a: &Arguments<'a>, i: usize) -> Result<Vec<&'a str>, Wrong> {
    let items = a.items(i).into_iter().enumerate();
    items.map(|(n, v)| v.as_str().ok_or_else(|| Wrong::element(i, n, "this element is null."))).collect()
}

/// The elements of two lists, brought to one type.
fn alike(a: &Arguments<'_>, i: usize, j: usize) -> Result<(Vec<Value>, Vec<Value>), Wrong> {
    let both: Vec<Type> = [i, j].into_iter().flat_map(|i| a.items(i)).map(Type::of).collect();
    let wanted = Type::unify(&both)
        .ok_or_else(|| Wrong::argument(j, "these elements cannot be compared with the keys: their types differ."))?;
    let converted = |i: usize| -> Result<Vec<Value>, Wrong> {
        a.items(i).into_iter().map(|v| convert(v, &wanted).map_err(|e| Wrong::argument(i, e.to_string()))).collect()
    };
    Ok((converted(i)?, converted(j)?))
}

fn range(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let (start, limit) = if a.len() == 1 { (Number::Int(0), a.number(0)) } else { (a.number(0), a.number(1)) };
    let zero = Number::Int(0);
    let step = match a.len() {
        3 => a.number(2),
        _ if limit < start => Number::Int(-1),
        _ => Number::Int(1),
    };
    if limit == start {
        return Ok(Vec::new().into());
    }
    if step == zero || (step < zero) != (limit < start) {
        return Err(Wrong::argument(2, "the step must lead from the start to the limit."));
    }
    let mut numbers = Vec::new();
    let mut next = start;
    while if step > zero { next < limit } else { next > limit } {
        if numbers.len() == RANGE_LIMIT {
            return Err(format!("more than {RANGE_LIMIT} numbers.").into());
        }
        numbers.push(Value::from(next));
        next = next.plus(step).map_err(told)?;
    }
    a.spend(numbers.len() as u64)?;
    Ok(numbers.into())
}
