//! Builds the apps of a merged config, each with its stack of middleware, and its servers.
//!
//! Each app is built once by its name and shared. Every table is built, even of apps that no server reaches,
//! so that all faults of all tables are found.
//!
//! The innermost layer of every stack, around the app itself, is a limit of 1 MiB for request bodies, unless
//! the stack has a `body_limit`. Its refusals are logged and get their page like any other response. (A
//! middleware that reads bodies limits them itself.) An app that passes requests to others (`mount`,
//! `cascade`) has no limit, so that an app behind it may allow more.
//!
//! A stack is built at run time, so each layer calls the next one through the dynamic [`App`], and boxes a
//! future if it has something to do after the call. Measured with 20 layers of `headers` around a `respond`:
//! 75 ns per layer, of 10 µs for the whole request on one thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::app_limit::{self, AppLimit};
use super::resources;
use super::stack::{self, StackLayer, stack};
use crate::app::isolation::{build_isolated, is_isolated};
use crate::app::{AppKind, Builder};
use crate::body::{App, Observer, ServerParts};
use crate::config::{Config, Table};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Error, Errors, Origin, Result};
use crate::inflight::Shares;
use crate::metrics::PartPosition;
use crate::middleware::only::Selection;
use crate::middleware::{MiddlewareBuilder, MiddlewareKind, body_limit};
use crate::ops::trace::Trace;
use crate::plugin::Instance;
use crate::registry;
use crate::server::{Server, ServerKind};

/// Everything that one generation builds from a config.
pub struct Assembly {
    /// Each `[server.NAME]`: its name, the server and the app that it serves.
    pub servers: Vec<(String, Box<dyn Server>, App)>,
    /// Each `[app.NAME]` with its middleware, by name.
    pub apps: BTreeMap<String, App>,
    /// All plugin instances: apps and middleware.
    pub instances: Vec<Instance>,
    /// The plugin apps in processes of their own, without their middleware, by name.
    pub isolated: BTreeMap<String, App>,
    /// The parts of all stacks: the first has number 1 in
    /// [`RequestHandle::enter`](crate::inflight::RequestHandle::enter).
    pub parts: Vec<AssembledPart>,
}

/// A part of a stack, for the table of requests in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledPart {
    /// Name of the app.
    pub app: String,
    /// Name of the middleware in the app's stack; `None` for the app itself.
    pub middleware: Option<String>,
}

/// Builds all servers and apps, and starts nothing.
/// # Errors
/// Every fault of the config that building finds; a config without a server.
pub fn assemble(config: &Config, context: &Context) -> Result<Assembly> {
    let (context, faults) = with_config(config, context);
    let mut assembler = Assembler::new(config, &context, None, faults);
    assembler.build_apps();
    let servers = assembler.build_servers();
    assembler.finish(servers)
}

/// Builds all apps and no server (`paster request`, tests). A `trace` records the time of each call of an app
/// and of a middleware.
/// # Errors
/// Every fault of the config that building finds.
pub fn assemble_apps(config: &Config, context: &Context, trace: Option<&Trace>) -> Result<Assembly> {
    let (context, faults) = with_config(config, context);
    let mut assembler = Assembler::new(config, &context, trace, faults);
    assembler.build_apps();
    assembler.finish(Vec::new())
}

/// The context, with the merged config and its resources, and the faults of their tables.
fn with_config(config: &Config, context: &Context) -> (Context, Vec<Error>) {
    let mut faults = Vec::new();
    let stores = resources::stores(config, context, &mut faults);
    let variables = Arc::new(resources::variables(config));
    (Context { config: Arc::new(config.tree().clone()), stores, variables, ..context.clone() }, faults)
}

