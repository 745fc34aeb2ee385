//! The path of a request, decoded and normalized once.

use std::borrow::Cow;

/// Why a path is refused.
pub type PathError = &'static str;

/// The fault that the option `encoded_slashes` governs.
pub const ENCODED_SLASH: PathError = "an encoded slash in the path";

/// Whether a byte may stand unencoded in a path (RFC 3986 section 3.3, `pchar` and `/`).
const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') || sub_delim(byte)
}

const fn sub_delim(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Classes of bytes, so that the usual path costs one pass and no allocation.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = plain(byte as u8);
        byte += 1;
    }
    table
};

/// Brings an absolute path to its one form: nothing is escaped that needs no escape, escapes are in upper
/// case, and the decoded path is UTF-8 without control characters.
///
/// Refuses dot segments instead of resolving them, because no client sends them and a path must not leave its
/// mount. Also refuses `%2f` and `%5c` unless `encoded_slashes`, backslashes, NUL and control characters, and
/// broken escapes.
/// # Errors
/// The rule that the path breaks.
/// # Source
/// RFC 3986 sections 2.1, 3.3, 6.2.2.
pub fn normalise(path: &str, encoded_slashes: bool) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err("the path does not begin with a slash");
    }
    let mut before = b'/';
    let mut usual = true;
    for &byte in bytes {
        // A dot after a slash may begin a dot segment: `rewrite` decides.
        usual &= PLAIN[byte as usize] && !(byte == b'.' && before == b'/');
        before = byte;
    }
    if usual { Ok(Cow::Borrowed(path)) } else { rewrite(bytes, encoded_slashes).map(Cow::Owned) }
}

fn rewrite(bytes: &[u8], encoded_slashes: bool) -> Result<String, PathError> {
    let mut form = String::with_capacity(bytes.len() + 8);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let (byte, escaped, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, true, tail),
                _ => return Err("an escape is not two hexadecimal digits"),
            },
            (b'%', _) => return Err("an escape is not two hexadecimal digits"),
            (byte, tail) => (*byte, false, tail),
        };
        rest = tail;
        match byte {
            0 => return Err("NUL in the path"),
            1..=31 | 127 => return Err("a control character in the path"),
            b'\\' if !escaped => return Err("a backslash in the path"),
            b'/' | b'\\' if escaped && !encoded_slashes => return Err(ENCODED_SLASH),
            _ => {}
        }
        let bare = if escaped { unreserved(byte) } else { plain(byte) };
        if bare {
            form.push(byte as char);
        } else {
            form.push('%');
            for nibble in [byte >> 4, byte & 15] {
                form.push(char::from_digit(nibble.into(), 16).map_or('0', |d| d.to_ascii_uppercase()));
            }
        }
        decoded.push(byte);
    }
    if decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b"..")) {
        return Err("a dot segment in the path");
    }
    match std::str::from_utf8(&decoded) {
        // C1 controls are control characters too, once decoded.
        Ok(text) if text.chars().any(char::is_control) => Err("a control character in the path"),
        Ok(_) => Ok(form),
        Err(_) => Err("the decoded path is not UTF-8"),
    }
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(path: &str, expected: Result<&str, PathError>) {
        let found = normalise(path, false);
        assert_eq!(found.as_deref().map_err(|fault| *fault), expected, "{path:?}");
    }

    #[test]
    fn paths() {
        check("/", Ok("/"));
        check("/a/b.c~d/-_", Ok("/a/b.c~d/-_"));
        check("/a//b", Ok("/a//b"));
        check("/%41%2d%7e", Ok("/A-~"));
        check("/a%20b%3f%25", Ok("/a%20b%3F%25"));
        check("/%c3%a4", Ok("/%C3%A4"));
        check("/ä", Ok("/%C3%A4"));
        check("/a|b\"{}", Ok("/a%7Cb%22%7B%7D"));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/...", Ok("/..."));
        check("/a..b", Ok("/a..b"));
        check("/a;b=c@d:e", Ok("/a;b=c@d:e"));
        for path in ["/.", "/..", "/a/../b", "/a/./b", "/%2e%2E/", "/a/%2e", "/.%2e/x", "/a/.."] {
            check(path, Err("a dot segment in the path"));
        }
        for path in ["/%2f", "/a%2Fb", "/%5c", "/..%5c", "/%2f.."] {
            check(path, Err("an encoded slash in the path"));
        }
        for path in ["/%", "/%4", "/%zz", "/%+1", "/a%2"] {
            check(path, Err("an escape is not two hexadecimal digits"));
        }
        check("/a\\b", Err("a backslash in the path"));
        check("/a%00", Err("NUL in the path"));
        for path in ["/%0a", "/%0d%0aX:y", "/%1f", "/%7F", "/%c2%85"] {
            check(path, Err("a control character in the path"));
        }
        for path in ["/%ff", "/%c0%ae%c0%ae", "/%c3", "/%ed%a0%80"] {
            check(path, Err("the decoded path is not UTF-8"));
        }
        check("", Err("the path does not begin with a slash"));
        check("*", Err("the path does not begin with a slash"));
        check("a/b", Err("the path does not begin with a slash"));
    }

    #[test]
    fn encoded_slashes_where_allowed() {
        assert_eq!(normalise("/a%2fb%5c", true).unwrap(), "/a%2Fb%5C");
        assert_eq!(normalise("/a%2f..%2fb", true), Err("a dot segment in the path"));
        assert_eq!(normalise("/a%5c..", true), Err("a dot segment in the path"));
    }

    proptest! {
        #[test]
        fn nothing_climbs(path in "/([a.]|/|%2e|%2E|%2f|%5c|%25|\\\\|%c0%ae|%00|ä|%){0,12}", slashes: bool) {
            let Ok(form) = normalise(&path, slashes) else { return Ok(()) };
            let decoded = percent_encoding::percent_decode_str(&form).decode_utf8().unwrap().into_owned();
            let climbs = decoded.split(['/', '\\']).any(|segment| segment == ".." || segment == ".");
            prop_assert!(!climbs, "{form}");
            prop_assert!(!decoded.contains('\0'));
            prop_assert_eq!(normalise(&form, slashes).unwrap(), &*form, "the form is stable");
            prop_assert!(form.parse::<http::Uri>().is_ok());
        }

        #[test]
        fn any_text(path: String, slashes: bool) {
            if let Ok(form) = normalise(&path, slashes) {
                prop_assert!(form.is_ascii());
                prop_assert!(form.parse::<http::Uri>().is_ok());
            }
        }
    }
}
