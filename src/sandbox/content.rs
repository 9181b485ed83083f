//! What storages hold, as a trait: real bare repositories below a folder, or references in memory.

use jiff::Timestamp;

use super::draw::Settler;
use super::world::Change;
use crate::model::{Reference, StorageName};

/// Why content could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// No repository is there.
    #[error("not a git repository")]
    NotFound,
    /// One is there already.
    #[error("repository exists already")]
    Exists,
    /// Files or git failed.
    #[error("{0}")]
    Failed(String),
}

/// The result of a question to content.
pub type ContentResult<T> = Result<T, ContentError>;

/// A repository's size, taken apart as RepositoryInfo does. Bytes, except the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Everything.
    pub size: u64,
    /// Objects only.
    pub objects: u64,
    /// References that are files of their own.
    pub loose_references: u64,
    /// The size of `packed-refs`.
    pub packed_references: u64,
}

/// How a copy is spoiled, or advanced, after GitLab's own check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// A branch with a tip of its own goes, with the tip's objects.
    LoseObjects,
    /// A branch with a tip of its own goes.
    LoseReference,
    /// An object goes that no reference names and one needs: all references compare equal.
    LoseObject,
    /// Somebody pushes to the default branch.
    Push,
}

/// Repositories on storages. All calls may block on files.
pub trait Content: Send + Sync {
    /// Makes a new world's repositories and returns the sizes of each settler's, in bytes and in order.
    ///
    /// # Errors
    /// Files or git failed.
    fn settle(&self, settlers: &[Settler]) -> ContentResult<Vec<Vec<u64>>>;
    /// Makes ready for a storage, at each start.
    ///
    /// # Errors
    /// Files failed.
    fn prepare(&self, _storage: &StorageName, _filesystem_id: &str) -> ContentResult<()> {
        Ok(())
    }
    /// Makes a disk a storage's: the one that it has, by its file system's id, or an empty one.
    ///
    /// # Errors
    /// Files failed.
    fn mount(&self, storage: &StorageName, filesystem_id: &str) -> ContentResult<()>;
    /// True when a repository is there.
    fn exists(&self, storage: &StorageName, path: &str) -> bool;
    /// All references in byte-wise order of names, `HEAD` before them if it resolves.
    ///
    /// # Errors
    /// No repository is there.
    fn references(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<Reference>>;
    /// What HEAD names, also when that does not exist.
    ///
    /// # Errors
    /// No repository is there.
    fn head(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>>;
    /// `sha1` or `sha256`.
    ///
    /// # Errors
    /// No repository is there.
    fn object_format(&self, storage: &StorageName, path: &str) -> ContentResult<String>;
    /// For each revision, in order, whether it names an object that is there.
    ///
    /// # Errors
    /// No repository is there.
    fn objects_exist(&self, storage: &StorageName, path: &str, revisions: &[Vec<u8>]) -> ContentResult<Vec<bool>>;
    /// For each reference's target that is an annotated tag, in order, what it peels to; empty for others.
    ///
    /// # Errors
    /// No repository is there.
    fn peel(&self, storage: &StorageName, path: &str, references: &[Reference]) -> ContentResult<Vec<String>>;
    /// What a full check complains of; empty when clean.
    ///
    /// # Errors
    /// No repository is there.
    fn fsck(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>>;
    /// Sizes.
    ///
    /// # Errors
    /// No repository is there.
    fn measure(&self, storage: &StorageName, path: &str) -> ContentResult<Measure>;
    /// All repositories of a storage, by path, with the time each was changed last.
    ///
    /// # Errors
    /// Files failed.
    fn walk(&self, storage: &StorageName) -> ContentResult<Vec<(String, Timestamp)>>;
    /// Makes an empty repository.
    ///
    /// # Errors
    /// One is there.
    fn create(&self, storage: &StorageName, path: &str, default_branch: &[u8], sha256: bool) -> ContentResult<()>;
    /// Removes a repository.
    ///
    /// # Errors
    /// None is there.
    fn remove(&self, storage: &StorageName, path: &str) -> ContentResult<()>;
    /// Makes the destination's repository what the source's is; all or nothing. A pool's member arrives whole and
    /// un-pooled.
    ///
    /// # Errors
    /// The source is not there, or files failed.
    fn replicate(&self, source: &StorageName, destination: &StorageName, path: &str) -> ContentResult<()>;
    /// Commits to the branch (`None`: the default one), and returns the commit's id.
    ///
    /// # Errors
    /// No repository is there, or git failed.
    fn push(&self, storage: &StorageName, path: &str, branch: Option<&str>, message: &str) -> ContentResult<String>;
    /// Loses a branch that has a tip of its own. True when there was one.
    ///
    /// # Errors
    /// No repository is there, or git failed.
    fn lose(&self, storage: &StorageName, path: &str, with_objects: bool) -> ContentResult<bool>;
    /// Loses an object that no reference names and one needs. True when there was one.
    ///
    /// # Errors
    /// No repository is there, or git failed.
    fn lose_object(&self, storage: &StorageName, path: &str) -> ContentResult<bool>;
    /// The object pool that a repository borrows from, by its path on the same storage.
    ///
    /// # Errors
    /// No repository is there.
    fn pool(&self, storage: &StorageName, path: &str) -> ContentResult<Option<String>>;
    /// Makes an object pool out of a repository.
    ///
    /// # Errors
    /// One is there, or the origin is not.
    fn make_pool(&self, storage: &StorageName, pool: &str, origin: &str) -> ContentResult<()>;
    /// Has a repository borrow from a pool. It keeps what it has.
    ///
    /// # Errors
    /// One of them is not there.
    fn link(&self, storage: &StorageName, path: &str, pool: &str) -> ContentResult<()>;
    /// Takes out of a repository what it can borrow.
    ///
    /// # Errors
    /// No repository is there, or git failed.
    fn tidy(&self, storage: &StorageName, path: &str) -> ContentResult<()>;
    /// What must be written down since the last call; nothing for content that lies in files itself.
    fn changes(&self) -> Vec<Change> {
        Vec::new()
    }
    /// Takes up a change that was written down.
    fn replay(&self, _change: &Change) {}
}

/// Gitaly's checksum of a repository: the XOR of the SHA-1 of each covered `<oid> <name>` line, in hex without
/// leading zero bytes; 40 zeros without any (Gitaly, `CalculateChecksum`).
pub fn checksum(references: &[Reference]) -> String {
    use sha1::{Digest as _, Sha1};
    const NAMESPACES: [&[u8]; 6] = [b"heads", b"tags", b"keep-around", b"merge-requests", b"environments", b"notes"];
    let mut sum = [0u8; 20];
    for reference in references {
        let line = [reference.target.as_bytes(), b" ", &reference.name].concat();
        // Unanchored, as Gitaly's own expression is: `HEAD` anywhere in the line counts.
        let covered = line.windows(4).any(|w| w == b"HEAD")
            || NAMESPACES.iter().any(|n| {
                let wanted = [b"refs/", *n, b"/"].concat();
                line.windows(wanted.len()).any(|w| w == wanted)
            });
        if covered {
            for (s, d) in sum.iter_mut().zip(Sha1::digest(&line)) {
                *s ^= d;
            }
        }
    }
    let text = hex::encode(sum);
    match text.find(|c| c != '0') {
        None => text,
        // Whole bytes are dropped, not single digits.
        Some(at) => text[at / 2 * 2..].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_gitalys() {
        let reference = |target: &str, name: &str| Reference { name: name.into(), target: target.to_owned() };
        let mut references = vec![
            reference("c1a05cb6753c683b5c90f574bb8e630064a34fb1", "refs/heads/branch"),
            reference("2205cce3e73cc475c93dea19b42bc5c4eb8bc431", "refs/notes/note"),
            reference("b96d259eacd8eccc9da5e387b19a6406858d4cd3", "refs/tags/v1.0.0"),
        ];
        assert_eq!(checksum(&references), "7e3f9735e6f6c7de4f21b123cb6e34f428118a7e");
        references.push(reference("c1a05cb6753c683b5c90f574bb8e630064a34fb1", "refs/pipelines/1"));
        assert_eq!(checksum(&references), "7e3f9735e6f6c7de4f21b123cb6e34f428118a7e");
        references.push(reference("c1a05cb6753c683b5c90f574bb8e630064a34fb1", "HEAD"));
        assert_ne!(checksum(&references), "7e3f9735e6f6c7de4f21b123cb6e34f428118a7e");
        assert_eq!(checksum(&[]), "0".repeat(40));
    }
}
