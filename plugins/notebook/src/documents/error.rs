//! Why documents and requests are refused.

use crate::files::FileError;
use crate::format::FormatError;

/// Why a document cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a notebook.
    #[error("`{0}` is not a notebook: {1}")]
    Format(String, FormatError),
    /// Another process owns the document, or this process is being replaced. The client can try again.
    #[error("{0}")]
    Busy(String),
}

/// Why something was not moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoveError {
    /// The file cannot be moved.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another server does not respond, or a kernel cannot be ended. The client can try again.
    #[error("{0}")]
    Busy(String),
}

/// A request that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Its number, if that could be read.
    pub id: Option<u32>,
    /// What is wrong with it.
    pub message: String,
}
