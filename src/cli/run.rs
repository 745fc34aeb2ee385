//! `paster run`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::control::ServerArgs;
use super::output::print;
use super::source::SourceArgs;
use crate::error::{Error, Result};
use crate::ops::control::ControlCommand;
use crate::ops::environment;

/// Runs a program in the environment of a Python application, or a command of a plugin.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program gets the application's working directory and variables, and the programs of its virtual
environment come first on the `PATH`.

With a plugin, such as the notebook, COMMAND is a command of the plugin, which a worker of the running server
runs. `help` lists the commands.

Examples:
  paster run wiki -- python manage.py migrate
  paster run wiki site/server.toml -- flask db upgrade
  paster run main -- users add alice --role admin      (a notebook with accounts)

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
        let sources = self.source.sources()?;
        if !environment::is_plugin(&sources, &self.app)? {
            match environment::run(&sources, &self.app, &self.words)? {}
        }
        let words =
            self.words.into_iter().map(OsString::into_string).collect::<std::result::Result<Vec<_>, _>>();
        let words = words.map_err(|word| {
            Error::usage(format!("`{}` is not valid UTF-8", word.to_string_lossy()))
                .help("a command of a plugin gets text")
        })?;
        let text: String = ServerArgs::new(self.source.config, None)
            .connect()?
            .done(&ControlCommand::RunCommand { app: self.app, words })?;
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        print(&format!("{text}{end}"))
    }
}
