//! What ends a command before its time: a message, the way out, and the exit code.

use super::exit::Exit;
use crate::apply::port::PortError;
use crate::diag::{Diagnostics, SourceMap};
use crate::plan::saved::SavedPlanError;
use crate::state::edit::EditError;
use crate::state::store::StateError;

/// Why a command ends.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) reason: Reason,
}

/// What is told.
#[derive(Debug)]
pub(crate) enum Reason {
    /// One or more messages, each with the way out.
    Messages(Vec<(String, Option<String>)>),
    /// Diagnostics with their texts.
    Diagnostics(Box<(Diagnostics, SourceMap)>),
}

impl Failure {
    /// An ordinary error.
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::with(Exit::Error, message, help)
    }

    /// An error with an exit code of its own.
    pub(crate) fn with(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = help.into();
        let help = (!help.is_empty()).then_some(help);
        Self { exit, reason: Reason::Messages(vec![(message.into(), help)]) }
    }

    /// A signal came while nothing was being changed.
    pub(crate) fn interrupted() -> Self {
        Self::with(Exit::Interrupted, "interrupted; nothing more was changed", "")
    }

    /// The same failure, after something else that the exit code must tell.
    pub(crate) fn after(self, exit: Exit) -> Self {
        Self { exit: self.exit.and(exit), ..self }
    }

    /// Errors in the configuration, or between it and the fleet.
    pub(crate) fn diagnostics(diagnostics: Diagnostics, sources: SourceMap) -> Self {
        Self { exit: Exit::Error, reason: Reason::Diagnostics(Box::new((diagnostics, sources))) }
    }

    /// Calls that failed.
    pub(crate) fn calls(errors: Vec<PortError>) -> Self {
        let mut messages: Vec<_> = errors.into_iter().map(|error| (error.to_string(), error.help)).collect();
        if messages.is_empty() {
            messages.push(("the fleet could not be read".to_owned(), None));
        }
        Self { exit: Exit::Error, reason: Reason::Messages(messages) }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = if error.locked { Exit::Locked } else { Exit::Error };
        Self::with(exit, error.message, error.help)
    }
}

impl From<SavedPlanError> for Failure {
    fn from(error: SavedPlanError) -> Self {
        Self::new(error.message, error.help)
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        Self::new(error.message, error.help)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::calls(vec![error])
    }
}

#[cfg(feature = "sandbox")]
impl From<crate::sandbox::SandboxError> for Failure {
    fn from(error: crate::sandbox::SandboxError) -> Self {
        Self::new(error.message, error.help.unwrap_or_default())
    }
}
