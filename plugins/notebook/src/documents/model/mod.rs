//! A document in memory, and how operations change it. No files, sockets or kernels: values in, changes out.

mod outputs;
mod terminal;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::Value;

use self::outputs::size;
use crate::format::{FileCell, FileOrigin, NotebookFile, RAW, is_cell_id, new_cell_id};
use crate::protocol::{Cell, CellState, CellType, Change, Object, Output, Reply};

/// The most cells of one document.
const MAX_CELLS: usize = 50_000;
/// How many cells that were deleted while they ran are kept.
const MAX_REMOVED: usize = 16;

/// A cell, with data that the page does not see.
#[derive(Debug, Clone)]
pub(super) struct LiveCell {
    pub(super) shown: Cell,
    others: Object,
    /// The size of its outputs in bytes.
    pub(super) output_bytes: usize,
    /// Whether the next output replaces the existing ones (`clear_output(wait=True)`).
    clear_next: bool,
    /// The message id of its latest run.
    pub(super) run: Option<String>,
    /// The outputs and the number of a code cell that is of another type now: changing it back restores them.
    code: Option<(Vec<Output>, Option<u32>)>,
}

/// The content of a notebook.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) cells: Vec<LiveCell>,
    /// Cells that were deleted while they ran. They still get their outputs, so that the deletion can be undone.
    removed: Vec<LiveCell>,
    pub(super) metadata: Object,
    minor: u64,
    others: Object,
    /// The text that it was read from.
    origin: FileOrigin,
    /// The places of the outputs of a display id: cell id and index.
    displays: HashMap<String, Vec<(String, usize)>>,
}

/// The content of a cell to insert.
#[derive(Debug, Clone)]
pub(super) struct NewCell {
    pub(super) cell_type: CellType,
    pub(super) source: String,
    pub(super) metadata: Object,
    pub(super) attachments: Option<Object>,
    pub(super) outputs: Vec<Output>,
    pub(super) execution_count: Option<u32>,
}

/// The result of an operation.
pub(super) type Done = Result<(Reply, Vec<Change>), String>;

impl Model {
    pub(super) fn new(file: NotebookFile) -> Model {
        let mut model = Model {
            origin: file.origin(),
            cells: Vec::new(),
            removed: Vec::new(),
            metadata: file.metadata,
            minor: file.minor,
            others: file.others,
            displays: HashMap::new(),
        };
        let revision = first_revision();
        for cell in file.cells {
            // Missing or duplicate ids are replaced by new ones.
            let id =
                cell.id.filter(|id| is_cell_id(id) && model.index(id).is_none()).unwrap_or_else(new_cell_id);
            let output_bytes = cell.outputs.iter().map(size).sum();
            let shown = Cell {
                id,
                cell_type: cell.cell_type,
                source: cell.source,
                revision,
                metadata: cell.metadata,
                attachments: cell.attachments,
                outputs: cell.outputs,
                execution_count: cell.execution_count,
                state: CellState::Idle,
            };
            model.cells.push(LiveCell {
                shown,
                others: cell.others,
                output_bytes,
                clear_next: false,
                run: None,
                code: None,
            });
        }
        model
    }

    pub(super) fn to_file(&self) -> NotebookFile {
        let cells = self.cells.iter().map(|cell| FileCell {
            id: Some(cell.shown.id.clone()),
            cell_type: cell.shown.cell_type,
            source: cell.shown.source.clone(),
            metadata: cell.shown.metadata.clone(),
            attachments: cell.shown.attachments.clone(),
            outputs: cell.shown.outputs.clone(),
            execution_count: cell.shown.execution_count,
            others: cell.others.clone(),
        });
        // Cell ids need format 4.5.
        NotebookFile::new(
            cells.collect(),
            self.metadata.clone(),
            self.minor.max(5),
            self.others.clone(),
            self.origin.clone(),
        )
    }

    pub(super) fn index(&self, id: &str) -> Option<usize> {
        self.cells.iter().position(|cell| cell.shown.id == id)
    }

    pub(super) fn cell_ids(&self) -> Vec<String> {
        self.cells.iter().map(|cell| cell.shown.id.clone()).collect()
    }

