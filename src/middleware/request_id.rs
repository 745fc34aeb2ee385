//! `request_id`: gives each request an id that appears in the app, the log and the response.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Request};
use crate::config::{Network, Table};
use crate::context::Context;
use crate::environ::{Environ, RequestId};
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "request_id"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Name of the header field.
    #[serde(default = "x_request_id")]
    header: String,
    /// Peers whose request id is kept: addresses, networks (`10.0.0.0/8`), `unix` for any peer on a Unix
    /// socket. Ids from other peers are replaced.
    #[serde(default)]
    trusted: Vec<Network>,
}

fn x_request_id() -> String {
    "x-request-id".into()
}

/// Longest id that is accepted from a peer, in characters.
const LONGEST: usize = 128;

/// Wraps `next`: the id is in the header of the request and of the response, and in [`RequestId`].
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let header = HeaderName::try_from(&options.header);
    if header.is_err() {
        let error = table.error("header", format!("`{}` is not a header name", options.header));
        errors.push(error.help("use letters, digits and `-`"));
    }
    Errors::check(errors)?;
    let Ok(header) = header else { unreachable!("checked above") };
    Ok(App::from_call(move |mut request| {
        let id = given(&request, &header, &options.trusted)
            .unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string())
            .into();
        set(request.headers_mut(), &header, &id);
        if let Some(environ) = request.extensions().get::<Environ>() {
            environ.handle.name(&id);
        }
        request.extensions_mut().insert(RequestId(id.clone()));
        let response = next.handle(request);
        let header = header.clone();
        Box::pin(async move {
            let mut response = response.await?;
            set(response.headers_mut(), &header, &id);
            response.extensions_mut().insert(RequestId(id));
            Ok(response)
        })
    }))
}

/// The id that a trusted peer sent, if it is valid.
fn given(request: &Request, header: &HeaderName, trusted: &[Network]) -> Option<String> {
    let environ = request.extensions().get::<Environ>()?;
    let peer = environ.peer.map(|peer| peer.ip());
    let believed = trusted.iter().any(|network| network.contains(peer));
    let id = request.headers().get(header).filter(|_| believed)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+/=:".contains(&byte));
    (plain && !id.is_empty() && id.len() <= LONGEST).then(|| id.to_owned())
}

fn set(headers: &mut HeaderMap, header: &HeaderName, id: &Arc<str>) {
    // It contains only visible characters.
    if let Ok(value) = HeaderValue::try_from(&**id) {
        headers.insert(header, value);
    }
}
