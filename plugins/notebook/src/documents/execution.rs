//! A document and its kernel: what is sent, what comes back, and the record that lets another owner go on.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::PREFIX;
use super::actor::{Actor, Command};
use crate::format::{kernelspec_json, read_output};
use crate::kernel::link::{AttachmentReader, Delivery, Tiding};
use crate::kernel::message::{Channel, Header, Message};
use crate::kernel::wire::{Event, KernelModel, ProblemKind};
use crate::protocol::{
    CellState, CellType, Change, Completion, InputRequest, Kernel, KernelState, Object, Operation, Output,
    Reply,
};
use crate::sessions::SessionError;

/// Session of the messages that documents send.
const SESSION: &str = "paster-document";
/// How long a question to the kernel (completion, inspection) may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel's side of a document.
pub(super) struct Engine {
    pub(super) kernel: Kernel,
    pub(super) input: Option<InputRequest>,
    reader: Option<AttachmentReader>,
    writer: Option<mpsc::UnboundedSender<Message>>,
    /// Number of the newest message that is in the model.
    entry: u64,
    pending: Vec<Execution>,
    questions: HashMap<String, Question>,
    /// Requests that are answered when the kernel is ready.
    starting: Vec<(u64, u32)>,
    /// As of the write under way, and as of the file.
    marked: Option<Mark>,
    saved: Mark,
    recorded: bool,
    outputs: PathBuf,
    output_limit: usize,
}

/// A cell that was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Execution {
    msg_id: String,
    cell_id: String,
    replied: bool,
    idle: bool,
    started: bool,
}

/// How far a state of the file is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Mark {
    /// Hash of the file; empty for one that we have not written.
    hash: Vec<u8>,
    /// The file holds what the kernel said up to this message.
    entry: u64,
    /// The runs that the file knows of and that had not ended then.
    pending: Vec<Execution>,
    displays: Value,
}

/// What the kernel host keeps of a document for its next owner.
#[derive(Serialize, Deserialize)]
struct Record {
    kernel_id: String,
    saved: Mark,
    /// A write that was begun: whether it was finished, the file's hash tells.
    writing: Option<Mark>,
    /// Runs that began after both: their cells are to be cleared first.
    later: Vec<Execution>,
}

/// Whether a record tells of cells that run.
pub(super) fn is_running(record: &Value) -> bool {
    let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    some(&record["saved"]["pending"]) || some(&record["later"])
}

struct Question {
    client: u64,
    id: u32,
    deadline: Instant,
    code: String,
    kind: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    Completion,
    Inspection,
}

impl Engine {
    pub(super) fn new(outputs: PathBuf, output_limit: usize) -> Engine {
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
            saved: Mark::default(),
            recorded: false,
            outputs,
            output_limit,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What comes next from the kernel; waits for ever without one. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        match &mut self.reader {
            Some(reader) => reader.next().await,
            None => std::future::pending().await,
        }
    }

    /// The cells that wait or run.
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

    fn overflow_path(&self, document: &str, cell_id: &str) -> PathBuf {
        let name: String =
            Sha256::digest(document.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.outputs.join(name).join(format!("{cell_id}.txt"))
    }
}

impl Actor {
    fn key(&self) -> String {
        format!("{PREFIX}{}", self.path)
    }

    /// The model as it is now goes to disk, as a file with this hash.
    pub(super) fn mark(&mut self, hash: &[u8]) {
        self.engine.marked = Some(Mark {
            hash: hash.to_vec(),
            entry: self.engine.entry,
            pending: self.engine.pending.clone(),
            displays: self.model.displays(),
        });
    }

    /// What was marked is on disk.
    pub(super) fn commit_mark(&mut self) {
        if let Some(marked) = self.engine.marked.take() {
            self.engine.saved = marked;
        }
    }

    /// Tells the kernel host how far the file is.
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
        let record = Record { kernel_id, saved, writing, later };
        self.engine.recorded = true;
        if let Err(problem) = link.put(self.key(), Some(json!(record))).await {
            tracing::warn!(%problem, document = %self.path, "the state of a running notebook could not be kept");
        }
    }

