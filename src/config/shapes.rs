//! Checks a value by the shape that the table gives its attribute, and brings it into one form.

use super::read::holds_token;
use super::schema::Shape;
use crate::expr::{Value, parse_duration};
use crate::model::quantity::Quantity;
use crate::model::{Endpoint, Scheme, SecretRef};

/// Checks and normalises: sizes become bytes, everything else stays what it is.
///
/// # Errors
/// What was found instead, as the end of a sentence.
pub(super) fn check(shape: Shape, value: &Value) -> Result<Value, String> {
    let other = || format!("this is {}", value.kind());
    let text = || value.as_str().ok_or_else(other);
    match shape {
        Shape::Text | Shape::Version | Shape::Template(_) => text().map(|_| value.clone()),
        Shape::OneOf(words) => {
            let found = text()?;
            if words.contains(&found) { Ok(value.clone()) } else { Err(format!("this is {}", value.short(60))) }
        }
        Shape::Bool => value.as_bool().map(Value::from).ok_or_else(other),
        Shape::Whole(from, to) => whole(value, from, to),
        Shape::Number(from, to) => match value {
            Value::Number(number) if (from..=to).contains(&number.to_f64()) => Ok(value.clone()),
            Value::Number(number) => Err(format!("this is {number}")),
            _ => Err(other()),
        },
        Shape::Size => size(value),
        Shape::Cores => cores(value),
        Shape::Object => match value {
            Value::Object(_) => Ok(value.clone()),
            _ => Err(other()),
        },
        Shape::Objects => match value {
            Value::List(items) if items.iter().all(|i| matches!(i, Value::Object(_))) => Ok(value.clone()),
            Value::List(_) => Err("an element of this list is no object".to_owned()),
            _ => Err(other()),
        },
        Shape::Duration => match parse_duration(text()?) {
            Ok(duration) if !duration.is_negative() => Ok(value.clone()),
            _ => Err(format!("this is {}", value.short(60))),
        },
        Shape::Texts => match value {
            Value::List(items) if items.iter().all(|i| i.as_str().is_some()) => Ok(value.clone()),
            Value::List(_) => Err("an element of this list is no string".to_owned()),
            _ => Err(other()),
        },
        Shape::TextMap => match value {
            Value::Object(entries) if entries.values().all(|v| v.as_str().is_some()) => Ok(value.clone()),
            Value::Object(_) => Err("a value of this map is no string".to_owned()),
            _ => Err(other()),
        },
        Shape::Wholes(from, to) => match value {
            Value::List(items) => items.iter().try_for_each(|i| whole(i, from, to).map(|_| ())).map(|()| value.clone()),
            _ => Err(other()),
        },
        Shape::Secret => secret(value).map(|_| value.clone()).ok_or_else(String::new),
        Shape::Reference(kind) => match address(value, kind) {
            Some(_) => Ok(value.clone()),
            None => Err(format!("this is {}", describe(value))),
        },
        Shape::ReferenceOr(kind, words) => match value.as_str() {
            Some(word) if words.contains(&word) => Ok(value.clone()),
            _ if address(value, kind).is_some() => Ok(value.clone()),
            _ => Err(format!("this is {}", describe(value))),
        },
        Shape::References(kind) => {
            let list = addresses(value, kind)?;
            Ok(Value::list(list.into_iter().map(Value::from)))
        }
        Shape::Any | Shape::ForEach | Shape::Where | Shape::Condition(_) | Shape::Address | Shape::Type => {
            Ok(value.clone())
        }
    }
}

/// What a value is, for someone who expected a reference.
fn describe(value: &Value) -> String {
    match value.get("address").and_then(Value::as_str) {
        Some(address) => format!("a reference to {address}"),
        None => value.kind().to_owned(),
    }
}

fn whole(value: &Value, from: i128, to: i128) -> Result<Value, String> {
    match value {
        Value::Number(number) => match number.as_int() {
            Some(n) if (from..=to).contains(&n) => Ok(value.clone()),
            _ => Err(format!("this is {number}")),
        },
        other => Err(format!("this is {}", other.kind())),
    }
}

/// Reads a size: a number of bytes, or a quantity as Kubernetes writes it (`Ki` is 1024, `k` is 1000). A fraction of a
/// byte is rounded up, as Kubernetes does.
fn size(value: &Value) -> Result<Value, String> {
    let bytes = match value {
        Value::Number(number) => number.as_int().and_then(|n| u64::try_from(n).ok()),
        Value::String(text) => {
            let quantity = quantity(text)?;
            if !quantity.is_whole() && text.ends_with('m') {
                let number = text.trim_end_matches('m');
                return Err(format!(
                    "\"{text}\" is a fraction of a byte, as m is thousandths: write {number}Mi for MiB"
                ));
            }
            Some(quantity.bytes().0)
        }
        other => return Err(format!("this is {}", other.kind())),
    };
    match bytes {
        Some(bytes) if bytes > 0 => Ok(Value::from(bytes)),
        _ => Err(format!("this is {}", value.short(60))),
    }
}

