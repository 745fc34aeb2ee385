//! Prints the events of `paster serve`: as text on standard error, as JSON on standard output.

use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::cli::output::note;
use crate::cli::report;
use crate::error::Error;
use crate::ops::serve::Event;

/// Standard error of `paster serve`.
pub(super) struct Screen {
    colour: bool,
    terminal: bool,
    state: Mutex<ScreenState>,
}

#[derive(Default)]
struct ScreenState {
    spinner: Option<ProgressBar>,
    /// Open the address in a browser once the server is ready.
    open: bool,
}

impl Screen {
    pub(super) fn new(open: bool) -> Screen {
        Screen {
            colour: report::coloured(&std::io::stderr()),
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(ScreenState { open, ..ScreenState::default() }),
        }
    }

    /// Shows one event.
    pub(super) fn show(&self, event: &Event) {
        let mut state = self.state.lock();
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
                // One line per crate would bury what matters.
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

    fn tell(&self, event: &Event, state: &mut ScreenState) {
        if let Event::ReloadFailed { errors, .. } | Event::Failed { errors } = event {
            self.faults(errors);
        }
        let style = match event {
            Event::Ready { .. } | Event::Reloaded { .. } | Event::WorkerReady { .. } => "32",
            Event::Warning { .. } | Event::ReloadFailed { .. } => "33",
            Event::WorkerExit { .. }
            | Event::WorkerHung { .. }
            | Event::SideExit { .. }
            | Event::AppExit { .. }
            | Event::TaskEnded { ok: false, .. } => "31",
            // `paster ps` and `paster logs` show it; here it would bury the rest.
            Event::TaskEnded { .. } => return,
            _ => "",
        };
        match event {
            Event::Listening { server, url } if self.colour => {
                self.line("", &format!("serving \x1b[1;4m{url}\x1b[0m ({server})"));
            }
            event => event.text().into_iter().for_each(|text| self.line(style, &text)),
        }
        if let Event::Ready { open: Some(url), .. } = event {
            // Alone on the last line, so that the user can click it or copy it whole.
            note(&match self.colour {
                true => format!("\x1b[1;4m{url}\x1b[0m\n"),
                false => format!("{url}\n"),
            });
            if std::mem::take(&mut state.open) {
                open(url);
            }
        }
    }

    /// Prints the compilers' output unchanged, then the errors.
    fn faults(&self, faults: &[Error]) {
        let mut text = String::new();
        for fault in faults {
            text += &report::render(fault, self.colour);
        }
        note(&text);
    }

    fn line(&self, style: &str, text: &str) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = now.get(11..).unwrap_or_default();
        let line = match self.colour {
            true => format!("\x1b[2m{time}\x1b[0m \x1b[{style}m{text}\x1b[0m\n"),
            false => format!("{time} {text}\n"),
        };
        note(&line);
    }
}

/// Opens `url` in the user's browser, if there is one.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(program);
    command.arg(url).stdin(std::process::Stdio::null());
    let quiet = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    // Without a browser, the user still sees the address on the screen.
    if let Ok(mut child) = quiet.spawn() {
        std::thread::spawn(move || child.wait());
    }
}

/// Prints an event as one line of JSON on standard output.
pub(super) fn print_json(event: &Event) {
    let line = serde_json::to_string(event).expect("events have string keys only");
    let mut out = std::io::stdout().lock();
    // If the reader has closed its end, the server continues.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
