//! `paster create`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Creates an application from a skeleton.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
