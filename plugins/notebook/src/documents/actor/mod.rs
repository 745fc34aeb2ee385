//! The task that owns one document: passes requests and messages to the model and the engine, and carries out
//! their effects.

mod file;
mod kernel;
mod moves;
mod opening;
mod others;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use self::others::OtherKernels;
use super::command::{Command, Joined, Joining, RunState};
use super::context::{DocumentContext, PREFIX};
use super::disk::Disk;
use super::engine::{Effect, Engine, RunEvent};
use super::error::{OpenError, Unreadable};
use super::history::operations_to;
use super::kernel::KernelConnection;
use super::model::{Done, Model};
use super::operations::{OperationLog, apply, logged};
use super::overflow::{OverflowWriter, REMOTE};
use super::pages::Pages;
use crate::access::Level;
use crate::clock;
use crate::files::RelativePath;
use crate::format::{NotebookFile, new_cell_id};
use crate::kernel::link::HostMessage;
use crate::kernel::wire::Event;
use crate::protocol::{Change, Document, KernelState, Operation, Reply, Request, ServerFrame};
use crate::store::LoggedOperation;

/// How often the file is checked while a page is open.
const LOOK: Duration = Duration::from_secs(2);
/// How long an unused document stays open.
const LINGER: Duration = Duration::from_secs(30);
/// The author of edits that a run makes if the person who started the run is unknown.
const KERNEL_AUTHOR: &str = "the kernel";

pub(super) struct Actor {
    context: Arc<DocumentContext>,
    path: RelativePath,
    /// The sender that the connections of pages use.
    location: watch::Sender<RelativePath>,
    model: Model,
    operations: OperationLog,
    engine: Engine,
    kernel: KernelConnection,
    others: OtherKernels,
    pages: Pages,
    disk: Disk,
    overflow: OverflowWriter,
    /// Whether the kernel host has a record of this document.
    recorded: bool,
    commands: mpsc::UnboundedReceiver<Command>,
    own_commands: mpsc::UnboundedSender<Command>,
    host_messages: broadcast::Receiver<HostMessage>,
    idle_since: Instant,
}

/// Why a document closes; shown on its pages.
struct Closing {
    /// Whether they should connect again.
    again: bool,
    reason: String,
}

impl Closing {
    fn again(reason: &str) -> Closing {
        Closing { again: true, reason: reason.to_owned() }
    }
}

impl Actor {
    /// Takes the document's lock, reads the file, and continues where the previous owner stopped.
    pub(super) async fn open(
        context: Arc<DocumentContext>,
        path: RelativePath,
        own_commands: mpsc::UnboundedSender<Command>,
        commands: mpsc::UnboundedReceiver<Command>,
        wait: Option<Duration>,
    ) -> Result<Actor, OpenError> {
        let host_messages = context.link.host_messages();
        match context.link.lock(&format!("{PREFIX}{path}"), wait).await {
            Ok(true) => {}
            Ok(false) => {
                return Err(OpenError::Busy(format!(
                    "`{path}` is open in another process of this server: try again"
                )));
            }
            Err(problem) => return Err(OpenError::Busy(problem.message)),
        }
        let (disk, model, operations) = match opening::read(&context, &path).await {
            Ok(read) => read,
            Err(error) => {
                let _ = context.link.unlock(&format!("{PREFIX}{path}")).await;
                return Err(error);
            }
        };
        let failures = own_commands.clone();
        let (store, document) = (context.store.clone(), operations.document().to_owned());
        let outputs = context.outputs.clone();
        let shown_outputs = if store.objects().is_some() { REMOTE.into() } else { outputs.clone() };
        let mut actor = Actor {
            engine: Engine::new(path.as_str(), shown_outputs, context.limits.cell_output_bytes),
            context,
            location: watch::Sender::new(path.clone()),
            path,
            model,
            operations,
            kernel: KernelConnection::default(),
            others: OtherKernels::new(),
            pages: Pages::new(),
            disk,
            overflow: OverflowWriter::new(&store, &document, &outputs, move |cell_id, message| {
                let _ = failures.send(Command::OverflowFailed { cell_id, message });
            }),
            recorded: false,
            commands,
            own_commands,
            host_messages,
            idle_since: Instant::now(),
        };
        actor.resume().await;
        Ok(actor)
    }

