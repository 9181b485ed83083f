//! Kubernetes' quantities (`500m`, `1e3`, `48Gi`), read as the API server reads them, and written in its canonical form.
//! (Kubernetes, `apimachinery/pkg/api/resource`.)

use std::fmt;

use super::Bytes;

/// An amount in thousandths, rounded up, as Kubernetes rounds: of cores, or of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u128);

/// Why a text is no quantity: the end of a sentence that begins with what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuantityError(String);

/// Suffixes that multiply by a power of two.
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
/// Suffixes that multiply by a power of ten.
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

impl Quantity {
    /// Reads a quantity: digits with or without a point, then `Ki`…`Ei`, `n`, `u`, `m`, `k`, `M`…`E`, or an exponent.
    ///
    /// # Errors
    /// What is wrong, and what was probably meant (`48GB`: GiB or G). Negative ones and those above 2^63 are refused.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let no = |why: String| QuantityError(why);
        if text.starts_with('-') {
            return Err(no("it is below 0".to_owned()));
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(no("it does not begin with a number".to_owned()));
        }
        let too_large = || no("it is too large: Kubernetes counts to 2^63".to_owned());
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let (true, Ok(places)) = (digits.len() <= 30, i32::try_from(fraction.len())) else {
            return Err(no("it has too many digits".to_owned()));
        };
        let mantissa: u128 = digits.parse().unwrap_or(0);
        let (shift, power) = scale(suffix).ok_or_else(|| no(unit(number, suffix)))?;
        // In thousandths: three more powers of ten.
        let power = power - places + 3;
        let up = mantissa.checked_shl(shift).filter(|n| n >> shift == mantissa).ok_or_else(too_large)?;
        let ten = 10u128.checked_pow(power.unsigned_abs());
        let thousandths = match (power >= 0, ten) {
            _ if up == 0 => Some(0),
            (true, ten) => ten.and_then(|ten| up.checked_mul(ten)),
            (false, Some(ten)) => Some(up.div_ceil(ten)),
            (false, None) => Some(1),
        };
        let most = u128::from(i64::MAX.unsigned_abs()) * 1000;
        thousandths.filter(|n| *n <= most).map(Self).ok_or_else(too_large)
    }

    /// In thousandths, rounded up.
    pub fn thousandths(self) -> u128 {
        self.0
    }

    /// In thousandths, rounded up: of a core.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }

    /// As bytes, rounded up.
    pub fn bytes(self) -> Bytes {
        Bytes(u64::try_from(self.0.div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// True for a whole number, of bytes for example.
    pub fn is_whole(self) -> bool {
        self.0.is_multiple_of(1000)
    }
}

/// A suffix's power of two and of ten.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((*shift, 0));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((0, *power));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    // `1e400` is refused as too large, `1e-400` rounded up, as any exponent beyond 60 would be.
    let power: i32 = exponent.parse().ok()?;
    Some((0, power.clamp(-60, 60)))
}

/// What to write instead of an unknown unit.
fn unit(number: &str, suffix: &str) -> String {
    let bare = suffix.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let letter = bare.to_ascii_uppercase();
    match letter.as_str() {
        "K" | "M" | "G" | "T" | "P" | "E" => {
            let decimal = if letter == "K" { "k" } else { &letter };
            format!(
                "Kubernetes has no unit {suffix:?}: write {number}{letter}i for {letter}iB, or {number}{decimal} for {letter}B"
            )
        }
        "" if !suffix.trim().is_empty() => format!("bytes have no unit: write {number}"),
        _ => format!("Kubernetes has no unit {suffix:?}: there are Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E and m"),
    }
}

/// Thousandths of a core in Kubernetes' canonical form: `8`, `500m`.
pub fn cores(millis: u64) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// Bytes in Kubernetes' canonical form: the largest binary unit that gives a whole number.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub Bytes);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.0;
        let unit = BINARY.iter().rev().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
        match unit {
            Some((name, shift)) => write!(f, "{}{name}", bytes >> shift),
            None => bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> u64 {
        Quantity::parse(text).expect(text).bytes().0
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1e3", 1000),
            ("1E3", 1000),
            ("1.5e3", 1500),
            ("12e-1", 2),
            ("1E", 1_000_000_000_000_000_000),
            ("48Gi", 48 << 30),
            ("1.5Ki", 1536),
            ("0.5Gi", 1 << 29),
            ("48G", 48_000_000_000),
            ("1k", 1000),
            ("+7", 7),
            (".5k", 500),
            ("5.", 5),
            ("0", 0),
            ("000000000000000000000000000000000000007", 7),
            ("500m", 1),
            ("1n", 1),
            ("7Ei", 7 << 60),
            ("1e-400", 1),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        for (text, millis) in [("500m", 500), ("0.5", 500), ("8", 8000), ("1500000u", 1500), ("1n", 1), ("0.0001", 1)] {
            assert_eq!(Quantity::parse(text).expect(text).millis(), millis, "{text}");
        }
        assert!(!Quantity::parse("500m").expect("half a byte").is_whole());
    }

    #[test]
    fn what_is_no_quantity_says_what_was_meant() {
        for (text, told) in [
            ("48GB", "write 48Gi for GiB, or 48G for GB"),
            ("48GiB", "write 48Gi for GiB, or 48G for GB"),
            ("48gb", "write 48Gi for GiB, or 48G for GB"),
            ("48 Gi", "write 48Gi"),
            ("5K", "write 5Ki for KiB, or 5k for KB"),
            ("5B", "write 5"),
            ("5 cores", "no unit \" cores\""),
            ("Gi", "begin with a number"),
            ("", "begin with a number"),
            (".", "begin with a number"),
            ("1.2.3", "begin with a number"),
            ("-1Gi", "below 0"),
            ("8Ei", "too large"),
            ("1e400", "too large"),
            ("99999999999999999999999999999999999999999", "too many digits"),
            ("1e", "no unit"),
            ("1é", "no unit"),
        ] {
            let error = Quantity::parse(text).expect_err(text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_canonical_and_comes_back() {
        for (bytes, text) in [(5u64 << 40, "5Ti"), (1536 << 20, "1536Mi"), (1000, "1000"), (1 << 10, "1Ki"), (0, "0")] {
            assert_eq!(Size(Bytes(bytes)).to_string(), text);
            assert_eq!(Quantity::parse(text).expect(text).bytes(), Bytes(bytes));
        }
        assert_eq!((cores(8000).as_str(), cores(500).as_str()), ("8", "500m"));
    }
}
