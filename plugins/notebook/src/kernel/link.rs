//! The plugin's link to the kernel host: one control connection for calls and events, and one attachment per
//! reader of a kernel.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::known_host::KnownHost;
use super::message::Message;
use super::wire::{
    Answer, Call, ConnectionRole, Event, Frame, FrameReader, Hello, KernelModel, Launch, NumberedCall,
    PROTOCOL, Prewarm, Problem, ProblemKind, TerminalLaunch, TerminalModel, encode_frame,
};

/// How long a call waits for the host.
const REACH: Duration = Duration::from_secs(10);

/// Messages from the link to its listeners.
#[derive(Debug, Clone)]
pub enum HostMessage {
    /// The control connection is established (again). All locks are gone; take them again.
    Connected,
    /// The control connection is lost.
    Lost,
    /// An event from the host.
    Event(Event),
}

/// The link. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    socket: Arc<PathBuf>,
    calls: mpsc::UnboundedSender<Pending>,
    host_messages: broadcast::Sender<HostMessage>,
    numbers: Arc<AtomicU64>,
}

struct Pending {
    call: NumberedCall,
    reply: oneshot::Sender<Result<Value, Problem>>,
}

fn lost(error: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Lost, format!("cannot reach the kernel host: {error}"))
}

impl Link {
    /// A link to the host behind `socket`. It connects and reconnects automatically. It must be created within a
    /// tokio runtime.
    pub fn new(socket: PathBuf) -> Link {
        let (calls, queue) = mpsc::unbounded_channel();
        let host_messages = broadcast::Sender::new(1024);
        let link = Link { socket: Arc::new(socket), calls, host_messages, numbers: Arc::default() };
        tokio::spawn(keep_connected(link.socket.clone(), queue, link.host_messages.clone()));
        link
    }

    /// A link to nothing: every call fails at once with `reason`.
    pub fn unavailable(reason: &str) -> Link {
        let (calls, mut queue) = mpsc::unbounded_channel::<Pending>();
        let problem = Problem::new(ProblemKind::Lost, format!("kernels cannot run: {reason}"));
        tokio::spawn(async move {
            while let Some(pending) = queue.recv().await {
                let _ = pending.reply.send(Err(problem.clone()));
            }
        });
        Link {
            socket: Arc::default(),
            calls,
            host_messages: broadcast::Sender::new(1),
            numbers: Arc::default(),
        }
    }

    /// Everything that happens from now on.
    pub fn host_messages(&self) -> broadcast::Receiver<HostMessage> {
        self.host_messages.subscribe()
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let id = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        self.calls.send(Pending { call: NumberedCall { id, call }, reply }).map_err(lost)?;
        let value = answer.await.map_err(lost)??;
        serde_json::from_value(value).map_err(|error| Problem::new(ProblemKind::Malformed, error.to_string()))
    }

    /// Starts a kernel.
    /// # Errors
    /// [`ProblemKind::Limit`], [`ProblemKind::LaunchFailed`], [`ProblemKind::Lost`]. A program that fails
    /// later makes the kernel dead.
    pub async fn start(&self, launch: Launch, id: Option<String>) -> Result<KernelModel, Problem> {
        self.call(Call::Start { launch: Box::new(launch), id }).await
    }

    /// Starts a kernel with this id that ends with its last attachment.
    /// # Errors
    /// Same as [`Link::start`].
    pub async fn start_temporary(&self, launch: Launch, id: String) -> Result<KernelModel, Problem> {
        self.call(Call::StartTemporary { launch: Box::new(launch), id }).await
    }

    /// Keeps kernels ready.
    /// # Errors
    /// [`ProblemKind::LaunchFailed`], [`ProblemKind::Lost`]; [`ProblemKind::Version`] from an older host.
    pub async fn prewarm(&self, order: Prewarm) -> Result<(), Problem> {
        self.call(Call::Prewarm { order: Box::new(order) }).await
    }

    /// The kernels that were started in advance and that nobody has taken.
    /// # Errors
    /// [`ProblemKind::Lost`]; [`ProblemKind::Version`] from an older host.
    pub async fn prewarmed(&self) -> Result<Vec<KernelModel>, Problem> {
        self.call(Call::Prewarmed).await
    }

    /// Ends the kernels that were started in advance, except those of these kernelspecs.
    /// # Errors
    /// [`ProblemKind::Lost`]; [`ProblemKind::Version`] from an older host.
    pub async fn keep_prewarmed(&self, names: Vec<String>) -> Result<(), Problem> {
        self.call(Call::KeepPrewarmed { names }).await
    }