/// Reads a number of cores; gives thousandths of one.
fn cores(value: &Value) -> Result<Value, String> {
    let millis = match value {
        Value::Number(number) => quantity(&number.to_string()),
        Value::String(text) => quantity(text),
        other => return Err(format!("this is {}", other.kind())),
    }?
    .millis();
    if millis > 0 { Ok(Value::from(millis)) } else { Err(format!("this is {}", value.short(60))) }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).map_err(|error| format!("this is {}, and {error}", Value::from(text).short(60)))
}

/// Reads a reference to a secret. Says nothing about what was found: it may be the secret.
pub(super) fn secret(value: &Value) -> Option<SecretRef> {
    let Value::Object(entries) = value else { return None };
    let mut entries = entries.iter();
    let (kind, inner) = entries.next()?;
    if entries.next().is_some() {
        return None;
    }
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match kind.as_str() {
        "env" => Some(inner.as_str()?).filter(|n| is_env_name(n)).map(|n| SecretRef::Env(n.to_owned())),
        "file" => filled(inner.as_str()?).filter(|p| !holds_token(p)).map(SecretRef::File),
        "kubernetes" => {
            let Value::Object(parts) = inner else { return None };
            let secret = filled(inner.get("secret")?.as_str()?)?;
            let key = filled(inner.get("key")?.as_str()?)?;
            (parts.len() == 2).then_some(SecretRef::Kubernetes { secret, key })
        }
        _ => None,
    }
}

/// Whether a text can name an environment variable; a secret that was put in its place mostly cannot.
fn is_env_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The address that a reference to a block of one kind holds.
pub(super) fn address<'v>(value: &'v Value, kind: &str) -> Option<&'v str> {
    let address = value.get("address")?.as_str()?;
    address.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.')).then_some(address)
}

/// The addresses that a reference, a list of them, or all instances of a block hold.
fn addresses<'v>(value: &'v Value, kind: &str) -> Result<Vec<&'v str>, String> {
    if let Some(one) = address(value, kind) {
        return Ok(vec![one]);
    }
    let items: Vec<&Value> = match value {
        Value::List(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        Value::Object(entries) if !entries.contains_key("address") => entries.values().collect(),
        other => return Err(format!("this is {}", describe(other))),
    };
    items
        .into_iter()
        .map(|item| address(item, kind).ok_or_else(|| format!("an element of this is {}", describe(item))))
        .collect()
}

/// Reads a Gitaly's address.
///
/// # Errors
/// What is wrong with it.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    const RULE: &str = "this has another form";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.starts_with('/') {
            Ok(Endpoint { scheme: Scheme::Unix, authority: path.to_owned() })
        } else {
            Err(RULE)
        };
    }
    let (scheme, authority) = match (text.strip_prefix("tcp://"), text.strip_prefix("tls://")) {
        (Some(rest), _) => (Scheme::Tcp, rest),
        (_, Some(rest)) => (Scheme::Tls, rest),
        _ => return Err(RULE),
    };
    let authority = authority.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').ok_or("it lacks a port")?;
    if !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Err("its port must be a number from 1 to 65535");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let six = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match six {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    if good {
        Ok(Endpoint { scheme, authority: authority.to_owned() })
    } else {
        Err("its host is not a name or an address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        for (text, bytes) in [("20Gi", 20u64 << 30), ("1.5Ki", 1536), ("1k", 1000), ("7", 7), ("1e3", 1000)] {
            assert_eq!(size(&Value::from(text)), Ok(Value::from(bytes)), "{text}");
        }
        for bad in ["", "Gi", "1x", "-1Gi", "0", "1e3Gi", "99999999Pi", "2GiB", "48GB", "500m"] {
            assert!(size(&Value::from(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn cores_are_read_as_kubernetes_writes_them() {
        for (text, millis) in [("500m", 500u64), ("8", 8000), ("0.5", 500), ("1e1", 10_000)] {
            assert_eq!(cores(&Value::from(text)), Ok(Value::from(millis)), "{text}");
        }
        assert_eq!(cores(&Value::from(1.5)), Ok(Value::from(1500u64)));
        for bad in ["0", "-1", "8 cores", "", "many"] {
            assert!(cores(&Value::from(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_have_a_scheme_a_host_and_a_port() {
        assert_eq!(endpoint("tcp://a.b:8075").expect("valid").to_string(), "tcp://a.b:8075");
        assert_eq!(endpoint("unix:///run/g.sock").expect("valid").to_string(), "unix:/run/g.sock");
        assert!(endpoint("tls://[::1]:9999").is_ok());
        for bad in [
            "a:1",
            "tcp://a",
            "tcp://:1",
            "tcp://a:0",
            "tcp://a:99999",
            "http://a:1",
            "unix:x",
            "tcp://a b:1",
            "tcp://[zz]:1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
