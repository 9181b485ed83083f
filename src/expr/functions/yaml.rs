//! YAML, read with the rules of Terraform for what a plain word means, and written as Terraform writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::Arguments;
use super::times::Time;
use crate::expr::{Number, Value};

/// Deepest nesting that is read.
const DEPTH: usize = 100;
/// Parts that an alias is counted to.
const MOST: usize = 100_000_000;
/// What the tags of YAML itself begin with.
const OWN: &str = "tag:yaml.org,2002:";

/// A collection that is being read.
struct Open {
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Value>),
    Map { entries: BTreeMap<String, Value>, merged: BTreeMap<String, Value>, key: Option<Key> },
}

/// A key whose value comes next.
enum Key {
    Named(String),
    /// `<<`: the value's entries are taken in.
    Merge,
}

/// Reads one document.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn decode(a: &Arguments<'_>, text: &str) -> Result<Value, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, Value> = BTreeMap::new();
    let mut document: Option<Value> = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| format!("this is not YAML: {}.", e.to_string().trim_end_matches('.')))?;
        let (value, anchor, plain) = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err("only one YAML document is read; here are several.".to_owned());
                }
                continue;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (scalar(&text, plain, tag.as_deref())?, anchor, plain && tag.is_none() && text == "<<")
            }
            Event::Alias(anchor) => {
                let value = anchors.get(&anchor).cloned().ok_or("an alias stands within what it names.")?;
                // A few aliases of aliases stand for more than any memory holds.
                a.spend(value.parts(MOST) as u64).map_err(|wrong| wrong.message)?;
                (value, 0, false)
            }
            Event::SequenceStart(_, anchor, tag) => {
                begin(&mut stack, anchor, tag.as_deref(), "seq", Kind::List(Vec::new()))?;
                continue;
            }
            Event::MappingStart(_, anchor, tag) => {
                let kind = Kind::Map { entries: BTreeMap::new(), merged: BTreeMap::new(), key: None };
                begin(&mut stack, anchor, tag.as_deref(), "map", kind)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open { anchor, kind: Kind::List(items) }) => (items.into(), anchor, false),
                Some(Open { anchor, kind: Kind::Map { entries, mut merged, .. } }) => {
                    merged.extend(entries);
                    (Value::object(merged), anchor, false)
                }
                None => continue,
            },
            _ => continue,
        };
        a.spend(1).map_err(|wrong| wrong.message)?;
        if anchor != 0 {
            anchors.insert(anchor, value.clone());
        }
        match stack.last_mut() {
            None => document = Some(value),
            Some(open) => open.kind.take(value, plain)?,
        }
    }
    document.ok_or_else(|| "there is no YAML document in it.".to_owned())
}

fn begin(stack: &mut Vec<Open>, anchor: usize, tag: Option<&Tag>, own: &str, kind: Kind) -> Result<(), String> {
    if let Some(tag) = tag
        && (tag.handle() != OWN || tag.suffix() != own)
    {
        return Err(unknown(tag));
    }
    if matches!(stack.last(), Some(Open { kind: Kind::Map { key: None, .. }, .. })) {
        return Err("a key must be a plain value, not a list or a map.".to_owned());
    }
    if stack.len() >= DEPTH {
        return Err(format!("it nests deeper than {DEPTH} levels."));
    }
    stack.push(Open { anchor, kind });
    Ok(())
}

fn unknown(tag: &Tag) -> String {
    format!("the tag {}{} has no meaning here.", tag.handle(), tag.suffix())
}

impl Kind {
    fn take(&mut self, value: Value, merges: bool) -> Result<(), String> {
        match self {
            Self::List(items) => items.push(value),
            Self::Map { entries, merged, key } => match key.take() {
                None if merges => *key = Some(Key::Merge),
                None => {
                    *key = Some(Key::Named(match value {
                        Value::String(text) => text,
                        Value::Number(_) | Value::Bool(_) => value.to_string(),
                        other => return Err(format!("a key must be a string; here is {}.", other.kind())),
                    }));
                }
                Some(Key::Named(name)) => {
                    entries.insert(name, value);
                }
                Some(Key::Merge) => match value {
                    Value::Object(more) => {
                        merged.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
                    }
                    other => return Err(format!("only a map can be merged with `<<`; this is {}.", other.kind())),
                },
            },
        }
        Ok(())
    }
}

