//! `paster serve`, and the hidden commands of the processes that it starts.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Serves the applications of a config.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// One worker of a generation (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {}

/// A side process of a plugin (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct SideArgs {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}

impl WorkerArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}

impl SideArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        Err(Error::new("not built yet").into())
    }
}
