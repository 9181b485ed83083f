//! The journal's writer: many tasks append, one task writes, one fsync covers all that wait (group commit).

use camino::Utf8Path;
use tokio::sync::{mpsc, oneshot};

use crate::state::journal::{JournalFile, Record};

/// A durable append that failed: the run must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not be written: {0}")]
pub(crate) struct JournalError(pub(crate) String);

struct Append {
    records: Vec<Record>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// A handle to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    sender: mpsc::UnboundedSender<Append>,
}

impl Journal {
    /// Opens a run's journal and starts its writer.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub(crate) fn open(folder: &Utf8Path) -> Result<Self, JournalError> {
        let mut file = JournalFile::create(folder).map_err(|e| JournalError(e.to_string()))?;
        let (sender, mut receiver) = mpsc::unbounded_channel::<Append>();
        tokio::task::spawn_blocking(move || {
            while let Some(first) = receiver.blocking_recv() {
                let mut waiting = vec![first];
                while let Ok(next) = receiver.try_recv() {
                    waiting.push(next);
                }
                let (records, answers): (Vec<_>, Vec<_>) = waiting.into_iter().map(|a| (a.records, a.done)).unzip();
                let result = file.append(&records.concat()).map_err(|e| JournalError(e.to_string()));
                for answer in answers {
                    // Whoever asked may be gone: nothing to tell then.
                    let _ = answer.send(result.clone());
                }
            }
        });
        Ok(Self { sender })
    }

    /// Appends records that nobody waits for: they are on the disk with whatever is appended next. A failure is told then.
    pub(crate) fn note(&self, records: Vec<Record>) {
        let (done, _) = oneshot::channel();
        let _ = self.sender.send(Append { records, done });
    }

    /// Appends records; they are on the disk when this returns.
    ///
    /// # Errors
    /// They are not.
    pub(crate) async fn append(&self, records: Vec<Record>) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        let gone = || JournalError("its writer has ended".to_owned());
        self.sender.send(Append { records, done }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