    /// All kernels.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn list(&self) -> Result<Vec<KernelModel>, Problem> {
        self.call(Call::List).await
    }

    /// One kernel.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::Lost`].
    pub async fn kernel(&self, id: &str) -> Result<KernelModel, Problem> {
        let found = self.list().await?.into_iter().find(|model| model.id == id);
        found.ok_or_else(|| Problem::new(ProblemKind::UnknownKernel, format!("Kernel does not exist: {id}")))
    }

    /// Interrupts what a kernel is running.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::Lost`].
    pub async fn interrupt(&self, id: &str) -> Result<(), Problem> {
        self.call(Call::Interrupt { id: id.to_owned() }).await
    }

    /// Drops runs that wait for the running one.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::Lost`].
    pub async fn cancel(&self, id: &str, messages: Vec<String>) -> Result<(), Problem> {
        self.call(Call::Cancel { id: id.to_owned(), messages }).await
    }

    /// Restarts a kernel and waits until it replies.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::LaunchFailed`], [`ProblemKind::Lost`].
    pub async fn restart(&self, id: &str) -> Result<KernelModel, Problem> {
        self.call(Call::Restart { id: id.to_owned() }).await
    }

    /// Ends a kernel.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::Lost`].
    pub async fn shutdown(&self, id: &str) -> Result<(), Problem> {
        self.call(Call::Shutdown { id: id.to_owned() }).await
    }

    /// Stores a value for as long as the kernels live; `None` deletes it.
    /// # Errors
    /// [`ProblemKind::Limit`], [`ProblemKind::Lost`].
    pub async fn put(&self, key: String, value: Option<Value>) -> Result<(), Problem> {
        self.call(Call::Put { key, value }).await
    }

    /// The stored values whose keys begin with `prefix`.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn kept(&self, prefix: &str) -> Result<serde_json::Map<String, Value>, Problem> {
        self.call(Call::Kept { prefix: prefix.to_owned() }).await
    }

    /// Takes a lock. With `wait`, asks its holder to release it and waits at most that long. Returns whether
    /// we have it.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn lock(&self, key: &str, wait: Option<Duration>) -> Result<bool, Problem> {
        let call = self.call(Call::Lock { key: key.to_owned(), wait: wait.is_some() });
        match tokio::time::timeout(wait.unwrap_or(REACH), call).await {
            Ok(held) => held,
            Err(_) => {
                // It may still be granted: then release it.
                self.unlock(key).await?;
                Ok(false)
            }
        }
    }

    /// Releases a lock.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn unlock(&self, key: &str) -> Result<(), Problem> {
        self.call(Call::Unlock { key: key.to_owned() }).await
    }

    /// Sends an event to every process of the notebook.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn publish(&self, event: Value) -> Result<(), Problem> {
        self.call(Call::Publish { event }).await
    }

    /// Starts a terminal.
    /// # Errors
    /// [`ProblemKind::Limit`], [`ProblemKind::LaunchFailed`], [`ProblemKind::Lost`].
    pub async fn open_terminal(&self, launch: TerminalLaunch) -> Result<TerminalModel, Problem> {
        self.call(Call::OpenTerminal { launch: Box::new(launch) }).await
    }

    /// All terminals.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn terminals(&self) -> Result<Vec<TerminalModel>, Problem> {
        self.call(Call::Terminals).await
    }

    /// Ends a terminal.
    /// # Errors
    /// [`ProblemKind::UnknownTerminal`], [`ProblemKind::Lost`].
    pub async fn close_terminal(&self, name: &str) -> Result<(), Problem> {
        self.call(Call::CloseTerminal { name: name.to_owned() }).await
    }

    /// Attaches to a terminal: what it wrote last, and then what it writes.
    /// # Errors
    /// [`ProblemKind::UnknownTerminal`], [`ProblemKind::Lost`].
    pub async fn attach_terminal(&self, name: &str) -> Result<(AttachmentReader, AttachmentWriter), Problem> {
        let (reader, writer, _) =
            connect(&self.socket, ConnectionRole::Terminal { name: name.to_owned() }).await?;
        Ok((AttachmentReader { reader }, AttachmentWriter { writer }))
    }

    /// Attaches to a kernel's messages, from number `from` on, or from now on.
    /// # Errors
    /// [`ProblemKind::UnknownKernel`], [`ProblemKind::Version`], [`ProblemKind::Lost`].
    pub async fn attach(
        &self,
        kernel: &str,
        from: Option<u64>,
        counted: bool,
    ) -> Result<Attachment, Problem> {
        let role = ConnectionRole::Attach { kernel: kernel.to_owned(), from, counted };
        let (reader, writer, welcome) = connect(&self.socket, role).await?;
        let model = serde_json::from_value(welcome["model"].clone()).map_err(lost)?;
        let from = welcome["from"].as_u64().unwrap_or(1);
        Ok(Attachment {
            model,
            from,
            reader: AttachmentReader { reader },
            writer: AttachmentWriter { writer },
        })
    }
}

/// A reader and a writer of one kernel's messages.
pub struct Attachment {
    /// The kernel.
    pub model: KernelModel,
    /// The number of the first message that can come.
    pub from: u64,
    /// Messages from the kernel.
    pub reader: AttachmentReader,
    /// Messages to the kernel.
    pub writer: AttachmentWriter,
}

