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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_hashed_storage() {
        let container = Container { kind: ContainerKind::Project, id: 1 };
        assert_eq!(
            relative_path(container, RepositoryRole::Wiki),
            "@hashed/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b.wiki.git"
        );
    }
}
