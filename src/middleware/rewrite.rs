//! `rewrite`: changes the path of requests before the app sees it.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::options::value;
use super::refusal::{at_once, refusal};
use super::template::{Template, regex};
use crate::body::{App, Request};
use crate::codec::variables::decode_path;
use crate::config::{Table, item, join};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "rewrite"`.
///
/// The order is `strip_prefix`, then `add_prefix`, then the first rule that matches.
///
/// ```toml
/// [middleware.clean_urls]
/// use = "rewrite"
/// rules = [{ match = "^/article/([0-9]+)$", to = "/show.php?id=$1" }]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Options {
    /// A prefix to move from the path to `SCRIPT_NAME`, as a mount does, so that the app writes correct links.
    /// Requests for other paths are not changed.
    strip_prefix: String,
    /// A prefix to put before the path. The app does not see that it was added.
    add_prefix: String,
    /// Rules. The first one that matches is applied.
    rules: Vec<RewriteRule>,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RewriteRule {
    /// A regular expression for the path, decoded and below the app's mount: `^/old/(.*)$`.
    r#match: String,
    /// The new path: `/new/$1`. `$1` and `$name` are groups of the expression, `$$` is a dollar. With a `?`
    /// it replaces the query too; otherwise the query stays.
    to: String,
}

struct Rewrite {
    strip: String,
    add: String,
    rules: Vec<(Regex, Template)>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut rules = Vec::new();
    for (index, rule) in options.rules.iter().enumerate() {
        let place = |key| join(item("rules", index), key);
        let found = value(table, place("match"), &rule.r#match, &mut errors, regex);
        if !rule.to.starts_with('/') {
            let error = table.error(place("to"), format!("`{}` is not a path", rule.to));
            errors.push(error.help("begin it with `/`; to another host, use `redirect`"));
        } else if let Some(regex) = found {
            let to = value(table, place("to"), &rule.to, &mut errors, |text| Template::parse(text, &regex));
            rules.extend(to.map(|to| (regex, to)));
        }
    }
    for (key, prefix) in [("strip_prefix", &options.strip_prefix), ("add_prefix", &options.add_prefix)] {
        let plain =
            prefix.starts_with('/') && !prefix.ends_with('/') && prefix.parse::<PathAndQuery>().is_ok();
        if !prefix.is_empty() && (!plain || prefix.contains('?')) {
            let error = table.error(key, format!("`{prefix}` is not a prefix of paths"));
            errors.push(error.help("write `/prefix`, without a slash at the end"));
        }
    }
    Errors::check(errors)?;
    let rewrite = Arc::new(Rewrite { strip: options.strip_prefix, add: options.add_prefix, rules });
    Ok(App::from_call(move |mut request| match rewrite.apply(&mut request) {
        Some(()) => next.handle(request),
        None => {
            let text = "The path cannot be rewritten.\n";
            at_once(refusal(StatusCode::BAD_REQUEST, "the path cannot be rewritten", text))
        }
    }))
}

impl Rewrite {
    /// Changes the request's path; `None` if there is no such path.
    fn apply(&self, request: &mut Request) -> Option<()> {
        let path = request.uri().path();
        if path == "*" {
            return Some(()); // the whole server
        }
        let below = path.strip_prefix(&*self.strip).filter(|_| !self.strip.is_empty());
        if let Some(rest) = below.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            let rest = if rest.is_empty() { "/" } else { rest }.to_owned();
            set_path(request, &rest)?;
            if let Some(environ) = request.extensions_mut().get_mut::<Environ>() {
                environ.script_name = format!("{}{}", environ.script_name, self.strip).into();
            }
        }
        if !self.add.is_empty() {
            let path = format!("{}{}", self.add, request.uri().path());
            set_path(request, &path)?;
        }
        if self.rules.is_empty() {
            return Some(());
        }
        let decoded = String::from_utf8(decode_path(request.uri().path())).ok()?;
        let found = self.rules.iter().find_map(|(regex, to)| Some(to.expand(&regex.captures(&decoded)?)));
        let Some(target) = found else { return Some(()) };
        set_path(request, &target)
    }
}

/// Sets the path, and with a `?` in it the query. Dot segments are refused, as the gate does.
fn set_path(request: &mut Request, target: &str) -> Option<()> {
    let path = target.split('?').next().unwrap_or_default();
    let dotted = decode_path(path).split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."));
    if dotted {
        return None;
    }
    let target = match request.uri().query().filter(|_| !target.contains('?')) {
        Some(query) => format!("{target}?{query}"),
        None => target.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(())
}
