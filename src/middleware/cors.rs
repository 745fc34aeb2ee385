//! `cors`: lets scripts of other origins use the app (Fetch Standard, section 3.2).

use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderValue};
use http::{Method, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use tower::Layer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::options::{Wrong, entries, header, method};
use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "cors"`.
///
/// The middleware answers preflight requests, so the app does not see them. Put `cors` outside of authentication, because a
/// preflight request has no credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Origins whose scripts may use the app: `https://example.org`, `https://*.example.org` for all subdomains,
    /// or `*` for any origin.
    origins: Vec<String>,
    /// Methods that these scripts may use; `*` for any.
    #[serde(default = "simple_methods")]
    methods: Vec<String>,
    /// Request fields that these scripts may set; `*` for any.
    #[serde(default = "content_type")]
    request_headers: Vec<String>,
    /// Additional response fields that these scripts may read.
    #[serde(default)]
    expose_headers: Vec<String>,
    /// Let these scripts send cookies and other credentials. Not possible with the origin `*`.
    #[serde(default)]
    credentials: bool,
    /// How long browsers may cache the response to a preflight request, in seconds.
    #[serde(default = "ten_minutes")]
    max_age_secs: u32,
}

fn simple_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).into()
}

fn content_type() -> Vec<String> {
    vec!["content-type".into()]
}

fn ten_minutes() -> u32 {
    600
}

/// An origin in the config.
enum AllowedOrigin {
    Any,
    /// Exactly this `Origin` field.
    One(String),
    /// Subdomains: what comes before and after the `*`.
    Below(String, String),
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    if options.origins.is_empty() {
        let error = table.error("origins", "`cors` without origins has no effect");
        errors.push(error.help("list the origins whose scripts may use the app, or remove the middleware"));
    }
    let any = |list: &[String]| list.iter().any(|entry| entry == "*");
    let origins = entries(table, "origins", &options.origins, &mut errors, origin);
    if options.credentials && any(&options.origins) {
        let error = table.error("credentials", "browsers do not send credentials if all origins are allowed");
        errors.push(error.help("list the origins instead of `*`"));
    }
    let methods = entries(table, "methods", &options.methods, &mut errors, method);
    let request_headers = entries(table, "request_headers", &options.request_headers, &mut errors, header);
    let expose_headers = entries(table, "expose_headers", &options.expose_headers, &mut errors, header);
    Errors::check(errors)?;
    let cors = CorsLayer::new()
        .allow_origin(allow_origin(origins))
        .allow_methods(match any(&options.methods) {
            true => AllowMethods::mirror_request(),
            false => AllowMethods::list(methods),
        })
        // `*` in the response would leave out `Authorization`.
        .allow_headers(match any(&options.request_headers) {
            true => AllowHeaders::mirror_request(),
            false => AllowHeaders::list(request_headers),
        })
        .expose_headers(expose_headers)
        .allow_credentials(options.credentials)
        .max_age(Duration::from_secs(options.max_age_secs.into()));
    let cors = App::new(cors.layer(next.clone()));
    Ok(App::from_call(move |request| {
        // The layer takes every OPTIONS request for a preflight.
        let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() == Method::OPTIONS && !preflight {
            next.handle(request)
        } else {
            cors.handle(request)
        }
    }))
}

/// An origin as browsers send it: scheme, host in lower case, and port unless it is the default.
fn origin(text: &str) -> Result<AllowedOrigin, Wrong> {
    if text == "*" {
        return Ok(AllowedOrigin::Any);
    }
    let wrong = || {
        let help = "write `https://example.org` or `https://*.example.org`, without a path or a default port";
        Err((format!("`{text}` is not an origin"), help))
    };
    let plain = text.replacen("://*.", "://", 1);
    let Ok(uri) = plain.parse::<Uri>() else { return wrong() };
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return wrong(),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let whole = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
    let lower = authority.chars().any(|c| c.is_ascii_uppercase());
    if whole != plain || lower || authority.contains('@') || uri.port_u16() == Some(default_port) {
        return wrong();
    }
    match text.split_once("://*.") {
        Some((scheme, host)) => Ok(AllowedOrigin::Below(format!("{scheme}://"), format!(".{host}"))),
        None => Ok(AllowedOrigin::One(text.to_owned())),
    }
}

fn allow_origin(origins: Vec<AllowedOrigin>) -> AllowOrigin {
    if origins.iter().any(|origin| matches!(origin, AllowedOrigin::Any)) {
        return AllowOrigin::any();
    }
    AllowOrigin::predicate(move |given: &HeaderValue, _| {
        let given = given.to_str().unwrap_or_default();
        origins.iter().any(|origin| match origin {
            AllowedOrigin::Any => true,
            AllowedOrigin::One(one) => one == given,
            AllowedOrigin::Below(scheme, host) => given
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(host.as_str()))
                .is_some_and(|name| !name.is_empty() && !name.contains(['/', '@', ':'])),
        })
    })
}
