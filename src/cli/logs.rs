//! `paster logs`.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::json;

use super::control::{ServerArgs, plain, time};
use super::output::is_read;
use crate::error::{Errors, Result};
use crate::ops::control::{Ask, LogLine, Reply};

/// Shows the last lines of a running server's log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster logs                the last 50 lines
  paster logs -f             and new lines, until Ctrl-C
  paster logs --lines 1000 --json

The log has the lines of the supervisor, the workers and the side processes. The server keeps the
last MiB in memory. The access log goes where its `to` says, and is not part of it.
Exit codes: 0 printed, 1 no server answers, 2 several servers run: name one.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Keep printing new lines
    #[arg(short, long)]
    follow: bool,

    /// How many of the last lines to print
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.server.connect()?;
        server.say(&Ask::Logs { lines: self.lines, follow: self.follow })?;
        let colour = super::report::coloured(&std::io::stdout());
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
