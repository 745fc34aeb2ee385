//! `paster logs`.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::json;

use super::control::{ServerArgs, plain, time};
use super::output::{is_read, print};
use crate::error::{Errors, Result};
use crate::ops::control::{ControlCommand, LogLine, LoggedId, Reply};

/// Shows the last lines of a running server's log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster logs                the last 50 lines
  paster logs -f             and new lines, until Ctrl-C
  paster logs --lines 1000 --json
  paster logs --request 0199f3c0b7a97d2c8d1f4f0e2b6a3c55     all lines of one request
  paster logs --trace 4bf92f3577b34da6a3ce929d0e0e4736       all lines of its trace

The log contains the lines of the supervisor, the workers and the side processes. The server keeps the
last MiB in memory. The access log goes where its `to` says, and is not part of it. With --request
and --trace, the last 16 MiB of each log file and JSON access log are searched too.
Exit codes: 0 printed, 1 no server responds, 2 several servers run: name one.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Keep printing new lines
    #[arg(short, long)]
    follow: bool,

    /// How many of the last lines to print
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,

    /// Print the lines about the request with this id from the middleware `request_id`
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "lines"])]
    request: Option<String>,

    /// Print the lines about this trace of the middleware `trace`
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "lines", "request"])]
    trace: Option<String>,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.server.connect()?;
        let colour = super::report::coloured(&std::io::stdout());
        if let Some(id) = self.request.map(LoggedId::Request).or(self.trace.map(LoggedId::Trace)) {
            let found: Vec<LogLine> = server.done(&ControlCommand::FindLogs { id })?;
            let line = |line: &LogLine| if self.json { json!(line).to_string() } else { shown(line, colour) };
            return print(&found.iter().map(|found| line(found) + "\n").collect::<String>());
        }
        server.say(&ControlCommand::Logs { lines: self.lines, follow: self.follow })?;
        while let Some(reply) = server.reply()? {
            let line = match reply {
                Reply::Line(line) if self.json => json!(line).to_string(),
                Reply::Line(line) => shown(&line, colour),
                Reply::Done(_) => break,
                Reply::Failed(faults) => {
                    Errors::check(faults)?;
                    break;
                }
            };
            if !is_read(&format!("{line}\n"))? {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn shown(line: &LogLine, colour: bool) -> String {
    let text = match std::io::stdout().is_terminal() {
        true => plain(&line.text),
        false => line.text.clone(),
    };
    match colour {
        true => format!("\x1b[2m{} {}\x1b[0m {text}", time(line.at_ms), line.from),
        false => format!("{} {} {text}", time(line.at_ms), line.from),
    }
}
