//! Numbers: exact fractions of whole numbers, so that `0.1 + 0.2` is `0.3` and `1 / 3 * 3` is `1`. Arithmetic is
//! checked; nothing wraps, and nothing that can be exact is rounded.

use std::cmp::Ordering;
use std::fmt;

/// A number in its one normal form, so that equal numbers are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// A whole number.
    Int(i128),
    /// What is not whole.
    Fraction(Fraction),
}

/// A fraction in lowest terms, which is not a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    numerator: i128,
    /// From 2 to [`LIMIT`].
    denominator: i128,
}

/// Why arithmetic gave no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArithmeticError {
    /// The divisor is zero.
    DivisionByZero,
    /// The result is out of range.
    Overflow,
}

/// Largest denominator: 37 decimals, and ten times a remainder still fits.
const LIMIT: i128 = 10_i128.pow(37);
/// Digits that are shown of a fraction whose decimals never end, as many as tell two floats apart.
const SHOWN: usize = 17;
/// 2^127: the first float that does not fit an `i128`.
const INT_LIMIT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

impl Number {
    /// Makes a number of a float, as its shortest decimal form; `None` when it is infinite, not a number or too large.
    /// What is below 10^-37 is rounded.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() || value.abs() >= INT_LIMIT {
            return None;
        }
        Self::parse(&format!("{value}")).or_else(|| Self::parse(&format!("{value:.30}")))
    }

    /// Reads a number as HCL and JSON write it: digits, decimals, exponent, a leading minus. `None` when it is none, or
    /// has more digits than can be exact: some 38 before the point, 37 behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (digits, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (rest.get(..at)?, exponent(rest.get(at + 1..)?)?),
            None => (rest, 0),
        };
        let (whole, decimals) = match digits.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return None,
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut number: i128 = 0;
        let mut zeros: i32 = 0;
        for digit in whole.bytes().chain(decimals.bytes()) {
            if digit == b'0' {
                zeros = zeros.checked_add(1)?;
                continue;
            }
            // Zeros at the end cost no digits.
            number = if number == 0 { 0 } else { number.checked_mul(power_of_ten(zeros.checked_add(1)?)?)? };
            number = number.checked_add(sign * i128::from(digit - b'0'))?;
            zeros = 0;
        }
        let scale = exponent.checked_add(zeros)?.checked_sub(i32::try_from(decimals.len()).ok()?)?;
        if number == 0 {
            Some(Self::Int(0))
        } else if scale >= 0 {
            number.checked_mul(power_of_ten(scale)?).map(Self::Int)
        } else {
            Self::fraction(number, power_of_ten(scale.checked_neg()?)?)
        }
    }

    /// Brings a fraction into lowest terms; `None` when it does not fit.
    fn fraction(numerator: i128, denominator: i128) -> Option<Self> {
        let common = common(numerator, denominator);
        let (mut numerator, mut denominator) = (numerator / common, denominator / common);
        if denominator < 0 {
            (numerator, denominator) = (numerator.checked_neg()?, denominator.checked_neg()?);
        }
        match denominator {
            1 => Some(Self::Int(numerator)),
            2..=LIMIT => Some(Self::Fraction(Fraction { numerator, denominator })),
            _ => None,
        }
    }

    fn parts(self) -> (i128, i128) {
        match self {
            Self::Int(n) => (n, 1),
            Self::Fraction(Fraction { numerator, denominator }) => (numerator, denominator),
        }
    }

    /// The nearest float.
    #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
    pub fn to_f64(self) -> f64 {
        const EXACT: i128 = 1 << 53;
        match self.parts() {
            (n, 1) => n as f64,
            (n, d) if n.unsigned_abs() <= EXACT.unsigned_abs() && d <= EXACT => n as f64 / d as f64,
            (n, d) => self.to_string().parse().unwrap_or(n as f64 / d as f64),
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(n),
            Self::Fraction(_) => None,
        }
    }

    /// The largest whole number that is not larger.
    pub fn floor(self) -> i128 {
        let (n, d) = self.parts();
        n.div_euclid(d)
    }

    /// The smallest whole number that is not smaller.
    pub fn ceil(self) -> i128 {
        // Only what is not whole has one above, and that has a smaller numerator than an i128 can hold.
        self.floor() + i128::from(self.as_int().is_none())
    }

    /// What an operation came to: exact, or refused; only what has no end of decimals is rounded, to a float's digits.
    fn settle(exact: Option<Self>, endless: bool, rounded: impl Fn() -> f64) -> Result<Self, ArithmeticError> {
        let near = || {
            let wanted = rounded();
            Self::from_f64(wanted).filter(|n| (n.to_f64() - wanted).abs() <= wanted.abs() * 1e-15)
        };
        exact.or_else(|| if endless { near() } else { None }).ok_or(ArithmeticError::Overflow)
    }

    /// True when its decimals come to an end.
    fn ends(self) -> bool {
        ends(self.parts().1)
    }

    /// True when neither has decimals without end.
    fn end_both(self, other: Self) -> bool {
        self.ends() && other.ends()
    }

    /// Adds.
    ///
    /// # Errors
    /// When the sum is out of range.
    pub fn plus(self, other: Self) -> Result<Self, ArithmeticError> {
        let exact = || match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_add(b).map(Self::Int),
            _ => {
                let ((a, b), (c, d)) = (self.parts(), other.parts());
                let common = common(b, d);
                let sum = a.checked_mul(d / common)?.checked_add(c.checked_mul(b / common)?)?;
                Self::fraction(sum, (b / common).checked_mul(d)?)
            }
        };
        Self::settle(exact(), !self.end_both(other), || self.to_f64() + other.to_f64())
    }

    /// Subtracts.
    ///
    /// # Errors
    /// When the difference is out of range.
    pub fn minus(self, other: Self) -> Result<Self, ArithmeticError> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_sub(b).map(Self::Int).ok_or(ArithmeticError::Overflow),
            _ => self.plus(other.negated()?),
        }
    }

    /// Multiplies.
    ///
    /// # Errors
    /// When the product is out of range.
    pub fn times(self, other: Self) -> Result<Self, ArithmeticError> {
        let exact = || {
            let ((a, b), (c, d)) = (self.parts(), other.parts());
            // Crosswise, so that what cancels out cannot overflow.
            let (left, right) = (common(a, d), common(c, b));
            let numerator = (a / left).checked_mul(c / right)?;
            Self::fraction(numerator, (b / right).checked_mul(d / left)?)
        };
        Self::settle(exact(), !self.end_both(other), || self.to_f64() * other.to_f64())
    }

    /// Divides.
    ///
    /// # Errors
    /// When the divisor is zero or the quotient is out of range.
    pub fn over(self, other: Self) -> Result<Self, ArithmeticError> {
        let (c, d) = other.parts();
        if c == 0 {
            return Err(ArithmeticError::DivisionByZero);
        }
        let (a, b) = self.parts();
        let (left, right) = (common(a, c), common(d, b));
        let numerator = (a / left).checked_mul(d / right);
        let denominator = (b / right).checked_mul(c / left);
        let exact = numerator.zip(denominator).and_then(|(n, d)| Self::fraction(n, d));
        let endless = !self.end_both(other) || denominator.is_some_and(|d| !ends(d));
        Self::settle(exact, endless, || self.to_f64() / other.to_f64())
    }

    /// The remainder, with the sign of the dividend.
    ///
    /// # Errors
    /// When the divisor is zero.
    pub fn remainder(self, other: Self) -> Result<Self, ArithmeticError> {
        match (self, other) {
            (_, Self::Int(0)) => Err(ArithmeticError::DivisionByZero),
            (Self::Int(a), Self::Int(b)) => Ok(Self::Int(a.checked_rem(b).unwrap_or(0))),
            _ => {
                let quotient = self.over(other)?;
                let whole = if quotient < Self::Int(0) { quotient.ceil() } else { quotient.floor() };
                self.minus(other.times(Self::Int(whole))?)
            }
        }
    }

    /// Changes the sign.
    ///
    /// # Errors
    /// When the result is out of range.
    pub fn negated(self) -> Result<Self, ArithmeticError> {
        match self {
            Self::Int(n) => n.checked_neg().map(Self::Int),
            Self::Fraction(f) => f.numerator.checked_neg().map(|numerator| Self::Fraction(Fraction { numerator, ..f })),
        }
        .ok_or(ArithmeticError::Overflow)
    }

    /// Writes it with this many decimals, halves to the even neighbour.
    pub(super) fn fixed(self, decimals: usize) -> String {
        let (n, d) = self.parts();
        let mut digits = (n.unsigned_abs() / d.unsigned_abs()).to_string().into_bytes();
        let mut rest = n.unsigned_abs() % d.unsigned_abs();
        let whole = digits.len();
        for _ in 0..decimals {
            rest *= 10;
            digits.push(b'0' + u8::try_from(rest / d.unsigned_abs()).unwrap_or(0));
            rest %= d.unsigned_abs();
        }
        let odd = digits.last().is_some_and(|digit| digit % 2 == 1);
        let up = match (rest * 2).cmp(&d.unsigned_abs()) {
            Ordering::Less => false,
            Ordering::Equal => odd,
            Ordering::Greater => true,
        };
        let before = digits.len();
        if up {
            increment(&mut digits);
        }
        let point = whole + digits.len() - before;
        let text = String::from_utf8_lossy(&digits);
        let (whole, decimals) = text.split_at(point.min(text.len()));
        let sign = if n < 0 { "-" } else { "" };
        if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") }
    }
}

