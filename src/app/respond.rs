//! `respond`: a fixed response.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::Builder;
use crate::body::{App, Body, Response};
use crate::config::{KeyPath, ReadPath, Table, join};
use crate::error::{Error, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "respond"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Status code, from 200 to 599.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 599))]
    status: u16,
    /// Header fields of the response, by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Body of the response.
    body: Option<String>,
    /// File with the body of the response, instead of `body`. It is read once, when the app is built.
    file: Option<ReadPath>,
}

fn ok() -> u16 {
    200
}

/// Creates the app. Without a `content-type` in `headers`, text is `text/plain; charset=utf-8`, and the type
/// of a file follows from its name.
pub(super) fn build(options: Options, table: &Table, _: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    let status = StatusCode::from_u16(options.status).expect("the schema allows 200 to 599");
    let mut headers = HeaderMap::new();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let body = match (options.body, &options.file) {
        (Some(_), Some(_)) => {
            errors.push(table.error("file", "`body` and `file` are both set").help("remove one of them"));
            Bytes::new()
        }
        (Some(body), None) => {
            headers.insert(CONTENT_TYPE, text);
            body.into()
        }
        (None, Some(file)) => {
            headers.insert(CONTENT_TYPE, super::media::media_type(file));
            match table.files().read(file) {
                Ok(content) => content.into(),
                Err(error) => {
                    let message = format!("cannot read the response file `{}`", file.display());
                    errors.push(table.error("file", message).because(error));
                    Bytes::new()
                }
            }
        }
        (None, None) => Bytes::new(),
    };
    for (name, value) in &options.headers {
        match header(table, &join("headers", name), name, value) {
            Ok((name, value)) => {
                headers.insert(name, value);
            }
            Err(error) => errors.push(error),
        }
    }
    Errors::check(errors)?;
    Ok(App::from_call(move |_| {
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        Box::pin(std::future::ready(Ok(response)))
    }))
}

/// A header field from the config; its value is at `key`.
fn header(table: &Table, key: &KeyPath, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed_name = HeaderName::try_from(name).map_err(|_| {
        table.error(key, format!("`{name}` is not a header name")).help("use letters, digits and `-`")
    })?;
    let parsed_value = HeaderValue::try_from(value).map_err(|_| {
        table
            .error(
                key,
                format!("the value of header `{name}` contains characters that are not allowed in a header"),
            )
            .help("remove line breaks and control characters")
    })?;
    Ok((parsed_name, parsed_value))
}
