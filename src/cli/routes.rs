//! `paster routes`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Prints which app answers where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