/// True when the decimals of a fraction in lowest terms with this denominator come to an end.
fn ends(mut denominator: i128) -> bool {
    for factor in [2, 5] {
        while denominator % factor == 0 && denominator != 0 {
            denominator /= factor;
        }
    }
    denominator.unsigned_abs() == 1
}

/// Adds one to a row of digits.
fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

/// The exponent of a number that is written with one.
fn exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn power_of_ten(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// The greatest common divisor; never 0.
fn common(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // Only of i128::MIN and itself (or 0) it does not fit; then any divisor will do.
    i128::try_from(a).unwrap_or(1).max(1)
}

/// The product in full, as its high and low halves.
fn product(a: u128, b: u128) -> (u128, u128) {
    const HALF: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & HALF, b >> 64, b & HALF);
    let (low, cross, other) = (a0 * b0, a1 * b0, a0 * b1);
    let middle = (low >> 64) + (cross & HALF) + (other & HALF);
    (a1 * b1 + (cross >> 64) + (other >> 64) + (middle >> 64), (middle << 64) | (low & HALF))
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Self::Int(a), Self::Int(b)) = (self, other) {
            return a.cmp(b);
        }
        let ((a, b), (c, d)) = (self.parts(), other.parts());
        if a.signum() != c.signum() {
            return a.signum().cmp(&c.signum());
        }
        let order = product(a.unsigned_abs(), d.unsigned_abs()).cmp(&product(c.unsigned_abs(), b.unsigned_abs()));
        if a < 0 { order.reverse() } else { order }
    }
}

