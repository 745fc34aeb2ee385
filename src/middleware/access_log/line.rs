//! How a line of the text formats reads.
//!
//! What is known of a request before its answer is written at once into one text; the answer adds what stands between
//! its parts. So a request is kept as its line, and nothing of it is cloned.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use http::header::{HeaderValue, REFERER, USER_AGENT};
use http::{HeaderName, Version};

use super::{Answered, Format};
use crate::body::Request;
use crate::environ::Environ;
use crate::middleware::secret::masked;

/// A line without what the answer tells. Header fields with secrets have no place in it.
pub(super) struct Line {
    text: String,
    /// Where the user's name belongs.
    user: usize,
    /// Where status and length belong.
    status: usize,
}

impl Line {
    pub(super) fn of(request: &Request, time: SystemTime, format: Format) -> Line {
        let environ = request.extensions().get::<Environ>();
        let mut text = String::with_capacity(256);
        client(&mut text, environ.and_then(|environ| environ.client));
        text += " - ";
        let user = text.len();
        text += " [";
        clf_time(&mut text, time);
        text += "] \"";
        text += request.method().as_str();
        text.push(' ');
        escape(&mut text, &without_secrets(target(request)), false);
        text += match request.version() {
            Version::HTTP_10 => " HTTP/1.0\" ",
            Version::HTTP_11 => " HTTP/1.1\" ",
            Version::HTTP_2 => " HTTP/2.0\" ",
            _ => " HTTP\" ",
        };
        let status = text.len();
        if format == Format::Combined {
            field(&mut text, referer(request).as_deref());
            field(&mut text, agent(request).as_deref());
        }
        text.push('\n');
        Line { text, user, status }
    }

    /// The whole line with its line break, in parts.
    pub(super) fn parts(&mut self, answered: &Answered) -> [&[u8]; 5] {
        // Behind the rest there is room for what comes between.
        let tail_end = self.text.len();
        number(&mut self.text, answered.status.into());
        self.text.push(' ');
        match answered.bytes {
            0 => self.text.push('-'),
            bytes => number(&mut self.text, bytes),
        }
        let status_end = self.text.len();
        escape(&mut self.text, answered.user.as_deref().unwrap_or("-"), true);
        let text = &self.text;
        [
            &text[..self.user],
            &text[status_end..],
            &text[self.user..self.status],
            &text[tail_end..status_end],
            &text[self.status..tail_end],
        ]
        .map(str::as_bytes)
    }
}

/// The target as the client sent it, with the prefix that mounts have taken off.
pub(super) fn target(request: &Request) -> Cow<'_, str> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    match request.extensions().get::<Environ>().map_or("", |environ| &*environ.script_name) {
        "" => target.into(),
        mount => format!("{mount}{target}").into(),
    }
}

pub(super) fn referer(request: &Request) -> Option<Cow<'_, str>> {
    text(request, REFERER).map(without_secrets)
}

pub(super) fn agent(request: &Request) -> Option<Cow<'_, str>> {
    text(request, USER_AGENT)
}

fn text(request: &Request, name: HeaderName) -> Option<Cow<'_, str>> {
    request.headers().get(name).map(HeaderValue::as_bytes).map(String::from_utf8_lossy)
}

pub(super) fn without_secrets(text: Cow<'_, str>) -> Cow<'_, str> {
    // Only a query has any.
    if text.contains('?') { Cow::Owned(masked(&text)) } else { text }
}

fn client(line: &mut String, client: Option<IpAddr>) {
    match client {
        Some(IpAddr::V4(client)) => {
            for (index, octet) in client.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push('.');
                }
                number(line, octet.into());
            }
        }
        Some(client) => drop(write!(line, "{client}")),
        None => line.push('-'),
    }
}

fn field(line: &mut String, value: Option<&str>) {
    line.push_str(" \"");
    escape(line, value.unwrap_or("-"), false);
    line.push('"');
}

/// Appends decimal digits, without the machinery of formats: every request writes six numbers.
fn number(line: &mut String, number: u64) {
    line.push_str(itoa::Buffer::new().format(number));
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
    use std::time::Duration;

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
