//! A file of credentials that is read again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::{Files, Table, help_for_denied};
use crate::error::{Error, Result};

/// How long a file is assumed to be unchanged.
const TRUST: Duration = Duration::from_secs(1);

/// Distinguishes versions of a file: inode, length and both times, because a replacement may have the same
/// length and modification time.
type FileVersion = [i64; 6];

type Parse<T> = dyn Fn(&str, &Path) -> Result<T, Vec<Error>> + Send + Sync;

/// The parsed content of a file.
pub(super) struct FollowedFile<T> {
    path: PathBuf,
    files: Files,
    parse: Box<Parse<T>>,
    state: Mutex<FollowedState<T>>,
}

struct FollowedState<T> {
    content: Arc<T>,
    version: Option<FileVersion>,
    looked: Instant,
}

impl<T> FollowedFile<T> {
    /// Reads the file that the option `key` names, and parses its text; `what` is the word for it in errors.
    /// # Errors
    /// If it cannot be read, with `help` for a missing one, and the faults that `parse` finds.
    pub(super) fn open(
        path: &Path,
        table: &Table,
        key: &str,
        (what, help): (&'static str, &'static str),
        parse: impl Fn(&str, &Path) -> Result<T, Vec<Error>> + Send + Sync + 'static,
    ) -> Result<FollowedFile<T>, Vec<Error>> {
        let files = table.files().clone();
        let version = version(path, &files);
        let content = read(path, &files, (what, help), &parse).map_err(|errors| {
            errors.into_iter().map(|error| error.at(table.origin(key))).collect::<Vec<_>>()
        })?;
        let state = FollowedState { content: Arc::new(content), version, looked: Instant::now() };
        Ok(FollowedFile { path: path.to_owned(), files, parse: Box::new(parse), state: Mutex::new(state) })
    }

    /// Content that is never read again.
    #[cfg(test)]
    pub(super) fn fixed(content: T) -> FollowedFile<T> {
        let looked = Instant::now() + Duration::from_secs(3600);
        let state = FollowedState { content: Arc::new(content), version: None, looked };
        let parse = Box::new(|_: &str, _: &Path| Err(Vec::new()));
        FollowedFile { path: PathBuf::new(), files: Files::default(), parse, state: Mutex::new(state) }
    }

    /// The current content. If the file can no longer be read, the old content stays in use and the error is
    /// logged.
    pub(super) fn get(&self) -> Arc<T> {
        {
            let mut state = self.state.lock();
            if state.looked.elapsed() < TRUST {
                return state.content.clone();
            }
            state.looked = Instant::now();
            let version = version(&self.path, &self.files);
            if version.is_some() && version == state.version {
                return state.content.clone();
            }
            state.version = version;
        }
        let read = read(&self.path, &self.files, ("file", ""), &*self.parse);
        let mut state = self.state.lock();
        match read {
            Ok(content) => state.content = Arc::new(content),
            Err(errors) => {
                for error in errors {
                    let file = self.path.display();
                    tracing::error!(%file, "cannot reload the file, the old one stays in use: {error}");
                }
            }
        }
        state.content.clone()
    }
}

fn version(path: &Path, files: &Files) -> Option<FileVersion> {
    let found = files.metadata(path).ok()?;
    let (inode, length) = (found.ino().cast_signed(), found.len().cast_signed());
    Some([inode, length, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
}

fn read<T>(
    path: &Path,
    files: &Files,
    (what, help): (&str, &str),
    parse: &Parse<T>,
) -> Result<T, Vec<Error>> {
    let text = files.read_text(path).and_then(|text| String::from_utf8(text).map_err(std::io::Error::other));
    let text = text.map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => help_for_denied(),
            _ => help.to_owned(),
        };
        let message = format!("cannot read the {what} `{}`", path.display());
        vec![Error::config(message).because(error).help(help)]
    })?;
    parse(&text, path)
}

/// The lines of the text of a file, parsed; empty lines and comments (`#`) are skipped.
/// # Errors
/// Every line that is wrong.
pub(super) fn lines<T>(
    (text, path): (&str, &Path),
    help: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Error>> {
    let (mut parsed, mut errors) = (Vec::new(), Vec::new());
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match parse(line) {
            Ok(entry) => parsed.push(entry),
            Err(fault) => {
                let message = format!("line {} of `{}` has {fault}", index + 1, path.display());
                errors.push(Error::config(message).help(help));
            }
        }
    }
    if errors.is_empty() { Ok(parsed) } else { Err(errors) }
}
