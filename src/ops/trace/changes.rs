//! What a part of a stack changed: the difference between what it got and what it passed on, in both
//! directions.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;

use crate::body::{Request, Response};
use crate::config::is_secret_field;

/// The head of a request or response at one place of a stack.
#[derive(Debug, Clone)]
pub(super) struct TracedHead {
    /// Method and target, or the status.
    line: String,
    fields: HeaderMap,
}

/// The changes of one part, one per entry: `+ name: value`, `- name: value`, `/shop/a → /a`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Changes {
    /// Its changes to the request, before it passed it on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<String>,
    /// Its changes to the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<String>,
}

impl TracedHead {
    pub(super) fn of_request(request: &Request) -> TracedHead {
        TracedHead {
            line: format!("{} {}", request.method(), request.uri()),
            fields: request.headers().clone(),
        }
    }

    pub(super) fn of_response(response: &Response) -> TracedHead {
        TracedHead { line: status(response.status()), fields: response.headers().clone() }
    }

    /// The changes that lead from this head to `other`.
    pub(super) fn changes_to(&self, other: &TracedHead) -> Vec<String> {
        let mut changes = Vec::new();
        if self.line != other.line {
            changes.push(format!("{} → {}", self.line, other.line));
        }
        let mut names: Vec<&HeaderName> = self.fields.keys().chain(other.fields.keys()).collect();
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        for name in names {
            let (before, after) = (values(&self.fields, name), values(&other.fields, name));
            if before == after {
                continue;
            }
            let lines = |sign: char, values: &[Cow<'_, str>]| {
                let line = |value: &Cow<'_, str>| match is_secret_field(name.as_str()) {
                    true => format!("{sign} {name}: ***"),
                    false => format!("{sign} {name}: {value}"),
                };
                values.iter().map(line).collect::<Vec<_>>()
            };
            let gone: Vec<_> = before.iter().filter(|value| !after.contains(value)).cloned().collect();
            let new: Vec<_> = after.iter().filter(|value| !before.contains(value)).cloned().collect();
            changes.extend(lines('-', &gone));
            changes.extend(lines('+', &new));
        }
        changes
    }
}

fn status(status: StatusCode) -> String {
    status.as_u16().to_string()
}

fn values<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Vec<Cow<'a, str>> {
    fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
}
