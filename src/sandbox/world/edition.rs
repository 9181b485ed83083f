//! What a version and edition of GitLab can do, as far as tranship meets it.

use Ability::*;

/// Something that not every GitLab does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Moves of projects, one by one.
    ProjectMoves,
    /// Moves of snippets.
    SnippetMoves,
    /// Moves of group wikis.
    GroupMoves,
    /// `GET /metadata`.
    Metadata,
    /// `GET /personal_access_tokens/self`.
    TokenSelf,
    /// `/metadata` has the field `enterprise`.
    TellsEdition,
    /// `GET /snippets/all`.
    AllSnippets,
    /// `GET /snippets/all` heeds `repository_storage`.
    SnippetFilter,
    /// `GET /groups` heeds `repository_storage`, and a group has that field.
    GroupFilter,
    /// `GET /projects` heeds `include_hidden`.
    HiddenProjects,
    /// A move has the field `error_message`.
    MoveErrors,
    /// A move of a pool's member makes or joins a copy of the pool; before, the member arrives whole and un-pooled.
    PoolsTravel,
    /// `GET /application/settings` gives exactly the configured storages; before, the raw column.
    NormalisedWeights,
    /// With a request limit on, every answer has its `RateLimit-*` headers; before, only a 429.
    LimitsTold,
}

/// Since when, and whether only in Premium and Ultimate (doc/api; the releases of the last three are not confirmed).
const SINCE: [(Ability, (u64, u64), bool); 14] = [
    (ProjectMoves, (13, 1), false),
    (SnippetMoves, (13, 8), false),
    (GroupMoves, (13, 9), true),
    (Metadata, (15, 2), false),
    (TokenSelf, (15, 5), false),
    (TellsEdition, (15, 6), false),
    (AllSnippets, (16, 3), false),
    (SnippetFilter, (16, 3), true),
    (GroupFilter, (16, 3), true),
    (HiddenProjects, (0, 0), true),
    (MoveErrors, (16, 7), false),
    (PoolsTravel, (16, 6), false),
    (NormalisedWeights, (16, 6), false),
    (LimitsTold, (18, 0), false),
];

/// A version and edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    version: (u64, u64),
    /// Premium or Ultimate: its version ends in `-ee`.
    pub enterprise: bool,
}

impl Release {
    /// Reads what `/metadata` says, like `18.1.1-ee`; what cannot be read counts as the newest.
    pub fn new(version: &str) -> Self {
        let mut numbers = version.split(['.', '-']).map(|part| part.parse().ok());
        let version_numbers = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), minor) => (major, minor.unwrap_or(0)),
            (None, _) => (u64::MAX, 0),
        };
        Self { version: version_numbers, enterprise: version.ends_with("-ee") }
    }

    /// True when this GitLab does that.
    pub fn can(&self, ability: Ability) -> bool {
        SINCE.iter().any(|(a, since, paid)| *a == ability && self.version >= *since && (self.enterprise || !paid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_editions_decide() {
        let can = |version: &str, ability| Release::new(version).can(ability);
        assert!(can("18.2.0-ee", GroupMoves) && !can("18.2.0", GroupMoves) && !can("13.8.9-ee", GroupMoves));
        assert!(can("15.2.0", Metadata) && !can("15.1.9-ee", Metadata) && !can("9.12.0", Metadata));
        assert!(can("16.3.1", AllSnippets) && !can("16.2.9", AllSnippets) && !can("16.3.1", SnippetFilter));
        assert!(can("next", LimitsTold) && !can("17.11", LimitsTold));
    }
}
