//! Functions that encode and decode texts: Base64, JSON, YAML, CSV, URLs, digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use md5::Md5;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::Takes::{Any, Text};
use super::strings::bounded;
use super::{Function, Wrong, csv, row, yaml};
use crate::expr::{Number, Value};

/// Takes also what ends in bits that mean nothing, as Terraform does.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

pub(super) const TABLE: fn() -> Vec<Function> = || {
    vec![
        row("base64decode", &[("text", Text)], "The UTF-8 text that a Base64 text encodes.", |a| {
            let letters: String = a.text(0).chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            let bytes = LENIENT.decode(letters).map_err(|_| Wrong::argument(0, "this is not Base64."))?;
            let text = String::from_utf8(bytes).map_err(|_| Wrong::argument(0, "what it encodes is not UTF-8."))?;
            Ok(text.into())
        }),
        row("base64encode", &[("text", Text)], "The text's UTF-8 bytes in Base64.", |a| {
            Ok(STANDARD.encode(a.text(0)).into())
        }),
        row(
            "csvdecode",
            &[("text", Text)],
            "A list of maps, one for each line of a CSV text but the first, which names the columns.",
            |a| csv::decode(a, a.text(0)).map_err(|m| Wrong::argument(0, m)),
        )
        .bulky(),
        row("jsonencode", &[("value", Any)], "The value as JSON.", |a| {
            let mut out = String::new();
            json(a.any(0), &mut out)?;
            Ok(out.into())
        }),
        row("jsondecode", &[("text", Text)], "The value that a JSON text writes.", |a| {
            let wrong = |told: &str| Wrong::argument(0, format!("this is not JSON: {told}."));
            let json: &RawValue = serde_json::from_str(a.text(0)).map_err(|e| wrong(&e.to_string()))?;
            from_json(json.get()).map_err(|told| wrong(&told))
        })
        .bulky(),
        row(
            "md5",
            &[("text", Text)],
            "The MD5 of the text's UTF-8 bytes, in hex; no protection against intent.",
            |a| Ok(hex::encode(Md5::digest(a.text(0))).into()),
        ),
        row("sha256", &[("text", Text)], "The SHA-256 of the text's UTF-8 bytes, in hex.", |a| {
            Ok(hex::encode(Sha256::digest(a.text(0))).into())
        }),
        row(
            "urlencode",
            &[("text", Text)],
            "The text as it stands in the query of a URL: %XX for what is special, + for a space.",
            |a| {
                let mut out = String::new();
                for byte in a.text(0).bytes() {
                    match byte {
                        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
                        b' ' => out.push('+'),
                        other => drop(write!(out, "%{other:02X}")),
                    }
                }
                bounded(out.len())?;
                Ok(out.into())
            },
        ),
        row(
            "yamldecode",
            &[("text", Text)],
            "The value that a YAML text writes: one document, without tags of its own.",
            |a| yaml::decode(a, a.text(0)).map_err(|m| Wrong::argument(0, m)),
        )
        .bulky(),
        row("yamlencode", &[("value", Any)], "The value as YAML.", |a| {
            let text = yaml::encode(a.any(0)).map_err(|m| Wrong::argument(0, m))?;
            bounded(text.len())?;
            Ok(text.into())
        }),
    ]
};

/// Writes a value as JSON, with the escapes that Terraform has, so that the text can stand in HTML.
pub(super) fn json(value: &Value, out: &mut String) -> Result<(), Wrong> {
    bounded(out.len())?;
    let text = |text: &str, out: &mut String| {
        let quoted = serde_json::Value::from(text).to_string();
        for c in quoted.chars() {
            match c {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
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

/// Deepest nesting of JSON that is read, as of YAML.
const DEPTH: usize = 100;

/// A list or an object that is being read.
enum Open {
    List(Vec<Value>),
    Object(BTreeMap<String, Value>, Option<String>),
}

/// Reads JSON that is known to be well-formed, part by part, as its numbers are exact and the library's are floats. Every
/// byte is read once; what is open stands on a stack of its own, which is bounded.
fn from_json(text: &str) -> Result<Value, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        let size = part(rest);
        let (written, after) = rest.split_at(size);
        rest = after;
        let value = match written.bytes().next() {
            None => return Err("it ends early".to_owned()),
            Some(b'[' | b'{') if stack.len() >= DEPTH => return Err(format!("it nests deeper than {DEPTH} levels")),
            Some(b'[') => {
                stack.push(Open::List(Vec::new()));
                continue;
            }
            Some(b'{') => {
                stack.push(Open::Object(BTreeMap::new(), None));
                continue;
            }
            Some(b']' | b'}') => match stack.pop() {
                Some(Open::List(items)) => items.into(),
                Some(Open::Object(entries, _)) => Value::object(entries),
                None => return Err("a bracket closes nothing".to_owned()),
            },
            Some(b'"') => serde_json::from_str::<String>(written).map_err(|e| e.to_string())?.into(),
            Some(b'-' | b'0'..=b'9') => Number::parse(written)
                .ok_or_else(|| format!("the number {written:.60} in it has too many digits"))?
                .into(),
            Some(b'n') => Value::Null,
            first => Value::Bool(first == Some(b't')),
        };
        match stack.last_mut() {
            None => return Ok(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(entries, key)) => match (key.take(), value) {
                (Some(key), value) => drop(entries.insert(key, value)),
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err("a key is no string".to_owned()),
            },
        }
    }
}

/// The length of the bracket, string, number or word that a text of JSON begins with.
fn part(text: &str) -> usize {
    match text.bytes().next() {
        None => 0,
        Some(b'[' | b']' | b'{' | b'}') => 1,
        Some(b'"') => {
            let mut escaped = false;
            let end = text.bytes().skip(1).position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end.map_or(text.len(), |end| end + 2)
        }
        Some(_) => text.find([' ', '\t', '\n', '\r', ',', ':', ']', '}']).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_once_and_to_a_bounded_depth() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(from_json(&nested(DEPTH)).is_ok());
        for depth in [DEPTH + 1, 10_000, 1_000_000] {
            assert_eq!(from_json(&nested(depth)), Err("it nests deeper than 100 levels".to_owned()), "{depth}");
        }
        let keys = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(from_json(&keys).is_err());
        let text = r#" { "a\"b" : [ 1.0 , "x,]" , { } , [ ] , null , true ] , "a\"b" : [ false, "\\" ] } "#;
        assert_eq!(from_json(text).map(|v| v.to_string()), Ok(r#"{ "a\"b" = [false, "\\"] }"#.to_owned()));
        assert_eq!(
            from_json("[1,[2,{\"k\":-3e2}],\"\"]").map(|v| v.to_string()),
            Ok(r#"[1, [2, { "k" = -300 }], ""]"#.to_owned())
        );
    }
}
