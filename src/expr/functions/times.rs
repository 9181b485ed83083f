//! Functions over times in RFC 3339. There is no clock here.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Takes::Text;
use super::{Function, Wrong, row};
use crate::expr::Value;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row(
            "formatdate",
            &[("format", Text), ("time", Text)],
            "The time in a form of your own: YYYY, YY, MMMM, MMM, MM, M, DD, D, EEEE, EEE, hh, h, HH, H, AA, aa, mm, m, ss, s, ZZZZZ, ZZZZ, ZZZ, Z; text stands in 'quotes'.",
            |a| {
                let time = Time::parse(a.text(1)).map_err(|m| Wrong::argument(1, m))?;
                formatted(a.text(0), &time).map(Value::from).map_err(|m| Wrong::argument(0, m))
            },
        ),
        row("timeadd", &[("time", Text), ("duration", Text)], "The time a duration (`1h30m`, `-15m`) later.", |a| {
            let time = Time::parse(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
            let duration = duration(a.text(1)).map_err(|m| Wrong::argument(1, m))?;
            let local = time.local.checked_add(duration).ok().filter(|d| (0..=9999).contains(&d.year()));
            let local = local.ok_or_else(|| Wrong::from("the time is out of range."))?;
            Ok(Time { local, ..time }.to_string().into())
        }),
        row(
            "timecmp",
            &[("time", Text), ("other", Text)],
            "-1, 0 or 1: before the other time, the same, or after it.",
            |a| {
                let first = Time::parse_loosely(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                let second = Time::parse_loosely(a.text(1)).map_err(|m| Wrong::argument(1, m))?;
                Ok(Value::from(first.instant().cmp(&second.instant()) as i64))
            },
        ),
    ]
};

/// A time with the offset that it was written with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Time {
    local: DateTime,
    /// East of Greenwich, in seconds.
    offset: i32,
}

impl Time {
    /// Reads a time in RFC 3339, strictly: `2026-01-31T08:00:00Z`, with decimals of the second or an offset.
    ///
    /// # Errors
    /// That it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, (23, 59))
            .ok_or_else(|| "this is not a time in RFC 3339, like 2026-01-31T08:00:00Z.".to_owned())
    }

    /// Reads a time as Go does, which takes some more: an hour of one digit, and offsets up to `+24:60`.
    ///
    /// # Errors
    /// That it is none.
    pub(crate) fn parse_loosely(text: &str) -> Result<Self, String> {
        let short = text.as_bytes().get(10) == Some(&b'T') && text.as_bytes().get(12) == Some(&b':');
        let full = match text.split_at_checked(11) {
            Some((day, clock)) if short => Some(format!("{day}0{clock}")),
            _ => None,
        };
        let read = Self::read(full.as_deref().unwrap_or(text), (24, 60));
        read.map_or_else(|| Self::parse(text), Ok)
    }

    /// `most`: hours and minutes of an offset.
    fn read(text: &str, most: (i32, i32)) -> Option<Self> {
        let digits = |from: usize, to: usize| {
            let part = text.get(from..to)?;
            if part.bytes().all(|b| b.is_ascii_digit()) { part.parse::<i16>().ok() } else { None }
        };
        let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if signs.iter().any(|(at, sign)| text.as_bytes().get(*at) != Some(sign)) {
            return None;
        }
        let small = |from: usize| digits(from, from + 2).and_then(|n| i8::try_from(n).ok());
        let rest = text.get(19..)?;
        let (nanos, zone) = match rest.strip_prefix(['.', ',']) {
            Some(rest) => {
                let size = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (decimals, zone) = rest.split_at(size);
                if decimals.is_empty() {
                    return None;
                }
                let nanos: String = decimals.chars().chain("000000000".chars()).take(9).collect();
                (nanos.parse().ok()?, zone)
            }
            None => (0, rest),
        };
        // A leap second is none of Terraform's.
        let second = small(17).filter(|s| *s < 60)?;
        let local = DateTime::new(digits(0, 4)?, small(5)?, small(8)?, small(11)?, small(14)?, second, nanos).ok()?;
        let offset = match zone.as_bytes() {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let two = |a: &u8, b: &u8| {
                    let digit = |c: &u8| c.is_ascii_digit().then(|| i32::from(c - b'0'));
                    Some(digit(a)? * 10 + digit(b)?)
                };
                let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
                if hours > most.0 || minutes > most.1 {
                    return None;
                }
                (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        Some(Self { local, offset })
    }

    /// Nanoseconds since 1970, by which times are ordered.
    pub(crate) fn instant(&self) -> i128 {
        let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        self.local.duration_since(epoch).as_nanos() - i128::from(self.offset) * 1_000_000_000
    }

    /// The offset as `+01:00`, or without the colon.
    fn zone(&self, colon: &str) -> String {
        let minutes = self.offset.unsigned_abs() / 60;
        let sign = if self.offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    }
}

/// To the second, as Terraform writes it.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = &self.local;
        write!(f, "{:04}-{:02}-{:02}", t.year(), t.month(), t.day())?;
        write!(f, "T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        f.write_str(&if self.offset == 0 { "Z".to_owned() } else { self.zone(":") })
    }
}

