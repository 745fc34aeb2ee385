//! `paster serve`, and the hidden commands of the processes that it starts.

mod screen;

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{note, print};
use super::source::SourceArgs;
use crate::error::{Error, Result};
use crate::ops::detect::{self, PathStyle};
use crate::ops::list::Section;
use crate::ops::serve::{self, Options};
use screen::Screen;

/// Serves the applications of a config file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster serve                               serve ./server.toml
  paster serve blog/server.toml --reload     and reload on every change
  paster serve --listen 0.0.0.0:8000         listen on another address
  paster serve --app admin --profile test    serve another app, with the profile `test`
  paster serve --list-servers                list the kinds of server

Without a config file:
  paster serve ./blog                        serve the application in a directory: Django, Flask, FastAPI,
                                             Pyramid, Node.js, a Procfile, pages, notebooks, …;
                                             reports what it is
  paster serve ./blog --explain              show every rule that it tried
  paster serve --app static:./public         serve the files of a directory
  paster serve --app proxy:http://127.0.0.1:9000 --listen 0.0.0.0:8000
  paster serve --app fastcgi:unix:/run/php/php-fpm.sock -D app.main.root=./public
  paster serve --app scgi:127.0.0.1:4000     or scgi:unix:PATH
  paster serve --app flask:./blog            or django, fastapi, pyramid, wsgi:MODULE:OBJECT, …
  paster serve --app program:'node server.js'   start a program, and forward requests to it
  paster serve --app cgi:./program           run a program for each request
Such an app is [app.main] with access_log, error_page and body_limit. -D sets its other options;
`paster config show` with the same arguments prints it as the start of a config file.

Signals: HUP reloads. TERM lets requests finish. INT (Ctrl-C) stops quickly, a second INT at once.
USR1 reopens the log files. USR2 upgrades to the program that replaced this one.
Exit codes: 0 stopped on request, 1 failed, 2 command line error, 78 config error.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Serve only this `[server.NAME]`; may be repeated
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,

    /// Serve this `[app.NAME]` instead of the one that the server names; or, without a config file, one of
    /// `static:DIRECTORY`, `proxy:URL`, `fastcgi:ADDRESS`, `scgi:ADDRESS`, `cgi:PROGRAM`
    #[arg(long, value_name = "NAME|KIND:…")]
    app: Option<String>,

    /// Listen here instead: `127.0.0.1:8000`, `unix:PATH`; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,

    /// Reload when files change, and show error pages for developers
    #[arg(long, overrides_with = "no_reload")]
    reload: bool,

    /// Do not reload, even if the config asks for it
    #[arg(long)]
    no_reload: bool,

    /// Open the address in a browser
    #[arg(long)]
    open: bool,

    /// Show how the contents of a directory are detected, without serving it
    #[arg(long, conflicts_with = "app")]
    explain: bool,

    /// Print events as JSON lines; with `--list-…`, print the list as JSON
    #[arg(long)]
    json: bool,

    /// List the kinds of server, one per line
    #[arg(long, help_heading = "Lists")]
    list_servers: bool,

    /// List the kinds of middleware, one per line
    #[arg(long, help_heading = "Lists")]
    list_middleware: bool,

    /// List the kinds of application, one per line
    #[arg(long, help_heading = "Lists")]
    list_apps: bool,
}

/// One worker of a generation (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {}

/// Checks that this program can read a supervisor's upgrade state (started by that supervisor before the
/// upgrade).
#[derive(Debug, clap::Args)]
pub(super) struct SuccessorArgs {}

/// A side process of a plugin (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct SideArgs {
    /// The plugin's library.
    #[arg(long)]
    library: PathBuf,
    /// Name of the side process.
    #[arg(long)]
    name: String,
    /// Process id of the supervisor.
    #[arg(long)]
    parent: u32,
    /// The user and the limits that it runs with.
    #[arg(long)]
    credentials: String,
}

/// The program of a process of an application (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct AppArgs {
    /// Process id of the supervisor.
    #[arg(long)]
    parent: u32,
    /// The user and the limits that it runs with.
    #[arg(long)]
    credentials: String,
    /// The program with its arguments.
    #[arg(last = true)]
    words: Vec<std::ffi::OsString>,
}

/// What runs beside a program (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct ProgramArgs {}

/// A process that runs one app (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct IsolatedArgs {}

/// The last step before a program, in its process.
#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// Process id of what runs beside the program.
    #[arg(long)]
    parent: u32,
    /// Standard input is a listening socket, which the program inherits.
    #[arg(long)]
    listen: bool,
    /// Standard output is the program's terminal.
    #[arg(long)]
    terminal: bool,
    /// The program with its arguments.
    #[arg(last = true)]
    words: Vec<std::ffi::OsString>,
}

/// The program of a scheduled task (started by a worker).
#[derive(Debug, clap::Args)]
pub(super) struct TaskArgs {
    /// Process id of the worker.
    #[arg(long)]
    parent: u32,
    /// The program with its arguments.
    #[arg(last = true)]
    words: Vec<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        for (wanted, section) in [
            (self.list_servers, Section::Servers),
            (self.list_middleware, Section::Middleware),
            (self.list_apps, Section::Apps),
        ] {
            if wanted {
                return super::list::print_section(section, self.json);
            }
        }
        if self.explain {
            return self.explain();
        }
        let (found, app) = self.source.with_app(self.app.as_deref(), PathStyle::Absolute)?;
        if let Some(text) = &found.note {
            note(&format!("{text}\n"));
        }
        let sources = found.sources;
        let options = Options {
            sources,
            servers: self.server,
            app,
            listen: self.listen,
            reload: match (self.reload, self.no_reload) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            json: self.json,
        };
        let listener: serve::EventListener = if self.json {
            Box::new(screen::print_json)
        } else {
            let screen = Screen::new(self.open);
            Box::new(move |event| screen.show(event))
        };
        serve::serve(options, listener).map(ExitCode::from)
    }

    fn explain(self) -> Result<ExitCode> {
        let folder = self.source.config.unwrap_or_else(|| ".".into());
        if !folder.is_dir() {
            let error =
                Error::usage(format!("`--explain` is for a directory, and `{}` is none", folder.display()));
            return Err(error.help("`paster config explain KEY` tells where a value comes from").into());
        }
        let tried = detect::explain(&folder)?;
        if self.json {
            let text = serde_json::to_string_pretty(&tried).unwrap_or_default();
            return print(&format!("{text}\n"));
        }
        print(&detect::explanation(&folder, &tried))
    }
}

impl WorkerArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        Ok(serve::worker().into())
    }
}

impl SuccessorArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::successor().map(ExitCode::from)
    }
}

impl TaskArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::become_program(&self.words, self.parent).map(ExitCode::from)
    }
}

impl AppArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::app(&self.words, self.parent, &self.credentials).map(ExitCode::from)
    }
}

impl ProgramArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::program_process().map(ExitCode::from)
    }
}

impl IsolatedArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::isolated().map(ExitCode::from)
    }
}

impl ExecArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::exec(&self.words, self.parent, self.listen, self.terminal).map(ExitCode::from)
    }
}

impl SideArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::side(&self.library, &self.name, self.parent, &self.credentials).map(ExitCode::from)
    }
}
