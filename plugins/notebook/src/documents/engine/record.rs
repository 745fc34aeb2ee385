//! The record of a document in the kernel host, with which its next owner can continue.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runs::{Execution, Runs};
use super::{Effect, Engine};
use crate::documents::model::Model;
use crate::protocol::{InputRequest, Output};

/// The content of a version of the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Hash of the file; empty if we did not write it.
    hash: Vec<u8>,
    /// The file contains the kernel's messages up to this one.
    entry: u64,
    /// The runs in the file that had not ended then.
    pending: Vec<Execution>,
    displays: Value,
    /// The question that was open.
    #[serde(default)]
    input: Option<InputRequest>,
}

/// The record of a document in the kernel host, for the document's next owner.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::documents) struct OwnershipRecord {
    pub(in crate::documents) kernel_id: String,
    saved: Checkpoint,
    /// A write that was started. The file's hash shows whether it finished.
    writing: Option<Checkpoint>,
    /// Runs that started after both versions. Their cells must be cleared first.
    later: Vec<Execution>,
}

/// Whether the record has running cells.
pub(in crate::documents) fn is_running(record: &Value) -> bool {
    let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    some(&record["saved"]["pending"]) || some(&record["later"])
}

impl Engine {
    /// Marks the current model, which is being written to a file with this hash.
    pub(in crate::documents) fn mark(&mut self, model: &Model, hash: &[u8]) {
        self.marked = Some(Checkpoint {
            hash: hash.to_vec(),
            entry: self.entry,
            pending: self.runs.all().to_vec(),
            displays: model.displays(),
            input: self.input.clone(),
        });
    }

    /// The marked state is on disk.
    pub(in crate::documents) fn commit_mark(&mut self) {
        if let Some(marked) = self.marked.take() {
            self.saved = marked;
        }
    }

    /// The record to store; `None` if there is no kernel.
    pub(in crate::documents) fn record(&self) -> Option<OwnershipRecord> {
        let kernel_id = self.kernel.id.clone()?;
        let (saved, writing) = (self.saved.clone(), self.marked.clone());
        let is_new = |run: &&Execution| !saved.pending.iter().any(|old| old.msg_id == run.msg_id);
        let later = self.runs.all().iter().filter(is_new).cloned().collect();
        Some(OwnershipRecord { kernel_id, saved, writing, later })
    }

    /// Continues from a record and the file with hash `disk_hash`. The caller then delivers the messages after
    /// [`Engine::entry`].
    pub(in crate::documents) fn restore(
        &mut self,
        model: &mut Model,
        record: OwnershipRecord,
        disk_hash: &[u8],
    ) -> Vec<Effect> {
        let written = record.writing.filter(|mark| mark.hash == disk_hash);
        let mark = written.unwrap_or(record.saved);
        self.entry = mark.entry;
        self.runs = Runs::new(mark.pending.clone());
        self.held.clear();
        self.input.clone_from(&mark.input);
        model.restore_displays(&mark.displays);
        let is_known = |run: &Execution| mark.pending.iter().any(|known| known.msg_id == run.msg_id);
        for run in record.later.into_iter().filter(|run| !is_known(run)) {
            self.change(model.clear(&run.cell_id), true);
            self.runs.add(run);
        }
        self.saved = mark;
        self.lose_other_runs(model);
        self.restore_overflow(model);
        for (cell_id, state) in self.runs.states() {
            model.set_state(&cell_id, state, None);
        }
        self.take_effects()
    }

    /// Finds the cells whose output already goes to a file.
    fn restore_overflow(&mut self, model: &mut Model) {
        for run in self.runs.all() {
            let path = self.overflow_path(&run.cell_id).display().to_string();
            let Some(cell) = model.cell(&run.cell_id) else { continue };
            let names_file = |output: &Output| matches!(output, Output::Stream { name, text } if name == "stderr" && text.contains(&path));
            if cell.shown.outputs.iter().any(names_file) {
                cell.output_bytes = cell.output_bytes.max(self.output_limit + 1);
                self.overflowing.insert(run.cell_id.clone());
            }
        }
    }
}
