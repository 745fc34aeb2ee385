//! Lines in the text formats.
//!
//! What is known before the response is written into one text at once; the response's values are inserted
//! later. So a request is kept as its line, and nothing of it is cloned.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, Version};

use super::format::{Answered, LineFormat};
use crate::body::{Refused, Request};
use crate::environ::{Environ, RemoteUser};
use crate::escape::is_harmful;
use crate::middleware::secret::masked;

/// A line without the response's values. Header fields that hold secrets are never included.
pub(super) struct AccessLine {
    text: Vec<u8>,
    /// Where the user's name begins and ends.
    user: (usize, usize),
    /// Where status and length are inserted.
    status: usize,
}

thread_local! {
    /// The buffer of a written line, for reuse.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// The buffers of longer lines are freed at once, in bytes.
const SPARE_LIMIT: usize = 2048;

impl Drop for AccessLine {
    fn drop(&mut self) {
        if self.text.capacity() <= SPARE_LIMIT {
            SPARE.set(std::mem::take(&mut self.text));
        }
    }
}

impl AccessLine {
    pub(super) fn of(request: &Request, came: Instant, format: LineFormat) -> AccessLine {
        let extensions = request.extensions();
        let environ = extensions.get::<Environ>();
        let mut text = SPARE.take();
        text.clear();
        text.reserve(256);
        client(&mut text, environ.and_then(|environ| environ.client));
        text.extend_from_slice(b" - ");
        let user = text.len();
        match extensions.get::<RemoteUser>() {
            Some(user) => escape(&mut text, user.name.as_bytes(), true),
            None => text.push(b'-'),
        }
        let user = (user, text.len());
        clf_time(&mut text, came);
        text.extend_from_slice(request.method().as_str().as_bytes());
        text.push(b' ');
        escape(&mut text, target(request, environ).as_bytes(), false);
        text.extend_from_slice(match request.version() {
            Version::HTTP_10 => b" HTTP/1.0\" ",
            Version::HTTP_11 => b" HTTP/1.1\" ",
            Version::HTTP_2 => b" HTTP/2.0\" ",
            _ => b" HTTP\" ",
        });
        let status = text.len();
        if format == LineFormat::Combined {
            fields(&mut text, request.headers());
        }
        text.push(b'\n');
        AccessLine { text, user, status }
    }

    pub(super) fn of_refused(request: &Refused<'_>, format: LineFormat) -> AccessLine {
        let head = &request.head;
        let mut text = SPARE.take();
        text.clear();
        client(&mut text, request.client);
        text.extend_from_slice(b" - ");
        let user = (text.len(), text.len() + 1);
        text.push(b'-');
        clf_time(&mut text, request.came);
        match &*head.method {
            "" => text.push(b'-'),
            method => escape(&mut text, method.as_bytes(), false),
        }
        if !head.target.is_empty() {
            text.push(b' ');
            escape(&mut text, without_secrets(Cow::Borrowed(&head.target)).as_bytes(), false);
        }
        text.extend_from_slice(match head.version {
            Some(Version::HTTP_10) => b" HTTP/1.0\" ",
            Some(Version::HTTP_11) => b" HTTP/1.1\" ",
            Some(Version::HTTP_2) => b" HTTP/2.0\" ",
            _ => b"\" ",
        });
        let status = text.len();
        if format == LineFormat::Combined {
            match head.headers {
                Some(headers) => fields(&mut text, headers),
                None => text.extend_from_slice(b" \"-\" \"-\""),
            }
        }
        text.push(b'\n');
        AccessLine { text, user, status }
    }

    /// Passes the whole line with its line break to `take`, in parts.
    pub(super) fn whole(&self, answered: &Answered<'_>, take: impl FnOnce(&[&[u8]])) {
        let (text, user) = (&self.text, self.user);
        let mut status = itoa::Buffer::new();
        let status = status.format(answered.status).as_bytes();
        let mut length = itoa::Buffer::new();
        let length = match answered.bytes {
            0 => "-",
            bytes => length.format(bytes),
        }
        .as_bytes();
        let Answered { user: name, reason, .. } = answered;
        if name.is_none() && reason.is_none() {
            return take(&[&text[..self.status], status, b" ", length, &text[self.status..]]);
        }
        let mut escaped = Vec::new();
        match name {
            Some(name) => escape(&mut escaped, name.as_bytes(), true),
            None => escaped.extend_from_slice(&text[user.0..user.1]),
        }
        let mut last = text[self.status..text.len() - 1].to_vec();
        if let Some(reason) = reason {
            last.extend_from_slice(b" \"");
            escape(&mut last, reason.as_bytes(), false);
            last.push(b'"');
        }
        last.push(b'\n');
        let (before, after) = (&text[..user.0], &text[user.1..self.status]);
        take(&[before, &escaped, after, status, b" ", length, &last]);
    }
}

/// The target as the client sent it, with the prefix that mounts removed, and without secrets.
pub(super) fn target<'a>(request: &'a Request, environ: Option<&Environ>) -> Cow<'a, str> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let whole = match environ.map_or("", |environ| &*environ.script_name) {
        "" => Cow::Borrowed(target),
        mount => format!("{mount}{target}").into(),
    };
    match request.uri().query() {
        None => whole,
        Some(_) => without_secrets(whole),
    }
}

