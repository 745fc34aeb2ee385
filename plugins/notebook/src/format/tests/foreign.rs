//! Files of other programs keep what was not touched. `tests/it/odd_files.rs` has many more of them.

use serde_json::json;

use crate::format::{NotebookFile, parse};
use crate::protocol::CellType;

/// A notebook of format 4 around these cells.
fn around(cells: &str) -> String {
    format!("{{\"cells\": [{cells}], \"metadata\": {{}}, \"nbformat\": 4, \"nbformat_minor\": 5}}")
}

fn code(more: &str) -> String {
    format!(
        "{{\"cell_type\": \"code\", \"execution_count\": null, \"id\": \"a\", \"metadata\": {{}}, \"outputs\": [], {more}\"source\": \"1\"}}"
    )
}

/// Whether all of the text was kept, apart from the ids that the file lacked.
fn written(notebook: &NotebookFile) -> String {
    String::from_utf8(notebook.to_bytes()).unwrap()
}

#[test]
fn what_was_touched_keeps_what_json_cannot_say() {
    let text = around(&code("\"n\": [NaN, 36893488147419103232, 1e400], \"t\": \"\\udcff\", "));
    let mut notebook = parse(text.as_bytes()).unwrap();
    notebook.cells[0].source = "2\n".into();
    notebook.metadata.insert("new".into(), json!([1]));
    let out = written(&notebook);
    for part in [
        "[NaN,36893488147419103232,1e400]",
        "\"t\":\"\\udcff\"",
        "\"source\":[\"2\\n\"]",
        "\"metadata\": {\"new\":[1]}",
    ] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
    assert_eq!(parse(out.as_bytes()).unwrap().cells, notebook.cells);
}

#[test]
fn a_cell_without_an_id_gets_only_that() {
    let text = "{\n  \"nbformat\": 4, \"nbformat_minor\": 4,\n  \"cells\": [ {\n    \"source\": \"a\", \"cell_type\": \"raw\", \"metadata\": {} } ],\n  \"metadata\": {}\n}";
    let mut notebook = parse(text.as_bytes()).unwrap();
    let id = notebook.cells[0].id.clone().unwrap();
    notebook.minor = 5;
    let expected = text.replace("nbformat_minor\": 4", "nbformat_minor\": 5");
    let expected =
        expected.replace("{\n    \"source\"", &format!("{{\n    \"id\": \"{id}\",\n    \"source\""));
    assert_eq!(written(&notebook), expected);
}

#[test]
fn an_unknown_cell_is_shown_raw_and_can_be_edited_as_text() {
    let text = around("{\"cell_type\": \"sql\", \"query\": \"select 1\"}");
    let mut notebook = parse(text.as_bytes()).unwrap();
    assert_eq!(notebook.problems, ["cell 1: unknown cell_type `sql`"]);
    let cell = &mut notebook.cells[0];
    assert_eq!(
        (cell.cell_type, cell.source.as_str()),
        (CellType::Raw, "{\n \"cell_type\": \"sql\",\n \"query\": \"select 1\"\n}")
    );
    cell.source = cell.source.replace("select 1", "select 2");
    assert!(
        written(&notebook).contains("{\"cell_type\":\"sql\",\"query\":\"select 2\"}"),
        "{}",
        written(&notebook)
    );
    notebook.cells[0].source = "no JSON".into();
    assert!(written(&notebook).contains("\"source\":[\"no JSON\"]"), "{}", written(&notebook));
}

#[test]
fn texts_in_other_encodings() {
    let text = around(&code("\"t\": \"é😀\", "));
    let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    };
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in [marked, wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
        let notebook = parse(&bytes).unwrap();
        assert_eq!(notebook.cells[0].others["t"], "é😀");
        // The next save writes UTF-8 without a mark, which is what Jupyter reads.
        assert_eq!(written(&notebook), text);
    }
}