/// Writes a time as RFC 3339.
pub(crate) fn print(time: Timestamp, offset: Offset) -> String {
    if offset == Offset::UTC {
        time.to_string()
    } else {
        let text = time.to_zoned(TimeZone::fixed(offset)).to_string();
        text.split('[').next().unwrap_or_default().to_owned()
    }
}

/// Writes a time in the form that a format asks for.
fn formatted(format: &str, time: &Time) -> Result<String, String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let t = &time.local;
    let month = usize::try_from(t.month() - 1).ok().and_then(|m| MONTHS.get(m)).copied().unwrap_or_default();
    let day = format!("{:?}", t.weekday());
    let twelve = if t.hour() % 12 == 0 { 12 } else { t.hour() % 12 };
    let half = if t.hour() < 12 { "AM" } else { "PM" };
    let short = |text: &str| text.chars().take(3).collect::<String>();
    let mut out = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = quoted(rest, &mut out)?;
            continue;
        }
        let size = if first.is_ascii_alphabetic() {
            rest.find(|c| c != first).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(size);
        rest = after;
        let part = match word {
            "YYYY" => format!("{:04}", t.year()),
            "YY" => format!("{:02}", t.year().rem_euclid(100)),
            "MMMM" => month.to_owned(),
            "MMM" => short(month),
            "MM" => format!("{:02}", t.month()),
            "M" => t.month().to_string(),
            "DD" => format!("{:02}", t.day()),
            "D" => t.day().to_string(),
            "EEEE" => day.clone(),
            "EEE" => short(&day),
            "hh" => format!("{:02}", t.hour()),
            "h" => t.hour().to_string(),
            "HH" => format!("{twelve:02}"),
            "H" => twelve.to_string(),
            "AA" => half.to_owned(),
            "aa" => half.to_lowercase(),
            "mm" => format!("{:02}", t.minute()),
            "m" => t.minute().to_string(),
            "ss" => format!("{:02}", t.second()),
            "s" => t.second().to_string(),
            "Z" => {
                if time.offset == 0 {
                    "Z".to_owned()
                } else {
                    time.zone(":")
                }
            }
            "ZZZ" => {
                if time.offset == 0 {
                    "UTC".to_owned()
                } else {
                    time.zone("")
                }
            }
            "ZZZZ" => time.zone(""),
            "ZZZZZ" => time.zone(":"),
            word if first.is_ascii_alphabetic() => {
                return Err(format!("{word:?} is not a part of a time; text stands in single quotes."));
            }
            other => other.to_owned(),
        };
        out.push_str(&part);
    }
    Ok(out)
}

/// Takes a text in single quotes, in which a quote is written twice; gives what follows.
fn quoted<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    // Two quotes in a row are one, outside of quotes too.
    if let Some(rest) = text.strip_prefix("''") {
        out.push('\'');
        return Ok(rest);
    }
    let mut rest = text.get(1..).unwrap_or("");
    loop {
        let Some((part, after)) = rest.split_once('\'') else {
            return Err("a single quote is not closed; a quote itself is written twice, within quotes.".to_owned());
        };
        out.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                out.push('\'');
                // Such a pair may close the text, at the end of the format.
                if more.is_empty() {
                    return Ok(more);
                }
                rest = more;
            }
            None => return Ok(after),
        }
    }
}

/// Reads a duration as Go writes it: numbers with `h`, `m`, `s`, `ms`, `us` or `ns`, with a sign before all.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    let error = || "this is not a duration, like 1h30m or -15m; its units are h, m, s, ms, us and ns.".to_owned();
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let nanos: f64 = match unit {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" => 1e3,
            "ns" => 1.0,
            _ => return Err(error()),
        };
        let number: f64 = number.parse().map_err(|_| error())?;
        let seconds = number * nanos / 1e9;
        let part =
            SignedDuration::try_from_secs_f64(seconds).map_err(|_| "the duration is out of range.".to_owned())?;
        total = total.checked_add(part).ok_or_else(|| "the duration is out of range.".to_owned())?;
        rest = tail;
    }
    Ok(if negative { -total } else { total })
}