/// Reads a kernel's messages.
pub struct AttachmentReader {
    reader: FrameReader<OwnedReadHalf>,
}

/// What a reader receives from a kernel.
#[derive(Debug)]
pub enum Delivery {
    /// A message with its number, in the v1 WebSocket form.
    Message(u64, Bytes),
    /// The messages `.0 .. .1` are no longer kept.
    Gap(u64, u64),
}

impl AttachmentReader {
    /// The next delivery; `None` if the kernel was shut down or the host is gone. May be cancelled and called
    /// again.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match self.reader.next().await {
                Ok(Some(Frame::Entry(number, bytes))) => return Some(Delivery::Message(number, bytes)),
                Ok(Some(Frame::Gap(from, to))) => return Some(Delivery::Gap(from, to)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Sends messages to a kernel.
pub struct AttachmentWriter {
    writer: OwnedWriteHalf,
}

impl AttachmentWriter {
    /// Sends a message.
    /// # Errors
    /// Errors of the socket: the host is gone, or the kernel was shut down.
    pub async fn send(&mut self, message: &Message) -> io::Result<()> {
        self.send_v1(message.encode_v1()).await
    }

    /// Sends a message that already has the v1 WebSocket form.
    /// # Errors
    /// Same as [`AttachmentWriter::send`].
    pub async fn send_v1(&mut self, message: Bytes) -> io::Result<()> {
        let mut out = BytesMut::new();
        encode_frame(&Frame::Send(message), &mut out);
        self.writer.write_all_buf(&mut out).await
    }
}

async fn connect(
    socket: &PathBuf,
    role: ConnectionRole,
) -> Result<(FrameReader<OwnedReadHalf>, OwnedWriteHalf, Value), Problem> {
    let stream = UnixStream::connect(socket).await.map_err(lost)?;
    let (read, mut write) = stream.into_split();
    let mut reader = FrameReader::new(read);
    let hello = serde_json::to_vec(&Hello { protocol: PROTOCOL, role }).map_err(lost)?;
    let mut out = BytesMut::new();
    encode_frame(&Frame::Hello(hello.into()), &mut out);
    write.write_all_buf(&mut out).await.map_err(lost)?;
    match reader.next().await.map_err(lost)? {
        Some(Frame::Answer(answer)) => {
            let answer: Answer = serde_json::from_slice(&answer).map_err(lost)?;
            Ok((reader, write, answer.result?))
        }
        _ => Err(lost("it closed the connection")),
    }
}

async fn keep_connected(
    socket: Arc<PathBuf>,
    mut calls: mpsc::UnboundedReceiver<Pending>,
    host_messages: broadcast::Sender<HostMessage>,
) {
    let mut known = KnownHost::default();
    loop {
        let deadline = tokio::time::Instant::now() + REACH;
        let mut pause = Duration::from_millis(10);
        let (reader, writer, welcome) = loop {
            match connect(&socket, ConnectionRole::Control).await {
                Ok(connected) => break connected,
                // Waiting calls fail when the host stays away or the two sides cannot talk at all.
                Err(problem)
                    if problem.kind == ProblemKind::Version || tokio::time::Instant::now() > deadline =>
                {
                    known.is_away(&problem);
                    while let Ok(pending) = calls.try_recv() {
                        let _ = pending.reply.send(Err(problem.clone()));
                    }
                    if calls.is_closed() {
                        return;
                    }
                }
                Err(_) if calls.is_closed() => return,
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        };
        known.is_connected(&welcome);
        let _ = host_messages.send(HostMessage::Connected);
        if converse(reader, writer, &mut calls, &host_messages).await {
            return;
        }
        let _ = host_messages.send(HostMessage::Lost);
    }
}

/// Transfers calls, replies and events until the connection is lost, or until the link is dropped (true).
async fn converse(
    mut reader: FrameReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    calls: &mut mpsc::UnboundedReceiver<Pending>,
    host_messages: &broadcast::Sender<HostMessage>,
) -> bool {
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Value, Problem>>> = HashMap::new();
    loop {
        tokio::select! {
            pending = calls.recv() => {
                let Some(Pending { call, reply }) = pending else { return true };
                let Ok(payload) = serde_json::to_vec(&call) else { continue };
                let mut out = BytesMut::new();
                encode_frame(&Frame::Call(payload.into()), &mut out);
                waiting.insert(call.id, reply);
                if writer.write_all_buf(&mut out).await.is_err() {
                    return false;
                }
            }
            frame = reader.next() => match frame {
                Ok(Some(Frame::Answer(answer))) => if let Ok(answer) = serde_json::from_slice::<Answer>(&answer)
                    && let Some(reply) = waiting.remove(&answer.id)
                {
                    let _ = reply.send(answer.result);
                },
                Ok(Some(Frame::Event(event))) => if let Ok(event) = serde_json::from_slice(&event) {
                    let _ = host_messages.send(HostMessage::Event(event));
                },
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            },
        }
    }
}
