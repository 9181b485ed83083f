//! Functions that read or encode texts: formats, regular expressions, JSON, Base64, digests, files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, RegexBuilder};
use sha2::{Digest as _, Sha256};

use super::Takes::{Any, Object, Text};
use super::strings::{bounded, plain};
use super::{Arguments, Function, Wrong, row};
use crate::expr::{Number, Value};

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("base64decode", &[("text", Text)], "The UTF-8 text that a Base64 text encodes.", |a| {
            let bytes = STANDARD.decode(a.text(0)).map_err(|_| Wrong::argument(0, "this is not Base64."))?;
            let text = String::from_utf8(bytes).map_err(|_| Wrong::argument(0, "what it encodes is not UTF-8."))?;
            Ok(text.into())
        }),
        row("base64encode", &[("text", Text)], "The text's UTF-8 bytes in Base64.", |a| {
            Ok(STANDARD.encode(a.text(0)).into())
        }),
        row("sha256", &[("text", Text)], "The SHA-256 of the text's UTF-8 bytes, in hex.", |a| {
            Ok(hex::encode(Sha256::digest(a.text(0))).into())
        }),
        row(
            "regex",
            &[("pattern", Text), ("text", Text)],
            "The first match of a regular expression: its text, a list of its groups, or an object of its named groups; an error when nothing matches (use `can`).",
            |a| {
                let pattern = pattern(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                let captures = pattern
                    .captures(a.text(1))
                    .ok_or_else(|| Wrong::argument(1, "the pattern matches nothing in this text."))?;
                groups(&pattern, &captures).map_err(|m| Wrong::argument(0, m))
            },
        ),
        row(
            "regexall",
            &[("pattern", Text), ("text", Text)],
            "A list of all matches, each as `regex` gives it.",
            |a| {
                let pattern = pattern(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                let mut found = Vec::new();
                for captures in pattern.captures_iter(a.text(1)) {
                    a.spend(captures.len() as u64)?;
                    found.push(groups(&pattern, &captures).map_err(|m| Wrong::argument(0, m))?);
                }
                Ok(found.into())
            },
        ),
        row("jsonencode", &[("value", Any)], "The value as JSON.", |a| {
            let mut out = String::new();
            json(a.any(0), &mut out)?;
            Ok(out.into())
        }),
        row("jsondecode", &[("text", Text)], "The value that a JSON text writes.", |a| {
            let json: serde_json::Value =
                serde_json::from_str(a.text(0)).map_err(|e| Wrong::argument(0, format!("this is not JSON: {e}.")))?;
            from_json(json).map_err(|m| Wrong::argument(0, m))
        }),
        row("file", &[("path", Text)], "The text of a file below the configuration's folder.", |a| {
            let files = a.env.names.files().ok_or("files cannot be read here.")?;
            a.spend(READ)?;
            files.read(a.text(0)).map(Value::from).map_err(|m| Wrong::argument(0, m))
        }),
        row("fileexists", &[("path", Text)], "True when there is such a file below the configuration's folder.", |a| {
            let files = a.env.names.files().ok_or("files cannot be read here.")?;
            a.spend(READ)?;
            files.exists(a.text(0)).map(Value::from).map_err(|m| Wrong::argument(0, m))
        }),
        row(
            "templatefile",
            &[("path", Text), ("values", Object)],
            "A file below the configuration's folder as a template, with the object's entries as its names.",
            |a| {
                let files = a.env.names.files().ok_or("files cannot be read here.")?;
                a.spend(READ)?;
                let text = files.read(a.text(0)).map_err(|m| Wrong::argument(0, m))?;
                a.spend(text.len() as u64)?;
                let node = files.template(a.text(0), &text).map_err(|m| Wrong::argument(0, m))?;
                a.env
                    .elsewhere(&node, a.entries(1))
                    .map_err(|fault| Wrong::argument(0, format!("in this template: {fault}")))
            },
        ),
    ]
};

/// Steps that looking for a file costs, as it takes some microseconds.
const READ: u64 = 100;

/// Compiles a regular expression; the size of what it compiles to is bounded.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => "this regular expression is too large.".to_owned(),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            format!("this is not a regular expression: {last}.")
        }
    })
}

fn groups(pattern: &Regex, captures: &regex::Captures<'_>) -> Result<Value, String> {
    let value = |m: Option<regex::Match<'_>>| m.map_or(Value::Null, |m| m.as_str().into());
    let named = pattern.capture_names().flatten().count();
    if captures.len() == 1 {
        Ok(value(captures.get(0)))
    } else if named == 0 {
        Ok(Value::list(captures.iter().skip(1).map(value)))
    } else if named + 1 == captures.len() {
        Ok(Value::object(pattern.capture_names().flatten().map(|n| (n, value(captures.name(n))))))
    } else {
        Err("groups must all have names, or none of them.".to_owned())
    }
}

