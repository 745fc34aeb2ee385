//! The document's operations in the store: appended before they are acknowledged, and applied again if the
//! process ended before the file was written.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::history;
use super::model::{Done, Model, NewCell};
use crate::files::RelativePath;
use crate::protocol::{CellType, Operation, Reply};
use crate::store::{Cause, LoggedOperation, Store, StoreError};

/// The operations of one document.
pub(super) struct OperationLog {
    store: Store,
    document: String,
    last: i64,
    saved: i64,
    /// The newest operation in the write in progress.
    writing: i64,
}

impl OperationLog {
    /// Opens the log of the document at `path`. `model` was read from a file with this hash; applies the operations that the
    /// file lacks to it. Returns whether that changed the model.
    pub(super) async fn open(
        store: Store,
        path: &RelativePath,
        hash: [u8; 32],
        model: &mut Model,
    ) -> Result<(OperationLog, bool), StoreError> {
        let stored = store.document(path, hash).await?;
        let missing = store.operations(&stored.id, stored.saved)?;
        let changed = replay(model, missing.into_iter().map(|(_, operation)| operation));
        let log = OperationLog {
            store,
            document: stored.id,
            last: stored.last,
            saved: stored.saved,
            writing: stored.saved,
        };
        log.keep_state(model).await?;
        Ok((log, changed))
    }

    /// Appends an operation that `model` already contains. When this returns, the operation is on the disk.
    pub(super) async fn append(
        &mut self,
        author: &str,
        operation: &LoggedOperation,
        model: &Model,
    ) -> Result<(), StoreError> {
        self.last = self.store.append(&self.document, author, operation).await?;
        if self.last % history::PERIOD == 0 {
            self.add_snapshot(model).await?;
        }
        Ok(())
    }

    /// Adds a snapshot of `model`. The operations are kept already, so that nobody waits for an object store.
    async fn add_snapshot(&self, model: &Model) -> Result<(), StoreError> {
        let file = history::without_outputs(model.to_file());
        let (store, document, last) = (self.store.clone(), self.document.clone(), self.last);
        let add = async move { history::add(&store, &document, last, Cause::Periodic, &file).await };
        if self.store.objects().is_none() {
            return add.await;
        }
        tokio::spawn(async move {
            if let Err(error) = add.await {
                tracing::warn!(%error, "a snapshot was not kept: the next one follows");
            }
        });
        Ok(())
    }

    /// Whether another server has taken the document over.
    pub(super) fn is_taken(&self) -> Result<bool, StoreError> {
        self.store.is_taken(&self.document)
    }

    /// The document's UUID.
    pub(super) fn document(&self) -> &str {
        &self.document
    }

    /// Makes a snapshot of a model that another program wrote.
    pub(super) async fn keep_state(&self, model: &Model) -> Result<(), StoreError> {
        history::keep(&self.store, &self.document, self.last, model).await
    }

    /// Records the start of a write of the current model. The file will have this hash.
    pub(super) async fn begin_write(&mut self, hash: [u8; 32]) -> Result<(), StoreError> {
        self.writing = self.last;
        if self.writing == self.saved {
            return match self.is_taken()? {
                true => Err(StoreError::taken()),
                false => Ok(()),
            };
        }
        self.store.writing(&self.document, self.writing, hash).await
    }

    /// Records the end of the write.
    pub(super) async fn end_write(&mut self, hash: [u8; 32]) -> Result<(), StoreError> {
        if self.writing == self.saved {
            return Ok(());
        }
        self.store.written(&self.document, self.writing, hash).await?;
        self.saved = self.writing;
        Ok(())
    }

    /// Records that the file with this hash replaces the model, so that earlier operations no longer apply.
    pub(super) async fn discard(&mut self, hash: [u8; 32]) -> Result<(), StoreError> {
        self.writing = self.last;
        self.end_write(hash).await
    }
}

