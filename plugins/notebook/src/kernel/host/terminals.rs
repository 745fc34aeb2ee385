//! Terminals: shells on pseudoterminals, which outlive reloads of the plugin as kernels do.
//!
//! An attachment gets [`Frame::Entry`] with text, first what was written last. It sends [`Frame::Send`] with a
//! JSON array, `["stdin", TEXT]` or `["set_size", ROWS, COLUMNS]`, as Jupyter's clients do.
//!
//! # Source
//! Jupyter, terminado's `websocket.py`, for the messages.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, pipe};
use tokio::process::Child;
use tokio::sync::{Notify, watch};

use super::Host;
use super::pty::{complete_text, resize, start};
use crate::clock;
use crate::kernel::wire::{
    Frame, FrameReader, Problem, ProblemKind, TerminalLaunch, TerminalModel, encode_frame,
};

/// How many terminals there may be.
const MAX_TERMINALS: usize = 64;
/// How much of its output a terminal keeps for new clients, in bytes.
const KEPT_BYTES: usize = 1 << 20;
/// How far a client may be behind before the program in the terminal waits, in bytes.
const BEHIND_BYTES: u64 = 256 << 10;
/// How long it waits for a client that does not read.
const STUCK: Duration = Duration::from_secs(5);

/// The terminals of the host, by name.
#[derive(Default)]
pub(super) struct Terminals(Mutex<BTreeMap<u32, Arc<Terminal>>>);

/// A terminal.
pub(super) struct Terminal {
    pty: OwnedFd,
    input: tokio::sync::Mutex<pipe::Sender>,
    pid: Pid,
    name: u32,
    owner: String,
    folder: String,
    screen: Mutex<Screen>,
    /// The number of bytes written so far; closed when the program has ended.
    written: watch::Sender<u64>,
    /// A client has read something.
    read: Notify,
}

/// What the program wrote, and who reads it.
struct Screen {
    /// The newest output. It ends at `written`.
    kept: VecDeque<(u64, Bytes)>,
    kept_bytes: usize,
    clients: HashMap<u64, Client>,
    newest_client: u64,
    last_activity: String,
    ended: bool,
}

#[derive(Default)]
struct Client {
    position: u64,
    size: Option<(u16, u16)>,
}

impl Terminals {
    pub(super) fn find(&self, name: &str) -> Result<Arc<Terminal>, Problem> {
        let found = name.parse().ok().and_then(|name| self.0.lock().get(&name).cloned());
        found.ok_or_else(|| {
            Problem::new(ProblemKind::UnknownTerminal, format!("there is no terminal `{name}`"))
        })
    }

    pub(super) fn models(&self) -> Vec<TerminalModel> {
        self.0.lock().values().map(|terminal| terminal.model()).collect()
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        self.0.lock().values().for_each(|terminal| terminal.hang_up());
    }
}

/// Starts a terminal.
pub(super) fn open(host: &Arc<Host>, launch: TerminalLaunch) -> Result<Arc<Terminal>, Problem> {
    let mut terminals = host.terminals.0.lock();
    if terminals.len() >= MAX_TERMINALS {
        let message = format!("{MAX_TERMINALS} terminals are open, which is the maximum: close one");
        return Err(Problem::new(ProblemKind::Limit, message));
    }
    let name = (1..).find(|name| !terminals.contains_key(name)).unwrap_or(1);
    let failed = |error: io::Error| {
        Problem::new(ProblemKind::LaunchFailed, format!("cannot start a terminal: {error}"))
    };
    let (pty, child) = start(&launch, &host.private).map_err(failed)?;
    // A terminal is polled as a pipe is.
    let output = pty.try_clone().and_then(pipe::Receiver::from_owned_fd_unchecked).map_err(failed)?;
    let input = pty.try_clone().and_then(pipe::Sender::from_owned_fd_unchecked).map_err(failed)?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let pid = pid.ok_or_else(|| failed(io::Error::other("it ended at once")))?;
    host.reaper.add(pid.as_raw_nonzero().get().cast_unsigned());
    let terminal = Arc::new(Terminal {
        input: tokio::sync::Mutex::new(input),
        pty,
        pid,
        name,
        owner: launch.owner,
        folder: launch.folder,
        screen: Mutex::new(Screen {
            kept: VecDeque::new(),
            kept_bytes: 0,
            clients: HashMap::new(),
            newest_client: 0,
            last_activity: clock::rfc3339(SystemTime::now()),
            ended: false,
        }),
        written: watch::Sender::new(0),
        read: Notify::new(),
    });
    terminals.insert(name, terminal.clone());
    tokio::spawn(run(host.clone(), terminal.clone(), output, child));
    Ok(terminal)
}

/// Reads a terminal until its program has ended, then forgets it.
async fn run(host: Arc<Host>, terminal: Arc<Terminal>, mut output: pipe::Receiver, mut child: Child) {
    let reading = async {
        let mut rest = Vec::with_capacity(16 << 10);
        // Linux reports the end of the last program as an error.
        while output.read_buf(&mut rest).await.is_ok_and(|count| count > 0) {
            let text = complete_text(&mut rest);
            if !text.is_empty() {
                terminal.record(text.into());
                terminal.wait_for_clients().await;
            }
        }
    };
    tokio::pin!(reading);
    tokio::select! {
        () = &mut reading => {}
        // Its background jobs may hold the terminal open.
        _ = child.wait() => {
            let _ = tokio::time::timeout(Duration::from_millis(200), reading).await;
        }
    }
    terminal.hang_up();
    let ended = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
    if ended.is_err() {
        let _ = rustix::process::kill_process_group(terminal.pid, Signal::KILL);
        let _ = child.wait().await;
    }
    host.reaper.remove(terminal.pid.as_raw_nonzero().get().cast_unsigned());
    host.terminals.0.lock().remove(&terminal.name);
    terminal.screen.lock().ended = true;
    terminal.written.send_modify(|_| {});
}

