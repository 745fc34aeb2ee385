//! What a program writes: it goes to the log, and the last lines are kept. A program with a terminal can be attached to.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::ops::control::terminal::{Input, decode};

/// How many bytes of the last output are kept.
const KEPT_BYTES: usize = 4096;
/// How many lines of it are reported.
const KEPT_LINES: usize = 20;
/// How long the last output of a program that has ended may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How many parts of the output an attached terminal may lag behind.
const BEHIND: usize = 1024;

/// The output of a program.
pub(super) struct ProgramOutput {
    last: Arc<Mutex<VecDeque<u8>>>,
    copy: Option<JoinHandle<()>>,
    /// Accepts commands that attach themselves.
    attach: Option<(String, JoinHandle<()>)>,
}

/// The terminal of a program: this process has the other end of it.
pub(super) struct OutputTerminal {
    end: OwnedFd,
    /// The program's end.
    pub(super) program: OwnedFd,
}

impl OutputTerminal {
    /// Makes one.
    /// # Errors
    /// When the system has none left.
    pub(super) fn open() -> io::Result<OutputTerminal> {
        let end = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&end)?;
        rustix::pty::unlockpt(&end)?;
        let path = rustix::pty::ptsname(&end, Vec::new())?;
        rustix::termios::tcsetwinsize(&end, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 })?;
        // Line ends as a pipe would have them.
        let program =
            rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut modes = rustix::termios::tcgetattr(&program)?;
        modes.output_modes.remove(rustix::termios::OutputModes::ONLCR);
        rustix::termios::tcsetattr(&program, rustix::termios::OptionalActions::Now, &modes)?;
        let flags = rustix::fs::fcntl_getfl(&end)?;
        rustix::fs::fcntl_setfl(&end, flags | OFlags::NONBLOCK)?;
        Ok(OutputTerminal { end, program })
    }
}

impl ProgramOutput {
    /// Copies the output of a program, from its terminal or a pipe.
    /// # Errors
    /// When it cannot be watched.
    pub(super) fn copy(
        terminal: Option<OutputTerminal>,
        pipe: Option<PipeReader>,
    ) -> io::Result<ProgramOutput> {
        let last = Arc::<Mutex<VecDeque<u8>>>::default();
        let (kept, parts) = (last.clone(), broadcast::Sender::new(BEHIND));
        let sink = OutputSink { last: kept, parts: parts.clone() };
        let (copy, attach) = match (terminal, pipe) {
            (Some(OutputTerminal { end, .. }), _) => {
                #[expect(deprecated, reason = "an `OwnedFd` keeps what `register` asks its callers to keep")]
                let end = Arc::new(AsyncFd::new(end)?);
                let name = format!("paster-terminal-{}", uuid::Uuid::new_v4());
                let listener = listen(&name)?;
                let attach = tokio::spawn(accept(listener, end.clone(), parts));
                (Some(tokio::spawn(copy_terminal(end, sink))), Some((name, attach)))
            }
            (None, Some(pipe)) => {
                let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe.into())?;
                (Some(tokio::spawn(copy_pipe(pipe, sink))), None)
            }
            (None, None) => (None, None),
        };
        Ok(ProgramOutput { last, copy, attach })
    }

    /// The name of the socket at which commands attach themselves.
    pub(super) fn terminal_name(&self) -> Option<&str> {
        self.attach.as_ref().map(|(name, _)| &**name)
    }

    /// The last lines, once the program has ended.
    pub(super) async fn last_lines(&mut self) -> String {
        if let Some(copy) = self.copy.take() {
            let _ = tokio::time::timeout(LAST_WORDS, copy).await; // what it has started may keep it open
        }
        let bytes: Vec<u8> = self.last.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        // The first one may be cut off.
        let from = lines.len().saturating_sub(KEPT_LINES).max(usize::from(bytes.len() >= KEPT_BYTES));
        lines[from.min(lines.len())..].join("\n")
    }
}

/// Where the output goes.
struct OutputSink {
    last: Arc<Mutex<VecDeque<u8>>>,
    parts: broadcast::Sender<Arc<[u8]>>,
}

impl OutputSink {
    fn put(&self, bytes: &[u8]) {
        let _ = io::stderr().lock().write_all(bytes); // without a log there is nobody to tell
        let mut last = self.last.lock();
        last.extend(bytes);
        let excess = last.len().saturating_sub(KEPT_BYTES);
        last.drain(..excess);
        let _ = self.parts.send(bytes.into()); // nobody is attached
    }
}

async fn copy_pipe(mut pipe: tokio::net::unix::pipe::Receiver, sink: OutputSink) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        sink.put(&chunk[..count]);
    }
}

async fn copy_terminal(end: Arc<AsyncFd<OwnedFd>>, sink: OutputSink) {
    let mut chunk = vec![0; 16 << 10];
    loop {
        let Ok(mut ready) = end.readable().await else { return };
        match ready.try_io(|end| Ok(rustix::io::read(end.as_fd(), &mut chunk)?)) {
            Ok(Ok(count @ 1..)) => sink.put(&chunk[..count]),
            Ok(_) => return, // EIO: no program has it open
            Err(_) => {}
        }
    }
}

/// Listens at an abstract name: the process may have no directory that it may write to.
fn listen(name: &str) -> io::Result<UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn accept(listener: UnixListener, end: Arc<AsyncFd<OwnedFd>>, parts: broadcast::Sender<Arc<[u8]>>) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        // Any user can see the name.
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
        if allowed {
            tokio::spawn(attached(stream, end.clone(), parts.subscribe()));
        }
    }
}

/// Serves one command that has attached itself.
async fn attached(stream: UnixStream, end: Arc<AsyncFd<OwnedFd>>, parts: broadcast::Receiver<Arc<[u8]>>) {
    let (mut from, to) = stream.into_split();
    let show = tokio::spawn(show(to, parts));
    let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        input.extend_from_slice(&chunk[..count]);
        while let Some((what, used)) = decode(&input) {
            let done = match what {
                Input::Keys(keys) => type_keys(&end, keys).await,
                Input::Size { rows, columns } => {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    rustix::termios::tcsetwinsize(end.get_ref(), size).map_err(Into::into)
                }
            };
            if done.is_err() {
                return show.abort();
            }
            input.drain(..used);
        }
    }
    show.abort();
}

async fn type_keys(end: &AsyncFd<OwnedFd>, mut keys: &[u8]) -> io::Result<()> {
    while !keys.is_empty() {
        let mut ready = end.writable().await?;
        if let Ok(count) = ready.try_io(|end| Ok(rustix::io::write(end.as_fd(), keys)?)) {
            keys = &keys[count?..];
        }
    }
    Ok(())
}

async fn show(mut to: OwnedWriteHalf, mut parts: broadcast::Receiver<Arc<[u8]>>) {
    loop {
        match parts.recv().await {
            Ok(part) => {
                if to.write_all(&part).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
