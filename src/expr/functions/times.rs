//! Functions over times in RFC 3339. There is no clock here.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Takes::Text;
use super::{Function, Wrong, row};
use crate::expr::Value;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("timeadd", &[("time", Text), ("duration", Text)], "The time a duration (`1h30m`, `-15m`) later.", |a| {
            let (time, offset) = parse(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
            let duration = duration(a.text(1)).map_err(|m| Wrong::argument(1, m))?;
            let later = time.checked_add(duration).map_err(|_| Wrong::from("the time is out of range."))?;
            Ok(print(later, offset).into())
        }),
        row(
            "timecmp",
            &[("time", Text), ("other", Text)],
            "-1, 0 or 1: before the other time, the same, or after it.",
            |a| {
                let (first, _) = parse(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                let (second, _) = parse(a.text(1)).map_err(|m| Wrong::argument(1, m))?;
                Ok(Value::from(first.cmp(&second) as i64))
            },
        ),
    ]
};

/// Reads a time and its offset.
pub(crate) fn parse(text: &str) -> Result<(Timestamp, Offset), String> {
    let error = || "this is not a time in RFC 3339, like 2026-01-31T08:00:00Z.".to_owned();
    let time: Timestamp = text.parse().map_err(|_| error())?;
    let zone = text.find(['T', 't', ' ']).and_then(|t| text.get(t..)).unwrap_or("");
    let offset = zone.rfind(['+', '-']).and_then(|at| {
        let sign = if zone.get(at..=at) == Some("-") { -1 } else { 1 };
        let (hours, minutes) = zone.get(at + 1..)?.split_once(':')?;
        Offset::from_seconds(sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60)).ok()
    });
    Ok((time, offset.unwrap_or(Offset::UTC)))
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
