//! Kubernetes' quantities: `500m`, `1e3`, `48Gi`, `1.5G`. (`k8s.io/apimachinery/pkg/api/resource`: a decimal number and a
//! suffix; a finer unit than asked for is rounded up, as the server does.)

/// A quantity in whole units, as of bytes; `None` when it is none, negative or too large.
pub fn bytes(text: &str) -> Option<u64> {
    parse(text, 0)
}

/// A quantity in thousandths, as of cores; `None` when it is none, negative or too large.
pub fn millis(text: &str) -> Option<u64> {
    parse(text, 3)
}

/// Bytes as the shortest exact quantity: `5Ti`, `1536Mi`, `1000`.
pub fn of_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = if bytes == 0 { 0 } else { (bytes.trailing_zeros() / 10).min(6) };
    let unit = UNITS.get(power as usize).copied().unwrap_or_default();
    format!("{}{unit}", bytes >> (10 * power))
}

/// Reads a quantity in units of 10^-`finer`, rounded up.
fn parse(text: &str, finer: i32) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains(['.', '+']) || whole.contains('+') {
        return None;
    }
    let part = part.trim_end_matches('0');
    let digits: u128 = format!("0{whole}{part}").parse().ok()?;
    let (tens, twos) = scale(suffix)?;
    let tens = tens.checked_add(finer)?.checked_sub(i32::try_from(part.len()).ok()?)?;
    let scaled = digits.checked_mul(1u128.checked_shl(twos)?)?;
    let ten = |power: i32| 10u128.checked_pow(power.unsigned_abs());
    let value = match tens {
        _ if scaled == 0 => 0,
        0.. => scaled.checked_mul(ten(tens)?)?,
        // What is smaller than one unit of a power that large is rounded up to one.
        _ => ten(tens).map_or(1, |by| scaled.div_ceil(by)),
    };
    u64::try_from(value).ok()
}

/// A suffix as a power of ten and one of two.
fn scale(suffix: &str) -> Option<(i32, u32)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let plain = !signed.is_empty() && signed.bytes().all(|b| b.is_ascii_digit());
        return plain.then(|| exponent.parse().ok().map(|power| (power, 0)))?;
    }
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_the_server_reads_them() {
        for (text, whole, thousandths) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("500m", 1, 500),
            ("0.5", 1, 500),
            (".5", 1, 500),
            ("2.", 2, 2000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("1e3", 1000, 1_000_000),
            ("1E3", 1000, 1_000_000),
            ("12e-1", 2, 1200),
            ("1k", 1000, 1_000_000),
            ("48G", 48_000_000_000, 48_000_000_000_000),
            ("+1", 1, 1000),
            ("1n", 1, 1),
            ("0.0000000000000000000000000000001", 1, 1),
            ("100000000u", 100, 100_000),
        ] {
            assert_eq!((bytes(text), millis(text)), (Some(whole), Some(thousandths)), "{text}");
        }
        assert_eq!(bytes("5Ti"), Some(5 << 40));
        assert_eq!(bytes("15Ei"), Some(15 << 60));
        for bad in
            ["", "m", "-1", "48GB", "1 Gi", "1.2.3", "1ee3", "e", "1e+", "0x10", "16Ei", "1e99", "٣", "1++", "Gi"]
        {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert_eq!(bytes("1E"), Some(1_000_000_000_000_000_000), "exa, not an exponent");
    }

    #[test]
    fn what_is_written_reads_back() {
        for value in [0, 1, 1000, 1024, 1536 << 20, 5 << 40, u64::MAX, 1 << 63] {
            assert_eq!(bytes(&of_bytes(value)), Some(value));
        }
        assert_eq!(of_bytes(5 << 40), "5Ti");
        assert_eq!(of_bytes(1536 << 20), "1536Mi");
    }
}
