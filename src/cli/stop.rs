//! `paster stop`.

use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use crate::error::Result;
use crate::ops::control::{ControlCommand, Hello};

/// Stops a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster stop            like the signal TERM
  paster stop --wait     and wait until it has stopped
  paster stop --fast     do not wait for requests in flight, like the signal INT

The server refuses new connections. Requests in flight get `grace_secs` to finish.
Exit codes: 0 stopping (with --wait: stopped), 1 no server responds, 2 several servers run: name one.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Do not wait for requests in flight
    #[arg(long)]
    fast: bool,

    /// Wait until the process has ended
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.server.connect()?;
        let hello: Hello = server.done(&ControlCommand::Stop { fast: self.fast })?;
        if self.wait {
            // The connection closes when the process ends; an error means the same.
            while let Ok(Some(_)) = server.reply() {}
        }
        let word = if self.wait { "has stopped" } else { "is stopping" };
        match self.json {
            true => print(&format!("{:#}\n", json!({ "pid": hello.pid, "ended": self.wait }))),
            false => print(&format!("process {} {word}\n", hello.pid)),
        }
    }
}
