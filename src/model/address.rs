//! The address of anything that a configuration declares or a plan changes: `storage.gitaly["a"]`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::NameError;

/// Cheap to clone: a plan names one for each of its moves.
/// Kind, label and, for an instance of a `for_each`, its key. Ordered by kind, label, key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// The block's type: `storage`, `assignment`, `policy` …
    pub kind: Arc<str>,
    /// The block's label.
    pub label: Arc<str>,
    /// The instance's key.
    pub key: Option<Arc<str>>,
}

impl Address {
    /// Makes the address of a block without `for_each`.
    pub fn new(kind: impl Into<Arc<str>>, label: impl Into<Arc<str>>) -> Self {
        Self { kind: kind.into(), label: label.into(), key: None }
    }

    /// Makes the address of one instance of a block with `for_each`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.label)?;
        if let Some(key) = &self.key {
            // As JSON, which is what is read back; Rust's own quoting escapes otherwise.
            write!(f, "[{}]", serde_json::Value::from(&**key))?;
        }
        Ok(())
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let error = || NameError {
            what: "an address",
            found: text.chars().take(120).collect(),
            expected: "`kind.label`, or `kind.label[\"key\"]`",
        };
        let (kind, rest) = text.split_once('.').ok_or_else(error)?;
        let (label, key) = match rest.split_once('[') {
            None => (rest, None),
            Some((label, key)) => {
                let quoted = key.strip_suffix(']').ok_or_else(error)?;
                let key: String = serde_json::from_str(quoted).map_err(|_| error())?;
                (label, Some(key))
            }
        };
        if kind.is_empty() || label.is_empty() {
            return Err(error());
        }
        Ok(Self { kind: kind.into(), label: label.into(), key: key.map(Into::into) })
    }
}

impl std::str::FromStr for Address {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in
            ["storage.default", "storage.gitaly[\"a\"]", "assignment.x[\"a.b \\\"c\\\"\"]", "gate.x[\"\\u0001é\"]"]
        {
            assert_eq!(text.parse::<Address>().expect("valid").to_string(), text);
        }
        for bad in ["storage", ".x", "storage.", "storage.a[", "storage.a[b]"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
