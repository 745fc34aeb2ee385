//! The logic between a document and its kernel: requests of pages and messages of the kernel come in, effects go out.
//!
//! Nothing here waits or does I/O. The document's actor carries out the effects, in their order.

mod comms;
mod debugger;
mod deliver;
mod directives;
mod effect;
mod others;
mod payload;
mod queries;
mod record;
mod runs;
mod start;
#[cfg(test)]
mod tests;
mod variables;
mod widgets;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::time::Instant;

use self::comms::Comms;
pub(super) use self::debugger::has_debugger;
pub(super) use self::effect::{Effect, RunEvent};
use self::queries::{Queries, Query, QueryKind, code_points};
use self::record::Checkpoint;
pub(super) use self::record::{OwnershipRecord, is_running};
use self::runs::Runs;
use super::model::Model;
use super::overflow::overflow_path;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Message};
use crate::kernel::wire::KernelModel;
use crate::protocol::{CellState, Change, InputRequest, Kernel, KernelState, Output, Reply};

/// The kernel's side of a document.
pub(super) struct Engine {
    /// The document's path, which names its folder for long outputs.
    path: String,
    outputs: PathBuf,
    output_limit: usize,
    kernel: Kernel,
    /// Whether messages can be sent to the kernel.
    attached: bool,
    input: Option<InputRequest>,
    /// The language of the other kernel that asked; `None`: the document's kernel.
    asking: Option<String>,
    /// The number of the newest message that is in the model.
    entry: u64,
    runs: Runs,
    /// The runs that are not sent yet: message id, language of another kernel, and request.
    held: VecDeque<(String, Option<String>, Message)>,
    /// Whether the kernel is new, so that the cells with `%auto` run first.
    is_new: bool,
    queries: Queries,
    /// The number of the last request to the debugger.
    debug_requests: u64,
    comms: Comms,
    /// The state of the widgets when their kernel ended.
    last_widgets: Option<Value>,
    /// Requests to reply to when the kernel is ready.
    starting: Vec<(u64, u32)>,
    /// As of the write in progress, and as of the file.
    marked: Option<Checkpoint>,
    saved: Checkpoint,
    /// Cells whose outputs name the file with the rest.
    overflowing: HashSet<String>,
    effects: Vec<Effect>,
}

impl Engine {
    /// Text beyond `output_limit` bytes per cell goes to files below `outputs`.
    pub(super) fn new(path: &str, outputs: PathBuf, output_limit: usize) -> Engine {
        let kernel = Kernel {
            id: None,
            name: None,
            display_name: None,
            language: None,
            state: KernelState::None,
            message: None,
            debugger: false,
        };
        Engine {
            path: path.to_owned(),
            outputs,
            output_limit,
            kernel,
            attached: false,
            input: None,
            asking: None,
            entry: 0,
            runs: Runs::default(),
            held: VecDeque::new(),
            is_new: false,
            queries: Queries::default(),
            debug_requests: 0,
            comms: Comms::default(),
            last_widgets: None,
            starting: Vec::new(),
            marked: None,
            saved: Checkpoint::default(),
            overflowing: HashSet::new(),
            effects: Vec::new(),
        }
    }

    /// The kernel that the document has or would start.
    pub(super) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The kernel's open question to the user.
    pub(super) fn input(&self) -> Option<&InputRequest> {
        self.input.as_ref()
    }

