//! Open notebooks. Each is owned by one task (`actor`), which applies what pages ask for, records what the kernel says,
//! whether a page is open or not, and writes the file.
//!
//! Among several processes (two generations of the plugin, say) the kernel host's locks decide who owns a document. Its
//! small record there says how far the kernel's messages are in the file, so that the next owner goes on from there.

mod actor;
mod disk;
mod execution;
mod log;
mod model;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::actor::{Actor, Command};
use crate::files::{FileError, Files, RelativePath};
use crate::kernel::link::{HostMessage, Link};
use crate::kernel::specs::KernelSpecs;
use crate::kernel::wire::Event;
use crate::protocol::Request;
use crate::sessions::Sessions;
use crate::settings::Limits;

/// Keys of locks and records in the kernel host.
const PREFIX: &str = "document/";
/// How long another owner may take to let a document go.
const HAND_OVER: Duration = Duration::from_secs(15);

/// All open documents. Cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    link: Link,
    files: Files,
    sessions: Sessions,
    kernel_specs: Arc<KernelSpecs>,
    /// Where outputs go that are too long for the notebook.
    outputs: PathBuf,
    limits: Limits,
    open: Mutex<HashMap<RelativePath, Slot>>,
    /// One opening at a time.
    opening: tokio::sync::Mutex<()>,
    retired: AtomicBool,
    connections: AtomicUsize,
}

struct Slot {
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
    /// Closed when all is written and the lock is let go.
    end: watch::Receiver<()>,
}

/// Why a document cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no notebook.
    #[error("`{0}` is not a notebook: {1}")]
    Format(String, crate::format::FormatError),
    /// Another process has it, or this one is being replaced: try again.
    #[error("{0}")]
    Busy(String),
}

/// A request that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Its number, where that much can be read.
    pub id: Option<u32>,
    /// What is wrong with it.
    pub message: String,
}

/// A page's connection to a document.
pub struct Connection {
    /// Frames for the page.
    pub frames: mpsc::Receiver<Utf8Bytes>,
    id: u64,
    commands: mpsc::UnboundedSender<Command>,
    documents: Documents,
}

impl Connection {
    /// Hands in a request; its reply comes among the frames.
    pub fn request(&self, request: Result<Request, Unreadable>) {
        let _ = self.commands.send(Command::Request { client: self.id, request: Box::new(request) });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.documents.0.connections.fetch_sub(1, Ordering::Relaxed);
        let _ = self.commands.send(Command::Disconnect { client: self.id });
    }
}

