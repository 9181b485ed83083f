//! Kubernetes' quantities: `500m`, `1e3`, `48Gi`. Exact, to a thousand-millionth, and written as the server writes them.

use std::cmp::Ordering;
use std::fmt;

/// What one unit is held as.
const NANO: i128 = 1_000_000_000;
/// Powers of 1024, smallest first.
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
/// Powers of 10, smallest first.
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
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

/// An amount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity {
    nanos: i128,
    form: Form,
}

impl Quantity {
    /// Nothing.
    pub(super) const ZERO: Self = Self { nanos: 0, form: Form::Decimal };

    /// Reads one; fractions of a thousand-millionth are rounded up.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, suffix) = digits.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let binary = BINARY.iter().find(|(name, _)| *name == suffix);
        let decimal = DECIMAL.iter().find(|(name, _)| *name == suffix);
        let (form, power) = match (binary, decimal) {
            (Some(_), _) => (Form::Binary, 0),
            (_, Some((_, power))) => (Form::Decimal, *power),
            _ => (Form::Exponent, suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?),
        };
        // All digits as one whole number, and the power of ten that it is to be taken times.
        let fraction = fraction.trim_end_matches('0');
        let mut nanos: i128 = if whole.is_empty() && fraction.is_empty() { 0 } else { format!("{whole}{fraction}").parse().ok()? };
        let mut power = power.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(9)?;
        if let Some((_, shift)) = binary {
            nanos = nanos.checked_mul(1 << shift)?;
        }
        while power > 0 && nanos != 0 {
            nanos = nanos.checked_mul(10)?;
            power -= 1;
        }
        let mut rest = false;
        while power < 0 && nanos != 0 {
            rest |= nanos % 10 != 0;
            nanos /= 10;
            power += 1;
        }
        nanos = nanos.checked_add(i128::from(rest))?;
        // The server holds no more than 2^63 - 1.
        nanos = nanos.min(i128::from(i64::MAX).checked_mul(NANO)?);
        Some(Self { nanos: if text.starts_with('-') { -nanos } else { nanos }, form })
    }

    /// Reads one out of an object.
    pub(super) fn of(value: Option<&serde_json::Value>) -> Option<Self> {
        match value? {
            serde_json::Value::String(text) => Self::parse(text),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// In whole units, rounded up; at least 0.
    pub(super) fn units(self) -> u64 {
        let up = self.nanos.max(0) / NANO + i128::from(self.nanos.max(0) % NANO != 0);
        u64::try_from(up).unwrap_or(u64::MAX)
    }

    /// A sum, in the first one's form.
    pub(super) fn plus(self, other: Self) -> Self {
        let form = if self.nanos == 0 { other.form } else { self.form };
        Self { nanos: self.nanos.saturating_add(other.nanos), form }
    }

    /// True for nothing.
    pub(super) fn is_zero(self) -> bool {
        self.nanos == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nanos, form } = *self;
        if nanos == 0 {
            return f.write_str("0");
        }
        // Below 1024, and what is no whole number, is written in tens.
        if form == Form::Binary && nanos.abs() >= 1024 * NANO && nanos % NANO == 0 {
            let units = nanos / NANO;
            let fits = BINARY.iter().rev().find(|(_, shift)| units % (1_i128 << shift) == 0);
            return match fits {
                Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                None => write!(f, "{units}"),
            };
        }
        let mut power = -9;
        let mut mantissa = nanos;
        while mantissa % 1000 == 0 && power < 18 {
            mantissa /= 1000;
            power += 3;
        }
        match form {
            Form::Exponent if power == 0 => write!(f, "{mantissa}"),
            Form::Exponent => write!(f, "{mantissa}e{power}"),
            _ => {
                let suffix = DECIMAL.iter().find(|(_, p)| *p == power).map_or("", |(name, _)| name);
                write!(f, "{mantissa}{suffix}")
            }
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
            ("512Ki", "512Ki"),
            ("1023", "1023"),
            ("0.5Ki", "512"),
            ("1500", "1500"),
            ("48000M", "48G"),
            ("100k", "100k"),
            ("0", "0"),
            ("0Gi", "0"),
            ("+1", "1"),
            ("-1500m", "-1500m"),
            (".5", "500m"),
            ("1.", "1"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("5Ti", "5Ti"),
            ("9E", "9E"),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in ["", "48GB", "Gi", "1.2.3", "1 Gi", "e3", "1ee3", "--1", "1e99999999999", "ten", "1K"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_add_whatever_their_form() {
        let of = |text| Quantity::parse(text).expect("a quantity");
        assert!(of("1Gi") == of("1024Mi") && of("1Gi") > of("1G") && of("999m") < of("1"));
        assert_eq!(of("500m").plus(of("1")).to_string(), "1500m");
        assert_eq!(Quantity::ZERO.plus(of("512Mi")).plus(of("512Mi")).to_string(), "1Gi");
        assert_eq!((of("1.1").units(), of("1Ki").units(), of("-3").units()), (2, 1024, 0));
    }
}
