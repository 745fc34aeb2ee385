//! A document and its kernel: what is sent, what comes back, and the record from which another owner can
//! continue.

mod deliver;
mod kernel;
mod overflow;
mod payload;
mod questions;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::overflow::Overflow;
use self::questions::{Asked, Question, code_points};
use super::PREFIX;
use super::actor::{Actor, Command};
use crate::kernel::link::{AttachmentReader, Delivery};
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Message};
use crate::protocol::{CellState, CellType, Change, InputRequest, Kernel, KernelState, Operation, Reply};

/// The kernel's side of a document.
pub(super) struct Engine {
    pub(super) kernel: Kernel,
    pub(super) input: Option<InputRequest>,
    reader: Option<AttachmentReader>,
    writer: Option<mpsc::UnboundedSender<Message>>,
    /// The number of the newest message that is in the model.
    entry: u64,
    pending: Vec<Execution>,
    questions: HashMap<String, Question>,
    /// Requests to reply to when the kernel is ready.
    starting: Vec<(u64, u32)>,
    /// As of the write in progress, and as of the file.
    marked: Option<Checkpoint>,
    saved: Checkpoint,
    recorded: bool,
    overflow: Overflow,
    output_limit: usize,
}

/// A cell that was sent to the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Execution {
    msg_id: String,
    cell_id: String,
    replied: bool,
    idle: bool,
    started: bool,
}

/// What a version of the file contains.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// Hash of the file; empty for one that we did not write.
    hash: Vec<u8>,
    /// The file contains the kernel's messages up to this one.
    entry: u64,
    /// The runs that the file has, and that had not ended then.
    pending: Vec<Execution>,
    displays: Value,
    /// The question that was open.
    #[serde(default)]
    input: Option<InputRequest>,
}

/// What the kernel host keeps about a document for its next owner.
#[derive(Serialize, Deserialize)]
struct OwnershipRecord {
    kernel_id: String,
    saved: Checkpoint,
    /// A write that was started. The file's hash tells whether it finished.
    writing: Option<Checkpoint>,
    /// Runs that started after both. Their cells must be cleared first.
    later: Vec<Execution>,
}

/// Whether a record has running cells.
pub(super) fn is_running(record: &Value) -> bool {
    let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    some(&record["saved"]["pending"]) || some(&record["later"])
}