impl Documents {
    pub(crate) fn new(
        link: Link,
        files: Files,
        sessions: Sessions,
        kernel_specs: Arc<KernelSpecs>,
        outputs: PathBuf,
        limits: Limits,
    ) -> Documents {
        let host_messages = link.host_messages();
        let inner = Arc::new(Inner {
            link,
            files,
            sessions,
            kernel_specs,
            outputs,
            limits,
            open: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            retired: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        tokio::spawn(adopt(Arc::downgrade(&inner), host_messages));
        Documents(inner)
    }

    /// Connected pages.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RelativePath, Slot>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commands(&self, path: &RelativePath) -> Option<mpsc::UnboundedSender<Command>> {
        self.slots().get(path).map(|slot| slot.commands.clone()).filter(|commands| !commands.is_closed())
    }

    /// Connects a page. `resume` is the instance and the last event that it knows.
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(
        &self,
        path: &RelativePath,
        resume: Option<(String, u64)>,
    ) -> Result<Connection, OpenError> {
        // An actor may end between; then another is made.
        for _ in 0..5 {
            let commands = self.open(path, Some(HAND_OVER)).await?;
            let (reply, answer) = oneshot::channel();
            let _ = commands.send(Command::Connect { resume: resume.clone(), reply });
            if let Ok((id, frames)) = answer.await {
                self.0.connections.fetch_add(1, Ordering::Relaxed);
                return Ok(Connection { frames, id, commands, documents: self.clone() });
            }
        }
        Err(OpenError::Busy(format!("`{path}` is being closed: try again")))
    }

    async fn open(
        &self,
        path: &RelativePath,
        wait: Option<Duration>,
    ) -> Result<mpsc::UnboundedSender<Command>, OpenError> {
        if let Some(commands) = self.commands(path) {
            return Ok(commands);
        }
        let _opening = self.0.opening.lock().await;
        if let Some(commands) = self.commands(path) {
            return Ok(commands);
        }
        if self.0.retired.load(Ordering::Relaxed) {
            return Err(OpenError::Busy(
                "a new version of the notebook has taken over: reload the page".to_owned(),
            ));
        }
        let facts = self.0.files.facts(path)?;
        if facts.is_dir {
            return Err(FileError::Unfit(format!("`{path}` is a folder")).into());
        }
        let (commands, queue) = mpsc::unbounded_channel();
        let actor = Actor::open(self, path.clone(), commands.clone(), queue, wait).await?;
        let number = actor.number();
        let (running, end) = watch::channel(());
        self.slots().insert(path.clone(), Slot { number, commands: commands.clone(), end });
        let documents = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let path = actor.run().await;
            if let Some(inner) = documents.upgrade() {
                let mut slots = inner.open.lock().unwrap_or_else(PoisonError::into_inner);
                if slots.get(&path).is_some_and(|slot| slot.number == number) {
                    slots.remove(&path);
                }
            }
            drop(running);
        });
        Ok(commands)
    }

    /// Writes what is not yet written, and reads what others wrote, of the document at `path` if it is open.
    pub async fn flush(&self, path: &RelativePath) {
        let Some(commands) = self.commands(path) else { return };
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::Flush { reply });
        let _ = answer.await;
    }

    /// Closes the documents at and below `path`, and waits until they are written; their pages are told `reason`.
    pub async fn close(&self, path: &RelativePath, reason: &str) {
        self.close_those(|open| open == path || open.is_below(path), false, reason).await;
    }

    async fn close_those(&self, which: impl Fn(&RelativePath) -> bool, again: bool, reason: &str) {
        let open: Vec<_> = self
            .slots()
            .iter()
            .filter(|(path, _)| which(path))
            .map(|(_, slot)| (slot.commands.clone(), slot.end.clone()))
            .collect();
        let ends = open.into_iter().map(async |(commands, mut end)| {
            let _ = commands.send(Command::Close { again, reason: reason.to_owned() });
            // Nothing is ever sent there: it fails at the end.
            let _ = end.changed().await;
        });
        futures_util::future::join_all(ends).await;
    }

    /// Writes everything and lets every document go: a newer generation has taken over. Pages are asked to come back.
    pub async fn retire(&self) {
        self.0.retired.store(true, Ordering::Relaxed);
        let _opening = self.0.opening.lock().await;
        self.close_those(|_| true, true, "the notebook is being replaced by a newer version").await;
    }

    /// Renames a file or folder, and the documents that are open there.
    /// # Errors
    /// Those of [`Files::rename`].
    pub async fn rename(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        let _opening = self.0.opening.lock().await;
        let moved: Vec<(RelativePath, RelativePath)> =
            self.slots().keys().filter_map(|path| Some((path.clone(), path.moved(from, to)?))).collect();
        for (path, _) in &moved {
            self.flush(path).await;
        }
        let (files, old, new) = (self.0.files.clone(), from.clone(), to.clone());
        let renamed = tokio::task::spawn_blocking(move || files.rename(&old, &new)).await;
        renamed.map_err(|error| FileError::Unfit(format!("the rename failed: {error}")))??;
        for (old, new) in moved {
            let Some(slot) = self.slots().remove(&old) else { continue };
            let (reply, answer) = oneshot::channel();
            let _ = slot.commands.send(Command::Moved { to: new.clone(), reply });
            self.slots().insert(new, slot);
            let _ = answer.await;
        }
        Ok(())
    }
}

/// Takes over documents whose cells still run and that nobody owns: their outputs are to be recorded with no page open.
async fn adopt(documents: Weak<Inner>, mut host_messages: broadcast::Receiver<HostMessage>) {
    // The first look needs no tiding: the link may stand already.
    let mut prefix = Some(PREFIX.to_owned());
    loop {
        if let Some(prefix) = prefix.take() {
            let Some(inner) = documents.upgrade() else { return };
            tokio::spawn(adopt_below(Documents(inner), prefix));
        }
        match host_messages.recv().await {
            Ok(HostMessage::Connected) => prefix = Some(PREFIX.to_owned()),
            Ok(HostMessage::Event(Event::LockFree { key })) if key.starts_with(PREFIX) => prefix = Some(key),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn adopt_below(documents: Documents, prefix: String) {
    let Ok(records) = documents.0.link.kept(&prefix).await else { return };
    for (key, record) in records {
        if documents.0.retired.load(Ordering::Relaxed) {
            return;
        }
        let path = key.strip_prefix(PREFIX).map(RelativePath::parse);
        if let (true, Some(Ok(path))) = (execution::is_running(&record), path)
            && let Err(error) = documents.open(&path, None).await
        {
            tracing::debug!(%error, document = %path, "a running document was not taken over");
        }
    }
}
