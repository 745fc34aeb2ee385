//! The cells that were sent to the kernel and have not ended.

use serde::{Deserialize, Serialize};

use super::directives::ShownText;
use crate::protocol::CellState;

/// A cell that was sent to the kernel, or waits for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Execution {
    pub(super) msg_id: String,
    pub(super) cell_id: String,
    pub(super) replied: bool,
    pub(super) idle: bool,
    pub(super) started: bool,
    /// The language of the other kernel that runs it; `None`: the document's kernel does.
    #[serde(default)]
    pub(super) language: Option<String>,
    /// The content that the document shows without running the kernel.
    #[serde(default)]
    pub(super) shown: Option<ShownText>,
    /// Whether it waits until another kernel has finished.
    #[serde(default)]
    pub(super) held: bool,
}

impl Execution {
    /// An execution that has not produced any message yet.
    pub(super) fn new(msg_id: String, cell_id: &str) -> Execution {
        Execution { msg_id, cell_id: cell_id.to_owned(), ..Execution::default() }
    }
}

/// The executions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Execution>);

impl Runs {
    pub(super) fn new(executions: Vec<Execution>) -> Runs {
        Runs(executions)
    }

    pub(super) fn add(&mut self, execution: Execution) {
        self.0.push(execution);
    }

    pub(super) fn all(&self) -> &[Execution] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&mut self, msg_id: &str) -> Option<&mut Execution> {
        self.0.iter_mut().find(|execution| execution.msg_id == msg_id)
    }

    /// Removes an execution whose reply and idle status have both come. Returns its cell.
    pub(super) fn end(&mut self, msg_id: &str) -> Option<String> {
        let ended = |run: &Execution| run.msg_id == msg_id && run.replied && run.idle;
        let at = self.0.iter().position(ended)?;
        Some(self.0.remove(at).cell_id)
    }

    /// Removes the executions that `which` accepts.
    pub(super) fn remove(&mut self, which: impl Fn(&Execution) -> bool) -> Vec<Execution> {
        self.0.extract_if(.., |execution| which(execution)).collect()
    }

    /// Removes all. Returns their cells.
    pub(super) fn take_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).into_iter().map(|execution| execution.cell_id).collect()
    }

    /// The cell that is running, or else the next one.
    pub(super) fn current_cell(&self) -> Option<String> {
        let running = self.0.iter().find(|execution| execution.started).or(self.0.first());
        running.map(|execution| execution.cell_id.clone())
    }

    /// The requests for these cells that have not started.
    pub(super) fn waiting(&self, cell_ids: &[String]) -> Vec<String> {
        let waits = |run: &&Execution| !run.started && !run.held && cell_ids.contains(&run.cell_id);
        self.0.iter().filter(waits).map(|run| run.msg_id.clone()).collect()
    }

    /// The cells that are queued or running.
    pub(super) fn states(&self) -> Vec<(String, CellState)> {
        let state = |execution: &Execution| (execution.cell_id.clone(), self.state_of(&execution.cell_id));
        self.0.iter().map(state).collect()
    }

    pub(super) fn state_of(&self, cell_id: &str) -> CellState {
        let mut state = CellState::Idle;
        for execution in self.0.iter().filter(|execution| execution.cell_id == cell_id) {
            if execution.started {
                return CellState::Running;
            }
            state = CellState::Queued;
        }
        state
    }
}
