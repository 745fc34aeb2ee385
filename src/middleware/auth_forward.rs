//! `auth_forward`: asks another app whether a request may pass, as nginx's `auth_request` and Traefik's
//! `forwardAuth` do.

use std::sync::Arc;

use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::MiddlewareBuilder;
use super::identity::pass_as;
use super::options::{entries, header, path, value};
use super::refusal::refusal;
use crate::body::{App, Body, Request, Response};
use crate::config::{AppLink, Table};
use crate::environ::{Environ, RemoteUser};
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "auth_forward"`.
///
/// The other app gets a GET request with the fields of the client, and the client's request line in
/// `X-Original-Method`, `X-Original-URI` and `X-Original-URL`. If it responds with 2xx, the request passes. Any other
/// response, such as a redirect to a login page, goes to the client.
///
/// ```toml
/// [middleware.sso]
/// use = "auth_forward"
/// app = "authelia"
/// path = "/api/authz/auth-request"
/// copy = ["remote-user", "remote-groups"]
/// user_header = "remote-user"
///
/// [app.authelia]
/// use = "proxy"
/// upstreams = ["http://127.0.0.1:9091"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Name of the app that decides, usually a `proxy`.
    app: String,
    /// The path to request, with an optional query.
    #[serde(default = "root")]
    path: String,
    /// Fields of its response to copy to the request. Values from clients in these fields are always removed.
    #[serde(default)]
    copy: Vec<String>,
    /// Field of its response with the name of the user (`REMOTE_USER`).
    user_header: Option<String>,
    /// Field of its response with the groups of the user, separated by commas (`REMOTE_GROUPS`).
    groups_header: Option<String>,
}

fn root() -> String {
    "/".into()
}

struct ForwardAuth {
    app: App,
    path: PathAndQuery,
    copy: Vec<HeaderName>,
    user: Option<HeaderName>,
    groups: Option<HeaderName>,
    next: App,
}

const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// Wraps `next`.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let app = (builder.resolve)(&options.app, table.origin("app"));
    let mut errors = Vec::new();
    let path = value(table, "path", &options.path, &mut errors, path);
    let copy = entries(table, "copy", &options.copy, &mut errors, header);
    let user = options.user_header.as_deref();
    let user = user.and_then(|name| value(table, "user_header", name, &mut errors, header));
    let groups = options.groups_header.as_deref();
    let groups = groups.and_then(|name| value(table, "groups_header", name, &mut errors, header));
    Errors::check(errors)?;
    let Some(path) = path else { unreachable!("checked above") };
    let auth = Arc::new(ForwardAuth { app, path, copy, user, groups, next });
    Ok(App::from_call(move |request| {
        let auth = auth.clone();
        Box::pin(async move { auth.answer(request).await })
    }))
}

/// The app that decides.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    vec![AppLink { at: format!("asks {}", options.path), app: options.app.clone(), key: "app".into() }]
}

impl ForwardAuth {
    async fn answer(&self, mut request: Request) -> Result<Response, BoxError> {
        for name in self.copy.iter().chain(&self.user).chain(&self.groups) {
            request.headers_mut().remove(name);
        }
        let (mut head, body) = request.into_parts();
        let decision = match self.app.handle(self.question(&head)).await {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!("the authentication app has failed: {error}");
                let text = "The authentication service does not respond.\n";
                return Ok(refusal(StatusCode::BAD_GATEWAY, "no decision about the request", text));
            }
        };
        if !decision.status().is_success() {
            return Ok(decision);
        }
        for name in &self.copy {
            for value in decision.headers().get_all(name) {
                head.headers.append(name, value.clone());
            }
        }
        let user = self.user.as_ref().and_then(|name| decision.headers().get(name)?.to_str().ok());
        let user = user.filter(|user| !user.is_empty()).map(|user| RemoteUser::new(user, "Forward"));
        let fields = self.groups.iter().flat_map(|name| decision.headers().get_all(name));
        let groups = fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','));
        let user = user.map(|user| user.with_groups(groups));
        let request = Request::from_parts(head, body);
        match user {
            Some(user) => pass_as(user, request, &self.next).await,
            None => self.next.handle(request).await,
        }
    }

    /// The request to the app that decides.
    fn question(&self, head: &Parts) -> Request {
        let mut asked = head.clone();
        for name in [CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING, UPGRADE] {
            asked.headers.remove(name);
        }
        let mount = head.extensions.get::<Environ>().map(|environ| environ.script_name.clone());
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = format!("{}{target}", mount.unwrap_or_default());
        let url = head.extensions.get::<Environ>().map(|environ| {
            let scheme = if environ.secure { "https" } else { "http" };
            format!("{scheme}://{}{target}", environ.authority())
        });
        let fields = [
            (ORIGINAL_METHOD, Some(head.method.to_string())),
            (ORIGINAL_URI, Some(target)),
            (ORIGINAL_URL, url),
        ];
        for (name, value) in fields {
            asked.headers.remove(&name);
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                asked.headers.insert(name, value);
            }
        }
        if let Some(environ) = asked.extensions.get_mut::<Environ>() {
            environ.script_name = "".into(); // the path is the app's own
        }
        asked.method = Method::GET;
        asked.uri = Uri::from(self.path.clone());
        Request::from_parts(asked, Body::empty())
    }
}
