//! The control socket: reads requests of commands (`paster ps`, …), passes them to the supervisor's loop,
//! writes answers.
//!
//! Each client has its own task, a deadline for every line in either direction, and bounded memory, so it
//! cannot block the supervisor or another client. Only the same user and root have access.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio::task::AbortHandle;

use super::inbox::Notification;
use super::shared::SupervisorShared;
use crate::error::{Error, Result};
use crate::ops::control::socket_dir::Claim;
use crate::ops::control::{ControlCommand, ControlRequest, Hello, Reply, VERSION, socket_dir};

/// Maximum number of clients at once; more wait in the kernel's queue.
const CLIENTS: usize = 128;
/// Maximum length of a request, in bytes.
const LONGEST: usize = 64 << 10;
/// The time limit for a client's first request.
const FIRST: Duration = Duration::from_secs(5);
/// The time that a client may be silent between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// The time limit for a client to accept a line.
const STUCK: Duration = Duration::from_secs(10);
/// Maximum number of log lines in one answer.
const MOST_LINES: usize = 100_000;

/// A listening control socket. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) path: PathBuf,
    /// Device and inode, because an upgraded program may have put its own socket in this place.
    node: (u64, u64),
    task: AbortHandle,
    /// Its place in the user's directory of control sockets.
    claim: Option<Claim>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        if node(&self.path).is_ok_and(|node| node == self.node) {
            let _ = std::fs::remove_file(&self.path); // it may be gone already
        }
    }
}

fn node(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Listens in the user's directory of control sockets.
/// # Errors
/// When the directory cannot be used.
pub(super) fn open_default(shared: &Arc<SupervisorShared>) -> Result<ControlSocket> {
    let folder = socket_dir::folder()?;
    socket_dir::sockets(&folder); // removes the sockets of killed supervisors
    let claim = socket_dir::claim(&folder, std::process::id()).map_err(|cause| {
        Error::new(format!("cannot open a control socket in `{}`", folder.display())).because(cause)
    })?;
    let mut endpoint = open(shared, &claim.socket)?;
    endpoint.claim = Some(claim);
    Ok(endpoint)
}

/// Listens at `path`. Replaces a socket that a supervisor left behind, but not one that is in use.
/// # Errors
/// When the path cannot be used.
pub(super) fn open(shared: &Arc<SupervisorShared>, path: &Path) -> Result<ControlSocket> {
    let failed = |cause: io::Error| {
        Error::new(format!("cannot open the control socket `{}`", path.display())).because(cause)
    };
    if path.as_os_str().len() > 100 {
        let cause = io::Error::other("the path of a socket may have at most 100 bytes");
        return Err(failed(cause).help("set a shorter `control` in `[process]`").into());
    }
    if std::fs::symlink_metadata(path)
        .is_ok_and(|meta| !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
    {
        return Err(failed(io::Error::other("the path exists and is not a socket")).into());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let error = failed(io::Error::other("another process is listening there"));
        return Err(error.help("give each server its own `control`").into());
    }
    // Created beside its place and moved there, so that it is never visible with the wrong mode.
    let beside = path.with_extension(format!("new{}", std::process::id()));
    let _ = std::fs::remove_file(&beside); // of an earlier process with this id
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    let placed = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| node(&beside))
        .and_then(|node| std::fs::rename(&beside, path).map(|()| node));
    let node = placed.map_err(|cause| {
        let _ = std::fs::remove_file(&beside); // the error is reported already
        failed(cause)
    })?;
    let task = tokio::spawn(accept(shared.clone(), listener)).abort_handle();
    Ok(ControlSocket { path: path.to_owned(), node, task, claim: None })
}

async fn accept(shared: Arc<SupervisorShared>, listener: UnixListener) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // There is no client to report an error to.
                    let _ = serve(&shared, stream).await;
                    drop(permit);
                });
            }
            // If no descriptor is free, for example, one may be soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whether the other end may control this server: the same user, and root.
fn may(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == us || peer.uid() == 0)
}

