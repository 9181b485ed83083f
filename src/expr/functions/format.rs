//! `format` and `formatlist`: the verbs of Terraform, which are those of C and Go.

use std::fmt::Write as _;

use unicode_segmentation::UnicodeSegmentation as _;

use super::Takes::{Any, Text};
use super::encodings::json;
use super::strings::{bounded, characters};
use super::{Arguments, Function, Wrong, row};
use crate::expr::types::{Type, convert};
use crate::expr::{Number, Value};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row(
            "format",
            &[("format", Text), ("values", Any)],
            "The format with each verb (%s, %d, %f, %e, %g, %t, %v, %q, %x, %o, %b) replaced by the next value.",
            |a| format(a, |i| a.any(i)),
        )
        .variadic(),
        row(
            "formatlist",
            &[("format", Text), ("lists", Any)],
            "A list of formatted texts, one for each element of the lists; values that are no list stand in each.",
            |a| {
                let columns: Vec<Option<Vec<&Value>>> = (0..a.len())
                    .map(|i| matches!(a.any(i), Value::List(_) | Value::Set(_)).then(|| a.items(i)))
                    .collect();
                let mut lengths = columns.iter().enumerate().filter_map(|(i, c)| c.as_ref().map(|c| (i, c.len())));
                let count = match lengths.next() {
                    None => 1,
                    Some((first, count)) => {
                        if let Some((other, length)) = lengths.find(|(_, n)| *n != count) {
                            let message = format!(
                                "all lists must have the same number of elements: value {first} has {count}, value {other} has {length}."
                            );
                            return Err(Wrong::argument(other, message));
                        }
                        count
                    }
                };
                a.spend((count as u64).saturating_mul(a.len() as u64))?;
                let cell = |i: usize, line: usize| match columns.get(i) {
                    Some(Some(column)) => column.get(line).copied().unwrap_or(&Value::Null),
                    _ => a.any(i),
                };
                (0..count).map(|line| format(a, |i| cell(i, line))).collect::<Result<Vec<_>, _>>().map(Value::from)
            },
        )
        .variadic(),
    ]
};

/// One verb of a format.
#[derive(Default)]
struct Verb {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Fills a format's verbs; `value(i)` is the value for argument i, the format itself is argument 0.
fn format<'v>(a: &Arguments<'_>, value: impl Fn(usize) -> &'v Value) -> Result<Value, Wrong> {
    let wrong = |message: &str| Wrong::argument(0, message);
    let mut out = String::new();
    let (mut next, mut used) = (1, 0);
    let mut rest = a.text(0);
    while let Some((before, verb)) = rest.split_once('%') {
        out.push_str(before);
        bounded(out.len())?;
        if let Some(after) = verb.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut at = Cursor(verb);
        let mut verb = Verb::default();
        while let Some(flag) = at.take_if(|c| "-0+# ".contains(c)) {
            match flag {
                '-' => verb.left = true,
                '0' => verb.zero = true,
                '+' => verb.plus = true,
                '#' => verb.alternate = true,
                _ => verb.space = true,
            }
        }
        verb.width = at.number()?;
        if at.take_if(|c| c == '.').is_some() {
            verb.precision = Some(at.number()?.unwrap_or(0));
        }
        let chosen = at.place()?;
        let letter = at
            .take_if(|_| true)
            .ok_or_else(|| wrong("the format ends within a verb; a per cent sign itself is %%."))?;
        rest = at.0;
        let argument = chosen.unwrap_or(next);
        if !"vtsqbdoxXeEfgG".contains(letter) {
            return Err(wrong(&format!(
                "there is no verb %{letter}; there are %s, %d, %f, %e, %g, %t, %v, %q, %x, %o, %b."
            )));
        }
        if argument >= a.len() {
            return Err(wrong(&format!("there is no value {argument} for %{letter}: {} given.", given(a.len() - 1))));
        }
        used = used.max(argument);
        next = argument + 1;
        verb.apply(letter, value(argument), &mut out).map_err(|m| Wrong::argument(argument, m))?;
    }
    out.push_str(rest);
    if used + 1 < a.len() {
        let message = if used == 0 {
            "the format has no verb, so no value can be used.".to_owned()
        } else {
            format!(
                "the format uses the first {} only, so this one is not used.",
                if used == 1 { "value".to_owned() } else { format!("{used} values") }
            )
        };
        return Err(Wrong::argument(used + 1, message));
    }
    Ok(out.into())
}

