//! The entries of [`MIDDLEWARE`](super::MIDDLEWARE), which describe the kinds.

use std::cell::RefCell;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{MIDDLEWARE, StackPlace};
use crate::body::App;
use crate::config::{AppLink, ReadOptions, Table};
use crate::context::Context;
use crate::error::{Error, Errors, Origin, Result};
use crate::plugin::{Instance, PluginLibrary};
use crate::registry::Entry;

/// What a kind of middleware is, apart from its name.
pub struct MiddlewareKind {
    build: Box<BuildMiddleware>,
    links: Box<FindMiddlewareLinks>,
    library: Option<Box<FindMiddlewareLibrary>>,
    /// Whether it reports the times of the other parts. Each timed call costs an allocation, so the parts are
    /// timed only if a stack has such a middleware.
    pub needs_times: bool,
    /// Whether it shows them to developers: in development, it needs them too.
    pub shows_times: bool,
    /// Where it usually is in a stack.
    pub place: StackPlace,
    /// Whether it limits the bodies of requests. A stack without such a middleware has the default limit.
    pub limits_bodies: bool,
}

/// What the `build` function of a middleware may use.
pub struct MiddlewareBuilder<'a> {
    /// What surrounds the generation.
    pub context: &'a Context,
    /// Name of the app whose stack it is in; empty if no app uses it.
    pub app: &'a str,
    /// Builds an app of the config by name, with its middleware; the origin is where the name is written. The
    /// assembler reports faults of that app, and continues with a placeholder.
    pub resolve: &'a mut dyn FnMut(&str, Option<Origin>) -> App,
    /// The middleware of plugins that was created so far. All stacks that name a table share one instance.
    pub instances: &'a RefCell<Vec<Instance>>,
}

type BuildMiddleware = dyn Fn(&Table, &mut MiddlewareBuilder<'_>, App) -> Result<App> + Send + Sync;
type FindMiddlewareLinks = dyn Fn(&Table) -> Vec<AppLink> + Send + Sync;
type FindMiddlewareLibrary = dyn Fn(&Table) -> Result<Option<PluginLibrary>, Error> + Send + Sync;

impl MiddlewareKind {
    /// Wraps `next`, with the options in `table`.
    /// # Errors
    /// Every fault of the options.
    pub fn build(&self, table: &Table, builder: &mut MiddlewareBuilder<'_>, next: App) -> Result<App> {
        (self.build)(table, builder, next)
    }

    /// The apps that the middleware of `table` passes requests to, apart from the next part; read only from its
    /// options. Empty for tables with invalid options.
    pub fn links(&self, table: &Table) -> Vec<AppLink> {
        (self.links)(table)
    }

    /// Whether middleware of this kind runs code from a dynamic library.
    pub fn runs_library(&self) -> bool {
        self.library.is_some()
    }

    /// The library that the middleware of `table` runs. `None` for kinds that run none, and for tables with invalid
    /// options, which the build of the middleware reports.
    /// # Errors
    /// A library or crate that does not exist.
    pub fn library(&self, table: &Table) -> Result<Option<PluginLibrary>, Error> {
        self.library.as_ref().map_or(Ok(None), |library| library(table))
    }

    /// The entry of the kind that `table` names.
    /// # Errors
    /// A table without a kind, and an unknown kind.
    pub fn of(table: &Table) -> Result<&'static Entry<MiddlewareKind>> {
        table.kind_in(&MIDDLEWARE, "middleware")
    }

    fn new(build: Box<BuildMiddleware>) -> MiddlewareKind {
        let links = Box::new(|_: &Table| Vec::new());
        MiddlewareKind {
            build,
            links,
            library: None,
            place: StackPlace::Inner,
            needs_times: false,
            shows_times: false,
            limits_bodies: false,
        }
    }
}

impl Entry<MiddlewareKind> {
    /// A kind whose `build` wraps the next app. It gets the options, and the table for the places of errors.
    pub(super) fn of<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &Context, App) -> Result<App>,
    ) -> Self {
        let build = move |table: &Table, builder: &mut MiddlewareBuilder<'_>, next| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table, builder.context, next), wrong_entries)
        };
        Entry::new::<O>(name, summary, MiddlewareKind::new(Box::new(build)))
    }

    /// A kind whose `build` needs to know more than the context.
    pub(super) fn with_builder<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &mut MiddlewareBuilder<'_>, App) -> Result<App>,
    ) -> Self {
        let build = move |table: &Table, builder: &mut MiddlewareBuilder<'_>, next| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table, builder, next), wrong_entries)
        };
        Entry::new::<O>(name, summary, MiddlewareKind::new(Box::new(build)))
    }

    /// A kind that passes requests to other apps too: those in `links`.
    pub(super) fn linking<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &mut MiddlewareBuilder<'_>, App) -> Result<App>,
        links: fn(&O) -> Vec<AppLink>,
    ) -> Self {
        let mut entry = Entry::with_builder(name, summary, build);
        entry.kind.links =
            Box::new(move |table| table.options().map_or(Vec::new(), |options| links(&options)));
        entry
    }

    /// The middleware runs code from this library.
    pub(super) fn library<O: DeserializeOwned + JsonSchema + 'static>(
        mut self,
        library: fn(&O, &Table) -> Result<Option<PluginLibrary>, Error>,
    ) -> Self {
        let library = move |table: &Table| match table.read() {
            Ok(ReadOptions { options, table, .. }) => library(&options, &table),
            Err(_) => Ok(None), // the build of the middleware reports them
        };
        self.kind.library = Some(Box::new(library));
        self
    }

    /// A kind that this build lacks: it takes any options, and to build it is an error.
    #[allow(dead_code, reason = "a build with all features lacks nothing")]
    pub(super) fn lacking(name: &'static str, summary: &'static str) -> Self {
        let build = move |table: &Table, _: &mut MiddlewareBuilder<'_>, _: App| {
            Err(crate::registry::lacking(name).at(table.origin("use")).into())
        };
        let kind = MiddlewareKind::new(Box::new(build));
        Entry::new::<serde_json::Map<String, serde_json::Value>>(name, summary, kind)
    }

    /// See [`MiddlewareKind::place`]; [`StackPlace::Inner`] if it is not set.
    pub(super) fn at(mut self, place: StackPlace) -> Self {
        self.kind.place = place;
        self
    }

    /// See [`MiddlewareKind::needs_times`].
    pub(super) fn needs_times(mut self) -> Self {
        self.kind.needs_times = true;
        self
    }

    /// See [`MiddlewareKind::shows_times`].
    pub(super) fn shows_times(mut self) -> Self {
        self.kind.shows_times = true;
        self
    }

    /// See [`MiddlewareKind::limits_bodies`].
    pub(super) fn limits_bodies(mut self) -> Self {
        self.kind.limits_bodies = true;
        self
    }
}
