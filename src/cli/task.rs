//! `paster task list` and `paster task run`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::control::{ServerArgs, span};
use super::output::{note, print};
use super::ps;
use crate::error::Result;
use crate::ops::control::{ControlCommand, TaskInfo, TaskRun};

/// Lists a running server's scheduled tasks, or runs one now.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster task list                  list the tasks, with their next and last runs
  paster task run sweep             start a run now
  paster task run sweep --wait      and print its result

A task is a table of the config:
  [task.sweep]
  every = \"5m\"                      or  cron = \"0 3 * * *\"
  app = \"main\"
  task = \"sweep\"                    or  request = \"POST /sweep\"  or  command = [\"sweep.sh\"]")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tasks with their next and last runs
    List(TaskListArgs),
    /// Run a task now, regardless of its schedule
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster task list
  paster task list site/server.toml --json")]
struct TaskListArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster task run sweep
  paster task run sweep --wait --json

Exit codes: 0 started (with --wait: succeeded), 1 failed or cannot run now, 2 several servers run: name one.")]
struct RunArgs {
    /// Name of the task
    name: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Wait until it ends, and print the result
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List(args) => list(&args),
            Command::Run(args) => run(args),
        }
    }
}

fn list(args: &TaskListArgs) -> Result<ExitCode> {
    let tasks: Vec<TaskInfo> = args.server.connect()?.done(&ControlCommand::Tasks)?;
    match args.json {
        true => print(&format!("{:#}\n", json!(tasks))),
        false if tasks.is_empty() => print("the server has no tasks\n"),
        false => print(&ps::tasks(&tasks).text()),
    }
}

fn run(args: RunArgs) -> Result<ExitCode> {
    let run: TaskRun =
        args.server.connect()?.done(&ControlCommand::RunTask { name: args.name, wait: args.wait })?;
    if args.json {
        print(&format!("{:#}\n", json!(run)))?;
    } else {
        let text = match (run.ok, run.text.as_str()) {
            (None, _) => format!("task {} has started\n", run.name),
            (Some(true), "") => format!("task {} succeeded in {}\n", run.name, span(run.ms.unwrap_or(0))),
            (Some(true), text) => format!("{text}\n"),
            (Some(false), text) => {
                note(&format!("error: the task `{}` failed: {text}\n", run.name));
                String::new()
            }
        };
        print(&text)?;
    }
    Ok(if run.ok == Some(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
