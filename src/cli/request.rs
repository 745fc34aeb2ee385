//! `paster request`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::output::{note, print, write};
use super::source::SourceArgs;
use crate::body::Response;
use crate::error::{Error, Result};
use crate::escape;
use crate::ops::request::{AppRequest, Done, ReceivedPart, request};
use crate::ops::trace::TraceStep;
use crate::server::console::encode_head;

/// Sends one request to an application in this process and prints the response.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster request GET /                    ask the app of ./server.toml; no server is needed
  paster request POST /items site/server.toml -H 'Content-Type: application/json' -d '{\"name\":\"a\"}'
  paster request GET / --trace            print the time of each middleware, and what it changed
  paster request GET /old --location      follow redirects
  paster request GET /report --no-include > report.html

Exit codes: 0 got a response, 1 got none (with --fail: or its status was 400 or above), 78 config error.")]
pub(super) struct Args {
    /// The method: GET, POST, …
    method: String,

    /// The path, with an optional query: /a?b=c
    path: String,

    #[command(flatten)]
    source: SourceArgs,

    /// Add a header field
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Send a body: text, @FILE, or @- for standard input
    #[arg(short, long, value_name = "DATA|@FILE")]
    data: Option<String>,

    /// Ask this app of the config [default: the app of the server `main`]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Print the response as JSON
    #[arg(long)]
    json: bool,

    /// Print the status line and the header fields (default)
    #[arg(short, long, overrides_with = "no_include")]
    include: bool,

    /// Print only the body
    #[arg(long, overrides_with = "include")]
    no_include: bool,

    /// Print the time of each part of the stack, and what it changed, to standard error
    #[arg(long)]
    trace: bool,

    /// Follow redirects to the same host
    #[arg(short = 'L', long)]
    location: bool,

    /// Exit with 1 if the status is 400 or above
    #[arg(long)]
    fail: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let asked = AppRequest {
            sources: self.source.sources()?,
            app: self.app.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            body: self.body()?,
            trace: self.trace,
            follow: self.location,
        };
        let mut status = StatusCode::OK;
        let mut whole = None;
        let done = request(&asked, &|text| note(&format!("{text}\n")), &mut |part| {
            match part {
                ReceivedPart::Head(response) => {
                    status = response.status();
                    if self.json {
                        whole = Some((describe(response), Vec::new()));
                    } else if !self.no_include {
                        write(&encode_head(response))?;
                    }
                }
                ReceivedPart::Data(data) => match &mut whole {
                    Some((_, body)) => body.extend_from_slice(data),
                    None => write(data)?,
                },
            }
            Ok(())
        })?;
        if let Some((mut value, body)) = whole {
            match String::from_utf8(body) {
                Ok(text) => value["body"] = text.into(),
                Err(error) => value["body_base64"] = BASE64_STANDARD.encode(error.as_bytes()).into(),
            }
            value["micros"] = json!({ "head": micros(done.head), "whole": micros(done.whole) });
            if self.trace {
                value["trace"] = json!(done.steps);
            }
            print(&format!("{value:#}\n"))?;
        } else {
            if std::io::stdout().is_terminal() {
                print("\n")?; // the body may not end with a newline
            }
            if self.trace {
                note(&table(&done));
            }
        }
        let failed = self.fail && status.as_u16() >= 400;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn body(&self) -> Result<Bytes> {
        let Some(data) = &self.data else { return Ok(Bytes::new()) };
        let Some(path) = data.strip_prefix('@') else { return Ok(data.clone().into()) };
        let mut bytes = Vec::new();
        let read = match path {
            "-" => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
            path => std::fs::read(PathBuf::from(path)).map(|content| bytes = content),
        };
        read.map_err(|cause| Error::usage(format!("cannot read the body from `{path}`")).because(cause))?;
        Ok(bytes.into())
    }
}

fn describe(response: &Response) -> serde_json::Value {
    let status = response.status();
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({ "status": status.as_u16(), "reason": status.canonical_reason(), "headers": headers })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The trace as a table: own time, total time, one part per line, indented by depth, and a bar that shows
/// when it ran; below it what a middleware changed in the request (`→`) and the response (`←`).
pub(super) fn table(done: &Done) -> String {
    let label = |step: &TraceStep| {
        let name = match &step.middleware {
            Some(middleware) => middleware.clone(),
            None => format!("app {}", step.app),
        };
        let outcome = match (&step.status, &step.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => format!("error: {error}"),
            (None, None) => "not finished".into(),
        };
        format!("{}{name}  {outcome}", "  ".repeat(step.depth))
    };
    let labels: Vec<String> = done.steps.iter().map(label).collect();
    let widest = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let room = columns().saturating_sub(22 + widest).min(BAR);
    let end = done.steps.iter().map(|step| step.start_micros + step.micros).max().unwrap_or(0).max(1);
    let mut text = String::from("     own     total\n");
    for (step, label) in done.steps.iter().zip(labels) {
        let (own, total) = (time(step.own_micros), time(step.micros));
        let mut line = format!("{own:>8}  {total:>8}  {label}");
        if room >= SMALLEST_BAR {
            let cells = |micros: u64| (micros as f64 / end as f64 * room as f64).round() as usize;
            let from = cells(step.start_micros).min(room - 1);
            let length = cells(step.micros).clamp(1, room - from);
            let gap = widest - label.width();
            line += &format!("{}  {}{}", " ".repeat(gap), " ".repeat(from), "█".repeat(length));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        let (asked, answered) = (&step.changes.request, &step.changes.response);
        let changes =
            asked.iter().map(|change| ("→", change)).chain(answered.iter().map(|change| ("←", change)));
        for (arrow, change) in changes {
            text += &format!(
                "{:20}{}{arrow} {}\n",
                "",
                "  ".repeat(step.depth + 1),
                escape::text(change.clone())
            );
        }
    }
    let (head, whole) = (time(micros(done.head)), time(micros(done.whole)));
    text.push_str(&format!("head after {head}, whole response after {whole}\n"));
    text
}

/// Maximum and minimum length of a bar, in characters.
const BAR: usize = 40;
const SMALLEST_BAR: usize = 8;

/// Width of the terminal that the table goes to.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(100)
}

fn time(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}
