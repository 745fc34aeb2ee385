//! Past states of a document, computed from snapshots and operations, and their restoration.

use std::collections::HashSet;

use super::model::Model;
use super::operations::apply;
use crate::format::{self, FileCell, NotebookFile};
use crate::protocol::Operation;
use crate::store::{Cause, LoggedOperation, Snapshot, Store, StoreError};

/// The number of operations between two snapshots.
pub(super) const PERIOD: i64 = 200;

/// A place in the history of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// After this operation.
    Operation(i64),
    /// In this snapshot.
    Snapshot(i64),
}

impl Point {
    /// Parses `12` (after operation 12) or `s3` (snapshot 3).
    pub fn parse(text: &str) -> Option<Point> {
        match text.strip_prefix('s') {
            Some(id) => id.parse().ok().map(Point::Snapshot),
            None => text.parse().ok().map(Point::Operation),
        }
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Point::Operation(number) => write!(out, "{number}"),
            Point::Snapshot(id) => write!(out, "s{id}"),
        }
    }
}

/// The state of a document at a point, without outputs; `None` if it is no longer kept.
/// # Errors
/// [`StoreError`].
pub async fn state_at(
    store: &Store,
    document: &str,
    point: Point,
) -> Result<Option<NotebookFile>, StoreError> {
    let Point::Operation(number) = point else {
        let Point::Snapshot(id) = point else { return Ok(None) };
        return Ok(store.snapshot(document, id).await?.and_then(|(_, content)| parse(&content)));
    };
    let Some((base, content)) = store.snapshot_before(document, number).await? else { return Ok(None) };
    let operations = store.operations_between(document, base.number, number)?;
    // A gap: the operations are no longer stored.
    if i64::try_from(operations.len()).unwrap_or(i64::MAX) != number - base.number {
        return Ok(None);
    }
    let operations = operations.into_iter().map(|(.., operation)| operation);
    Ok(parse(&content).map(|file| replayed(file, operations)))
}

fn parse(content: &str) -> Option<NotebookFile> {
    format::parse(content.as_bytes()).ok()
}

/// `file` after these operations.
fn replayed(file: NotebookFile, operations: impl Iterator<Item = LoggedOperation>) -> NotebookFile {
    let mut model = Model::new(file);
    for LoggedOperation { mut operation, .. } in operations {
        if let Operation::SetSource { cell_id, base_revision, .. } = &mut operation
            && let Some(cell) = model.cell(cell_id)
        {
            *base_revision = cell.shown.revision;
        }
        // An operation that could not be applied then cannot be applied now.
        let _ = apply(&mut model, operation);
    }
    without_outputs(model.to_file())
}

/// A notebook in the form of snapshots.
pub(super) fn without_outputs(mut file: NotebookFile) -> NotebookFile {
    for cell in &mut file.cells {
        cell.outputs.clear();
        cell.execution_count = None;
    }
    file
}

/// Whether two notebooks have the same cells. Their ids do not count: a file in an old format has none.
fn is_same(a: &NotebookFile, b: &NotebookFile) -> bool {
    let same = |(a, b): (&FileCell, &FileCell)| {
        a.cell_type == b.cell_type
            && a.source == b.source
            && a.metadata == b.metadata
            && a.attachments == b.attachments
    };
    a.cells.len() == b.cells.len() && a.cells.iter().zip(&b.cells).all(same)
}

/// Makes a snapshot of the present state after operation `last`, if the history does not have it.
pub(super) async fn keep(store: &Store, document: &str, last: i64, model: &Model) -> Result<(), StoreError> {
    let present = without_outputs(model.to_file());
    let known = state_at(store, document, newest(store, document, last)?).await?;
    let cause = match known {
        Some(known) if is_same(&known, &present) => return Ok(()),
        Some(_) => Cause::Disk,
        None => Cause::Periodic,
    };
    add(store, document, last, cause, &present).await
}

/// The newest point of a document whose newest operation is `last`.
/// # Errors
/// [`StoreError`].
pub fn newest(store: &Store, document: &str, last: i64) -> Result<Point, StoreError> {
    let later = store.snapshots(document)?.into_iter().rfind(|snapshot| snapshot.cause == Cause::Disk);
    Ok(match later.filter(|snapshot| snapshot.number == last) {
        Some(snapshot) => Point::Snapshot(snapshot.id),
        None => Point::Operation(last),
    })
}

/// Adds a snapshot of the server.
pub(super) async fn add(
    store: &Store,
    document: &str,
    number: i64,
    cause: Cause,
    file: &NotebookFile,
) -> Result<(), StoreError> {
    let new = Snapshot { id: 0, number, at: 0, author: String::new(), cause, name: String::new() };
    store.add_snapshot(document, new, file.to_joined_json().to_string()).await.map(drop)
}

