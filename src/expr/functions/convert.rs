//! Functions that turn one kind of value into another or choose among values, and those that ask whether there is one.

use super::Takes::Any;
use super::{Function, Wrong, row};
use crate::expr::Value;
use crate::expr::types::{Type, convert};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    fn to(value: &Value, wanted: &Type) -> Result<Value, Wrong> {
        convert(value, wanted).map_err(|e| Wrong::argument(0, e.to_string()))
    }
    vec![
        // These two get their arguments unevaluated, from the evaluator itself; what comes here has a value.
        row(
            "can",
            &[("expression", Any)],
            "True when the expression gives a value, false when it is an error.",
            |_| Ok(true.into()),
        ),
        row("try", &[("expressions", Any)], "The value of the first expression that is no error.", |a| {
            Ok(a.any(0).clone())
        })
        .variadic(),
        row(
            "coalesce",
            &[("values", Any)],
            "The first value that is neither null nor an empty string; all are brought to one type.",
            |a| {
                let types: Vec<Type> = (0..a.len()).map(|i| Type::of(a.any(i))).collect();
                let wanted = Type::unify(&types).ok_or("all values must have one type; here they differ.")?;
                let found = (0..a.len()).map(|i| a.any(i));
                let found = found.filter(|v| !matches!(v, Value::Null) && v.as_str() != Some("")).take(1).next();
                let found = found.ok_or("every value is null or an empty string.")?;
                convert(found, &wanted).map_err(|e| Wrong::from(e.to_string()))
            },
        )
        .variadic(),
        row("tobool", &[("value", Any)], "The value as a bool: true, false, \"true\" or \"false\".", |a| {
            to(a.any(0), &Type::Bool)
        }),
        row("tolist", &[("value", Any)], "A list or set as a list whose elements have one type.", |a| {
            to(a.any(0), &Type::List(Box::new(Type::Any)))
        }),
        row("tomap", &[("value", Any)], "A map or object as a map whose values have one type.", |a| {
            to(a.any(0), &Type::Map(Box::new(Type::Any)))
        }),
        row("tonumber", &[("value", Any)], "The value as a number; a string must write one.", |a| {
            to(a.any(0), &Type::Number)
        }),
        row("toset", &[("value", Any)], "A list or set as a set: each value once, sorted, all of one type.", |a| {
            to(a.any(0), &Type::Set(Box::new(Type::Any)))
        }),
        row("tostring", &[("value", Any)], "A string, number or bool as a string.", |a| to(a.any(0), &Type::String)),
        row("type", &[("value", Any)], "The type of a value, as a variable's `type` would write it.", |a| {
            Ok(Type::of(a.any(0)).to_string().into())
        }),
    ]
};
