//! Where a container's repositories lie on a Gitaly storage.

use sha2::{Digest as _, Sha256};

use super::{Container, ContainerKind, RepositoryRole};

/// The path of a container's repository on Gitaly, computed from its id (hashed storage).
pub fn relative_path(container: Container, role: RepositoryRole) -> String {
    let hash = hex::encode(Sha256::digest(container.id.to_string()));
    let (root, suffix) = match (container.kind, role) {
        (ContainerKind::Project, RepositoryRole::Main) => ("@hashed", ".git"),
        (ContainerKind::Project, RepositoryRole::Wiki) => ("@hashed", ".wiki.git"),
        (ContainerKind::Project, RepositoryRole::Design) => ("@hashed", ".design.git"),
        (ContainerKind::Snippet, _) => ("@snippets", ".git"),
        (ContainerKind::GroupWiki, _) => ("@groups", ".wiki.git"),
    };
    format!("{root}/{}/{}/{hash}{suffix}", &hash[..2], &hash[2..4])
}

/// What lies at a path of a storage, as far as the path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathClass {
    /// A repository of a container of this kind.
    Container(ContainerKind),
    /// An object pool, which forks share. GitLab deletes it in the background after its last member left.
    Pool,
    /// What Gitaly keeps for itself (`+gitaly/…`): temporary copies and the like, which it clears away.
    Own,
    /// Anything else.
    Other,
}

/// Tells what lies at a path of a storage, with or without `.git`.
pub fn class_of(path: &str) -> PathClass {
    let under = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    if path.starts_with('+') {
        PathClass::Own
    } else if under("@pools") || under("@cluster/pools") {
        PathClass::Pool
    } else if under("@hashed") {
        PathClass::Container(ContainerKind::Project)
    } else if under("@snippets") {
        PathClass::Container(ContainerKind::Snippet)
    } else if under("@groups") {
        PathClass::Container(ContainerKind::GroupWiki)
    } else {
        PathClass::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_root() {
        for kind in ContainerKind::ALL {
            let path = relative_path(Container { kind, id: 7 }, RepositoryRole::Main);
            assert_eq!(class_of(&path), PathClass::Container(kind));
        }
        assert_eq!(class_of("@pools/6b/86/6b86.git"), PathClass::Pool);
        assert_eq!(class_of("@cluster/pools/6b/86/1"), PathClass::Pool);
        assert_eq!(class_of("+gitaly/tmp/x"), PathClass::Own);
        for other in ["web/shop.git", "@poolside/x.git", "", "@hashed"] {
            assert_eq!(class_of(other), PathClass::Other, "{other}");
        }
    }

    #[test]
    fn paths_are_those_of_hashed_storage() {
        let container = Container { kind: ContainerKind::Project, id: 1 };
        assert_eq!(
            relative_path(container, RepositoryRole::Wiki),
            "@hashed/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b.wiki.git"
        );
    }
}
