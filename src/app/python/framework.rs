//! The kinds for frameworks that differ only in how their application is found: `flask`, `bottle`, `cherrypy`, `pyramid`,
//! `fastapi`, `starlette`; and `quixote`, which has one thread.

use std::num::NonZeroU32;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::asgi::LoopOptions;
use super::kind::{Interface, PythonKind, PythonOptions};
use super::wsgi::{ThreadOptions, in_flight};
use crate::config::{ConfigPath, Table};
use crate::error::Error;

/// The application, for the kinds that know its framework.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct FoundApplication {
    /// The directory of the application. It is the working directory and the first entry of the module search path. Default:
    /// the config's directory.
    publish_dir: Option<ConfigPath>,
    /// The application, as for `wsgi`: `module:object`, or a factory `module:create_app()`. Default: found in `publish_dir` by
    /// the conventions of the framework.
    application: Option<String>,
}

impl FoundApplication {
    pub(super) fn folder(&self) -> (&'static str, Option<&Path>) {
        ("publish_dir", self.publish_dir.as_deref())
    }

    pub(super) fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        if self.application.as_ref().is_some_and(|name| name.trim().is_empty()) {
            let error = table.error("application", "`application` is empty");
            errors.push(error.help("remove it, or set the application: `application = \"module:object\"`"));
        }
    }

    pub(super) fn name(&self, table: &Table, development: bool) -> String {
        let mut options = Map::new();
        if let Some(name) = &self.application {
            options.insert("application".to_owned(), name.trim().into());
        }
        options.insert("development".to_owned(), development.into());
        framework_name(table, options)
    }
}

/// The application in the form for the loader: the framework's name after a character that no module's name begins with, and
/// what `frameworks.py` needs.
pub(super) fn framework_name(table: &Table, options: Map<String, Value>) -> String {
    format!("@{} {}", table.kind().unwrap_or_default(), Value::Object(options))
}

/// Options of an `[app.NAME]` table with the name of a WSGI framework, such as `use = "flask"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct WsgiFramework {
    #[serde(flatten)]
    found: FoundApplication,
    #[serde(flatten)]
    common: PythonOptions,
    #[serde(flatten)]
    threads: ThreadOptions,
}

impl PythonKind for WsgiFramework {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        Interface::Wsgi
    }

    fn folder(&self) -> (&'static str, Option<&Path>) {
        self.found.folder()
    }

    fn application(&self, table: &Table, _: &Path, development: bool) -> String {
        self.found.name(table, development)
    }

    fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        self.found.check(table, errors);
    }

    fn in_flight(&self) -> usize {
        self.threads.in_flight(&self.common)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.threads.settings()
    }
}

/// Options of an `[app.NAME]` table with the name of an ASGI framework, such as `use = "fastapi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct AsgiFramework {
    #[serde(flatten)]
    found: FoundApplication,
    #[serde(flatten)]
    common: PythonOptions,
    #[serde(flatten)]
    event_loop: LoopOptions,
}

impl PythonKind for AsgiFramework {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        Interface::Asgi
    }

    fn folder(&self) -> (&'static str, Option<&Path>) {
        self.found.folder()
    }

    fn application(&self, table: &Table, _: &Path, development: bool) -> String {
        self.found.name(table, development)
    }

    fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        self.found.check(table, errors);
    }

    fn in_flight(&self) -> usize {
        LoopOptions::IN_FLIGHT
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.event_loop.settings()
    }
}

/// Options of an `[app.NAME]` table with `use = "quixote"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct QuixoteOptions {
    #[serde(flatten)]
    found: FoundApplication,
    #[serde(flatten)]
    common: PythonOptions,
    /// Threads per process. Always 1, because Quixote stores the current request in a module variable. To serve several
    /// requests at a time, set `workers`.
    #[serde(default = "one")]
    threads: NonZeroU32,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl PythonKind for QuixoteOptions {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        Interface::Wsgi
    }

    fn folder(&self) -> (&'static str, Option<&Path>) {
        self.found.folder()
    }

    fn application(&self, table: &Table, _: &Path, development: bool) -> String {
        self.found.name(table, development)
    }

    fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        self.found.check(table, errors);
        if self.threads.get() > 1 {
            let why =
                "Quixote stores the current request in a module variable, so a process must have one thread";
            errors
                .push(table.error("threads", why).help(format!("set `workers = {}` instead", self.threads)));
        }
    }

    fn in_flight(&self) -> usize {
        in_flight(NonZeroU32::MIN, &self.common)
    }

    fn settings(&self) -> Vec<(String, String)> {
        vec![("threads".to_owned(), "1".to_owned())]
    }
}
