//! Functions over texts. Length and positions count grapheme clusters, what a reader takes for one character.

use unicode_segmentation::UnicodeSegmentation as _;

use super::Takes::{Text, Texts, Whole};
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
            &[("separator", Text), ("list", Texts), ("lists", Texts)],
            "The elements in one text, with the separator between.",
            |a| {
                let mut parts = Vec::new();
                for i in 1..a.len() {
                    parts.extend(super::lists::texts(a, i)?);
                }
                let size = parts.iter().map(|p| p.len() + a.text(0).len()).sum::<usize>();
                bounded(size)?;
                Ok(parts.join(a.text(0)).into())
            },
        )
        .variadic(),
        row("lower", &[("text", Text)], "The text in lower case.", |a| {
            Ok(a.text(0).chars().map(lowered).collect::<String>().into())
        }),
        row(
            "split",
            &[("separator", Text), ("text", Text)],
            "The parts between the separators; an empty separator gives the code points.",
            |a| {
                let parts: Vec<Value> = if a.text(0).is_empty() {
                    a.text(1).chars().map(|c| Value::from(c.to_string())).collect()
                } else {
                    a.text(1).split(a.text(0)).map(Value::from).collect()
                };
                a.spend(parts.len() as u64)?;
                Ok(parts.into())
            },
        )
        .bulky(),
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
            "The characters from an offset on (negative: from the end), as many as length says; a negative length is all.",
            substring,
        ),
        row("title", &[("text", Text)], "The text with each word's first letter as in a title.", |a| {
            let mut start = true;
            let mut out = String::new();
            for c in a.text(0).chars() {
                out.push(if start { titled(c) } else { c });
                start = if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() };
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
        row("upper", &[("text", Text)], "The text in upper case.", |a| {
            Ok(a.text(0).chars().map(raised).collect::<String>().into())
        }),
    ]
};

/// The characters of a text as a reader counts them.
pub(super) fn characters(text: &str) -> usize {
    if text.is_ascii() && !text.contains('\r') { text.len() } else { text.graphemes(true).count() }
}

/// A letter in upper case, where that is one letter: `ß` stays.
fn raised(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// A letter in lower case; of `İ`, whose lower case is two, the letter itself.
fn lowered(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// A letter as it begins a word: of the letters that are two in one, only the first is large.
fn titled(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        c => raised(c),
    }
}

pub(super) fn bounded(size: usize) -> Result<(), Wrong> {
    if size > TEXT_LIMIT {
        Err(format!("the text would be longer than {} MiB.", TEXT_LIMIT >> 20).into())
    } else {
        Ok(())
    }
}

pub(super) fn replaced(text: &str, part: &str, replacement: &str) -> Result<Value, Wrong> {
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
        n if n < 0 => size,
        n => start.saturating_add(n).min(size),
    };
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    Ok(characters.get(start..end).unwrap_or_default().concat().into())
}
