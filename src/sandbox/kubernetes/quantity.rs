//! Quantities as the API server keeps them: an amount, and how it was written.

use std::fmt;

use serde_json::Value;

use crate::model::quantity::Quantity as Amount;

/// What the server says of anything else.
pub(super) const INVALID: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// How it was written, and is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Decimal,
    Exponent,
}

/// An amount in thousandths, which the server rounds up to, and its form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity {
    thousandths: u128,
    form: Form,
}

impl Quantity {
    /// Nothing.
    pub(super) const ZERO: Self = Self { thousandths: 0, form: Form::Decimal };
    /// One of something.
    pub(super) const ONE: Self = Self { thousandths: 1000, form: Form::Decimal };

    /// Reads one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let form = match suffix {
            s if s.ends_with('i') => Form::Binary,
            s if s.starts_with(['e', 'E']) && s.len() > 1 => Form::Exponent,
            _ => Form::Decimal,
        };
        Some(Self { thousandths: Amount::parse(text).ok()?.thousandths(), form })
    }

    /// Reads one out of an object.
    pub(super) fn of(value: Option<&Value>) -> Option<Self> {
        match value? {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// In whole units, rounded up.
    pub(super) fn units(self) -> u64 {
        u64::try_from(self.thousandths.div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// A sum, in the first one's form.
    pub(super) fn plus(self, other: Self) -> Self {
        let form = if self.is_zero() { other.form } else { self.form };
        Self { thousandths: self.thousandths.saturating_add(other.thousandths), form }
    }

    /// True for nothing.
    pub(super) fn is_zero(self) -> bool {
        self.thousandths == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.thousandths == other.thousandths
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.thousandths.partial_cmp(&other.thousandths)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
        let Self { thousandths, form } = *self;
        if thousandths == 0 {
            return f.write_str("0");
        }
        // What is below 1024, or no whole number, is written in tens.
        if form == Form::Binary && thousandths >= 1_024_000 && thousandths.is_multiple_of(1000) {
            let units = thousandths / 1000;
            let steps = (units.trailing_zeros() as usize / 10).min(BINARY.len() - 1);
            let suffix = BINARY.get(steps).copied().unwrap_or_default();
            return write!(f, "{}{suffix}", units >> (10 * steps));
        }
        let (mut mantissa, mut steps) = (thousandths, 0);
        while mantissa.is_multiple_of(1000) && steps + 1 < DECIMAL.len() {
            mantissa /= 1000;
            steps += 1;
        }
        match (form, steps) {
            (Form::Exponent, 0) => write!(f, "{mantissa}e-3"),
            (Form::Exponent, 1) => write!(f, "{mantissa}"),
            (Form::Exponent, steps) => write!(f, "{mantissa}e{}", 3 * (steps - 1)),
            _ => write!(f, "{mantissa}{}", DECIMAL.get(steps).copied().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_server_writes_them() {
        for (text, written) in [
            ("8", "8"),
            ("500m", "500m"),
            ("0.5", "500m"),
            ("2000m", "2"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e6", "12e6"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("48Gi", "48Gi"),
            ("1000Ki", "1000Ki"),
            ("1023", "1023"),
            ("0.5Ki", "512"),
            ("1500", "1500"),
            ("48000M", "48G"),
            ("100k", "100k"),
            ("0", "0"),
            ("0Gi", "0"),
            ("+1", "1"),
            (".5", "500m"),
            ("1.", "1"),
            ("1n", "1m"),
            ("5Ti", "5Ti"),
            ("7E", "7E"),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in ["", "48GB", "Gi", "1.2.3", "1 Gi", "e3", "1ee3", "--1", "ten", "1K"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_add_whatever_their_form() {
        let of = |text| Quantity::parse(text).expect("a quantity");
        assert!(of("1Gi") == of("1024Mi") && of("1Gi") > of("1G") && of("999m") < of("1"));
        assert_eq!(of("500m").plus(of("1")).to_string(), "1500m");
        assert_eq!(Quantity::ZERO.plus(of("512Mi")).plus(of("512Mi")).to_string(), "1Gi");
        assert_eq!((of("1.1").units(), of("1Ki").units()), (2, 1024));
    }
}
