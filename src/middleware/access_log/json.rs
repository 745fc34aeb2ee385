//! Lines in the format `json`, with all fields or those that the config chooses.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, Version};
use serde_json::{Map, Value, json};

use super::super::options::{Wrong, header};
use super::format::Answered;
use super::line;
use crate::body::{Refused, Request};
use crate::config::is_secret_field;
use crate::environ::{Environ, RemoteUser, RequestId};
use crate::escape;
use crate::inflight::TraceIds;

/// The names of the fields, in their usual order.
const NAMES: [&str; 16] = [
    "time",
    "client",
    "user",
    "host",
    "method",
    "target",
    "version",
    "status",
    "bytes",
    "micros",
    "referer",
    "user_agent",
    "request_id",
    "trace_id",
    "span_id",
    "reason",
];

/// A field that the config chooses.
#[derive(Debug)]
pub(super) enum LogField {
    /// One of [`NAMES`].
    Known(&'static str),
    /// A field of the request.
    Request(HeaderName),
    /// A field of the response.
    Response(HeaderName),
}

impl LogField {
    pub(super) fn parse(text: &str) -> Result<LogField, Wrong> {
        let named = |name: &str| match header(name) {
            Ok(name) if is_secret_field(name.as_str()) => {
                Err((format!("the field `{name}` is a secret"), "a log must not contain secrets: remove it"))
            }
            result => result,
        };
        match text.split_once(':') {
            Some(("request", name)) => named(name).map(LogField::Request),
            Some(("response", name)) => named(name).map(LogField::Response),
            _ => match NAMES.iter().find(|name| **name == text) {
                Some(name) => Ok(LogField::Known(name)),
                None => {
                    let help = "write `request:NAME` or `response:NAME`, or a name such as `time`, `client`, `user`, `host`, \
                                `method`, `target`, `version`, `status`, `bytes`, `micros`, `referer`, `user_agent`, \
                                `request_id`, `trace_id`, `span_id` and `reason`";
                    Err((format!("`{text}` is not a field of the log"), help))
                }
            },
        }
    }

    /// The values of the fields of a request or response that are among `fields`, in order.
    pub(super) fn values(fields: &[LogField], headers: &HeaderMap, of_request: bool) -> Vec<Option<String>> {
        let name = |field: &LogField| match field {
            LogField::Request(name) if of_request => Some(name.clone()),
            LogField::Response(name) if !of_request => Some(name.clone()),
            _ => None,
        };
        let value = |name: HeaderName| headers.get(name).map(|value| lossy(value.as_bytes()).into_owned());
        fields.iter().filter_map(name).map(value).collect()
    }
}

/// The logged facts of one request. Header fields that hold secrets are never included.
pub(super) struct LoggedFacts {
    began: Instant,
    time: SystemTime,
    client: Option<IpAddr>,
    host: Option<Arc<str>>,
    method: String,
    target: String,
    version: Option<Version>,
    referer: Option<String>,
    agent: Option<String>,
    /// The user, if the request already names one: from the client's certificate, or from an outer
    /// middleware.
    user: Option<Arc<str>>,
    id: Option<Arc<str>>,
    trace: Option<TraceIds>,
    /// The values of the request's fields that the config chooses.
    chosen: Vec<Option<String>>,
}

impl LoggedFacts {
    pub(super) fn of(request: &Request, came: Instant, fields: &[LogField]) -> LoggedFacts {
        let extensions = request.extensions();
        let environ = extensions.get::<Environ>();
        let (referer, agent) = line::named(request.headers());
        LoggedFacts {
            began: came,
            time: SystemTime::now(),
            client: environ.and_then(|environ| environ.client),
            host: environ.map(|environ| environ.host.clone()),
            method: request.method().to_string(),
            target: line::target(request, environ).into_owned(),
            version: Some(request.version()),
            referer: referer.map(|value| line::without_secrets(lossy(value)).into_owned()),
            agent: agent.map(|value| lossy(value).into_owned()),
            user: extensions.get::<RemoteUser>().map(|user| user.name.clone()),
            id: extensions.get::<RequestId>().map(|id| id.0.clone()),
            trace: extensions.get::<TraceIds>().copied(),
            chosen: LogField::values(fields, request.headers(), true),
        }
    }

    pub(super) fn of_refused(request: &Refused<'_>, fields: &[LogField]) -> LoggedFacts {
        let (referer, agent) = request.head.headers.map(line::named).unwrap_or_default();
        LoggedFacts {
            began: request.came,
            time: SystemTime::now(),
            client: request.client,
            host: None,
            method: request.head.method.to_string(),
            target: line::without_secrets(Cow::Borrowed(&request.head.target)).into_owned(),
            version: request.head.version,
            referer: referer.map(|value| line::without_secrets(lossy(value)).into_owned()),
            agent: agent.map(|value| lossy(value).into_owned()),
            user: None,
            id: None,
            trace: None,
            chosen: request
                .head
                .headers
                .map(|headers| LogField::values(fields, headers, true))
                .unwrap_or_default(),
        }
    }

    /// The whole line with its line break: with these fields, or with all if there are none.
    pub(super) fn line(&self, answered: &Answered<'_>, fields: &[LogField]) -> String {
        let mut line = json!({
            "time": humantime::format_rfc3339_micros(self.time).to_string(),
            "client": self.client,
            "user": answered.user.as_deref().or(self.user.as_deref()),
            "host": self.host.as_deref(),
            "method": known(&self.method),
            "target": known(&self.target),
            "version": self.version.map(|version| format!("{version:?}")),
            "status": answered.status,
            "bytes": answered.bytes,
            "micros": self.began.elapsed().as_micros() as u64,
            "referer": self.referer,
            "user_agent": self.agent,
            "request_id": answered.id.as_deref().or(self.id.as_deref()),
        });
        if let Some((trace, span)) = answered.trace.or(self.trace).map(|ids| ids.hex()) {
            line["trace_id"] = trace.into();
            line["span_id"] = span.into();
        }
        if let Some(reason) = answered.reason {
            line["reason"] = reason.into();
        }
        if !fields.is_empty() {
            line = self.chosen(line, answered, fields);
        }
        escape::json(line.to_string()) + "\n"
    }

    /// The chosen fields of a line, in the order of the config.
    fn chosen(&self, mut line: Value, answered: &Answered<'_>, fields: &[LogField]) -> Value {
        let (mut of_request, mut of_response) = (self.chosen.iter(), answered.chosen.iter());
        let mut chosen = Map::new();
        for field in fields {
            let value = |value: Option<&Option<String>>| value.cloned().flatten().into();
            let (name, value) = match field {
                LogField::Known(name) => ((*name).to_owned(), line[*name].take()),
                LogField::Request(name) => (format!("request:{name}"), value(of_request.next())),
                LogField::Response(name) => (format!("response:{name}"), value(of_response.next())),
            };
            chosen.insert(name, value);
        }
        chosen.into()
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn lossy(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}
