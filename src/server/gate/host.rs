//! The single effective host of a request.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::codec::host_name::to_ascii;

/// Longest host name in bytes, RFC 1035 section 2.3.4.
const NAME_LIMIT_BYTES: usize = 253;

/// A checked host with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAndPort {
    /// Lower case, an IPv6 address in brackets, no trailing dot.
    pub name: String,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// Parses a `Host` field or an authority: a name or an address, and an optional port.
///
/// Stricter than the grammar: names are letters, digits, `-` and `_` between single dots. Percent signs, user
/// information and everything else that has confused a server are refused: `None`.
/// # Source
/// RFC 9110 section 7.2, RFC 3986 section 3.2.2.
pub fn parse_host(value: &[u8]) -> Option<HostAndPort> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (parse_name(&text[..end])?, &text[end..])
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some(HostAndPort { name, port })
}

fn parse_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels_hold = name.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    if !labels_hold || name.len() > NAME_LIMIT_BYTES {
        return None;
    }
    // If the last label is all digits, the name must be an IPv4 address (WHATWG URL, "ends in a number").
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// One entry of the allow-list `hosts`: a name, or `*.example.org` for every name below it; an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    name: String,
    below: bool,
    port: Option<u16>,
}

impl Allowed {
    /// Parses an entry; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Allowed> {
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let HostAndPort { name, port } = parse_host(to_ascii(rest)?.as_bytes())?;
        Some(Allowed { name, below, port })
    }

    /// Whether the entry allows `name` with `port`.
    pub fn allows(&self, name: &str, port: Option<u16>) -> bool {
        let named = if self.below {
            name.strip_suffix(&*self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            name == self.name
        };
        named && (self.port.is_none() || self.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: &str, expected: Option<(&str, Option<u16>)>) {
        let found = parse_host(value.as_bytes());
        let found = found.as_ref().map(|host| (host.name.as_str(), host.port));
        assert_eq!(found, expected, "{value:?}");
    }

    #[test]
    fn hosts() {
        check("Example.ORG", Some(("example.org", None)));
        check("example.org.", Some(("example.org", None)));
        check("example.org:80", Some(("example.org", Some(80))));
        check("example.org:", Some(("example.org", None)));
        check("127.0.0.1:8080", Some(("127.0.0.1", Some(8080))));
        check("[::1]", Some(("[::1]", None)));
        check("[0:0::1]:443", Some(("[::1]", Some(443))));
        check("my_service", Some(("my_service", None)));
        for wrong in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            " a",
            "a/b",
            "a\\b",
            "a@b",
            "a:b@c",
            "a%2eb",
            "a,b",
            "a:80:80",
            "a:-1",
            "a:+80",
            "a:65536",
            "a:8o",
            "[::1",
            "::1",
            "[::1]80",
            "[v1.a]",
            "[::1%25eth0]",
            "ä",
            "a\0",
            "a?b",
            "a#b",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "0x7f.1",
            ":80",
        ] {
            check(wrong, None);
        }
        check(&"a".repeat(254), None);
    }

    #[test]
    fn the_allow_list() {
        let allows = |entry: &str, name: &str, port| Allowed::parse(entry).unwrap().allows(name, port);
        assert!(allows("Example.org", "example.org", Some(1)));
        assert!(!allows("example.org:80", "example.org", Some(1)));
        assert!(!allows("example.org", "a.example.org", None));
        assert!(allows("*.example.org", "a.b.example.org", None));
        assert!(!allows("*.example.org", "example.org", None));
        assert!(!allows("*.example.org", "badexample.org", None));
        assert_eq!(Allowed::parse("*"), None);
        for entry in ["Bücher.example:80", "xn--bcher-kva.example:80", "*.bücher.example"] {
            let name =
                if entry.starts_with('*') { "a.xn--bcher-kva.example" } else { "xn--bcher-kva.example" };
            assert!(allows(entry, name, Some(80)), "{entry}");
        }
        assert_eq!(Allowed::parse("ü ü.example"), None);
    }

    proptest! {
        #[test]
        fn any_bytes(value: Vec<u8>) {
            if let Some(host) = parse_host(&value) {
                prop_assert!(!host.name.contains(".."));
                prop_assert!(!host.name.contains(['/', '@', '\\', ' ', '%']));
                prop_assert_eq!(parse_host(host.name.as_bytes()).map(|again| again.name), Some(host.name));
            }
        }

        #[test]
        fn likely_text(value in "[a-cA-C0-9.:\\[\\]%@/_-]{0,20}") {
            if let Some(host) = parse_host(value.as_bytes()) {
                prop_assert!(!host.name.contains("..") && !host.name.is_empty());
            }
        }
    }
}
