//! The client of a running `paster serve`: finds its control socket, sends requests, reads the answers.
//!
//! `protocol` has the messages, `socket_dir` the directory of the sockets, `terminal` what `paster attach` sends; the other end is
//! `ops::serve::supervisor::control_socket`.

mod protocol;
pub(crate) mod socket_dir;
pub(crate) mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

pub use protocol::*;

use crate::config::{Config, Sources};
use crate::error::{Error, Errors, Result};
use crate::ops::sections::process::Process;

/// How long a server may take for its first answer; the socket of one that has ended refuses connections at
/// once.
const GREETING: Duration = Duration::from_secs(15);
/// Maximum length of an answer's line.
const LONGEST: u64 = 64 << 20;

/// Which server to connect to.
#[derive(Debug, Clone, Default)]
pub struct WantedServer {
    /// Its control socket.
    pub control: Option<PathBuf>,
    /// The config that it serves, with its other sources.
    pub sources: Option<Sources>,
}

/// A connection to a running server.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    path: PathBuf,
    /// The server's description of itself.
    pub hello: Hello,
}

/// The answer to a request.
#[derive(Debug)]
pub enum ControlReply<T> {
    /// The result.
    Done(T),
    /// The errors.
    Failed(Vec<Error>),
}

/// Finds a server and connects to it: by its socket, by its config, or the only one that runs.
/// # Errors
/// When there is none, or when several match: the error lists them.
pub fn connect(wanted: &WantedServer) -> Result<Connection> {
    if let Some(path) = &wanted.control {
        return Connection::open(path).map_err(|cause| unreachable(path).because(cause).into());
    }
    let mut running = running();
    if let Some(sources) = &wanted.sources
        && let Some(file) = sources.named()
    {
        let file = file.canonicalize().map_err(|cause| {
            Error::config(format!("cannot read the config `{}`", file.display())).because(cause)
        })?;
        running.retain(|one| one.hello.config.as_deref() == Some(&*file));
        if let Some(path) = running.is_empty().then(|| configured(sources)).flatten() {
            return Connection::open(&path).map_err(|cause| unreachable(&path).because(cause).into());
        }
        return one(running, || {
            Error::new(format!("no server is running with the config `{}`", file.display()))
                .help("start one with `paster serve`, or use `--control PATH` for a server of another user")
        });
    }
    // The server of ./server.toml comes first.
    if let Ok(here) = Path::new("server.toml").canonicalize() {
        let of_here = |one: &Connection| one.hello.config.as_deref() == Some(&*here);
        if running.iter().filter(|one| of_here(one)).count() == 1 {
            running.retain(of_here);
        }
    }
    one(running, || {
        Error::new("no server is running")
            .help("start one with `paster serve`, or use `--control PATH` for a server of another user")
    })
}

/// The only server of the list.
fn one(mut running: Vec<Connection>, none: impl FnOnce() -> Error) -> Result<Connection> {
    match running.len() {
        0 => Err(none().into()),
        1 => Ok(running.remove(0)),
        count => {
            let mut error = Error::usage(format!("{count} servers are running: choose one"));
            for one in running {
                let config = one.hello.config.as_ref().map(|path| format!(" ({})", path.display()));
                let config = config.unwrap_or_default();
                error = error.help(format!(
                    "process {}{config}: --control {}",
                    one.hello.pid,
                    one.path.display()
                ));
            }
            Err(error.into())
        }
    }
}

fn unreachable(path: &Path) -> Error {
    Error::new(format!("no server responds at `{}`", path.display()))
}

/// The socket that a config names, if it can be read.
fn configured(sources: &Sources) -> Option<PathBuf> {
    let config = Config::load(sources).ok()?;
    Process::read(&config).ok()?.control.as_deref().map(Path::to_owned)
}

/// Every server of this user.
pub fn running() -> Vec<Connection> {
    let Ok(folder) = socket_dir::folder() else { return Vec::new() };
    let mut found: Vec<Connection> =
        socket_dir::sockets(&folder).iter().filter_map(|path| Connection::open(path).ok()).collect();
    found.sort_by_key(|one| one.hello.pid);
    found
}

impl Connection {
    /// Connects to the socket at `path` and asks the server to describe itself.
    /// # Errors
    /// When nothing listens there, or it is not a server of paster.
    pub fn open(path: &Path) -> std::io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(GREETING))?;
        stream.set_write_timeout(Some(GREETING))?;
        let mut this =
            Connection { reader: BufReader::new(stream), path: path.to_owned(), hello: Hello::default() };
        match this.ask(&ControlCommand::Hello).map_err(std::io::Error::other)? {
            ControlReply::Done(hello) => this.hello = hello,
            ControlReply::Failed(faults) => {
                let text = faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ");
                return Err(std::io::Error::other(text));
            }
        }
        this.reader.get_ref().set_read_timeout(None)?;
        Ok(this)
    }

    /// Sends a request and waits for the answer.
    /// # Errors
    /// When the connection fails, or the answer is invalid.
    pub fn ask<T: DeserializeOwned>(&mut self, ask: &ControlCommand) -> Result<ControlReply<T>> {
        self.say(ask)?;
        loop {
            match self.reply()? {
                Some(Reply::Done(value)) => {
                    let value = serde_json::from_value(value).map_err(|cause| {
                        Error::new("the server sent a response that this version of paster does not know")
                            .help("its version may differ from `paster --version`")
                            .because(cause)
                    })?;
                    return Ok(ControlReply::Done(value));
                }
                Some(Reply::Failed(faults)) => return Ok(ControlReply::Failed(faults)),
                Some(Reply::Line(_)) => {}
                None => return Err(Error::new("the server stopped before it responded").into()),
            }
        }
    }

    /// The same, with the server's errors as an error.
    /// # Errors
    /// Also those of the server.
    pub fn done<T: DeserializeOwned>(&mut self, ask: &ControlCommand) -> Result<T> {
        match self.ask(ask)? {
            ControlReply::Done(value) => Ok(value),
            ControlReply::Failed(faults) => {
                Errors::check(faults)?;
                Err(Error::new("the server refused without a reason").into())
            }
        }
    }

    /// Sends a request without waiting for the answer.
    /// # Errors
    /// When the connection fails.
    pub fn say(&mut self, ask: &ControlCommand) -> Result<()> {
        let request = ControlRequest { paster: VERSION, ask: ask.clone() };
        let mut line = serde_json::to_string(&request).expect("asks have string keys only");
        line.push('\n');
        let failed = |cause| Error::new("cannot send a request to the server").because(cause);
        self.reader.get_mut().write_all(line.as_bytes()).map_err(failed)?;
        Ok(())
    }

    /// The next answer; `None` if the server has closed the connection.
    /// # Errors
    /// When the connection fails, or the answer is invalid.
    pub fn reply(&mut self) -> Result<Option<Reply>> {
        let failed = |cause: std::io::Error| Error::new("the server is not responding").because(cause);
        let mut line = Vec::new();
        (&mut self.reader).take(LONGEST).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&line).map_err(|cause| {
            Error::new(format!("`{}` is not the control socket of a paster", self.path.display()))
                .because(cause)
        })?;
        Ok(Some(reply))
    }
}