fn given(count: usize) -> String {
    match count {
        0 => "none is".to_owned(),
        1 => "one is".to_owned(),
        n => format!("{n} are"),
    }
}

/// What is left of a format.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn take_if(&mut self, test: impl Fn(char) -> bool) -> Option<char> {
        let first = self.0.chars().next().filter(|c| test(*c))?;
        self.0 = self.0.get(first.len_utf8()..)?;
        Some(first)
    }

    /// A width, a precision or a place.
    fn number(&mut self) -> Result<Option<usize>, Wrong> {
        let size = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(size);
        self.0 = rest;
        match digits.parse::<usize>() {
            Ok(n) if n <= 10_000 => Ok(Some(n)),
            _ if digits.is_empty() => Ok(None),
            _ => Err(Wrong::argument(0, "widths and precisions reach to 10000.")),
        }
    }

    /// `[n]`: which value is meant, from 1.
    fn place(&mut self) -> Result<Option<usize>, Wrong> {
        if self.take_if(|c| c == '[').is_none() {
            return Ok(None);
        }
        match (self.number()?, self.take_if(|c| c == ']')) {
            (Some(n), Some(_)) if n > 0 => Ok(Some(n)),
            _ => Err(Wrong::argument(0, "a value is chosen by its number from 1, like %[2]s.")),
        }
    }
}

impl Verb {
    fn apply(&self, letter: char, value: &Value, out: &mut String) -> Result<(), String> {
        if letter != 'v' && *value == Value::Null {
            return Err(format!("%{letter} cannot write null; %v can."));
        }
        let to = |wanted: &Type, what: &str| {
            convert(value, wanted).map_err(|_| match value {
                Value::String(_) => format!("%{letter} takes {what}; this string does not write one."),
                other => format!("%{letter} takes {what}; this is {}.", other.kind()),
            })
        };
        match letter {
            'v' => {
                let text = match value {
                    Value::String(text) if !self.alternate => text.clone(),
                    Value::Number(number) if !self.alternate => Decimal::of(*number, true).general(None, 'e'),
                    other => json_text(other)?,
                };
                out.push_str(&self.padded(&text));
            }
            't' => out.push_str(if to(&Type::Bool, "a bool")? == Value::Bool(true) { "true" } else { "false" }),
            's' | 'q' => {
                let Value::String(text) = to(&Type::String, "a string")? else { return Ok(()) };
                let text: String = match self.precision {
                    Some(n) if n > 0 => text.graphemes(true).take(n).collect(),
                    _ => text,
                };
                out.push_str(&self.padded(&if letter == 'q' { json_text(&text.into())? } else { text }));
            }
            _ => {
                let Value::Number(number) = to(&Type::Number, "a number")? else { return Ok(()) };
                match letter {
                    'b' | 'd' | 'o' | 'x' | 'X' => {
                        let whole = number
                            .as_int()
                            .ok_or_else(|| format!("%{letter} takes a whole number; this is {number}."))?;
                        out.push_str(&self.whole(letter, whole));
                    }
                    _ => out.push_str(&self.float(letter, number)),
                }
            }
        }
        Ok(())
    }

