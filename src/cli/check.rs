//! `paster check`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Finds every fault of a config without binding.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
