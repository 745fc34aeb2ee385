//! `paster config`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Shows the merged config, where its values come from, and its schema.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
