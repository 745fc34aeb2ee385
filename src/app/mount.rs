//! `mount`: several apps on one server, by prefix and by host (Paste's urlmap).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::{AppLink, Builder};
use crate::body::{App, Request, text_response};
use crate::codec::host_name::to_ascii;
use crate::codec::variables::decode_path;
use crate::config::{KeyPath, Table, join};
use crate::environ::{Environ, NoTrailingSlash};
use crate::error::{Error, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "mount"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// App names by prefix: `"/files" = "files"`. A prefix can start with a host, and then applies to that
    /// host only (`"admin.example.org/"`, `"example.org:8080/x"`). Write an international name as is or as
    /// `xn--…`. Routes with a host take precedence. Then the longest prefix wins. Prefixes are compared in decoded
    /// form: `"/my files"` and `"/my%20files"` are the same.
    routes: BTreeMap<String, String>,
}

/// One route: its host, port and prefix, and its app.
struct Route {
    host: Option<String>,
    port: Option<u16>,
    /// Empty for `/`, else `/a/b` without a trailing slash, decoded.
    prefix: String,
    app: App,
}

/// Brackets surround an IPv6 address in a URL. Hosts are compared without them.
const BRACKETS: [char; 2] = ['[', ']'];

/// Creates the app.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    let mut routes = Vec::new();
    let mut places = BTreeSet::new();
    for (from, to) in &options.routes {
        let key = join("routes", from);
        match parse(from) {
            Ok(place) if !places.insert(place.clone()) => {
                errors.push(parse_error(table, &key, from, "another route has the same host and prefix"));
            }
            Ok((host, port, prefix)) => {
                let app = (builder.resolve)(to, table.origin(&key));
                routes.push(Route { host, port, prefix, app });
            }
            Err(why) => errors.push(parse_error(table, &key, from, why)),
        }
    }
    if options.routes.is_empty() {
        errors
            .push(table.error("routes", "the mount has no routes").help("add `\"/\" = \"NAME OF AN APP\"`"));
    }
    Errors::check(errors)?;
    // Routes for a host with a port first, then for a host, then the longest prefix.
    routes.sort_by_key(|route| {
        std::cmp::Reverse((route.host.is_some(), route.port.is_some(), route.prefix.len()))
    });
    let routes: Arc<[Route]> = routes.into();
    let development = builder.context.development;
    Ok(App::from_call(move |mut request| {
        let found = routes.iter().find_map(|route| Some((route, route.matched(&request)?)));
        match found {
            Some((route, length)) => {
                move_prefix(&mut request, length);
                route.app.handle(request)
            }
            None => {
                let response =
                    text_response(StatusCode::NOT_FOUND, nothing_here(&routes, &request, development));
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }))
}

/// The routes in the table.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    let link =
        |(at, app): (&String, &String)| AppLink { key: join("routes", at), at: at.clone(), app: app.clone() };
    options.routes.iter().map(link).collect()
}

fn parse_error(table: &Table, key: &KeyPath, from: &str, why: &str) -> Error {
    Error::config(format!("cannot mount an app at `{from}`: {why}"))
        .at(table.key_origin(key))
        .help("write a prefix (`/files`) or a host with a prefix (`example.org/files`)")
}

/// Host, port and prefix of a route's key.
fn parse(from: &str) -> Result<(Option<String>, Option<u16>, String), &'static str> {
    let from = from.strip_prefix("http://").or_else(|| from.strip_prefix("https://")).unwrap_or(from);
    let slash = from.find('/').ok_or("it has no `/`")?;
    let (authority, path) = from.split_at(slash);
    if path.contains(['?', '#']) {
        return Err("a prefix must not contain `?` or `#`: write `%3F` or `%23`");
    }
    let prefix = decode(path.trim_end_matches('/'))?;
    if prefix.chars().any(char::is_control) {
        return Err("a prefix must not contain control characters");
    }
    if prefix.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("a prefix must not contain empty or dot segments");
    }
    if authority.is_empty() {
        return Ok((None, None, prefix));
    }
    let authority = to_ascii(authority).ok_or("the host is not valid")?;
    let authority: http::uri::Authority = authority.parse().map_err(|_| "the host is not valid")?;
    if authority.as_str().contains('@') {
        return Err("a host must not contain a user name");
    }
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => None,
        _ => Some(authority.port_u16().ok_or("the port is not valid")?),
    };
    Ok((Some(authority.host().trim_matches(BRACKETS).to_ascii_lowercase()), port, prefix))
}

