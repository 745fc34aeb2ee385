//! What is recognized in a directory: one table.
//!
//! A lower rank wins; two matching rules of one rank are an error that lists both. A rule has a lower rank than the rules of which it is
//! a special case. What a rule asks must be true of the application's own files: never of a part of a name, and never of one of several
//! signs where all are needed.

use super::contents::Contents;
use super::entries::{
    FoundApp, applications, django, notebook, object_in, pages, paste, php, plugin, plugins, projects,
    pyramid, python_framework, python_object, web_line,
};
use super::programs::{
    deno, deno_command, go, is_go_server, node, node_command, procfile, procfile_of, rack, rails, script,
};
use super::requirements::depends_on;
use crate::error::Result;

/// How one kind of application is recognized.
pub(super) struct DetectRule {
    /// What `--as` calls it.
    pub(super) name: &'static str,
    /// What it is, for errors.
    pub(super) about: &'static str,
    /// A lower one wins.
    pub(super) rank: u8,
    /// All of these must be there,
    pub(super) all: &'static [Sign],
    /// one of these, unless the list is empty,
    pub(super) any: &'static [Sign],
    /// and none of these.
    pub(super) none: &'static [Sign],
    /// Reads the details, for the rule of this name.
    pub(super) find: fn(&Contents, &'static str) -> Result<FoundApp>,
}

/// Something that a directory has.
pub(super) enum Sign {
    /// A file at this path.
    File(&'static str),
    /// A file with this ending, at most two directories deep.
    Ending(&'static str),
    /// A Django project.
    Project,
    /// An `.ini` file with an application of PasteDeploy.
    Ini,
    /// A dependency of the Python project, or a key that begins with its name in such an `.ini` file.
    Uses(&'static str),
    /// A Python object that is an application of this framework.
    Application(&'static str),
    /// A Python object with the usual name in a file of this name.
    Object(&'static str),
    /// A `Procfile` whose `web` is a Python server with an application of this kind.
    WebLine(&'static str),
    /// A `Procfile` with a line `web`.
    Web,
    /// A program in Go that reads the variable `PORT`.
    GoServer,
    /// A start script of `package.json` that runs a server, or what starts without one.
    NodeServer,
    /// A program of Deno that serves requests.
    DenoServer,
    /// A script of `package.json`.
    Script(&'static str),
    /// A crate that is a plugin of paster.
    Plugin,
}

/// Everything that is recognized.
pub(super) static RULES: &[DetectRule] = &[
    DetectRule {
        name: "django",
        about: "a Django project (`manage.py`)",
        rank: 1,
        all: &[Sign::Project],
        any: &[],
        none: &[],
        find: django,
    },
    DetectRule {
        name: "pyramid",
        about: "a Pyramid application (`*.ini` with `[app:main]`)",
        rank: 1,
        all: &[Sign::Ini],
        any: &[Sign::Uses("pyramid")],
        none: &[],
        find: pyramid,
    },
    DetectRule {
        name: "paste",
        about: "an application of PasteDeploy (`*.ini` with `[app:main]`)",
        rank: 1,
        all: &[Sign::Ini],
        any: &[],
        none: &[Sign::Uses("pyramid")],
        find: paste,
    },
    DetectRule {
        name: "plugin",
        about: "a plugin (`Cargo.toml` with `paster-sdk`)",
        rank: 1,
        all: &[Sign::Plugin],
        any: &[],
        none: &[],
        find: plugin,
    },
    DetectRule {
        name: "php",
        about: "a PHP site (`index.php`)",
        rank: 1,
        all: &[],
        any: &[
            Sign::File("index.php"),
            Sign::File("public/index.php"),
            Sign::File("web/index.php"),
            Sign::File("htdocs/index.php"),
            Sign::File("www/index.php"),
        ],
        none: &[],
        find: php,
    },
    framework("flask", "a Flask application", &[Sign::Application("flask")]),
    framework("bottle", "a Bottle application", &[Sign::Application("bottle")]),
    framework("cherrypy", "a CherryPy application", &[Sign::Application("cherrypy")]),
    framework("quixote", "a Quixote application", &[Sign::Application("quixote")]),
    framework("fastapi", "a FastAPI application", &[Sign::Application("fastapi")]),
    framework("starlette", "a Starlette application", &[Sign::Application("starlette")]),
    framework("tornado", "a Tornado application", &[Sign::Application("tornado")]),
    DetectRule {
        name: "procfile",
        about: "the programs of a `Procfile`",
        rank: 3,
        all: &[Sign::Web],
        any: &[],
        none: &[Sign::WebLine("wsgi"), Sign::WebLine("asgi")],
        find: procfile,
    },
    DetectRule {
        name: "wsgi",
        about: "a WSGI application (`wsgi.py`)",
        rank: 4,
        all: &[],
        any: &[
            Sign::Application("wsgi"),
            Sign::Object("wsgi.py"),
            Sign::Ending(".wsgi"),
            Sign::WebLine("wsgi"),
        ],
        none: &[],
        find: python_object,
    },
    DetectRule {
        name: "asgi",
        about: "an ASGI application (`asgi.py`)",
        rank: 4,
        all: &[],
        any: &[Sign::Application("asgi"), Sign::Object("asgi.py"), Sign::WebLine("asgi")],
        none: &[],
        find: python_object,
    },
    DetectRule {
        name: "rails",
        about: "a Rails application (`bin/rails`)",
        rank: 4,
        all: &[Sign::File("bin/rails"), Sign::File("config.ru")],
        any: &[],
        none: &[],
        find: rails,
    },
    DetectRule {
        name: "rack",
        about: "a Rack application (`config.ru`)",
        rank: 5,
        all: &[Sign::File("config.ru")],
        any: &[],
        none: &[],
        find: rack,
    },
    DetectRule {
        name: "go",
        about: "a Go server (`go.mod`)",
        rank: 5,
        all: &[Sign::File("go.mod"), Sign::GoServer],
        any: &[],
        none: &[],
        find: go,
    },
    DetectRule {
        name: "deno",
        about: "a Deno server (`deno.json`)",
        rank: 5,
        all: &[Sign::DenoServer],
        any: &[Sign::File("deno.json"), Sign::File("deno.jsonc")],
        none: &[],
        find: deno,
    },
    // A `package.json` beside another application builds its front end.
    DetectRule {
        name: "node",
        about: "a Node.js server (`package.json` with a start script)",
        rank: 6,
        all: &[Sign::NodeServer],
        any: &[],
        none: &[],
        find: node,
    },
    DetectRule {
        name: "static",
        about: "pages (`index.html`)",
        rank: 7,
        all: &[],
        any: &[Sign::File("index.html"), Sign::File("public/index.html"), Sign::File("www/index.html")],
        none: &[Sign::Script("build")],
        find: |contents, _| pages(contents, &[".", "public", "www"]),
    },
    DetectRule {
        name: "built",
        about: "pages from a build (`dist/index.html`)",
        rank: 8,
        all: &[],
        any: &[
            Sign::File("dist/index.html"),
            Sign::File("build/index.html"),
            Sign::File("out/index.html"),
            Sign::File("_site/index.html"),
        ],
        none: &[],
        find: |contents, _| pages(contents, &["dist", "build", "out", "_site"]),
    },
    DetectRule {
        name: "notebook",
        about: "notebooks (`*.ipynb`)",
        rank: 9,
        all: &[Sign::Ending(".ipynb")],
        any: &[],
        none: &[],
        find: notebook,
    },
];

/// The rule of a framework whose application is an object of a Python file.
const fn framework(name: &'static str, about: &'static str, all: &'static [Sign]) -> DetectRule {
    DetectRule { name, about, rank: 2, all, any: &[], none: &[], find: python_framework }
}

impl DetectRule {
    pub(super) fn matches(&self, contents: &Contents) -> bool {
        let is_there = |sign: &Sign| sign.is_in(contents);
        self.all.iter().all(is_there)
            && (self.any.is_empty() || self.any.iter().any(is_there))
            && !self.none.iter().any(is_there)
    }
}

impl Sign {
    pub(super) fn is_in(&self, contents: &Contents) -> bool {
        match *self {
            Sign::File(name) => contents.has_file(name),
            Sign::Ending(ending) => contents.names().iter().any(|name| name.ends_with(ending)),
            Sign::Project => !projects(contents).is_empty(),
            Sign::Ini => !contents.ini_files().is_empty(),
            Sign::Uses(package) => {
                let key = format!("{package}.");
                let keys = |text: &str| text.lines().any(|line| line.trim_start().starts_with(&key));
                contents.ini_files().iter().any(|(_, text)| keys(text)) || depends_on(contents, package)
            }
            Sign::Application(framework) => applications(contents, framework).next().is_some(),
            Sign::Object(file) => object_in(contents, file).is_some(),
            Sign::WebLine(kind) => web_line(contents, kind).is_some(),
            Sign::Web => procfile_of(contents).entry("web").is_some(),
            Sign::GoServer => is_go_server(contents),
            Sign::NodeServer => node_command(contents).is_some(),
            Sign::DenoServer => deno_command(contents).is_some(),
            Sign::Script(name) => script(contents, name).is_some(),
            Sign::Plugin => !plugins(contents).is_empty(),
        }
    }
}