/// Creates every server of `config`, without its app. Faults of the tables go to `errors`, and a missing
/// server too.
pub(crate) fn build_servers<'a>(
    config: &'a Config,
    errors: &mut Vec<Error>,
) -> Vec<(&'a str, Box<dyn Server>)> {
    let names = config.names("server");
    if names.is_empty() {
        let error = Error::config("the config has no server");
        errors.push(error.help("add a table `[server.main]` with `use = \"http\"`"));
    }
    let mut servers = Vec::new();
    for name in names {
        let Some(table) = config.table("server", name) else { continue };
        let made = ServerKind::of(&table).and_then(|entry| entry.kind.build(&table));
        match made {
            Ok(server) => servers.push((name, server)),
            Err(found) => errors.extend(found),
        }
    }
    servers
}

/// Name of the app that the server `table` serves.
pub fn app_of_server(table: &Table) -> &str {
    table.value().get("app").and_then(|app| app.as_str()).unwrap_or("main")
}

pub(crate) fn unknown_app(config: &Config, name: &str) -> Error {
    let error = Error::config(format!("unknown app `{name}`"));
    match registry::nearest(name, config.names("app")) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("add a table `[app.{name}]`")),
    }
}

struct Assembler<'a> {
    config: &'a Config,
    context: &'a Context,
    trace: Option<&'a Trace>,
    apps: BTreeMap<String, App>,
    /// Names of the apps that are being built, each referenced by the previous one.
    chain: Vec<String>,
    instances: Vec<Instance>,
    isolated: BTreeMap<String, App>,
    /// The middleware of plugins.
    middleware: Rc<RefCell<Vec<Instance>>>,
    parts: Vec<AssembledPart>,
    /// Middleware tables that were built at least once, so that each fault is reported once.
    built: BTreeSet<String>,
    /// The outermost access log of each app.
    logs: BTreeMap<String, Arc<dyn Observer>>,
    /// Names of apps that pass requests to others.
    handing_on: BTreeSet<String>,
    /// Whether each part is timed, because a middleware uses the times.
    timed: bool,
    errors: Vec<Error>,
}

impl<'a> Assembler<'a> {
    fn new(config: &'a Config, context: &'a Context, trace: Option<&'a Trace>, errors: Vec<Error>) -> Self {
        Assembler {
            config,
            context,
            trace,
            apps: BTreeMap::new(),
            chain: Vec::new(),
            instances: Vec::new(),
            isolated: BTreeMap::new(),
            middleware: Rc::default(),
            parts: Vec::new(),
            built: BTreeSet::new(),
            logs: BTreeMap::new(),
            handing_on: BTreeSet::new(),
            timed: is_timed(config, context.development),
            errors,
        }
    }

    fn finish(mut self, servers: Vec<(String, Box<dyn Server>, App)>) -> Result<Assembly> {
        Errors::check(self.errors)?;
        self.instances.append(&mut self.middleware.borrow_mut());
        let Assembler { apps, instances, isolated, parts, .. } = self;
        Ok(Assembly { servers, apps, instances, isolated, parts })
    }

    /// Builds every app, and each middleware table that no app uses.
    fn build_apps(&mut self) {
        for name in self.config.names("app") {
            self.app(name, None);
        }
        for name in self.config.names("middleware") {
            if let Some(table) = self.config.table("middleware", name) {
                let layer = StackLayer { name: name.to_owned(), table, origin: None };
                if !self.built.contains(name) {
                    self.wrap(layer, "", placeholder());
                }
            }
        }
    }

    fn build_servers(&mut self) -> Vec<(String, Box<dyn Server>, App)> {
        let mut apps = BTreeMap::new();
        for name in self.config.names("server") {
            let Some(table) = self.config.table("server", name) else { continue };
            apps.insert(name, self.app_for_server(&table));
        }
        let servers = build_servers(self.config, &mut self.errors).into_iter();
        servers.filter_map(|(name, server)| Some((name.to_owned(), server, apps.remove(name)?))).collect()
    }

    /// The app of a server, with what the server needs beside it: the app's access log for refused requests,
    /// and the shares of the apps if there are several.
    fn app_for_server(&mut self, table: &Table) -> App {
        let name = app_of_server(table);
        let app = self.app(name, table.origin("app"));
        let shared = self.handing_on.contains(name);
        let shares = shared.then(|| Arc::new(Shares::new(self.config.names("app").len())));
        app.served_with(ServerParts { refusals: self.logs.get(name).cloned(), shares })
    }

