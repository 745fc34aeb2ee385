//! Errors as a user reads them: the line, the marked source, the causes, the help.

use std::error::Error as _;
use std::io::Write;

use crate::error::{Error, Errors};

/// Prints every error to standard error.
pub(super) fn errors(errors: &Errors) {
    let mut out = std::io::stderr().lock();
    for error in errors.iter() {
        // Standard error is gone: nobody is left to tell.
        let _ = write!(out, "{}", render(error));
    }
}

fn render(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(origin) = &error.origin {
        text += &format!("  --> {origin}\n");
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("   = caused by: {error}\n");
        cause = error.source();
    }
    for help in &error.helps {
        text += &format!("   = help: {help}\n");
    }
    text
}
