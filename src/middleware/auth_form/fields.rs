//! What a form sends: its fields, and the path to return to.

use std::collections::HashMap;

use http_body_util::{BodyExt, Limited};
use percent_encoding::percent_decode_str;

use crate::body::Body;

/// Maximum length of a form, in bytes.
const LONGEST: usize = 16 << 10;

/// The fields of a body of the type `application/x-www-form-urlencoded`; `None` if it is too long or cut off.
/// # Source
/// WHATWG URL, section 5.1.
pub(super) async fn read(body: Body) -> Option<HashMap<String, String>> {
    let bytes = Limited::new(body, LONGEST).collect().await.ok()?.to_bytes();
    Some(parse(std::str::from_utf8(&bytes).ok()?))
}

pub(super) fn parse(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The path, if it is one of this site: a browser takes `//host`, `/\host` and paths with control characters for other
/// addresses.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (plain && !rest.starts_with('/')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let fields = parse("user=J%C3%BCrgen+K&password=a%26b%3D%2B&empty=&none&a=1&a=2");
        let get = |name: &str| fields.get(name).map(String::as_str);
        assert_eq!(get("user"), Some("Jürgen K"));
        assert_eq!(get("password"), Some("a&b=+"));
        assert_eq!((get("empty"), get("none"), get("a"), get("b")), (Some(""), Some(""), Some("2"), None));
    }

    #[test]
    fn only_own_paths_are_returned_to() {
        for own in ["/", "/a?b=c&d=%2F", "/a//b"] {
            assert_eq!(own_path(own), Some(own));
        }
        for other in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a b",
            "/ü",
        ] {
            assert_eq!(own_path(other), None, "{other}");
        }
    }
}