    fn padded(&self, text: &str) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(characters(text));
        let filler = if self.zero { "0" } else { " " }.repeat(missing);
        if self.left { format!("{text}{filler}") } else { format!("{filler}{text}") }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        }
    }

    fn whole(&self, letter: char, number: i128) -> String {
        let magnitude = number.unsigned_abs();
        let (prefix, digits) = match letter {
            'b' => ("0b", format!("{magnitude:b}")),
            'o' => ("0", format!("{magnitude:o}")),
            'x' => ("0x", format!("{magnitude:x}")),
            'X' => ("0X", format!("{magnitude:X}")),
            _ => ("", magnitude.to_string()),
        };
        if self.precision == Some(0) && magnitude == 0 {
            return String::new();
        }
        let sign = self.sign(number < 0);
        let prefix = if self.alternate { prefix } else { "" };
        let mut zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let missing = self.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len() + zeros + digits.len());
        let (mut before, mut after) = (0, 0);
        match (self.left, self.zero && self.precision.is_none()) {
            (true, _) => after = missing,
            (false, true) => zeros = missing,
            (false, false) => before = missing,
        }
        let spaces = |n| " ".repeat(n);
        format!("{}{sign}{prefix}{}{digits}{}", spaces(before), "0".repeat(zeros), spaces(after))
    }

    fn float(&self, letter: char, number: Number) -> String {
        let decimal = Decimal::of(number, matches!(letter, 'g' | 'G') && self.precision.is_none());
        let text = match letter {
            'e' | 'E' => decimal.scientific(self.precision.unwrap_or(6), letter),
            'f' => number.fixed(self.precision.unwrap_or(6)).trim_start_matches('-').to_owned(),
            'g' => decimal.general(self.precision, 'e'),
            _ => decimal.general(self.precision, 'E'),
        };
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text.to_owned()),
            None => (number < Number::Int(0), text),
        };
        let sign = self.sign(negative);
        let missing = self.width.unwrap_or(0).saturating_sub(sign.len() + text.len());
        match (self.left, self.zero) {
            (true, _) => format!("{sign}{text}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, false) => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }
}

/// A value as JSON, on one line.
///
/// # Errors
/// Something in it is unknown, or the text would be too long.
fn json_text(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    json(value, &mut out).map_err(|wrong| wrong.message)?;
    Ok(out)
}

/// A number's digits without zeros at either end, and where its point stands: 0.d₁d₂… × 10^point.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// All digits of a number; of one whose digits never end, as many as are shown, or enough to round any format.
    fn of(number: Number, shown: bool) -> Self {
        const ENOUGH: usize = 60;
        let mut text = number.to_string();
        if !shown && number.as_int().is_none() {
            let longer = number.fixed(ENOUGH);
            if text.len() < longer.len() {
                text = longer;
            }
        }
        let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let all: Vec<u8> = whole.bytes().chain(decimals.bytes()).collect();
        let zeros = all.iter().take_while(|b| **b == b'0').count();
        let last = all.iter().rposition(|b| *b != b'0').map_or(zeros, |i| i + 1);
        let digits = all.get(zeros..last).unwrap_or_default().to_vec();
        let place = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let point = if digits.is_empty() { 0 } else { place(whole.len()) - place(zeros) };
        Self { negative, digits, point }
    }

    /// Keeps the first `size` digits; halves go to the even neighbour.
    fn round(&mut self, size: usize) {
        let Some(next) = self.digits.get(size).copied() else { return };
        let odd = size > 0 && self.digits.get(size - 1).is_some_and(|d| d % 2 == 1);
        let half = next == b'5' && size + 1 == self.digits.len();
        let up = if half { odd } else { next >= b'5' };
        self.digits.truncate(size);
        if up {
            while self.digits.last() == Some(&b'9') {
                self.digits.pop();
            }
            match self.digits.last_mut() {
                Some(digit) => *digit += 1,
                None => {
                    self.digits.push(b'1');
                    self.point += 1;
                }
            }
        }
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
    }

    fn scientific(mut self, precision: usize, letter: char) -> String {
        self.round(precision + 1);
        let digit = |i: usize| char::from(self.digits.get(i).copied().unwrap_or(b'0'));
        let mut out = String::from(if self.negative { "-" } else { "" });
        out.push(digit(0));
        if precision > 0 {
            out.push('.');
            out.extend((1..=precision).map(digit));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        out.push(letter);
        out.push(if exponent < 0 { '-' } else { '+' });
        let _ = write!(out, "{:02}", exponent.unsigned_abs());
        out
    }

    fn plain(&self) -> String {
        let mut out = String::from(if self.negative { "-" } else { "" });
        let size = i32::try_from(self.digits.len()).unwrap_or(i32::MAX);
        let digit = |i: i32| usize::try_from(i).ok().and_then(|i| self.digits.get(i)).copied().unwrap_or(b'0');
        if self.point <= 0 {
            out.push('0');
        }
        out.extend((0..self.point).map(|i| char::from(digit(i))));
        if size > self.point {
            out.push('.');
            out.extend((self.point..size).map(|i| char::from(digit(i))));
        }
        out
    }

    /// The shorter form: with an exponent below 0.0001, and from the precision (six digits where there is none) on.
    fn general(mut self, precision: Option<usize>, letter: char) -> String {
        let least = match precision {
            Some(precision) => {
                let precision = precision.max(1);
                self.round(precision);
                let size = self.digits.len();
                let all = i32::try_from(size).is_ok_and(|size| size >= self.point);
                if precision > size && all { size } else { precision }
            }
            None => 6,
        };
        let exponent = self.point - 1;
        if exponent < -4 || i32::try_from(least).is_ok_and(|least| exponent >= least) {
            let size = self.digits.len().saturating_sub(1);
            self.scientific(size, letter)
        } else {
            self.plain()
        }
    }
}
