//! Request targets that an upstream names in a response field: percent-encoded, or raw as most frameworks
//! write them.

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// The characters that are escaped in a path: everything but `pchar` and `/` (RFC 3986 section 3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// The characters that are escaped where existing escapes are kept: in a query, or in a whole target.
const RAW: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');

/// The path of a request with its query, at least `/`.
pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// Escapes the characters that must not be raw in a target; existing escapes are kept.
pub(super) fn escaped(target: &str) -> String {
    percent_encode(target.as_bytes(), RAW).to_string()
}

/// A path and its query, both in the form that requests have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestTarget {
    path: String,
    query: Option<String>,
}

impl RequestTarget {
    /// Parses a path that may be percent-encoded or raw, up to the first `?`, followed by a query. The path
    /// is decoded once, as in nginx, so a file `50%25 off.pdf` needs its `%25` either way.
    /// # Errors
    /// Why a request behind the gate could not have this path.
    pub(super) fn parse(text: &[u8]) -> Result<RequestTarget, &'static str> {
        let (path, query) = match text.iter().position(|byte| *byte == b'?') {
            Some(mark) => (&text[..mark], Some(&text[mark + 1..])),
            None => (text, None),
        };
        if path.first() != Some(&b'/') {
            return Err("it does not begin with `/`");
        }
        let decoded = percent_decode(path).decode_utf8().map_err(|_| "it is not UTF-8")?;
        if decoded.chars().any(char::is_control) {
            return Err("it contains a control character");
        }
        if decoded.contains('\\') {
            return Err("it contains a backslash");
        }
        if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("it contains a dot segment");
        }
        Ok(RequestTarget {
            path: percent_encode(decoded.as_bytes(), PATH).to_string(),
            query: query.map(|query| percent_encode(query, RAW).to_string()),
        })
    }

    /// The path, percent-encoded.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The part below `prefix`, a path in the same form without a trailing slash.
    pub(super) fn below(&self, prefix: &str) -> Option<Uri> {
        let rest = self.path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'))?;
        match &self.query {
            Some(query) => format!("{rest}?{query}").parse().ok(),
            None => rest.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_and_encoded_paths_are_the_same() {
        let check = |text: &str, expected: &str| {
            let uri = RequestTarget::parse(text.as_bytes()).unwrap().below("").unwrap();
            assert_eq!(uri.to_string(), expected, "{text}");
        };
        check("/a b.pdf", "/a%20b.pdf");
        check("/a%20b.pdf", "/a%20b.pdf");
        check("/Größe.pdf", "/Gr%C3%B6%C3%9Fe.pdf");
        check("/Gr%c3%b6%C3%9fe.pdf", "/Gr%C3%B6%C3%9Fe.pdf");
        check("/100%.pdf", "/100%25.pdf");
        check("/100%25.pdf", "/100%25.pdf");
        check("/a#1[2].txt", "/a%231%5B2%5D.txt");
        check("/a?b=c d&e=%20#f", "/a?b=c%20d&e=%20%23f");
        check("/%61", "/a");
    }
}