/// Serves one client until it leaves, is silent for too long or violates the protocol.
async fn serve(shared: &Arc<SupervisorShared>, mut stream: UnixStream) -> io::Result<()> {
    let allowed = may(&stream);
    let (reader, mut writer) = stream.split();
    if !allowed {
        let error = Error::new("only root and the user of the server may control it");
        return write(&mut writer, &Reply::Failed(vec![error])).await;
    }
    let mut reader = BufReader::new(reader);
    let mut patience = FIRST;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LONGEST as u64);
        match tokio::time::timeout(patience, limited.read_until(b'\n', &mut line)).await {
            Ok(read) => drop(read?),
            Err(_) => return Ok(()),
        }
        if line.is_empty() {
            return Ok(());
        }
        let ask = match read(&line) {
            Ok(ask) => ask,
            Err(error) => {
                return write(&mut writer, &Reply::Failed(vec![error])).await;
            }
        };
        patience = patience_after(&ask, patience);
        match ask {
            ControlCommand::Hello => {
                let hello = serde_json::to_value(hello(shared)).unwrap_or_default();
                write(&mut writer, &Reply::Done(hello)).await?;
            }
            ControlCommand::Logs { lines, follow } => {
                logs(shared, &mut reader, &mut writer, lines, follow).await?
            }
            ask => {
                let (sender, outcome) = oneshot::channel();
                shared.send(Notification::Control(Box::new(ask), sender));
                let reply = tokio::select! {
                    outcome = outcome => match outcome {
                        Ok(Ok(value)) => Reply::Done(value),
                        Ok(Err(faults)) => Reply::Failed(faults),
                        Err(_) => {
                            let error = Error::new("the server stopped before this was done");
                            Reply::Failed(vec![error])
                        }
                    },
                    () = gone(&mut reader) => return Ok(()),
                };
                write(&mut writer, &reply).await?;
            }
        }
    }
}

/// How long a client may be silent after a request. A client that has asked for a stop waits until the
/// connection closes, which shows that the process has ended.
fn patience_after(ask: &ControlCommand, before: Duration) -> Duration {
    if matches!(ask, ControlCommand::Stop { .. }) { Duration::MAX } else { before.max(IDLE) }
}

/// Reads a request.
fn read(line: &[u8]) -> Result<ControlCommand, Error> {
    if line.len() >= LONGEST {
        return Err(Error::new("the request is too long"));
    }
    let wrong = |cause: serde_json::Error| Error::new("the server does not know this request").because(cause);
    let value: serde_json::Value = serde_json::from_slice(line).map_err(wrong)?;
    if value["paster"] != VERSION {
        let ours = env!("CARGO_PKG_VERSION");
        return Err(Error::new(format!(
            "the server is paster {ours} and uses version {VERSION} of the control protocol"
        ))
        .help("use the same version of paster for the command"));
    }
    serde_json::from_value::<ControlRequest>(value).map(|request| request.ask).map_err(|cause| {
        wrong(cause).help(format!(
            "the server is paster {}; the command has another version",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// Describes this server.
pub(super) fn hello(shared: &SupervisorShared) -> Hello {
    let file = shared.options.sources.named();
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        config: file.and_then(|file| file.canonicalize().or_else(|_| std::path::absolute(file)).ok()),
    }
}

/// Waits until the client has closed the connection; forever if it has sent more.
async fn gone(reader: &mut BufReader<ReadHalf<'_>>) {
    match reader.fill_buf().await {
        Ok(more) if !more.is_empty() => std::future::pending().await,
        _ => {}
    }
}

async fn write(writer: &mut WriteHalf<'_>, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(STUCK, writer.write_all(&line)).await?
}

async fn logs(
    shared: &SupervisorShared,
    reader: &mut BufReader<ReadHalf<'_>>,
    writer: &mut WriteHalf<'_>,
    lines: usize,
    follow: bool,
) -> io::Result<()> {
    let (kept, mut next) = shared.events.log.look(lines.min(MOST_LINES));
    for line in kept {
        write(writer, &Reply::Line(line)).await?;
    }
    if !follow {
        return write(writer, &Reply::Done(json!(null))).await;
    }
    loop {
        let piece = tokio::select! {
            piece = next.recv() => piece,
            () = gone(reader) => return Ok(()),
        };
        match piece {
            Ok(piece) => {
                for line in piece.lines() {
                    write(writer, &Reply::Line(line)).await?;
                }
            }
            Err(broadcast::error::RecvError::Lagged(count)) => {
                let text = format!("… {count} log entries were dropped: the connection is too slow");
                write(
                    writer,
                    &Reply::Line(super::log_buffer::LogChunk::new("supervisor", text).lines().remove(0)),
                )
                .await?;
            }
            Err(broadcast::error::RecvError::Closed) => break,
        }
    }
    write(writer, &Reply::Done(json!(null))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_end_may_wait_for_ever() {
        let idle = patience_after(&ControlCommand::Ps, FIRST);
        assert_eq!(idle, IDLE);
        let ending = patience_after(&ControlCommand::Stop { fast: false }, idle);
        assert_eq!((ending, patience_after(&ControlCommand::Ps, ending)), (Duration::MAX, Duration::MAX));
    }
}