/// What a scalar means: a tag says it, or how a plain word is written.
fn scalar(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(if plain { meaning(text)? } else { text.into() });
    };
    let own = if tag.handle() == OWN { tag.suffix() } else { return Err(unknown(tag)) };
    let meant = meaning(text)?;
    match (own, &meant) {
        ("str" | "binary", _) => Ok(text.into()),
        ("int", Value::Number(number)) if number.as_int().is_some() => Ok(meant),
        ("float", Value::Number(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => Ok(meant),
        ("timestamp", _) => time(text).map(Value::from).ok_or_else(|| format!("{text:?} is not a time.")),
        ("int" | "float" | "bool" | "null", _) => Err(format!("{text:?} is not what its tag !!{own} says.")),
        _ => Err(unknown(tag)),
    }
}

/// What a plain word means.
fn meaning(text: &str) -> Result<Value, String> {
    let any = |words: [&str; 3]| words.contains(&text);
    if text.is_empty() || text == "~" || any(["null", "Null", "NULL"]) {
        return Ok(Value::Null);
    }
    let yes = matches!(text, "y" | "Y") || any(["yes", "Yes", "YES"]) || any(["on", "On", "ON"]);
    if yes || any(["true", "True", "TRUE"]) {
        return Ok(Value::Bool(true));
    }
    let no = matches!(text, "n" | "N") || any(["no", "No", "NO"]) || any(["off", "Off", "OFF"]);
    if no || any(["false", "False", "FALSE"]) {
        return Ok(Value::Bool(false));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if any([".nan", ".NaN", ".NAN"]) || [".inf", ".Inf", ".INF"].contains(&unsigned) {
        return Err(format!("{text} is a number that has no value here."));
    }
    for (prefix, base) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && let Ok(number) = i128::from_str_radix(digits, base)
        {
            return Ok(Number::Int(number).into());
        }
    }
    let digits = unsigned.trim_end_matches('.');
    let number = digits.starts_with('.') || digits.starts_with(|c: char| c.is_ascii_digit());
    if number && unsigned.len() - digits.len() < 2 {
        let sign = if text.starts_with('-') { "-" } else { "" };
        let zero = if digits.starts_with('.') { "0" } else { "" };
        if let Some(number) = Number::parse(&format!("{sign}{zero}{digits}")) {
            return Ok(number.into());
        }
        if digits.chars().all(|c| c.is_ascii_digit() || c == '.') && digits.matches('.').count() < 2 {
            return Err("a number in it has too many digits.".to_owned());
        }
    }
    Ok(time(text).unwrap_or_else(|| text.to_owned()).into())
}

/// A day, or a time, in the forms of YAML: as RFC 3339.
fn time(text: &str) -> Option<String> {
    let (day, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, ""),
    };
    let mut parts = day.split('-');
    let (year, month, date) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || year.len() != 4 || !digits(year, 4) || !digits(month, 2) || !digits(date, 2) {
        return None;
    }
    let clock = if clock.is_empty() { "00:00:00Z".to_owned() } else { clock.to_owned() };
    let zone = clock.find(['Z', '+', '-']).map_or("Z", |at| clock.get(at..).unwrap_or(""));
    let bare = clock.strip_suffix(zone).unwrap_or(&clock);
    let mut parts = bare.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    Time::parse(&format!("{year}-{month:0>2}-{date:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}{zone}"))
        .ok()
        .map(|time| time.to_string())
}

/// Writes a value: strings in double quotes, those of several lines as a block.
///
/// # Errors
/// When something in it is unknown.
pub(super) fn encode(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    match value {
        Value::String(text) => string(text, 2, &mut out),
        _ if is_block(value) => block(value, 0, false, &mut out)?,
        other => {
            out.push_str(&simple(other)?);
            if !matches!(other, Value::List(_) | Value::Set(_) | Value::Object(_)) {
                out.push_str("\n...");
            }
        }
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    Ok(out)
}

/// Whether a value is written over several lines, each part on its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::List(items) => !items.is_empty(),
        Value::Set(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => false,
    }
}

fn simple(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::List(_) | Value::Set(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        Value::Unknown => return Err("the value holds something unknown.".to_owned()),
        other => other.to_string(),
    })
}

/// Writes the lines of a list or map. The first one's indentation may be there already.
fn block(value: &Value, indent: usize, mut begun: bool, out: &mut String) -> Result<(), String> {
    let mut line = |out: &mut String, head: &str| {
        if !std::mem::take(&mut begun) {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(head);
    };
    match value {
        Value::Object(entries) => {
            for (key, item) in entries.iter() {
                line(out, "");
                quoted(key, None, out);
                out.push(':');
                match item {
                    Value::Object(_) if is_block(item) => {
                        out.push('\n');
                        block(item, indent + 2, false, out)?;
                    }
                    _ if is_block(item) => {
                        out.push('\n');
                        block(item, indent, false, out)?;
                    }
                    _ => rest(item, indent, out)?,
                }
            }
        }
        list => {
            for item in list.elements().into_iter().flatten() {
                line(out, "-");
                if is_block(item) {
                    out.push(' ');
                    block(item, indent + 2, true, out)?;
                } else {
                    rest(item, indent, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Writes a plain value after its key or dash.
fn rest(value: &Value, indent: usize, out: &mut String) -> Result<(), String> {
    out.push(' ');
    match value {
        Value::String(text) => string(text, indent + 2, out),
        other => out.push_str(&simple(other)?),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    Ok(())
}

/// A string in double quotes, or as a block where it has lines that a block can show.
fn string(text: &str, indent: usize, out: &mut String) {
    let shown = |c: char| c == '\n' || is_printable(c) && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    if !text.contains('\n') || !text.chars().all(shown) || text.contains(" \n") || text.ends_with(' ') {
        return quoted(text, Some(indent), out);
    }
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let keep = match text.strip_suffix('\n') {
        None => "-",
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => "+",
        Some(_) => "",
    };
    let _ = writeln!(out, "|{hint}{keep}");
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Writes a string in double quotes; where it may be folded, at the first space beyond the 80th column.
fn quoted(text: &str, fold: Option<usize>, out: &mut String) {
    const WIDTH: usize = 80;
    let mut column = out.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    out.push('"');
    let mut after_space = false;
    let mut chars = text.chars().enumerate().peekable();
    while let Some((i, c)) = chars.next() {
        match (c, fold, chars.peek()) {
            (' ', Some(indent), Some((_, next))) if column > WIDTH && i > 0 && !after_space => {
                let begin = if *next == ' ' { "\\" } else { "" };
                let _ = write!(out, "\n{}{begin}", " ".repeat(indent));
                column = indent + begin.len();
            }
            _ => {
                let written = escaped(c);
                column += written.chars().count();
                out.push_str(&written);
            }
        }
        after_space = c == ' ';
    }
    out.push('"');
}

fn escaped(c: char) -> String {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        c if is_printable(c) => return c.to_string(),
        c => {
            return match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02X}"),
                code @ 0x100..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    short.to_owned()
}