    /// A cell, also one that was deleted while it ran.
    pub(super) fn cell(&mut self, id: &str) -> Option<&mut LiveCell> {
        self.cells.iter_mut().chain(&mut self.removed).find(|cell| cell.shown.id == id)
    }

    /// Whether pages need this change of outputs or states: not if its cell is deleted.
    pub(super) fn is_shown(&self, change: &Change) -> bool {
        match change {
            Change::OutputsCleared { cell_id }
            | Change::OutputAdded { cell_id, .. }
            | Change::TextAppended { cell_id, .. }
            | Change::OutputReplaced { cell_id, .. }
            | Change::CellStateChanged { cell_id, .. } => self.index(cell_id).is_some(),
            _ => true,
        }
    }

    fn known(&mut self, id: &str) -> Result<&mut LiveCell, String> {
        let found = self.cells.iter_mut().find(|cell| cell.shown.id == id);
        found.ok_or_else(|| format!("there is no cell `{id}` any more"))
    }

    pub(super) fn set_source(
        &mut self,
        id: &str,
        source: String,
        base_revision: u32,
        changes: Option<Value>,
    ) -> Done {
        let cell = &mut self.known(id)?.shown;
        if cell.source == source {
            return Ok((Reply::Edited { revision: cell.revision }, Vec::new()));
        }
        if cell.revision != base_revision {
            return Ok((Reply::Stale { source: cell.source.clone(), revision: cell.revision }, Vec::new()));
        }
        cell.revision += 1;
        cell.source.clone_from(&source);
        let revision = cell.revision;
        Ok((
            Reply::Edited { revision },
            vec![Change::SourceChanged { cell_id: id.to_owned(), source, revision, changes }],
        ))
    }

    pub(super) fn insert_cell(&mut self, index: usize, id: Option<String>, new: NewCell) -> Done {
        let id = match id {
            Some(id) if !is_cell_id(&id) => {
                return Err(format!(
                    "`{id}` is not a valid cell id: use 1 to 64 of the characters A-Z a-z 0-9 - _"
                ));
            }
            // Repeated after a lost connection.
            Some(id) if self.index(&id).is_some() => {
                return Ok((Reply::Inserted { cell_id: id }, Vec::new()));
            }
            Some(id) => id,
            None => new_cell_id(),
        };
        if self.cells.len() >= MAX_CELLS {
            return Err(format!("the notebook already has {MAX_CELLS} cells, the most that are allowed"));
        }
        let index = index.min(self.cells.len());
        let NewCell { cell_type, source, metadata, attachments, outputs, execution_count } = new;
        // Only code cells have outputs.
        let (outputs, execution_count) = match cell_type {
            CellType::Code => (outputs, execution_count),
            _ => (Vec::new(), None),
        };
        let shown = Cell {
            id: id.clone(),
            cell_type,
            source,
            revision: first_revision(),
            metadata,
            attachments,
            outputs,
            execution_count,
            state: CellState::Idle,
        };
        let cell = self.revived(shown);
        let shown = cell.shown.clone();
        self.cells.insert(index, cell);
        Ok((Reply::Inserted { cell_id: id }, vec![Change::CellInserted { index, cell: shown }]))
    }

    /// A cell to insert. If it was deleted while it ran, it has what its run has printed since then.
    fn revived(&mut self, shown: Cell) -> LiveCell {
        let removed = self.removed.iter().position(|cell| cell.shown.id == shown.id);
        let removed = removed.map(|at| self.removed.remove(at));
        if let Some(LiveCell { shown: old, others, output_bytes, clear_next, run, code }) = removed
            && shown.cell_type == CellType::Code
        {
            let Cell { outputs, execution_count, state, .. } = old;
            let shown = Cell { outputs, execution_count, state, ..shown };
            return LiveCell { shown, others, output_bytes, clear_next, run, code };
        }
        let output_bytes = shown.outputs.iter().map(size).sum();
        LiveCell { shown, others: Object::new(), output_bytes, clear_next: false, run: None, code: None }
    }

