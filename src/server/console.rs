//! The `console` server: handles one request, described in its table, and writes the response to standard
//! output. No socket.
//!
//! [`perform`] and [`encode_head`] also serve `paster request`.

use std::io::Write;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Server;
use super::control::Control;
use super::gate::{ConnInfo, Gate, HostCache, reply};
use super::listener::{Listen, Socket};
use crate::body::{App, Body, BoxFuture, Request, Response};
use crate::config::{ReadPath, Table};
use crate::environ::CONSOLE;
use crate::error::{BoxError, Error, Errors, Result, chain};

/// Options of a `[server.NAME]` table with `use = "console"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// The method.
    method: String,
    /// The target: a path, with an optional query.
    path: String,
    /// Header fields, each as `Name: value`. `Host` is `localhost` unless given.
    headers: Vec<String>,
    /// The body.
    body: Option<String>,
    /// A file to send as the body.
    body_file: Option<ReadPath>,
}

impl Default for Options {
    fn default() -> Self {
        Options { method: "GET".into(), path: "/".into(), headers: Vec::new(), body: None, body_file: None }
    }
}

struct ConsoleServer {
    gate: Gate,
    request: Request,
}

/// Checks the options and creates the request.
/// # Errors
/// Every malformed part of the request; a body file that cannot be read.
pub(super) fn build(options: Options, table: &Table) -> Result<Box<dyn Server>> {
    let mut errors = Vec::new();
    let body = match (options.body, &options.body_file) {
        (Some(_), Some(_)) => {
            errors
                .push(table.error("body", "`body` and `body_file` are both set").help("remove one of them"));
            Bytes::new()
        }
        (None, Some(path)) => match table.files().read(path) {
            Ok(bytes) => bytes.into(),
            Err(cause) => {
                let message = format!("cannot read the body from `{}`", path.display());
                errors.push(table.error("body_file", message).because(cause));
                Bytes::new()
            }
        },
        (text, None) => text.unwrap_or_default().into(),
    };
    let request = match ask(&options.method, &options.path, &options.headers, body) {
        Ok(request) => Some(request),
        Err(faults) => {
            errors.extend(faults.into_iter().map(|fault| {
                let origin = table.origin(fault.part.key());
                Error::config(fault.message).at(origin).help(fault.help)
            }));
            None
        }
    };
    Errors::check(errors)?;
    let Some(request) = request else { return Err(table.error("", "no request").into()) };
    Ok(Box::new(ConsoleServer { gate: Gate::new(table.name().into()), request }))
}

impl Server for ConsoleServer {
    fn listen(&self) -> &[Listen] {
        &[]
    }

    fn run(self: Box<Self>, _: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        Box::pin(async move {
            let response = perform(&app, &self.gate, self.request).await;
            // A closed pipe is not an error.
            let has_gone = |error: &BoxError| {
                error
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            };
            if let Err(error) = print(response).await
                && !has_gone(&error)
            {
                tracing::error!(%error, server = &*control.server, "the response was not printed completely");
            }
        })
    }
}

/// Prints head and body as they arrive.
async fn print(response: Response) -> Result<(), BoxError> {
    let mut out = std::io::stdout();
    out.write_all(&encode_head(&response))?;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            out.write_all(data)?;
            out.flush()?;
        }
    }
    Ok(out.flush()?)
}

/// The part of a request that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadPart {
    /// The method.
    Method,
    /// The target.
    Path,
    /// A header field.
    Headers,
}

impl HeadPart {
    fn key(self) -> &'static str {
        match self {
            HeadPart::Method => "method",
            HeadPart::Path => "path",
            HeadPart::Headers => "headers",
        }
    }
}

/// A malformed part of a request, and how to fix it.
#[derive(Debug)]
pub struct ConsoleFault {
    /// Which part.
    pub part: HeadPart,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: &'static str,
}

/// Creates a request from the parts that a user wrote; `headers` are `Name: value`.
///
/// `Host` is `localhost` by default, and a body gets its Content-Length.
/// # Errors
/// Every part that is malformed.
pub fn ask(method: &str, path: &str, headers: &[String], body: Bytes) -> Result<Request, Vec<ConsoleFault>> {
    let mut faults = Vec::new();
    let mut request = Request::new(Body::empty());
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) => *request.method_mut() = method,
        Err(_) => faults.push(ConsoleFault {
            part: HeadPart::Method,
            message: format!("`{method}` is not a method"),
            help: "write `GET`, `POST`, …: letters, normally in upper case",
        }),
    }
    match path.parse::<Uri>() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => faults.push(ConsoleFault {
            part: HeadPart::Path,
            message: format!("`{path}` is not a path"),
            help: "write a path that begins with `/`, with spaces as `%20`",
        }),
    }
    for line in headers {
        match parse_field(line) {
            Some((name, value)) => drop(request.headers_mut().append(name, value)),
            None => faults.push(ConsoleFault {
                part: HeadPart::Headers,
                message: format!("`{line}` is not a header field"),
                help: "write `Name: value`",
            }),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let fields = request.headers_mut();
    if !fields.contains_key(HOST) {
        fields.insert(HOST, HeaderValue::from_static("localhost"));
    }
    if !body.is_empty() && !fields.contains_key(CONTENT_LENGTH) {
        fields.insert(CONTENT_LENGTH, (body.len() as u64).into());
    }
    *request.body_mut() = body.into();
    Ok(request)
}

fn parse_field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// Passes a request through the gate to `app`, as a server does.
pub async fn perform(app: &App, gate: &Gate, mut request: Request) -> Response {
    let info = ConnInfo { listen: CONSOLE.into(), ..ConnInfo::default() };
    let admitted = match gate.admit(&mut request, &info, &mut HostCache::default()) {
        Ok(admitted) => admitted,
        Err(rejection) => return reply::rejection(rejection, Version::HTTP_2), // nothing to close
    };
    let mut response = app.handle(request).await.unwrap_or_else(|error| {
        tracing::error!(error = chain(&*error), "the application failed");
        reply::plain(StatusCode::INTERNAL_SERVER_ERROR, "")
    });
    reply::settle(&mut response, &admitted, Version::HTTP_11);
    response
}

/// The status line and the fields in HTTP/1.1 form.
pub fn encode_head(response: &Response) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
