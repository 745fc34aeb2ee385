//! `access_log`: one line per request, written in batches by a separate thread ([`sink`]).

mod format;
mod json;
mod line;
pub(super) mod sink;

use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::entries;
use crate::body::{App, ObservedCall, Observer, Refused, Request, Response, Watch};
use crate::config::{AppendPath, Purpose, Table, help_for_denied};
use crate::context::Context;
use crate::environ::{RefusalReason, RemoteUser, RequestId};
use crate::error::{Errors, Result};
use crate::inflight::TraceIds;
use format::{Answered, LineFormat};
use json::{LogField, LoggedFacts};
use line::AccessLine;
use sink::{LineSink, LogTarget};

/// Options of a `[middleware.NAME]` table with `use = "access_log"`.
///
/// The log of a server's own app also contains the requests that the server refuses (400, 408, 414, 431,
/// 503 …), each with the reason, which is in quotes at the end of the line, or in `reason` in JSON. Unknown values of such a
/// request are `-`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The format of a line.
    #[serde(default)]
    format: LineFormat,
    /// Where to write if there is no `file`.
    #[serde(default)]
    to: LogStream,
    /// Fields of a line in the format `json`, in this order. You can use the names of the default fields, and `request:NAME`
    /// and `response:NAME` for header fields of the request and the response.
    #[serde(default)]
    fields: Vec<String>,
    /// File to append to. If it is moved (by logrotate), it is created again within a second.
    file: Option<AppendPath>,
}

/// A stream of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LogStream {
    #[default]
    Stderr,
    Stdout,
}

/// Wraps `next`. Logs only what [`AccessLine`] and [`LoggedFacts`] contain: no cookies, no authorization. Query values
/// whose name looks like a secret's are masked.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let target = match (&options.file, options.to) {
        (Some(file), _) => {
            let files = table.files();
            let opened = match context.checking {
                true => files.check_append(file),
                false => files.open(file, Purpose::Append).map(drop),
            };
            let opened = opened.map_err(|error| {
                let help = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => help_for_denied(),
                    _ => "create its directory, or correct the path".to_owned(),
                };
                let message = format!("cannot open the log file `{}`", file.display());
                table.error("file", message).because(error).help(help)
            });
            Errors::check(opened.err().into_iter().collect())?;
            LogTarget::File(file.to_path_buf(), files.clone())
        }
        (None, LogStream::Stderr) => LogTarget::Stderr,
        (None, LogStream::Stdout) => LogTarget::Stdout,
    };
    let mut errors = Vec::new();
    let fields = entries(table, "fields", &options.fields, &mut errors, LogField::parse);
    if !options.fields.is_empty() && options.format != LineFormat::Json {
        let error = table.error("fields", "only the format `json` can have custom `fields`");
        errors.push(error.help("set `format = \"json\"`"));
    }
    Errors::check(errors)?;
    let sink = LineSink::new(target, context.reopen.clone());
    Ok(next.followed(Arc::new(AccessLog { format: options.format, fields, sink })))
}

struct AccessLog {
    format: LineFormat,
    /// Empty: all.
    fields: Vec<LogField>,
    sink: LineSink,
}

impl Observer for AccessLog {
    fn begin(self: Arc<Self>, request: &Request, came: Instant) -> Box<dyn ObservedCall> {
        let asked = match self.format {
            LineFormat::Json => LoggedRequest::Facts(Box::new(LoggedFacts::of(request, came, &self.fields))),
            format => LoggedRequest::Line(AccessLine::of(request, came, format)),
        };
        Box::new(LogEntry { log: self, asked, answered: Answered::default() })
    }

    fn refused(&self, request: &Refused<'_>) {
        let answered = Answered {
            status: request.status.as_u16(),
            bytes: request.bytes,
            reason: Some(request.reason),
            ..Answered::default()
        };
        match self.format {
            LineFormat::Json => {
                let line = LoggedFacts::of_refused(request, &self.fields).line(&answered, &self.fields);
                self.sink.write(&[line.as_bytes()]);
            }
            format => {
                AccessLine::of_refused(request, format).whole(&answered, |parts| self.sink.write(parts))
            }
        }
    }
}

/// A request in progress; logged when it is dropped.
struct LogEntry {
    log: Arc<AccessLog>,
    asked: LoggedRequest,
    answered: Answered<'static>,
}

/// What is known about a request before its response.
enum LoggedRequest {
    Line(AccessLine),
    Facts(Box<LoggedFacts>),
}

impl ObservedCall for LogEntry {
    fn answered(&mut self, response: Option<&Response>) {
        self.answered.status = response.map_or(500, |response| response.status().as_u16());
        if let Some(response) = response {
            self.answered.chosen = LogField::values(&self.log.fields, response.headers(), false);
        }
        let Some(extensions) = response.map(Response::extensions) else { return };
        self.answered.user = extensions.get::<RemoteUser>().map(|user| user.name.clone());
        self.answered.id = extensions.get::<RequestId>().map(|id| id.0.clone());
        self.answered.trace = extensions.get::<TraceIds>().copied();
        self.answered.reason = extensions.get::<RefusalReason>().map(|reason| reason.0);
    }
}

impl Watch for LogEntry {
    fn taken(&mut self, bytes: u64) {
        self.answered.bytes += bytes;
    }
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        match &self.asked {
            LoggedRequest::Line(line) => line.whole(&self.answered, |parts| self.log.sink.write(parts)),
            LoggedRequest::Facts(facts) => {
                self.log.sink.write(&[facts.line(&self.answered, &self.log.fields).as_bytes()])
            }
        }
    }
}
