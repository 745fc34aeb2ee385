//! `paster completions SHELL`.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::error::Result;

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster completions bash > ~/.local/share/bash-completion/completions/paster
  paster completions zsh > ~/.zfunc/_paster
  paster completions fish > ~/.config/fish/completions/paster.fish")]
pub(super) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "paster", &mut script);
        super::output::print(&String::from_utf8_lossy(&script))
    }
}
