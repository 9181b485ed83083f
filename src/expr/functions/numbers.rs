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
        row("ceil", &[("number", Num)], "The next whole number that is not smaller.", |a| {
            Ok(Number::Int(a.number(0).ceil()).into())
        }),
        row("floor", &[("number", Num)], "The next whole number that is not larger.", |a| {
            Ok(Number::Int(a.number(0).floor()).into())
        }),
        row("log", &[("number", Num), ("base", Num)], "The logarithm of a number to a base.", |a| {
            let (number, base) = (a.number(0).to_f64(), a.number(1).to_f64());
            if number <= 0.0 {
                return Err(Wrong::argument(0, "only a number above 0 has a logarithm."));
            }
            if base < 0.0 || a.number(1) == Number::Int(1) {
                return Err(Wrong::argument(1, "the base must be above 0, and not 1."));
            }
            Number::from_f64(number.ln() / base.ln()).map(Value::from).ok_or_else(|| told(ArithmeticError::Overflow))
        }),
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
            "The whole number that a text writes in a base from 2 to 62; above 36, capital letters come after small ones.",
            |a| {
                let base = u32::try_from(a.whole(1)).ok().filter(|b| (2..=62).contains(b));
                let base = base.ok_or_else(|| Wrong::argument(1, "the base must be from 2 to 62."))?;
                let text = a.text(0);
                let (sign, digits) = match text.strip_prefix('-') {
                    Some(digits) => (-1, digits),
                    None => (1, text.strip_prefix('+').unwrap_or(text)),
                };
                let wrong = || Wrong::argument(0, format!("this is not a whole number in base {base}."));
                if digits.is_empty() {
                    return Err(wrong());
                }
                let mut number: i128 = 0;
                for c in digits.chars() {
                    let digit = digit(c, base).ok_or_else(wrong)?;
                    number = number
                        .checked_mul(base.into())
                        .and_then(|n| n.checked_add(sign * i128::from(digit)))
                        .ok_or_else(|| told(ArithmeticError::Overflow))?;
                }
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

/// What a digit is worth in a base, if it is one there.
fn digit(c: char, base: u32) -> Option<u32> {
    let value = match c {
        'A'..='Z' if base > 36 => 36 + (u32::from(c) - u32::from('A')),
        _ => c.to_digit(36)?,
    };
    (value < base).then_some(value)
}

/// Exact where the exponent is a small whole number and the result fits; else as floats have it.
fn power(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let (base, exponent) = (a.number(0), a.number(1));
    let exact = || {
        let whole = exponent.as_int()?;
        let mut left = u32::try_from(whole.unsigned_abs()).ok()?;
        let (mut result, mut square) = (Number::Int(1), base);
        while left > 0 {
            if left % 2 == 1 {
                result = result.times(square).ok()?;
            }
            left /= 2;
            if left > 0 {
                square = square.times(square).ok()?;
            }
        }
        if whole < 0 { Number::Int(1).over(result).ok() } else { Some(result) }
    };
    let rounded = || {
        let float = base.to_f64().powf(exponent.to_f64());
        // What floats take for 0, and is not, has no number here.
        Number::from_f64(float).filter(|n| *n != Number::Int(0))
    };
    exact().or_else(rounded).map(Value::from).ok_or_else(|| told(ArithmeticError::Overflow))
}
