//! `error_document`: the app itself writes the pages for errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT, HeaderName, HeaderValue,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::options::{path, value};
use crate::body::{App, Body, Request, Response};
use crate::config::{Table, join};
use crate::context::Context;
use crate::error::{BoxError, Error, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "error_document"`.
///
/// If the app responds with one of the statuses, paster requests the page at the path from it, with GET, and sends that page
/// with the original status. The app gets the status in the field `X-Error-Status` and the path in `X-Error-Path`. If the page
/// itself fails, the original response is sent.
///
/// ```toml
/// [middleware.errors]
/// use = "error_document"
/// pages = { "404" = "/errors/missing", "5xx" = "/errors/sorry" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Paths of pages, below the app's mount, by status or by class: `"404"`, `"4xx"`, `"5xx"`.
    pages: BTreeMap<String, String>,
}

const ERROR_STATUS: HeaderName = HeaderName::from_static("x-error-status");
const ERROR_PATH: HeaderName = HeaderName::from_static("x-error-path");

/// Fields of the first request that do not apply to the page.
const ABOUT_THE_FIRST: [HeaderName; 11] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    TRANSFER_ENCODING,
    UPGRADE,
];

struct ErrorDocuments {
    pages: BTreeMap<String, PathAndQuery>,
    next: App,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut pages = BTreeMap::new();
    for (status, page) in &options.pages {
        let key = join("pages", status);
        let known = matches!(&**status, "4xx" | "5xx");
        if !known && !status.parse::<u16>().is_ok_and(|status| (400..600).contains(&status)) {
            let error =
                Error::config(format!("`{status}` is not a status for errors")).at(table.key_origin(&key));
            errors.push(error.help("write a number from 400 to 599, or `4xx` or `5xx` for a whole class"));
        }
        pages.extend(value(table, key, page, &mut errors, path).map(|page| (status.clone(), page)));
    }
    Errors::check(errors)?;
    let documents = Arc::new(ErrorDocuments { pages, next });
    Ok(App::from_call(move |mut request| {
        // What the client sends is not a fact.
        request.headers_mut().remove(ERROR_STATUS);
        request.headers_mut().remove(ERROR_PATH);
        let (head, body) = request.into_parts();
        let seen = head.clone();
        let response = documents.next.handle(Request::from_parts(head, body));
        let documents = documents.clone();
        Box::pin(async move {
            let response = response.await?;
            match documents.page(response.status()) {
                Some(page) => documents.replace(seen, response, page).await,
                None => Ok(response),
            }
        })
    }))
}

impl ErrorDocuments {
    fn page(&self, status: StatusCode) -> Option<&PathAndQuery> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let class = if status.is_server_error() { "5xx" } else { "4xx" };
        self.pages.get(status.as_str()).or_else(|| self.pages.get(class))
    }

    async fn replace(
        &self,
        first: Parts,
        response: Response,
        page: &PathAndQuery,
    ) -> Result<Response, BoxError> {
        let status = response.status();
        let found = self.next.handle(request_for(first, status, page)).await;
        let (found, body) = match found {
            Ok(found) if found.status().is_success() => found.into_parts(),
            Ok(found) => {
                let reason = found.status().as_u16();
                tracing::error!(page = page.path(), status = reason, "the page for an error has failed");
                return Ok(response);
            }
            Err(error) => {
                tracing::error!(page = page.path(), "the page for an error has failed: {error}");
                return Ok(response);
            }
        };
        let (mut head, _) = response.into_parts();
        // The fields that describe the body come from the page; all others, such as a challenge, stay.
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
            head.headers.remove(&name);
            if let Some(value) = found.headers.get(&name).filter(|_| name != ETAG && name != LAST_MODIFIED) {
                head.headers.insert(name, value.clone());
            }
        }
        Ok(Response::from_parts(head, body))
    }
}

/// The request for the page at `page`.
fn request_for(mut head: Parts, status: StatusCode, page: &PathAndQuery) -> Request {
    let path = HeaderValue::try_from(head.uri.path());
    for name in ABOUT_THE_FIRST {
        head.headers.remove(name);
    }
    head.headers.insert(ERROR_STATUS, HeaderValue::from(status.as_u16()));
    if let Ok(path) = path {
        head.headers.insert(ERROR_PATH, path);
    }
    if head.method != Method::HEAD {
        head.method = Method::GET;
    }
    head.uri = Uri::from(page.clone());
    Request::from_parts(head, Body::empty())
}