impl Terminal {
    pub(super) fn model(&self) -> TerminalModel {
        TerminalModel {
            name: self.name.to_string(),
            owner: self.owner.clone(),
            last_activity: self.screen.lock().last_activity.clone(),
            folder: self.folder.clone(),
            pid: Some(self.pid.as_raw_nonzero().get().cast_unsigned()),
        }
    }

    /// Informs its programs that the terminal was closed.
    pub(super) fn hang_up(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::HUP);
        let _ = rustix::process::kill_process_group(self.pid, Signal::CONT);
    }

    /// Ends its programs, and waits until the host has forgotten it.
    pub(super) async fn close(&self) {
        let mut written = self.written.subscribe();
        self.hang_up();
        loop {
            let ended = self.screen.lock().ended;
            if ended || written.changed().await.is_err() {
                return;
            }
        }
    }

    fn record(&self, text: Bytes) {
        let mut screen = self.screen.lock();
        let start = *self.written.borrow();
        screen.kept_bytes += text.len();
        let end = start + text.len() as u64;
        screen.kept.push_back((start, text));
        while screen.kept_bytes > KEPT_BYTES
            && let Some((_, oldest)) = screen.kept.pop_front()
        {
            screen.kept_bytes -= oldest.len();
        }
        screen.last_activity = clock::rfc3339(SystemTime::now());
        self.written.send_replace(end);
    }

    /// Waits until every client has read most of the output. One that does not read is left behind.
    async fn wait_for_clients(&self) {
        let caught_up = async {
            loop {
                let read = self.read.notified();
                let written = *self.written.borrow();
                let behind = |client: &Client| written - client.position.min(written) > BEHIND_BYTES;
                if !self.screen.lock().clients.values().any(behind) {
                    return;
                }
                read.await;
            }
        };
        if tokio::time::timeout(STUCK, caught_up).await.is_err() {
            let written = *self.written.borrow();
            for client in self.screen.lock().clients.values_mut() {
                if written - client.position.min(written) > BEHIND_BYTES {
                    // Until it reads again.
                    client.position = u64::MAX;
                }
            }
        }
    }

    /// Serves one attachment until it ends or the program does.
    pub(super) async fn serve(
        &self,
        reader: FrameReader<OwnedReadHalf>,
        mut write: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let client = {
            let mut screen = self.screen.lock();
            screen.newest_client += 1;
            let client = screen.newest_client;
            screen.clients.insert(client, Client::default());
            client
        };
        let result = tokio::select! {
            result = self.deliver(client, &mut write) => result,
            result = self.receive(client, reader) => result,
        };
        self.screen.lock().clients.remove(&client);
        self.read.notify_waiters();
        self.fit();
        result
    }

    async fn deliver(&self, client: u64, write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut written = self.written.subscribe();
        let mut next = 0;
        loop {
            written.borrow_and_update();
            let (parts, ended) = {
                let screen = self.screen.lock();
                let first = screen.kept.partition_point(|(start, _)| *start < next);
                let parts: Vec<(u64, Bytes)> = screen.kept.iter().skip(first).cloned().collect();
                (parts, screen.ended)
            };
            let mut out = BytesMut::new();
            for (start, text) in parts {
                next = start + text.len() as u64;
                encode_frame(&Frame::Entry(next, text), &mut out);
            }
            if out.is_empty() && ended {
                return Ok(());
            }
            write.write_all_buf(&mut out).await?;
            if let Some(client) = self.screen.lock().clients.get_mut(&client) {
                client.position = next;
            }
            self.read.notify_waiters();
            if next == *self.written.borrow() && !ended && written.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn receive(&self, client: u64, mut reader: FrameReader<OwnedReadHalf>) -> io::Result<()> {
        while let Some(frame) = reader.next().await? {
            let Frame::Send(message) = frame else { continue };
            let message: Value = serde_json::from_slice(&message).unwrap_or_default();
            let number = |at: usize| message[at].as_u64().and_then(|number| u16::try_from(number).ok());
            match (message[0].as_str(), message[1].as_str(), number(1).zip(number(2))) {
                (Some("stdin"), Some(input), _) => {
                    self.screen.lock().last_activity = clock::rfc3339(SystemTime::now());
                    self.input.lock().await.write_all(input.as_bytes()).await?;
                }
                (Some("set_size"), _, Some(size)) if size.0 > 0 && size.1 > 0 => {
                    if let Some(client) = self.screen.lock().clients.get_mut(&client) {
                        client.size = Some(size);
                    }
                    self.fit();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets the size that fits into the windows of all clients.
    fn fit(&self) {
        let screen = self.screen.lock();
        let sizes = screen.clients.values().filter_map(|client| client.size);
        if let Some(size) = sizes.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))) {
            resize(&self.pty, size);
        }
    }
}
