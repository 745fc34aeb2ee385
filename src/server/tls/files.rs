//! The files of a server with TLS: where they are, and what is wrong with one.

use std::path::{Path, PathBuf};

use crate::config::KeyPath;
use crate::error::Error;

/// A certificate's files.
#[derive(Debug, Clone)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Its key in the config, from the server's table on.
    pub(super) place: KeyPath,
    /// They may be missing: they are made at the start, or by an authority later.
    pub(super) later: bool,
}

/// A fault in one file: message, help and cause, and the config key that names the file.
#[derive(Debug)]
pub(super) struct TlsFault {
    pub(super) place: KeyPath,
    pub(super) error: Error,
}

/// A path as shown to users.
pub(super) fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}