#[test]
fn formats_2_and_3_with_all_their_cells() {
    let three = json!({"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "n"}, "worksheets": [{"cells": [
        {"cell_type": "heading", "level": 3, "source": ["A", " b"]},
        {"cell_type": "html", "source": "<b>x</b>"},
        {"cell_type": "markdown", "source": "m"}, {"cell_type": "raw", "source": "r"},
        {"cell_type": "code", "language": "python", "input": ["1\n", "2"], "prompt_number": 7, "collapsed": true, "outputs": [
            {"output_type": "stream", "stream": "stderr", "text": "s"},
            {"output_type": "pyout", "prompt_number": 7, "text": ["4"], "html": "<i>4</i>", "png": "iVBO", "metadata": {"png": {"width": 1}}},
            {"output_type": "display_data", "json": "{\"a\": [1]}", "javascript": "f()", "latex": "$x$", "svg": "<svg/>", "jpeg": "AA"},
            {"output_type": "pyerr", "ename": "E", "evalue": "v", "traceback": ["t"]},
        ]},
        {"cell_type": "rst", "source": "Title\n====="}, {"cell_type": "future", "x": 1},
    ]}, {"cells": [{"cell_type": "markdown", "source": "second sheet"}]}]});
    let notebook = parse(three.to_string().as_bytes()).unwrap();
    let shown: Vec<_> = notebook.cells.iter().map(|cell| (cell.cell_type, cell.source.as_str())).collect();
    assert_eq!(
        &shown[..4],
        [
            (CellType::Markdown, "### A b"),
            (CellType::Markdown, "<b>x</b>"),
            (CellType::Markdown, "m"),
            (CellType::Raw, "r")
        ]
    );
    assert_eq!((shown.len(), shown[5], shown[7].1), (8, (CellType::Raw, "Title\n====="), "second sheet"));
    assert!(shown[6].1.contains("\"future\""));
    let code = &notebook.cells[4];
    assert_eq!(
        (code.source.as_str(), code.execution_count, &code.metadata["collapsed"]),
        ("1\n2", Some(7), &json!(true))
    );
    let outputs = serde_json::to_value(&code.outputs).unwrap();
    assert_eq!(outputs[0], json!({"output_type": "stream", "name": "stderr", "text": "s"}));
    assert_eq!(outputs[1]["data"], json!({"text/plain": "4", "text/html": "<i>4</i>", "image/png": "iVBO"}));
    assert_eq!(outputs[1]["metadata"], json!({"image/png": {"width": 1}}));
    assert_eq!(outputs[2]["data"]["application/json"], json!({"a": [1]}));
    assert_eq!(outputs[2]["data"].as_object().unwrap().len(), 5);
    assert_eq!(outputs[3]["ename"], "E");
    let two = json!({"nbformat": 2, "metadata": {}, "worksheets": [{"cells": [
        {"cell_type": "text", "source": "plain"},
        {"cell_type": "code", "input": "1", "outputs": [
            {"output_type": "pyout", "output_text": "1", "output_png": "iVBO"}, {"output_type": "pyerr", "etype": "E", "evalue": "v", "traceback": []},
        ]},
    ]}]});
    let notebook = parse(two.to_string().as_bytes()).unwrap();
    assert_eq!(
        (notebook.cells[0].cell_type, notebook.metadata["orig_nbformat"].as_i64()),
        (CellType::Markdown, Some(2))
    );
    let outputs = serde_json::to_value(&notebook.cells[1].outputs).unwrap();
    assert_eq!(outputs[0]["data"], json!({"text/plain": "1", "image/png": "iVBO"}));
    assert_eq!(outputs[1]["ename"], "E");
    // What is saved is of format 4.5, and stays.
    assert_eq!(parse(&notebook.to_bytes()).unwrap().cells, notebook.cells);
}

#[test]
fn a_broken_file_says_where() {
    let broken = around(&code("")).replace("\"source\": \"1\"", "\n\n\"source\": oops");
    for (bytes, what) in [
        (broken.as_bytes(), "it is not JSON: expected value at line 3 column 11"),
        (b"{\n\"cells\": [\xff]}", "it is not UTF-8 text: see line 2, byte 12"),
        (b"{\"nbformat\": 4, \"cells\": [", "it is not JSON: EOF while parsing a list at line 1 column 26"),
        (
            format!("{{\"nbformat\": 4, \"cells\": [{}1{}]}}", "[".repeat(600), "]".repeat(600)).as_bytes(),
            "its values are nested deeper than 512 levels",
        ),
    ] {
        assert_eq!(parse(bytes).unwrap_err().to_string(), what);
    }
}
