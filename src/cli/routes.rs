//! `paster routes`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use super::source::SourceArgs;
use crate::config::Config;
use crate::error::Result;
use crate::ops::control::ControlCommand;
use crate::ops::order;
use crate::ops::routes::{Routes, routes};

/// Shows which app serves which path, with its middleware.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster routes                            the routes of ./server.toml
  paster routes site/server.toml --json
  paster routes --order                    what happens to a request, step by step
  paster routes --running                  the routes of the running server, with its addresses

Middleware is listed outermost first. With a config, no app is created. A running server shows what it
really serves.
Exit codes: 0 printed, 1 no server responds, 2 several servers run: name one, 78 config error.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Ask the server that runs with this config (without one: the only running server)
    #[arg(long)]
    running: bool,

    /// Ask the server at this control socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    control: Option<PathBuf>,

    /// Print what happens to a request, step by step
    #[arg(long, conflicts_with = "json")]
    order: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let routes: Routes = if self.running || self.control.is_some() {
            ServerArgs::new(self.source.config, self.control).connect()?.done(&ControlCommand::Routes)?
        } else {
            routes(&Config::load(&self.source.sources()?)?)?
        };
        match (self.json, self.order) {
            (true, _) => print(&format!("{:#}\n", json!(routes))),
            (_, true) => print(&order::text(&routes)),
            _ => print(&routes.text()),
        }
    }
}
