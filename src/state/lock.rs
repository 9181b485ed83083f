//! The lock beside the state: a kernel file lock, so that it dies with its holder, and the holder's name for the loser.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store::StateError;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id on `host`.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// The user's name.
    pub user: String,
    /// The command, like `apply`.
    pub command: String,
    /// Since when, real time.
    pub since: Timestamp,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, host, user, command, since } = self;
        write!(f, "`tranship {command}` by {user} on {host}, process {pid}, since {since}")
    }
}

/// A held lock; released when dropped, or by the kernel when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    // Held for its lock only.
    _file: File,
}

/// Makes tranship's own folder beside a configuration, ignored by git through a `.gitignore` of its own.
///
/// # Errors
/// The call that failed.
pub fn own_folder(configuration: &Utf8Path) -> std::io::Result<Utf8PathBuf> {
    let folder = configuration.join(".tranship");
    fs_err::create_dir_all(&folder)?;
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        fs_err::write(&ignore, "*\n")?;
    }
    Ok(folder)
}

/// Takes the lock of the configuration in a folder, or says at once who holds it.
///
/// # Errors
/// [`StateError`], with `locked` when somebody else holds it.
pub fn acquire(configuration: &Utf8Path, owner: &Owner) -> Result<Lock, StateError> {
    let failed = |error: std::io::Error| {
        StateError::new(
            format!("the lock cannot be taken: {error}"),
            "Correct the permissions of the folder `.tranship` beside the configuration.",
        )
    };
    let path = own_folder(configuration).map_err(failed)?.join("state.lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed(std::io::Error::new(error.kind(), format!("{path}: {error}"))))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(&mut file, &path)),
        Err(TryLockError::Error(error)) => {
            return Err(StateError::new(
                format!("{path}: this file system cannot lock files: {error}"),
                "Put the configuration on a local disk, where two applies can be kept apart.",
            ));
        }
    }
    let text = serde_json::to_string(owner).unwrap_or_default();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{text}\n").as_bytes()))
        .and_then(|()| file.flush())
        .map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Who holds the lock now, without taking it; `None` when nobody does, or when that cannot be told.
pub fn holder(configuration: &Utf8Path) -> Option<String> {
    let path = configuration.join(".tranship/state.lock");
    let mut file = File::options().read(true).write(true).open(&path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Some(held(&mut file, &path).message),
        _ => None,
    }
}

/// The loser's message. The holder may be between taking the lock and writing its name.
fn held(file: &mut File, path: &Utf8Path) -> StateError {
    let mut text = String::new();
    let owner = file.take(4096).read_to_string(&mut text).ok().and_then(|_| serde_json::from_str::<Owner>(&text).ok());
    let holder = owner.map_or_else(|| "another tranship".to_owned(), |owner| owner.to_string());
    StateError {
        message: format!("the state is locked by {holder}"),
        help: format!("Wait until it has ended. The lock in {path} dies with its process; there is nothing to unlock."),
        locked: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32) -> Owner {
        Owner {
            pid,
            host: "h".into(),
            user: "u".into(),
            command: "apply".into(),
            since: Timestamp::from_second(1_700_000_000).expect("time"),
        }
    }

    #[test]
    fn the_second_is_told_who_is_the_first_and_a_dropped_lock_is_free() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let first = acquire(path, &owner(11)).expect("free");
        let error = acquire(path, &owner(12)).expect_err("held");
        assert!(error.locked);
        assert_eq!(
            error.message,
            "the state is locked by `tranship apply` by u on h, process 11, since 2023-11-14T22:13:20Z"
        );
        drop(first);
        let _second = acquire(path, &owner(12)).expect("free again");
        assert!(acquire(path, &owner(13)).expect_err("held").message.contains("process 12"));
        assert_eq!(fs_err::read_to_string(path.join(".tranship/.gitignore")).expect("ignored"), "*\n");
    }

    #[test]
    fn a_holder_without_a_name_is_no_reason_to_go_on() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let _first = acquire(path, &owner(11)).expect("free");
        fs_err::write(path.join(".tranship/state.lock"), "nonsense").expect("written");
        let error = acquire(path, &owner(12)).expect_err("held");
        assert!(error.locked && error.message.contains("another tranship"), "{error}");
    }
}
