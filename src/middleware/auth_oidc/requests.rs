//! What a request asks for.

use http::Method;
use http::header::{ACCEPT, HeaderName};
use http::request::Parts as Head;
use openidconnect::url::form_urlencoded;

use crate::middleware::csrf::is_handshake;

/// Longest path to come back to, in bytes: it is part of a cookie.
const NEXT_LIMIT: usize = 512;

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether a browser opens a page, so that a redirect makes sense.
pub(super) fn is_navigation(request: &Head) -> bool {
    let headers = &request.headers;
    let reads =
        matches!(request.method, Method::GET | Method::HEAD) && !is_handshake(&request.method, headers);
    let html = || {
        headers
            .get_all(ACCEPT)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("text/html")))
    };
    let page = match headers.get(FETCH_MODE) {
        Some(mode) => mode == "navigate" && headers.get(FETCH_DEST).is_none_or(|dest| dest == "document"),
        None => html(),
    };
    reads && page
}

/// A path of this site, or `/` for anything else: `//evil.example` and `/\evil.example` lead to other sites.
pub(super) fn own_path(text: &str) -> &str {
    let bytes = text.as_bytes();
    let own = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
    let plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    if own && plain && bytes.len() <= NEXT_LIMIT { text } else { "/" }
}

/// A parameter of the query, decoded. `None` if it is repeated.
pub(super) fn parameter(request: &Head, name: &str) -> Option<String> {
    let query = request.uri.query()?;
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found == name);
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::body::Request;

    #[test]
    fn only_own_paths_are_returned_to() {
        for (text, expected) in [
            ("/a/b?c=d", "/a/b?c=d"),
            ("/", "/"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/a\\b", "/"),
            ("https://evil.example/", "/"),
            ("/\t/evil.example", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            assert_eq!(own_path(text), expected, "{text:?}");
        }
        let long = format!("/{}", "a".repeat(NEXT_LIMIT));
        assert_eq!(own_path(&long), "/");
    }

    #[test]
    fn only_browsers_that_open_a_page_are_redirected() {
        let navigates = |method: &str, fields: &[(&'static str, &'static str)]| {
            let mut request = Request::default();
            *request.method_mut() = method.parse().unwrap();
            for (name, value) in fields {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            is_navigation(&request.into_parts().0)
        };
        let html = ("accept", "text/html,*/*;q=0.8");
        assert!(navigates("GET", &[html]) && navigates("HEAD", &[html]));
        assert!(navigates("GET", &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
        for (method, fields) in [
            ("POST", &[html][..]),
            ("GET", &[]),
            ("GET", &[("accept", "application/json")]),
            ("GET", &[html, ("sec-fetch-mode", "cors")]),
            ("GET", &[html, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]),
            ("GET", &[html, ("upgrade", "websocket")]),
        ] {
            assert!(!navigates(method, fields), "{method} {fields:?}");
        }
    }
}
