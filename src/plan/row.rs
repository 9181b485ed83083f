//! What a `where` sees of a repository: GitLab's listing as a row of the language. Fork networks are joined here,
//! from the parents that the listing names.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::expr::{Field, FieldValue, Row};
use crate::model::{ContainerKind, Repository, StorageName};

/// Fork networks: for every project that is a fork or has one in the listing, the smallest id of its network.
#[derive(Debug, Default)]
pub(super) struct Networks {
    smallest: BTreeMap<u64, u64>,
}

impl Networks {
    /// Joins every fork with its parent, also when the parent itself is not listed (it may live elsewhere).
    pub(super) fn new(repositories: &[Repository]) -> Self {
        let mut networks = Self::default();
        for repository in repositories {
            if let (ContainerKind::Project, Some(parent)) = (repository.container.kind, repository.fork_parent) {
                networks.join(repository.container.id, parent);
            }
        }
        networks
    }

    fn join(&mut self, a: u64, b: u64) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.smallest.insert(high, low);
        self.smallest.insert(low, low);
    }

    /// Finds the smallest id of a project's network, and shortens the way there.
    fn root(&mut self, id: u64) -> u64 {
        let root = self.of(id);
        let mut at = id;
        while let Some(next) = self.smallest.insert(at, root) {
            if next == at || next == root {
                break;
            }
            at = next;
        }
        root
    }

    /// All projects that are a fork or have one, by ascending id.
    pub(super) fn members(&self) -> impl Iterator<Item = u64> {
        self.smallest.keys().copied()
    }

    /// The network of a repository that is a fork or has one; `None` for all others.
    pub(super) fn among(&self, repository: &Repository) -> Option<NonZeroU64> {
        let id = repository.container.id;
        let project = repository.container.kind == ContainerKind::Project;
        if project && self.smallest.contains_key(&id) { NonZeroU64::new(self.of(id)) } else { None }
    }

    /// The network of a project: its smallest known id; the project's own when it has no fork and is none.
    pub(super) fn of(&self, id: u64) -> u64 {
        let mut at = id;
        while let Some(next) = self.smallest.get(&at).copied() {
            if next == at {
                break;
            }
            at = next;
        }
        at
    }
}

/// One repository, at the storage where it is or, to ask what would become of it, at another.
pub(super) struct RepositoryRow<'a> {
    /// The repository.
    pub(super) repository: &'a Repository,
    /// Where it is taken to be.
    pub(super) storage: &'a StorageName,
    /// All networks.
    pub(super) networks: &'a Networks,
}

impl Row for RepositoryRow<'_> {
    fn field(&self, field: Field) -> FieldValue<'_> {
        let repository = self.repository;
        let project = repository.container.kind == ContainerKind::Project;
        match field {
            Field::Kind => FieldValue::Text(repository.container.kind.as_str()),
            Field::Path => FieldValue::Text(&repository.path),
            Field::Id => FieldValue::Integer(repository.container.id),
            Field::Size => repository.size.map_or(FieldValue::Unknown, |size| FieldValue::Integer(size.0)),
            Field::Storage => FieldValue::Text(self.storage.as_str()),
            Field::Archived => repository.archived.map_or(FieldValue::Unknown, FieldValue::Bool),
            Field::ForkNetwork if project => FieldValue::Integer(self.networks.of(repository.container.id)),
            Field::ForkNetwork => FieldValue::Unknown,
            Field::LastActivity => repository.last_activity.map_or(FieldValue::Unknown, FieldValue::Time),
            Field::Created => repository.created.map_or(FieldValue::Unknown, FieldValue::Time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{name, repository};

    #[test]
    fn forks_of_forks_are_one_network_in_any_order() {
        let mut list: Vec<_> = (1..=6).map(|id| repository(id, "a", 1)).collect();
        for (fork, parent) in [(2, 6), (3, 2), (5, 900)] {
            list[fork - 1].fork_parent = Some(parent);
        }
        for _ in 0..2 {
            let networks = Networks::new(&list);
            assert_eq!([2, 3, 6].map(|id| networks.of(id)), [2, 2, 2]);
            assert_eq!(networks.of(5), 5);
            assert_eq!(networks.of(900), 5);
            assert_eq!(networks.of(4), 4);
            let among: Vec<_> = list.iter().filter(|r| networks.among(r).is_none()).map(|r| r.container.id).collect();
            assert!(among == [1, 4] || among == [4, 1]);
            list.reverse();
        }
    }

    #[test]
    fn the_reference_says_which_kinds_have_a_field() {
        let networks = Networks::default();
        for kind in [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki] {
            let mut one = repository(1, "a", 1);
            one.container.kind = kind;
            one.archived = (kind == ContainerKind::Project).then_some(false);
            // GitLab's groups have no time of their last change.
            one.last_activity = (kind != ContainerKind::GroupWiki).then_some(1);
            one.created = Some(1);
            let row = RepositoryRow { repository: &one, storage: &one.storage, networks: &networks };
            for (name, field) in Field::ALL {
                let known = row.field(*field) != FieldValue::Unknown;
                assert_eq!(known, field.explain().of.contains(&kind.as_str()), "{name} of {kind:?}");
            }
        }
    }

    #[test]
    fn a_field_that_a_kind_lacks_or_that_was_not_given_is_unknown() {
        let networks = Networks::default();
        let mut one = repository(1, "a", 1);
        one.size = None;
        let elsewhere = name("b");
        let row = RepositoryRow { repository: &one, storage: &elsewhere, networks: &networks };
        assert_eq!(row.field(Field::Size), FieldValue::Unknown);
        assert_eq!(row.field(Field::Storage), FieldValue::Text("b"));
        assert_eq!(row.field(Field::Archived), FieldValue::Bool(false));
        let mut snippet = repository(1, "a", 1);
        snippet.container.kind = ContainerKind::Snippet;
        snippet.archived = None;
        let row = RepositoryRow { repository: &snippet, storage: &snippet.storage, networks: &networks };
        assert_eq!(row.field(Field::Archived), FieldValue::Unknown);
        assert_eq!(row.field(Field::ForkNetwork), FieldValue::Unknown);
    }
}
