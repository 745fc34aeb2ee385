//! `paster ps`.

use std::process::ExitCode;

use serde_json::json;

use super::control::{Columns, ServerArgs, bytes, span, span_secs, time};
use super::output::print;
use crate::error::Result;
use crate::ops::control::{ControlCommand, Ps, TaskInfo};

/// Shows the processes and the tasks of a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster ps                     the only running server, or the one of ./server.toml
  paster ps site/server.toml    the server that runs with this config
  paster ps --json              the same as JSON

Memory is the proportional set size: shared memory is divided among the processes that share it.
Exit codes: 0 printed, 1 no server responds, 2 several servers run: name one.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let ps: Ps = self.server.connect()?.done(&ControlCommand::Ps)?;
        match self.json {
            true => print(&format!("{:#}\n", json!(ps))),
            false => print(&text(&ps)),
        }
    }
}

/// Everything, as text.
pub(super) fn text(ps: &Ps) -> String {
    let mut text = format!("{}\n", headline(ps));
    for (server, url) in &ps.supervisor.listening {
        text += &format!("{server} on {url}\n");
    }
    let tables = [workers(ps), side_processes(ps), upstreams(ps), tasks(&ps.tasks)];
    for table in tables.iter().filter(|table| !table.is_empty()) {
        text += "\n";
        text += &table.text();
    }
    text
}

/// The supervisor, in one line.
pub(super) fn headline(ps: &Ps) -> String {
    let of = &ps.supervisor;
    let config = of.config.as_deref().map(crate::error::shown).map(|path| format!(" {path}"));
    let count = |count: u64, one: &str| match count {
        0 => String::new(),
        1 => format!(", 1 {one}"),
        many => format!(", {many} {one}s"),
    };
    format!(
        "paster {} (process {}, {}){}: {} generation {} for {}{}{}",
        of.version,
        of.pid,
        bytes(of.memory_bytes),
        config.unwrap_or_default(),
        of.state,
        of.generation,
        span_secs(of.age_secs),
        count(of.failures, "failed reload"),
        count(of.crashes, "crash").replace("crashs", "crashes"),
    )
}

pub(super) fn workers(ps: &Ps) -> Columns {
    let mut table = Columns::new(&[
        "WORKER",
        "GENERATION",
        "STATE",
        "AGE",
        "MEMORY",
        "CONNECTIONS",
        "IN FLIGHT",
        "REQUESTS",
        "FAILED",
    ]);
    for worker in &ps.workers {
        let mut row = vec![
            worker.pid.to_string(),
            worker.generation.to_string(),
            worker.state.clone(),
            span_secs(worker.age_secs),
            bytes(worker.memory_bytes),
        ];
        match worker.load {
            Some(load) => {
                let upgraded = match load.upgraded {
                    0 => String::new(),
                    count => format!(" ({count} upgraded)"),
                };
                row.push(format!("{}{upgraded}", load.connections));
                row.extend([load.in_flight, load.requests, load.failed].map(|count| count.to_string()));
            }
            None => row.push("not responding".to_owned()),
        }
        table.row(row);
    }
    table
}

/// The side processes of plugins, the processes of apps, and programs.
pub(super) fn side_processes(ps: &Ps) -> Columns {
    let mut table = Columns::new(&["SIDE PROCESS", "NAME", "APP", "AGE", "MEMORY", "RESTARTS"]);
    for side in &ps.side_processes {
        table.row([
            side.pid.map_or_else(|| "waits".to_owned(), |pid| pid.to_string()),
            side.name.clone(),
            side.app.clone(),
            span_secs(side.age_secs),
            bytes(side.memory_bytes),
            side.restarts.to_string(),
        ]);
    }
    table
}

/// The upstreams of the apps that forward requests.
pub(super) fn upstreams(ps: &Ps) -> Columns {
    let mut table = Columns::new(&["UPSTREAM", "APP", "STATE", "IN FLIGHT"]);
    for one in &ps.upstreams {
        let state = match (one.working, one.failing) {
            (_, 0) => "working".to_owned(),
            (0, _) => "failing".to_owned(),
            (working, failing) => format!("failing in {failing} of {} workers", working + failing),
        };
        table.row([one.address.clone(), one.app.clone(), state, one.in_flight.to_string()]);
    }
    table
}

/// The tasks.
pub(super) fn tasks(tasks: &[TaskInfo]) -> Columns {
    let mut table = Columns::new(&["TASK", "SCHEDULE", "RUNS", "NEXT", "LAST", "RESULT"]);
    for task in tasks {
        let (last, result) = match &task.last {
            Some(run) => {
                let word = if run.ok == Some(true) { "ok" } else { "failed" };
                let line = run.text.lines().next().unwrap_or_default();
                let line: String = line.chars().take(60).collect();
                (time(run.began_ms), format!("{word} in {} {line}", span(run.ms.unwrap_or(0))))
            }
            None => Default::default(),
        };
        let next = match (task.running, task.next_ms) {
            (0, Some(next)) => time(next),
            (0, None) => "-".to_owned(),
            _ => "running".to_owned(),
        };
        table.row([task.name.clone(), task.schedule.clone(), task.runs.clone(), next, last, result]);
    }
    table
}
