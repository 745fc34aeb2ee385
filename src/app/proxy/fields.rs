//! What the upstream gets of a request: its target and its header fields.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use http::Uri;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::isolation::{calls, facts};
use crate::app::upstream::Member;
use crate::environ::{ClientCertificate, Environ, NoTrailingSlash};

/// Which fields tell the upstream of the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forwarding {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and, below a mount, `-Prefix`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// None.
    None,
    /// All facts, for the process of an isolated app.
    #[serde(skip)]
    Facts,
}

/// What to do with the prefix of the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Prefix {
    /// Remove it from the path, and add it to redirects to the upstream's own paths.
    #[default]
    Strip,
    /// Keep it in the path.
    Keep,
}

/// The `Host` that the upstream gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostField {
    /// The client's `Host`.
    Client,
    /// The host of the upstream's address.
    Upstream,
    /// A fixed value.
    Fixed(String),
}

/// How requests to upstreams are rewritten.
#[derive(Debug)]
pub(super) struct RewriteRules {
    pub(super) host: HostField,
    pub(super) forwarding: Forwarding,
    pub(super) prefix: Prefix,
    /// Whether to send the client's certificate in `Client-Cert`.
    pub(super) client_cert: bool,
}

/// Fields that the client must not set: hop-by-hop fields, fields that paster writes itself, and those with
/// which a client could make frameworks serve files (such as `X-Accel-Mapping` and Rack's `X-Sendfile-Type`).
fn is_dropped(name: &HeaderName) -> bool {
    match *name {
        HOST | CONNECTION | UPGRADE | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT | TE | FORWARDED => true,
        _ => {
            let name = name.as_str();
            match name.as_bytes()[0] {
                b'x' => {
                    name.starts_with("x-forwarded-")
                        || name.starts_with("x-accel-")
                        || matches!(name, "x-real-ip" | "x-sendfile-type")
                }
                b'k' => name == "keep-alive",
                b'p' => matches!(name, "proxy-connection" | "proxy-authorization"),
                _ => false,
            }
        }
    }
}

/// Fields that are written anew for the process of an isolated app.
fn is_framing(name: &HeaderName) -> bool {
    matches!(*name, HOST | CONNECTION | UPGRADE | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT)
        || [facts::FACTS, calls::CALL].contains(&name.as_str())
}

impl RewriteRules {
    /// The target, in pieces: the prefix of the upstream and mount, then the request's own path and its
    /// query.
    pub(super) fn target<'a>(&self, parts: &'a Parts, member: &'a Member) -> (&'a str, &'a str, &'a str) {
        let own = target_of(&parts.uri);
        let mount = match (self.prefix, parts.extensions.get::<Environ>()) {
            (Prefix::Keep, Some(environ)) => &*environ.script_name,
            _ => "",
        };
        let own = match own.strip_prefix('/') {
            // The upstream gets what the client sent.
            Some(rest)
                if !mount.is_empty()
                    && (rest.is_empty() || rest.starts_with('?'))
                    && parts.extensions.get::<NoTrailingSlash>().is_some() =>
            {
                rest
            }
            _ => own,
        };
        if own == "*" { ("", "", own) } else { (&member.address.base, mount, own) }
    }

    /// The `Host` of the request to `member`.
    pub(super) fn host<'a>(&'a self, parts: &'a Parts, member: &'a Member) -> &'a [u8] {
        match &self.host {
            HostField::Client => client_host(parts).unwrap_or(member.address.authority.as_bytes()),
            HostField::Upstream => member.address.authority.as_bytes(),
            HostField::Fixed(host) => host.as_bytes(),
        }
    }

    /// Calls `put` with every field except `Host` and the framing.
    pub(super) fn fields(&self, parts: &Parts, mut put: impl FnMut(&str, &[u8])) {
        if self.forwarding == Forwarding::Facts {
            for (name, value) in parts.headers.iter().filter(|(name, _)| !is_framing(name)) {
                put(name.as_str(), value.as_bytes());
            }
            if let Some(facts) = facts::encode(parts) {
                put(facts::FACTS, &facts);
            }
            if let Some(call) = calls::encode(parts) {
                put(calls::CALL, &call);
            }
            return;
        }
        let certificate = parts.extensions.get::<Arc<ClientCertificate>>().filter(|_| self.client_cert);
        let der = certificate.and_then(|certificate| certificate.der.as_ref());
        for (name, value) in &parts.headers {
            let replaced = der.is_some() && matches!(name.as_str(), "client-cert" | "client-cert-chain");
            if !is_dropped(name) && !replaced {
                put(name.as_str(), value.as_bytes());
            }
        }
        if let Some(der) = der {
            // A byte sequence of RFC 8941.
            let encoded = base64::engine::general_purpose::STANDARD.encode(der);
            put("client-cert", format!(":{encoded}:").as_bytes());
        }
        let Some(environ) = parts.extensions.get::<Environ>() else { return };
        let proto = if environ.secure { "https" } else { "http" };
        let host = client_host(parts);
        if matches!(self.forwarding, Forwarding::XForwarded | Forwarding::Both) {
            if let Some(client) = environ.client {
                with_text(client, |text| put("x-forwarded-for", text));
            }
            put("x-forwarded-proto", proto.as_bytes());
            if let Some(host) = host {
                put("x-forwarded-host", host);
            }
            if !environ.script_name.is_empty() && self.prefix == Prefix::Strip {
                put("x-forwarded-prefix", environ.script_name.as_bytes());
            }
        }
        if matches!(self.forwarding, Forwarding::Forwarded | Forwarding::Both) {
            let client = match environ.client {
                Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
                Some(address) => address.to_string(),
                None => "unknown".to_owned(),
            };
            let mut text = format!("for={client};proto={proto}").into_bytes();
            if let Some(host) = host {
                // A valid host contains no quotes or backslashes.
                text.extend_from_slice(b";host=\"");
                text.extend_from_slice(host);
                text.push(b'"');
            }
            put("forwarded", &text);
        }
    }
}

/// Path and query, at least `/`.
fn target_of(uri: &Uri) -> &str {
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with(['/', '*']) => target.as_str(),
        _ => "/",
    }
}

fn client_host(parts: &Parts) -> Option<&[u8]> {
    parts.headers.get(HOST).map(|host| host.as_bytes())
}

/// Formats an address without an allocation.
fn with_text(address: IpAddr, then: impl FnOnce(&[u8])) {
    use std::io::Write;
    let mut buffer = [0; 48];
    let mut rest = &mut buffer[..];
    let written = write!(rest, "{address}").is_ok();
    let left = rest.len();
    if written {
        then(&buffer[..48 - left]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_names() {
        for (name, dropped) in [
            ("x-forwarded-for", true),
            ("x-forwarded-ssl", true),
            ("x-accel-mapping", true),
            ("x-sendfile-type", true),
            ("forwarded", true),
            ("te", true),
            ("expect", true),
            ("authorization", false),
            ("trailer", false),
            ("x-requested-with", false),
            ("range", false),
        ] {
            assert_eq!(is_dropped(&HeaderName::from_static(name)), dropped, "{name}");
        }
    }

    #[test]
    fn addresses_as_text() {
        for text in ["127.0.0.1", "2001:db8:1111:2222:3333:4444:5555:6666"] {
            with_text(text.parse().unwrap(), |found| assert_eq!(found, text.as_bytes()));
        }
    }
}
