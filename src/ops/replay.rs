//! Sends the requests that `record` has kept to the apps of a config, and compares the responses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use similar::TextDiff;

use super::request::{AppRequest, AppSession, ReceivedPart};
use crate::config::Sources;
use crate::error::{Error, Result};
use crate::middleware::record::{Recorded, RecordedBody, RecordedResponse};

/// What to replay.
#[derive(Debug, Default)]
pub struct Replay {
    /// The file that `record` has written.
    pub file: PathBuf,
    /// Where the config comes from.
    pub sources: Sources,
    /// The app; by default as for [`AppSession::open`].
    pub app: Option<String>,
    /// Fields of responses that are not compared, besides [`IGNORED`].
    pub ignore: Vec<String>,
}

/// Fields of responses that differ each time.
pub const IGNORED: [&str; 15] = [
    "age",
    "connection",
    "content-length",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "ratelimit",
    "retry-after",
    "server-timing",
    "set-cookie",
    "traceparent",
    "transfer-encoding",
    "x-request-id",
    "x-runtime",
];

/// A request whose response has changed.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Its line in the file.
    pub line: usize,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// What has changed, one entry for the status, each field and the body.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Serialize)]
pub struct Change {
    /// `status`, `body`, or the name of a field.
    pub what: String,
    /// The recorded value.
    pub recorded: String,
    /// The value now.
    pub now: String,
}

/// The result of all requests.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Requests with the same response.
    pub same: usize,
    /// Requests with another response.
    pub different: usize,
    /// Requests that could not be sent again, because their body was too long to be recorded.
    pub skipped: usize,
}

/// Sends each request once, in the order of the file. `found` gets each difference.
/// # Errors
/// A file that cannot be read or is not a recording; faults of the config; an error of `found`.
pub fn replay(
    replay: &Replay,
    note: &(dyn Fn(&str) + Send + Sync),
    found: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<Summary> {
    let shown = replay.file.display();
    let file = std::fs::File::open(&replay.file)
        .map_err(|cause| Error::usage(format!("cannot open the recording `{shown}`")).because(cause))?;
    let session = AppSession::open(&replay.sources, replay.app.as_deref(), false, note)?;
    let mut summary = Summary::default();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line =
            line.map_err(|cause| Error::new(format!("cannot read the recording `{shown}`")).because(cause))?;
        let recorded: Recorded = serde_json::from_str(&line).map_err(|cause| {
            let error = Error::usage(format!("line {} of `{shown}` is not a recorded request", index + 1));
            error.because(cause).help("record requests with the middleware `record`")
        })?;
        let Some(body) = content(&recorded.body) else {
            summary.skipped += 1;
            continue;
        };
        let now = send(&session, &recorded, body)?;
        let changes = changes(&recorded.response, &now, &replay.ignore);
        if changes.is_empty() {
            summary.same += 1;
            continue;
        }
        summary.different += 1;
        let Recorded { method, target, .. } = recorded;
        found(Difference { line: index + 1, method, target, changes })?;
    }
    Ok(summary)
}

/// The whole body, if it was recorded.
fn content(body: &RecordedBody) -> Option<Vec<u8>> {
    match (&body.text, &body.base64) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).ok(),
        (None, None) => (body.length == 0).then(Vec::new),
    }
}

fn send(session: &AppSession, recorded: &Recorded, body: Vec<u8>) -> Result<RecordedResponse> {
    let fields = recorded.headers.iter().filter(|(name, _)| *name != "content-length");
    let headers =
        fields.flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}")));
    let asked = AppRequest {
        method: recorded.method.clone(),
        path: recorded.target.clone(),
        headers: headers.collect(),
        body: body.into(),
        ..AppRequest::default()
    };
    let mut response =
        RecordedResponse { status: 0, headers: BTreeMap::new(), body: RecordedBody::default() };
    let mut bytes = Vec::new();
    session.ask(&asked, &mut |part| {
        match part {
            ReceivedPart::Head(head) => {
                response.status = head.status().as_u16();
                for (name, value) in head.headers() {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    response.headers.entry(name.to_string()).or_default().push(value);
                }
            }
            ReceivedPart::Data(data) => bytes.extend_from_slice(data),
        }
        Ok(())
    })?;
    response.body = RecordedBody {
        length: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        text: String::from_utf8(bytes).ok(),
        base64: None,
    };
    Ok(response)
}

/// How a response differs from the recorded one.
fn changes(recorded: &RecordedResponse, now: &RecordedResponse, ignore: &[String]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, recorded: String, now: String| {
        if recorded != now {
            changes.push(Change { what: what.to_owned(), recorded, now });
        }
    };
    compare("status", recorded.status.to_string(), now.status.to_string());
    let mut names: Vec<_> = recorded.headers.keys().chain(now.headers.keys()).collect();
    names.sort();
    names.dedup();
    // A recording without credentials lacks these fields.
    let hidden = |name: &str| !recorded.headers.contains_key(name) && crate::config::is_secret_field(name);
    let ignored =
        |name: &str| IGNORED.contains(&name) || ignore.iter().any(|other| other.eq_ignore_ascii_case(name));
    for name in names.into_iter().filter(|name| !ignored(name) && !hidden(name)) {
        let value = |headers: &BTreeMap<String, Vec<String>>| {
            headers.get(name).map_or(String::new(), |all| all.join(", "))
        };
        compare(name, value(&recorded.headers), value(&now.headers));
    }
    if recorded.body.sha256 != now.body.sha256 || recorded.body.length != now.body.length {
        let shown = |body: &RecordedBody| match &body.text {
            Some(text) => text.clone(),
            None => format!("{} bytes, SHA-256 {}", body.length, body.sha256),
        };
        let (recorded, now) = (shown(&recorded.body), shown(&now.body));
        changes.push(Change { what: "body".into(), recorded, now });
    }
    changes
}

impl Difference {
    /// The difference for people: the changed lines of a body only, with one line around them.
    pub fn text(&self) -> String {
        let mut text = format!("{} {} (line {})\n", self.method, self.target, self.line);
        for Change { what, recorded, now } in &self.changes {
            if what == "body" {
                let diff = TextDiff::from_lines(recorded, now);
                text += "  body:\n";
                for line in diff.unified_diff().context_radius(1).to_string().lines() {
                    text += &format!("    {line}\n");
                }
            } else {
                text += &format!("  {what}: {} → {}\n", or_none(recorded), or_none(now));
            }
        }
        text
    }
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}
