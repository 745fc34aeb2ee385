//! The information of trusted peers about the client: `X-Forwarded-*` or `Forwarded`, read from the right.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use super::host::{HostAndPort, parse_host};
use crate::config::Network;

/// The family of fields that trusted peers write. The other one is dropped, because the client may have
/// written it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The peers whose fields are trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedPeers {
    peers: Vec<Network>,
    family: Family,
}

/// The client, after reading the forwarded fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedClient {
    pub(super) address: Option<IpAddr>,
    pub(super) secure: Option<bool>,
    pub(super) host: Option<HostAndPort>,
}

impl TrustedPeers {
    /// Trusts these peers to write fields of this family.
    pub fn new(family: Family, peers: Vec<Network>) -> TrustedPeers {
        TrustedPeers { family, peers }
    }

    /// Whether this peer's fields are trusted.
    pub(in crate::server) fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        self.contains(peer.map(|peer| peer.ip()))
    }

    fn contains(&self, address: Option<IpAddr>) -> bool {
        self.peers.iter().any(|network| network.contains(address))
    }

    /// Drops the untrusted family, and reads the other one.
    /// # Errors
    /// If the trusted fields are malformed: their writer is expected to write them correctly.
    pub(super) fn read(&self, headers: &mut HeaderMap) -> Result<ForwardedClient, &'static str> {
        match self.family {
            Family::XForwarded => {
                headers.remove(FORWARDED);
                self.read_x_forwarded(headers)
            }
            Family::Forwarded => {
                strip_x_forwarded(headers);
                self.read_forwarded(headers)
            }
        }
    }

    fn read_x_forwarded(&self, headers: &HeaderMap) -> Result<ForwardedClient, &'static str> {
        let chain: Vec<_> = elements(headers, "x-forwarded-for").collect();
        let mut client = ForwardedClient::default();
        for (hops, element) in chain.iter().rev().enumerate() {
            let Some(address) = node(element) else {
                // `unknown` and similar values hide the client; the chain up to here is still valid.
                if hops == 0 && !is_hidden(element) {
                    return Err("malformed X-Forwarded-For");
                }
                break;
            };
            client.address = Some(address);
            if !self.contains(Some(address)) {
                break;
            }
        }
        if let Some(scheme) = elements(headers, "x-forwarded-proto").last() {
            client.secure = Some(secure(scheme)?);
        }
        if let Some(host) = elements(headers, "x-forwarded-host").last() {
            client.host = Some(parse_host(host.as_bytes()).ok_or("malformed X-Forwarded-Host")?);
        }
        Ok(client)
    }

    fn read_forwarded(&self, headers: &HeaderMap) -> Result<ForwardedClient, &'static str> {
        const MALFORMED: &str = "malformed Forwarded";
        let mut client = ForwardedClient::default();
        let chain: Vec<_> = elements(headers, FORWARDED.as_str()).collect();
        for element in chain.iter().rev() {
            let mut next = None;
            for pair in element.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').ok_or(MALFORMED)?;
                let value = match value.strip_prefix('"') {
                    Some(quoted) => quoted.strip_suffix('"').ok_or(MALFORMED)?,
                    None => value,
                };
                if name.eq_ignore_ascii_case("for") {
                    next = node(value);
                    if next.is_none() && !is_hidden(value) {
                        return Err(MALFORMED);
                    }
                } else if name.eq_ignore_ascii_case("proto") {
                    client.secure = Some(secure(value)?);
                } else if name.eq_ignore_ascii_case("host") {
                    client.host = Some(parse_host(value.as_bytes()).ok_or(MALFORMED)?);
                }
            }
            let Some(address) = next else { break };
            client.address = Some(address);
            if !self.contains(Some(address)) {
                break;
            }
        }
        Ok(client)
    }
}

/// Drops the fields that only a trusted peer may set.
pub(super) fn strip(headers: &mut HeaderMap) {
    headers.remove(FORWARDED);
    headers.remove("x-real-ip");
    strip_x_forwarded(headers);
}

