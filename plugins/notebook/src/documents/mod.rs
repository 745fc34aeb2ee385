//! Open notebooks. Each is owned by one task (`actor`), which applies the pages' operations, records the kernel's messages
//! even if no page is open, and writes the file.
//!
//! If there are several processes (such as two generations of the plugin), the kernel host's locks decide
//! which one owns a document. A small record in the kernel host states which of the kernel's messages are in the file, so that
//! the next owner can continue.

mod actor;
mod app;
mod batch;
mod command;
mod context;
mod disk;
mod engine;
mod error;
pub mod history;
mod kernel;
mod log;
mod model;
mod moves;
mod operations;
mod overflow;
mod pages;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::actor::Actor;
pub(crate) use self::app::{AppLaunch, AppSession, AppView, SessionLimits, add_widgets};
use self::command::{Command, Joined, Joining};
pub(crate) use self::context::DocumentContext;
use self::context::PREFIX;
pub(crate) use self::error::MoveError;
pub use self::error::{OpenError, Unreadable};
pub(crate) use self::kernel::{choose as choose_kernel, describe as describe_kernel};
pub(crate) use self::moves::HeldDocuments;
use crate::access::{Denied, Level};
use crate::files::{FileError, RelativePath};
use crate::format::NotebookFile;
use crate::identity::Principal;
use crate::kernel::link::HostMessage;
use crate::kernel::wire::Event;
use crate::protocol::{Operation, Request, ServerFrame};

/// Maximum time for another owner to release a document.
const HAND_OVER: Duration = Duration::from_secs(15);

/// All open documents. Cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<DocumentsInner>);

struct DocumentsInner {
    context: Arc<DocumentContext>,
    open: Mutex<HashMap<RelativePath, Slot>>,
    /// Only one document is opened at a time.
    opening: Arc<tokio::sync::Mutex<()>>,
    /// The documents that are stopped for other servers, by the ids of their requests.
    held: Mutex<HashMap<String, HeldDocuments>>,
    retired: AtomicBool,
    connections: AtomicUsize,
}

struct Slot {
    commands: mpsc::UnboundedSender<Command>,
    /// Closed when everything is written and the lock is released.
    end: watch::Receiver<()>,
}

/// A page's connection to a document.
pub struct Connection {
    /// The frames for the page.
    pub frames: mpsc::Receiver<Utf8Bytes>,
    id: u64,
    path: watch::Receiver<RelativePath>,
    principal: Principal,
    commands: mpsc::UnboundedSender<Command>,
    documents: Documents,
}

impl Connection {
    /// Sends a request. The reply comes among the frames.
    pub fn request(&self, request: Result<Request, Unreadable>) {
        let request = request.and_then(|request| match self.may(&request.op) {
            Ok(()) => Ok(request),
            Err(message) => Err(Unreadable { id: Some(request.id), message: message.to_owned() }),
        });
        let _ = self.commands.send(Command::Request { client: self.id, request: Box::new(request) });
    }

    /// Rights are checked at each operation, because they can be revoked while a page is open.
    fn may(&self, operation: &Operation) -> Result<(), &'static str> {
        let (access, path) = (&self.documents.0.context.access, self.path.borrow());
        access.may(&self.principal, needed(operation), &path).map_err(|denied| match denied {
            Denied::Hidden => "you no longer have access to this notebook",
            Denied::Insufficient => "you may not do this in this notebook: ask its owner for the right",
        })
    }

    /// Whether the page may still see the document.
    pub fn may_view(&self) -> bool {
        let access = &self.documents.0.context.access;
        access.may(&self.principal, Level::View, &self.path.borrow()).is_ok()
    }
}

