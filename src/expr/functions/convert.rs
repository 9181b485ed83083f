//! Functions that turn one kind of value into another, and those that ask whether there is one.

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
        row(
            "try",
            &[("expression", Any), ("expressions", Any)],
            "The value of the first expression that is no error.",
            |a| Ok(a.any(0).clone()),
        )
        .variadic(),
        row("tobool", &[("value", Any)], "The value as a bool: true, false, \"true\" or \"false\".", |a| {
            to(a.any(0), &Type::Bool)
        }),
        row("tolist", &[("value", Any)], "A list or set as a list.", |a| {
            to(a.any(0), &Type::List(Box::new(Type::Any)))
        }),
        row("tomap", &[("value", Any)], "A map or object as a map.", |a| to(a.any(0), &Type::Map(Box::new(Type::Any)))),
        row("tonumber", &[("value", Any)], "The value as a number; a string must write one.", |a| {
            to(a.any(0), &Type::Number)
        }),
        row("toset", &[("value", Any)], "A list or set as a set: each value once, sorted.", |a| {
            to(a.any(0), &Type::Set(Box::new(Type::Any)))
        }),
        row("tostring", &[("value", Any)], "A string, number or bool as a string.", |a| to(a.any(0), &Type::String)),
    ]
};
