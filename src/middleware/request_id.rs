//! `request_id`: gives each request an id that appears in the app, the log and the response.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Request};
use crate::config::{Table, item};
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
    trusted: Vec<String>,
}

fn x_request_id() -> String {
    "x-request-id".into()
}

/// Longest id that is accepted from a peer, in characters.
const LONGEST: usize = 128;

#[derive(Debug, Default)]
struct Trusted {
    nets: Vec<IpNet>,
    unix: bool,
}

/// Wraps `next`: the id is in the header of the request and of the response, and in [`RequestId`].
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let header = HeaderName::try_from(&options.header);
    if header.is_err() {
        let error = table.error("header", format!("`{}` is not a header name", options.header));
        errors.push(error.help("use letters, digits and `-`"));
    }
    let mut trusted = Trusted::default();
    for (index, entry) in options.trusted.iter().enumerate() {
        match (entry.as_str(), entry.parse::<IpNet>(), entry.parse::<std::net::IpAddr>()) {
            ("unix", ..) => trusted.unix = true,
            (_, Ok(net), _) => trusted.nets.push(net),
            (_, _, Ok(address)) => trusted.nets.push(address.into()),
            _ => errors.push(
                table
                    .error(item("trusted", index), format!("`{entry}` is not a peer"))
                    .help("write an address, a network such as `10.0.0.0/8`, or `unix`"),
            ),
        }
    }
    Errors::check(errors)?;
    let Ok(header) = header else { unreachable!("checked above") };
    Ok(App::from_call(move |mut request| {
        let id = given(&request, &header, &trusted)
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
fn given(request: &Request, header: &HeaderName, trusted: &Trusted) -> Option<String> {
    let environ = request.extensions().get::<Environ>()?;
    let believed = match environ.peer {
        Some(peer) => trusted.nets.iter().any(|net| net.contains(&peer.ip().to_canonical())),
        None => trusted.unix,
    };
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
