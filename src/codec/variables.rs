//! The meta-variables of RFC 3875: encoded from a request for bridges, and decoded for servers behind a web
//! server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, request};

use super::{PairsError, Variables, client_certificate, malformed, parse_length};
use crate::environ::{ClientCertificate, Environ, RemoteUser};

/// The value of `SERVER_SOFTWARE`.
const SOFTWARE: &str = concat!("paster/", env!("CARGO_PKG_VERSION"));

/// Encodes a request as meta-variables.
///
/// `CONTENT_LENGTH` comes first if `content_length` is known, and is left out otherwise. `SCRIPT_NAME` and
/// `PATH_INFO` are decoded, `REQUEST_URI` is not. A repeated field becomes one variable, joined by `, `
/// (cookies by `; `). There is never an `HTTP_PROXY` (<https://httpoxy.org/>), and no `HTTP_AUTHORIZATION` if
/// its credentials have already been checked. A user's groups are in `REMOTE_GROUPS`, separated by commas. A client's certificate gets the names of Apache's `mod_ssl`.
/// The caller adds `SCRIPT_FILENAME`, `DOCUMENT_ROOT` and similar variables.
/// # Source
/// RFC 3875 section 4.1; `mod_ssl`, "Environment Variables".
pub fn from_request(parts: &request::Parts, environ: &Environ, content_length: Option<u64>) -> Variables {
    let mut variables = Variables::new();
    if let Some(length) = content_length {
        variables.push("CONTENT_LENGTH", length.to_string());
    }
    if let Some(media) = parts.headers.get(CONTENT_TYPE) {
        variables.push("CONTENT_TYPE", media);
    }
    let user = parts.extensions.get::<RemoteUser>();
    if let Some(user) = user {
        if !user.auth_type.is_empty() {
            variables.push("AUTH_TYPE", user.auth_type.as_bytes());
        }
        variables.push("REMOTE_USER", user.name.as_bytes());
        if !user.groups.is_empty() {
            variables.push("REMOTE_GROUPS", user.groups.as_bytes());
        }
    }
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
    let asked = if query.is_empty() { "" } else { "?" };
    variables.push("GATEWAY_INTERFACE", "CGI/1.1");
    variables.push("REQUEST_METHOD", parts.method.as_str());
    variables.push("SCRIPT_NAME", decode_path(&environ.script_name));
    variables.push("PATH_INFO", decode_path(path));
    variables.push("QUERY_STRING", query);
    variables.push("REQUEST_URI", format!("{}{path}{asked}{query}", environ.script_name));
    variables.push("SERVER_NAME", environ.host.as_bytes());
    let port = environ.port.unwrap_or(if environ.secure { 443 } else { 80 });
    variables.push("SERVER_PORT", port.to_string());
    variables.push("SERVER_PROTOCOL", protocol(parts.version));
    variables.push("SERVER_SOFTWARE", SOFTWARE);
    match environ.client {
        Some(client) => {
            variables.push("REMOTE_ADDR", client.to_string());
            if let Some(peer) = environ.peer.filter(|peer| peer.ip() == client) {
                variables.push("REMOTE_PORT", peer.port().to_string());
            }
        }
        // As in nginx: a value that no application can mistake for an address that it trusts.
        None => variables.push("REMOTE_ADDR", "unix:"),
    }
    variables.push("REQUEST_SCHEME", if environ.secure { "https" } else { "http" });
    if environ.secure {
        variables.push("HTTPS", "on");
    }
    if let Some(certificate) = parts.extensions.get::<Arc<ClientCertificate>>() {
        client_certificate::push(&mut variables, certificate);
    }
    let checked = user.is_some_and(|user| consumes(user, &parts.headers));
    for name in parts.headers.keys() {
        let skipped = [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)
            || name == "proxy"
            || name.as_str().contains('_')
            || (checked && *name == AUTHORIZATION);
        if !skipped {
            push_field(&mut variables, name, &parts.headers);
        }
    }
    variables
}

/// Whether the user was authenticated by the `Authorization` field: then the password is not passed on. A
/// client that was authenticated by its certificate may send the application other credentials.
fn consumes(user: &RemoteUser, headers: &HeaderMap) -> bool {
    let credentials = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let scheme = credentials.split(|byte| *byte == b' ').next().unwrap_or_default();
    user.auth_type.is_empty() || scheme.eq_ignore_ascii_case(user.auth_type.as_bytes())
}

