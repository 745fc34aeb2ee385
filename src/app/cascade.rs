//! `cascade`: tries apps in turn until one responds.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::{AppLink, Builder};
use crate::body::{App, Body, Request, Response, text_response};
use crate::config::{Table, item};
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "cascade"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Names of the apps, in the order to try them.
    apps: Vec<String>,
    /// Response statuses after which the next app is tried. The response of the last app is final.
    #[serde(default = "not_found")]
    next_on: BTreeSet<u16>,
    /// Maximum length of a request body in bytes; longer ones get 413. The body is buffered, so that each app
    /// can read it.
    #[serde(default = "one_mib")]
    max_body_bytes: usize,
}

fn not_found() -> BTreeSet<u16> {
    BTreeSet::from([404])
}

fn one_mib() -> usize {
    1024 * 1024
}

/// Creates the app. An app that fails without a response ends the search.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    if options.apps.is_empty() {
        errors.push(
            table.error("apps", "the cascade has no apps").help("list the apps in the order to try them"),
        );
    }
    for status in options.next_on.iter().filter(|status| !(400..600).contains(*status)) {
        let error = table.error("next_on", format!("`{status}` is not a status for errors"));
        errors.push(error.help("use numbers from 400 to 599"));
    }
    let mut resolve =
        |(index, name): (usize, &String)| (builder.resolve)(name, table.origin(item("apps", index)));
    let apps: Vec<_> = options.apps.iter().enumerate().map(&mut resolve).collect();
    Errors::check(errors)?;
    let cascade =
        Arc::new(Cascade { apps, next_on: options.next_on, max_body_bytes: options.max_body_bytes });
    Ok(App::from_call(move |request| {
        let cascade = cascade.clone();
        Box::pin(async move { cascade.answer(request).await })
    }))
}

/// The apps that the table names.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    let statuses: Vec<_> = options.next_on.iter().map(u16::to_string).collect();
    let link = |(index, app): (usize, &String)| {
        let at = if index == 0 { "first".to_owned() } else { format!("on {}", statuses.join(", ")) };
        AppLink { at, app: app.clone(), key: item("apps", index) }
    };
    options.apps.iter().enumerate().map(link).collect()
}

struct Cascade {
    apps: Vec<App>,
    next_on: BTreeSet<u16>,
    max_body_bytes: usize,
}

impl Cascade {
    async fn answer(&self, request: Request) -> Result<Response, BoxError> {
        let (head, body) = request.into_parts();
        let body = match keep(body, self.max_body_bytes).await? {
            Some(body) => body,
            None => {
                let text = format!("The request's body is longer than {} bytes.\n", self.max_body_bytes);
                return Ok(text_response(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
        };
        for (index, app) in self.apps.iter().enumerate() {
            let response = app.handle(Request::from_parts(head.clone(), body.clone().into())).await?;
            if index + 1 == self.apps.len() || !self.next_on.contains(&response.status().as_u16()) {
                return Ok(response);
            }
        }
        Ok(text_response(StatusCode::NOT_FOUND, "No app has a response.\n"))
    }
}

/// The whole body, or `None` if it is too long.
async fn keep(body: Body, limit: usize) -> Result<Option<Bytes>, BoxError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(error),
    }
}