/// The level that an operation needs.
fn needed(operation: &Operation) -> Level {
    match operation {
        Operation::Ping | Operation::SetCursor { .. } | Operation::OpenComms => Level::View,
        Operation::SetSource { .. }
        | Operation::InsertCell { .. }
        | Operation::DeleteCell { .. }
        | Operation::MoveCell { .. }
        | Operation::SetCellType { .. }
        | Operation::SetCellMetadata { .. }
        | Operation::SetCellAttachments { .. }
        | Operation::SetMetadata { .. }
        | Operation::Save
        | Operation::ResolveConflict { .. } => Level::Edit,
        Operation::Run { .. }
        | Operation::RunAll
        | Operation::ClearOutputs { .. }
        | Operation::Interrupt
        | Operation::Cancel { .. }
        | Operation::SendComm { .. }
        | Operation::Restart { .. }
        | Operation::StartKernel { .. }
        | Operation::ShutdownKernel
        | Operation::Complete { .. }
        | Operation::Inspect { .. }
        | Operation::ListVariables
        | Operation::Debug { .. }
        | Operation::AnswerInput { .. } => Level::Run,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.documents.0.connections.fetch_sub(1, Ordering::Relaxed);
        let _ = self.commands.send(Command::Disconnect { client: self.id });
    }
}

