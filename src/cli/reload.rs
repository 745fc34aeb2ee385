//! `paster reload`, `paster rollback` and `paster restart`.

use std::process::ExitCode;

use serde_json::json;

use super::control::{ServerArgs, span};
use super::output::print;
use super::report;
use crate::error::{Result, exit_code};
use crate::ops::control::{ControlCommand, ControlReply, Switched};

/// Starts a new generation of a running server, from its files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster reload              start a reload, like the signal HUP
  paster reload --wait       and wait until the new generation serves; if it fails, print why
  paster reload site/server.toml --wait --json

The old generation serves until the new one is ready, and keeps serving if it fails.
Exit codes: 0 started (with --wait: it serves), 1 failed, 2 several servers run: name one, 78 config error.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Wait until the new generation serves or has failed
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Returns to the previous generation of a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster rollback            start to go back
  paster rollback --wait     and wait until it serves

The previous generation returns with its config and its built plugins as they were.
The files do not change: the next reload reads them again. A second rollback undoes the first.
Exit codes: 0 started (with --wait: it serves), 1 failed, 2 several servers run: name one, 78 config error.")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// Wait until it serves or has failed
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Replaces the processes of one app or program of a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster restart api              the processes of [app.api]
  paster restart worker --wait    the program of [program.worker]; wait until the new one is ready
  paster restart api site/server.toml --json

The old processes get requests until the new ones are ready. Then they finish their requests and end.
If the new ones fail, the old ones stay. All other apps keep their processes,
and the config is that of the running generation.
Exit codes: 0 started (with --wait: they serve), 1 failed, 2 several servers run: name one.")]
pub(super) struct RestartArgs {
    /// Name of an `[app.NAME]` with separate processes, or of a `[program.NAME]`
    #[arg(value_name = "APP")]
    app: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Wait until they serve or have failed
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RestartArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        ask(&self.server, &ControlCommand::Restart { app: self.app, wait: self.wait }, self.json)
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        ask(&self.server, &ControlCommand::Reload { wait: self.wait }, self.json)
    }
}

impl RollbackArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        ask(&self.server, &ControlCommand::Rollback { wait: self.wait }, self.json)
    }
}

fn ask(server: &ServerArgs, ask: &ControlCommand, json: bool) -> Result<ExitCode> {
    match server.connect()?.ask::<Switched>(ask)? {
        ControlReply::Done(done) if json => print(&format!("{:#}\n", json!(done))),
        ControlReply::Done(Switched { generation, ms: Some(ms) }) => {
            print(&format!("generation {generation} is serving after {}\n", span(ms)))
        }
        ControlReply::Done(Switched { generation, ms: None }) => {
            print(&format!("started; generation {generation} serves until the new one is ready\n"))
        }
        ControlReply::Failed(faults) if json => {
            print(&format!("{:#}\n", json!({ "errors": faults })))?;
            Ok(ExitCode::from(exit_code(&faults)))
        }
        ControlReply::Failed(faults) => {
            report::errors(&faults);
            Ok(ExitCode::from(exit_code(&faults)))
        }
    }
}
