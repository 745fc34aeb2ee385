//! Changes a user of an htpasswd file, and leaves every other line unchanged.

use std::path::Path;

use crate::error::{Error, Result};
use crate::middleware::password::Hash;
use crate::ops::replace_file::replace;

/// Maximum length of a name, in bytes.
const NAME_LIMIT: usize = 255;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HtpasswdOutcome {
    /// The user is new; the file may be new too.
    Added,
    /// The user had a hash before.
    Changed,
    /// The user was removed.
    Deleted,
}

/// Checks a user's name.
/// # Errors
/// When the file cannot contain it.
pub fn check_name(user: &str) -> Result<()> {
    let fault = match user {
        "" => "it is empty",
        _ if user.len() > NAME_LIMIT => "it is longer than 255 bytes",
        _ if user.contains(':') => "it contains a `:`",
        _ if user.chars().any(char::is_control) => "it contains a control character",
        _ if user.starts_with('#') => "a line that starts with `#` is a comment",
        _ if user.trim() != user => "it starts or ends with a space",
        _ => return Ok(()),
    };
    Err(Error::new(format!("`{}` is not a valid user name: {fault}", user.escape_debug())).into())
}

/// Sets the hash of `user`, or removes the user. The file is replaced as a whole; a new one has mode 0600, an
/// existing one keeps its mode and, if allowed, its owner.
/// # Errors
/// When the file cannot be read or replaced, or a user to delete is not in it.
pub fn change(file: &Path, user: &str, hash: Option<&Hash>) -> Result<HtpasswdOutcome> {
    check_name(user)?;
    // Through a symbolic link, replace its target.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let before = match std::fs::read_to_string(&target) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", file, error).into()),
    };
    let text = before.as_deref().unwrap_or_default();
    let (text, found) = edit(text.strip_prefix('\u{feff}').unwrap_or(text), user, hash);
    let outcome = match (hash, found) {
        (Some(_), true) => HtpasswdOutcome::Changed,
        (Some(_), false) => HtpasswdOutcome::Added,
        (None, true) => HtpasswdOutcome::Deleted,
        (None, false) => {
            return Err(Error::new(format!("`{}` has no user `{user}`", file.display())).into());
        }
    };
    replace(&target, &text).map_err(|error| failed("write", file, error))?;
    Ok(outcome)
}

fn failed(what: &str, file: &Path, cause: std::io::Error) -> Error {
    let error = Error::new(format!("cannot {what} the password file `{}`", file.display()));
    error.because(cause).help("its directory must exist, and you need write permission for it")
}

/// The text with the user's line replaced, added or removed, and whether the user was in it.
fn edit(text: &str, user: &str, hash: Option<&Hash>) -> (String, bool) {
    let new = hash.map(|hash| format!("{user}:{}\n", hash.as_str()));
    let (mut edited, mut found) = (String::with_capacity(text.len() + 128), false);
    for line in text.lines() {
        if line.trim().split_once(':').is_some_and(|(name, _)| name == user) {
            // Keep only one line of a name that occurs twice.
            let first = !std::mem::replace(&mut found, true);
            edited += new.as_deref().filter(|_| first).unwrap_or_default();
        } else {
            edited += line;
            edited.push('\n');
        }
    }
    if !found {
        edited += new.as_deref().unwrap_or_default();
    }
    (edited, found)
}
