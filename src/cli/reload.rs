//! `paster reload` and `paster rollback`.

use std::process::ExitCode;

use serde_json::json;

use super::control::{ServerArgs, span};
use super::output::print;
use super::report;
use crate::error::{Error, Errors, Result};
use crate::ops::control::{Answer, Ask, Switched};
use crate::ops::fault::Fault;

/// Makes a new generation from the files; the old one serves until it is ready, and on when it fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster reload              begin, as the signal HUP does
  paster reload --wait       and wait until it serves; print what is wrong when it does not
  paster reload site/server.toml --wait --json

Exit codes: 0 begun (with --wait: it serves), 1 failed, 2 not clear which server, 78 the config is wrong.")]
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

/// Goes back to the generation that served before, with its config and its built plugins as they were.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster rollback            begin to go back
  paster rollback --wait     and wait until it serves

The files stay as they are: the next reload takes them again. After a rollback, a second one goes forward again.
Exit codes: 0 begun (with --wait: it serves), 1 failed, 2 not clear which server, 78 the config is wrong.")]
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

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        ask(&self.server, &Ask::Reload { wait: self.wait }, self.json)
    }
}

impl RollbackArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        ask(&self.server, &Ask::Rollback { wait: self.wait }, self.json)
    }
}

fn ask(server: &ServerArgs, ask: &Ask, json: bool) -> Result<ExitCode> {
    match server.connect()?.ask::<Switched>(ask)? {
        Answer::Done(done) if json => print(&format!("{:#}\n", json!(done))),
        Answer::Done(Switched { generation, ms: Some(ms) }) => {
            print(&format!("generation {generation} serves after {}\n", span(ms)))
        }
        Answer::Done(Switched { generation, ms: None }) => {
            print(&format!("begun; generation {generation} serves until the new one is ready\n"))
        }
        Answer::Failed(faults) if json => {
            print(&format!("{:#}\n", json!({ "errors": faults })))?;
            Ok(code_of(&faults))
        }
        Answer::Failed(faults) => {
            report::faults(&faults);
            Ok(code_of(&faults))
        }
    }
}

/// The exit code that the faults ask for.
fn code_of(faults: &[Fault]) -> ExitCode {
    let errors = Errors::check(faults.iter().map(Fault::to_error).collect()).err();
    ExitCode::from(errors.unwrap_or_else(|| Error::new("failed").into()).exit_code())
}