impl Documents {
    pub(crate) fn new(context: DocumentContext) -> Documents {
        let host_messages = context.link.host_messages();
        let inner = Arc::new(DocumentsInner {
            context: Arc::new(context),
            open: Mutex::default(),
            opening: Arc::default(),
            held: Mutex::default(),
            retired: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        tokio::spawn(adopt(Arc::downgrade(&inner), host_messages));
        Documents(inner)
    }

    /// The number of connected pages.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// The documents that are open in this process.
    pub(crate) fn open_paths(&self) -> Vec<RelativePath> {
        self.slots().keys().cloned().collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RelativePath, Slot>> {
        self.0.open.lock()
    }

    fn commands(&self, path: &RelativePath) -> Option<mpsc::UnboundedSender<Command>> {
        self.slots().get(path).map(|slot| slot.commands.clone()).filter(|commands| !commands.is_closed())
    }

    /// Connects a page of `principal`. `resume` names the instance and the last event that the page knows.
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(
        &self,
        path: &RelativePath,
        principal: &Principal,
        resume: Option<(String, u64)>,
    ) -> Result<Connection, OpenError> {
        // An actor may end in between. Then another one is started.
        for _ in 0..5 {
            let commands = self.open(path, Some(HAND_OVER)).await?;
            let (reply, answer) = oneshot::channel();
            let level = self.0.context.access.level(principal, path).unwrap_or(Level::View);
            let page = Joining { principal: principal.clone(), level, resume: resume.clone() };
            let _ = commands.send(Command::Connect { page, reply });
            if let Ok(Joined { id, frames, path }) = answer.await {
                self.0.connections.fetch_add(1, Ordering::Relaxed);
                let (principal, documents) = (principal.clone(), self.clone());
                return Ok(Connection { frames, id, path, principal, commands, documents });
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
        let facts = self.0.context.files.facts(path)?;
        if facts.is_dir {
            return Err(FileError::Unfit(format!("`{path}` is a folder")).into());
        }
        let (commands, queue) = mpsc::unbounded_channel();
        let context = self.0.context.clone();
        let actor = Actor::open(context, path.clone(), commands.clone(), queue, wait).await?;
        let (running, end) = watch::channel(());
        self.slots().insert(path.clone(), Slot { commands: commands.clone(), end });
        let (documents, own) = (self.clone(), commands.clone());
        let mut location = actor.location();
        tokio::spawn(async move {
            let run = actor.run();
            tokio::pin!(run);
            loop {
                tokio::select! {
                    _ = &mut run => break,
                    // Another server has moved it.
                    Ok(()) = location.changed() => {
                        let to = location.borrow_and_update().clone();
                        documents.moved(&own, &to);
                    }
                }
            }
            documents.slots().retain(|_, slot| !slot.commands.same_channel(&own));
            drop(running);
        });
        Ok(commands)
    }

    /// Restores the document at `path` to a point of its history, by operations of `author`.
    /// # Errors
    /// [`OpenError`], or the
    /// reason why it was not restored.
    pub async fn restore(
        &self,
        path: &RelativePath,
        author: &str,
        target: NotebookFile,
    ) -> Result<(), OpenError> {
        let commands = self.open(path, Some(HAND_OVER)).await?;
        let (reply, answer) = oneshot::channel();
        let _ =
            commands.send(Command::Restore { target: Box::new(target), author: author.to_owned(), reply });
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(OpenError::Busy(message)),
            Err(_) => Err(OpenError::Busy(format!("`{path}` is being closed: try again"))),
        }
    }

    /// Closes the document at `path` and runs `change` before it can be opened again. Its pages reconnect.
    pub(crate) async fn rewrite<T>(&self, path: &RelativePath, change: impl Future<Output = T>) -> T {
        let _opening = self.0.opening.lock().await;
        self.close_those(|open| open == path, true, "the notebook is being changed").await;
        change.await
    }

    /// The file with the rest of a long output, if there is no object store.
    pub(crate) fn overflow_file(&self, path: &RelativePath, cell_id: &str) -> std::path::PathBuf {
        overflow::overflow_path(&self.0.context.outputs, path.as_str(), cell_id)
    }

    /// Deletes the rest of long outputs, which is in files beside the notebook's.
    pub(crate) async fn remove_overflow(&self, path: &RelativePath) {
        let store = &self.0.context.store;
        if store.objects().is_some()
            && let Ok(Some((document, _))) = store.document_at(path)
            && let Err(error) = store.remove_outputs(&document, None).await
        {
            tracing::error!(%error, document = %path, "cannot delete long outputs");
        }
        let folder = overflow::overflow_folder(&self.0.context.outputs, path.as_str());
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, folder = %folder.display(), "cannot delete long outputs");
        }
    }

    /// The state of the widgets in the document at `path`, as notebooks keep it in their metadata: the present one, or else the
    /// last one that was kept.
    pub(crate) async fn widgets(&self, path: &RelativePath) -> Option<serde_json::Value> {
        if let Some(commands) = self.commands(path) {
            let (reply, answer) = oneshot::channel();
            let _ = commands.send(Command::Widgets { reply });
            if let Ok(Some(states)) = answer.await {
                return Some(states);
            }
        }
        let kept = self.0.context.store.widget_states(path).ok().flatten()?;
        serde_json::from_str(&kept).ok()
    }

    /// Sends the pages of a document something that is not part of it.
    pub(crate) fn tell(&self, path: &RelativePath, frame: ServerFrame) {
        if let Some(commands) = self.commands(path) {
            let _ = commands.send(Command::Tell { frame: Box::new(frame) });
        }
    }

    /// Closes the documents at and below `path` and waits until they are written. Their pages show `reason`.
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
            // Nothing is ever sent here: it fails when the sender is dropped.
            let _ = end.changed().await;
        });
        futures_util::future::join_all(ends).await;
    }

    /// Writes everything and releases every document, because a newer generation has taken over. Pages are
    /// asked to reconnect.
    pub async fn retire(&self) {
        self.0.retired.store(true, Ordering::Relaxed);
        let _opening = self.0.opening.lock().await;
        self.close_those(|_| true, true, "the notebook is being replaced by a newer version").await;
    }
}

/// Takes over documents with running cells that no process owns, so that their outputs are recorded even if no page is open.
async fn adopt(documents: Weak<DocumentsInner>, mut host_messages: broadcast::Receiver<HostMessage>) {
    // The first check does not wait for a message: the link may already be connected.
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
    let Ok(records) = documents.0.context.link.kept(&prefix).await else { return };
    for (key, record) in records {
        if documents.0.retired.load(Ordering::Relaxed) {
            return;
        }
        let path = key.strip_prefix(PREFIX).map(RelativePath::parse);
        if let (true, Some(Ok(path))) = (engine::is_running(&record), path)
            && let Err(error) = documents.open(&path, None).await
        {
            tracing::debug!(%error, document = %path, "could not take over a running document");
        }
    }
}