fn json(value: &Value, out: &mut String) -> Result<(), Wrong> {
    bounded(out.len())?;
    let text = |text: &str, out: &mut String| {
        let quoted = serde_json::Value::from(text).to_string();
        // As Terraform writes it, so that the text can stand in HTML.
        out.push_str(&quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Unknown => return Err("the value holds something unknown.".into()),
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        Value::String(s) => text(s, out),
        Value::List(_) | Value::Set(_) => {
            out.push('[');
            for (i, item) in value.elements().into_iter().flatten().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                json(item, out)?;
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                json(item, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn from_json(json: serde_json::Value) -> Result<Value, String> {
    Ok(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => truth.into(),
        serde_json::Value::Number(number) => {
            Number::parse(&number.to_string()).ok_or("a number in it is out of range.")?.into()
        }
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => {
            Value::from(items.into_iter().map(from_json).collect::<Result<Vec<_>, _>>()?)
        }
        serde_json::Value::Object(entries) => Value::object(
            entries.into_iter().map(|(k, v)| Ok((k, from_json(v)?))).collect::<Result<BTreeMap<_, _>, String>>()?,
        ),
    })
}

/// One verb of a format.
#[derive(Default)]
struct Verb {
    left: bool,
    zero: bool,
    plus: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Fills a format's verbs; `value(i)` is the value for argument i, the format itself is argument `first`.
pub(super) fn format<'v>(a: &Arguments<'_>, first: usize, value: impl Fn(usize) -> &'v Value) -> Result<Value, Wrong> {
    let format = value(first).as_str().ok_or_else(|| Wrong::argument(first, "the format must be a string."))?;
    let mut out = String::new();
    let mut next = first + 1;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        bounded(out.len())?;
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| "-0+# ".contains(*c)) {
            match flag {
                '-' => verb.left = true,
                '0' => verb.zero = true,
                '+' => verb.plus = true,
                '#' => verb.alternate = true,
                _ => {}
            }
        }
        let mut digits = || {
            let mut text = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                text.push(digit);
            }
            text
        };
        let width = digits();
        let small = |text: &str| match text.parse::<usize>() {
            Ok(n) if n <= 10_000 => Ok(n),
            _ if text.is_empty() => Ok(0),
            _ => Err(Wrong::argument(first, "widths and precisions reach to 10000.")),
        };
        verb.width = small(&width)?;
        if chars.next_if_eq(&'.').is_some() {
            let mut text = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                text.push(digit);
            }
            verb.precision = Some(small(&text)?);
        }
        let letter = chars
            .next()
            .ok_or_else(|| Wrong::argument(first, "the format ends within a verb; a per cent sign itself is %%."))?;
        if next >= a.len() {
            return Err(Wrong::argument(first, format!("there is no value for verb {} (%{letter}).", next - first)));
        }
        let text = verb.apply(letter, value(next)).map_err(|m| Wrong::argument(next, m))?;
        out.push_str(&verb.pad(text));
        next += 1;
    }
    if next < a.len() {
        return Err(Wrong::argument(
            next,
            format!("the format has {} verb(s), so this value is not used.", next - first - 1),
        ));
    }
    Ok(out.into())
}

impl Verb {
    fn apply(&self, letter: char, value: &Value) -> Result<String, String> {
        let number = || match value {
            Value::Number(number) => Ok(*number),
            Value::String(text) => {
                Number::parse(text).ok_or_else(|| format!("%{letter} takes a number; this is {}.", value.kind()))
            }
            other => Err(format!("%{letter} takes a number; this is {}.", other.kind())),
        };
        let whole =
            || number()?.as_int().ok_or_else(|| format!("%{letter} takes a whole number; this has a fraction."));
        let text = match letter {
            's' => {
                let text =
                    plain(value).ok_or_else(|| format!("%s takes a string; this is {} (use %v).", value.kind()))?;
                match self.precision {
                    Some(n) => text.chars().take(n).collect(),
                    None => text,
                }
            }
            'v' if self.alternate => json_text(value)?,
            'v' => match plain(value) {
                Some(text) => text,
                None => json_text(value)?,
            },
            'q' => json_text(&Value::from(
                plain(value).ok_or_else(|| format!("%q takes a string; this is {}.", value.kind()))?,
            ))?,
            't' => value.as_bool().ok_or_else(|| format!("%t takes a bool; this is {}.", value.kind()))?.to_string(),
            'd' => self.signed(whole()?.to_string()),
            'b' => self.signed(radix(whole()?, 2)),
            'o' => self.signed(radix(whole()?, 8)),
            'x' => self.signed(radix(whole()?, 16)),
            'X' => self.signed(radix(whole()?, 16).to_uppercase()),
            'f' => self.signed(format!("{:.*}", self.precision.unwrap_or(6), number()?.to_f64())),
            'e' => self.signed(exponent(number()?.to_f64(), self.precision.unwrap_or(6))),
            'g' => self.signed(number()?.to_string()),
            other => return Err(format!("there is no verb %{other}.")),
        };
        Ok(text)
    }

    fn signed(&self, text: String) -> String {
        if self.plus && !text.starts_with('-') { format!("+{text}") } else { text }
    }

    fn pad(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        match (missing, self.left, self.zero) {
            (0, ..) => text,
            (n, true, _) => text + &" ".repeat(n),
            (n, false, true) => {
                let at = usize::from(text.starts_with(['-', '+']));
                let (sign, digits) = text.split_at(at);
                format!("{sign}{}{digits}", "0".repeat(n))
            }
            (n, false, false) => " ".repeat(n) + &text,
        }
    }
}

fn json_text(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    json(value, &mut out).map_err(|wrong| wrong.message)?;
    Ok(out)
}

fn radix(number: i128, base: u128) -> String {
    let mut rest = number.unsigned_abs();
    let mut digits = Vec::new();
    loop {
        digits.push(u32::try_from(rest % base).ok().and_then(|d| char::from_digit(d, 16)).unwrap_or('?'));
        rest /= base;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

/// As C writes it: at least two digits of exponent, with a sign.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |d| ('-', d));
    let mut out = String::from(mantissa);
    // Writing into a String cannot fail.
    let _ = write!(out, "e{sign}{digits:0>2}");
    out
}
