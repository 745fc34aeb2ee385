//! What is logged of a request, and how a line of each format reads.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{HeaderValue, REFERER, USER_AGENT};
use http::{Method, Uri, Version};
use serde_json::json;

use super::Format;
use crate::body::Request;
use crate::environ::{Environ, RequestId};
use crate::middleware::secret::masked;

/// The facts of one request. Header fields with secrets have no place in it.
#[derive(Debug)]
pub(super) struct Record {
    client: Option<IpAddr>,
    host: Option<Arc<str>>,
    script_name: Arc<str>,
    pub(super) user: Option<Arc<str>>,
    pub(super) id: Option<Arc<str>>,
    time: SystemTime,
    method: Method,
    uri: Uri,
    version: Version,
    pub(super) status: u16,
    referer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
}

impl Record {
    /// What is known before the answer; the status is 499 until there is one.
    pub(super) fn of(request: &Request, time: SystemTime) -> Record {
        let environ = request.extensions().get::<Environ>();
        Record {
            client: environ.and_then(|environ| environ.client),
            host: environ.map(|environ| environ.host.clone()),
            script_name: environ.map_or_else(|| "".into(), |environ| environ.script_name.clone()),
            user: None,
            id: request.extensions().get::<RequestId>().map(|id| id.0.clone()),
            time,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            status: 499,
            referer: request.headers().get(REFERER).cloned(),
            agent: request.headers().get(USER_AGENT).cloned(),
        }
    }

    /// One line with its line break.
    pub(super) fn line(&self, format: Format, bytes: u64, took: Duration) -> String {
        let target = format!("{}{}", self.script_name, self.uri.path_and_query().map_or("/", |t| t.as_str()));
        let target = masked(&target);
        let referer = self.referer.as_ref().map(|referer| masked(&text(referer)));
        let agent = self.agent.as_ref().map(text);
        if format == Format::Json {
            let line = json!({
                "time": humantime::format_rfc3339_micros(self.time).to_string(),
                "client": self.client,
                "user": self.user.as_deref(),
                "host": self.host.as_deref(),
                "method": self.method.as_str(),
                "target": target,
                "version": format!("{:?}", self.version),
                "status": self.status,
                "bytes": bytes,
                "micros": took.as_micros() as u64,
                "referer": referer,
                "user_agent": agent,
                "request_id": self.id.as_deref(),
            });
            return format!("{line}\n");
        }
        let mut line = String::with_capacity(256);
        let sent = if bytes == 0 { "-".to_owned() } else { bytes.to_string() };
        match self.client {
            Some(client) => drop(write!(line, "{client}")),
            None => line.push('-'),
        }
        line += " - ";
        escape(&mut line, self.user.as_deref().unwrap_or("-"), true);
        let _ = write!(line, " [{}] \"{} ", clf_time(self.time), self.method);
        escape(&mut line, &target, false);
        let _ = write!(line, " {:?}\" {} {sent}", self.version, self.status);
        if format == Format::Combined {
            for field in [referer.as_deref(), agent.as_deref()] {
                line += " \"";
                escape(&mut line, field.unwrap_or("-"), false);
                line.push('"');
            }
        }
        line.push('\n');
        line
    }
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// Appends `text` so that it cannot end its field or its line: quotes, backslashes, control characters and, with
/// `spaces`, spaces are written `\xNN`.
fn escape(line: &mut String, text: &str, spaces: bool) {
    for c in text.chars() {
        if c == '"' || c == '\\' || c.is_control() || (spaces && c == ' ') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(line, "\\x{byte:02x}");
            }
        } else {
            line.push(c);
        }
    }
}

/// `10/Oct/2000:13:55:36 +0000`.
fn clf_time(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // `2000-10-10T13:55:36Z`
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let month: usize = text.get(5..7).and_then(|month| month.parse().ok()).unwrap_or(1);
    let month = MONTHS[(month - 1) % 12];
    let part = |range| text.get(range).unwrap_or("-");
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_fields_cannot_be_forged() {
        let check = |text: &str, spaces, expected: &str| {
            let mut line = String::new();
            escape(&mut line, text, spaces);
            assert_eq!(line, expected);
        };
        check("a b\"c\\d\ne\u{85}", false, "a b\\x22c\\x5cd\\x0ae\\xc2\\x85");
        check("a b", true, "a\\x20b");
    }

    #[test]
    fn times() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136);
        assert_eq!(clf_time(time), "10/Oct/2000:13:55:36 +0000");
    }
}