/// The hash of a cell's source.
fn hash(source: &str) -> String {
    Sha256::digest(source).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What to log for an operation that is about to be applied to `model`.
pub(super) fn logged(model: &mut Model, operation: &Operation) -> LoggedOperation {
    let base = match operation {
        Operation::SetSource { cell_id, .. } | Operation::DeleteCell { cell_id } => {
            model.cell(cell_id).map(|cell| hash(&cell.shown.source))
        }
        _ => None,
    };
    let mut operation = operation.clone();
    if let Operation::SetSource { changes, .. } = &mut operation {
        // The text alone suffices.
        *changes = None;
    }
    LoggedOperation { operation, base }
}

/// Performs an operation if it only changes the content; otherwise returns it.
pub(super) fn apply(model: &mut Model, operation: Operation) -> Result<Done, Box<Operation>> {
    Ok(match operation {
        Operation::SetSource { cell_id, source, base_revision, changes } => {
            model.set_source(&cell_id, source, base_revision, changes)
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
            model.insert_cell(index, cell_id, new)
        }
        Operation::DeleteCell { cell_id } => model.delete_cell(&cell_id),
        Operation::MoveCell { cell_id, index } => model.move_cell(&cell_id, index),
        Operation::SetCellType { cell_id, cell_type } => model.set_cell_type(&cell_id, cell_type),
        Operation::SetCellMetadata { cell_id, metadata } => model.set_cell_metadata(&cell_id, metadata),
        Operation::SetCellAttachments { cell_id, attachments } => {
            model.set_cell_attachments(&cell_id, attachments)
        }
        Operation::SetMetadata { metadata } => Ok((Reply::Done, model.set_metadata(metadata))),
        Operation::ClearOutputs { cell_ids } => Ok(model.clear_outputs(cell_ids)),
        other => return Err(Box::new(other)),
    })
}

/// Applies operations to a model that was read from a file. Another program may have changed the file in the meantime. A text
/// that would replace a text that its author did not see goes into a new cell below.
/// Returns whether anything changed.
fn replay(model: &mut Model, operations: impl Iterator<Item = LoggedOperation>) -> bool {
    let mut changed = false;
    // Cells whose texts go to other cells.
    let mut elsewhere: HashMap<String, String> = HashMap::new();
    for LoggedOperation { operation, base } in operations {
        let done = match operation {
            Operation::SetSource { cell_id, source, .. } => {
                replay_source(model, cell_id, source, base.as_deref(), &mut elsewhere)
            }
            Operation::DeleteCell { cell_id } => {
                let present = model.cell(&cell_id).map(|cell| hash(&cell.shown.source));
                if present.is_some() && present == base { model.delete_cell(&cell_id) } else { continue }
            }
            other => match apply(model, other) {
                Ok(done) => done,
                Err(_) => continue,
            },
        };
        // Nothing to do for a cell that is no longer in the file.
        changed |= done.is_ok_and(|(_, changes)| !changes.is_empty());
    }
    changed
}

fn replay_source(
    model: &mut Model,
    cell_id: String,
    source: String,
    base: Option<&str>,
    elsewhere: &mut HashMap<String, String>,
) -> Done {
    if let Some(other) = elsewhere.get(&cell_id)
        && let Some(revision) = model.cell(other).map(|cell| cell.shown.revision)
    {
        return model.set_source(&other.clone(), source, revision, None);
    }
    let present = model.cell(&cell_id).map(|cell| {
        let same = base == Some(hash(&cell.shown.source).as_str()) || cell.shown.source == source;
        (same, cell.shown.cell_type, cell.shown.revision)
    });
    let (index, id, cell_type) = match present {
        Some((true, _, revision)) => return model.set_source(&cell_id, source, revision, None),
        Some((false, cell_type, _)) => (model.index(&cell_id).map_or(0, |at| at + 1), None, cell_type),
        None => (model.cells.len(), Some(cell_id.clone()), CellType::Code),
    };
    let new = NewCell {
        cell_type,
        source,
        metadata: Default::default(),
        attachments: None,
        outputs: Vec::new(),
        execution_count: None,
    };
    let done = model.insert_cell(index, id, new)?;
    if let Reply::Inserted { cell_id: new } = &done.0
        && *new != cell_id
    {
        elsewhere.insert(cell_id, new.clone());
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sources: &[&str]) -> Model {
        let cells = sources.iter().enumerate().map(|(at, source)| {
            serde_json::json!({"cell_type": "code", "id": format!("c{at}"), "metadata": {}, "source": source, "outputs": [], "execution_count": null})
        });
        let file = serde_json::json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells.collect::<serde_json::Value>()});
        Model::new(crate::format::from_json(file).unwrap())
    }

    fn sources(model: &Model) -> Vec<&str> {
        model.cells.iter().map(|cell| cell.shown.source.as_str()).collect()
    }

    fn set(cell: &str, from: &str, to: &str) -> LoggedOperation {
        let operation =
            Operation::SetSource { cell_id: cell.into(), source: to.into(), base_revision: 0, changes: None };
        LoggedOperation { operation, base: Some(hash(from)) }
    }

    #[test]
    fn operations_that_the_file_lacks_are_applied() {
        let mut model = model(&["a", "b", "c"]);
        let delete = LoggedOperation {
            operation: Operation::DeleteCell { cell_id: "c2".into() },
            base: Some(hash("c")),
        };
        assert!(replay(&mut model, [set("c0", "a", "a1"), set("c0", "a1", "a2"), delete].into_iter()));
        assert_eq!(sources(&model), ["a2", "b"]);
        assert!(!replay(&mut model, [set("c0", "a1", "a2")].into_iter()), "already there");
    }

    #[test]
    fn both_texts_are_kept_if_another_program_changed_the_cell() {
        let mut model = model(&["theirs", "b"]);
        let delete = LoggedOperation {
            operation: Operation::DeleteCell { cell_id: "c0".into() },
            base: Some(hash("mine 2")),
        };
        let operations =
            [set("c0", "a", "mine 1"), set("c0", "mine 1", "mine 2"), set("gone", "x", "y"), delete];
        assert!(replay(&mut model, operations.into_iter()));
        assert_eq!(sources(&model), ["theirs", "mine 2", "b", "y"]);
    }
}
