//! `paster list`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Lists the kinds of server, middleware and application, and their options.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
