//! `paster attach`: this terminal for that of a program.

use std::io::{IsTerminal, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios};

use super::control::ServerArgs;
use super::output::{failed, note};
use crate::error::{Error, Result};
use crate::ops::control::terminal::{encode_keys, encode_size};
use crate::ops::control::{ControlCommand, ProgramTerminal};

/// Ctrl-].
const DETACH: u8 = 0x1d;
/// How often the size of the terminal is checked.
const SIZE: Duration = Duration::from_secs(1);

/// Connects this terminal to a program of a running server, for a debugger.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster attach api              process 0 of [app.api]
  paster attach api --process 1
  paster attach worker           the program of [program.worker]

Keys go to the program, and Ctrl-] detaches from it. The program needs a terminal: `terminal = true`, which is the default
with `paster serve --reload` in a terminal. The program's output also goes to the log.
Exit codes: 0 detached, or the program has ended, 1 failed, 2 several servers run: name one.")]
pub(super) struct Args {
    /// Name of an `[app.NAME]` with `use = \"program\"`, or of a `[program.NAME]`
    #[arg(value_name = "APP")]
    app: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Number of the process
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    process: usize,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let ask = ControlCommand::Attach { app: self.app.clone(), process: self.process };
        let ProgramTerminal { name, pid } = self.server.connect()?.done(&ask)?;
        let connected =
            SocketAddr::from_abstract_name(&name).and_then(|name| UnixStream::connect_addr(&name));
        let stream = connected.map_err(|cause| {
            Error::new(format!("cannot reach the terminal of `{}`", self.app)).because(cause)
        })?;
        let keys = stream.try_clone().map_err(failed)?;
        let terminal = RawTerminal::of_stdin();
        if terminal.is_some() {
            note(&format!("attached to process {pid} of {}; Ctrl-] detaches\n", self.app));
        }
        thread::spawn(move || send(keys));
        // An error means that the program has ended.
        let _ = show(stream);
        if terminal.is_some() {
            note("\ndetached\n");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Copies what the program writes, until it or this end closes the connection.
fn show(mut stream: UnixStream) -> std::io::Result<()> {
    let (mut chunk, mut out) = ([0; 8192], std::io::stdout());
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => out.write_all(&chunk[..count])?,
        }
        out.flush()?;
    }
}

/// Sends keys and the size of the terminal, until the key that detaches, or the end of the input.
fn send(mut stream: UnixStream) {
    if let Ok(sizes) = stream.try_clone()
        && std::io::stdin().is_terminal()
    {
        thread::spawn(move || send_sizes(sizes));
    }
    let (mut chunk, mut input) = ([0; 1024], std::io::stdin());
    while let Ok(count @ 1..) = input.read(&mut chunk) {
        let detach = chunk[..count].iter().position(|key| *key == DETACH);
        let sent = stream.write_all(&encode_keys(&chunk[..detach.unwrap_or(count)]));
        if detach.is_some() || sent.is_err() {
            break;
        }
    }
    if std::io::stdin().is_terminal() {
        let _ = stream.shutdown(std::net::Shutdown::Both); // it may be closed
    }
}

fn send_sizes(mut stream: UnixStream) {
    let mut last = None;
    loop {
        let size =
            rustix::termios::tcgetwinsize(std::io::stdin()).ok().map(|size| (size.ws_row, size.ws_col));
        if let Some((rows, columns)) = size.filter(|_| size != last)
            && stream.write_all(&encode_size(rows, columns)).is_err()
        {
            return;
        }
        last = size;
        thread::sleep(SIZE);
    }
}

/// The terminal of standard input, whose keys reach the program at once. Dropping this restores it.
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` if standard input is not a terminal.
    fn of_stdin() -> Option<RawTerminal> {
        let before = rustix::termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.input_modes -= InputModes::ICRNL | InputModes::IXON;
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Without a terminal there is nothing to restore.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