    /// The number of the newest message that is in the model.
    pub(super) fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether cells are queued or running.
    pub(super) fn is_running(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Whether the document has a kernel to which messages can be sent.
    pub(super) fn has_kernel(&self) -> bool {
        self.kernel.id.is_some() && self.attached
    }

    /// The cells that are queued or running.
    pub(super) fn states(&self) -> Vec<(String, CellState)> {
        self.runs.states()
    }

    /// The document's file was moved.
    pub(super) fn moved(&mut self, path: &str) {
        path.clone_into(&mut self.path);
    }

    /// Messages can be sent to a kernel; `entry` is the number of the message before the first that will come.
    pub(super) fn attached(&mut self, entry: u64) {
        self.entry = entry;
        self.attached = true;
    }

    /// The kernel's messages no longer come: its runs have ended.
    pub(super) fn detached(&mut self, model: &mut Model) -> Vec<Effect> {
        self.attached = false;
        self.give_up_runs(model);
        self.close_comms();
        self.take_effects()
    }

    /// The kernel no longer exists. The caller then describes the one that would be started.
    pub(super) fn kernel_gone(&mut self, model: &mut Model) -> Vec<Effect> {
        self.kernel.id = None;
        self.detached(model)
    }

    /// Replies to the requests that wait for a kernel that was shut down.
    pub(super) fn fail_starting(&mut self) -> Vec<Effect> {
        self.answer_starting(&Err("the kernel was shut down".to_owned()));
        self.take_effects()
    }

    /// The document has, or would start, this kernel.
    pub(super) fn describe_kernel(&mut self, kernel: Kernel) -> Vec<Effect> {
        self.set_kernel(kernel);
        self.take_effects()
    }

    /// Reports the kernel's state from the kernel host, which knows when a kernel starts, restarts or dies.
    pub(super) fn kernel_event(&mut self, model: &mut Model, event: &KernelModel) -> Vec<Effect> {
        match event.state {
            KernelState::Starting | KernelState::Restarting | KernelState::Dead => {
                self.set_kernel_state(event.state, event.exit.clone());
            }
            // While it runs, its own messages report busy and idle, in order with the outputs.
            _ if !matches!(self.kernel.state, KernelState::Idle | KernelState::Busy) => {
                self.set_kernel_state(KernelState::Idle, None);
            }
            _ => {}
        }
        self.learn_language(model, event.info.as_ref());
        self.learn_debugger(event.info.as_ref());
        match event.state {
            KernelState::Idle | KernelState::Busy => self.answer_starting(&Ok(Reply::Done)),
            KernelState::Dead => {
                let reason = event.exit.clone().unwrap_or_else(|| "the kernel is dead".to_owned());
                self.answer_starting(&Err(reason));
            }
            _ => {}
        }
        self.take_effects()
    }

    /// Replies to a page's request when the kernel is ready.
    pub(super) fn answer_when_started(&mut self, client: u64, id: u32) -> Vec<Effect> {
        self.starting.push((client, id));
        if matches!(self.kernel.state, KernelState::Idle | KernelState::Busy) {
            self.answer_starting(&Ok(Reply::Done));
        }
        self.take_effects()
    }

    /// The kernel's requests of those of these cells that wait for the running one.
    pub(super) fn waiting(&self, cell_ids: &[String]) -> Vec<String> {
        self.runs.waiting(cell_ids)
    }

    /// Asks the kernel for completions at `cursor`, a place in UTF-16 units.
    pub(super) fn complete(&mut self, client: u64, id: u32, code: String, cursor: usize) -> Vec<Effect> {
        let content = json!({"code": code, "cursor_pos": code_points(&code, cursor)});
        self.ask(
            Channel::Shell,
            "complete_request",
            &content,
            Query::new(client, id, code, QueryKind::Completion),
        )
    }

    /// Asks the kernel for help on the name at `cursor`, a place in UTF-16 units.
    pub(super) fn inspect(
        &mut self,
        client: u64,
        id: u32,
        code: String,
        cursor: usize,
        detail: u8,
    ) -> Vec<Effect> {
        let content =
            json!({"code": code, "cursor_pos": code_points(&code, cursor), "detail_level": detail.min(1)});
        self.ask(
            Channel::Shell,
            "inspect_request",
            &content,
            Query::new(client, id, code, QueryKind::Inspection),
        )
    }

    fn ask(&mut self, channel: Channel, msg_type: &str, content: &Value, query: Query) -> Vec<Effect> {
        let ready = matches!(self.kernel.state, KernelState::Idle | KernelState::Busy) && self.attached;
        if !ready || self.queries.is_full() {
            self.effects.push(query.answer(None));
            return self.take_effects();
        }
        let msg_id = new_msg_id("ask");
        let message = Message::new(channel, msg_type, &msg_id, DOCUMENT_SESSION, content);
        self.effects.push(Effect::Send(message));
        self.queries.add(msg_id, query);
        self.take_effects()
    }

    /// Sends empty replies to requests that a busy kernel did not answer in time.
    pub(super) fn expire_queries(&mut self, now: Instant) -> Vec<Effect> {
        self.effects.extend(self.queries.expire(now));
        self.take_effects()
    }

    /// Answers the kernel's open question.
    /// # Errors
    /// There is none.
    pub(super) fn answer_input(&mut self, model: &mut Model, value: &str) -> Result<Vec<Effect>, String> {
        if self.input.is_none() {
            return Err("nothing was asked".to_owned());
        }
        let content = json!({"status": "ok", "value": value});
        let msg_id = new_msg_id("input");
        let message = Message::new(Channel::Stdin, "input_reply", &msg_id, DOCUMENT_SESSION, &content);
        self.effects.push(match self.asking.take() {
            None => Effect::Send(message),
            Some(language) => Effect::SendToOther { language, message },
        });
        self.end_input(model, Some(value));
        Ok(self.take_effects())
    }

    /// Output beyond a cell's limit could not be written to its file.
    pub(super) fn overflow_failed(&mut self, model: &mut Model, cell_id: &str, message: &str) -> Vec<Effect> {
        self.add_note(model, cell_id, format!("\n[part of the output was lost: {message}]\n"));
        self.take_effects()
    }

    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn change(&mut self, changes: Vec<Change>, content: bool) {
        if !changes.is_empty() {
            self.effects.push(Effect::Change { changes, content });
        }
    }

    fn set_kernel(&mut self, kernel: Kernel) {
        if self.kernel != kernel {
            self.kernel = kernel.clone();
            self.change(vec![Change::KernelChanged { kernel }], false);
        }
    }

    fn set_kernel_state(&mut self, state: KernelState, message: Option<String>) {
        self.set_kernel(Kernel { state, message, ..self.kernel.clone() });
    }

    fn learn_language(&mut self, model: &mut Model, info: Option<&Value>) {
        let language = info.map(|info| &info["language_info"]).filter(|language| language.is_object());
        let Some(language) = language else { return };
        if model.metadata.get("language_info") != Some(language) {
            let mut metadata = model.metadata.clone();
            metadata.insert("language_info".into(), language.clone());
            self.change(model.set_metadata(metadata), true);
        }
    }

    fn answer_starting(&mut self, result: &Result<Reply, String>) {
        for (client, id) in std::mem::take(&mut self.starting) {
            self.effects.push(Effect::Answer { client, id, result: result.clone() });
        }
    }

    /// Marks all runs as ended.
    fn give_up_runs(&mut self, model: &mut Model) {
        for run in self.runs.all().iter().filter(|run| !run.replied) {
            let event = RunEvent::Ended { msg_id: run.msg_id.clone(), status: "lost".to_owned() };
            self.effects.push(Effect::Run(event));
        }
        self.held.clear();
        for cell_id in self.runs.take_all() {
            self.change(model.set_state(&cell_id, CellState::Idle, None), false);
        }
        self.end_input(model, None);
        self.effects.extend(self.queries.give_up());
    }

    fn set_input(&mut self, input: Option<InputRequest>) {
        self.asking = None;
        if self.input != input {
            self.input = input.clone();
            self.change(vec![Change::InputRequested { input }], false);
        }
    }

    /// Ends the open question. It stays in the output with its answer, as in a terminal; a password does not.
    fn end_input(&mut self, model: &mut Model, answer: Option<&str>) {
        let Some(input) = self.input.clone() else { return };
        let answer = answer.filter(|_| !input.password).unwrap_or_default();
        let text = format!("{}{answer}\n", input.prompt);
        if let Some(cell_id) = input.cell_id {
            self.add_output(model, &cell_id, Output::Stream { name: "stdout".into(), text }, None);
        }
        self.set_input(None);
    }

    fn overflow_path(&self, cell_id: &str) -> PathBuf {
        overflow_path(&self.outputs, &self.path, cell_id)
    }
}

fn new_msg_id(prefix: &str) -> String {
    format!("{prefix}:{}", uuid::Uuid::new_v4().simple())
}
