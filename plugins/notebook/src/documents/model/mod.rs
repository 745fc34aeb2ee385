//! A document in memory, and what operations do to it. No files, sockets or kernels: values in, changes out.

mod outputs;
mod terminal;

use std::collections::HashMap;

use serde_json::Value;

use self::outputs::size;
use crate::format::{FileCell, FileOrigin, NotebookFile, RAW, is_cell_id, new_cell_id};
use crate::protocol::{Cell, CellState, CellType, Change, Object, Output, Reply};

/// The most cells of one document.
const MAX_CELLS: usize = 50_000;

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
}

/// The content of a notebook.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) cells: Vec<LiveCell>,
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

    pub(super) fn cell(&mut self, id: &str) -> Option<&mut LiveCell> {
        self.cells.iter_mut().find(|cell| cell.shown.id == id)
    }

    fn known(&mut self, id: &str) -> Result<&mut LiveCell, String> {
        self.cell(id).ok_or_else(|| format!("there is no cell `{id}` any more"))
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
        let output_bytes = outputs.iter().map(size).sum();
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
        let cell = LiveCell {
            shown: shown.clone(),
            others: Object::new(),
            output_bytes,
            clear_next: false,
            run: None,
        };
        self.cells.insert(index, cell);
        Ok((Reply::Inserted { cell_id: id }, vec![Change::CellInserted { index, cell: shown }]))
    }

    pub(super) fn delete_cell(&mut self, id: &str) -> Done {
        let Some(index) = self.index(id) else { return Ok((Reply::Done, Vec::new())) };
        self.cells.remove(index);
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
        cell.shown.cell_type = cell_type;
        // It is an ordinary cell from now on.
        cell.others.shift_remove(RAW);
        if cell_type != CellType::Code {
            cell.shown.outputs.clear();
            cell.shown.execution_count = None;
            cell.output_bytes = 0;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sources: &[&str]) -> Model {
        let cells = sources.iter().enumerate().map(|(at, source)| {
            serde_json::json!({"cell_type": "code", "id": format!("c{at}"), "metadata": {}, "source": source, "outputs": [], "execution_count": null})
        });
        let file = serde_json::json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells.collect::<Value>()});
        Model::new(crate::format::from_json(file).unwrap())
    }

    fn stream(text: &str) -> Output {
        Output::Stream { name: "stdout".into(), text: text.into() }
    }

    fn ids(model: &Model) -> Vec<&str> {
        model.cells.iter().map(|cell| cell.shown.id.as_str()).collect()
    }

    #[test]
    fn an_edit_on_an_old_base_changes_nothing() {
        let mut model = model(&["a"]);
        let base = model.cells[0].shown.revision;
        let (reply, _) = model.set_source("c0", "b".into(), base, None).unwrap();
        assert!(matches!(reply, Reply::Edited { revision } if revision == base + 1));
        let (reply, changes) = model.set_source("c0", "c".into(), base, None).unwrap();
        assert!(matches!(reply, Reply::Stale { source, revision } if source == "b" && revision == base + 1));
        assert!(changes.is_empty());
        // Repeating the same edit after a lost connection is not a conflict.
        let (reply, _) = model.set_source("c0", "b".into(), base, None).unwrap();
        assert!(matches!(reply, Reply::Edited { revision } if revision == base + 1));
    }

    #[test]
    fn an_edit_on_what_was_read_before_changes_nothing() {
        let before = model(&["a"]).cells[0].shown.revision;
        let mut read_anew = model(&["changed outside"]);
        let (reply, changes) = read_anew.set_source("c0", "b".into(), before, None).unwrap();
        assert!(matches!(reply, Reply::Stale { source, .. } if source == "changed outside"));
        assert!(changes.is_empty());
    }

    #[test]
    fn cells_are_inserted_moved_deleted() {
        let mut model = model(&["a", "b", "c"]);
        let new = |cell_type| NewCell {
            cell_type,
            source: "x".into(),
            metadata: Object::from_iter([("tags".to_owned(), Value::Array(Vec::new()))]),
            attachments: None,
            outputs: vec![stream("kept")],
            execution_count: Some(3),
        };
        model.insert_cell(1, Some("new".into()), new(CellType::Markdown)).unwrap();
        model.insert_cell(0, Some("new".into()), new(CellType::Markdown)).unwrap();
        assert_eq!(ids(&model), ["c0", "new", "c1", "c2"]);
        model.move_cell("c0", 2).unwrap();
        assert_eq!(ids(&model), ["new", "c1", "c0", "c2"]);
        model.delete_cell("c1").unwrap();
        model.delete_cell("c1").unwrap();
        model.move_cell("new", 99).unwrap();
        assert_eq!(ids(&model), ["c0", "c2", "new"]);
        assert!(model.insert_cell(0, Some("a b".into()), new(CellType::Code)).is_err());
        model.insert_cell(9, None, new(CellType::Code)).unwrap();
        let [.., markdown, code] = &model.cells[..] else { panic!("four cells") };
        assert_eq!((&markdown.shown.outputs[..], markdown.shown.execution_count), (&[][..], None));
        assert_eq!((&code.shown.outputs[..], code.shown.execution_count), (&[stream("kept")][..], Some(3)));
        assert_eq!((code.output_bytes, code.shown.metadata.len()), (size(&stream("kept")), 1));
    }

    #[test]
    fn text_is_gathered_and_returns_rewrite_lines() {
        let mut model = model(&["a"]);
        for text in ["one\n10%", "\r20%", "\r100%\n", "two\r\nthr\x08ee", "\r"] {
            model.add_output("c0", stream(text), None);
        }
        assert_eq!(model.cells[0].shown.outputs, [stream("one\n100%\ntwo\nthee\r")]);
        model.add_output("c0", stream("ab"), None);
        assert_eq!(model.cells[0].shown.outputs, [stream("one\n100%\ntwo\nabee")]);
        let changes = model.add_output("c0", stream("\nx"), None);
        assert!(matches!(&changes[..], [Change::TextAppended { index: 0, text, .. }] if text == "\nx"));
    }

    #[test]
    fn clear_output_waits_for_the_next() {
        let mut model = model(&["a"]);
        model.add_output("c0", stream("old"), None);
        model.clear_later("c0");
        assert_eq!(model.cells[0].shown.outputs.len(), 1);
        let changes = model.add_output("c0", stream("new"), None);
        assert!(matches!(&changes[..], [Change::OutputsCleared { .. }, Change::OutputAdded { .. }]));
        assert_eq!(model.cells[0].shown.outputs, [stream("new")]);
    }

    #[test]
    fn a_display_is_updated_wherever_it_is() {
        let mut model = model(&["a", "b"]);
        let data = |text: &str| Object::from_iter([("text/plain".to_owned(), text.into())]);
        let display = |text: &str| Output::DisplayData { data: data(text), metadata: Object::new() };
        model.add_output("c0", stream("x"), None);
        model.add_output("c0", display("1"), Some("d"));
        model.add_output("c1", display("1"), Some("d"));
        assert_eq!(model.update_display("d", &data("2"), &Object::new()).len(), 2);
        assert_eq!(model.cells[0].shown.outputs[1], display("2"));
        model.clear("c0");
        assert_eq!(model.update_display("d", &data("3"), &Object::new()).len(), 1);
    }
}