/// Appends ` "REFERER" "USER AGENT"`.
fn fields(text: &mut Vec<u8>, headers: &HeaderMap) {
    let (referer, agent) = named(headers);
    text.extend_from_slice(b" \"");
    match referer {
        Some(value) if value.contains(&b'?') => {
            escape(text, without_secrets(String::from_utf8_lossy(value)).as_bytes(), false);
        }
        Some(value) => escape(text, value, false),
        None => text.push(b'-'),
    }
    text.extend_from_slice(b"\" \"");
    match agent {
        Some(value) => escape(text, value, false),
        None => text.push(b'-'),
    }
    text.push(b'"');
}

/// `Referer` and `User-Agent` as received, in one pass over the fields: cheaper than two lookups.
pub(super) fn named(headers: &HeaderMap) -> (Option<&[u8]>, Option<&[u8]>) {
    let (mut referer, mut agent) = (None, None);
    for (name, value) in headers {
        match *name {
            REFERER => referer = referer.or(Some(value.as_bytes())),
            USER_AGENT => agent = agent.or(Some(value.as_bytes())),
            _ => {}
        }
    }
    (referer, agent)
}

pub(super) fn without_secrets(text: Cow<'_, str>) -> Cow<'_, str> {
    // Only a query can contain secrets.
    if text.contains('?') { Cow::Owned(masked(&text)) } else { text }
}

fn client(line: &mut Vec<u8>, client: Option<IpAddr>) {
    match client {
        Some(IpAddr::V4(client)) => {
            let mut text = [b'.'; 15];
            let mut length = 0;
            for octet in client.octets() {
                for (least, digit) in [(100, octet / 100), (10, octet / 10 % 10), (0, octet % 10)] {
                    if octet >= least {
                        text[length] = b'0' + digit;
                        length += 1;
                    }
                }
                length += 1; // the dot
            }
            line.extend_from_slice(&text[..length - 1]);
        }
        Some(client) => drop(write!(line, "{client}")),
        None => line.push(b'-'),
    }
}

/// Appends `text` so that it cannot end its field or its line: quotes, backslashes, control characters and,
/// with `spaces`, spaces are written as `\xNN`, and bytes that are not UTF-8 as U+FFFD.
fn escape(line: &mut Vec<u8>, text: &[u8], spaces: bool) {
    let first = if spaces { b'!' } else { b' ' };
    // No early exit, so that the compiler can check many bytes at a time.
    let harm = |byte: u8| (byte < first) | (byte > b'~') | (byte == b'"') | (byte == b'\\');
    if !text.iter().fold(false, |found, byte| found | harm(*byte)) {
        line.extend_from_slice(text);
        return;
    }
    for c in String::from_utf8_lossy(text).chars() {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if c == '"' || c == '\\' || is_harmful(c) || (spaces && c == ' ') {
            for byte in bytes {
                let _ = write!(line, "\\x{byte:02x}");
            }
        } else {
            line.extend_from_slice(bytes);
        }
    }
}

/// The second of the last written line: the next line nearly always has the same one.
struct Second {
    /// When the next second begins.
    until: Instant,
    text: String,
}

thread_local! {
    static LAST: RefCell<Option<Second>> = const { RefCell::new(None) };
}

/// Appends ` [10/Oct/2000:13:55:36 +0000] "` for the time of day at `came`, which was just now.
fn clf_time(line: &mut Vec<u8>, came: Instant) {
    LAST.with_borrow_mut(|last| {
        let second = match last {
            Some(second) if came < second.until => second,
            _ => last.insert(Second::now()),
        };
        line.extend_from_slice(second.text.as_bytes());
    });
}

impl Second {
    fn now() -> Second {
        let (now, time) = (Instant::now(), SystemTime::now());
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
        Second { until: now + left, text: format!(" [{}] \"", clf_text(time)) }
    }
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
        let check = |text: &[u8], spaces, expected: &str| {
            let mut line = Vec::new();
            escape(&mut line, text, spaces);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        };
        check("a b\"c\\d\ne\u{85}é".as_bytes(), false, "a b\\x22c\\x5cd\\x0ae\\xc2\\x85é");
        check(b"a b", true, "a\\x20b");
        check("a\u{2028}b\u{202e}c".as_bytes(), false, "a\\xe2\\x80\\xa8b\\xe2\\x80\\xaec");
        check(b"a\xffb", false, "a\u{fffd}b");
        check(b"", false, "");
    }

    #[test]
    fn clients() {
        for address in ["0.0.0.0", "255.255.255.255", "10.9.100.99", "1.20.255.0", "2001:db8::7"] {
            let mut line = Vec::new();
            client(&mut line, address.parse().ok());
            assert_eq!(String::from_utf8(line).unwrap(), address);
        }
    }

    #[test]
    fn times() {
        let check = |seconds, expected: &str| {
            assert_eq!(clf_text(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        };
        check(971_186_136, "10/Oct/2000:13:55:36 +0000");
        check(971_186_137, "10/Oct/2000:13:55:37 +0000");
    }

    #[test]
    fn the_second_that_is_kept_ends() {
        let time = || {
            let mut line = Vec::new();
            clf_time(&mut line, Instant::now());
            String::from_utf8(line).unwrap()
        };
        let check = |before: SystemTime, line: String| {
            let around = [before, SystemTime::now()].map(|time| format!(" [{}] \"", clf_text(time)));
            assert!(around.contains(&line), "{line} is none of {around:?}");
        };
        let before = SystemTime::now();
        check(before, time());
        let over = LAST.replace(Some(Second { until: Instant::now(), text: "over".into() })).unwrap();
        assert!(over.until < Instant::now() + Duration::from_secs(1));
        check(before, time());
        LAST.set(Some(Second { until: Instant::now() + Duration::from_secs(60), text: "kept".into() }));
        assert_eq!(time(), "kept");
    }

    #[test]
    fn the_answer_stands_where_it_belongs() {
        let line = AccessLine {
            text: b"::1 - - [now] \"GET / HTTP/1.1\"  \"-\"\n".to_vec(),
            user: (6, 7),
            status: 31,
        };
        let check = |user: Option<&str>, bytes, expected: &str| {
            let answered = Answered { user: user.map(Into::into), status: 200, bytes, ..Answered::default() };
            let mut whole = Vec::new();
            line.whole(&answered, |parts| whole = parts.concat());
            assert_eq!(String::from_utf8(whole).unwrap(), expected);
        };
        check(None, 0, "::1 - - [now] \"GET / HTTP/1.1\" 200 - \"-\"\n");
        check(
            Some("a b"),
            u64::MAX,
            "::1 - a\\x20b [now] \"GET / HTTP/1.1\" 200 18446744073709551615 \"-\"\n",
        );
    }
}
