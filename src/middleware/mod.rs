//! Middleware: one file each, with its `Options` and a function that wraps an app into another app.
//!
//! A layer that passes a request on unchanged returns the inner future ([`App::from_call`](crate::body::App::from_call)) and boxes
//! nothing. `ops/assemble.rs` documents the cost of the others.

mod access_log;
mod api_key;
mod auth_basic;
mod auth_digest;
mod auth_form;
mod auth_forward;
mod auth_jwt;
#[cfg(feature = "auth_ldap")]
mod auth_ldap;
#[cfg(feature = "auth_oidc")]
mod auth_oidc;
mod auth_ticket;
mod ban;
pub(crate) mod body_limit;
mod buffer;
mod cache;
mod canary;
mod chain;
mod circuit_breaker;
#[cfg(feature = "compress")]
mod compress;
mod concurrency_limit;
mod cors;
mod csrf;
mod error_document;
mod error_page;
#[cfg(feature = "auth_ldap")]
mod failed_logins;
pub mod failure;
mod followed;
mod grant_ip;
mod headers;
mod health;
mod identity;
mod kind;
mod lint;
mod lowercase;
mod metrics;
pub mod only;
mod options;
pub mod password;
mod peers;
mod place;
mod plugin;
mod print_debug;
#[cfg(feature = "profile")]
mod profile;
mod progress;
mod proxy_headers;
mod rate_limit;
pub mod record;
mod redirect;
mod refusal;
mod request_id;
mod request_key;
mod rewrite;
#[cfg(feature = "auth_oidc")]
mod sealed;
mod secret;
mod security_headers;
mod session;
mod shared_bans;
mod static_overlay;
mod template;
mod timeout;
mod trace;
#[cfg(feature = "validate_html")]
mod validate_html;

use std::sync::LazyLock;

use crate::registry::{Entries, Entry};
pub use kind::{MiddlewareBuilder, MiddlewareKind};
pub use place::StackPlace;

