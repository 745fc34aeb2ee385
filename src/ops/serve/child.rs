//! The supervisor's end of a worker process.

use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::message::{FromWorker, ToWorker};
use super::wire::{self, Outbox, Packet};
use crate::error::{Error, Result};

/// What a worker process does, beside serving.
#[derive(Debug)]
pub(super) enum News {
    /// It says something, perhaps with raw bytes.
    Said(FromWorker, bytes::Bytes),
    /// It has ended.
    Ended(ExitStatus),
}

/// A running worker. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    /// Its generation.
    pub(super) generation: u64,
    /// Its process id.
    pub(super) pid: u32,
    outbox: OutboxDebug,
    kill: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// An [`Outbox`] has nothing to show.
struct OutboxDebug(Outbox);

impl std::fmt::Debug for OutboxDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

impl Child {
    /// Starts the worker of `generation`. Its news comes over the returned channel; [`News::Ended`] is the last.
    ///
    /// Call it on the process's main thread only: the kernel ends a child with the *thread* that made it.
    /// # Errors
    /// When no process can be made.
    pub(super) fn start(generation: u64, quiet: bool) -> Result<(Child, mpsc::UnboundedReceiver<News>)> {
        let failed = |cause: std::io::Error| Error::new("cannot start a worker process").because(cause);
        let (ours, theirs) = wire::pair().map_err(failed)?;
        // What runs now, also when the file was replaced since.
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0("paster").arg("__worker").stdin(Stdio::from(theirs)).process_group(0);
        if quiet {
            command.stdout(Stdio::from(
                rustix::io::dup(std::io::stderr()).map_err(std::io::Error::from).map_err(failed)?,
            ));
        }
        let mut process =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(failed)?;
        let pid = process.id().unwrap_or_default();
        let stream = wire::stream(ours).map(Arc::new).map_err(failed)?;
        let outbox = Outbox::new(stream.clone());
        let (kill, killed) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let (sender, news) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let reading = tokio::spawn(read(stream, sender.clone()));
            let status = tokio::select! {
                status = process.wait() => status,
                _ = killed => {
                    let _ = process.start_kill(); // an error means that it has ended already
                    process.wait().await
                }
            };
            // What it said last must come before its end.
            let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
            let _ = sender.send(News::Ended(status.unwrap_or_default()));
            let _ = end.send(());
        });
        Ok((Child { generation, pid, outbox: OutboxDebug(outbox), kill, ended }, news))
    }

    /// Kills the process and waits until it is reaped.
    pub(super) async fn kill(self) {
        drop(self.kill);
        let _ = self.ended.await; // an error means that it was reaped before
    }

    /// Sends an order.
    pub(super) fn tell(&self, order: &ToWorker) {
        self.send(Packet::new(order));
    }

    /// A handle for answers that take a while.
    pub(super) fn replier(&self) -> Outbox {
        self.outbox.0.clone()
    }

    /// Sends an order with what belongs to it.
    pub(super) fn send(&self, packet: Packet) {
        self.outbox.0.send(packet);
    }
}

async fn read(stream: Arc<UnixStream>, news: mpsc::UnboundedSender<News>) {
    while let Ok(Some(packet)) = wire::receive(&stream).await {
        let Ok(message) = packet.message() else { break };
        if news.send(News::Said(message, packet.raw)).is_err() {
            break;
        }
    }
}
