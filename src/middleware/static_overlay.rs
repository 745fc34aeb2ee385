//! `static_overlay`: files first, then the app.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::MiddlewareBuilder;
use crate::body::{App, Body, Request};
use crate::config::{AppLink, Table};
use crate::error::Result;

/// Options of a `[middleware.NAME]` table with `use = "static_overlay"`.
///
/// A GET or HEAD request goes to the app with the files. If that app has no such file (404), the request goes to the app
/// behind this middleware, like all other requests.
///
/// ```toml
/// [app.main]
/// use = "wsgi"
/// application = "shop:app"
/// middleware = ["files_first"]
///
/// [middleware.files_first]
/// use = "static_overlay"
/// app = "files"
///
/// [app.files]
/// use = "static"
/// publish_dir = "public"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Name of the app with the files, usually a `static` one.
    app: String,
}

/// Wraps `next`.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let files = (builder.resolve)(&options.app, table.origin("app"));
    Ok(App::from_call(move |request| {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return next.handle(request);
        }
        let (head, body) = request.into_parts();
        let file = files.handle(Request::from_parts(head.clone(), Body::empty()));
        let next = next.clone();
        Box::pin(async move {
            let response = file.await?;
            match response.status() {
                StatusCode::NOT_FOUND => next.handle(Request::from_parts(head, body)).await,
                _ => Ok(response),
            }
        })
    }))
}

/// The app with the files.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    vec![AppLink { at: "first".into(), app: options.app.clone(), key: "app".into() }]
}
