//! Functions over numbers.

use super::Takes::{Number as Num, Text, Whole};
use super::{Arguments, Function, Wrong, row};
use crate::expr::number::ArithmeticError;
use crate::expr::{Number, Value};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("abs", &[("number", Num)], "The number without its sign.", |a| {
            let number = a.number(0);
            if number < Number::Int(0) { number.negated().map(Value::from).map_err(told) } else { Ok(number.into()) }
        }),
        row("ceil", &[("number", Num)], "The next whole number that is not smaller.", |a| rounded(a, f64::ceil)),
        row("floor", &[("number", Num)], "The next whole number that is not larger.", |a| rounded(a, f64::floor)),
        row("max", &[("number", Num), ("numbers", Num)], "The largest of the numbers.", |a| {
            Ok((1..a.len()).fold(a.number(0), |most, i| most.max(a.number(i))).into())
        })
        .variadic(),
        row("min", &[("number", Num), ("numbers", Num)], "The smallest of the numbers.", |a| {
            Ok((1..a.len()).fold(a.number(0), |least, i| least.min(a.number(i))).into())
        })
        .variadic(),
        row(
            "parseint",
            &[("text", Text), ("base", Whole)],
            "The whole number that a text writes in a base from 2 to 36.",
            |a| {
                let base = u32::try_from(a.whole(1)).ok().filter(|b| (2..=36).contains(b));
                let base = base.ok_or_else(|| Wrong::argument(1, "the base must be from 2 to 36."))?;
                let number = i128::from_str_radix(a.text(0), base)
                    .map_err(|_| Wrong::argument(0, format!("this is not a whole number in base {base}.")))?;
                Ok(Number::Int(number).into())
            },
        ),
        row("pow", &[("base", Num), ("exponent", Num)], "The base raised to the exponent.", power),
        row("signum", &[("number", Num)], "-1, 0 or 1: the number's sign.", |a| {
            Ok(Value::from(a.number(0).cmp(&Number::Int(0)) as i64))
        }),
    ]
};

pub(super) fn told(error: ArithmeticError) -> Wrong {
    Wrong::from(match error {
        ArithmeticError::DivisionByZero => "division by zero.",
        ArithmeticError::Overflow => "the result is out of range.",
    })
}

fn rounded(a: &Arguments<'_>, how: fn(f64) -> f64) -> Result<Value, Wrong> {
    match a.number(0) {
        whole @ Number::Int(_) => Ok(whole.into()),
        Number::Float(n) => Number::from_f64(how(n)).map(Value::from).ok_or_else(|| told(ArithmeticError::Overflow)),
    }
}

fn power(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let exact = match (a.number(0), a.number(1)) {
        (Number::Int(base), Number::Int(exponent)) => {
            u32::try_from(exponent).ok().and_then(|e| base.checked_pow(e)).map(Number::Int)
        }
        _ => None,
    };
    exact
        .or_else(|| Number::from_f64(a.number(0).to_f64().powf(a.number(1).to_f64())))
        .map(Value::from)
        .ok_or_else(|| told(ArithmeticError::Overflow))
}
