//! An upstream's address, as written in a config.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::codec::host_name::to_ascii;

/// An upstream's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Address {
    /// As written in the config: `http://127.0.0.1:9000`.
    pub(in crate::app) shown: String,
    /// What to connect to.
    pub(in crate::app) target: UpstreamTarget,
    /// The address of the target's name to connect to; by default the system resolves it for each connection.
    pub(in crate::app) resolved: Option<SocketAddr>,
    /// Whether the connection uses TLS.
    pub(in crate::app) tls: bool,
    /// Host and port as a request names them; `localhost` for a Unix socket.
    pub(in crate::app) authority: String,
    /// The path that is prepended to every request's path: empty, or `/base` without a trailing slash.
    pub(in crate::app) base: String,
}

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum UpstreamTarget {
    /// A name or an address, without brackets, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Parses `http://host:port/base`, `https://host`, `unix:PATH` or `host:port`.
    /// # Errors
    /// What is wrong with the text.
    pub(in crate::app) fn http(text: &str) -> Result<Address, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => ("http".to_owned(), text),
        };
        let tls = match &*scheme {
            "http" => false,
            "https" => true,
            other => return Err(format!("`{other}` is not supported: use `http` or `https`")),
        };
        if let Some(path) = rest.strip_prefix("unix:") {
            if tls {
                return Err("TLS is not supported on Unix sockets".to_owned());
            }
            return Address::unix(text, path);
        }
        let (authority, base) = match rest.find('/') {
            Some(slash) => (&rest[..slash], rest[slash..].trim_end_matches('/')),
            None => (rest, ""),
        };
        if base.contains(['?', '#']) || base.chars().any(|c| c.is_control() || c == ' ' || !c.is_ascii()) {
            return Err(
                "its path must not contain `?`, `#`, spaces, control or non-ASCII characters".to_owned()
            );
        }
        let (host, port) = host_and_port(authority, Some(if tls { 443 } else { 80 }))?;
        Ok(Address {
            shown: text.to_owned(),
            target: UpstreamTarget::Tcp(host, port),
            resolved: None,
            tls,
            authority: named(authority),
            base: base.to_owned(),
        })
    }

    /// Parses `host:port` or `unix:PATH`.
    /// # Errors
    /// What is wrong with the text.
    pub(in crate::app) fn socket(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Address::unix(text, path);
        }
        if text.contains('/') {
            return Err("write `host:port` or `unix:PATH`, without a scheme".to_owned());
        }
        let (host, port) = host_and_port(text, None)?;
        let (authority, base) = (named(text), String::new());
        Ok(Address {
            shown: text.to_owned(),
            target: UpstreamTarget::Tcp(host, port),
            resolved: None,
            tls: false,
            authority,
            base,
        })
    }

    /// The host name and port of its target; `None` for a Unix socket and for an IP address.
    pub(in crate::app) fn name(&self) -> Option<(&str, u16)> {
        match &self.target {
            // An IPv6 address may have a zone.
            UpstreamTarget::Tcp(host, port)
                if host.parse::<IpAddr>().is_err() && !host.contains([':', '%']) =>
            {
                Some((host, *port))
            }
            _ => None,
        }
    }

    fn unix(text: &str, path: &str) -> Result<Address, String> {
        if path.is_empty() {
            return Err("`unix:` does not name a path".to_owned());
        }
        Ok(Address {
            shown: text.to_owned(),
            target: UpstreamTarget::Unix(path.into()),
            resolved: None,
            tls: false,
            authority: "localhost".to_owned(),
            base: String::new(),
        })
    }
}

/// Connects to an address as written in a config, `http://host:port/base`, `host:port` or `unix:PATH`, and closes the
/// connection.
/// # Errors
/// Why there is no connection.
pub fn reach(text: &str, patience: Duration) -> Result<(), String> {
    match Address::http(text)?.target {
        UpstreamTarget::Unix(path) => UnixStream::connect(path).map(drop).map_err(|error| error.to_string()),
        UpstreamTarget::Tcp(host, port) => {
            let addresses = (&*host, port).to_socket_addrs().map_err(|error| error.to_string())?;
            let mut failure = "the name has no address".to_owned();
            for address in addresses {
                match TcpStream::connect_timeout(&address, patience) {
                    Ok(_) => return Ok(()),
                    Err(error) => failure = format!("{address}: {error}"),
                }
            }
            Err(failure)
        }
    }
}

