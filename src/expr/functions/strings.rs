//! Functions over texts. Length and positions count grapheme clusters, what a reader takes for one character.

use unicode_segmentation::UnicodeSegmentation as _;

use super::Takes::{Any, List, Text, Whole};
use super::{Arguments, Function, Wrong, row};
use crate::expr::Value;
use crate::expr::eval::TEXT_LIMIT;

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("chomp", &[("text", Text)], "The text without the newlines at its end.", |a| {
            Ok(a.text(0).trim_end_matches(['\n', '\r']).into())
        }),
        row("endswith", &[("text", Text), ("suffix", Text)], "True when the text ends with the suffix.", |a| {
            Ok(a.text(0).ends_with(a.text(1)).into())
        }),
        row(
            "indent",
            &[("spaces", Whole), ("text", Text)],
            "The text with spaces before each line but the first.",
            |a| {
                let spaces = usize::try_from(a.whole(0)).ok().filter(|n| *n <= 1000);
                let spaces =
                    spaces.ok_or_else(|| Wrong::argument(0, "the number of spaces must be from 0 to 1000."))?;
                replaced(a.text(1), "\n", &format!("\n{}", " ".repeat(spaces)))
            },
        ),
        row(
            "join",
            &[("separator", Text), ("lists", List)],
            "The elements in one text, with the separator between.",
            |a| {
                let mut parts = Vec::new();
                for i in 1..a.len() {
                    for item in a.items(i) {
                        parts.push(plain(item).ok_or_else(|| {
                            Wrong::argument(i, format!("every element must be a string; one is {}.", item.kind()))
                        })?);
                    }
                }
                let size = parts.iter().map(|p| p.len() + a.text(0).len()).sum::<usize>();
                bounded(size)?;
                Ok(parts.join(a.text(0)).into())
            },
        )
        .variadic(),
        row("lower", &[("text", Text)], "The text in lower case.", |a| Ok(a.text(0).to_lowercase().into())),
        row(
            "replace",
            &[("text", Text), ("part", Text), ("replacement", Text)],
            "The text with each occurrence of the part replaced; a part between slashes is a regular expression, whose groups the replacement names `$1` or `${name}`.",
            |a| match a.text(1).strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
                Some(pattern) => {
                    let pattern = super::texts::pattern(pattern).map_err(|m| Wrong::argument(1, m))?;
                    let found = pattern.find_iter(a.text(0)).count();
                    // A group may stand in the replacement more than once.
                    let each =
                        a.text(2).len().saturating_add(a.text(2).matches('$').count().saturating_mul(a.text(0).len()));
                    bounded(found.saturating_mul(each))?;
                    Ok(pattern.replace_all(a.text(0), a.text(2)).into_owned().into())
                }
                None => replaced(a.text(0), a.text(1), a.text(2)),
            },
        ),
        row(
            "split",
            &[("separator", Text), ("text", Text)],
            "The parts between the separators; an empty separator gives the characters.",
            |a| {
                let parts: Vec<Value> = if a.text(0).is_empty() {
                    a.text(1).graphemes(true).map(Value::from).collect()
                } else {
                    a.text(1).split(a.text(0)).map(Value::from).collect()
                };
                a.spend(parts.len() as u64)?;
                Ok(parts.into())
            },
        ),
        row("startswith", &[("text", Text), ("prefix", Text)], "True when the text starts with the prefix.", |a| {
            Ok(a.text(0).starts_with(a.text(1)).into())
        }),
        row(
            "strcontains",
            &[("text", Text), ("part", Text)],
            "True when the part stands somewhere in the text.",
            |a| Ok(a.text(0).contains(a.text(1)).into()),
        ),
        row("strrev", &[("text", Text)], "The characters in reverse order.", |a| {
            Ok(a.text(0).graphemes(true).rev().collect::<String>().into())
        }),
        row(
            "substr",
            &[("text", Text), ("offset", Whole), ("length", Whole)],
            "The characters from an offset on (negative: from the end), as many as length says; -1 is all.",
            substring,
        ),
        row("title", &[("text", Text)], "The text with each word's first letter in upper case.", |a| {
            let mut start = true;
            let mut out = String::new();
            for c in a.text(0).chars() {
                if start {
                    out.extend(c.to_uppercase());
                } else {
                    out.push(c);
                }
                start = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
            }
            Ok(out.into())
        }),
        row(
            "trim",
            &[("text", Text), ("characters", Text)],
            "The text without any of these characters at both ends.",
            |a| {
                let set = a.text(1);
                Ok(a.text(0).trim_matches(|c| set.contains(c)).into())
            },
        ),
        row("trimprefix", &[("text", Text), ("prefix", Text)], "The text without the prefix, if it has it.", |a| {
            Ok(a.text(0).strip_prefix(a.text(1)).unwrap_or(a.text(0)).into())
        }),
        row("trimspace", &[("text", Text)], "The text without white space at both ends.", |a| {
            Ok(a.text(0).trim().into())
        }),
        row("trimsuffix", &[("text", Text), ("suffix", Text)], "The text without the suffix, if it has it.", |a| {
            Ok(a.text(0).strip_suffix(a.text(1)).unwrap_or(a.text(0)).into())
        }),
        row("upper", &[("text", Text)], "The text in upper case.", |a| Ok(a.text(0).to_uppercase().into())),
        row(
            "format",
            &[("format", Text), ("values", Any)],
            "The format with each verb (%s, %d, %f, %e, %g, %t, %v, %q, %x, %o, %b) replaced by the next value.",
            |a| super::texts::format(a, 0, |i| a.any(i)),
        )
        .variadic(),
        row(
            "formatlist",
            &[("format", Text), ("lists", Any)],
            "A list of formatted texts, one for each element of the lists; values that are no list stand in each.",
            |a| {
                let lengths: Vec<usize> = (1..a.len())
                    .filter(|i| matches!(a.any(*i), Value::List(_) | Value::Set(_)))
                    .map(|i| a.items(i).len())
                    .collect();
                let count = lengths.first().copied().unwrap_or(1);
                if lengths.iter().any(|n| *n != count) {
                    return Err("all lists must have the same number of elements.".into());
                }
                let columns: Vec<Option<Vec<&Value>>> = (0..a.len())
                    .map(|i| matches!(a.any(i), Value::List(_) | Value::Set(_)).then(|| a.items(i)))
                    .collect();
                a.spend((count as u64).saturating_mul(a.len() as u64))?;
                let cell = |i: usize, line: usize| match columns.get(i) {
                    Some(Some(column)) => column.get(line).copied().unwrap_or(&Value::Null),
                    _ => a.any(i),
                };
                let lines: Result<Vec<Value>, Wrong> =
                    (0..count).map(|line| super::texts::format(a, 0, |i| cell(i, line))).collect();
                Ok(lines?.into())
            },
        )
        .variadic(),
    ]
};

/// A string, number or bool as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

pub(super) fn bounded(size: usize) -> Result<(), Wrong> {
    if size > TEXT_LIMIT {
        Err(format!("the text would be longer than {} MiB.", TEXT_LIMIT >> 20).into())
    } else {
        Ok(())
    }
}

fn replaced(text: &str, part: &str, replacement: &str) -> Result<Value, Wrong> {
    let found = text.matches(part).count();
    bounded(text.len().saturating_add(found.saturating_mul(replacement.len())))?;
    Ok(text.replace(part, replacement).into())
}

fn substring(a: &mut Arguments<'_>) -> Result<Value, Wrong> {
    let characters: Vec<&str> = a.text(0).graphemes(true).collect();
    let size = i128::try_from(characters.len()).unwrap_or(i128::MAX);
    let offset = a.whole(1);
    let start = if offset < 0 { offset.saturating_add(size).max(0) } else { offset.min(size) };
    let end = match a.whole(2) {
        -1 => size,
        n if n < 0 => return Err(Wrong::argument(2, "the length must be -1 (all) or not negative.")),
        n => start.saturating_add(n).min(size),
    };
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    Ok(characters.get(start..end).unwrap_or_default().concat().into())
}