/// The operations that turn the cells of `present` into those of `target`. Cells that remain keep their outputs.
pub(super) fn operations_to(present: &Model, target: &NotebookFile) -> Vec<Operation> {
    let mut operations = Vec::new();
    let wanted: HashSet<&str> = target.cells.iter().filter_map(|cell| cell.id.as_deref()).collect();
    let mut order: Vec<String> = Vec::new();
    for cell in &present.cells {
        let id = &cell.shown.id;
        match wanted.contains(id.as_str()) {
            true => order.push(id.clone()),
            false => operations.push(Operation::DeleteCell { cell_id: id.clone() }),
        }
    }
    for (index, cell) in target.cells.iter().enumerate() {
        let Some(id) = cell.id.clone() else { continue };
        match order.iter().position(|known| *known == id) {
            None => {
                order.insert(index.min(order.len()), id);
                operations.push(insertion(index, cell));
                continue;
            }
            Some(at) if at != index => {
                let moved = order.remove(at);
                order.insert(index.min(order.len()), moved);
                operations.push(Operation::MoveCell { cell_id: id.clone(), index });
            }
            Some(_) => {}
        }
        operations.extend(
            present
                .cells
                .iter()
                .find(|live| live.shown.id == id)
                .into_iter()
                .flat_map(|live| changes(&live.shown, cell)),
        );
    }
    operations
}

fn insertion(index: usize, cell: &FileCell) -> Operation {
    Operation::InsertCell {
        index,
        cell_type: cell.cell_type,
        source: cell.source.clone(),
        cell_id: cell.id.clone(),
        metadata: Some(cell.metadata.clone()),
        attachments: cell.attachments.clone(),
        outputs: None,
        execution_count: None,
    }
}

/// The operations that restore a cell.
fn changes(present: &crate::protocol::Cell, target: &FileCell) -> Vec<Operation> {
    let mut operations = Vec::new();
    let cell_id = present.id.clone();
    if present.cell_type != target.cell_type {
        operations.push(Operation::SetCellType { cell_id: cell_id.clone(), cell_type: target.cell_type });
    }
    if present.source != target.source {
        operations.push(Operation::SetSource {
            cell_id: cell_id.clone(),
            source: target.source.clone(),
            base_revision: present.revision,
            changes: None,
        });
    }
    if present.metadata != target.metadata {
        operations
            .push(Operation::SetCellMetadata { cell_id: cell_id.clone(), metadata: target.metadata.clone() });
    }
    if present.attachments != target.attachments {
        operations.push(Operation::SetCellAttachments { cell_id, attachments: target.attachments.clone() });
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RelativePath;
    use serde_json::json;

    fn file(cells: &[(&str, &str)]) -> NotebookFile {
        let cells: Vec<_> = cells
            .iter()
            .map(|(id, source)| json!({"cell_type": "code", "id": id, "metadata": {}, "source": source, "outputs": [], "execution_count": null}))
            .collect();
        format::from_json(json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
            .unwrap()
    }

    #[test]
    fn operations_lead_back_to_every_state() {
        let states = [
            file(&[("a", "1"), ("b", "2"), ("c", "3")]),
            file(&[("c", "3"), ("a", "1x")]),
            file(&[("b", "2"), ("new", "4"), ("c", "3"), ("a", "1")]),
            file(&[]),
        ];
        for from in &states {
            for to in &states {
                let mut model = Model::new(from.clone());
                for operation in operations_to(&model.clone(), to) {
                    apply(&mut model, operation).unwrap().unwrap();
                }
                let reached = model.to_file();
                let ids =
                    |file: &NotebookFile| file.cells.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>();
                assert_eq!(ids(&reached), ids(to));
                assert!(is_same(&reached, to));
            }
        }
    }

    #[tokio::test]
    async fn a_state_is_a_snapshot_with_operations() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        let document = store.document(&RelativePath::parse("n.ipynb").unwrap(), [0; 32]).await.unwrap().id;
        let mut model = Model::new(file(&[("a", "0")]));
        keep(&store, &document, 0, &model).await.unwrap();
        keep(&store, &document, 0, &model).await.unwrap();
        assert_eq!(store.snapshots(&document).unwrap().len(), 1, "nothing changed");
        for number in 1..=3 {
            let operation = Operation::SetSource {
                cell_id: "a".into(),
                source: number.to_string(),
                base_revision: 0,
                changes: None,
            };
            store.append(&document, "ann", &LoggedOperation { operation, base: None }).await.unwrap();
        }
        let source = async |point| {
            state_at(&store, &document, point).await.unwrap().map(|file| file.cells[0].source.clone())
        };
        assert_eq!(source(Point::Operation(2)).await.as_deref(), Some("2"));
        assert_eq!(source(Point::Operation(4)).await, None, "there is no such operation");
        // Another program wrote the file after the third.
        model = Model::new(file(&[("a", "outside")]));
        keep(&store, &document, 3, &model).await.unwrap();
        let point = newest(&store, &document, 3).unwrap();
        assert_eq!(source(point).await.as_deref(), Some("outside"));
        assert_eq!(source(Point::Operation(3)).await.as_deref(), Some("3"));
        let operation = Operation::InsertCell {
            index: 0,
            cell_type: crate::protocol::CellType::Code,
            source: "b".into(),
            cell_id: Some("b".into()),
            metadata: None,
            attachments: None,
            outputs: None,
            execution_count: None,
        };
        store.append(&document, "ann", &LoggedOperation { operation, base: None }).await.unwrap();
        let later = state_at(&store, &document, Point::Operation(4)).await.unwrap().unwrap();
        assert_eq!(later.cells.iter().map(|cell| cell.source.as_str()).collect::<Vec<_>>(), ["b", "outside"]);
        assert_eq!(Point::parse(&point.to_string()), Some(point));
    }
}
