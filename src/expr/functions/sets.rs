//! Functions over sets: values of one type, each once, in their order.

use std::collections::BTreeSet;

use super::Takes::Uniform;
use super::{Arguments, Function, Wrong, row};
use crate::expr::Value;
use crate::expr::types::{Type, common, convert};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("setintersection", &[("set", Uniform), ("sets", Uniform)], "The values that are in every set.", |a| {
            combined(a, |first, other| first.retain(|v| other.contains(v)))
        })
        .variadic(),
        row(
            "setproduct",
            &[("list", Uniform), ("second", Uniform), ("lists", Uniform)],
            "All combinations, each a list with one element of each list; of sets, a set of them.",
            product,
        )
        .variadic(),
        row(
            "setsubtract",
            &[("set", Uniform), ("other", Uniform)],
            "The values of the first set that the other lacks.",
            |a| combined(a, |first, other| first.retain(|v| !other.contains(v))),
        ),
        row("setunion", &[("set", Uniform), ("sets", Uniform)], "The values that are in any of the sets.", |a| {
            combined(a, |first, other| first.extend(other.iter().cloned()))
        })
        .variadic(),
    ]
};

fn combined(a: &Arguments<'_>, with: impl Fn(&mut BTreeSet<Value>, &BTreeSet<Value>)) -> Result<Value, Wrong> {
    let types: Vec<Type> = (0..a.len()).filter_map(|i| common(a.items(i).into_iter())).collect();
    let wanted = Type::unify(&types)
        .ok_or_else(|| Wrong::from("the elements of all sets must have one type; here they differ."))?;
    let set = |i: usize| -> Result<BTreeSet<Value>, Wrong> {
        a.items(i).into_iter().map(|v| convert(v, &wanted).map_err(|e| Wrong::argument(i, e.to_string()))).collect()
    };
    let mut first = set(0)?;
    for i in 1..a.len() {
        with(&mut first, &set(i)?);
    }
    Ok(Value::set(first))
}

fn product(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let sets = (0..a.len()).any(|i| matches!(a.any(i), Value::Set(_)));
    let mut product: Vec<Vec<Value>> = vec![Vec::new()];
    for i in 0..a.len() {
        let mut items = a.items(i);
        if sets {
            items.sort_unstable();
            items.dedup();
        }
        a.spend((product.len() as u64).saturating_mul(items.len() as u64).saturating_mul(a.len() as u64))?;
        product = product
            .iter()
            .flat_map(|row| items.iter().map(|item| row.iter().cloned().chain([(*item).clone()]).collect()))
            .collect();
    }
    let rows = product.into_iter().map(Value::from);
    Ok(if sets { Value::set(rows) } else { Value::list(rows) })
}
