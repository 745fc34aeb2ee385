//! The connection between the kernel host and one kernel's process: ZeroMQ over Unix sockets, with Jupyter's
//! wire protocol, or, for the built-in kernel, a Unix socket with one JSON message per line.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", section "The Wire Protocol"; "Making kernels for Jupyter", section "Connection files".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeromq::util::PeerIdentity;
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, SubSocket, ZmqMessage};

use super::gateway::{self, Gateway, RemoteId};
use super::message::{Channel, DefaultFrame, Message};

/// The session of the host's own messages. Replies to them stay in the host.
pub(crate) const HOST_SESSION: &str = "paster-kernel-host";
/// The longest line from the built-in kernel, in bytes.
const MAX_LINE: u64 = 256 << 20;

/// How much is read from a kernel at a time, in bytes. The same for every read: see [`while_receiving`].
const READ: usize = 32 << 10;
/// A message with a frame of this many bytes is long.
const LONG: usize = 1 << 20;
/// The time after which the memory of a long message is released.
const RELEASE: Duration = Duration::from_millis(100);

/// Receives what a kernel sends.
pub(super) type Sink = Arc<dyn Fn(Message) + Send + Sync>;

/// Sends to one kernel's process. Dropping it ends the connection.
pub(super) struct Transport {
    shell: mpsc::UnboundedSender<Message>,
    control: mpsc::UnboundedSender<Message>,
    stdin: mpsc::UnboundedSender<Message>,
    _tasks: JoinSet<()>,
}

impl Transport {
    /// With one queue for all channels, and the tasks that it lives for.
    pub(super) fn over_one(sender: mpsc::UnboundedSender<Message>, tasks: JoinSet<()>) -> Transport {
        Transport { shell: sender.clone(), control: sender.clone(), stdin: sender, _tasks: tasks }
    }

    /// Queues `message`. A message on iopub is dropped.
    pub(super) fn send(&self, message: Message) {
        let queue = match message.channel {
            Channel::Shell => &self.shell,
            Channel::Control => &self.control,
            Channel::Stdin => &self.stdin,
            Channel::Iopub => return,
        };
        // A closed queue means that the process is gone. Its end is reported elsewhere.
        let _ = queue.send(message);
    }
}

/// Where a kernel listens.
pub(super) struct Endpoints {
    transport: &'static str,
    ip: String,
    /// Shell, iopub, stdin, control and heartbeat.
    ports: [u16; 5],
}

impl Endpoints {
    /// Unix sockets in a private folder.
    fn ipc(folder: &Path) -> Endpoints {
        let ip = folder.join("ipc").to_string_lossy().into_owned();
        Endpoints { transport: "ipc", ip, ports: [1, 2, 3, 4, 5] }
    }

    /// Ports on the loopback interface that are free now.
    fn tcp() -> io::Result<Endpoints> {
        let mut listeners = Vec::new();
        let mut ports = [0; 5];
        for port in &mut ports {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            *port = listener.local_addr()?.port();
            // All are kept until the last is chosen, so that they differ.
            listeners.push(listener);
        }
        Ok(Endpoints { transport: "tcp", ip: "127.0.0.1".to_owned(), ports })
    }

    /// The address of a channel's socket.
    fn of(&self, at: usize) -> String {
        let separator = if self.transport == "tcp" { ':' } else { '-' };
        format!("{}://{}{separator}{}", self.transport, self.ip, self.ports[at])
    }
}

/// Whether a kernel needs TCP. Those in Python know Unix sockets, which are quicker and private. Some others (Deno, IRkernel) do not,
/// and xeus-python refuses paths of more than some 60 bytes.
pub(super) fn needs_tcp(argv: &[String]) -> bool {
    let name = argv.first().and_then(|program| Path::new(program).file_name()?.to_str());
    let is_xeus = argv.iter().any(|argument| argument.starts_with("xpython"));
    is_xeus || name.is_some_and(|name| !name.starts_with("python"))
}

/// How to connect to a kernel's process that is starting.
pub(super) enum PendingTransport {
    /// Jupyter's wire protocol.
    Zmq { endpoints: Endpoints, key: String, connection_file: PathBuf },
    /// The built-in kernel connects to us.
    Lines(UnixListener, PathBuf),
    /// A gateway's WebSocket.
    Gateway(Gateway, RemoteId),
}

