//! `paster run`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::source::SourceArgs;
use crate::error::Result;
use crate::ops::environment;

/// Runs a program in the environment of a Python application.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program gets the application's working directory and variables, and the programs of its virtual
environment come first on the path.

Examples:
  paster run wiki -- python manage.py migrate
  paster run wiki site/server.toml -- flask db upgrade

Exit code: that of the program; 2 wrong arguments, 78 config error."
)]
pub(super) struct Args {
    /// Name of the app
    #[arg(value_name = "APP")]
    app: String,

    #[command(flatten)]
    source: SourceArgs,

    /// The program with its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    words: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match environment::run(&self.source.sources()?, &self.app, &self.words)? {}
    }
}
