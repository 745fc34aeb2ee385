//! `lowercase`: lower-cases text. The smallest middleware that changes a response: a starting point for your
//! own.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Body, Response};
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;

/// Options of a `[middleware.NAME]` table with `use = "lowercase"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Media types to change, by prefix.
    #[serde(default = "text")]
    types: Vec<String>,
}

fn text() -> Vec<String> {
    vec!["text/".into()]
}

/// Wraps `next`: lower-cases the letters A to Z of its text, piece by piece as the body streams. Other
/// letters stay, because lower-casing may change their length and so the `content-length`.
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    Ok(App::from_call(move |request| {
        let response = next.handle(request);
        let types = options.types.clone();
        Box::pin(async move {
            let response = response.await?;
            if !is_one_of(&types, &response) {
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(body.map_frame(|frame| frame.map_data(lower)))))
        })
    }))
}

fn lower(data: bytes::Bytes) -> bytes::Bytes {
    data.to_ascii_lowercase().into()
}

/// Whether the body has one of these types and is not compressed.
fn is_one_of(types: &[String], response: &Response) -> bool {
    let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let plain = !response.headers().contains_key(CONTENT_ENCODING);
    plain && types.iter().any(|start| media.starts_with(start.as_str()))
}