    /// The document's path.
    pub(super) fn location(&self) -> watch::Receiver<RelativePath> {
        self.location.subscribe()
    }

    /// Runs until the document is no longer used.
    pub(super) async fn run(mut self) {
        let Closing { again, reason } = self.serve().await;
        self.commands.close();
        // What was not written is in the database.
        let _ = self.flush().await;
        self.publish_again().await;
        self.save_conflicting_copy().await;
        self.keep_widgets().await;
        self.pages.tell(&ServerFrame::Closing { again, message: reason });
        self.overflow.finish().await;
        if let Err(error) = self.context.store.end_lease(&self.path).await {
            tracing::warn!(%error, document = %self.path, "cannot give back the lease of a notebook: it expires later");
        }
        let _ = self.context.link.unlock(&format!("{PREFIX}{}", self.path)).await;
    }

    async fn serve(&mut self) -> Closing {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let unused = Closing { again: false, reason: String::new() };
        loop {
            let due = self.disk.due.filter(|_| self.disk.saving.is_none() && !self.disk.conflict);
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Close { again, reason }) => return Closing { again, reason },
                    Some(command) => self.command(command).await,
                    None => return unused,
                },
                (event, result) = self.disk.saved(), if self.disk.saving.is_some() => self.after_save(event, result).await,
                host_message = self.host_messages.recv() => match host_message {
                    Ok(HostMessage::Event(Event::LockWanted { key })) if key.strip_prefix(PREFIX) == Some(self.path.as_str()) => {
                        return Closing::again("another process of the server is taking over the notebook");
                    }
                    // The host released our lock when the connection ended. If the host itself has ended, the kernels have too.
                    Ok(HostMessage::Lost) => return Closing::again("the connection to the kernel host was lost"),
                    Ok(HostMessage::Event(event)) => self.host_event(event).await,
                    Ok(HostMessage::Connected) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.refresh_kernel().await,
                    Err(broadcast::error::RecvError::Closed) => return unused,
                },
                () = sleep_until(due) => self.begin_save().await,
                _ = tick.tick() => {
                    if self.context.store.is_shared() {
                        self.follow().await;
                    }
                    // If the database is unreachable, no other server can have taken it.
                    if self.operations.is_taken().unwrap_or(false) {
                        return Closing::again("another server has taken the notebook over");
                    }
                    if self.tick().await {
                        return unused;
                    }
                },
                // Last, because a kernel that prints endlessly is always ready.
                delivery = self.kernel.next() => self.deliver(delivery).await,
                delivery = self.others.next() => self.deliver_other(delivery).await,
            }
        }
    }

    /// Does the periodic work. Returns whether the document has been unused for long.
    async fn tick(&mut self) -> bool {
        let effects = self.engine.expire_queries(Instant::now());
        self.carry_out(effects).await;
        if !self.pages.is_empty() && self.disk.saving.is_none() {
            self.look().await;
        }
        if !self.pages.is_empty() || self.engine.is_running() || self.disk.is_dirty() {
            self.idle_since = Instant::now();
        }
        self.idle_since.elapsed() > LINGER
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Connect { page: Joining { principal, level, resume }, reply } => {
                let Actor { model, engine, disk, pages, .. } = self;
                let shown = || document(&self.path, model, engine, disk);
                let (id, frames) = pages.connect(principal, level, resume, shown);
                if reply.send(Joined { id, frames, path: self.location.subscribe() }).is_err() {
                    pages.disconnect(id);
                }
                if level >= Level::Run {
                    self.prewarm();
                }
            }
            Command::Disconnect { client } => self.pages.disconnect(client),
            Command::Request { client, request } => match *request {
                Ok(Request { id, op }) => {
                    self.pages.author = Some((client, id));
                    let result = self.operate(client, id, op).await;
                    self.pages.author = None;
                    if let Some(result) = result {
                        self.pages.answer(client, id, result);
                    }
                }
                Err(Unreadable { id, message }) => {
                    self.pages.tell_one(client, &ServerFrame::Failed { id, message });
                }
            },
            Command::OverflowFailed { cell_id, message } => {
                tracing::warn!(message, document = %self.path, "part of an output was lost");
                let effects = self.engine.overflow_failed(&mut self.model, &cell_id, &message);
                self.carry_out(effects).await;
            }
            Command::Restarted { client, id, result, run_all } => {
                self.pages.author = Some((client, id));
                let result = self.restarted(result, run_all).await;
                self.pages.answer(client, id, result.map(|()| Reply::Done));
                self.pages.author = None;
            }
            Command::Flush { reply } => {
                let written = self.flush().await;
                self.look().await;
                let _ = reply.send(written);
            }
            Command::Hold { reply, released, end } => {
                let _ = self.flush().await;
                if reply.send(()).is_ok() {
                    match released.await {
                        Ok(Some(to)) => self.moved(to).await,
                        Ok(None) => {}
                        Err(_) => self.follow().await,
                    }
                }
                drop(end);
            }
            Command::Restore { target, author, reply } => {
                let _ = reply.send(self.restore(&target, &author).await);
            }
            Command::RunAll { reply } => {
                let _ = reply.send(self.run_cells(&self.model.cell_ids()).await);
            }
            Command::RunState { reply } => {
                let kernel = self.engine.kernel();
                let dead = (kernel.state == KernelState::Dead)
                    .then(|| kernel.message.clone().unwrap_or_else(|| "the kernel died".to_owned()));
                let (running, asks) = (self.engine.is_running(), self.engine.input().is_some());
                let _ = reply.send(RunState { running, asks, dead });
            }
            Command::Widgets { reply } => {
                let _ = reply.send(self.engine.widgets());
            }
            Command::Tell { frame } => self.pages.tell(&frame),
            // Handled by `serve`.
            Command::Close { .. } => {}
        }
    }

    /// Performs a page's operation. Returns `None` if the reply comes later.
    async fn operate(&mut self, client: u64, id: u32, op: Operation) -> Option<Result<Reply, String>> {
        match op {
            Operation::SetCursor { cursor } => {
                self.pages.set_cursor(client, cursor);
                Some(Ok(Reply::Done))
            }
            Operation::Ping => Some(Ok(Reply::Done)),
            Operation::Save => {
                let saved = self.save_now().await;
                self.publish_again().await;
                Some(saved.map(|()| Reply::Done))
            }
            Operation::ResolveConflict { keep } => Some(self.resolve(keep).await.map(|()| Reply::Done)),
            op => {
                let op = with_cell_id(op);
                let logged = logged(&mut self.model, &op);
                match apply(&mut self.model, op) {
                    Ok(done) => {
                        let author = self.pages.name(client);
                        Some(self.keep_edit(&author, &logged, done).await)
                    }
                    Err(op) => self.operate_kernel(client, id, *op).await,
                }
            }
        }
    }

    /// Sends the changes of an operation to the pages. When this returns, the operation is on the disk and can be acknowledged.
    async fn keep_edit(
        &mut self,
        author: &str,
        logged: &LoggedOperation,
        done: Done,
    ) -> Result<Reply, String> {
        let (reply, changes) = done?;
        if changes.is_empty() {
            return Ok(reply);
        }
        self.change(changes, true);
        if let Err(error) = self.operations.append(author, logged, &self.model).await {
            tracing::error!(%error, document = %self.path, "cannot store an operation");
            // The change is then only in the file.
            self.save_now().await.map_err(|reason| format!("your change is not saved: {reason}; {error}"))?;
        }
        Ok(reply)
    }

    /// Restores a past state by operations of `author`.
    async fn restore(&mut self, target: &NotebookFile, author: &str) -> Result<(), String> {
        for operation in operations_to(&self.model, target) {
            let logged = logged(&mut self.model, &operation);
            if let Ok(done) = apply(&mut self.model, operation) {
                self.keep_edit(author, &logged, done).await?;
            }
        }
        Ok(())
    }

    /// Changes the content on behalf of a run. Messages of an ended run that are applied again change nothing.
    async fn edit_for_run(&mut self, msg_id: &str, operation: Operation) -> Result<(), String> {
        let run = self.context.store.run_author(msg_id).await.map_err(|error| error.to_string())?;
        let author = match run {
            Some((_, true)) => return Ok(()),
            Some((author, false)) if !author.is_empty() => author,
            _ => KERNEL_AUTHOR.to_owned(),
        };
        let operation = with_cell_id(operation);
        let logged = logged(&mut self.model, &operation);
        match apply(&mut self.model, operation) {
            Ok(done) => self.keep_edit(&author, &logged, done).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Records who ran what.
    fn record_run(&self, event: RunEvent) {
        let store = &self.context.store;
        let kept = match event {
            RunEvent::Queued { msg_id, cell_id, source } => {
                let author = self.pages.author.map(|(client, _)| self.pages.name(client)).unwrap_or_default();
                store.run_queued(&msg_id, self.operations.document(), &cell_id, &author, &source)
            }
            RunEvent::Ended { msg_id, status } => store.run_ended(&msg_id, &status),
        };
        if let Err(error) = kept {
            tracing::error!(%error, document = %self.path, "cannot store the record of a run");
        }
    }

    /// Sends changes to the pages. With `content`, the file must be written.
    fn change(&mut self, mut changes: Vec<Change>, content: bool) {
        changes.retain(|change| self.model.is_shown(change));
        if content && !changes.is_empty() {
            self.disk.touch();
        }
        self.pages.publish(changes);
    }

    /// Carries out the engine's decisions.
    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut orders = Vec::new();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Change { changes, content } => self.change(changes, content),
                Effect::Send(message) => self.kernel.send(message),
                Effect::SendToOther { language, message } => {
                    if let Err(why) = self.send_to_other(&language, message).await {
                        effects.extend(self.engine.other_failed(&mut self.model, &language, &why));
                    }
                }
                Effect::Answer { client, id, result } => self.pages.answer(client, id, result),
                Effect::Overflow(order) => orders.push(order),
                Effect::KeepRecord => self.keep_record().await,
                Effect::Run(event) => self.record_run(event),
                Effect::Edit { msg_id, cell_id, operation } => {
                    if let Err(why) = self.edit_for_run(&msg_id, operation).await {
                        effects.extend(self.engine.edit_refused(&mut self.model, &cell_id, &why));
                    }
                }
            }
        }
        // Last, because it waits for a slow disk.
        self.overflow.send(orders).await;
    }
}

/// Reads a document: the file, and the operations after it was written. An insertion gets the id of its cell before it is
/// logged, so that replaying it inserts the same cell.
fn with_cell_id(mut operation: Operation) -> Operation {
    if let Operation::InsertCell { cell_id, .. } = &mut operation {
        cell_id.get_or_insert_with(new_cell_id);
    }
    operation
}

/// The document as it is sent to pages.
fn document(path: &RelativePath, model: &Model, engine: &Engine, disk: &Disk) -> Document {
    Document {
        path: path.to_string(),
        cells: model.cells.iter().map(|cell| cell.shown.clone()).collect(),
        metadata: model.metadata.clone(),
        kernel: engine.kernel().clone(),
        unsaved: disk.is_dirty(),
        conflict: disk.conflict,
        last_modified: clock::rfc3339(disk.facts().modified),
        input: engine.input().cloned(),
        writable: disk.facts().writable,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