fn strip_x_forwarded(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|name| is_x_forwarded(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a field belongs to the `X-Forwarded` family.
pub(super) fn is_x_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-")
}

/// The comma-separated elements of a field over all its lines. (These fields give quoted commas no meaning.)
fn elements<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.to_str().unwrap_or("\0").split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

fn secure(scheme: &str) -> Result<bool, &'static str> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") => Ok(true),
        _ if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") => Ok(false),
        _ => Err("the forwarded scheme is neither http nor https"),
    }
}

/// The address of a node: with or without a port, an IPv6 address with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

/// `unknown` and obfuscated identifiers, RFC 7239 section 6.
fn is_hidden(text: &str) -> bool {
    text.eq_ignore_ascii_case("unknown") || text.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        family: Family,
        lines: &[(&str, &str)],
        expected: Result<(&str, Option<bool>, Option<&str>), &str>,
    ) {
        let peers = ["10.0.0.0/8", "::1"].map(|peer| Network::try_from(peer.to_owned()).unwrap());
        let trusted = TrustedPeers::new(family, peers.into());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_str(value).unwrap(),
            );
        }
        let found = trusted.read(&mut headers).map(|client| {
            let address = client.address.map(|a| a.to_string()).unwrap_or_default();
            (address, client.secure, client.host.map(|host| host.name))
        });
        let expected = expected.map(|(a, s, h)| (a.to_string(), s, h.map(str::to_string)));
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let check =
            |value: &str, expected| check(Family::XForwarded, &[("x-forwarded-for", value)], expected);
        check("192.0.2.1", Ok(("192.0.2.1", None, None)));
        check("6.6.6.6, 192.0.2.1, 10.1.1.1", Ok(("192.0.2.1", None, None)));
        check("10.2.2.2, 10.1.1.1", Ok(("10.2.2.2", None, None)));
        check("6.6.6.6, unknown, 10.1.1.1", Ok(("10.1.1.1", None, None)));
        check("6.6.6.6, <script>, 10.1.1.1", Ok(("10.1.1.1", None, None)));
        check("unknown", Ok(("", None, None)));
        check("<script>", Err("malformed X-Forwarded-For"));
        check("192.0.2.1:4711", Ok(("192.0.2.1", None, None)));
        check("[2001:db8::1]:4711", Ok(("2001:db8::1", None, None)));
        check("::ffff:10.0.0.1, ::ffff:192.0.2.7", Ok(("192.0.2.7", None, None)));
    }

    #[test]
    fn scheme_and_host() {
        let family = Family::XForwarded;
        let lines = [("x-forwarded-proto", "https"), ("x-forwarded-host", "Example.org")];
        check(family, &lines, Ok(("", Some(true), Some("example.org"))));
        check(
            family,
            &[("x-forwarded-proto", "gopher")],
            Err("the forwarded scheme is neither http nor https"),
        );
        check(family, &[("x-forwarded-host", "a/b")], Err("malformed X-Forwarded-Host"));
        check(family, &[("forwarded", "for=192.0.2.1")], Ok(("", None, None)));
    }

    #[test]
    fn rfc_7239() {
        let check = |value: &str, expected| check(Family::Forwarded, &[("forwarded", value)], expected);
        check("for=192.0.2.60;proto=http;by=203.0.113.43", Ok(("192.0.2.60", Some(false), None)));
        check(
            r#"for=6.6.6.6;host=evil, For="[2001:db8:cafe::17]:4711";host=a.example, for=10.0.0.3;proto=https"#,
            Ok(("2001:db8:cafe::17", Some(true), Some("a.example"))),
        );
        check("for=_hidden", Ok(("", None, None)));
        check("for", Err("malformed Forwarded"));
        check(r#"for="192.0.2.1"#, Err("malformed Forwarded"));
    }
}