    /// The app `name` with its stack, built if needed. `origin` is where the name is used. After a fault this
    /// is a placeholder, which never serves because the whole assembly fails.
    fn app(&mut self, name: &str, origin: Option<Origin>) -> App {
        if let Some(app) = self.apps.get(name) {
            return app.clone();
        }
        if let Some(first) = self.chain.iter().position(|building| building == name) {
            let mut links: Vec<_> = self.chain[first..].iter().map(|app| format!("`{app}`")).collect();
            links.push(format!("`{name}`"));
            let error =
                Error::config(format!("app `{name}` passes requests to itself: {}", links.join(" → ")));
            self.errors.push(error.at(origin).help("remove one of these links"));
            return placeholder();
        }
        let Some(table) = self.config.table("app", name) else {
            self.errors.push(unknown_app(self.config, name).at(origin));
            self.apps.insert(name.to_owned(), placeholder());
            return placeholder();
        };
        self.chain.push(name.to_owned());
        let app = self.build(name, &table);
        self.chain.pop();
        self.apps.insert(name.to_owned(), app.clone());
        app
    }

    fn build(&mut self, name: &str, table: &Table) -> App {
        let mut instances = Vec::new();
        let mut hands_on = false;
        let inside = self.context.inside.as_deref() == Some(name);
        let built = AppKind::of(table).and_then(|entry| {
            let context = self.context;
            let isolated = is_isolated(table)? && !inside;
            let mut resolve = |name: &str, origin| {
                hands_on = true;
                self.app(name, origin)
            };
            let mut builder = Builder { context, resolve: &mut resolve, instances: &mut instances };
            match context.processes.get(name).filter(|_| isolated) {
                Some(addresses) => build_isolated(table, addresses, &mut builder),
                None => entry.kind.build(table, &mut builder),
            }
        });
        self.instances.extend(instances);
        if hands_on {
            self.handing_on.insert(name.to_owned());
        }
        let built = built.map_err(|errors| self.errors.extend(errors));
        let is_plugin = AppKind::of(table).is_ok_and(|entry| entry.kind.is_plugin());
        if let (Ok(app), true, true) = (&built, is_plugin, self.context.processes.contains_key(name)) {
            self.isolated.insert(name.to_owned(), app.clone());
        }
        if inside {
            return built.unwrap_or_else(|()| placeholder()); // its stack is in the workers
        }
        let layers = stack(self.config, table, &mut self.errors);
        let limited = layers.iter().any(|layer| layer.is(|kind| kind.limits_bodies) && !layer.is_selective());
        let limit = (!limited && !hands_on).then_some(body_limit::DEFAULT_BYTES);
        let mut app = match built {
            Ok(app) => self.watch(app, name, None, limit),
            Err(()) => placeholder(),
        };
        for layer in layers.into_iter().rev() {
            app = self.wrap(layer, name, app);
        }
        let app = self.limit(app, name, table);
        self.context.parts.watch(app, name, PartPosition::Whole)
    }

    /// Limits the app to its `max_in_flight`, or to its share of the server's.
    fn limit(&mut self, app: App, name: &str, table: &Table) -> App {
        let names = self.config.names("app");
        let limit = match app_limit::read(table, &mut self.errors) {
            Some(limit) => AppLimit::Fixed(limit),
            None if names.len() < 2 => return app, // there are no others
            None => {
                let number = names.iter().position(|known| *known == name).unwrap_or(0);
                AppLimit::Share(u32::try_from(number).unwrap_or(u32::MAX))
            }
        };
        app_limit::wrap(app, limit, self.logs.get(name).cloned())
    }

