//! The events of `paster serve` as people read them on standard error, and as programs do on standard output.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::report;
use crate::ops::fault::Fault;
use crate::ops::serve::{Event, Reason, Why};

/// Standard error of `paster serve`.
pub(super) struct Screen {
    colour: bool,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    spinner: Option<ProgressBar>,
    /// Open the first address that comes.
    open: bool,
    first: Option<String>,
}

impl Screen {
    pub(super) fn new(open: bool) -> Screen {
        Screen {
            colour: report::coloured(&std::io::stderr()),
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(State { open, ..State::default() }),
        }
    }

    /// Shows one event.
    pub(super) fn show(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Starting { .. } => {}
            Event::Building { app } => {
                if self.terminal {
                    let style =
                        ProgressStyle::with_template("{spinner} building {prefix} {elapsed} {wide_msg}");
                    let bar = ProgressBar::new_spinner().with_prefix(app.clone());
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    state.spinner = Some(bar);
                } else {
                    self.line("", &format!("building {app}"));
                }
            }
            Event::Progress { text, done, .. } => match (&state.spinner, done) {
                (Some(bar), Some(done)) => bar.set_message(format!("{done} crates, {text}")),
                (Some(bar), None) => bar.set_message(text.clone()),
                // Every crate on a line of its own would bury what matters.
                (None, Some(_)) => {}
                (None, None) => self.line("", &format!("building: {text}")),
            },
            other => {
                if let Some(bar) = state.spinner.take() {
                    bar.finish_and_clear();
                }
                self.tell(other, &mut state);
            }
        }
    }

    fn tell(&self, event: &Event, state: &mut State) {
        match event {
            Event::Built { app, ms } => self.line("", &format!("built {app} in {}", span(*ms))),
            Event::Warning { message } => self.line("33", &format!("warning: {message}")),
            Event::Listening { server, url } => {
                let shown = if self.colour { format!("\x1b[1;4m{url}\x1b[0m") } else { url.clone() };
                self.line("", &format!("serving {shown} ({server})"));
                state.first.get_or_insert_with(|| url.clone());
            }
            Event::Ready { ms, .. } => {
                self.line("32", &format!("ready in {}", span(*ms)));
                if std::mem::take(&mut state.open)
                    && let Some(url) = &state.first
                {
                    open(url);
                }
            }
            Event::Reloading { reason, detail } => {
                let why = match reason {
                    Reason::Files | Reason::Config => format!("{detail} changed"),
                    Reason::Hup => "asked by HUP".to_owned(),
                    Reason::Start | Reason::Rollback | Reason::Program => detail.clone(),
                };
                self.line("", &format!("reloading: {why}"));
            }
            Event::Reloaded { generation, ms, cargo_ms } => {
                let build = match cargo_ms {
                    0..=4 => String::new(),
                    ms => format!(", {} of it building", span(*ms)),
                };
                self.line("32", &format!("generation {generation} serves after {}{build}", span(*ms)));
            }
            Event::ReloadFailed { generation, errors } => {
                self.faults(errors);
                let outcome = match generation {
                    0 => "nothing serves yet: waiting for the next change".to_owned(),
                    number => format!("generation {number} serves on"),
                };
                self.line("33", &outcome);
            }
            Event::Failed { errors } => self.faults(errors),
            Event::WorkerExit { expected: true, .. } => {}
            Event::WorkerExit { generation, worker, pid, status, .. } => {
                self.line(
                    "31",
                    &format!("worker {worker} of generation {generation} (process {pid}) ended: {status}"),
                );
            }
            Event::WorkerHung { worker, pid, ms, doing, .. } => {
                let doing = match doing.as_slice() {
                    [] => String::new(),
                    some => format!("; waiting for their answer: {}", some.join(", ")),
                };
                let text = format!("worker {worker} (process {pid}) has hung for {}{doing}", span(*ms));
                self.line("31", &text);
            }
            Event::WorkerReady { reason: Why::Rolling, .. } => {}
            Event::WorkerReady { generation, worker, pid, ms, .. } => {
                self.line(
                    "32",
                    &format!(
                        "worker {worker} of generation {generation} serves anew after {} (process {pid})",
                        span(*ms)
                    ),
                );
            }
            Event::SideExit { app, name, status } => {
                self.line(
                    "31",
                    &format!("the side process {name} of app {app} ended: {status}; starting it anew"),
                );
            }
            Event::Stopping { reason } => {
                let text = match reason.as_str() {
                    "TERM" => "ending on TERM: waiting for what is in flight",
                    "INT" => "ending",
                    _ => return,
                };
                self.line("", text);
            }
            Event::Starting { .. } | Event::Building { .. } | Event::Progress { .. } => {}
        }
    }

    /// Compilers' output as it came, then the errors.
    fn faults(&self, faults: &[Fault]) {
        let mut text = String::new();
        for fault in faults {
            text += &render(fault, self.colour);
        }
        // Nobody is left to tell.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn line(&self, style: &str, text: &str) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = now.get(11..).unwrap_or_default();
        let line = match self.colour {
            true => format!("\x1b[2m{time}\x1b[0m \x1b[{style}m{text}\x1b[0m\n"),
            false => format!("{time} {text}\n"),
        };
        // Nobody is left to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// A fault with the output of the program that showed it.
pub(super) fn render(fault: &Fault, colour: bool) -> String {
    let mut text = String::new();
    if !fault.output.is_empty() {
        text += &fault.output;
        text += "\n\n";
    }
    text + &report::render(&fault.to_error(), colour)
}

fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
    }
}

/// Opens `url` in the user's browser, when there is one.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(program);
    command.arg(url).stdin(std::process::Stdio::null());
    let quiet = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    // Without a browser the address stands on the screen.
    if let Ok(mut child) = quiet.spawn() {
        std::thread::spawn(move || child.wait());
    }
}

/// Prints an event as one line of JSON on standard output.
pub(super) fn print_json(event: &Event) {
    let line = serde_json::to_string(event).expect("events have string keys only");
    let mut out = std::io::stdout().lock();
    // The reader is gone: the server has other duties.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
