//! `paster stop`.

use std::process::ExitCode;

use serde_json::json;

use super::control::ServerArgs;
use super::output::print;
use crate::error::Result;
use crate::ops::control::{Ask, Hello};

/// Ends a running server: new connections are refused, requests in flight get `grace_secs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster stop            as the signal TERM does
  paster stop --wait     and wait until it has ended
  paster stop --fast     without waiting for what is in flight, as INT does; a second one at once

Exit codes: 0 it ends (with --wait: it has ended), 1 no server answers, 2 not clear which server.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Do not wait for what is in flight
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
        let hello: Hello = server.done(&Ask::Stop { fast: self.fast })?;
        if self.wait {
            // The connection closes with the process; an error says the same.
            while let Ok(Some(_)) = server.reply() {}
        }
        let word = if self.wait { "has ended" } else { "ends" };
        match self.json {
            true => print(&format!("{:#}\n", json!({ "pid": hello.pid, "ended": self.wait }))),
            false => print(&format!("process {} {word}\n", hello.pid)),
        }
    }
}
