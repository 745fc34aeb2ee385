//! Where log lines go: standard error or a file that can be reopened, and copies.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

use crate::context::Reopen;
use crate::error::Error;
use crate::ops::sections::log::Log;

/// Where lines go.
pub(crate) enum LogSink {
    Stderr,
    File(Arc<Mutex<Open>>, Reopen),
}

impl LogSink {
    /// Opens the sink that `log` asks for. A new file belongs to `owner`.
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn of(log: &Log, reopen: Reopen, owner: Option<(u32, u32)>) -> Result<LogSink, Error> {
        match &log.file {
            None => Ok(LogSink::Stderr),
            Some(path) => {
                let file = open(path, owner).map_err(|cause| {
                    let help = match cause.kind() {
                        io::ErrorKind::PermissionDenied => crate::config::help_for_denied(),
                        _ => "create its directory, or correct `file` in `[log]`".to_owned(),
                    };
                    Error::new(format!("cannot open the log file `{}`", path.display()))
                        .because(cause)
                        .help(help)
                })?;
                let open =
                    Open { path: path.to_path_buf(), file, count: reopen.count(), owner, given: false };
                Ok(LogSink::File(Arc::new(Mutex::new(open)), reopen))
            }
        }
    }

    /// A file that the supervisor has opened, and reopens after it was moved.
    pub(super) fn given(path: &Path, file: File, reopen: Reopen) -> LogSink {
        let open = Open { path: path.to_owned(), file, count: reopen.count(), owner: None, given: true };
        LogSink::File(Arc::new(Mutex::new(open)), reopen)
    }

    pub(super) fn file(&self) -> Option<LogFile> {
        match self {
            LogSink::Stderr => None,
            LogSink::File(open, _) => Some(LogFile(open.clone())),
        }
    }
}

/// The log file.
pub(crate) struct LogFile(Arc<Mutex<Open>>);

impl LogFile {
    /// Writes to `file` from now on.
    pub(crate) fn replace(&self, file: File) {
        self.0.lock().file = file;
    }
}

pub(crate) struct Open {
    path: PathBuf,
    file: File,
    /// How many requests to reopen there had been when it was opened.
    count: u64,
    owner: Option<(u32, u32)>,
    /// Whether the supervisor opens it.
    given: bool,
}

/// Opens a log file; a new one belongs to `owner`. Only its owner and group can read it, because lines may
/// contain private data.
pub(crate) fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
    let open = |create| std::fs::OpenOptions::new().append(true).create(create).mode(0o640).open(path);
    let Some((user, group)) = owner else { return open(true) };
    match open(false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Set the owner before the file is visible: a worker that could not open it would keep writing to
            // the old one.
            let new = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
            fchown(&new, Some(user), Some(group))?;
            new.as_file().set_permissions(std::fs::Permissions::from_mode(0o640))?;
            let _ = new.persist_noclobber(path); // a worker may have created it first
            open(false)
        }
        other => other,
    }
}

/// The sink, and a channel for copies.
pub(super) struct Sinks {
    pub(super) sink: LogSink,
    pub(super) copy: Option<mpsc::Sender<Vec<u8>>>,
}

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// Writes one line, which arrives in one piece.
pub(super) struct LineWriter<'a>(&'a Sinks);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(copy) = &self.0.copy {
            let _ = copy.try_send(uncoloured(line)); // the sink gets the line even if the channel is full
        }
        match &self.0.sink {
            LogSink::Stderr => io::stderr().write_all(line)?,
            LogSink::File(open_file, reopen) => {
                let mut open_file = open_file.lock();
                let count = reopen.count();
                if open_file.count != count && !open_file.given {
                    open_file.count = count;
                    // If that fails, keep writing to the old file.
                    if let Ok(file) = open(&open_file.path, open_file.owner) {
                        open_file.file = file;
                    }
                }
                open_file.file.write_all(line)?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is buffered
    }
}

/// `line` without colour escape sequences.
fn uncoloured(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\x1b[") {
        plain.extend_from_slice(&rest[..at]);
        let end = rest[at..].iter().position(|byte| *byte == b'm');
        rest = end.map_or(&[], |end| &rest[at + end + 1..]);
    }
    plain.extend_from_slice(rest);
    plain
}

#[cfg(test)]
mod tests {
    #[test]
    fn copies_have_no_colours() {
        assert_eq!(super::uncoloured(b"\x1b[2mtime\x1b[0m \x1b[31mERROR\x1b[0m no\n"), b"time ERROR no\n");
        assert_eq!(super::uncoloured(b"plain [m\n"), b"plain [m\n");
    }
}
