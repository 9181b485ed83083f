//! Work on storages that a driver carries out for the world, and how it is carried out.

use std::sync::Mutex;

use super::super::content::{Content, ContentError, ContentResult, Tamper, checksum};
use crate::model::StorageName;

static JOINING: Mutex<()> = Mutex::new(());

/// Work for a driver; reported back with [`super::World::complete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Replicate each path, compare checksums, make or join the pool's copy, then tamper with the first path.
    Copy {
        /// For the move of this place in the queue.
        queued: u64,
        /// GitLab's word for what is copied, for its messages.
        what: &'static str,
        /// From.
        source: StorageName,
        /// To.
        destination: StorageName,
        /// The container's repositories, the main one first.
        paths: Vec<String>,
        /// The pool that the main one joins on the destination.
        pool: Option<String>,
        /// Faults' work, in order.
        tamper: Vec<Tamper>,
    },
    /// Remove the source's copies.
    Remove {
        /// For the move of this place in the queue.
        queued: u64,
        /// From where.
        source: StorageName,
        /// What.
        paths: Vec<String>,
        /// A fault has it fail: nothing is removed.
        spare: bool,
    },
    /// Mount a pod's disk: the one that is there already, or an empty one.
    Mount {
        /// Whose.
        storage: StorageName,
        /// The disk's file system.
        filesystem_id: String,
        /// Its size, bytes.
        disk: u64,
    },
    /// Delete an object pool.
    Discard {
        /// The errand's id.
        errand: u64,
        /// From where.
        storage: StorageName,
        /// What.
        path: String,
    },
    /// Take out of a repository what its pool has.
    Tidy {
        /// The errand's id.
        errand: u64,
        /// Where.
        storage: StorageName,
        /// Which.
        path: String,
    },
}

/// Carries out a job on content.
///
/// # Errors
/// GitLab's message for a move that failed.
pub fn carry_out(content: &dyn Content, job: &Job) -> Result<(), String> {
    let told = |e: ContentError| format!("13:{e}.");
    match job {
        Job::Copy { source, destination, .. } if source == destination => Ok(()),
        Job::Copy { what, source, destination, paths, pool, tamper, .. } => {
            for path in paths {
                let copy = || -> ContentResult<(String, String)> {
                    content.replicate(source, destination, path)?;
                    let sum = |storage| Ok(checksum(&content.references(storage, path)?));
                    Ok((sum(source)?, sum(destination)?))
                };
                match copy() {
                    // A container without a repository moves without a copy.
                    Err(ContentError::NotFound) => {}
                    Err(e) => return Err(told(e)),
                    Ok((ours, theirs)) if ours == theirs => {}
                    Ok((ours, theirs)) => {
                        return Err(format!("Failed to verify {what} repository checksum from {ours} to {theirs}"));
                    }
                }
            }
            let Some(path) = paths.first() else { return Ok(()) };
            if let Some(pool) = pool {
                // Two members that arrive together make one pool.
                let _one = crate::sandbox::lock(&JOINING);
                if !content.exists(destination, pool) {
                    content.replicate(source, destination, pool).map_err(told)?;
                }
                content.link(destination, path, pool).map_err(told)?;
            }
            let mut done = tamper.iter().map(|tamper| match tamper {
                Tamper::LoseObjects => content.lose(destination, path, true).map(drop),
                Tamper::LoseReference => content.lose(destination, path, false).map(drop),
                Tamper::LoseObject => content.lose_object(destination, path).map(drop),
                Tamper::Push => content.push(destination, path, None, "Pushed as soon as it could be").map(drop),
            });
            done.try_for_each(|one| one).map_err(told)
        }
        Job::Remove { spare: true, .. } => Ok(()),
        Job::Remove { source, paths, .. } => {
            paths.iter().try_for_each(|path| gone(content, source, path)).map_err(told)
        }
        Job::Mount { storage, filesystem_id, .. } => content.mount(storage, filesystem_id).map_err(told),
        Job::Discard { storage, path, .. } => gone(content, storage, path).map_err(told),
        Job::Tidy { storage, path, .. } => content.tidy(storage, path).map_err(told),
    }
}

/// Removes what may be gone already.
fn gone(content: &dyn Content, storage: &StorageName, path: &str) -> ContentResult<()> {
    match content.remove(storage, path) {
        Err(ContentError::NotFound) => Ok(()),
        result => result,
    }
}
