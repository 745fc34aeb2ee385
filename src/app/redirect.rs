//! `redirect`: sends every request to another address.

use http::header::{HeaderValue, LOCATION};
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::target::path_and_query;
use crate::app::Builder;
use crate::body::{App, text_response};
use crate::codec::host_name::to_ascii;
use crate::config::Table;
use crate::error::{Errors, Result};

/// Options of an `[app.NAME]` table with `use = "redirect"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Where to redirect: an absolute URL (`https://example.org/new`) or a path on this host (`/new`).
    to: String,
    /// The status: 301 and 308 are permanent, 302 and 307 temporary. 307 and 308 keep the method; 303 changes
    /// it to GET.
    #[serde(default = "temporary")]
    status: u16,
    /// Append the request's path (below its mount) and query to `to`.
    #[serde(default)]
    keep_path: bool,
    /// Append the request's query to `to`. `keep_path` includes it.
    #[serde(default)]
    keep_query: bool,
}

fn temporary() -> u16 {
    307
}

/// Creates the app.
pub(super) fn build(mut options: Options, table: &Table, _: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    if !matches!(options.status, 301 | 302 | 303 | 307 | 308) {
        errors.push(
            table
                .error("status", format!("`{}` is not a redirect status", options.status))
                .help("use 301, 302, 303, 307 or 308"),
        );
    }
    options.to = with_ascii_host(options.to);
    let absolute =
        options.to.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some());
    let local = options.to.starts_with('/') && !options.to[1..].starts_with(['/', '\\']);
    if !(absolute || local) || HeaderValue::try_from(&options.to).is_err() {
        errors.push(
            table.error("to", format!("cannot redirect to `{}`", options.to)).help(
                "write a URL with its scheme (`https://example.org/new`) or a path that begins with `/`",
            ),
        );
    }
    Errors::check(errors)?;
    let status = StatusCode::from_u16(options.status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
    let Options { to, keep_path, keep_query, .. } = options;
    Ok(App::from_call(move |request| {
        let location = target(&to, request.uri(), keep_path, keep_query);
        let mut response = text_response(status, format!("See {location}\n"));
        // The URI was parsed from a request, so its characters are valid in a header.
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        Box::pin(std::future::ready(Ok(response)))
    }))
}

/// A URL with its host in ASCII form, as a header requires.
fn with_ascii_host(to: String) -> String {
    let Some((scheme, rest)) = to.split_once("://") else { return to };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match to_ascii(host) {
        Some(host) => format!("{scheme}://{host}{path}"),
        None => to,
    }
}

/// `to`, with the path and query of `uri` appended as configured.
fn target(to: &str, uri: &Uri, keep_path: bool, keep_query: bool) -> String {
    if keep_path {
        let base = to.strip_suffix('/').unwrap_or(to);
        // With `to = "/"` the base is empty: the target must not begin with `//evil`.
        let rest = path_and_query(uri).trim_start_matches(['/', '\\']);
        return format!("{base}/{rest}");
    }
    match uri.query().filter(|_| keep_query) {
        Some(query) => format!("{to}{}{query}", if to.contains('?') { '&' } else { '?' }),
        None => to.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_hosts() {
        let check = |to: &str, expected: &str| assert_eq!(with_ascii_host(to.into()), expected);
        check("https://bücher.example:81/a?b", "https://xn--bcher-kva.example:81/a?b");
        check("https://example.org", "https://example.org");
        check("/bücher", "/bücher");
    }

    #[test]
    fn targets() {
        let check = |to, uri: &str, keep_path, keep_query, expected: &str| {
            assert_eq!(target(to, &uri.parse().unwrap(), keep_path, keep_query), expected);
        };
        check("/new", "/a/b?c=d", false, false, "/new");
        check("/new", "/a/b?c=d", false, true, "/new?c=d");
        check("/new?x=1", "/a/b?c=d", false, true, "/new?x=1&c=d");
        check("https://example.org/", "/a/b?c=d", true, false, "https://example.org/a/b?c=d");
        check("https://example.org", "/", true, false, "https://example.org/");
        check("/", "//evil.example/", true, false, "/evil.example/");
        check("/", "/\\evil.example/", true, false, "/evil.example/");
    }
}
