//! `paster routes`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use super::source::SourceArgs;
use crate::config::Config;
use crate::error::Result;
use crate::ops::control::Ask;
use crate::ops::routes::{Routes, routes};

/// Prints which app answers where, with its middleware, outermost first: of a config, which builds nothing, or of a
/// running server, which shows what it really serves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster routes                            of ./server.toml
  paster routes site/server.toml --json
  paster routes --running                  of the server that runs, with its addresses

Exit codes: 0 the routes were printed, 1 no server answers, 78 the config is wrong.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Ask the server that runs with the config (without one: the only server that runs)
    #[arg(long)]
    running: bool,

    /// Ask the server with this control socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    control: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let routes: Routes = if self.running || self.control.is_some() {
            ServerArgs::new(self.source.config, self.control).connect()?.done(&Ask::Routes)?
        } else {
            routes(&Config::load(&self.source.sources()?)?)?
        };
        match self.json {
            true => print(&format!("{:#}\n", json!(routes))),
            false => print(&routes.text()),
        }
    }
}
