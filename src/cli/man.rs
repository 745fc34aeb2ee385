//! `paster __man DIRECTORY`, for packages, and `paster __man --markdown` for `docs/cli.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::error::{Error, Result};

/// Writes the manual pages `paster.1`, `paster-serve.1`, … into a directory, or prints the page of the docs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, which must exist.
    #[arg(required_unless_present = "markdown")]
    folder: Option<PathBuf>,
    /// Print all commands as Markdown.
    #[arg(long, conflicts_with = "folder")]
    markdown: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Some(folder) = self.folder else {
            return super::output::print(&super::reference::page(super::Cli::command()));
        };
        clap_mangen::generate_to(super::Cli::command(), &folder).map_err(|cause| {
            Error::new(format!("cannot write manual pages to `{}`", folder.display())).because(cause)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