impl PendingTransport {
    /// Writes a connection file to `folder`, which is private and empty.
    pub(super) fn zmq(folder: &Path, kernel_name: &str, tcp: bool) -> io::Result<PendingTransport> {
        let key = uuid::Uuid::new_v4().simple().to_string();
        let endpoints = if tcp { Endpoints::tcp()? } else { Endpoints::ipc(folder) };
        let [shell, iopub, stdin, control, heartbeat] = endpoints.ports;
        let content = json!({
            "transport": endpoints.transport, "ip": endpoints.ip, "shell_port": shell, "iopub_port": iopub,
            "stdin_port": stdin, "control_port": control, "hb_port": heartbeat, "key": key,
            "signature_scheme": "hmac-sha256", "kernel_name": kernel_name,
        });
        let connection_file = folder.join("connection.json");
        write_private(&connection_file, content.to_string().as_bytes())?;
        Ok(PendingTransport::Zmq { endpoints, key, connection_file })
    }

    /// Listens in `folder`, which is private and empty.
    pub(super) fn lines(folder: &Path) -> io::Result<PendingTransport> {
        let path = folder.join("socket");
        Ok(PendingTransport::Lines(UnixListener::bind(&path)?, path))
    }

    /// The path that is passed to a process of this machine.
    pub(super) fn path(&self) -> &Path {
        match self {
            PendingTransport::Zmq { connection_file, .. } => connection_file,
            PendingTransport::Lines(_, path) => path,
            PendingTransport::Gateway(..) => Path::new(""),
        }
    }

    /// Connects. Returns when the process accepts connections. Waits without limit: the caller watches the
    /// process and the clock.
    pub(super) async fn connect(self, sink: Sink) -> io::Result<Transport> {
        match self {
            PendingTransport::Zmq { endpoints, key, .. } => connect_zmq(&endpoints, &key, sink).await,
            PendingTransport::Lines(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(connect_lines(stream, sink))
            }
            PendingTransport::Gateway(gateway, id) => gateway::connect(gateway, id, sink).await,
        }
    }
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

fn connect_lines(stream: tokio::net::UnixStream, sink: Sink) -> Transport {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut queue) = mpsc::unbounded_channel::<Message>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(message) = queue.recv().await {
            let mut line = match (Message { buffers: Vec::new(), ..message }).encode_default() {
                DefaultFrame::Text(text) => text.into_bytes(),
                DefaultFrame::Binary(bytes) => bytes.to_vec(),
            };
            // In JSON, a bare newline can only be between tokens.
            line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => match Message::parse_default_text(&line) {
                    Ok(message) => sink(message),
                    Err(error) => tracing::warn!(%error, "unreadable message from the built-in kernel"),
                },
            }
            line.clear();
            line.shrink_to(LONG);
        }
    });
    Transport::over_one(sender, tasks)
}

async fn connect_zmq(endpoints: &Endpoints, key: &str, sink: Sink) -> io::Result<Transport> {
    let signer = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(io::Error::other)?;
    let signer = Arc::new(signer);
    let identity = PeerIdentity::try_from(Bytes::from(uuid::Uuid::new_v4().simple().to_string()))
        .map_err(io::Error::other)?;
    // A kernel sends its questions to the identity that sent the shell request, so both sockets have the same
    // one.
    let dealer = || {
        let mut options = socket_options();
        options.peer_identity(identity.clone());
        DealerSocket::with_options(options)
    };
    let mut tasks = JoinSet::new();
    let mut iopub = SubSocket::with_options(socket_options());
    iopub.subscribe("").await.map_err(io::Error::other)?;
    connect_when_there(&mut iopub, &endpoints.of(1)).await;
    let mut queues = Vec::new();
    for (channel, at) in [(Channel::Shell, 0), (Channel::Stdin, 2), (Channel::Control, 3)] {
        let mut socket = dealer();
        connect_when_there(&mut socket, &endpoints.of(at)).await;
        let (mut send, mut receive) = socket.split();
        let (sender, mut queue) = mpsc::unbounded_channel::<Message>();
        queues.push(sender);
        let signing = signer.clone();
        tasks.spawn(async move {
            while let Some(message) = queue.recv().await {
                if let Err(error) = send.send(encode_zmq(&signing, &message)).await {
                    tracing::warn!(%error, "cannot send a message to a kernel");
                }
            }
        });
        let (signer, sink) = (signer.clone(), sink.clone());
        tasks.spawn(async move {
            while_receiving(&mut receive, |frames| take(&signer, channel, frames, &sink)).await;
        });
    }
    tasks.spawn(async move {
        while_receiving(&mut iopub, |frames| take(&signer, Channel::Iopub, frames, &sink)).await;
    });
    let mut queues = queues.into_iter();
    let mut next = || queues.next().ok_or_else(|| io::Error::other("three queues were made"));
    Ok(Transport { shell: next()?, stdin: next()?, control: next()?, _tasks: tasks })
}

