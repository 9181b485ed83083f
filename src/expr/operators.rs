//! Operators: strict about types as HCL's parser library is (no `"1" + 1`), three-valued where something is unknown.

use std::cmp::Ordering;

use super::eval::{Env, Fault};
use super::number::ArithmeticError;
use super::tree::{Binary, Node, Unary};
use super::{Number, Value};

/// Applies `-` or `!`.
pub(crate) fn unary(env: &Env<'_>, operator: Unary, node: &Node, inner: &Node) -> Result<Value, Fault> {
    match (operator, env.value(inner)?) {
        (_, Value::Unknown) => Ok(Value::Unknown),
        (Unary::Not, Value::Bool(truth)) => Ok(Value::Bool(!truth)),
        (Unary::Negate, Value::Number(number)) => {
            number.negated().map(Value::Number).map_err(|e| arithmetic(env, node, e))
        }
        (Unary::Not, other) => Err(env.wrong_type(inner, "a bool after `!`", &other)),
        (Unary::Negate, other) => Err(env.wrong_type(inner, "a number after `-`", &other)),
    }
}

/// Applies `&&` (`deciding` is false) or `||` (`deciding` is true): the right side is not looked at when the left
/// one decides, and a deciding right side decides also when the left one is unknown.
pub(crate) fn logic(env: &Env<'_>, deciding: bool, left: &Node, right: &Node) -> Result<Value, Fault> {
    let operand = |node: &Node| match env.value(node)? {
        Value::Bool(truth) => Ok(Some(truth)),
        Value::Unknown => Ok(None),
        other => Err(env.wrong_type(node, if deciding { "a bool beside `||`" } else { "a bool beside `&&`" }, &other)),
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
        return Ok(Value::Bool((a == b) == (operator == Binary::Equal)));
    }
    let number = |side: &Node, value: Value| match value {
        Value::Number(number) => Ok(Some(number)),
        Value::Unknown => Ok(None),
        other => Err(env.wrong_type(side, &format!("a number beside `{}`", operator.as_str()), &other)),
    };
    let (Some(a), Some(b)) = (number(left, a)?, number(right, b)?) else { return Ok(Value::Unknown) };
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
            .detail("Whole numbers reach from -2^127 to 2^127 - 1, others to about 1.8e308."),
    }
    .into()
}
