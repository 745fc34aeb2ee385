//! `security_headers`: response fields that enable the security features of browsers.
//!
//! tower-http sets one field per layer. This sets them all in one pass, and HSTS depends on the request.

use std::sync::Arc;

use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::options::{entries, header};
use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "security_headers"`.
///
/// Fields that the app has set itself are kept. An empty string omits a field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// `Content-Security-Policy`. The default allows only content from the site itself, and no inline scripts or styles.
    content_security_policy: String,
    /// Send the policy as `Content-Security-Policy-Report-Only`: browsers report violations and block nothing.
    report_only: bool,
    /// `max-age` of `Strict-Transport-Security` in seconds. For this time, browsers use only HTTPS for the host. The field is
    /// sent only over TLS, and not for `localhost`. 0 omits it.
    hsts_secs: u64,
    /// Extend `Strict-Transport-Security` to all subdomains.
    hsts_subdomains: bool,
    /// Ask for the host to be built into browsers (<https://hstspreload.org>). Needs `hsts_subdomains` and a
    /// year.
    hsts_preload: bool,
    /// `X-Frame-Options`, for browsers without support for `frame-ancestors`.
    frame_options: String,
    /// `Referrer-Policy`.
    referrer_policy: String,
    /// `Permissions-Policy`.
    permissions_policy: String,
    /// `Cross-Origin-Opener-Policy`.
    opener_policy: String,
    /// `Cross-Origin-Resource-Policy`: which sites may embed responses.
    resource_policy: String,
    /// `X-Content-Type-Options`.
    content_type_options: String,
    /// Fields to remove, because they reveal the software to attackers.
    remove: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            content_security_policy: "default-src 'self'; base-uri 'self'; form-action 'self'; \
                                      frame-ancestors 'self'; img-src 'self' data:; object-src 'none'"
                .into(),
            report_only: false,
            hsts_secs: YEAR_SECS,
            hsts_subdomains: false,
            hsts_preload: false,
            frame_options: "SAMEORIGIN".into(),
            referrer_policy: "strict-origin-when-cross-origin".into(),
            permissions_policy: "camera=(), geolocation=(), microphone=()".into(),
            opener_policy: "same-origin".into(),
            resource_policy: "same-origin".into(),
            content_type_options: "nosniff".into(),
            remove: vec![SERVER.to_string(), "x-powered-by".into()],
        }
    }
}

const YEAR_SECS: u64 = 31_536_000;

struct SecurityHeaders {
    set: Vec<(HeaderName, HeaderValue)>,
    /// `Strict-Transport-Security`.
    hsts: Option<HeaderValue>,
    remove: Vec<HeaderName>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let policy = match options.report_only {
        true => CONTENT_SECURITY_POLICY_REPORT_ONLY,
        false => CONTENT_SECURITY_POLICY,
    };
    let fields = [
        ("content_security_policy", policy, &options.content_security_policy),
        ("frame_options", X_FRAME_OPTIONS, &options.frame_options),
        ("referrer_policy", REFERRER_POLICY, &options.referrer_policy),
        ("permissions_policy", HeaderName::from_static("permissions-policy"), &options.permissions_policy),
        ("opener_policy", HeaderName::from_static("cross-origin-opener-policy"), &options.opener_policy),
        (
            "resource_policy",
            HeaderName::from_static("cross-origin-resource-policy"),
            &options.resource_policy,
        ),
        ("content_type_options", X_CONTENT_TYPE_OPTIONS, &options.content_type_options),
    ];
    let mut set = Vec::new();
    for (key, name, value) in fields.into_iter().filter(|(_, _, value)| !value.is_empty()) {
        match HeaderValue::try_from(value) {
            Ok(value) => set.push((name, value)),
            Err(_) => {
                let error =
                    table.error(key, format!("`{key}` contains characters that are not allowed in a header"));
                errors.push(error.help("remove line breaks and control characters"));
            }
        }
    }
    if options.hsts_preload && !(options.hsts_subdomains && options.hsts_secs >= YEAR_SECS) {
        let error = table.error("hsts_preload", "browsers do not preload this host");
        errors
            .push(error.help(format!("set `hsts_subdomains = true` and `hsts_secs = {YEAR_SECS}` or more")));
    }
    let remove = entries(table, "remove", &options.remove, &mut errors, header);
    Errors::check(errors)?;
    let headers = Arc::new(SecurityHeaders { set, hsts: hsts(&options), remove });
    Ok(App::from_call(move |request| {
        let environ = request.extensions().get::<Environ>();
        let secure = environ.is_some_and(|environ| environ.secure && &*environ.host != "localhost");
        let response = next.handle(request);
        let headers = headers.clone();
        Box::pin(async move {
            let mut response = response.await?;
            headers.apply(response.headers_mut(), secure);
            Ok(response)
        })
    }))
}

/// RFC 6797, section 6.1.
fn hsts(options: &Options) -> Option<HeaderValue> {
    let mut value = format!("max-age={}", options.hsts_secs);
    for (set, directive) in
        [(options.hsts_subdomains, "; includeSubDomains"), (options.hsts_preload, "; preload")]
    {
        value += if set { directive } else { "" };
    }
    HeaderValue::try_from(value).ok().filter(|_| options.hsts_secs > 0)
}

impl SecurityHeaders {
    fn apply(&self, headers: &mut HeaderMap, secure: bool) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        if let Some(hsts) = self.hsts.as_ref().filter(|_| secure) {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
    }
}