fn socket_options() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.read_buffer(READ, READ, 1);
    options
}

/// Calls `each` for every message until the socket is closed.
///
/// The socket reads into the memory of the message before, if that is free and the rest of it is too short for a read. After a long
/// message it would never give its memory back. So the last frame of a long message, which is a part of that memory, is kept until
/// the socket has read a shorter message, and so has memory of its own for the next read.
async fn while_receiving(socket: &mut impl SocketRecv, mut each: impl FnMut(ZmqMessage)) {
    let mut long: Option<Bytes> = None;
    let mut shorter = false;
    loop {
        let next = socket.recv();
        tokio::pin!(next);
        let frames = loop {
            tokio::select! {
                next = &mut next => break next,
                () = tokio::time::sleep(RELEASE), if shorter => (long, shorter) = (None, false),
            }
        };
        let Ok(frames) = frames else { return };
        if frames.iter().any(|frame| frame.len() >= LONG) {
            (long, shorter) = (frames.iter().last().cloned(), false);
        } else {
            shorter = long.is_some();
        }
        each(frames);
    }
}

async fn connect_when_there<S: Socket>(socket: &mut S, endpoint: &str) {
    // The kernel binds its sockets, one after another, some time after its start.
    while socket.connect(endpoint).await.is_err() {
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

fn take(signer: &Hmac<Sha256>, channel: Channel, frames: ZmqMessage, sink: &Sink) {
    match decode_zmq(signer, channel, frames) {
        Ok(message) => sink(message),
        Err(what) => tracing::warn!(what, channel = channel.name(), "unreadable message from a kernel"),
    }
}

const DELIMITER: &[u8] = b"<IDS|MSG>";

fn encode_zmq(signer: &Hmac<Sha256>, message: &Message) -> ZmqMessage {
    let parts = [&message.header, &message.parent_header, &message.metadata, &message.content];
    let mut mac = signer.clone();
    parts.iter().for_each(|part| mac.update(part));
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut frames = ZmqMessage::from(Bytes::from_static(DELIMITER));
    frames.push_back(signature.into());
    for part in parts {
        frames.push_back(part.clone());
    }
    for buffer in &message.buffers {
        frames.push_back(buffer.clone());
    }
    frames
}

fn decode_zmq(signer: &Hmac<Sha256>, channel: Channel, frames: ZmqMessage) -> Result<Message, &'static str> {
    let mut frames = frames.into_vec().into_iter().skip_while(|frame| frame != DELIMITER).skip(1);
    let mut next = || frames.next().ok_or("too few frames");
    let signature = next()?;
    let (header, parent_header, metadata, content) = (next()?, next()?, next()?, next()?);
    let mut mac = signer.clone();
    [&header, &parent_header, &metadata, &content].iter().for_each(|part| mac.update(part));
    let signature = decode_hex(&signature).ok_or("signature is not hexadecimal")?;
    mac.verify_slice(&signature).map_err(|_| "wrong signature")?;
    Ok(Message { channel, header, parent_header, metadata, content, buffers: frames.collect() })
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    text.len()
        .is_multiple_of(2)
        .then(|| text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect())
        .flatten()
}

/// A `kernel_info_request` from the host itself.
pub(super) fn kernel_info_request() -> Message {
    let id = format!("host-{}", uuid::Uuid::new_v4().simple());
    Message::new(Channel::Shell, "kernel_info_request", &id, HOST_SESSION, &json!({}))
}

/// A request from the host itself on the control channel.
pub(super) fn control_request(msg_type: &str, content: &Value) -> Message {
    let id = format!("host-{}", uuid::Uuid::new_v4().simple());
    Message::new(Channel::Control, msg_type, &id, HOST_SESSION, content)
}
