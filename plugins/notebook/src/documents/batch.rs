//! Runs of a document without a page.

use tokio::sync::oneshot;

pub(crate) use super::command::RunState;
use super::{Command, Documents, HAND_OVER, OpenError};
use crate::files::RelativePath;

impl Documents {
    /// Runs all cells of the document at `path`. They have been sent to its kernel when this returns.
    /// # Errors
    /// [`OpenError`], or why there is no kernel.
    pub(crate) async fn run_all(&self, path: &RelativePath) -> Result<(), OpenError> {
        let commands = self.open(path, Some(HAND_OVER)).await?;
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::RunAll { reply });
        match answer.await {
            Ok(sent) => sent.map_err(OpenError::Busy),
            Err(_) => Err(OpenError::Busy(format!("`{path}` is being closed: try again"))),
        }
    }

    /// What the cells of the document at `path` do.
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn run_state(&self, path: &RelativePath) -> Result<RunState, OpenError> {
        let commands = self.open(path, Some(HAND_OVER)).await?;
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::RunState { reply });
        answer.await.map_err(|_| OpenError::Busy(format!("`{path}` is being closed: try again")))
    }

    /// Whether a newer generation has taken over.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.retired.load(std::sync::atomic::Ordering::Relaxed)
    }
}