    /// Goes on where the last owner stopped, where this document has a kernel.
    pub(super) async fn resume(&mut self) {
        let inner = self.documents.0.clone();
        self.describe_kernel(None).await;
        let Ok(Some((_, kernel))) = inner.sessions.of_path(self.path.as_str()).await else { return };
        let kept = inner.link.kept(&self.key()).await.unwrap_or_default().remove(&self.key());
        let record = kept.and_then(|record| serde_json::from_value::<Record>(record).ok());
        match record.filter(|record| record.kernel_id == kernel.id) {
            Some(record) => {
                let written = record.writing.filter(|mark| mark.hash == self.disk_hash());
                let mark = written.unwrap_or(record.saved);
                self.engine.entry = mark.entry;
                self.engine.pending = mark.pending.clone();
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
                for (cell_id, state) in self.engine.states() {
                    self.model.set_state(&cell_id, state, None);
                }
                self.attach(&kernel, Some(from)).await;
            }
            None => self.attach(&kernel, None).await,
        }
    }

    /// Attaches to a kernel's messages, from number `from` on or from now.
    async fn attach(&mut self, kernel: &KernelModel, from: Option<u64>) {
        let attached = self.documents.0.link.attach(&kernel.id, from, true).await;
        let attachment = match attached {
            Ok(attachment) => attachment,
            Err(problem) => {
                tracing::warn!(%problem, document = %self.path, "a kernel cannot be reached");
                return;
            }
        };
        self.engine.entry = attachment.from - 1;
        self.engine.reader = Some(attachment.reader);
        let (sender, mut queue) = mpsc::unbounded_channel::<Message>();
        let mut writer = attachment.writer;
        // A task of its own: a kernel that starts slowly shall not hold up the document.
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                if writer.send(&message).await.is_err() {
                    return;
                }
            }
        });
        self.engine.writer = Some(sender);
        self.describe_kernel(Some(&attachment.model)).await;
    }

    /// Tells the pages which kernel this document has, or would have.
    async fn describe_kernel(&mut self, model: Option<&KernelModel>) {
        let specs = self.documents.0.finder.specs().await;
        let wanted = self.model.metadata.get("kernelspec").cloned().unwrap_or_default();
        let spec = match model {
            Some(model) => specs.specs.get(&model.name),
            None => specs.find(wanted["name"].as_str(), wanted["language"].as_str()),
        };
        let message = match model {
            Some(model) => model.exit.clone(),
            None => specs.message.clone(),
        };
        let kernel = Kernel {
            id: model.map(|model| model.id.clone()),
            name: model.map(|model| model.name.clone()).or_else(|| spec.map(|spec| spec.name.clone())),
            display_name: spec.map(|spec| spec.display_name.clone()),
            language: spec.map(|spec| spec.language.clone()),
            state: model.map_or(KernelState::None, |model| model.state),
            message,
        };
        self.set_kernel(kernel);
    }

    fn set_kernel(&mut self, kernel: Kernel) {
        if self.engine.kernel != kernel {
            self.engine.kernel = kernel.clone();
            self.change(vec![Change::KernelChanged { kernel }], false);
        }
    }

    fn set_kernel_state(&mut self, state: KernelState, message: Option<String>) {
        self.set_kernel(Kernel { state, message, ..self.engine.kernel.clone() });
    }

    /// The kernel of this document, started where there is none.
    async fn ensure_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        if self.engine.kernel.id.is_some() && self.engine.writer.is_some() {
            return match self.engine.kernel.state {
                KernelState::Dead => Err(format!(
                    "{}. Restart it to go on.",
                    self.engine.kernel.message.as_deref().unwrap_or("The kernel is dead")
                )),
                _ => Ok(()),
            };
        }
        let inner = self.documents.0.clone();
        let specs = inner.finder.specs().await;
        let wanted = self.model.metadata.get("kernelspec").cloned().unwrap_or_default();
        let spec = match name {
            Some(name) => specs
                .specs
                .get(name)
                .ok_or_else(|| format!("there is no kernel named `{name}` on this machine"))?,
            None => specs.find(wanted["name"].as_str(), wanted["language"].as_str()).ok_or_else(|| {
                specs.message.clone().unwrap_or_else(|| match wanted["name"].as_str() {
                    Some(name) => {
                        format!("there is no kernel named `{name}` on this machine: choose another one")
                    }
                    None => "there is no kernel to start".to_owned(),
                })
            })?,
        };
        // One that is there already may have ended meanwhile: then a new one is attached to from its first message.
        let opened = inner
            .sessions
            .open(self.path.as_str(), self.path.name(), "notebook", Some(&spec.name), None)
            .await;
        let (_, kernel) = opened.map_err(|error: SessionError| error.to_string())?;
        self.attach(&kernel, Some(kernel.next_entry)).await;
        let mut metadata = self.model.metadata.clone();
        if metadata.get("kernelspec").is_none_or(|present| present["name"] != kernel.name) {
            if let Some(spec) = specs.specs.get(&kernel.name) {
                metadata.insert("kernelspec".into(), kernelspec_json(spec));
            }
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        if self.engine.writer.is_none() { Err("the kernel cannot be reached".to_owned()) } else { Ok(()) }
    }

    fn detach(&mut self) {
        self.engine.reader = None;
        self.engine.writer = None;
        self.give_up_runs();
    }

    /// Nothing runs any more.
    fn give_up_runs(&mut self) {
        for execution in std::mem::take(&mut self.engine.pending) {
            let changes = self.model.set_state(&execution.cell_id, CellState::Idle, None);
            self.change(changes, false);
        }
        self.set_input(None);
        let questions: Vec<String> = self.engine.questions.keys().cloned().collect();
        questions.iter().for_each(|msg_id| self.answer_question(msg_id, None));
    }

    fn set_input(&mut self, input: Option<InputRequest>) {
        if self.engine.input != input {
            self.engine.input = input.clone();
            self.change(vec![Change::InputRequested { input }], false);
        }
    }

    /// Does what a page asks of the kernel. `None`: the answer comes later.
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
                    SESSION,
                    &content,
                ));
                self.set_input(None);
                done(Ok(()))
            }
            _ => Some(Err("this request is not known".to_owned())),
        }
    }

    /// Takes all that the kernel has said so far, so that what is old cannot be taken for news of a new run.
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

    /// The end of a restart.
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
            let _ = std::fs::remove_file(self.engine.overflow_path(self.path.as_str(), &cell_id));
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
            let mut message = Message::new(Channel::Shell, "execute_request", &msg_id, SESSION, &content);
            // Some kernels and tools (debuggers, ipywidgets) look at these.
            message.metadata =
                json!({"cellId": cell_id, "deletedCells": [], "recordTiming": false}).to_string().into();
            messages.push(message);
        }
        // Kept first: whoever takes the document over knows that these cells run.
        self.keep_record().await;
        messages.into_iter().for_each(|message| self.engine.send(message));
        Ok(())
    }

    async fn change_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        let inner = self.documents.0.clone();
        let same = name.is_none() || self.engine.kernel.name.as_deref() == name;
        if self.engine.kernel.id.is_none() || (same && self.engine.kernel.state != KernelState::Dead) {
            return self.ensure_kernel(name).await;
        }
        let session = inner.sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        let name = name.map(str::to_owned).or_else(|| self.engine.kernel.name.clone()).unwrap_or_default();
        let Some((session, _)) = session else {
            self.forget_kernel().await;
            return self.ensure_kernel(Some(&name)).await;
        };
        let (_, kernel) = inner
            .sessions
            .change(&session.id, &json!({"kernel": {"name": name}}))
            .await
            .map_err(|error| error.to_string())?;
        self.detach();
        self.attach(&kernel, Some(1)).await;
        let specs = inner.finder.specs().await;
        if let Some(spec) = specs.specs.get(&name) {
            let mut metadata = self.model.metadata.clone();
            metadata.insert("kernelspec".into(), kernelspec_json(spec));
            metadata.remove("language_info");
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        Ok(())
    }

    async fn shutdown_kernel(&mut self) -> Result<(), String> {
        let inner = self.documents.0.clone();
        let session = inner.sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        if let Some((session, _)) = session {
            inner.sessions.close(&session.id).await.map_err(|problem| problem.message)?;
        }
        self.forget_kernel().await;
        Ok(())
    }

    async fn forget_kernel(&mut self) {
        self.detach();
        self.engine.kernel.id = None;
        self.describe_kernel(None).await;
        self.keep_record().await;
        for (client, id) in std::mem::take(&mut self.engine.starting) {
            self.answer(client, id, Err("the kernel was shut down".to_owned()));
        }
    }

    fn ask(
        &mut self,
        client: u64,
        id: u32,
        msg_type: &str,
        content: Value,
        code: String,
        kind: Asked,
    ) -> Option<Result<Reply, String>> {
        let ready = matches!(self.engine.kernel.state, KernelState::Idle | KernelState::Busy)
            && self.engine.writer.is_some();
        if !ready || self.engine.questions.len() > 100 {
            return Some(Ok(nothing(kind)));
        }
        let msg_id = new_msg_id("ask");
        self.engine.send(Message::new(Channel::Shell, msg_type, &msg_id, SESSION, &content));
        self.engine
            .questions
            .insert(msg_id, Question { client, id, deadline: Instant::now() + PATIENCE, code, kind });
        None
    }

    fn answer_question(&mut self, msg_id: &str, content: Option<&Value>) {
        let Some(question) = self.engine.questions.remove(msg_id) else { return };
        let reply = content.map_or_else(|| nothing(question.kind), |content| read_answer(&question, content));
        self.answer(question.client, question.id, Ok(reply));
    }

    /// Questions that a busy kernel leaves unanswered are answered with nothing.
    pub(super) fn expire_questions(&mut self) {
        let now = Instant::now();
        let late: Vec<String> = self
            .engine
            .questions
            .iter()
            .filter(|(_, question)| question.deadline < now)
            .map(|(msg_id, _)| msg_id.clone())
            .collect();
        late.iter().for_each(|msg_id| self.answer_question(msg_id, None));
    }

    /// Something from the link. False: the document must be closed and opened anew.
    pub(super) async fn tiding(&mut self, tiding: Tiding) -> bool {
        match tiding {
            // The host forgot our lock with the connection; if it is gone itself, so are the kernels.
            Tiding::Lost => return false,
            Tiding::Event(Event::Kernel { model }) if Some(&model.id) == self.engine.kernel.id.as_ref() => {
                self.kernel_event(model)
            }
            Tiding::Event(Event::KernelGone { id }) if Some(&id) == self.engine.kernel.id.as_ref() => {
                self.drain_and_forget().await
            }
            Tiding::Event(_) | Tiding::Connected => {}
        }
        true
    }

    fn kernel_event(&mut self, model: KernelModel) {
        match model.state {
            KernelState::Starting | KernelState::Restarting | KernelState::Dead => {
                self.set_kernel_state(model.state, model.exit.clone())
            }
            // While it runs, its messages tell busy and idle, in their order among the outputs.
            _ if !matches!(self.engine.kernel.state, KernelState::Idle | KernelState::Busy) => {
                self.set_kernel_state(KernelState::Idle, None);
            }
            _ => {}
        }
        self.learn_language(model.info.as_ref());
        if matches!(model.state, KernelState::Idle | KernelState::Busy | KernelState::Dead) {
            for (client, id) in std::mem::take(&mut self.engine.starting) {
                let result = match (model.state, &model.exit) {
                    (KernelState::Dead, exit) => {
                        Err(exit.clone().unwrap_or_else(|| "the kernel is dead".to_owned()))
                    }
                    _ => Ok(Reply::Done),
                };
                self.answer(client, id, result);
            }
        }
    }

    fn learn_language(&mut self, info: Option<&Value>) {
        let Some(language) = info.map(|info| &info["language_info"]).filter(|language| language.is_object())
        else {
            return;
        };
        if self.model.metadata.get("language_info") != Some(language) {
            let mut metadata = self.model.metadata.clone();
            metadata.insert("language_info".into(), language.clone());
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
    }

    pub(super) async fn refresh_kernel(&mut self) {
        let Some(id) = self.engine.kernel.id.clone() else { return };
        match self.documents.0.link.kernel(&id).await {
            Ok(model) => {
                self.kernel_event(model.clone());
                if self.engine.reader.is_none() {
                    let from = self.engine.entry + 1;
                    self.attach(&model, Some(from)).await;
                }
            }
            Err(problem) if problem.kind == ProblemKind::UnknownKernel => self.forget_kernel().await,
            Err(_) => {}
        }
    }

    /// The kernel was shut down: its last messages, then no kernel.
    async fn drain_and_forget(&mut self) {
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), self.engine.next()).await
        {
            Box::pin(self.deliver(Some(delivery))).await;
            if self.engine.reader.is_none() {
                break;
            }
        }
        self.forget_kernel().await;
    }

    /// Takes what comes from the kernel.
    pub(super) async fn deliver(&mut self, delivery: Option<Delivery>) {
        match delivery {
            Some(Delivery::Message(number, bytes)) => {
                self.engine.entry = number;
                match Message::parse_v1(&bytes) {
                    Ok(message) => self.take(&message),
                    Err(error) => tracing::warn!(%error, "an unreadable message in a kernel's journal"),
                }
            }
            Some(Delivery::Gap(from, to)) => {
                self.engine.entry = to - 1;
                let text = format!(
                    "[{} messages of the kernel are lost: more than the setting `limits.journal_bytes` keeps]\n",
                    to - from
                );
                if let Some(cell_id) = self.engine.pending.first().map(|execution| execution.cell_id.clone())
                {
                    self.add_output(&cell_id, Output::Stream { name: "stderr".into(), text }, None);
                }
            }
            None => {
                self.engine.reader = None;
                self.refresh_kernel().await;
            }
        }
    }

    fn take(&mut self, message: &Message) {
        let header = message.header();
        let parent = message.parent();
        match (message.channel, header.msg_type.as_str()) {
            (Channel::Iopub, "status") => self.take_status(message, &parent),
            (Channel::Iopub, kind) => self.take_output(kind, message, &parent),
            (Channel::Shell, "execute_reply") => self.take_reply(&message.content(), &parent),
            (Channel::Shell, "complete_reply" | "inspect_reply") => {
                self.answer_question(&parent.msg_id, Some(&message.content()))
            }
            (Channel::Stdin, "input_request") if parent.session == SESSION => {
                let content = message.content();
                let input = InputRequest {
                    cell_id: self.execution(&parent.msg_id).map(|execution| execution.cell_id.clone()),
                    prompt: content["prompt"].as_str().unwrap_or_default().to_owned(),
                    password: content["password"].as_bool().unwrap_or_default(),
                };
                self.set_input(Some(input));
            }
            _ => {}
        }
    }

    fn execution(&mut self, msg_id: &str) -> Option<&mut Execution> {
        self.engine.pending.iter_mut().find(|execution| execution.msg_id == msg_id)
    }

    fn take_status(&mut self, message: &Message, parent: &Header) {
        let content = message.content();
        let is_run = parent.msg_type == "execute_request" || self.execution(&parent.msg_id).is_some();
        match content["execution_state"].as_str() {
            Some("busy") if is_run => {
                self.set_kernel_state(KernelState::Busy, None);
                if let Some(execution) = self.execution(&parent.msg_id) {
                    execution.started = true;
                    let cell_id = execution.cell_id.clone();
                    let changes = self.model.set_state(&cell_id, CellState::Running, None);
                    self.change(changes, false);
                }
            }
            Some("idle") if is_run => {
                self.set_kernel_state(KernelState::Idle, None);
                if let Some(execution) = self.execution(&parent.msg_id) {
                    execution.idle = true;
                }
                self.end_run(&parent.msg_id);
            }
            Some("restarting") => self.give_up_runs(),
            Some("dead") => {
                let reason = content["reason"].as_str().unwrap_or("the kernel ended").to_owned();
                // Beside the cell that ran: why.
                let running = self
                    .engine
                    .pending
                    .iter()
                    .find(|execution| execution.started)
                    .or(self.engine.pending.first());
                if let Some(cell_id) = running.map(|execution| execution.cell_id.clone()) {
                    let traceback = reason.lines().map(str::to_owned).collect();
                    self.add_output(
                        &cell_id,
                        Output::Error { ename: "KernelDied".into(), evalue: reason.clone(), traceback },
                        None,
                    );
                }
                self.give_up_runs();
                self.set_kernel_state(KernelState::Dead, Some(reason));
            }
            _ => {}
        }
    }

    fn take_reply(&mut self, content: &Value, parent: &Header) {
        let Some(execution) = self.execution(&parent.msg_id) else { return };
        execution.replied = true;
        // An aborted run never was: some kernels send no status for it.
        execution.idle |= matches!(content["status"].as_str(), Some("aborted" | "abort"));
        let cell_id = execution.cell_id.clone();
        // Help of `name?` comes this way.
        for payload in content["payload"].as_array().into_iter().flatten() {
            if payload["source"] == "page"
                && let Some(data) = payload["data"].as_object()
            {
                self.add_output(
                    &cell_id,
                    Output::DisplayData { data: data.clone(), metadata: Object::new() },
                    None,
                );
            }
        }
        self.end_run(&parent.msg_id);
    }

    fn end_run(&mut self, msg_id: &str) {
        let Some(at) =
            self.engine.pending.iter().position(|run| run.msg_id == msg_id && run.replied && run.idle)
        else {
            return;
        };
        let execution = self.engine.pending.remove(at);
        let state = self.engine.state_of(&execution.cell_id);
        let changes = self.model.set_state(&execution.cell_id, state, None);
        self.change(changes, false);
        if self.engine.input.as_ref().is_some_and(|input| input.cell_id.as_ref() == Some(&execution.cell_id))
        {
            self.set_input(None);
        }
    }

    fn take_output(&mut self, kind: &str, message: &Message, parent: &Header) {
        if parent.session != SESSION {
            return;
        }
        // The cell's id is the first part of our message ids, so that also late outputs (of threads) find it.
        let Some((cell_id, _)) = parent.msg_id.rsplit_once(':') else { return };
        let cell_id = cell_id.to_owned();
        match self.model.cell(&cell_id) {
            Some(cell) if cell.run.as_deref().is_none_or(|run| run == parent.msg_id) => {}
            // Outputs of an earlier run of the cell, or of a cell that is deleted.
            _ => return,
        }
        let content = message.content();
        let display_id = content["transient"]["display_id"].as_str();
        match kind {
            "execute_input" => {
                let count = content["execution_count"].as_u64().and_then(|count| count.try_into().ok());
                let changes = self.model.set_state(&cell_id, CellState::Running, Some(count));
                self.change(changes, true);
            }
            "stream" | "display_data" | "execute_result" | "error" => {
                let mut output = content.clone();
                output["output_type"] = kind.into();
                self.add_output(&cell_id, read_output(output), display_id);
            }
            "update_display_data" => {
                if let (Some(id), Some(data)) = (display_id, content["data"].as_object()) {
                    let metadata = content["metadata"].as_object().cloned().unwrap_or_default();
                    let changes = self.model.update_display(id, data, &metadata);
                    self.change(changes, true);
                }
            }
            "clear_output" => {
                if content["wait"].as_bool().unwrap_or_default() {
                    self.model.clear_later(&cell_id);
                } else {
                    let changes = self.model.clear(&cell_id);
                    self.change(changes, true);
                }
            }
            _ => {}
        }
    }

    /// Adds an output; text beyond the cell's limit goes to a file, and the cell says where.
    fn add_output(&mut self, cell_id: &str, output: Output, display_id: Option<&str>) {
        let limit = self.engine.output_limit;
        let before = self.model.cell(cell_id).map_or(0, |cell| cell.output_bytes);
        let text = match &output {
            Output::Stream { text, .. } if before + text.len() > limit => text,
            _ => {
                let changes = self.model.add_output(cell_id, output, display_id);
                return self.change(changes, true);
            }
        };
        let path = self.engine.overflow_path(self.path.as_str(), cell_id);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let is_new = !path.exists();
            std::fs::File::options().create(true).append(true).open(&path)?.write_all(text.as_bytes())?;
            Ok(is_new)
        });
        let note = match written {
            Ok(false) => return,
            Ok(true) => format!(
                "\n[the output is longer than {limit} bytes (setting `limits.cell_output_bytes`): the rest is in {}]\n",
                path.display()
            ),
            Err(error) if before <= limit => format!(
                "\n[the output is longer than {limit} bytes, and the rest cannot be written to {}: {error}]\n",
                path.display()
            ),
            Err(_) => return,
        };
        let note = Output::Stream { name: "stderr".into(), text: note };
        let changes = self.model.add_output(cell_id, note, None);
        if let Some(cell) = self.model.cell(cell_id) {
            // From here on everything goes to the file.
            cell.output_bytes = cell.output_bytes.max(limit + 1);
        }
        self.change(changes, true);
    }
}

