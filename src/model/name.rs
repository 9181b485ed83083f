//! Names and quantities, validated where they enter.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that GitLab or Gitaly would not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {what}: {expected}")]
pub struct NameError {
    /// What it was meant to be, with its article.
    pub what: &'static str,
    /// What was written.
    pub found: String,
    /// The rule it breaks.
    pub expected: &'static str,
}

/// A Gitaly storage as GitLab names it (`default`, `gitaly-01`). A clone shares the text: a fleet has a million
/// repositories on twenty storages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorageName(Arc<str>);

impl StorageName {
    /// Checks a name: 1 to 255 characters, letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
    ///
    /// # Errors
    /// [`NameError`] with the rule that is broken.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if first && rest && name.len() <= 255 {
            Ok(Self(name.into()))
        } else {
            Err(NameError {
                what: "a storage name",
                found: name.chars().take(80).collect(),
                expected: "1 to 255 letters, digits, `.`, `_` or `-`, beginning with a letter or a digit",
            })
        }
    }

    /// The name as GitLab spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StorageName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl From<StorageName> for String {
    fn from(name: StorageName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// How much of the new repositories a storage takes, relative to the others: 0 to 100, 0 takes none.
/// (GitLab, "Repository storage paths": a share is the weight over the sum of the weights.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Weight(u8);

impl Weight {
    /// The weight that takes no new repository.
    pub const ZERO: Self = Self(0);

    /// Checks a weight.
    ///
    /// # Errors
    /// [`NameError`] when it is above 100.
    pub fn new(weight: u64) -> Result<Self, NameError> {
        match u8::try_from(weight) {
            Ok(w) if w <= 100 => Ok(Self(w)),
            _ => {
                Err(NameError { what: "a weight", found: weight.to_string(), expected: "a whole number from 0 to 100" })
            }
        }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Weight {
    type Error = NameError;
    fn try_from(weight: u64) -> Result<Self, NameError> {
        Self::new(weight)
    }
}

impl From<Weight> for u64 {
    fn from(weight: Weight) -> Self {
        Self::from(weight.0)
    }
}

/// A number of bytes. Displayed in binary units with at most one decimal (`1.5 GiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // In tenths, so that no floating point decides what a plan prints.
        let mut tenths = u128::from(self.0) * 10 / 1024;
        let mut unit = 0;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        if tenths % 10 == 0 || tenths >= 1000 {
            write!(f, "{} {}", tenths / 10, UNITS[unit])
        } else {
            write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
        }
    }
}

/// What GitLab moves as one unit: its *container*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// A project, with its wiki and design repositories.
    Project,
    /// A personal or project snippet.
    Snippet,
    /// A group's wiki (Premium and Ultimate).
    GroupWiki,
}

impl ContainerKind {
    /// The word used in HCL and in containers' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Snippet => "snippet",
            Self::GroupWiki => "group_wiki",
        }
    }

    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Project, Self::Snippet, Self::GroupWiki];

    /// The word for people: `group wiki`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Snippet => "snippet",
            Self::GroupWiki => "group wiki",
        }
    }

    /// The word for several.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Project => "projects",
            Self::Snippet => "snippets",
            Self::GroupWiki => "group wikis",
        }
    }
}

/// One container: kind and GitLab's id. Displayed as `project-12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Container {
    /// Which family of moves it belongs to.
    pub kind: ContainerKind,
    /// GitLab's id within the family.
    pub id: u64,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.as_str(), self.id)
    }
}

impl From<Container> for String {
    fn from(container: Container) -> Self {
        container.to_string()
    }
}

impl TryFrom<String> for Container {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let parsed = text.rsplit_once('-').and_then(|(kind, id)| {
            let kind = match kind {
                "project" => ContainerKind::Project,
                "snippet" => ContainerKind::Snippet,
                "group_wiki" => ContainerKind::GroupWiki,
                _ => return None,
            };
            Some(Self { kind, id: id.parse().ok()? })
        });
        parsed.ok_or(NameError {
            what: "a container",
            found: text.chars().take(80).collect(),
            expected: "`project-ID`, `snippet-ID` or `group_wiki-ID`",
        })
    }
}

/// One Git repository of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryRole {
    /// The repository itself (for a group wiki: the wiki).
    Main,
    /// A project's wiki.
    Wiki,
    /// A project's design repository.
    Design,
}

impl RepositoryRole {
    /// The roles that a container of this kind may have a repository for, the main one first.
    pub fn of(kind: ContainerKind) -> &'static [Self] {
        match kind {
            ContainerKind::Project => &[Self::Main, Self::Wiki, Self::Design],
            ContainerKind::Snippet | ContainerKind::GroupWiki => &[Self::Main],
        }
    }

    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "repository",
            Self::Wiki => "wiki",
            Self::Design => "design repository",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023 KiB"),
            (5 << 40, "5 TiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn containers_round_trip() {
        for text in ["project-12", "snippet-1", "group_wiki-7"] {
            assert_eq!(Container::try_from(text.to_owned()).expect("valid").to_string(), text);
        }
        assert!(Container::try_from("project-x".to_owned()).is_err());
        assert!(Container::try_from("thing-1".to_owned()).is_err());
    }

    #[test]
    fn names_that_gitlab_would_not_take_are_refused() {
        assert!(StorageName::new("default").is_ok());
        for bad in ["", "-a", "a b", "a/b", "ä"] {
            assert!(StorageName::new(bad).is_err(), "{bad}");
        }
        assert!(Weight::new(100).is_ok());
        assert!(Weight::new(101).is_err());
    }
}
