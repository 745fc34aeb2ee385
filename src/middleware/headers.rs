//! `headers`: sets, appends and removes header fields on the way in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::App;
use crate::config::{KeyPath, Table, item, join};
use crate::context::Context;
use crate::error::{Error, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "headers"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// What to do to each request before the app sees it.
    #[serde(default)]
    request: FieldChanges,
    /// What to do to each response.
    #[serde(default)]
    response: FieldChanges,
}

/// Changes to header fields: `remove` first, then `set`, then `append`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FieldChanges {
    /// Names of fields to remove.
    remove: Vec<String>,
    /// Fields to set, replacing existing ones.
    set: BTreeMap<String, String>,
    /// Fields to set only if they are missing.
    set_missing: BTreeMap<String, String>,
    /// Fields to add in addition to existing ones.
    append: BTreeMap<String, String>,
}

/// Names that frame a message or belong to one connection: only the server sets them.
const RESERVED: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

#[derive(Debug, Clone, Copy)]
enum FieldAction {
    Remove,
    Set,
    SetMissing,
    Append,
}

type Steps = Arc<[(FieldAction, HeaderName, HeaderValue)]>;

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let request_steps = steps(table, "request", options.request, &mut errors);
    let response_steps = steps(table, "response", options.response, &mut errors);
    Errors::check(errors)?;
    Ok(App::from_call(move |mut request| {
        apply(&request_steps, request.headers_mut());
        let future = next.handle(request);
        if response_steps.is_empty() {
            return future;
        }
        let steps = response_steps.clone();
        Box::pin(async move {
            let mut response = future.await?;
            apply(&steps, response.headers_mut());
            Ok(response)
        })
    }))
}

fn apply(steps: &Steps, headers: &mut HeaderMap) {
    for (action, name, value) in steps.iter() {
        match action {
            FieldAction::Remove => {
                headers.remove(name);
            }
            FieldAction::Set => {
                headers.insert(name, value.clone());
            }
            FieldAction::SetMissing => {
                headers.entry(name).or_insert_with(|| value.clone());
            }
            FieldAction::Append => {
                headers.append(name, value.clone());
            }
        }
    }
}

/// The changes as an ordered list of steps; faults go to `errors`.
fn steps(table: &Table, key: &str, changes: FieldChanges, errors: &mut Vec<Error>) -> Steps {
    let removals =
        changes.remove.into_iter().enumerate().map(|(index, name)| {
            (FieldAction::Remove, item(join(key, "remove"), index), name, String::new())
        });
    let valued = |action, word: &str, fields: BTreeMap<String, String>| {
        let place = join(key, word);
        fields.into_iter().map(move |(name, value)| (action, join(&place, &name), name, value))
    };
    let all = removals
        .chain(valued(FieldAction::Set, "set", changes.set))
        .chain(valued(FieldAction::SetMissing, "set_missing", changes.set_missing))
        .chain(valued(FieldAction::Append, "append", changes.append));
    let mut steps = Vec::new();
    for (action, place, name, value) in all {
        match step(table, &place, &name, &value) {
            Ok((name, value)) => steps.push((action, name, value)),
            Err(error) => errors.push(error),
        }
    }
    steps.into()
}

fn step(table: &Table, place: &KeyPath, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let header = HeaderName::try_from(name).map_err(|_| {
        table.error(place, format!("`{name}` is not a header name")).help("use letters, digits and `-`")
    })?;
    if RESERVED.contains(&header.as_str()) {
        return Err(table
            .error(place, format!("the header `{header}` cannot be changed"))
            .help("the server sets it from the message and the connection"));
    }
    let value = HeaderValue::try_from(value).map_err(|_| {
        table
            .error(
                place,
                format!("the value of header `{name}` contains characters that are not allowed in a header"),
            )
            .help("remove line breaks and control characters")
    })?;
    Ok((header, value))
}
