//! `paster shell`.

use std::process::ExitCode;

use super::source::SourceArgs;
use crate::error::Result;
use crate::ops::environment;

/// Opens the Python of an application, with the application loaded.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The application is the variable `application`. IPython is used if the environment has it.

Examples:
  paster shell wiki
  echo 'print(application)' | paster shell wiki

Exit code: that of Python; 2 wrong arguments, 78 config error."
)]
pub(super) struct Args {
    /// Name of the app
    #[arg(value_name = "APP")]
    app: String,

    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match environment::shell(&self.source.sources()?, &self.app)? {}
    }
}