/// All digits where they come to an end, never an exponent; else as many as tell two floats apart.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Fraction(Fraction { numerator, denominator }) = self else {
            return self.parts().0.fmt(f);
        };
        let mut decimals = 0;
        let mut rest = numerator.unsigned_abs() % denominator.unsigned_abs();
        let mut significant = match numerator.unsigned_abs() / denominator.unsigned_abs() {
            0 => 0,
            whole => whole.to_string().len(),
        };
        let ends = self.ends();
        while rest != 0 && (ends || significant < SHOWN) {
            rest *= 10;
            if significant > 0 || rest >= denominator.unsigned_abs() {
                significant += 1;
            }
            rest %= denominator.unsigned_abs();
            decimals += 1;
        }
        f.write_str(&self.fixed(decimals))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn whole_numbers_stay_exact_and_overflow_is_told() {
        let big = Number::Int(i128::MAX);
        assert_eq!(big.plus(Number::Int(1)), Err(ArithmeticError::Overflow));
        assert_eq!(Number::Int(i128::MIN).negated(), Err(ArithmeticError::Overflow));
        assert_eq!(Number::Int(i128::MIN).over(Number::Int(-1)).ok(), None);
        assert_eq!(Number::Int(i128::MIN).remainder(Number::Int(-1)), Ok(Number::Int(0)));
        assert_eq!(Number::Int(1 << 60).plus(Number::Int(1)), Ok(Number::Int((1 << 60) + 1)));
        assert_eq!(big.times(number("1.5")), Err(ArithmeticError::Overflow));
        assert_eq!(big.plus(number("0.5")), Err(ArithmeticError::Overflow));
    }

    #[test]
    fn decimals_and_quotients_are_exact() {
        assert_eq!(Number::Int(10).over(Number::Int(2)), Ok(Number::Int(5)));
        assert_eq!(Number::Int(1).over(Number::Int(2)), Ok(number("0.5")));
        assert_eq!(number("0.1").plus(number("0.2")), Ok(number("0.3")));
        assert_eq!(Number::Int(1).over(Number::Int(3)).and_then(|n| n.times(Number::Int(3))), Ok(Number::Int(1)));
        assert_eq!(number("5.5").remainder(Number::Int(-2)), Ok(number("1.5")));
        assert_eq!(number("-5.5").remainder(Number::Int(2)), Ok(number("-1.5")));
        assert_eq!(Number::Int(1).over(Number::Int(0)), Err(ArithmeticError::DivisionByZero));
        assert_eq!(Number::Int(1).remainder(Number::Int(0)), Err(ArithmeticError::DivisionByZero));
        assert_eq!(Number::from_f64(2.0), Some(Number::Int(2)));
        assert_eq!((number("-0.5").floor(), number("-0.5").ceil(), number("0.5").ceil()), (-1, 0, 1));
    }

    #[test]
    fn fractions_that_no_longer_fit_are_rounded_only_if_they_have_no_end() {
        let sum = (1..200).try_fold(Number::Int(0), |sum, n| sum.plus(Number::Int(1).over(Number::Int(n))?));
        assert!((sum.expect("in range").to_f64() - 5.873_030_948_121_446).abs() < 1e-12);
        let small = number("0.0000000000000000000000000000000000001");
        assert_eq!(small.times(small), Err(ArithmeticError::Overflow));
    }

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(Number::parse("1e3"), Some(Number::Int(1000)));
        assert_eq!(Number::parse("15e-1"), Some(number("1.5")));
        assert_eq!(Number::parse("1.50"), Some(number("1.5")));
        assert_eq!(Number::parse("0e99999"), Some(Number::Int(0)));
        assert_eq!(Number::parse("1000000000000000000000000000000000000000e-30"), Some(Number::Int(1_000_000_000)));
        for bad in
            ["", "inf", "nan", "+1", ".5", "1.", "1x", "-", "--1", "1e", "1e+", "1e9e9", "1e999", "1e-999", "1.-5"]
        {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_print_all_their_digits() {
        for text in ["0", "-1", "0.5", "-0.000001", "100000000000000000000000000000", "12345.678901234567890123456789"]
        {
            assert_eq!(number(text).to_string(), text);
        }
        let third = |n| Number::Int(n).over(Number::Int(3)).expect("fine").to_string();
        assert_eq!((third(1).as_str(), third(2).as_str()), ("0.33333333333333333", "0.66666666666666667"));
        assert_eq!(third(200), "66.666666666666667");
        assert_eq!(number("2.5").fixed(0), "2");
        assert_eq!(number("0.999").fixed(2), "1.00");
        assert_eq!(number("-1.005").fixed(2), "-1.00");
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_values(a in -1000i128..1000, b in 1i128..1000, c in -1000i128..1000, d in 1i128..1000) {
            let (x, y) = (Number::fraction(a, b).expect("small"), Number::fraction(c, d).expect("small"));
            prop_assert_eq!(x.cmp(&y), (a * d).cmp(&(c * b)));
            prop_assert_eq!(x.plus(y).and_then(|sum| sum.minus(y)), Ok(x));
        }

        #[test]
        fn no_operation_panics(a in any::<i128>(), b in any::<i128>(), c in any::<i128>(), d in any::<i128>()) {
            let (Some(x), Some(y)) = (Number::fraction(a, b | 1), Number::fraction(c, d | 1)) else { return Ok(()) };
            let _ = (x.plus(y), x.minus(y), x.times(y), x.over(y), x.remainder(y), x.negated(), x.floor(), x.ceil());
            let _ = (x.cmp(&y), x.to_f64(), x.to_string(), x.fixed(40));
        }

        #[test]
        fn floats_come_back(value in any::<f64>().prop_filter("in range", |v| v.abs() < 1e30 && v.abs() > 1e-15)) {
            let back = Number::from_f64(value).expect("in range").to_f64();
            prop_assert!((back - value).abs() <= value.abs() * 1e-15);
        }
    }
}
