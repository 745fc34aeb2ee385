//! Runs of a document without a page, and the state of documents.

use tokio::sync::oneshot;

pub(crate) use super::command::RunState;
use super::{Command, Documents, HAND_OVER, OpenError};
use crate::files::RelativePath;

impl Documents {
    /// Runs all cells of the document at `path`. When this returns, they have been sent to the kernel.
    /// # Errors
    /// [`OpenError`],
    /// or the reason why there is no kernel.
    pub(crate) async fn run_all(&self, path: &RelativePath) -> Result<(), OpenError> {
        let commands = self.open(path, Some(HAND_OVER)).await?;
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::RunAll { reply });
        match answer.await {
            Ok(sent) => sent.map_err(OpenError::Busy),
            Err(_) => Err(OpenError::Busy(format!("`{path}` is being closed: try again"))),
        }
    }

    /// The state of the runs in the document at `path`.
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn run_state(&self, path: &RelativePath) -> Result<RunState, OpenError> {
        let commands = self.open(path, Some(HAND_OVER)).await?;
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::RunState { reply });
        answer.await.map_err(|_| OpenError::Busy(format!("`{path}` is being closed: try again")))
    }

    /// Whether the document at `path` is open in this process.
    pub(crate) fn is_open(&self, path: &RelativePath) -> bool {
        self.commands(path).is_some()
    }

    /// Whether a newer generation has taken over.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.retired.load(std::sync::atomic::Ordering::Relaxed)
    }
}