    /// Wraps `next`, the stack of `app` so far, with one more layer.
    fn wrap(&mut self, layer: StackLayer, app: &str, next: App) -> App {
        let first = self.built.insert(layer.name.clone());
        match self.wrapped(&layer, app, next.clone()) {
            Ok((wrapped, selection)) => {
                if let Some(log) = wrapped.follower() {
                    self.logs.insert(app.to_owned(), log.clone());
                }
                let limits = layer.is(|kind| kind.limits_bodies);
                let wrapped = self.watch(wrapped, app, Some(&layer.name), None);
                match selection {
                    Some(selection) => stack::select(selection, wrapped, next, limits.then_some(app)),
                    None => wrapped,
                }
            }
            Err(errors) => {
                if first {
                    // A kind without a table has no origin: use that of the list entry.
                    self.errors.extend(errors.into_iter().map(|error| match error.origin {
                        None => error.at(layer.origin.clone()),
                        Some(_) => error,
                    }));
                }
                placeholder()
            }
        }
    }

    /// The middleware of the layer around `next`, and which requests pass through it.
    fn wrapped(&mut self, layer: &StackLayer, app: &str, next: App) -> Result<(App, Option<Selection>)> {
        let entry = MiddlewareKind::of(&layer.table)?;
        let mut hands_on = false;
        let context = self.context;
        let instances = self.middleware.clone();
        let mut resolve = |name: &str, origin| {
            hands_on = true;
            self.app(name, origin)
        };
        let mut builder = MiddlewareBuilder { context, app, resolve: &mut resolve, instances: &instances };
        let built = entry.kind.build(&layer.table, &mut builder, next);
        if hands_on {
            self.handing_on.insert(app.to_owned());
        }
        match (built, Selection::read(&layer.table)) {
            (Ok(app), selection) => Ok((app, selection?)),
            (Err(errors), selection) => {
                Errors::join(Err(errors), selection.err().into_iter().flatten().collect())
            }
        }
    }

    /// Records calls of the part in the table of requests in flight. With a trace and in development it also
    /// times them and names failures. Requests with bodies above `limit` do not reach the part.
    fn watch(&mut self, part: App, app: &str, middleware: Option<&str>, limit: Option<u64>) -> App {
        self.parts.push(AssembledPart { app: app.to_owned(), middleware: middleware.map(str::to_owned) });
        let number = u32::try_from(self.parts.len()).unwrap_or(0);
        let part = self.observe(part, app, middleware);
        let app: Arc<str> = app.into();
        if part.follower().is_some() {
            return part; // requests do not pass through an observer
        }
        App::from_call(move |request| {
            if let Some(environ) = request.extensions().get::<Environ>() {
                environ.handle.enter(number);
            }
            match limit {
                Some(limit) if !body_limit::passes(limit, &request) && !stack::is_limited(&request, &app) => {
                    body_limit::within(limit, request, &part)
                }
                _ => part.handle(request),
            }
        })
    }

    fn observe(&self, part: App, app: &str, middleware: Option<&str>) -> App {
        let part = if self.timed {
            let place = middleware.map_or(PartPosition::Inner, |name| PartPosition::Middleware(name.into()));
            self.context.parts.watch(part, app, place)
        } else {
            part
        };
        match self.trace {
            Some(trace) => trace.watch(part, app, middleware),
            None if self.context.development => Trace::tag_failure(part, app, middleware),
            None => part,
        }
    }
}

/// Whether a stack has a middleware that reports the times of parts: each timed call costs an allocation.
fn is_timed(config: &Config, development: bool) -> bool {
    let uses = |kind: &MiddlewareKind| kind.needs_times || (development && kind.shows_times);
    config.names("app").into_iter().filter_map(|name| config.table("app", name)).any(|table| {
        // Its faults are reported when it is built.
        stack(config, &table, &mut Vec::new()).iter().any(|layer| layer.is(uses))
    })
}

/// A placeholder for an app that could not be built.
fn placeholder() -> App {
    App::from_call(|_| Box::pin(std::future::ready(Err("this app could not be created".into()))))
}
