//! Numbers: whole ones are exact, others are finite floats. Arithmetic is checked; nothing wraps or turns infinite.

use std::cmp::Ordering;
use std::fmt;

/// A number in its one normal form: whole numbers that fit are always `Int`, so that equal numbers are equal values.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole number, exact.
    Int(i128),
    /// A finite number that is not whole, or too large for `Int`.
    Float(f64),
}

/// Why arithmetic gave no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArithmeticError {
    /// The divisor is zero.
    DivisionByZero,
    /// The result is out of range.
    Overflow,
}

/// 2^127: the first float that does not fit an `i128`.
const INT_LIMIT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

impl Number {
    /// Makes a number of a float; `None` when it is infinite or not a number.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            None
        } else if value.fract() == 0.0 && value.abs() < INT_LIMIT {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range: checked above")]
            Some(Self::Int(value as i128))
        } else {
            Some(Self::Float(value))
        }
    }

    /// Reads a number as HCL and JSON write it: digits, fraction, exponent, a leading minus.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit())
            || !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        {
            return None;
        }
        match text.parse::<i128>() {
            Ok(whole) => Some(Self::Int(whole)),
            Err(_) => text.parse::<f64>().ok().and_then(Self::from_f64),
        }
    }

    /// The nearest float.
    #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(n) => n,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(n),
            Self::Float(_) => None,
        }
    }

    /// Applies an exact operation to whole numbers, or a float one to the others.
    fn apply(
        self,
        other: Self,
        exact: impl Fn(i128, i128) -> Option<i128>,
        float: impl Fn(f64, f64) -> f64,
    ) -> Result<Self, ArithmeticError> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => exact(a, b).map(Self::Int).ok_or(ArithmeticError::Overflow),
            _ => Self::from_f64(float(self.to_f64(), other.to_f64())).ok_or(ArithmeticError::Overflow),
        }
    }

    /// Adds.
    ///
    /// # Errors
    /// When the sum is out of range.
    pub fn plus(self, other: Self) -> Result<Self, ArithmeticError> {
        self.apply(other, i128::checked_add, |a, b| a + b)
    }

    /// Subtracts.
    ///
    /// # Errors
    /// When the difference is out of range.
    pub fn minus(self, other: Self) -> Result<Self, ArithmeticError> {
        self.apply(other, i128::checked_sub, |a, b| a - b)
    }

    /// Multiplies.
    ///
    /// # Errors
    /// When the product is out of range.
    pub fn times(self, other: Self) -> Result<Self, ArithmeticError> {
        self.apply(other, i128::checked_mul, |a, b| a * b)
    }

    /// Divides; a quotient that is not whole is a float.
    ///
    /// # Errors
    /// When the divisor is zero or the quotient is out of range.
    pub fn over(self, other: Self) -> Result<Self, ArithmeticError> {
        if other.is_zero() {
            return Err(ArithmeticError::DivisionByZero);
        }
        if let (Self::Int(a), Self::Int(b)) = (self, other)
            && matches!(a.checked_rem(b), Some(0) | None)
        {
            return a.checked_div(b).map(Self::Int).ok_or(ArithmeticError::Overflow);
        }
        Self::from_f64(self.to_f64() / other.to_f64()).ok_or(ArithmeticError::Overflow)
    }

    /// The remainder, with the sign of the dividend.
    ///
    /// # Errors
    /// When the divisor is zero.
    pub fn remainder(self, other: Self) -> Result<Self, ArithmeticError> {
        if other.is_zero() {
            return Err(ArithmeticError::DivisionByZero);
        }
        self.apply(other, |a, b| Some(a.checked_rem(b).unwrap_or(0)), |a, b| a % b)
    }

    /// Changes the sign.
    ///
    /// # Errors
    /// When the result is out of range.
    pub fn negated(self) -> Result<Self, ArithmeticError> {
        Self::Int(0).minus(self)
    }

    fn is_zero(self) -> bool {
        match self {
            Self::Int(n) => n == 0,
            Self::Float(n) => n == 0.0,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            // A float that is not whole is below 2^53, where the conversion of a whole number is exact enough to order.
            _ => self.to_f64().total_cmp(&other.to_f64()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Float(n) if n.abs() >= 1e21 || n.abs() < 1e-6 => write!(f, "{n:e}"),
            Self::Float(n) => n.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_exact_and_overflow_is_told() {
        let big = Number::Int(i128::MAX);
        assert_eq!(big.plus(Number::Int(1)), Err(ArithmeticError::Overflow));
        assert_eq!(Number::Int(i128::MIN).negated(), Err(ArithmeticError::Overflow));
        assert_eq!(Number::Int(i128::MIN).over(Number::Int(-1)).ok(), None);
        assert_eq!(Number::Int(i128::MIN).remainder(Number::Int(-1)), Ok(Number::Int(0)));
        assert_eq!(Number::Int(1 << 60).plus(Number::Int(1)), Ok(Number::Int((1 << 60) + 1)));
        assert_eq!(Number::Float(1e308).times(Number::Int(10)), Err(ArithmeticError::Overflow));
    }

    #[test]
    fn division_is_exact_where_it_can_be() {
        assert_eq!(Number::Int(10).over(Number::Int(2)), Ok(Number::Int(5)));
        assert_eq!(Number::Int(1).over(Number::Int(2)), Ok(Number::Float(0.5)));
        assert_eq!(Number::Int(1).over(Number::Int(0)), Err(ArithmeticError::DivisionByZero));
        assert_eq!(Number::Int(1).remainder(Number::Int(0)), Err(ArithmeticError::DivisionByZero));
        assert_eq!(Number::from_f64(2.0), Some(Number::Int(2)));
    }

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(Number::parse("1e3"), Some(Number::Int(1000)));
        assert_eq!(Number::parse("-0.5"), Some(Number::Float(-0.5)));
        for bad in ["", "inf", "nan", "+1", ".5", "1x", "-", "1e999"] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }
}
