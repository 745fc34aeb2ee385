//! The task that owns one document.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::disk::{Disk, FileCheck};
use super::execution::Engine;
use super::log::Log;
use super::model::{Done, Model, NewCell};
use super::{Documents, OpenError, PREFIX, Unreadable};
use crate::clock;
use crate::files::{FileError, RelativePath};
use crate::kernel::link::HostMessage;
use crate::kernel::wire::Event;
use crate::protocol::{Change, Document, Keep, Operation, Reply, Request, ServerFrame};

/// How often the file is checked while a page is open.
const LOOK: Duration = Duration::from_secs(2);
/// How long an unused document stays open.
const LINGER: Duration = Duration::from_secs(30);
/// How many frames may wait for one page. A slower page is disconnected and resumes.
const WAITING_FRAMES: usize = 8192;

/// What the rest of the program can tell a document.
pub(super) enum Command {
    /// A page connects.
    Connect { resume: Option<(String, u64)>, reply: oneshot::Sender<(u64, mpsc::Receiver<Utf8Bytes>)> },
    /// A page sends a request.
    Request { client: u64, request: Box<Result<Request, Unreadable>> },
    /// A page has disconnected.
    Disconnect { client: u64 },
    /// Write now, and check the file.
    Flush { reply: oneshot::Sender<()> },
    /// The file has been moved.
    Moved { to: RelativePath, reply: oneshot::Sender<()> },
    /// Write, tell the pages, end.
    Close { again: bool, reason: String },
    /// Output beyond a cell's limit could not be written.
    OverflowFailed { cell_id: String, message: String },
    /// A restart is done.
    Restarted { client: u64, id: u32, result: Result<(), String>, run_all: bool },
}

