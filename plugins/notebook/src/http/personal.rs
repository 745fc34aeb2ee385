//! Data that a user's programs store on the server, such as settings of JupyterLab: small JSON files outside the served
//! folder, in one folder per user.

use std::io;
use std::path::{Path, PathBuf};

use http::StatusCode;

use super::error::{ApiError, Result};
use crate::access::Level;
use crate::identity::{Authentication, Principal};
use crate::state::Notebook;

/// Maximum size of these files in bytes, and their maximum number per folder.
pub(super) const MAX_BYTES: usize = 1 << 20;
const MAX_FILES: usize = 1000;

impl Notebook {
    /// The folder of `principal` for `what`. It need not exist.
    pub(super) fn personal(&self, principal: &Principal, what: &str) -> PathBuf {
        let user = principal.user.map_or_else(|| "owner".to_owned(), |id| id.to_string());
        self.auth.state_dir().join("personal").join(user).join(what)
    }
}

/// Whether a request may change its user's data. A token that is limited to viewing may not.
pub(super) fn may_keep(principal: &Principal) -> Result<()> {
    match principal.authentication {
        Authentication::ApiToken { level, .. } if level < Level::Edit => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "this token may not change anything"))
        }
        _ => Ok(()),
    }
}

/// Reads a file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

/// Writes a file atomically.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    if text.len() > MAX_BYTES {
        let message = format!("this is longer than the maximum of {MAX_BYTES} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    if !path.exists() && std::fs::read_dir(folder).is_ok_and(|entries| entries.count() >= MAX_FILES) {
        let message = format!("there are already {MAX_FILES} of these: delete one");
        return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, message));
    }
    let written = || {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    written().map(|_| ()).map_err(|error| failed("write", path, &error))
}

/// Deletes a file. Returns whether it existed.
pub(super) fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("delete", path, &error)),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> ApiError {
    tracing::error!(%error, path = %path.display(), "cannot {what} what a user keeps");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot {what} it: {error}"))
}
