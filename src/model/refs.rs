//! What a repository's references are at one moment, a digest of it, and how two of them differ.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One reference: its full name, which need not be UTF-8, and the object it names, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Like `refs/heads/main`, or `HEAD` when HEAD resolves.
    pub name: Vec<u8>,
    /// 40 hex digits, or 64 in a SHA-256 repository.
    pub target: String,
}

impl Reference {
    /// The name for people: bytes that are not UTF-8 or are control characters are escaped.
    pub fn printable(&self) -> String {
        printable(&self.name)
    }
}

fn printable(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// All references of one repository, HEAD's symbolic target and the object format, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefSnapshot {
    /// In byte-wise order of names, each name once.
    references: Vec<Reference>,
    /// What HEAD names, also when that does not exist; `None` when the server cannot tell.
    pub head: Option<Vec<u8>>,
    /// `sha1` or `sha256`; `None` when the server cannot tell.
    pub object_format: Option<String>,
}

impl RefSnapshot {
    /// Makes a snapshot; sorts the references and drops repeated ones.
    pub fn new(mut references: Vec<Reference>, head: Option<Vec<u8>>, object_format: Option<String>) -> Self {
        references.sort();
        references.dedup();
        Self { references, head, object_format }
    }

    /// The references in byte-wise order of their names.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// True when the repository has no reference at all.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Digest over the sorted (name, target) pairs, HEAD's target and the object format. Every field is
    /// preceded by its length, so that no two different snapshots give the same bytes.
    pub fn digest(&self) -> RefDigest {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(b"tranship-refs-1");
        field(self.object_format.as_deref().unwrap_or("?").as_bytes());
        field(self.head.as_deref().unwrap_or(b"?"));
        for reference in &self.references {
            field(&reference.name);
            field(reference.target.as_bytes());
        }
        RefDigest(hash.finalize().into())
    }

    /// Lists how `self` (the source, frozen) differs from `destination`, by a merge of the two sorted lists.
    /// References that only the destination has are no difference that could be a loss, and are not listed.
    pub fn differences<'a>(&'a self, destination: &'a Self) -> Vec<RefDifference<'a>> {
        let mut found = Vec::new();
        let mut theirs = destination.references.iter().peekable();
        for ours in &self.references {
            while theirs.next_if(|t| t.name < ours.name).is_some() {}
            match theirs.peek() {
                Some(t) if t.name == ours.name => {
                    if t.target != ours.target {
                        found.push(RefDifference { reference: ours, now: Some(&t.target) });
                    }
                }
                _ => found.push(RefDifference { reference: ours, now: None }),
            }
        }
        found
    }
}

/// A reference that the source had and the destination has otherwise, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefDifference<'a> {
    /// As the source had it.
    pub reference: &'a Reference,
    /// What it names on the destination, if it exists there.
    pub now: Option<&'a str>,
}

/// SHA-256 over a [`RefSnapshot`]. Displayed and serialised in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefDigest(pub [u8; 32]);

impl fmt::Display for RefDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RefDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefDigest({self})")
    }
}

impl From<RefDigest> for String {
    fn from(digest: RefDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for RefDigest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|e| format!("not a digest of 64 hex digits: {e}"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(refs: &[(&str, &str)]) -> RefSnapshot {
        let references =
            refs.iter().map(|(n, t)| Reference { name: n.as_bytes().to_vec(), target: (*t).to_owned() }).collect();
        RefSnapshot::new(references, Some(b"refs/heads/main".to_vec()), Some("sha1".to_owned()))
    }

    #[test]
    fn order_of_listing_does_not_matter_and_content_does() {
        let a = snapshot(&[("refs/heads/a", "1"), ("refs/heads/b", "2")]);
        let b = snapshot(&[("refs/heads/b", "2"), ("refs/heads/a", "1")]);
        assert_eq!(a.digest(), b.digest());
        assert_ne!(a.digest(), snapshot(&[("refs/heads/a", "1"), ("refs/heads/b", "3")]).digest());
        let mut c = b.clone();
        c.head = Some(b"refs/heads/b".to_vec());
        assert_ne!(b.digest(), c.digest());
    }

    #[test]
    fn only_what_the_source_had_can_be_missing() {
        let source = snapshot(&[("refs/heads/a", "1"), ("refs/heads/b", "2"), ("refs/heads/c", "3")]);
        let destination = snapshot(&[("refs/heads/0", "9"), ("refs/heads/a", "1"), ("refs/heads/c", "4")]);
        let found = source.differences(&destination);
        let found: Vec<_> = found.iter().map(|d| (d.reference.printable(), d.now)).collect();
        assert_eq!(found, [("refs/heads/b".to_owned(), None), ("refs/heads/c".to_owned(), Some("4"))]);
    }
}
