//! What is logged of a request, and how a line of each format reads.

use std::borrow::Cow;
use std::cell::RefCell;
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
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let target = match &*self.script_name {
            "" => Cow::Borrowed(target),
            mount => Cow::Owned(format!("{mount}{target}")),
        };
        let target = without_secrets(target);
        let referer = self.referer.as_ref().map(|referer| without_secrets(text(referer)));
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
        // Written for every request, so without the machinery of formats.
        let mut line = String::with_capacity(256);
        match self.client {
            Some(IpAddr::V4(client)) => {
                for (index, octet) in client.octets().into_iter().enumerate() {
                    if index > 0 {
                        line.push('.');
                    }
                    number(&mut line, octet.into());
                }
            }
            Some(client) => drop(write!(line, "{client}")),
            None => line.push('-'),
        }
        line += " - ";
        escape(&mut line, self.user.as_deref().unwrap_or("-"), true);
        line += " [";
        clf_time(&mut line, self.time);
        line += "] \"";
        line += self.method.as_str();
        line.push(' ');
        escape(&mut line, &target, false);
        line += match self.version {
            Version::HTTP_10 => " HTTP/1.0\" ",
            Version::HTTP_11 => " HTTP/1.1\" ",
            Version::HTTP_2 => " HTTP/2.0\" ",
            _ => " HTTP\" ",
        };
        number(&mut line, self.status.into());
        line.push(' ');
        match bytes {
            0 => line.push('-'),
            bytes => number(&mut line, bytes),
        }
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

fn without_secrets(text: Cow<'_, str>) -> Cow<'_, str> {
    // Only a query has any.
    if text.contains('?') { Cow::Owned(masked(&text)) } else { text }
}

/// Appends decimal digits.
fn number(line: &mut String, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits[start..].iter().for_each(|digit| line.push(char::from(*digit)));
}

/// Appends `text` so that it cannot end its field or its line: quotes, backslashes, control characters and, with
/// `spaces`, spaces are written `\xNN`.
fn escape(line: &mut String, text: &str, spaces: bool) {
    let harmless =
        |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\".contains(&byte) || byte == b' ' && !spaces;
    if text.bytes().all(harmless) {
        line.push_str(text);
        return;
    }
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

/// Appends `10/Oct/2000:13:55:36 +0000`.
fn clf_time(line: &mut String, time: SystemTime) {
    thread_local! {
        /// The last second that was written: the next line is nearly always of the same.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(known, text)| {
        if *known != second {
            (*known, *text) = (second, clf_text(time));
        }
        line.push_str(text);
    });
}

fn clf_text(time: SystemTime) -> String {
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
        let check = |seconds, expected: &str| {
            let mut line = String::new();
            clf_time(&mut line, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(line, expected);
        };
        check(971_186_136, "10/Oct/2000:13:55:36 +0000");
        check(971_186_136, "10/Oct/2000:13:55:36 +0000");
        check(971_186_137, "10/Oct/2000:13:55:37 +0000");
    }

    #[test]
    fn numbers() {
        let check = |value: u64| {
            let mut line = String::new();
            number(&mut line, value);
            assert_eq!(line, value.to_string());
        };
        [0, 7, 10, 200, 1_048_576, u64::MAX].into_iter().for_each(check);
    }
}