/// Every kind of middleware.
pub static MIDDLEWARE: Entries<MiddlewareKind> = LazyLock::new(|| {
    vec![
        Entry::of(
            "access_log",
            "Writes one line per request in the common, combined or JSON format",
            access_log::build,
        )
        .at(StackPlace::Observing),
        Entry::of(
            "api_key",
            "Requires programs to send a key, of which only a hash is stored",
            api_key::build,
        )
        .at(StackPlace::Authenticating),
        Entry::of(
            "auth_basic",
            "Asks for a name and a password, and checks them against an htpasswd file",
            auth_basic::build,
        )
        .at(StackPlace::Authenticating),
        Entry::of(
            "auth_digest",
            "Asks for a name and a password, which are not sent in the clear",
            auth_digest::build,
        )
        .at(StackPlace::Authenticating),
        Entry::of("auth_form", "Shows a login page, and stores the user in the session", auth_form::build)
            .at(StackPlace::Authenticating),
        Entry::linking(
            "auth_forward",
            "Asks another app whether a request may pass",
            auth_forward::build,
            auth_forward::links,
        )
        .at(StackPlace::Authenticating),
        Entry::linking(
            "auth_jwt",
            "Checks signed tokens of an identity provider",
            auth_jwt::build,
            auth_jwt::links,
        )
        .at(StackPlace::Authenticating),
        #[cfg(feature = "auth_ldap")]
        Entry::of(
            "auth_ldap",
            "Asks for a name and a password, and checks them with an LDAP directory",
            auth_ldap::build,
        )
        .at(StackPlace::Authenticating),
        #[cfg(not(feature = "auth_ldap"))]
        Entry::lacking("auth_ldap", "Not in this build: needs the feature `auth_ldap`"),
        #[cfg(feature = "auth_oidc")]
        Entry::of("auth_oidc", "Logs users in at an OpenID Connect provider", auth_oidc::build)
            .at(StackPlace::Authenticating),
        #[cfg(not(feature = "auth_oidc"))]
        Entry::lacking("auth_oidc", "Not in this build: needs the feature `auth_oidc`"),
        Entry::of(
            "auth_ticket",
            "Checks signed tickets in a cookie, in the format of mod_auth_tkt and Paste",
            auth_ticket::build,
        )
        .at(StackPlace::Authenticating),
        Entry::of(
            "ban",
            "Temporarily refuses clients that have caused many errors, such as failed logins",
            ban::build,
        )
        .at(StackPlace::Refusing),
        Entry::of("body_limit", "Answers 413 if the request body is too long", body_limit::build)
            .limits_bodies(),
        Entry::of(
            "buffer",
            "Buffers whole bodies before passing them on, in memory or in temporary files",
            buffer::build,
        )
        .at(StackPlace::Encoding),
        Entry::with_builder(
            "cache",
            "Stores responses in memory, on disk or in Redis, and reuses them",
            cache::build,
        )
        .at(StackPlace::Storing),
        Entry::linking("canary", "Sends a share of the clients to another app", canary::build, canary::links),
        Entry::of(
            "circuit_breaker",
            "Temporarily answers 503 if the application fails too often",
            circuit_breaker::build,
        ),
        #[cfg(feature = "compress")]
        Entry::of("compress", "Compresses responses with zstd, br or gzip", compress::build)
            .at(StackPlace::Encoding),
        #[cfg(not(feature = "compress"))]
        Entry::lacking("compress", "Not in this build: needs the feature `compress`")
            .at(StackPlace::Encoding),
        Entry::of(
            "concurrency_limit",
            "Limits how many requests are handled at once, with a queue",
            concurrency_limit::build,
        ),
        Entry::of("cors", "Allows scripts of other origins to use the application", cors::build)
            .at(StackPlace::Addressing),
        Entry::of("csrf", "Refuses requests that pages of other sites make browsers send", csrf::build)
            .at(StackPlace::Authenticating),
        Entry::of(
            "error_document",
            "Lets the application itself write the pages for errors",
            error_document::build,
        )
        .at(StackPlace::ErrorPages),
        Entry::of(
            "error_page",
            "Turns errors, panics and empty error responses into readable pages",
            error_page::build,
        )
        .at(StackPlace::ErrorPages)
        .shows_times(),
        Entry::of("grant_ip", "Allows or refuses requests by the address of the client", grant_ip::build)
            .at(StackPlace::Refusing),
        Entry::of(
            "headers",
            "Sets, appends and removes header fields of requests and responses",
            headers::build,
        )
        .at(StackPlace::Addressing),
        Entry::of(
            "health",
            "Answers health checks: whether the process is alive and the apps are ready",
            health::build,
        )
        .at(StackPlace::Observing),
        Entry::of(
            "lint",
            "Checks that servers and applications follow the rules of the gateway interface",
            lint::build,
        ),
        Entry::of(
            "lowercase",
            "Converts text to lower case: the smallest example of a middleware",
            lowercase::build,
        )
        .at(StackPlace::Encoding),
        Entry::of("metrics", "Reports the metrics of all workers, for Prometheus", metrics::build)
            .at(StackPlace::Observing)
            .needs_times(),
        Entry::with_builder(
            "plugin",
            "Runs middleware from a dynamic library: a Rust crate, or any language over the C ABI",
            plugin::build,
        )
        .library(plugin::library),
        Entry::of(
            "print_debug",
            "Shows requests as the application sees them, as CGI variables",
            print_debug::build,
        ),
        #[cfg(feature = "profile")]
        Entry::of(
            "profile",
            "Returns a flame graph of the worker, or of a Python application",
            profile::build,
        )
        .at(StackPlace::Observing),
        #[cfg(not(feature = "profile"))]
        Entry::lacking("profile", "Not in this build: needs the feature `profile`").at(StackPlace::Observing),
        Entry::of("progress", "Reports the progress of uploads to pages", progress::build)
            .at(StackPlace::Observing),
        Entry::of(
            "proxy_headers",
            "Adds the public address of an application behind a proxy",
            proxy_headers::build,
        )
        .at(StackPlace::Addressing),
        Entry::of("rate_limit", "Answers 429 to clients that send too many requests", rate_limit::build)
            .at(StackPlace::Refusing),
        Entry::of("record", "Records requests and responses in a file, for `paster replay`", record::build)
            .at(StackPlace::Observing),
        Entry::of(
            "redirect",
            "Redirects clients to the canonical address of the site: HTTPS, one host, current paths",
            redirect::build,
        )
        .at(StackPlace::Addressing),
        Entry::of(
            "request_id",
            "Gives each request an id that appears in the app, the log and the response",
            request_id::build,
        )
        .at(StackPlace::Observing),
        Entry::of(
            "rewrite",
            "Changes the paths of requests before the application sees them",
            rewrite::build,
        ),
        Entry::of(
            "security_headers",
            "Sets response fields that enable the security features of browsers",
            security_headers::build,
        )
        .at(StackPlace::Addressing),
        Entry::of("session", "Stores values for each visitor between requests", session::build)
            .at(StackPlace::Authenticating),
        Entry::linking(
            "static_overlay",
            "Serves files first, and passes all other requests on to the application",
            static_overlay::build,
            static_overlay::links,
        ),
        Entry::of("timeout", "Answers 504 if the application is too slow", timeout::build),
        Entry::of(
            "trace",
            "Sends spans for each request and each middleware to an OpenTelemetry collector",
            trace::build,
        )
        .at(StackPlace::Observing)
        .needs_times(),
        #[cfg(feature = "validate_html")]
        Entry::of("validate_html", "Finds errors in the HTML of the application", validate_html::build)
            .at(StackPlace::Encoding),
        #[cfg(not(feature = "validate_html"))]
        Entry::lacking("validate_html", "Not in this build: needs the feature `validate_html`")
            .at(StackPlace::Encoding),
    ]
});
