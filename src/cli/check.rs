//! `paster check`.

use std::process::ExitCode;

use super::source::SourceArgs;
use crate::config::Config;
use crate::context::Context;
use crate::error::Result;

/// Finds every fault of a config without binding.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = Config::load(&self.source.sources()?)?;
        let assembly = crate::ops::assemble::assemble(&config, &Context::alone(false))?;
        println!("ok: {} servers", assembly.servers.len());
        Ok(ExitCode::SUCCESS)
    }
}
