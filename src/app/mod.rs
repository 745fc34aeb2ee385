//! Kinds of application: one file each, from its `Options` to an [`App`](crate::body::App).

mod argument;
mod builder;
mod cascade;
mod cgi;
mod fastcgi;
mod hand_off;
pub mod isolation;
mod kind;
mod media;
mod mount;
mod plugin;
pub mod process;
pub mod program;
mod proxy;
mod python;
mod redirect;
mod respond;
mod scgi;
mod static_files;
mod target;
mod upstream;

pub use argument::{config_of, from_argument};
pub use builder::{AppLink, Builder};
pub use kind::AppKind;
pub use python::{find_interpreter, shell_args};
pub use upstream::reach;

use std::sync::LazyLock;

use crate::config::Table;
use crate::error::Result;
use crate::registry::{Entries, Entry};

/// Every kind of application.
pub static APPS: Entries<AppKind> = LazyLock::new(|| {
    vec![
        Entry::of("static", "Serves the files of a directory", static_files::build)
            .shorthand("publish_dir", &["DIRECTORY"]),
        Entry::of(
            "mount",
            "Passes each request to the app mounted at the longest matching prefix",
            mount::build,
        )
        .links(mount::links),
        Entry::of(
            "plugin",
            "Runs an application from a dynamic library: a Rust crate, or any language over the C ABI",
            plugin::build,
        )
        .shorthand_for(".so", "library", &["FILE.so"])
        .shorthand("crate", &["CRATE"])
        .library(plugin::library),
        Entry::of(
            "notebook",
            "Runs the notebook: code, text and plots in the browser, on Jupyter's protocols",
            plugin::build_bundled,
        )
        .library(plugin::bundled_library),
        python::entry::<python::WsgiOptions>(
            "wsgi",
            "Runs a Python application over WSGI, in processes of its environment",
        )
        .shorthand("application", &["MODULE:OBJECT"]),
        python::entry::<python::AsgiOptions>(
            "asgi",
            "Runs a Python application over ASGI, with WebSockets, in processes of its environment",
        )
        .shorthand("application", &["MODULE:OBJECT"]),
        python::entry::<python::DjangoOptions>(
            "django",
            "Runs a Django project, and serves its static files and media",
        )
        .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::WsgiFramework>("flask", "Runs the Flask application of a directory")
            .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::WsgiFramework>("pyramid", "Runs a Pyramid application from its `.ini` file")
            .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::WsgiFramework>(
            "bottle",
            "Runs a Bottle application, or the default application of a module",
        )
        .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::WsgiFramework>(
            "cherrypy",
            "Runs the applications that a module mounts on CherryPy's tree",
        )
        .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::QuixoteOptions>(
            "quixote",
            "Runs the publisher of a Quixote application, one request at a time per process",
        )
        .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::AsgiFramework>("fastapi", "Runs the FastAPI application of a directory")
            .shorthand("publish_dir", &["DIRECTORY"]),
        python::entry::<python::AsgiFramework>("starlette", "Runs the Starlette application of a directory")
            .shorthand("publish_dir", &["DIRECTORY"]),
        python::tornado().shorthand("publish_dir", &["DIRECTORY"]),
        Entry::of(
            "program",
            "Runs a program that serves requests, in any language, and forwards requests to it",
            program::build,
        )
        .shorthand("command", &["COMMAND"])
        .links(program::links)
        .processes(program::process_spec),
        Entry::of(
            "proxy",
            "Forwards requests to upstreams over HTTP/1.1, with WebSockets, or HTTP/2",
            proxy::build,
        )
        .shorthand("upstreams", &["http://HOST:PORT", "unix:PATH"])
        .links(proxy::links),
        Entry::of("fastcgi", "Forwards requests to upstreams over FastCGI; serves PHP sites", fastcgi::build)
            .shorthand("upstreams", &["HOST:PORT", "unix:PATH"])
            .links(fastcgi::links),
        Entry::of("scgi", "Forwards requests to upstreams over SCGI", scgi::build)
            .shorthand("upstreams", &["HOST:PORT", "unix:PATH"])
            .links(scgi::links),
        Entry::of("cgi", "Runs a program for each request (CGI)", cgi::build)
            .shorthand("program", &["PROGRAM"]),
        Entry::of("cascade", "Tries apps in turn until one responds", cascade::build).links(cascade::links),
        Entry::of("redirect", "Redirects every request to another address", redirect::build)
            .shorthand("to", &["URL"]),
        Entry::of("respond", "Returns a fixed response", respond::build).shorthand("body", &["TEXT"]),
    ]
});

impl AppKind {
    /// The entry of the kind that `table` names.
    /// # Errors
    /// A table without a kind, and an unknown kind.
    pub fn of(table: &Table) -> Result<&'static Entry<AppKind>> {
        table.kind_in(&APPS, "kind of app")
    }
}
