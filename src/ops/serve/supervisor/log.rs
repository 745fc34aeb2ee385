//! The supervisor's lines in the log of the table `[log]`.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Map, Value};
use tracing::{Dispatch, Level as Severity};

use crate::context::Reopen;
use crate::error::Error;
use crate::ops::sections::log::Log;
use crate::ops::serve::process::log::sink::LogSink;
use crate::ops::serve::process::log::subscriber;
use crate::ops::serve::supervisor::event::{Event, Why};

/// The target of its lines, for `levels`.
const TARGET: &str = "paster::supervisor";

/// The supervisor's log.
pub(super) struct Own {
    log: Log,
    owner: Option<(u32, u32)>,
    dispatch: Dispatch,
    alone: bool,
}

impl Own {
    /// Opens the log that `log` asks for. `owner` is the owner of a new file, `shown` whether standard output
    /// has the events. Returns `None` if a terminal shows the events and no file is set.
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn of(
        log: Log,
        owner: Option<(u32, u32)>,
        shown: bool,
        reopen: Reopen,
    ) -> Result<Option<Own>, Error> {
        let terminal = std::io::stderr().is_terminal();
        if terminal && !shown && log.file.is_none() {
            return Ok(None);
        }
        let sink = LogSink::of(&log, reopen, owner)?;
        let dispatch = Dispatch::new(subscriber(&log, None, None, sink));
        Ok(Some(Own { log, owner, dispatch, alone: !terminal && !shown }))
    }

    /// Whether [`of`](Own::of) would open the same log.
    pub(super) fn is_of(&self, log: &Log, owner: Option<(u32, u32)>) -> bool {
        self.log == *log && self.owner == owner
    }

    /// Whether an event goes only to the log, because lines for people would be mixed with the log's lines.
    /// If the log is a file, the terminal still shows the addresses and the path of the log.
    pub(super) fn is_alone(&self, event: &Event) -> bool {
        match event {
            Event::Failed { .. } => false,
            Event::Listening { .. } | Event::Ready { .. } | Event::Logging { .. } => {
                self.alone && self.log.file.is_none()
            }
            _ => self.alone,
        }
    }

    /// The file.
    pub(super) fn file(&self) -> Option<&Path> {
        self.log.file()
    }

    /// Logs `event`.
    pub(super) fn tell(&self, event: &Event) {
        let fields = fields(event);
        tracing::dispatcher::with_default(&self.dispatch, || {
            if let Event::ReloadFailed { errors, .. } | Event::Failed { errors } = event {
                errors.iter().for_each(|fault| say(Severity::ERROR, &fault.message, about(fault, &fields)));
            }
            if let Some((level, text)) = line(event) {
                say(level, &text, fields);
            }
        });
    }
}

fn say(level: Severity, text: &str, fields: Map<String, Value>) {
    let fields = Value::Object(fields).to_string();
    let fields = fields.as_str();
    match level {
        Severity::ERROR => tracing::error!(target: TARGET, fields, "{text}"),
        Severity::WARN => tracing::warn!(target: TARGET, fields, "{text}"),
        Severity::INFO => tracing::info!(target: TARGET, fields, "{text}"),
        _ => tracing::debug!(target: TARGET, fields, "{text}"),
    }
}

/// Level and message of an event; `None` if it is not logged.
fn line(event: &Event) -> Option<(Severity, String)> {
    let level = match event {
        Event::Logging { .. } => return None, // readers of the log know it
        Event::Warning { message } => return Some((Severity::WARN, message.clone())),
        Event::WorkerExit { generation, worker, pid, status, expected: true } => {
            let text = format!("worker {worker} of generation {generation} (process {pid}) ended: {status}");
            return Some((Severity::DEBUG, text));
        }
        Event::WorkerReady { generation, worker, pid, reason: Why::Rolling, .. } => {
            let text = format!("worker {worker} of generation {generation} serves (process {pid})");
            return Some((Severity::DEBUG, text));
        }
        Event::WorkerExit { .. } | Event::WorkerHung { .. } | Event::TaskEnded { ok: false, .. } => {
            Severity::ERROR
        }
        Event::ReloadFailed { .. } | Event::SideExit { .. } | Event::AppExit { .. } => Severity::WARN,
        _ => Severity::INFO,
    };
    Some((level, event.text()?))
}

/// The event's name, and the fields that are not in the message.
fn fields(event: &Event) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else { return Map::new() };
    // Some are their own lines or in the message already. A task's result is private, and an address to open
    // may contain a token.
    for name in ["errors", "message", "text", "detail", "open"] {
        fields.remove(name);
    }
    fields
}

/// The same for a fault: its place, causes and helps, and the compiler's output.
fn about(fault: &Error, event: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = event.clone();
    let causes: Vec<&str> = fault.causes().collect();
    let place = fault.origin.as_ref().map(ToString::to_string).unwrap_or_default();
    let texts = [
        ("place", place),
        ("cause", causes.join(": ")),
        ("help", fault.helps.join("; ")),
        ("output", fault.output.clone()),
    ];
    let said = texts.into_iter().filter(|(_, text)| !text.is_empty());
    fields.extend(said.map(|(name, text)| (name.to_owned(), text.into())));
    fields
}
