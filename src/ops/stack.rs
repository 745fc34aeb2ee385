//! The stack of an app: its layers of middleware, and which requests pass through each.

use std::sync::Arc;

use crate::body::{App, Request};
use crate::config::{Config, Table, item};
use crate::error::{Error, Origin};
use crate::middleware::only::Selection;
use crate::middleware::{MIDDLEWARE, MiddlewareKind};
use crate::registry;

/// One entry of an app's `middleware = […]`.
pub(crate) struct StackLayer {
    /// The entry as written: name of a table or of a kind.
    pub(crate) name: String,
    /// The table, or one that names only the kind.
    pub(crate) table: Table,
    /// Where the entry is in the config.
    pub(crate) origin: Option<Origin>,
}

impl StackLayer {
    /// Whether its kind is known and like this.
    pub(super) fn is(&self, fact: impl Fn(&MiddlewareKind) -> bool) -> bool {
        MiddlewareKind::of(&self.table).is_ok_and(|entry| fact(&entry.kind))
    }

    /// Whether some requests do not pass through it.
    pub(super) fn is_selective(&self) -> bool {
        ["only", "except"].iter().any(|key| self.table.value().get(key).is_some())
    }
}

/// The stack of the app `table`, outermost first; faults go to `errors`.
pub(crate) fn stack(config: &Config, table: &Table, errors: &mut Vec<Error>) -> Vec<StackLayer> {
    let entries = match table.value().get("middleware") {
        None => return Vec::new(),
        Some(serde_json::Value::Array(entries)) => &entries[..],
        Some(one @ serde_json::Value::String(_)) => std::slice::from_ref(one),
        Some(_) => {
            let error = table.error("middleware", "`middleware` must be a list of names, outermost first");
            errors.push(error.help("write `middleware = [\"access_log\", \"compress\"]`"));
            return Vec::new();
        }
    };
    let mut layers = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let origin = table.origin(item("middleware", index));
        let Some(name) = entry.as_str() else {
            errors.push(Error::config("an entry of `middleware` must be a name in quotes").at(origin));
            continue;
        };
        if let Some(table) = config.table("middleware", name) {
            layers.push(StackLayer { name: name.to_owned(), table, origin });
        } else if MIDDLEWARE.iter().any(|kind| kind.name == name) {
            let table = Table::of_kind("middleware", name);
            layers.push(StackLayer { name: name.to_owned(), table, origin });
        } else {
            errors.push(unknown_middleware(config, name).at(origin));
        }
    }
    layers
}

fn unknown_middleware(config: &Config, name: &str) -> Error {
    let error = Error::config(format!("unknown middleware `{name}`"));
    let known = config.names("middleware").into_iter().chain(MIDDLEWARE.iter().map(|kind| kind.name));
    match registry::nearest(name, known) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error
            .help(format!("add a table `[middleware.{name}]`, or use a kind from `paster list middleware`")),
    }
}

/// A request whose body a `body_limit` with `only` or `except` limits, in the stack of this app.
#[derive(Debug, Clone)]
struct LimitedBody(Arc<str>);

/// Passes the requests of `selection` to `part`, and the others to `next`. `limits`: the part limits bodies in
/// the stack of this app.
pub(super) fn select(selection: Selection, part: App, next: App, limits: Option<&str>) -> App {
    let limits: Option<Arc<str>> = limits.map(Into::into);
    App::from_call(move |mut request| {
        if !selection.matches(&request) {
            return next.handle(request);
        }
        if let Some(app) = &limits {
            request.extensions_mut().insert(LimitedBody(app.clone()));
        }
        part.handle(request)
    })
}

/// Whether a part that only some requests pass through has limited the body, in the stack of `app`.
pub(super) fn is_limited(request: &Request, app: &str) -> bool {
    request.extensions().get::<LimitedBody>().is_some_and(|limited| *limited.0 == *app)
}
