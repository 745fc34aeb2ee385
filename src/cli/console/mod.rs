//! `paster console`: sends requests, one after another, to an application in this process.

mod editor;
mod jar;

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};

use self::editor::{Editor, field};
use self::jar::Jar;
use super::output::{is_read, note, print, write};
use super::request::table;
use super::source::SourceArgs;
use crate::config::{Sources, is_secret_field};
use crate::error::{Error, Result};
use crate::ops::request::{AppRequest, AppSession, ReceivedPart};
use crate::ops::routes::{AppRoute, routes};
use crate::server::console::encode_head;

/// Sends requests to an application in this process, one by one.
#[derive(Debug, clap::Args)]
#[command(after_help = "A line is one of:
  /path                      GET it
  POST /items {\"name\":1}     another method, with a body: text, or @FILE
  Accept: text/html          a header field for all following requests; `Accept:` removes it
  :help                      list the other commands

Examples:
  paster console                                   ask the app of ./server.toml
  paster console < requests.txt                    run the lines of a file

On a terminal, the console has history and completion. Otherwise it reads the lines of standard input.
The console stores cookies like a browser. Exit codes: 0 ended, 1 a line of a script failed, 78 config error.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Ask this app of the config [default: the app of the server `main`]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Follow redirects to the same host
    #[arg(short = 'L', long)]
    location: bool,

    /// Print the time of each part of the stack
    #[arg(long)]
    trace: bool,
}

const HELP: &str = "\
/path                  GET it
METHOD /path [BODY]    send another request; BODY is text, or @FILE
Name: value            a header field for all following requests; `Name:` removes it
:headers               list these header fields
:cookies               list the cookies
:forget                remove all header fields and cookies
:trace on|off          show the time of each part of the stack
:head on|off           show the status line and header fields before the body
:follow on|off         follow redirects to the same host
:app NAME              ask another app of the config
:reload                reload the config
:quit                  quit (also Ctrl-D)
";

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let sources = self.source.sources()?;
        let terminal = std::io::stdin().is_terminal();
        let mut console = Console {
            session: open(&sources, self.app.as_deref())?,
            sources,
            headers: Vec::new(),
            jar: Jar::default(),
            trace: self.trace,
            head: true,
            follow: self.location,
        };
        match terminal {
            true => console.converse(),
            false => console.script(),
        }
    }
}

fn open(sources: &Sources, app: Option<&str>) -> Result<AppSession> {
    AppSession::open(sources, app, true, &|text| note(&format!("{text}\n")))
}

/// The state that is kept between lines.
struct Console {
    sources: Sources,
    session: AppSession,
    /// `Name: value`, in the order in which they were given.
    headers: Vec<String>,
    jar: Jar,
    trace: bool,
    head: bool,
    follow: bool,
}

/// Whether to continue.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}

