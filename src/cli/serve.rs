//! `paster serve`, and the hidden commands of the processes that it starts.

mod screen;

use std::path::PathBuf;
use std::process::ExitCode;

use super::source::SourceArgs;
use crate::error::Result;
use crate::ops::list::Section;
use crate::ops::serve::{self, Options};
use screen::Screen;

/// Serves the applications of a config.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster serve                               what ./server.toml says
  paster serve blog/server.toml --reload     and reload on every change
  paster serve --listen 0.0.0.0:8000         on another address
  paster serve --app admin --profile test    another app, with the profile `test`
  paster serve --list-servers                the kinds of server

Without a config file:
  paster serve --app static:./public         the files of a directory
  paster serve --app proxy:http://127.0.0.1:9000 --listen 0.0.0.0:8000
  paster serve --app fastcgi:unix:/run/php/php-fpm.sock -D app.main.root=./public
  paster serve --app scgi:127.0.0.1:4000     or scgi:unix:PATH
  paster serve --app cgi:./program           a program for each request
Such an app is [app.main] with access_log, error_page and body_limit: -D sets the rest, and
`paster config show --app …` prints it as the start of a config file.

Signals: HUP reloads, TERM lets requests finish, INT (Ctrl-C) ends soon, a second one at once; USR1 opens log files
anew, USR2 lets a replaced program take over.
Exit codes: 0 ended as asked, 1 failed, 2 command line, 78 configuration.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Serve only this `[server.NAME]`; may be repeated
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,

    /// Serve this `[app.NAME]` instead of the one that the server names; or, without a config file, one of its own:
    /// `static:DIRECTORY`, `proxy:URL`, `fastcgi:ADDRESS`, `scgi:ADDRESS`, `cgi:PROGRAM`
    #[arg(long, value_name = "NAME|KIND:…")]
    app: Option<String>,

    /// Listen here instead: `127.0.0.1:8000`, `unix:PATH`; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,

    /// Reload when files change, with pages for developers
    #[arg(long, overrides_with = "no_reload")]
    reload: bool,

    /// Do not, whatever the config says
    #[arg(long)]
    no_reload: bool,

    /// Open the address in the browser
    #[arg(long)]
    open: bool,

    /// Print one JSON event a line on standard output; with a list, the list as JSON
    #[arg(long)]
    json: bool,

    /// List the kinds of server, each with a line
    #[arg(long, help_heading = "Lists")]
    list_servers: bool,

    /// List the kinds of middleware
    #[arg(long, help_heading = "Lists")]
    list_middleware: bool,

    /// List the kinds of application
    #[arg(long, help_heading = "Lists")]
    list_apps: bool,
}

/// One worker of a generation (started by the supervisor).
#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {}

/// Reads what a supervisor would leave to this program (started by it before it does).
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
    /// As whom and within which limits it runs.
    #[arg(long)]
    credentials: String,
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
        let (sources, app) = self.source.with_app(self.app.as_deref())?;
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
        let listener: serve::Listener = if self.json {
            Box::new(screen::print_json)
        } else {
            let screen = Screen::new(self.open);
            Box::new(move |event| screen.show(event))
        };
        serve::serve(options, listener).map(ExitCode::from)
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

impl SideArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        serve::side(&self.library, &self.name, self.parent, &self.credentials).map(ExitCode::from)
    }
}