pub(super) struct Actor {
    pub(super) documents: Documents,
    pub(super) path: RelativePath,
    pub(super) model: Model,
    pub(super) engine: Engine,
    pub(super) own_commands: mpsc::UnboundedSender<Command>,
    disk: Disk,
    instance: String,
    number: u64,
    log: Log,
    clients: HashMap<u64, mpsc::Sender<Utf8Bytes>>,
    commands: mpsc::UnboundedReceiver<Command>,
    host_messages: broadcast::Receiver<HostMessage>,
    idle_since: Instant,
    /// The request that made the changes being sent now.
    author: Option<(u64, u32)>,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Actor {
    /// Takes the document's lock, reads the file, and continues where the previous owner stopped.
    pub(super) async fn open(
        documents: &Documents,
        path: RelativePath,
        own_commands: mpsc::UnboundedSender<Command>,
        commands: mpsc::UnboundedReceiver<Command>,
        wait: Option<Duration>,
    ) -> Result<Actor, OpenError> {
        let inner = &documents.0;
        let host_messages = inner.link.host_messages();
        let held = inner.link.lock(&format!("{PREFIX}{path}"), wait).await;
        match held {
            Ok(true) => {}
            Ok(false) => {
                return Err(OpenError::Busy(format!(
                    "`{path}` is open in another process of this server: try again"
                )));
            }
            Err(problem) => return Err(OpenError::Busy(problem.message)),
        }
        let opened = Disk::open(inner.files.clone(), path.clone(), inner.limits.body_bytes).await;
        let (disk, model) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = inner.link.unlock(&format!("{PREFIX}{path}")).await;
                return Err(error);
            }
        };
        let mut actor = Actor {
            documents: documents.clone(),
            engine: Engine::new(inner.outputs.clone(), inner.limits.cell_output_bytes, own_commands.clone()),
            path,
            model,
            own_commands,
            disk,
            instance: uuid::Uuid::new_v4().simple().to_string(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            log: Log::default(),
            clients: HashMap::new(),
            commands,
            host_messages,
            idle_since: Instant::now(),
            author: None,
        };
        actor.resume().await;
        Ok(actor)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Runs until nobody needs the document any more. Returns its path.
    pub(super) async fn run(mut self) -> RelativePath {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut again, mut reason) = (false, String::new());
        loop {
            let due = self.disk.due.filter(|_| self.disk.saving.is_none() && !self.disk.conflict);
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Close { again: come_back, reason: why }) => {
                        (again, reason) = (come_back, why);
                        break;
                    }
                    Some(command) => self.command(command).await,
                    None => break,
                },
                (event, result) = self.disk.saved(), if self.disk.saving.is_some() => self.after_save(event, result).await,
                host_message = self.host_messages.recv() => match host_message {
                    Ok(HostMessage::Event(Event::LockWanted { key })) if key.strip_prefix(PREFIX) == Some(self.path.as_str()) => {
                        (again, reason) = (true, "another process of the server is taking over the notebook".to_owned());
                        break;
                    }
                    Ok(host_message) => if !self.host_message(host_message).await {
                        (again, reason) = (true, "the connection to the kernel host was lost".to_owned());
                        break;
                    },
                    Err(broadcast::error::RecvError::Lagged(_)) => self.refresh_kernel().await,
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                () = sleep_until(due) => self.begin_save().await,
                _ = tick.tick() => {
                    self.expire_questions();
                    if !self.clients.is_empty() && self.disk.saving.is_none() {
                        self.look().await;
                    }
                    if self.clients.is_empty() && !self.engine.is_running() && !self.disk.is_dirty() {
                        if self.idle_since.elapsed() > LINGER {
                            break;
                        }
                    } else {
                        self.idle_since = Instant::now();
                    }
                }
                // Last, because a kernel that prints without end always has more.
                delivery = self.engine.next() => self.deliver(delivery).await,
            }
        }
        self.commands.close();
        self.flush().await;
        if self.disk.conflict
            && self.disk.due.is_some()
            && let Err(error) = self.disk.write_copy(&self.path, &self.model).await
        {
            tracing::error!(%error, document = %self.path, "cannot save a copy of the changes of a notebook in conflict");
        }
        self.tell(&ServerFrame::Closing { again, message: reason });
        self.engine.finish().await;
        let _ = self.documents.0.link.unlock(&format!("{PREFIX}{}", self.path)).await;
        self.path
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Connect { resume, reply } => {
                let (sender, frames) = mpsc::channel(WAITING_FRAMES);
                let id = NUMBERS.fetch_add(1, Ordering::Relaxed);
                self.greet(&sender, resume);
                if reply.send((id, frames)).is_ok() {
                    self.clients.insert(id, sender);
                }
            }
            Command::Disconnect { client } => {
                self.clients.remove(&client);
            }
            Command::Request { client, request } => match *request {
                Ok(Request { id, op }) => {
                    self.author = Some((client, id));
                    let result = self.operate(client, id, op).await;
                    self.author = None;
                    if let Some(result) = result {
                        self.answer(client, id, result);
                    }
                }
                Err(Unreadable { id, message }) => {
                    self.tell_one(client, &ServerFrame::Failed { id, message })
                }
            },
            Command::OverflowFailed { cell_id, message } => self.overflow_failed(&cell_id, &message),
            Command::Restarted { client, id, result, run_all } => {
                self.author = Some((client, id));
                self.restarted(client, id, result, run_all).await;
                self.author = None;
            }
            Command::Flush { reply } => {
                self.flush().await;
                self.look().await;
                let _ = reply.send(());
            }
            Command::Moved { to, reply } => {
                let from = std::mem::replace(&mut self.path, to);
                let link = self.documents.0.link.clone();
                // Nobody else can have the new path open, because its file did not exist.
                let _ = link.lock(&format!("{PREFIX}{}", self.path), None).await;
                let _ = link.put(format!("{PREFIX}{from}"), None).await;
                let _ = link.unlock(&format!("{PREFIX}{from}")).await;
                self.keep_record().await;
                self.change(vec![Change::Moved { path: self.path.to_string() }], false);
                let _ = reply.send(());
            }
            // Handled by `run`.
            Command::Close { .. } => {}
        }
    }

    /// Sends the first frames of a connection.
    fn greet(&self, sender: &mpsc::Sender<Utf8Bytes>, resume: Option<(String, u64)>) {
        if let Some((instance, event)) = resume
            && instance == self.instance
            && let Some(missed) = self.log.after(event)
        {
            let missed: Vec<Utf8Bytes> = missed.collect();
            if missed.len() < WAITING_FRAMES {
                let last = self.log.last();
                let _ = sender.try_send(encode(&ServerFrame::Resumed { instance, event, last }));
                missed.into_iter().for_each(|frame| {
                    let _ = sender.try_send(frame);
                });
                return;
            }
        }
        let opened = ServerFrame::Opened {
            instance: self.instance.clone(),
            event: self.log.last(),
            document: self.document(),
        };
        let _ = sender.try_send(encode(&opened));
    }

    pub(super) fn document(&self) -> Document {
        Document {
            path: self.path.to_string(),
            cells: self.model.cells.iter().map(|cell| cell.shown.clone()).collect(),
            metadata: self.model.metadata.clone(),
            kernel: self.engine.kernel.clone(),
            unsaved: self.disk.is_dirty(),
            conflict: self.disk.conflict,
            last_modified: clock::rfc3339(self.disk.facts().modified),
            input: self.engine.input.clone(),
            writable: self.disk.facts().writable,
        }
    }

    /// Numbers changes, keeps them, and sends them to every page. `content` tells whether the file must be
    /// written.
    pub(super) fn change(&mut self, changes: Vec<Change>, content: bool) {
        if content && !changes.is_empty() {
            self.disk.touch();
        }
        for change in changes {
            let event = self.log.next();
            let mut frame = ServerFrame::Changed { event, request: None, change };
            let shared = encode(&frame);
            self.log.push(shared.clone());
            let author = self.author.map(|(client, request)| {
                if let ServerFrame::Changed { request: slot, .. } = &mut frame {
                    *slot = Some(request);
                }
                (client, encode(&frame))
            });
            self.clients.retain(|client, sender| {
                let own = author.as_ref().filter(|(author, _)| author == client).map(|(_, frame)| frame);
                sender.try_send(own.unwrap_or(&shared).clone()).is_ok()
            });
        }
    }

    fn tell(&mut self, frame: &ServerFrame) {
        let frame = encode(frame);
        self.clients.retain(|_, sender| sender.try_send(frame.clone()).is_ok());
    }

    fn tell_one(&mut self, client: u64, frame: &ServerFrame) {
        if let Some(sender) = self.clients.get(&client)
            && sender.try_send(encode(frame)).is_err()
        {
            self.clients.remove(&client);
        }
    }

    pub(super) fn answer(&mut self, client: u64, id: u32, result: Result<Reply, String>) {
        let frame = match result {
            Ok(reply) => ServerFrame::Reply { id, reply },
            Err(message) => ServerFrame::Failed { id: Some(id), message },
        };
        self.tell_one(client, &frame);
    }

    /// Performs a page's operation. `None`: the reply comes later.
    async fn operate(&mut self, client: u64, id: u32, op: Operation) -> Option<Result<Reply, String>> {
        let done = match op {
            Operation::SetSource { cell_id, source, base_revision } => {
                self.model.set_source(&cell_id, source, base_revision)
            }
            Operation::InsertCell {
                index,
                cell_type,
                source,
                cell_id,
                metadata,
                attachments,
                outputs,
                execution_count,
            } => {
                let new = NewCell {
                    cell_type,
                    source,
                    metadata: metadata.unwrap_or_default(),
                    attachments,
                    outputs: outputs.unwrap_or_default(),
                    execution_count,
                };
                self.model.insert_cell(index, cell_id, new)
            }
            Operation::DeleteCell { cell_id } => self.model.delete_cell(&cell_id),
            Operation::MoveCell { cell_id, index } => self.model.move_cell(&cell_id, index),
            Operation::SetCellType { cell_id, cell_type } => self.model.set_cell_type(&cell_id, cell_type),
            Operation::SetCellMetadata { cell_id, metadata } => {
                self.model.set_cell_metadata(&cell_id, metadata)
            }
            Operation::SetCellAttachments { cell_id, attachments } => {
                self.model.set_cell_attachments(&cell_id, attachments)
            }
            Operation::SetMetadata { metadata } => Ok((Reply::Done, self.model.set_metadata(metadata))),
            Operation::ClearOutputs { cell_ids } => self.clear_outputs(cell_ids),
            Operation::Save => return Some(self.save_now().await.map(|()| Reply::Done)),
            Operation::ResolveConflict { keep } => {
                return Some(self.resolve(keep).await.map(|()| Reply::Done));
            }
            other => return self.operate_kernel(client, id, other).await,
        };
        Some(done.map(|(reply, changes)| {
            self.change(changes, true);
            reply
        }))
    }

    fn clear_outputs(&mut self, cell_ids: Option<Vec<String>>) -> Done {
        let ids =
            cell_ids.unwrap_or_else(|| self.model.cells.iter().map(|cell| cell.shown.id.clone()).collect());
        let mut changes = Vec::new();
        for id in ids {
            changes.extend(self.model.clear(&id));
            if let Some(cell) = self.model.cell(&id) {
                let state = cell.shown.state;
                changes.extend(self.model.set_state(&id, state, Some(None)));
            }
        }
        Ok((Reply::Done, changes))
    }

    async fn save_now(&mut self) -> Result<(), String> {
        if self.disk.conflict {
            return Err("the file was changed on disk: first choose which text to keep".to_owned());
        }
        self.finish_saving().await?;
        self.begin_save().await;
        self.finish_saving().await
    }

    async fn begin_save(&mut self) {
        match self.disk.encode(&self.model).await {
            Ok((bytes, hash)) => {
                self.mark(&hash);
                // The record is kept first: if this process ends in between, the next owner can tell which of
                // the two files it has.
                self.keep_record().await;
                self.disk.save(&self.path, (bytes, hash), self.log.last());
            }
            Err(error) => self.after_save(self.log.last(), Err(error)).await,
        }
    }

    pub(super) fn disk_hash(&self) -> &[u8] {
        self.disk.hash()
    }

    /// Records that the file contains the whole model.
    async fn keep_clean_record(&mut self) {
        let hash = self.disk.hash().to_vec();
        self.mark(&hash);
        self.commit_mark();
        self.keep_record().await;
    }

    async fn finish_saving(&mut self) -> Result<(), String> {
        if self.disk.saving.is_some() {
            let (event, result) = self.disk.saved().await;
            let message = result.as_ref().err().map(ToString::to_string);
            self.after_save(event, result).await;
            message.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Writes pending changes, for a reader of the file or for the next owner.
    async fn flush(&mut self) {
        let _ = self.finish_saving().await;
        if self.disk.due.is_some() && !self.disk.conflict {
            let _ = self.save_now().await;
        } else if !self.disk.is_dirty() {
            self.keep_clean_record().await;
        }
    }

    async fn after_save(&mut self, event: u64, result: Result<(), FileError>) {
        if result.is_err() {
            self.disk.due.get_or_insert_with(|| Instant::now() + LOOK);
        }
        match result {
            Ok(()) => {
                self.commit_mark();
                self.keep_record().await;
                let last_modified = clock::rfc3339(self.disk.facts().modified);
                self.change(vec![Change::Saved { last_modified, up_to: event }], false);
            }
            Err(FileError::Changed(_) | FileError::NotFound(_)) => {
                // Perhaps only the modification time changed.
                match self.disk.look(&self.path).await {
                    FileCheck::Same => self.disk.touch(),
                    FileCheck::Changed => self.enter_conflict(
                        "Another program changed the file on disk while this notebook had unsaved changes.",
                    ),
                    FileCheck::Gone => self.enter_conflict("The file was deleted or moved on disk."),
                }
            }
            Err(error) => {
                tracing::warn!(%error, document = %self.path, "cannot write a notebook");
                self.change(vec![Change::SaveFailed { message: error.to_string() }], false);
            }
        }
    }

    fn enter_conflict(&mut self, message: &str) {
        if !self.disk.conflict {
            self.disk.conflict = true;
            self.change(vec![Change::Conflict { message: message.to_owned() }], false);
        }
    }

    /// Checks the file: reads what others wrote, or reports a conflict.
    async fn look(&mut self) {
        if self.disk.conflict {
            return;
        }
        match self.disk.look(&self.path).await {
            FileCheck::Same => {}
            FileCheck::Changed if self.disk.is_dirty() || self.engine.is_running() => {
                self.enter_conflict(
                    "Another program changed the file on disk while this notebook had unsaved changes.",
                );
            }
            FileCheck::Changed => {
                if let Err(message) = self.reload().await {
                    self.enter_conflict(&format!(
                        "The file was changed on disk, and it cannot be read now: {message}"
                    ));
                }
            }
            FileCheck::Gone => self.enter_conflict("The file was deleted or moved on disk."),
        }
    }

    async fn reload(&mut self) -> Result<(), String> {
        let mut model = self.disk.reload(&self.path).await.map_err(|error| error.to_string())?;
        for (cell_id, state) in self.engine.states() {
            model.set_state(&cell_id, state, None);
        }
        self.model = model;
        self.keep_clean_record().await;
        let document = self.document();
        self.change(vec![Change::Reloaded { document }], false);
        Ok(())
    }

    async fn resolve(&mut self, keep: Keep) -> Result<(), String> {
        if !self.disk.conflict {
            return Ok(());
        }
        self.finish_saving().await?;
        match keep {
            Keep::Disk => {
                self.disk.write_copy(&self.path, &self.model).await.map_err(|error| error.to_string())?;
                self.reload().await
            }
            Keep::Mine => {
                self.disk.keep_mine(&self.path, &self.model).await.map_err(|error| error.to_string())?;
                let hash = self.disk.hash().to_vec();
                self.mark(&hash);
                self.after_save(self.log.last(), Ok(())).await;
                Ok(())
            }
        }
    }
}

fn encode(frame: &ServerFrame) -> Utf8Bytes {
    // These values can always be serialized as JSON.
    serde_json::to_string(frame).unwrap_or_default().into()
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
