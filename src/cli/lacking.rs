//! Commands that this build lacks.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Result;
use crate::registry::lacking;

/// Takes any arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self, command: &str) -> Result<ExitCode> {
        drop(self.words);
        Err(lacking(command).into())
    }
}