fn push_field(variables: &mut Variables, name: &HeaderName, headers: &HeaderMap) {
    let mut variable = String::with_capacity(5 + name.as_str().len());
    variable.push_str("HTTP_");
    let upper = |c: char| if c == '-' { '_' } else { c.to_ascii_uppercase() };
    variable.extend(name.as_str().chars().map(upper));
    let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let between: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    match *values {
        [value] => variables.push(variable, value),
        _ => variables.push(variable, values.join(between)),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// A request as a web server in front passed it on.
#[derive(Debug)]
pub struct Passed {
    /// Method, target (what follows `script_name`, with the query), version and fields; no body.
    pub request: Request<()>,
    /// The prefix under which the web server has mounted us, encoded: empty, or `/a/b`.
    pub script_name: String,
    /// Length of the body; `None` if it was not given.
    pub content_length: Option<u64>,
    /// `REMOTE_ADDR`, with `REMOTE_PORT` or 0.
    pub remote: Option<SocketAddr>,
    /// `HTTPS` is `on` or `1`, or `REQUEST_SCHEME` is `https`.
    pub secure: bool,
    /// `SERVER_NAME`, with `SERVER_PORT` unless it is that of the scheme.
    pub server: Option<String>,
    /// `REMOTE_USER` with `AUTH_TYPE` and `REMOTE_GROUPS`, if the web server sent them.
    pub user: Option<RemoteUser>,
    /// `SSL_CLIENT_…`, if the web server has verified the client's certificate.
    pub certificate: Option<ClientCertificate>,
}

/// The meaning of `SCRIPT_NAME` without a `PATH_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The whole path: nginx's `fastcgi_params` and Apache's `mod_proxy_fcgi` send it so; there is no prefix.
    Path,
    /// The prefix, as in RFC 3875 section 4.1.13: the path after it is empty.
    Prefix,
}

/// Decodes a request from its meta-variables.
///
/// The target is `REQUEST_URI`, as the client wrote it, if `SCRIPT_NAME` and `PATH_INFO` are the same path
/// decoded. Otherwise the web server has rewritten the path, and those two are the target. `HTTP_…` variables
/// become fields. The body's length and type come only from `CONTENT_LENGTH` and `CONTENT_TYPE`, and framing
/// fields between the web server and its client are dropped. If a name is repeated the last one counts,
/// except for fields, which are all kept, and `CONTENT_LENGTH`, which must not differ. Only the form is
/// checked: trust is the gate's job.
/// # Errors
/// [`PairsError::Malformed`] without a method or path, and for values that no request can have.
/// # Source
/// RFC 3875 section 4.1.
pub fn to_request(variables: &Variables, split: Split) -> Result<Passed, PairsError> {
    let (mut request, content_length) = method_and_fields(variables)?;
    *request.version_mut() = match variables.get("SERVER_PROTOCOL") {
        Some(b"HTTP/1.0") => Version::HTTP_10,
        Some(b"HTTP/2.0" | b"HTTP/2") => Version::HTTP_2,
        Some(b"HTTP/3.0" | b"HTTP/3") => Version::HTTP_3,
        _ => Version::HTTP_11,
    };
    let (uri, script_name) = target(variables, split)?;
    *request.uri_mut() = uri;
    let told = |name: &str| variables.text(name).filter(|text| !text.is_empty());
    let secure = told("HTTPS").is_some_and(|https| https.eq_ignore_ascii_case("on") || https == "1")
        || told("REQUEST_SCHEME") == Some("https");
    let remote = told("REMOTE_ADDR").and_then(|text| text.parse::<IpAddr>().ok());
    let remote_port = told("REMOTE_PORT").and_then(|port| port.parse().ok()).unwrap_or(0);
    let port = told("SERVER_PORT").filter(|port| *port != if secure { "443" } else { "80" });
    let server = told("SERVER_NAME").map(|name| match port {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    });
    Ok(Passed {
        request,
        script_name,
        content_length,
        remote: remote.map(|address| SocketAddr::new(address, remote_port)),
        secure,
        server,
        user: told("REMOTE_USER").map(|name| {
            let auth_type = told("AUTH_TYPE").map(str::to_owned).unwrap_or_default().into();
            let user = RemoteUser { auth_type, ..RemoteUser::new(name, "") };
            user.with_groups(told("REMOTE_GROUPS").unwrap_or_default().split(','))
        }),
        certificate: client_certificate::read(variables),
    })
}

/// A request with the method and the fields, and the length of its body.
fn method_and_fields(variables: &Variables) -> Result<(Request<()>, Option<u64>), PairsError> {
    let mut request = Request::new(());
    let mut content_length = None;
    let mut method = None;
    let mut content_type = None;
    for (name, value) in variables.iter() {
        match name {
            b"CONTENT_LENGTH" if value.is_empty() => {}
            b"CONTENT_LENGTH" => {
                let length = parse_length(value)?;
                if content_length.replace(length).is_some_and(|known| known != length) {
                    return malformed("CONTENT_LENGTH values differ");
                }
            }
            b"CONTENT_TYPE" => content_type = (!value.is_empty()).then_some(value),
            b"REQUEST_METHOD" => method = Some(value),
            _ => {
                if let Some(name) = name.strip_prefix(b"HTTP_") {
                    append_field(request.headers_mut(), name, value)?;
                }
            }
        }
    }
    match method.map(Method::from_bytes) {
        Some(Ok(method)) => *request.method_mut() = method,
        Some(Err(_)) => return malformed("REQUEST_METHOD is not a method"),
        None => return malformed("no REQUEST_METHOD"),
    }
    if let Some(media) = content_type {
        let Ok(value) = HeaderValue::from_bytes(media) else { return malformed("CONTENT_TYPE is not valid") };
        request.headers_mut().insert(CONTENT_TYPE, value);
    }
    if let Some(length) = content_length.filter(|length| *length > 0) {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok((request, content_length))
}

/// Adds the field of `HTTP_name`, unless it concerns the connection between the web server and its client.
fn append_field(headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), PairsError> {
    // Apache passes `-` and `_` as `_`, so the two cannot be distinguished, and all become `-`.
    let lower = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let name: Vec<u8> = name.iter().map(lower).collect();
    let framing =
        ["content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "upgrade"];
    if framing.iter().any(|known| known.as_bytes() == name) {
        return Ok(());
    }
    let Ok(name) = HeaderName::from_bytes(&name) else { return malformed("a field's name is not valid") };
    let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) else {
        return malformed("a field's value is not valid");
    };
    match name {
        HOST if value.is_empty() => {} // the client sent none
        // The web server has one effective host: the one that its config set last.
        HOST => drop(headers.insert(name, value)),
        _ => drop(headers.append(name, value)),
    }
    Ok(())
}

/// The target as the application gets it, and the prefix before it.
fn target(variables: &Variables, split: Split) -> Result<(Uri, String), PairsError> {
    let asked = match variables.text("REQUEST_URI").filter(|text| !text.is_empty()) {
        Some(text) => match text.parse::<Uri>() {
            Ok(uri) => Some(uri),
            Err(_) => return malformed("REQUEST_URI is not a target"),
        },
        None => None,
    };
    let script = variables.get("SCRIPT_NAME").unwrap_or_default();
    let info = variables.get("PATH_INFO");
    let (prefix, path) = match (info, split) {
        (Some(info), _) => (script, info),
        (None, Split::Prefix) => (script, &b""[..]),
        (None, Split::Path) => (&b""[..], script),
    };
    if let Some(uri) = asked {
        if uri.path() == "*" {
            return Ok((uri, String::new()));
        }
        // If both are missing, the web server leaves the path to us.
        if prefix.is_empty() && path.is_empty() {
            return Ok((uri, String::new()));
        }
        // The client's form is more precise than the decoded one, if it is still the same path.
        if let Some(at) = find_split(uri.path(), prefix, path) {
            let (prefix, rest) = uri.path().split_at(at);
            let prefix = prefix.to_owned();
            let query = variables.get("QUERY_STRING").unwrap_or(uri.query().unwrap_or("").as_bytes());
            let target = join(rest.as_bytes(), query)?;
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(target);
            return match Uri::from_parts(parts) {
                Ok(uri) => Ok((uri, prefix)),
                Err(_) => malformed("REQUEST_URI is not a target"),
            };
        }
    }
    if prefix.is_empty() && path.is_empty() {
        return malformed("REQUEST_URI, SCRIPT_NAME and PATH_INFO are all missing");
    }
    let query = variables.get("QUERY_STRING").unwrap_or_default();
    let target = join(encode_path(path).as_bytes(), query)?;
    Ok((target.into(), encode_path(prefix).trim_end_matches('/').to_owned()))
}

/// Where a decoded prefix ends in an encoded path, if prefix and path together are the whole path.
fn find_split(encoded: &str, prefix: &[u8], path: &[u8]) -> Option<usize> {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    let whole = decode_path(encoded);
    let rest = whole.strip_prefix(prefix)?;
    if rest != path && !(path.first() != Some(&b'/') && rest.strip_prefix(b"/") == Some(path)) {
        return None;
    }
    // Counts decoded bytes up to the end of the prefix in the encoded form.
    let bytes = encoded.as_bytes();
    let mut at = 0;
    for _ in prefix {
        at += if escape(&bytes[at..]).is_some() { 3 } else { 1 };
    }
    encoded.is_char_boundary(at).then_some(at)
}

/// Joins a path and a query into a target; an empty path is `/`.
fn join(path: &[u8], query: &[u8]) -> Result<PathAndQuery, PairsError> {
    let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
    let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
    let target = [slash, path, mark, query].concat();
    match PathAndQuery::try_from(target) {
        Ok(target) => Ok(target),
        Err(_) => malformed("the path and the query are not a target"),
    }
}

/// The byte that an escape at the start of `bytes` encodes.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *bytes else { return None };
    let digit = |byte: u8| (byte as char).to_digit(16);
    // Two digits of four bits each.
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Decodes the escapes of a path; anything else is left alone.
pub fn decode_path(path: &str) -> Vec<u8> {
    let mut rest = path.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let (byte, length) = escape(rest).map_or((*first, 1), |byte| (byte, 3));
        decoded.push(byte);
        rest = &rest[length..];
    }
    decoded
}

/// Encodes a decoded path: characters that are valid in a path are kept, all others are escaped.
/// # Source
/// RFC 3986 section 3.3.
pub fn encode_path(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