/// Decodes the escapes of a route's prefix.
fn decode(prefix: &str) -> Result<String, &'static str> {
    let escapes = prefix.match_indices('%').map(|(at, _)| prefix.as_bytes().get(at + 1..at + 3));
    for escape in escapes {
        match escape {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => return Err("a `%` must be followed by two hexadecimal digits: write `%25` for a `%`"),
        }
    }
    let decoded = String::from_utf8(decode_path(prefix)).map_err(|_| "the decoded prefix is not UTF-8")?;
    if decoded.matches('/').count() != prefix.matches('/').count() {
        return Err("a prefix must not contain an encoded slash");
    }
    Ok(decoded)
}

impl Route {
    /// The length of the part of the request's path that matches this route's prefix; `None` if the request
    /// does not match.
    fn matched(&self, request: &Request) -> Option<usize> {
        if let Some(host) = &self.host {
            let environ = request.extensions().get::<Environ>()?;
            let default = if environ.secure { 443 } else { 80 };
            if environ.host.trim_matches(BRACKETS) != host
                || self.port.is_some_and(|port| port != environ.port.unwrap_or(default))
            {
                return None;
            }
        }
        prefix_length(request.uri().path(), &self.prefix)
    }
}

/// The length of the start of `path` that decodes to `prefix` and ends at a segment boundary.
pub(super) fn prefix_length(path: &str, prefix: &str) -> Option<usize> {
    let mut rest = path.as_bytes();
    for &wanted in prefix.as_bytes() {
        let (found, tail) = match rest {
            [b'%', high, low, tail @ ..] => {
                let digit = |byte: u8| (byte as char).to_digit(16);
                // An encoded slash does not end a segment.
                let byte = (digit(*high)? << 4 | digit(*low)?) as u8;
                (Some(byte).filter(|byte| *byte != b'/')?, tail)
            }
            [byte, tail @ ..] => (*byte, tail),
            [] => return None,
        };
        if found != wanted {
            return None;
        }
        rest = tail;
    }
    (prefix.is_empty() || matches!(rest, [] | [b'/', ..])).then(|| path.len() - rest.len())
}

/// Moves the first `length` bytes of the URI's path to `script_name`, as the client wrote them. A request for
/// the prefix itself gets the path `/`.
pub(super) fn move_prefix(request: &mut Request, length: usize) {
    if length == 0 {
        return;
    }
    let target = super::target::path_and_query(request.uri());
    let (prefix, rest) = target.split_at(length);
    let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
    let no_slash = !rest.starts_with('/');
    let rest = if no_slash { format!("/{rest}") } else { rest };
    let mut parts = request.uri().clone().into_parts();
    // The rest of a valid target, if it starts with `/`, is a valid target.
    parts.path_and_query = PathAndQuery::try_from(rest).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Some(environ) = request.extensions_mut().get_mut::<Environ>() {
        environ.script_name = format!("{}{prefix}", environ.script_name).into();
    }
    if no_slash {
        request.extensions_mut().insert(NoTrailingSlash);
    }
}

/// The text of a 404 response, which lists the prefixes only in development.
fn nothing_here(routes: &[Route], request: &Request, development: bool) -> String {
    let mut text = format!("Nothing is mounted at {}\n", request.uri().path());
    if development {
        text += "\nMounted:\n";
        for route in routes {
            let host = route.host.as_deref().unwrap_or("");
            let port = route.port.map(|port| format!(":{port}")).unwrap_or_default();
            text += &format!("  {host}{port}{}/\n", route.prefix);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let ok = |from: &str, host: Option<&str>, port, prefix: &str| {
            assert_eq!(parse(from), Ok((host.map(str::to_owned), port, prefix.to_owned())), "{from}");
        };
        ok("/", None, None, "");
        ok("/a/b/", None, None, "/a/b");
        ok("Admin.example.org/", Some("admin.example.org"), None, "");
        ok("http://example.org:8080/x", Some("example.org"), Some(8080), "/x");
        ok("Bücher.example:80/", Some("xn--bcher-kva.example"), Some(80), "");
        ok("xn--Bcher-kva.example/", Some("xn--bcher-kva.example"), None, "");
        ok("[::1]:80/", Some("::1"), Some(80), "");
        ok("/a%40b", None, None, "/a@b");
        ok("/my files/ä", None, None, "/my files/ä");
        ok("/my%20files/%c3%a4", None, None, "/my files/ä");
        for wrong in [
            "",
            "files",
            "/a//b",
            "/a/../b",
            "/a?b",
            "/%2e%2e/b",
            "/a%2Fb",
            "/a%zz",
            "/a%2",
            "/%ff",
            "/%00",
            "example.org:99999/",
            "u@example.org/",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
