//! Standard output and standard error of the commands. `print!` and similar macros panic if the pipe is
//! closed or the device is full, so nothing in `src/` uses them.
//!
//! A closed pipe (`| head`) ends a command silently; any other failure is reported as an error. Failures of
//! standard error are ignored.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::error::{Error, Result};

/// Prints text to standard output.
/// # Errors
/// When it cannot be written. A closed pipe is not an error.
pub(super) fn print(text: &str) -> Result<ExitCode> {
    is_read(text).map(|_| ExitCode::SUCCESS)
}

/// Prints text to standard output. Returns whether the pipe is still open.
/// # Errors
/// As [`print`].
pub(super) fn is_read(text: &str) -> Result<bool> {
    match write(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Writes bytes to standard output and flushes it.
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The error for output that could not be written.
pub(super) fn failed(cause: io::Error) -> crate::error::Errors {
    Error::new("cannot write to standard output").because(cause).into()
}

/// Prints text to standard error.
pub(super) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes()); // nothing can be reported if standard error is closed
}