impl Console {
    /// Reads lines from a person.
    fn converse(&mut self) -> Result<ExitCode> {
        let mut editor = Editor::open()?;
        let app = self.session.app();
        print(&format!("asking the app `{app}`; `:help` lists the commands, Ctrl-D quits\n"))?;
        loop {
            editor.knows(self.paths());
            let Some(line) = editor.line(&format!("{}> ", self.session.app()))? else { break };
            match self.take(&line) {
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(errors) => super::report::errors(errors.iter()),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reads lines from a file or a pipe. A line that fails does not stop the rest.
    fn script(&mut self) -> Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|cause| Error::new("cannot read standard input").because(cause))?;
            match self.take(&line) {
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(errors) => {
                    super::report::errors(errors.iter());
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }

    fn take(&mut self, line: &str) -> Result<Next> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Next::Line);
        }
        if let Some(command) = line.strip_prefix(':') {
            return self.command(command);
        }
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if first.starts_with('/') {
            return self.ask("GET", first, Bytes::new());
        } else if let Some((name, value)) = field(line) {
            let same = |kept: &String| field(kept).is_some_and(|(kept, _)| kept.eq_ignore_ascii_case(name));
            self.headers.retain(|kept| !same(kept));
            if !value.is_empty() {
                self.headers.push(format!("{name}: {value}"));
            }
        } else if first.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
            let (path, body) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
            if path.is_empty() {
                return Err(Error::usage(format!("`{first}` needs a path"))
                    .help(format!("write `{first} /path`"))
                    .into());
            }
            return self.ask(first, path, body_of(body.trim())?);
        } else {
            return Err(Error::usage(format!("`{first}` is not a path, a method or a header field"))
                .help("write `GET /path`, `Name: value`, or `:help`")
                .into());
        }
        Ok(Next::Line)
    }

    fn command(&mut self, command: &str) -> Result<Next> {
        let (name, word) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let word = word.trim();
        match name {
            "help" | "h" | "?" => return show(HELP),
            "quit" | "q" | "exit" => return Ok(Next::End),
            "trace" => self.trace = switch(name, word)?,
            "head" => self.head = switch(name, word)?,
            "follow" => self.follow = switch(name, word)?,
            "headers" => {
                let masked = |line: &String| match field(line) {
                    Some((name, _)) if is_secret_field(name) => format!("{name}: ***\n"),
                    _ => format!("{line}\n"),
                };
                return show(&self.headers.iter().map(masked).collect::<String>());
            }
            "cookies" => {
                return show(&self.jar.names().map(|name| format!("{name}=***\n")).collect::<String>());
            }
            "forget" => {
                self.headers.clear();
                self.jar = Jar::default();
            }
            "app" if word.is_empty() => return show(&format!("{}\n", self.session.app())),
            "app" => self.session = open(&self.sources, Some(word))?,
            "reload" => {
                self.session = open(&self.sources, Some(self.session.app()))?;
                return show("reloaded\n");
            }
            other => {
                let error = Error::usage(format!("unknown command `:{other}`"));
                return Err(match crate::registry::nearest(other, editor::COMMANDS.iter().copied()) {
                    Some(near) => error.help(format!("did you mean `:{near}`?")),
                    None => error.help("`:help` lists the commands"),
                }
                .into());
            }
        }
        Ok(Next::Line)
    }

    fn ask(&mut self, method: &str, path: &str, body: Bytes) -> Result<Next> {
        let mut headers = self.headers.clone();
        let given =
            |line: &String| field(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case(COOKIE.as_str()));
        if let Some(cookies) = self.jar.of(path).filter(|_| !headers.iter().any(given)) {
            headers.push(format!("cookie: {cookies}"));
        }
        let asked = AppRequest {
            method: method.into(),
            path: path.into(),
            headers,
            body,
            follow: self.follow,
            ..AppRequest::default()
        };
        let mut last = b'\n';
        let (shows_head, jar) = (self.head, &mut self.jar);
        let done = self.session.ask(&asked, &mut |part| match part {
            ReceivedPart::Head(response) => {
                for value in response.headers().get_all(SET_COOKIE) {
                    jar.take(value.to_str().unwrap_or_default());
                }
                if shows_head { write(&encode_head(response)) } else { Ok(()) }
            }
            ReceivedPart::Data(data) => {
                last = data.last().copied().unwrap_or(last);
                write(data)
            }
        })?;
        if self.trace {
            note(&table(&done));
        }
        show(if last == b'\n' { "" } else { "\n" })
    }

    /// The path prefixes of the config's routes.
    fn paths(&self) -> Vec<String> {
        fn gather(route: &AppRoute, prefix: &str, found: &mut Vec<String>) {
            for inner in &route.routes {
                let at = inner.at.as_deref().and_then(|at| at.find('/').map(|slash| &at[slash..]));
                let path = at.map_or(prefix.to_owned(), |at| format!("{}{at}", prefix.trim_end_matches('/')));
                found.push(path.clone());
                gather(inner, &path, found);
            }
        }
        let mut found = vec!["/".to_owned()];
        if let Ok(routes) = routes(self.session.config()) {
            routes.servers.iter().for_each(|server| gather(&server.app, "", &mut found));
        }
        found.retain(|path| path.starts_with('/'));
        found.sort();
        found.dedup();
        found
    }
}

/// Prints text; ends the console if the pipe is closed.
fn show(text: &str) -> Result<Next> {
    Ok(if is_read(text)? { Next::Line } else { Next::End })
}

fn switch(name: &str, word: &str) -> Result<bool> {
    match word {
        "on" | "" => Ok(true),
        "off" => Ok(false),
        other => {
            let error = Error::usage(format!("`:{name}` takes `on` or `off`, not `{other}`"));
            Err(error.help(format!("write `:{name} on`")).into())
        }
    }
}

fn body_of(text: &str) -> Result<Bytes> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned().into()) };
    let read = std::fs::read(Path::new(path));
    let read =
        read.map_err(|cause| Error::usage(format!("cannot read the body from `{path}`")).because(cause))?;
    Ok(read.into())
}
