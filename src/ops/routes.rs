//! Lists which app serves which path. This reads the config and builds nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assemble::{app_of_server, unknown_app};
use super::stack::{StackLayer, stack};
use crate::app::AppKind;
use crate::config::Config;
use crate::error::{Error, Errors, Origin, Result};
use crate::middleware::MiddlewareKind;
use crate::middleware::only::Selection;

/// All servers with the apps that they reach.
#[derive(Debug, Serialize, Deserialize)]
pub struct Routes {
    /// Each `[server.NAME]`, in file order.
    pub servers: Vec<ServerRoute>,
    /// Apps that no server reaches.
    pub unreached: Vec<String>,
}

/// One server.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerRoute {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Where it listens, as written; empty for the kind's default.
    pub listen: Vec<String>,
    /// The app that it serves.
    pub app: AppRoute,
}

/// One app at one place.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppRoute {
    /// How the outer app reaches it: a prefix, a host, a status. `None` for a server's own app.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
    /// Its name.
    pub app: String,
    /// Its kind.
    pub kind: String,
    /// Its stack, outermost first.
    pub middleware: Vec<LayerRoute>,
    /// The apps that it passes requests to.
    pub routes: Vec<AppRoute>,
}

/// One layer of a stack.
#[derive(Debug, Serialize, Deserialize)]
pub struct LayerRoute {
    /// The name in the app's list.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Which requests pass through it, in words: `only /api/*`. `None`: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests: Option<String>,
}

/// Reads the routes of a config.
/// # Errors
/// Unknown names of apps and middleware, and apps that pass requests to themselves.
pub fn routes(config: &Config) -> Result<Routes> {
    let mut walk = Walk { config, chain: Vec::new(), seen: BTreeSet::new(), errors: Vec::new() };
    let mut servers = Vec::new();
    for name in config.names("server") {
        let Some(table) = config.table("server", name) else { continue };
        let listen = match table.value().get("listen") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let kind = match table.kind() {
            Ok(kind) => kind.to_owned(),
            Err(errors) => {
                walk.errors.extend(errors);
                continue;
            }
        };
        if let Some(app) = walk.app(None, app_of_server(&table), table.origin("app")) {
            servers.push(ServerRoute { name: name.to_owned(), kind, listen, app });
        }
    }
    let unreached = config.names("app").into_iter().filter(|name| !walk.seen.contains(*name));
    let unreached = unreached.map(str::to_owned).collect();
    Errors::check(walk.errors)?;
    Ok(Routes { servers, unreached })
}

/// The first server that reaches `app`, and the prefix of the app there.
pub(crate) fn place_of(config: &Config, app: &str) -> Option<(String, String)> {
    fn prefix_of(route: &AppRoute, app: &str, prefix: &str) -> Option<String> {
        if route.app == app {
            return Some(prefix.to_owned());
        }
        route.routes.iter().find_map(|inner| {
            let own = inner.at.as_deref().and_then(|at| at.find('/').map(|slash| &at[slash..]));
            let own = own.unwrap_or_default().trim_end_matches('/');
            prefix_of(inner, app, &format!("{prefix}{own}"))
        })
    }
    let routes = routes(config).ok()?.servers;
    routes
        .into_iter()
        .find_map(|server| Some((prefix_of(&server.app, app, "")?, server.name)))
        .map(|(at, name)| (name, at))
}

struct Walk<'a> {
    config: &'a Config,
    chain: Vec<String>,
    seen: BTreeSet<String>,
    errors: Vec<Error>,
}

impl Walk<'_> {
    fn app(&mut self, at: Option<String>, name: &str, origin: Option<Origin>) -> Option<AppRoute> {
        let Some(table) = self.config.table("app", name) else {
            self.errors.push(unknown_app(self.config, name).at(origin));
            return None;
        };
        if self.chain.iter().any(|app| app == name) {
            let error = Error::config(format!("app `{name}` passes requests to itself"));
            self.errors.push(error.at(origin).help("remove one of these links"));
            return None;
        }
        let kind = match table.kind() {
            Ok(kind) => kind.to_owned(),
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        let first = self.seen.insert(name.to_owned());
        let mut faults = Vec::new();
        let layers = stack(self.config, &table, &mut faults);
        let middleware = layers.iter().map(|layer| layer_route(layer, &mut faults)).collect();
        if first {
            self.errors.extend(faults);
        }
        self.chain.push(name.to_owned());
        let mut routes = Vec::new();
        let links = AppKind::of(&table).map_or(Vec::new(), |entry| entry.kind.links(&table));
        for link in links {
            routes.extend(self.app(Some(link.at), &link.app, table.origin(&link.key)));
        }
        for layer in &layers {
            let links =
                MiddlewareKind::of(&layer.table).map_or(Vec::new(), |entry| entry.kind.links(&layer.table));
            for link in links {
                let at = format!("{}: {}", layer.name, link.at);
                routes.extend(self.app(Some(at), &link.app, layer.table.origin(&link.key)));
            }
        }
        self.chain.pop();
        Some(AppRoute { at, app: name.to_owned(), kind, middleware, routes })
    }
}

/// One layer; faults go to `faults`.
fn layer_route(layer: &StackLayer, faults: &mut Vec<Error>) -> LayerRoute {
    let selection = Selection::read(&layer.table).unwrap_or_else(|errors| {
        faults.extend(errors);
        None
    });
    LayerRoute {
        name: layer.name.clone(),
        kind: layer.table.kind().unwrap_or_default().to_owned(),
        requests: selection.map(|selection| selection.to_string()),
    }
}

impl Routes {
    /// The routes as a tree, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let on = match &*server.listen {
                [] => String::new(),
                listen => format!(" on {}", listen.join(", ")),
            };
            text += &format!("{} ({}){on}\n", server.name, server.kind);
            branch(&mut text, &server.app, "", true, 0);
        }
        if !self.unreached.is_empty() {
            text += &format!("not reached by any server: {}\n", self.unreached.join(", "));
        }
        text
    }
}

/// One app and everything below it; `width` is the width of the widest sibling's place.
fn branch(text: &mut String, route: &AppRoute, indent: &str, last: bool, width: usize) {
    let (corner, below) = if last { ("└─", "   ") } else { ("├─", "│  ") };
    let at = route.at.as_ref().map(|at| format!("{at:width$}  ")).unwrap_or_default();
    let stack: String = route.middleware.iter().map(layer_text).collect();
    *text += &format!("{indent}{corner} {at}{stack}{} ({})\n", route.app, route.kind);
    let indent = format!("{indent}{below}");
    let width = route.routes.iter().filter_map(|route| route.at.as_ref()).map(|at| at.chars().count()).max();
    for (index, inner) in route.routes.iter().enumerate() {
        branch(text, inner, &indent, index + 1 == route.routes.len(), width.unwrap_or(0));
    }
}

fn layer_text(layer: &LayerRoute) -> String {
    match &layer.requests {
        Some(requests) => format!("{} ({requests}) → ", layer.name),
        None => format!("{} → ", layer.name),
    }
}
