//! `access_log`: one line a request, written in batches by a thread of its own ([`sink`]).

mod json;
mod line;
mod sink;

use std::sync::Arc;
use std::time::SystemTime;

use http_body::Body as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::{App, Request, Watch};
use crate::config::{ConfigPath, Table};
use crate::context::Context;
use crate::environ::{RemoteUser, RequestId};
use crate::error::{Errors, Result};
use json::Facts;
use line::Line;
use sink::{Sink, Target};

/// Options of a `[middleware.NAME]` table with `use = "access_log"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// What a line looks like.
    #[serde(default)]
    format: Format,
    /// Where the lines go, when there is no `file`.
    #[serde(default)]
    to: Stream,
    /// File to append to. When it is moved away (logrotate) it is made anew within a second.
    file: Option<ConfigPath>,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// The common log format of CERN and Apache.
    Common,
    /// The same with referer and user agent.
    #[default]
    Combined,
    /// A JSON object with the duration and the request's id too.
    Json,
}

/// A stream of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Stream {
    #[default]
    Stderr,
    Stdout,
}

/// Responses up to this length, in bytes, are logged when they are handed over: they fit a socket's buffer. Of longer
/// ones and streams is logged, at their end, what was taken.
const AT_ONCE: u64 = 64 * 1024;

/// Wraps `next`. Only what [`Record`] has is logged: no cookie, no authorization; query values named like a secret
/// are masked.
pub(super) fn build(table: &Table, context: &Context, next: App) -> Result<App> {
    let options: Options = table.options()?;
    let target = match (&options.file, options.to) {
        (Some(file), _) => {
            let opened = sink::open(file).map_err(|error| {
                let message = format!("cannot open the log file `{}`", file.display());
                table.error("file", message).because(error).help("create its folder, or correct the path")
            });
            Errors::check(opened.err().into_iter().collect())?;
            Target::File(file.to_path_buf())
        }
        (None, Stream::Stderr) => Target::Stderr,
        (None, Stream::Stdout) => Target::Stdout,
    };
    let log = Arc::new(Log { format: options.format, sink: Sink::new(target, context.reopen.clone()) });
    Ok(App::from_call(move |request| {
        let entry = Entry::of(&request, log.clone());
        let response = next.handle(request);
        Box::pin(async move {
            let mut entry = entry;
            let response = match response.await {
                Ok(response) => response,
                Err(error) => {
                    entry.answered.status = 500;
                    return Err(error);
                }
            };
            let answered = &mut entry.answered;
            answered.status = response.status().as_u16();
            if let Some(user) = response.extensions().get::<RemoteUser>() {
                answered.user = Some(user.0.clone());
            }
            if let Some(id) = response.extensions().get::<RequestId>() {
                answered.id = Some(id.0.clone());
            }
            match response.body().size_hint().exact() {
                Some(length) if length <= AT_ONCE => {
                    answered.bytes = length;
                    Ok(response)
                }
                _ => Ok(response.map(|body| body.watched(entry))),
            }
        })
    }))
}

struct Log {
    format: Format,
    sink: Sink,
}

/// A request on its way; logged when it is dropped, with its response or its future.
struct Entry {
    log: Arc<Log>,
    asked: Asked,
    answered: Answered,
}

/// What is known of a request before its answer.
enum Asked {
    Line(Line),
    Facts(Box<Facts>),
}

/// What the answer tells.
struct Answered {
    /// By the client's certificate, or as what asks for a name and a password further in says on the response.
    user: Option<Arc<str>>,
    id: Option<Arc<str>>,
    /// 499, as nginx writes it, stays when the client goes away before there is an answer.
    status: u16,
    bytes: u64,
}

impl Entry {
    fn of(request: &Request, log: Arc<Log>) -> Entry {
        let time = SystemTime::now();
        let asked = match log.format {
            Format::Json => Asked::Facts(Box::new(Facts::of(request, time))),
            format => Asked::Line(Line::of(request, time, format)),
        };
        let user = request.extensions().get::<RemoteUser>().map(|user| user.0.clone());
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
        Entry { log, asked, answered: Answered { user, id, status: 499, bytes: 0 } }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match &mut self.asked {
            Asked::Line(line) => self.log.sink.write(&line.parts(&self.answered)),
            Asked::Facts(facts) => self.log.sink.write(&[facts.line(&self.answered).as_bytes()]),
        }
    }
}

impl Watch for Entry {
    fn taken(&mut self, bytes: u64) {
        self.answered.bytes += bytes;
    }
}
