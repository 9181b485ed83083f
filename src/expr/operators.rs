//! Operators: a string that writes a number or a bool is taken for one, as in Terraform; three-valued where something
//! is unknown.

use std::cmp::Ordering;

use super::eval::{Env, Fault};
use super::number::ArithmeticError;
use super::tree::{Binary, Node, Unary};
use super::types::{Type, convert};
use super::{Number, Value};

/// The bool that a value is or writes; else the value.
pub(crate) fn truth(value: Value) -> Result<bool, Value> {
    match convert(&value, &Type::Bool) {
        Ok(Value::Bool(truth)) => Ok(truth),
        _ => Err(value),
    }
}

/// The number that a value is or writes; else the value.
pub(crate) fn number(value: Value) -> Result<Number, Value> {
    match convert(&value, &Type::Number) {
        Ok(Value::Number(number)) => Ok(number),
        _ => Err(value),
    }
}

/// Applies `-` or `!`.
pub(crate) fn unary(env: &Env<'_>, operator: Unary, node: &Node, inner: &Node) -> Result<Value, Fault> {
    match (operator, env.value(inner)?) {
        (_, Value::Unknown) => Ok(Value::Unknown),
        (Unary::Not, value) => match truth(value) {
            Ok(truth) => Ok(Value::Bool(!truth)),
            Err(other) => Err(env.wrong_type(inner, "a bool after `!`", &other)),
        },
        (Unary::Negate, value) => match number(value) {
            Ok(number) => number.negated().map(Value::Number).map_err(|e| arithmetic(env, node, e)),
            Err(other) => Err(env.wrong_type(inner, "a number after `-`", &other)),
        },
    }
}

/// Applies `&&` (`deciding` is false) or `||` (`deciding` is true): the right side is not looked at when the left
/// one decides, and a deciding right side decides also when the left one is unknown.
pub(crate) fn logic(env: &Env<'_>, deciding: bool, left: &Node, right: &Node) -> Result<Value, Fault> {
    let operand = |node: &Node| match env.value(node)? {
        Value::Bool(truth) => Ok(Some(truth)),
        Value::Unknown => Ok(None),
        other => truth(other).map(Some).map_err(|other| {
            env.wrong_type(node, if deciding { "a bool beside `||`" } else { "a bool beside `&&`" }, &other)
        }),
    };
    let first = operand(left)?;
    if first == Some(deciding) {
        return Ok(Value::Bool(deciding));
    }
    Ok(match (first, operand(right)?) {
        (_, Some(truth)) if truth == deciding => Value::Bool(deciding),
        (Some(_), Some(truth)) => Value::Bool(truth),
        _ => Value::Unknown,
    })
}

/// Applies arithmetic and comparisons.
pub(crate) fn binary(
    env: &Env<'_>,
    operator: Binary,
    node: &Node,
    (left, a): (&Node, Value),
    (right, b): (&Node, Value),
) -> Result<Value, Fault> {
    if matches!(operator, Binary::Equal | Binary::NotEqual) {
        if matches!((&a, &b), (Value::Unknown, _) | (_, Value::Unknown))
            || env.names.is_partial() && (a.has_unknown() || b.has_unknown())
        {
            return Ok(Value::Unknown);
        }
        if let (Value::List(_) | Value::Set(_) | Value::Object(_), _) = (&a, &b) {
            env.spend(node, a.parts(b.parts(usize::MAX)) as u64)?;
        }
        return Ok(Value::Bool((a == b) == (operator == Binary::Equal)));
    }
    let operand = |side: &Node, value: Value| match value {
        Value::Unknown => Ok(None),
        value => number(value)
            .map(Some)
            .map_err(|other| env.wrong_type(side, &format!("a number beside `{}`", operator.as_str()), &other)),
    };
    let (Some(a), Some(b)) = (operand(left, a)?, operand(right, b)?) else { return Ok(Value::Unknown) };
    let result: Result<Number, ArithmeticError> = match operator {
        Binary::Add => a.plus(b),
        Binary::Subtract => a.minus(b),
        Binary::Multiply => a.times(b),
        Binary::Divide => a.over(b),
        Binary::Remainder => a.remainder(b),
        comparison => return Ok(Value::Bool(holds(comparison, a.cmp(&b)))),
    };
    result.map(Value::Number).map_err(|e| arithmetic(env, node, e))
}

/// Says whether a comparison holds for this order of its operands.
pub(crate) fn holds(operator: Binary, order: Ordering) -> bool {
    match operator {
        Binary::Less => order == Ordering::Less,
        Binary::LessEqual => order != Ordering::Greater,
        Binary::Greater => order == Ordering::Greater,
        Binary::GreaterEqual => order != Ordering::Less,
        Binary::NotEqual => order != Ordering::Equal,
        _ => order == Ordering::Equal,
    }
}

/// The diagnostic for arithmetic that has no result.
pub(crate) fn arithmetic(env: &Env<'_>, node: &Node, error: ArithmeticError) -> Fault {
    match error {
        ArithmeticError::DivisionByZero => env
            .fault(node, "expr/division-by-zero", "Division by zero")
            .detail("The divisor is 0, so there is no result.")
            .help("Guard it: `divisor == 0 ? … : …`."),
        ArithmeticError::Overflow => env
            .fault(node, "expr/overflow", "Number out of range")
            .detail("A number has at most 38 digits before its point and 37 behind it, and is never rounded to fit."),
    }
    .into()
}
