//! `paster __man DIRECTORY`, for packages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::error::{Error, Result};

/// Writes the manual pages `paster.1`, `paster-serve.1`, … into a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, which must exist.
    folder: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        clap_mangen::generate_to(super::Cli::command(), &self.folder).map_err(|cause| {
            Error::new(format!("cannot write manual pages to `{}`", self.folder.display())).because(cause)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
