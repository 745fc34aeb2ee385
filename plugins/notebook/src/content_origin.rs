//! The second origin, for outputs of kernels: another host or port, whose pages cannot act on behalf of the notebook's.
//!
//! # Source
//! RFC 6454 (the web's origins); W3C, "Content Security Policy Level 3", section 2.3.1 (host sources).

use std::io;

/// An origin, or with `*.` before its host one for each page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentOrigin {
    secure: bool,
    /// The host without `*.`, in lower case.
    host: String,
    wildcard: bool,
    port: u16,
    text: String,
}

impl ContentOrigin {
    /// Parses the setting `content_origin`.
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> io::Result<ContentOrigin> {
        let invalid = |why: &str| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the setting `content_origin`, `{text}`, {why}: it is an origin such as `https://usercontent.example.org`, \
                     `https://*.usercontent.example.org` or `http://127.0.0.1:8081`"
                ),
            )
        };
        let lower = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let (secure, authority) = match (lower.strip_prefix("https://"), lower.strip_prefix("http://")) {
            (Some(authority), _) => (true, authority),
            (_, Some(authority)) => (false, authority),
            _ => return Err(invalid("does not begin with https:// or http://")),
        };
        let default = if secure { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| invalid("has no valid port"))?),
            None => (authority, default),
        };
        let (wildcard, host) = match host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, host),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        // (Addresses of IPv6 cannot be in a policy.)
        if host.is_empty() || host.starts_with('.') || !host.chars().all(plain) {
            return Err(invalid("has no host name, or has a path"));
        }
        Ok(ContentOrigin { secure, host: host.to_owned(), wildcard, port, text: lower })
    }

    /// As it is in a policy, and for the page, which replaces `*`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a request for `authority` (`host[:port]`) is one to this origin.
    pub fn is_at(&self, authority: &str, secure: bool) -> bool {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, port),
            _ => (authority.as_str(), if secure { 443 } else { 80 }),
        };
        let named = match self.wildcard {
            true => {
                host.strip_suffix(&self.host).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
            }
            false => host == self.host,
        };
        // Behind a server that terminates TLS, the port is this server's own, unless it is known.
        named && (port == self.port || (self.secure && !secure && port == 80))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_the_origin_are_known() {
        let one = ContentOrigin::parse("http://127.0.0.1:8081/").unwrap();
        assert_eq!(one.as_str(), "http://127.0.0.1:8081");
        for (authority, is_at) in [
            ("127.0.0.1:8081", true),
            ("127.0.0.1:8080", false),
            ("127.0.0.1", false),
            ("localhost:8081", false),
        ] {
            assert_eq!(one.is_at(authority, false), is_at, "{authority}");
        }
        let many = ContentOrigin::parse("https://*.usercontent.example.org").unwrap();
        for (authority, is_at) in [
            ("abc.usercontent.example.org", true),
            ("ABC.usercontent.example.org:443", true),
            ("usercontent.example.org", false),
            (".usercontent.example.org", false),
            ("evilusercontent.example.org", false),
            ("abc.usercontent.example.org:8443", false),
            ("example.org", false),
        ] {
            assert_eq!(many.is_at(authority, true), is_at, "{authority}");
        }
        for wrong in [
            "usercontent.example.org",
            "https://",
            "https://a/b",
            "https://a b",
            "https://*.",
            "https://a:x",
            "ftp://a",
        ] {
            assert!(ContentOrigin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
