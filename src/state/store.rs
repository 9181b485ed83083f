//! The state file on disk: reading it, and replacing it so that a crash leaves the old file or the new one, whole.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};

use super::{State, format};

/// The state file's name, beside the configuration.
pub const FILE_NAME: &str = "tranship.state.json";

/// A state file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    /// What is wrong, with file and line where known.
    pub message: String,
    /// The way out.
    pub help: String,
    /// Somebody else holds the lock: exit code 5.
    pub locked: bool,
}

impl StateError {
    /// Makes an error that is not about the lock.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), locked: false }
    }
}

/// Where the engine keeps the state.
pub trait Store: Send + Sync {
    /// Replaces the recorded state, atomically and durably.
    ///
    /// # Errors
    /// [`StateError`]; the old file is then whole.
    fn save(&self, state: &State) -> Result<(), StateError>;
}

/// Reads a state file; a missing file is an empty state of that environment.
///
/// # Errors
/// Empty, truncated, conflict markers, newer format, another environment, not canonical JSON objects.
pub fn load(file: &Utf8Path, environment: &str) -> Result<State, StateError> {
    match read(file)? {
        None => Ok(State::new(environment)),
        Some(state) if state.environment == environment => Ok(state),
        Some(state) => Err(StateError::new(
            format!(
                "{file}: it belongs to environment {:?}, the configuration is of environment {environment:?}",
                state.environment
            ),
            "Each environment has a folder and a state file of its own. Take the right folder with -C, or correct \
             `environment` in the `tranship` block; if the environment was renamed, change the file's `environment` too.",
        )),
    }
}

/// Reads a state file of any environment; `None` when there is none.
///
/// # Errors
/// As [`load`], but for the environment.
pub fn read(file: &Utf8Path) -> Result<Option<State>, StateError> {
    let bytes = match fs_err::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(StateError::new(error.to_string(), "Make the file readable, then run the command again."));
        }
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        StateError::new(
            format!("{file}: not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
            "Take the last good version from version control.",
        )
    })?;
    let state =
        format::decode(&text).map_err(|error| StateError::new(format!("{file}: {}", error.message), error.help))?;
    Ok(Some(state))
}

/// The state in a file. Writes nothing when the file has the content already.
#[derive(Debug, Clone)]
pub struct FileStore {
    file: Utf8PathBuf,
}

impl FileStore {
    /// Names the file; touches nothing.
    pub fn new(file: impl Into<Utf8PathBuf>) -> Self {
        Self { file: file.into() }
    }

    /// The file.
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }
}

impl Store for FileStore {
    fn save(&self, state: &State) -> Result<(), StateError> {
        let text = format::encode(state);
        // What this version could not read back must never replace what it can.
        match format::decode(&text) {
            Ok(back) if back == *state => {}
            Ok(_) => {
                return Err(StateError::new(
                    format!("{}: not written, it would read back as another state", self.file),
                    "This is a fault of tranship; the old file is whole. Please report it.",
                ));
            }
            Err(error) => {
                return Err(StateError::new(format!("{}: not written: {}", self.file, error.message), error.help));
            }
        }
        replace(&self.file, text.as_bytes()).map_err(|error| {
            StateError::new(
                format!("{}: cannot be written: {error}", self.file),
                "The old file is whole. Free some space or correct the folder's permissions, then run apply again: it \
                 takes up from the live systems and the journal.",
            )
        })
    }
}

/// Replaces a file's content atomically and durably: a temporary file in the same folder, fsync, rename, fsync of the
/// folder. A file that has the content already is left alone.
///
/// # Errors
/// The first call that failed; the old file is then whole.
pub fn replace(file: &Utf8Path, content: &[u8]) -> std::io::Result<()> {
    // Through a symbolic link: the file that it names is replaced, not the link.
    let file = file.canonicalize_utf8().unwrap_or_else(|_| file.to_owned());
    if fs_err::read(&file).is_ok_and(|old| old == content) {
        return Ok(());
    }
    replace_by(&file, |temporary| temporary.write_all(content))
}

