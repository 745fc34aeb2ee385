//! Kinds of application: one file each, from its `Options` to an [`App`].

mod argument;
mod cascade;
mod cgi;
mod fastcgi;
mod hand_off;
mod media;
mod mount;
mod plugin;
mod proxy;
mod redirect;
mod respond;
mod scgi;
mod static_files;
mod target;
mod upstream;

pub use argument::{config_of, from_argument};
pub use plugin::{is_bundled, is_plugin};

use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::{Origin, Result};
use crate::registry::{Entry, options};

/// Creates an application from its `[app.NAME]` table.
pub type Build = fn(&Table, &mut Builder<'_>) -> Result<App>;

/// Every kind of application.
pub static APPS: &[Entry<Build>] = &[
    Entry {
        name: "static",
        summary: "Serves the files of a directory",
        options: options::<static_files::Options>,
        build: static_files::build,
    },
    Entry {
        name: "mount",
        summary: "Passes each request to the app mounted at the longest matching prefix",
        options: options::<mount::Options>,
        build: mount::build,
    },
    Entry {
        name: "plugin",
        summary: "Runs an application from a dynamic library: a Rust crate, or any language over the C ABI",
        options: options::<plugin::Options>,
        build: plugin::build,
    },
    Entry {
        name: "notebook",
        summary: "Runs the notebook: code, text and plots in the browser, on Jupyter's protocols",
        options: options::<plugin::BundledOptions>,
        build: plugin::build_bundled,
    },
    Entry {
        name: "proxy",
        summary: "Forwards requests to upstreams over HTTP/1.1, with WebSockets, or HTTP/2",
        options: options::<proxy::Options>,
        build: proxy::build,
    },
    Entry {
        name: "fastcgi",
        summary: "Forwards requests to upstreams over FastCGI; serves PHP sites",
        options: options::<fastcgi::Options>,
        build: fastcgi::build,
    },
    Entry {
        name: "scgi",
        summary: "Forwards requests to upstreams over SCGI",
        options: options::<scgi::Options>,
        build: scgi::build,
    },
    Entry {
        name: "cgi",
        summary: "Runs a program for each request (CGI)",
        options: options::<cgi::Options>,
        build: cgi::build,
    },
    Entry {
        name: "cascade",
        summary: "Tries apps in turn until one responds",
        options: options::<cascade::Options>,
        build: cascade::build,
    },
    Entry {
        name: "redirect",
        summary: "Redirects every request to another address",
        options: options::<redirect::Options>,
        build: redirect::build,
    },
    Entry {
        name: "respond",
        summary: "Returns a fixed response",
        options: options::<respond::Options>,
        build: respond::build,
    },
];

/// What the `build` function of an app may use.
pub struct Builder<'a> {
    /// What surrounds the generation.
    pub context: &'a Context,
    /// Builds another app of the config by name, with its middleware (`mount`, `cascade`); the origin is
    /// where the name is written. The assembler reports faults of that app, and continues with a placeholder
    /// so that all faults are found.
    pub resolve: &'a mut dyn FnMut(&str, Option<Origin>) -> App,
    /// The plugin instances created so far: the worker probes, retires and shuts them down.
    pub instances: &'a mut Vec<crate::plugin::Instance>,
}

/// One link from an app to another.
#[derive(Debug, Clone)]
pub struct Link {
    /// Which requests follow it: `/files`, `admin.example.org/`, `on 404`.
    pub at: String,
    /// Name of the app.
    pub app: String,
    /// Key of the app's name in the table, for errors.
    pub key: String,
}

/// The apps that the app of `table` passes requests to, read only from its options: `paster routes` builds
/// nothing. Empty for kinds that pass nothing on, and for tables with invalid options.
pub fn links(table: &Table) -> Vec<Link> {
    match table.kind() {
        Ok("mount") => mount::links(table),
        Ok("cascade") => cascade::links(table),
        Ok("proxy" | "fastcgi" | "scgi") => hand_off::links(table),
        _ => Vec::new(),
    }
}