impl Engine {
    /// Must be called within a tokio runtime. Text beyond `output_limit` bytes is written to `outputs`.
    pub(super) fn new(
        outputs: PathBuf,
        output_limit: usize,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Engine {
        let kernel = Kernel {
            id: None,
            name: None,
            display_name: None,
            language: None,
            state: KernelState::None,
            message: None,
        };
        Engine {
            kernel,
            input: None,
            reader: None,
            writer: None,
            entry: 0,
            pending: Vec::new(),
            questions: HashMap::new(),
            starting: Vec::new(),
            marked: None,
            saved: Checkpoint::default(),
            recorded: false,
            overflow: Overflow::new(outputs, commands),
            output_limit,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next delivery from the kernel. Waits forever if there is none. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        match &mut self.reader {
            Some(reader) => reader.next().await,
            None => std::future::pending().await,
        }
    }

    /// The cells that are queued or running.
    pub(super) fn states(&self) -> Vec<(String, CellState)> {
        self.pending
            .iter()
            .map(|execution| (execution.cell_id.clone(), self.state_of(&execution.cell_id)))
            .collect()
    }

    fn state_of(&self, cell_id: &str) -> CellState {
        let mut state = CellState::Idle;
        for execution in self.pending.iter().filter(|execution| execution.cell_id == cell_id) {
            if execution.started {
                return CellState::Running;
            }
            state = CellState::Queued;
        }
        state
    }

    fn send(&self, message: Message) {
        if let Some(writer) = &self.writer {
            let _ = writer.send(message);
        }
    }

    /// Waits until everything that was received from the kernel is on disk.
    pub(super) async fn finish(self) {
        self.overflow.finish().await;
    }
}

impl Actor {
    fn key(&self) -> String {
        format!("{PREFIX}{}", self.path)
    }

    /// The current model is being written, as a file with this hash.
    pub(super) fn mark(&mut self, hash: &[u8]) {
        self.engine.marked = Some(Checkpoint {
            hash: hash.to_vec(),
            entry: self.engine.entry,
            pending: self.engine.pending.clone(),
            displays: self.model.displays(),
            input: self.engine.input.clone(),
        });
    }

    /// The marked state is on disk.
    pub(super) fn commit_mark(&mut self) {
        if let Some(marked) = self.engine.marked.take() {
            self.engine.saved = marked;
        }
    }

    /// Tells the kernel host what the file contains.
    pub(super) async fn keep_record(&mut self) {
        let link = self.documents.0.link.clone();
        let Some(kernel_id) = self.engine.kernel.id.clone() else {
            if std::mem::take(&mut self.engine.recorded) {
                let _ = link.put(self.key(), None).await;
            }
            return;
        };
        let (saved, writing) = (self.engine.saved.clone(), self.engine.marked.clone());
        let is_new = |run: &&Execution| !saved.pending.iter().any(|old| old.msg_id == run.msg_id);
        let later = self.engine.pending.iter().filter(is_new).cloned().collect();
        let record = OwnershipRecord { kernel_id, saved, writing, later };
        self.engine.recorded = true;
        if let Err(problem) = link.put(self.key(), Some(json!(record))).await {
            tracing::warn!(%problem, document = %self.path, "cannot keep the state of a running notebook");
        }
    }

    /// If this document has a kernel, continues where the previous owner stopped.
    pub(super) async fn resume(&mut self) {
        let inner = self.documents.0.clone();
        self.describe_kernel(None).await;
        let Ok(Some((_, kernel))) = inner.sessions.of_path(self.path.as_str()).await else { return };
        let kept = inner.link.kept(&self.key()).await.unwrap_or_default().remove(&self.key());
        let record = kept.and_then(|record| serde_json::from_value::<OwnershipRecord>(record).ok());
        match record.filter(|record| record.kernel_id == kernel.id) {
            Some(record) => {
                let written = record.writing.filter(|mark| mark.hash == self.disk_hash());
                let mark = written.unwrap_or(record.saved);
                self.engine.entry = mark.entry;
                self.engine.pending = mark.pending.clone();
                self.engine.input = mark.input.clone();
                self.model.restore_displays(&mark.displays);
                for run in record
                    .later
                    .into_iter()
                    .filter(|run| !mark.pending.iter().any(|known| known.msg_id == run.msg_id))
                {
                    let changes = self.model.clear(&run.cell_id);
                    self.change(changes, true);
                    self.engine.pending.push(Execution {
                        replied: false,
                        idle: false,
                        started: false,
                        ..run
                    });
                }
                let from = mark.entry + 1;
                self.engine.saved = mark;
                self.restore_overflow();
                for (cell_id, state) in self.engine.states() {
                    self.model.set_state(&cell_id, state, None);
                }
                self.attach(&kernel, Some(from)).await;
            }
            None => self.attach(&kernel, None).await,
        }
    }

    /// Marks all runs as ended.
    fn give_up_runs(&mut self) {
        for execution in std::mem::take(&mut self.engine.pending) {
            let changes = self.model.set_state(&execution.cell_id, CellState::Idle, None);
            self.change(changes, false);
        }
        self.end_question(None);
        let questions: Vec<String> = self.engine.questions.keys().cloned().collect();
        questions.iter().for_each(|msg_id| self.answer_question(msg_id, None));
    }

    fn set_input(&mut self, input: Option<InputRequest>) {
        if self.engine.input != input {
            self.engine.input = input.clone();
            self.change(vec![Change::InputRequested { input }], false);
        }
    }

    /// Performs a page's operation on the kernel. `None`: the reply comes later.
    pub(super) async fn operate_kernel(
        &mut self,
        client: u64,
        id: u32,
        op: Operation,
    ) -> Option<Result<Reply, String>> {
        let link = self.documents.0.link.clone();
        let kernel_id = self.engine.kernel.id.clone();
        let done = |result: Result<(), String>| Some(result.map(|()| Reply::Done));
        match op {
            Operation::Run { cell_ids } => done(self.run_cells(cell_ids).await),
            Operation::RunAll => {
                let all = self.model.cells.iter().map(|cell| cell.shown.id.clone()).collect();
                done(self.run_cells(all).await)
            }
            Operation::Interrupt => match kernel_id {
                Some(kernel_id) => done(link.interrupt(&kernel_id).await.map_err(|problem| problem.message)),
                None => done(Ok(())),
            },
            Operation::Restart { run_all } => {
                let Some(kernel_id) = kernel_id else {
                    if let Err(message) = self.ensure_kernel(None).await {
                        return Some(Err(message));
                    }
                    return if run_all {
                        Box::pin(self.operate_kernel(client, id, Operation::RunAll)).await
                    } else {
                        done(Ok(()))
                    };
                };
                let commands = self.own_commands.clone();
                tokio::spawn(async move {
                    let result =
                        link.restart(&kernel_id).await.map(|_| ()).map_err(|problem| problem.message);
                    let _ = commands.send(Command::Restarted { client, id, result, run_all });
                });
                None
            }
            Operation::StartKernel { name } => match self.change_kernel(name.as_deref()).await {
                Err(message) => Some(Err(message)),
                Ok(()) if matches!(self.engine.kernel.state, KernelState::Idle | KernelState::Busy) => {
                    done(Ok(()))
                }
                Ok(()) => {
                    self.engine.starting.push((client, id));
                    None
                }
            },
            Operation::ShutdownKernel => done(self.shutdown_kernel().await),
            Operation::Complete { code, cursor } => {
                let content = json!({"code": code, "cursor_pos": code_points(&code, cursor)});
                self.ask(client, id, "complete_request", content, code, Asked::Completion)
            }
            Operation::Inspect { code, cursor, detail } => {
                let content = json!({"code": code, "cursor_pos": code_points(&code, cursor), "detail_level": detail.min(1)});
                self.ask(client, id, "inspect_request", content, code, Asked::Inspection)
            }
            Operation::AnswerInput { value } => {
                if self.engine.input.is_none() {
                    return Some(Err("nothing was asked".to_owned()));
                }
                let content = json!({"status": "ok", "value": value});
                self.engine.send(Message::new(
                    Channel::Stdin,
                    "input_reply",
                    &new_msg_id("input"),
                    DOCUMENT_SESSION,
                    &content,
                ));
                self.end_question(Some(&value));
                self.engine.overflow.hand_over().await;
                done(Ok(()))
            }
            _ => Some(Err("unknown request".to_owned())),
        }
    }

    /// Applies everything that the kernel has sent so far, so that old messages are not mistaken for those of
    /// a new run.
    async fn catch_up(&mut self) {
        let Some(id) = self.engine.kernel.id.clone() else { return };
        let Ok(model) = self.documents.0.link.kernel(&id).await else { return };
        while self.engine.reader.is_some() && self.engine.entry + 1 < model.next_entry {
            match tokio::time::timeout(Duration::from_secs(5), self.engine.next()).await {
                Ok(delivery) => Box::pin(self.deliver(delivery)).await,
                Err(_) => break,
            }
        }
        self.kernel_event(model);
    }

    /// Handles the end of a restart.
    pub(super) async fn restarted(
        &mut self,
        client: u64,
        id: u32,
        result: Result<(), String>,
        run_all: bool,
    ) {
        self.catch_up().await;
        let result = match result {
            Ok(()) if run_all => {
                let all = self.model.cells.iter().map(|cell| cell.shown.id.clone()).collect();
                self.run_cells(all).await
            }
            result => result,
        };
        self.answer(client, id, result.map(|()| Reply::Done));
    }

    async fn run_cells(&mut self, cell_ids: Vec<String>) -> Result<(), String> {
        self.ensure_kernel(None).await?;
        let mut messages = Vec::new();
        for cell_id in cell_ids {
            let Some(cell) = self.model.cell(&cell_id) else { continue };
            if cell.shown.cell_type != CellType::Code {
                continue;
            }
            let source = cell.shown.source.clone();
            let msg_id = new_msg_id(&cell_id);
            cell.run = Some(msg_id.clone());
            let mut changes = self.model.clear(&cell_id);
            self.engine.overflow.remove(self.path.as_str(), &cell_id);
            if source.trim().is_empty() {
                changes.extend(self.model.set_state(&cell_id, self.engine.state_of(&cell_id), Some(None)));
                self.change(changes, true);
                continue;
            }
            let execution = Execution {
                msg_id: msg_id.clone(),
                cell_id: cell_id.clone(),
                replied: false,
                idle: false,
                started: false,
            };
            self.engine.pending.push(execution);
            changes.extend(self.model.set_state(&cell_id, self.engine.state_of(&cell_id), Some(None)));
            self.change(changes, true);
            let content = json!({
                "code": source, "silent": false, "store_history": true, "user_expressions": {}, "allow_stdin": true, "stop_on_error": true,
            });
            let mut message =
                Message::new(Channel::Shell, "execute_request", &msg_id, DOCUMENT_SESSION, &content);
            // Some kernels and tools (debuggers, ipywidgets) read these.
            message.metadata =
                json!({"cellId": cell_id, "deletedCells": [], "recordTiming": false}).to_string().into();
            messages.push(message);
        }
        // Kept first, so that the next owner of the document knows that these cells run.
        self.keep_record().await;
        self.engine.overflow.hand_over().await;
        messages.into_iter().for_each(|message| self.engine.send(message));
        Ok(())
    }
}

fn new_msg_id(prefix: &str) -> String {
    format!("{prefix}:{}", uuid::Uuid::new_v4().simple())
}