/// As [`replace`], for a content that is written bit by bit; it is not compared with the old one.
///
/// # Errors
/// The first call that failed; the old file is then whole.
pub fn replace_by(
    file: &Utf8Path,
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        _ => Utf8Path::new("."),
    };
    let mut temporary = tempfile::Builder::new().prefix(".tranship-").tempfile_in(folder)?;
    write(&mut temporary)?;
    keep_mode(file, temporary.as_file())?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    fs_err::File::open(folder)?.sync_all()
}

/// Gives the new file the old one's owner, where that may be done, and its permissions, or those of an ordinary file
/// (0644): it is to be committed.
#[cfg(unix)]
fn keep_mode(old: &Utf8Path, new: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let old = fs_err::metadata(old).ok();
    if let Some(data) = &old {
        // Who is not root replaces a file of somebody else by one of his own.
        let _ = std::os::unix::fs::fchown(new, Some(data.uid()), Some(data.gid()));
    }
    let mode = old.map_or(0o644, |data| data.permissions().mode() & 0o7777);
    new.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_mode(_: &Utf8Path, _: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, StorageName, Weight};
    use crate::state::{Record, WaveRecord};

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        (folder, path)
    }

    fn state() -> State {
        let mut state = State::new("e");
        state.storage_mut(&StorageName::new("default").expect("name")).weight = Some(Weight::ZERO);
        state
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_lies_in_the_folder() {
        let (_guard, folder) = folder();
        let file = folder.join(FILE_NAME);
        assert_eq!(load(&file, "e"), Ok(State::new("e")), "no file is an empty state");
        FileStore::new(&file).save(&State::new("e")).expect("saved");
        FileStore::new(&file).save(&state()).expect("saved");
        assert_eq!(load(&file, "e"), Ok(state()));
        let names: Vec<_> = folder.read_dir_utf8().expect("folder").map(|e| e.expect("entry").into_path()).collect();
        assert_eq!(names, std::slice::from_ref(&file));
        let error = load(&file, "other").expect_err("another environment");
        assert!(error.message.contains("belongs to environment \"e\""), "{error}");
    }

    #[test]
    fn an_unchanged_state_is_not_written_again() {
        use std::os::unix::fs::MetadataExt as _;
        let (_guard, folder) = folder();
        let file = folder.join(FILE_NAME);
        let store = FileStore::new(&file);
        store.save(&state()).expect("saved");
        let inode = || fs_err::metadata(&file).expect("file").ino();
        let before = inode();
        store.save(&state()).expect("saved");
        assert_eq!(inode(), before);
        store.save(&State::new("e")).expect("saved");
        assert_ne!(inode(), before, "a replaced file is another one");
    }

    #[test]
    fn a_state_that_could_not_be_read_back_is_not_written() {
        let (_guard, folder) = folder();
        let file = folder.join(FILE_NAME);
        let store = FileStore::new(&file);
        store.save(&state()).expect("saved");
        let mut bad = state();
        bad.records.insert(Address::new("storage", "default"), Record::Wave(WaveRecord::default()));
        assert!(store.save(&bad).expect_err("refused").message.contains("not written"));
        assert_eq!(load(&file, "e"), Ok(state()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_leaves_the_old_file() {
        let (_guard, folder) = folder();
        let error = FileStore::new(folder.join("absent").join(FILE_NAME)).save(&state()).expect_err("no folder");
        assert!(error.message.contains("cannot be written"), "{error}");
        assert!(!error.help.is_empty());
    }

    #[test]
    fn refusals_name_the_file() {
        let (_guard, folder) = folder();
        let file = folder.join(FILE_NAME);
        fs_err::write(&file, "").expect("written");
        let error = load(&file, "e").expect_err("empty");
        assert!(error.message.contains(FILE_NAME) && error.message.contains("empty"), "{error}");
        fs_err::write(&file, [0xff, 0xfe]).expect("written");
        assert!(load(&file, "e").expect_err("bytes").message.contains("not UTF-8"));
    }
}
