//! Host names as users write them, and as clients send them.

use std::borrow::Cow;

/// Converts a host name to the form that clients send: `bücher.example` to `xn--bcher-kva.example`, in
/// lower-case labels. ASCII text, such as an address, is left alone; `None` if it is not a name.
/// # Source
/// UTS #46, ToASCII: <https://www.unicode.org/reports/tr46/>.
pub fn to_ascii(text: &str) -> Option<Cow<'_, str>> {
    if text.is_ascii() {
        return Some(text.into());
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (text, None),
    };
    let name = idna::domain_to_ascii_strict(name).ok()?;
    Some(port.map_or_else(|| name.clone(), |port| format!("{name}:{port}")).into())
}

/// Whether `name` is a DNS name: letters, digits and hyphens in labels, at least two labels (RFC 1123 section
/// 2.1).
pub fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(to_ascii(text).as_deref(), expected, "{text}");
        check("Example.org:80", Some("Example.org:80"));
        check("[::1]:80", Some("[::1]:80"));
        check("Bücher.example", Some("xn--bcher-kva.example"));
        check("bücher。example:8080", Some("xn--bcher-kva.example:8080"));
        check("ü ü.example", None);
    }

    #[test]
    fn dns_names() {
        for good in ["example.org", "a-b.example.org", "xn--bcher-kva.example"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", "localhost", "a..b", "-a.org", "a_b.org", "a/b.org", "example.org.", "bücher.org"] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