fn new_msg_id(prefix: &str) -> String {
    format!("{prefix}:{}", uuid::Uuid::new_v4().simple())
}

fn nothing(kind: Asked) -> Reply {
    match kind {
        Asked::Completion => Reply::Completions { matches: Vec::new(), start: 0, end: 0 },
        Asked::Inspection => Reply::Inspection { data: None },
    }
}

fn read_answer(question: &Question, content: &Value) -> Reply {
    if content["status"] != "ok" {
        return nothing(question.kind);
    }
    match question.kind {
        Asked::Inspection => {
            let found = content["found"].as_bool().unwrap_or_default();
            Reply::Inspection {
                data: content["data"].as_object().filter(|data| found && !data.is_empty()).cloned(),
            }
        }
        Asked::Completion => {
            let kinds = content["metadata"]["_jupyter_types_experimental"].as_array();
            let kind_of = |text: &str| {
                let entry = kinds?.iter().find(|entry| entry["text"] == text)?;
                entry["type"].as_str().filter(|kind| *kind != "<unknown>").map(str::to_owned)
            };
            let matches = content["matches"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let matches = matches
                .take(1000)
                .map(|text| Completion { text: text.to_owned(), kind: kind_of(text) })
                .collect();
            let place = |key: &str| {
                content[key].as_u64().map_or(0, |place| utf16_units(&question.code, place as usize))
            };
            Reply::Completions { matches, start: place("cursor_start"), end: place("cursor_end") }
        }
    }
}

/// Jupyter counts characters, browsers UTF-16 units.
fn code_points(text: &str, utf16: usize) -> usize {
    let mut units = 0;
    text.chars()
        .take_while(|letter| {
            units += letter.len_utf16();
            units <= utf16
        })
        .count()
}

fn utf16_units(text: &str, code_points: usize) -> usize {
    text.chars().take(code_points).map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_both_ways() {
        let text = "é😀x";
        for (units, points) in [(0, 0), (1, 1), (3, 2), (4, 3)] {
            assert_eq!(code_points(text, units), points);
            assert_eq!(utf16_units(text, points), units);
        }
        assert_eq!((code_points(text, 99), utf16_units(text, 99)), (3, 4));
    }
}
