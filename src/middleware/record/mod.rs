//! `record`: keeps requests and their responses in a file, for `paster replay`.

mod tee;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use http::header::HeaderMap;
use http::request::Parts;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::tee::{BodyStart, Tee};
use super::access_log::sink::{LineSink, LogTarget};
use super::secret::masked;
use crate::body::{App, Body, Request, Response};
use crate::config::{AppendPath, Purpose, Table, help_for_denied, is_secret_field};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "record"`.
///
/// `paster replay FILE` sends the recorded requests to the apps of a config, such as a new build, and shows how
/// the responses differ. Keep the file secret, because bodies may contain passwords. WebSockets and requests of
/// `paster request` are not recorded.
///
/// ```toml
/// [middleware.recorder]
/// use = "record"
/// file = "requests.jsonl"
/// except = { path = "/login" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// File to append to: one JSON object per line.
    file: AppendPath,
    /// Number of requests that each worker records. After that, it stops recording until the next reload.
    #[serde(default = "thousand")]
    max_requests: u64,
    /// Maximum number of bytes of each body to record. A request with a longer body cannot be replayed. A longer response is
    /// compared by its length and its hash.
    #[serde(default = "sixty_four_kib")]
    max_body_bytes: usize,
    /// Record cookies, credentials and query values that look like secrets. By default, they are omitted.
    #[serde(default)]
    credentials: bool,
}

fn thousand() -> u64 {
    1000
}

fn sixty_four_kib() -> usize {
    64 * 1024
}

/// One recorded request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recorded {
    /// When it arrived, in RFC 3339.
    pub time: String,
    /// The method.
    pub method: String,
    /// The target: the whole path, with the mount and the query.
    pub target: String,
    /// The fields, with `host`.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body.
    pub body: RecordedBody,
    /// The response.
    pub response: RecordedResponse,
}

/// The response to a recorded request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// The fields.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body.
    pub body: RecordedBody,
}

/// A body, or its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBody {
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of the whole body in hexadecimal digits.
    pub sha256: String,
    /// The body, if it is short and UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The body in Base64, if it is short and not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base64: Option<String>,
}

struct RequestRecorder {
    sink: LineSink,
    left: AtomicU64,
    max_body_bytes: usize,
    credentials: bool,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let files = table.files();
    let opened = match context.checking {
        true => files.check_append(&options.file),
        false => files.open(&options.file, Purpose::Append).map(drop),
    };
    let opened = opened.map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => help_for_denied(),
            _ => "create its directory, or correct the path".to_owned(),
        };
        let message = format!("cannot open the file `{}`", options.file.display());
        table.error("file", message).because(error).help(help)
    });
    Errors::check(opened.err().into_iter().collect())?;
    let target = LogTarget::File(options.file.to_path_buf(), files.clone());
    let recorder = Arc::new(RequestRecorder {
        sink: LineSink::new(target, context.reopen.clone()),
        left: AtomicU64::new(options.max_requests),
        max_body_bytes: options.max_body_bytes,
        credentials: options.credentials,
    });
    Ok(App::from_call(move |request| {
        if !is_recordable(&request) || !recorder.take() {
            return next.handle(request);
        }
        let (head, body) = request.into_parts();
        let line = recorder.line(&head);
        let asked = Arc::new(Mutex::new(BodyStart::new(recorder.max_body_bytes)));
        let copy = asked.clone();
        let body = Body::new(Tee::new(body, copy, |_| ()));
        let (recorder, response) = (recorder.clone(), next.handle(Request::from_parts(head, body)));
        Box::pin(async move {
            let response = response.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(response);
            }
            Ok(recorder.follow(line, asked, response))
        })
    }))
}

/// Whether a request can be sent again: a WebSocket cannot, and a request of `paster request` is a replay.
fn is_recordable(request: &Request) -> bool {
    let upgrades = request.headers().contains_key(http::header::UPGRADE);
    let console = request.extensions().get::<Environ>().is_some_and(Environ::is_console);
    !upgrades && !console && *request.method() != Method::CONNECT
}

impl RequestRecorder {
    /// Takes one of the requests that may still be recorded.
    fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The request, without its body and its response.
    fn line(&self, head: &Parts) -> Recorded {
        let environ = head.extensions.get::<Environ>();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let target = format!("{}{target}", environ.map_or("", |environ| &environ.script_name));
        let mut headers = self.fields(&head.headers);
        if let Some(environ) = environ {
            headers.insert("host".into(), vec![environ.authority()]);
        }
        Recorded {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            method: head.method.to_string(),
            target: if self.credentials { target } else { masked(&target) },
            headers,
            body: RecordedBody::default(),
            response: RecordedResponse { status: 0, headers: BTreeMap::new(), body: RecordedBody::default() },
        }
    }

    fn fields(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in
            headers.iter().filter(|(name, _)| self.credentials || !is_secret_field(name.as_str()))
        {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.entry(name.to_string()).or_default().push(value);
        }
        fields
    }

    /// Records the response when its body has ended. If the client leaves before, nothing is recorded.
    fn follow(
        self: Arc<Self>,
        mut line: Recorded,
        asked: Arc<Mutex<BodyStart>>,
        response: Response,
    ) -> Response {
        line.response.status = response.status().as_u16();
        line.response.headers = self.fields(response.headers());
        let answered = Arc::new(Mutex::new(BodyStart::new(self.max_body_bytes)));
        response.map(|body| {
            Body::new(Tee::new(body, answered, move |answered| {
                line.body = asked.lock().body();
                line.response.body = answered.body();
                // A line of JSON has no line breaks.
                if let Ok(text) = serde_json::to_string(&line) {
                    self.sink.write(&[text.as_bytes(), b"\n"]);
                }
            }))
        })
    }
}
