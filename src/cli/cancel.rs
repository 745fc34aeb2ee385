//! `paster cancel`.

use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use crate::error::Result;
use crate::ops::control::{Cancelled, ControlCommand};

/// Cancels a request in flight.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster top --once          list the requests in flight, with their ids
  paster cancel 4711.96      cancel one by the id in that list
  paster cancel 0199f3c0b7a97d2c8d1f4f0e2b6a3c55    by its id from the middleware request_id

The client gets 503, or a closed connection if the response had begun.
The application's future is dropped, but a thread that it blocks keeps running.
Exit codes: 0 cancelled, 1 no such request is in flight, 2 several servers run: name one.")]
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
        let done: Cancelled =
            self.server.connect()?.done(&ControlCommand::Cancel { request: self.request })?;
        match self.json {
            true => print(&format!("{:#}\n", json!(done))),
            false => print(&format!("cancelled {}\n", done.cancelled.join(", "))),
        }
    }
}
