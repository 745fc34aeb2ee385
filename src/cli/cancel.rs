//! `paster cancel`.

use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use crate::error::Result;
use crate::ops::control::{Ask, Cancelled};

/// Drops a request in flight: its client gets 503, or a cut connection when the answer was begun.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster top --once          the requests in flight, with their ids
  paster cancel 4711.96      by the id that stands there
  paster cancel 0199f3c0b7a97d2c8d1f4f0e2b6a3c55    by the id of the middleware request_id

The application's future is dropped; a thread that it blocks is not stopped by that.
Exit codes: 0 dropped, 1 no such request is in flight, 2 not clear which server.")]
pub(super) struct Args {
    /// The request's id
    request: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let done: Cancelled = self.server.connect()?.done(&Ask::Cancel { request: self.request })?;
        match self.json {
            true => print(&format!("{:#}\n", json!(done))),
            false => print(&format!("dropped {}\n", done.cancelled.join(", "))),
        }
    }
}
