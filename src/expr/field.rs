//! What the reference says of a repository's fields.

use super::Field;

/// A field in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldDoc {
    /// Its type.
    pub kind: &'static str,
    /// The kinds of repositories that have it, as `repository.kind` names them; of others it is unknown.
    pub of: &'static [&'static str],
    /// What it is.
    pub doc: &'static str,
    /// A condition with it.
    pub example: &'static str,
}

const ALL: &[&str] = &["project", "snippet", "group_wiki"];

impl Field {
    /// The field in words.
    pub fn explain(self) -> FieldDoc {
        let (kind, of, doc, example): (_, &'static [&'static str], _, _) = match self {
            Self::Kind => (
                "string",
                ALL,
                "What it is: \"project\" (with its wiki and designs), \"snippet\" or \"group_wiki\".",
                "repository.kind == \"project\"",
            ),
            Self::Path => (
                "string",
                ALL,
                "Its full path in GitLab; a snippet's is snippets/ID, a group wiki's its group's.",
                "startswith(repository.path, \"gitlab-org/\")",
            ),
            Self::Id => ("whole number", ALL, "GitLab's id, within its kind.", "repository.id % 10 == 0"),
            Self::Size => (
                "whole number, bytes",
                ALL,
                "Its size with its wiki's, as GitLab counts it, else as Gitaly does; unknown when neither tells.",
                "repository.size > 20 * GiB",
            ),
            Self::Storage => {
                ("string", ALL, "GitLab's name of the storage that it is on.", "repository.storage == \"default\"")
            }
            Self::Archived => {
                ("bool", &["project"], "Whether it is archived: read-only in GitLab.", "repository.archived")
            }
            Self::ForkNetwork => (
                "whole number",
                &["project"],
                "The smallest known id of the projects that it is forked from or that are forked from it; its own where \
                 there are none.",
                "repository.fork_network == 278964",
            ),
            Self::LastActivity => (
                "string, a time in RFC 3339",
                &["project", "snippet"],
                "When it last changed, as GitLab tells it.",
                "timecmp(repository.last_activity, \"2025-01-01T00:00:00Z\") < 0",
            ),
            Self::Created => (
                "string, a time in RFC 3339",
                ALL,
                "When it was made, a group wiki's group for it, as GitLab tells it.",
                "timecmp(repository.created, \"2020-01-01T00:00:00Z\") < 0",
            ),
        };
        FieldDoc { kind, of, doc, example }
    }
}