    pub(super) fn delete_cell(&mut self, id: &str) -> Done {
        let Some(index) = self.index(id) else { return Ok((Reply::Done, Vec::new())) };
        let cell = self.cells.remove(index);
        if cell.shown.state != CellState::Idle {
            if self.removed.len() == MAX_REMOVED {
                self.removed.remove(0);
            }
            self.removed.push(cell);
        }
        Ok((Reply::Done, vec![Change::CellDeleted { cell_id: id.to_owned() }]))
    }

    pub(super) fn move_cell(&mut self, id: &str, to: usize) -> Done {
        let from = self.index(id).ok_or_else(|| format!("there is no cell `{id}` any more"))?;
        let to = to.min(self.cells.len() - 1);
        if from == to {
            return Ok((Reply::Done, Vec::new()));
        }
        let cell = self.cells.remove(from);
        self.cells.insert(to, cell);
        Ok((Reply::Done, vec![Change::CellMoved { cell_id: id.to_owned(), index: to }]))
    }

    pub(super) fn set_cell_type(&mut self, id: &str, cell_type: CellType) -> Done {
        let cell = self.known(id)?;
        if cell.shown.cell_type == cell_type {
            return Ok((Reply::Done, Vec::new()));
        }
        let was_code = cell.shown.cell_type == CellType::Code;
        cell.shown.cell_type = cell_type;
        // It is an ordinary cell from now on.
        cell.others.shift_remove(RAW);
        if was_code {
            cell.code = Some((std::mem::take(&mut cell.shown.outputs), cell.shown.execution_count.take()));
        } else if cell_type == CellType::Code
            && let Some((outputs, count)) = cell.code.take()
        {
            (cell.shown.outputs, cell.shown.execution_count) = (outputs, count);
        }
        cell.output_bytes = cell.shown.outputs.iter().map(size).sum();
        Ok((Reply::Done, vec![Change::CellReplaced { cell: cell.shown.clone() }]))
    }

    pub(super) fn set_cell_metadata(&mut self, id: &str, metadata: Object) -> Done {
        let cell = &mut self.known(id)?.shown;
        if cell.metadata == metadata {
            return Ok((Reply::Done, Vec::new()));
        }
        cell.metadata = metadata.clone();
        Ok((Reply::Done, vec![Change::CellMetadataChanged { cell_id: id.to_owned(), metadata }]))
    }

    pub(super) fn set_cell_attachments(&mut self, id: &str, attachments: Option<Object>) -> Done {
        let attachments = attachments.filter(|attachments| !attachments.is_empty());
        let cell = &mut self.known(id)?.shown;
        if cell.attachments == attachments {
            return Ok((Reply::Done, Vec::new()));
        }
        cell.attachments.clone_from(&attachments);
        Ok((Reply::Done, vec![Change::CellAttachmentsChanged { cell_id: id.to_owned(), attachments }]))
    }

    pub(super) fn set_metadata(&mut self, metadata: Object) -> Vec<Change> {
        if self.metadata == metadata {
            return Vec::new();
        }
        self.metadata = metadata.clone();
        vec![Change::MetadataChanged { metadata }]
    }

    pub(super) fn set_state(
        &mut self,
        id: &str,
        state: CellState,
        count: Option<Option<u32>>,
    ) -> Vec<Change> {
        let Some(cell) = self.cell(id) else { return Vec::new() };
        let before = (cell.shown.state, cell.shown.execution_count);
        cell.shown.state = state;
        if let Some(count) = count {
            cell.shown.execution_count = count;
        }
        let after = (cell.shown.state, cell.shown.execution_count);
        if before == after {
            return Vec::new();
        }
        vec![Change::CellStateChanged { cell_id: id.to_owned(), state, execution_count: after.1 }]
    }
}

/// The first revision of a cell's source. It differs each time the file is read, so that an edit of earlier
/// content is recognized.
fn first_revision() -> u32 {
    let [a, b, c, d, ..] = uuid::Uuid::new_v4().into_bytes();
    1 + (u32::from_le_bytes([a, b, c, d]) >> 2)
}
