//! `paster plugin`.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Looks into plugin libraries.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
