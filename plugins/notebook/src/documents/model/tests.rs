//! What operations do to a document in memory.

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
fn a_cell_that_was_deleted_while_it_ran_comes_back_with_its_outputs() {
    let mut model = model(&["a", "b"]);
    model.set_state("c0", CellState::Running, Some(Some(4)));
    model.cell("c0").unwrap().run = Some("c0:run".into());
    model.delete_cell("c0").unwrap();
    model.delete_cell("c1").unwrap();
    model.add_output("c0", stream("late"), None);
    model.add_output("c1", stream("lost"), None);
    assert!(model.move_cell("c0", 0).is_err() && model.set_cell_metadata("c0", Object::new()).is_err());
    let again = |cell_type| NewCell {
        cell_type,
        source: "a".into(),
        metadata: Object::new(),
        attachments: None,
        outputs: Vec::new(),
        execution_count: None,
    };
    model.insert_cell(0, Some("c0".into()), again(CellType::Code)).unwrap();
    model.insert_cell(1, Some("c1".into()), again(CellType::Code)).unwrap();
    let [first, second] = &model.cells[..] else { panic!("two cells") };
    assert_eq!((&first.shown.outputs[..], first.shown.execution_count), (&[stream("late")][..], Some(4)));
    assert_eq!((first.shown.state, first.run.as_deref()), (CellState::Running, Some("c0:run")));
    assert_eq!((&second.shown.outputs[..], second.shown.state), (&[][..], CellState::Idle));
}

#[test]
fn a_code_cell_gets_its_outputs_back() {
    let mut model = model(&["a"]);
    model.add_output("c0", stream("kept"), None);
    model.set_state("c0", CellState::Idle, Some(Some(7)));
    model.set_cell_type("c0", CellType::Markdown).unwrap();
    assert_eq!((model.cells[0].shown.outputs.len(), model.cells[0].output_bytes), (0, 0));
    model.set_cell_type("c0", CellType::Raw).unwrap();
    model.set_cell_type("c0", CellType::Code).unwrap();
    let cell = &model.cells[0];
    assert_eq!((&cell.shown.outputs[..], cell.shown.execution_count), (&[stream("kept")][..], Some(7)));
    assert_eq!(cell.output_bytes, size(&stream("kept")));
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
