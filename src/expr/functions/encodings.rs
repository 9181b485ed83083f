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
            from_json(json).map_err(|told| wrong(&told))
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

/// Reads JSON part by part, as its numbers are exact and the library's are floats. The library bounds the depth.
fn from_json(json: &RawValue) -> Result<Value, String> {
    let text = json.get();
    let told = |e: serde_json::Error| e.to_string();
    Ok(match text.bytes().next() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(told)?;
            Value::from(items.into_iter().map(from_json).collect::<Result<Vec<_>, _>>()?)
        }
        Some(b'{') => {
            let entries: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(told)?;
            Value::object(
                entries.into_iter().map(|(k, v)| Ok((k, from_json(v)?))).collect::<Result<BTreeMap<_, _>, String>>()?,
            )
        }
        Some(b'"') => serde_json::from_str::<String>(text).map_err(told)?.into(),
        Some(b'-' | b'0'..=b'9') => {
            Number::parse(text).ok_or_else(|| format!("the number {text:.60} in it has too many digits"))?.into()
        }
        Some(b'n') => Value::Null,
        first => Value::Bool(first == Some(b't')),
    })
}
