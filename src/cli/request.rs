//! `paster request`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Sends one request to an application in this process and prints the response.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