/// Host without brackets, and port. `default` is the port if none is written; without a default, one must be
/// written.
fn host_and_port(text: &str, default: Option<u16>) -> Result<(String, u16), String> {
    let (text, zone) = without_zone(text);
    let text = to_ascii(&text).ok_or_else(|| "its host is not valid".to_owned())?;
    let authority: http::uri::Authority =
        text.parse().map_err(|_| "its host and port are not valid".to_owned())?;
    if authority.as_str().contains('@') {
        return Err("a name and password are not supported: use the `headers` middleware".to_owned());
    }
    let host = authority.host().trim_matches(['[', ']']);
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    let written = authority.as_str().rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = match (authority.port_u16(), default) {
        (Some(port @ 1..), _) => port,
        (None, Some(port)) if !written => port,
        (None, None) if !written => return Err("it has no port".to_owned()),
        _ => return Err("its port is not from 1 to 65535".to_owned()),
    };
    Ok((format!("{host}{zone}"), port))
}

/// An authority in the form that requests use: in ASCII and lower case, without a zone.
fn named(authority: &str) -> String {
    let (authority, _) = without_zone(authority);
    to_ascii(&authority).unwrap_or(Cow::Borrowed(&authority)).to_ascii_lowercase()
}

/// An authority, and the zone of its IPv6 address with its `%`. The zone is meaningful only on this machine,
/// so no request contains it (RFC 6874, section 4).
fn without_zone(text: &str) -> (Cow<'_, str>, &str) {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match inner.and_then(|(inner, port)| Some((inner.find('%')?, inner, port))) {
        Some((at, inner, port)) => (format!("[{}]{port}", &inner[..at]).into(), &inner[at..]),
        None => (text.into(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let http = |text: &str, target: UpstreamTarget, tls: bool, authority: &str, base: &str| {
            let found = Address::http(text).unwrap();
            assert_eq!((found.target, found.tls), (target, tls), "{text}");
            assert_eq!((&*found.authority, &*found.base), (authority, base), "{text}");
        };
        let tcp = |host: &str, port| UpstreamTarget::Tcp(host.to_owned(), port);
        http("http://127.0.0.1:9000", tcp("127.0.0.1", 9000), false, "127.0.0.1:9000", "");
        http("127.0.0.1:9000", tcp("127.0.0.1", 9000), false, "127.0.0.1:9000", "");
        http("https://Example.org", tcp("Example.org", 443), true, "example.org", "");
        http("http://[::1]:81/a/b/", tcp("::1", 81), false, "[::1]:81", "/a/b");
        http(
            "http://bücher.example:81",
            tcp("xn--bcher-kva.example", 81),
            false,
            "xn--bcher-kva.example:81",
            "",
        );
        http("http://[fe80::1%lo]:81", tcp("fe80::1%lo", 81), false, "[fe80::1]:81", "");
        http("http://[::1]", tcp("::1", 80), false, "[::1]", "");
        http("unix:/run/a.sock", UpstreamTarget::Unix("/run/a.sock".into()), false, "localhost", "");
        http("http://unix:/run/a.sock", UpstreamTarget::Unix("/run/a.sock".into()), false, "localhost", "");
        for wrong in
            ["", "ftp://a", "http://", "http://a:0", "http://a:x", "http://u:p@a", "http://a/?b", "unix:"]
        {
            assert!(Address::http(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::socket("127.0.0.1:4000").unwrap().target, tcp("127.0.0.1", 4000));
        assert_eq!(Address::socket("unix:a.sock").unwrap().target, UpstreamTarget::Unix("a.sock".into()));
        for wrong in ["127.0.0.1", "http://127.0.0.1:4000", "a:70000", "unix:"] {
            assert!(Address::socket(wrong).is_err(), "{wrong}");
        }
    }
}
