//! Why documents and requests are refused.

use crate::files::FileError;
use crate::format::FormatError;

/// Why a document cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a notebook.
    #[error("`{0}` is not a notebook: {1}")]
    Format(String, FormatError),
    /// Another process owns it, or this one is being replaced: try again.
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
