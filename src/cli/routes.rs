//! `paster routes`.

use std::process::ExitCode;

use serde_json::json;

use super::list::write;
use super::source::SourceArgs;
use crate::config::Config;
use crate::error::Result;
use crate::ops::routes::routes;

/// Prints which app answers where, with its middleware, outermost first. Builds nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster routes                            of ./server.toml
  paster routes site/server.toml --json

Exit codes: 0 the routes were printed, 78 the config is wrong.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let routes = routes(&Config::load(&self.source.sources()?)?)?;
        match self.json {
            true => write(&format!("{:#}\n", json!(routes))),
            false => write(&routes.text()),
        }
    }
}
