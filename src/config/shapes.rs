//! Checks a value by the shape that the table gives its attribute, and brings it into one form.

use std::collections::BTreeMap;

use super::schema::Shape;
use super::secrets::holds_token;
use crate::expr::{Part, Type, Value, convert, parse_duration};
use crate::model::quantity::Quantity;
use crate::model::{Endpoint, Scheme, SecretRef};

/// What does not fit, and where in the value.
#[derive(Debug, PartialEq)]
pub(super) struct Misfit {
    pub(super) path: Vec<Part>,
    /// What it is, as the end of a sentence.
    pub(super) found: String,
}

impl From<String> for Misfit {
    fn from(found: String) -> Self {
        Self { path: Vec::new(), found }
    }
}

impl Misfit {
    fn within(self, part: Part) -> Self {
        Self { path: [part].into_iter().chain(self.path).collect(), ..self }
    }
}

/// Checks and normalises: sizes become bytes; strings that write a number or a bool become one, and those become
/// strings, as in Terraform.
///
/// # Errors
/// What was found instead.
pub(super) fn check(shape: Shape, value: &Value) -> Result<Value, Misfit> {
    let other = || Misfit::from(format!("is {}", value.kind()));
    let shown = || Misfit::from(format!("is {}", value.short(60)));
    let to = |wanted: &Type| convert(value, wanted).map_err(|_| other());
    let text = || value.as_str().ok_or_else(other);
    match shape {
        Shape::Text | Shape::Version | Shape::Template(_) => to(&Type::String),
        Shape::OneOf(words) => {
            if words.contains(&text()?) {
                Ok(value.clone())
            } else {
                Err(shown())
            }
        }
        Shape::Bool => to(&Type::Bool),
        Shape::Whole(from, to) => whole(value, from, to),
        Shape::Number(from, limit) => match to(&Type::Number)? {
            Value::Number(number) if (from..=limit).contains(&number.to_f64()) => Ok(number.into()),
            _ => Err(shown()),
        },
        Shape::Size => Ok(size(value)?),
        Shape::Cores => Ok(cores(value)?),
        Shape::Object => match value {
            Value::Object(_) => Ok(value.clone()),
            _ => Err(other()),
        },
        Shape::Objects => each(value, |item| match item {
            Value::Object(_) => Ok(item.clone()),
            _ => Err(Misfit::from(format!("is {}", item.kind()))),
        }),
        Shape::Duration => match parse_duration(text()?) {
            Ok(duration) if !duration.is_negative() => Ok(value.clone()),
            _ => Err(shown()),
        },
        Shape::Texts => each(value, |item| check(Shape::Text, item)),
        Shape::TextMap => match value {
            Value::Object(entries) => {
                let fits = |(key, item): (&String, &Value)| {
                    let checked = check(Shape::Text, item).map_err(|misfit| misfit.within(Part::Key(key.clone())))?;
                    Ok((key.clone(), checked))
                };
                entries.iter().map(fits).collect::<Result<BTreeMap<_, _>, Misfit>>().map(Value::from)
            }
            _ => Err(other()),
        },
        Shape::Wholes(from, to) => each(value, |item| whole(item, from, to)),
        Shape::Secret => secret(value).map(|_| value.clone()).ok_or_else(|| Misfit::from(String::new())),
        Shape::Reference(kind) => match address(value, kind) {
            Some(_) => Ok(value.clone()),
            None => Err(Misfit::from(format!("is {}", describe(value)))),
        },
        Shape::ReferenceOr(kind, words) => match value.as_str() {
            Some(word) if words.contains(&word) => Ok(value.clone()),
            Some(_) => Err(shown()),
            None if address(value, kind).is_some() => Ok(value.clone()),
            None => Err(Misfit::from(format!("is {}", describe(value)))),
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

/// Checks each element of a list or set; gives a list.
fn each(value: &Value, fits: impl Fn(&Value) -> Result<Value, Misfit>) -> Result<Value, Misfit> {
    match value {
        Value::List(_) | Value::Set(_) => {
            let items = value.elements().into_iter().flatten().enumerate();
            items
                .map(|(i, item)| match item {
                    Value::Null => Err(Misfit::from("is null".to_owned()).within(Part::Element(i))),
                    item => fits(item).map_err(|misfit| misfit.within(Part::Element(i))),
                })
                .collect()
        }
        other => Err(Misfit::from(format!("is {}", other.kind()))),
    }
}

/// What a value is, for someone who expected a reference.
fn describe(value: &Value) -> String {
    match value.get("address").and_then(Value::as_str) {
        Some(address) => format!("a reference to {address}"),
        None => value.kind().to_owned(),
    }
}

fn whole(value: &Value, from: i128, to: i128) -> Result<Value, Misfit> {
    match convert(value, &Type::Number) {
        Ok(Value::Number(number)) => match number.as_int() {
            Some(n) if (from..=to).contains(&n) => Ok(number.into()),
            _ => Err(Misfit::from(format!("is {number}"))),
        },
        _ => Err(Misfit::from(format!("is {}", value.kind()))),
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
                    "is \"{text}\", a fraction of a byte, as m is thousandths: write {number}Mi for MiB"
                ));
            }
            Some(quantity.bytes().0)
        }
        other => return Err(format!("is {}", other.kind())),
    };
    match bytes {
        Some(bytes) if bytes > 0 => Ok(Value::from(bytes)),
        _ => Err(format!("is {}", value.short(60))),
    }
}

/// No machine has more cores: what is larger was meant for something else, as `48Gi` is.
const MOST_CORES: u64 = 10_000;

/// Reads a number of cores; gives thousandths of one.
fn cores(value: &Value) -> Result<Value, String> {
    let millis = match value {
        Value::Number(number) => quantity(&number.to_string()),
        Value::String(text) => quantity(text),
        other => return Err(format!("is {}", other.kind())),
    }?
    .millis();
    if millis > MOST_CORES * 1000 {
        return Err(format!("is {}, more than {MOST_CORES} cores", value.short(60)));
    }
    if millis > 0 { Ok(Value::from(millis)) } else { Err(format!("is {}", value.short(60))) }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).map_err(|error| format!("is {}, and {error}", Value::from(text).short(60)))
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
fn addresses<'v>(value: &'v Value, kind: &str) -> Result<Vec<&'v str>, Misfit> {
    if let Some(one) = address(value, kind) {
        return Ok(vec![one]);
    }
    let items: Vec<(Part, &Value)> = match value {
        Value::List(_) | Value::Set(_) => {
            value.elements().into_iter().flatten().enumerate().map(|(i, item)| (Part::Element(i), item)).collect()
        }
        Value::Object(entries) if !entries.contains_key("address") => {
            entries.iter().map(|(key, item)| (Part::Key(key.clone()), item)).collect()
        }
        other => return Err(Misfit::from(format!("is {}", describe(other)))),
    };
    items
        .into_iter()
        .map(|(part, item)| {
            address(item, kind).ok_or_else(|| Misfit::from(format!("is {}", describe(item))).within(part))
        })
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
        for bad in ["0", "-1", "8 cores", "", "many", "48Gi", "16G"] {
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
