//! stub: the state file on disk.
use super::State;
use camino::Utf8Path;

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
pub fn load(_file: &Utf8Path, environment: &str) -> Result<State, StateError> {
    Ok(State::new(environment))
}
