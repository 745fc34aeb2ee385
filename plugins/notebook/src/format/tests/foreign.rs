//! Files of other programs: each opens, is not changed by being opened, and keeps what was not touched.

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

/// Notebooks of format 4, with the number of their cells and a text that the first cell or the file keeps.
fn files() -> Vec<(&'static str, String, usize, &'static str)> {
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let output =
        |output: &str| around(&code("").replace("\"outputs\": []", &format!("\"outputs\": [{output}]")));
    let markdown =
        |id: &str| format!("{{\"cell_type\": \"markdown\", {id}\"metadata\": {{}}, \"source\": \"t\"}}");
    vec![
        ("compact", around(&code("")).replace(": ", ":").replace(", ", ","), 1, "\"id\":\"a\""),
        ("indented by four", "{\n    \"cells\": [\n        {\n            \"source\": \"x\",\n            \"cell_type\": \"raw\",\n            \"metadata\": {}, \"id\": \"q\"\n        }\n    ],\n    \"metadata\": {},\n    \"nbformat\": 4,\n    \"nbformat_minor\": 5\n}".into(), 1, "            \"source\": \"x\","),
        ("tabs and Windows line ends", "{\r\n\t\"cells\": [],\r\n\t\"metadata\": {\"a\":1},\r\n\t\"nbformat\": 4,\r\n\t\"nbformat_minor\": 5\r\n}\r\n".into(), 0, "\r\n\t\"cells\": []"),
        ("no line end", around("").trim_end().to_owned(), 0, "\"cells\": []"),
        ("much space", around(&format!("  {}  ", code(""))), 1, "[  {"),
        ("bare NaN", around(&code("\"score\": NaN, ")), 1, "\"score\": NaN"),
        ("bare Infinity", around(&code("\"a\": [Infinity, -Infinity], ")), 1, "[Infinity, -Infinity]"),
        ("NaN in an output", output("{\"output_type\": \"display_data\", \"metadata\": {}, \"data\": {\"application/json\": {\"x\": NaN}}}"), 1, "{\"x\": NaN}"),
        ("integer of 65 bits", around(&code("\"n\": 36893488147419103232, ")), 1, "36893488147419103232"),
        ("long negative integer", around(&code("\"n\": -99999999999999999999999, ")), 1, "-99999999999999999999999"),
        ("1e400", around(&code("\"n\": 1e400, ")), 1, "1e400"),
        ("largest unsigned integer", around(&code("\"n\": 18446744073709551615, ")), 1, "18446744073709551615"),
        ("exact decimal", around(&code("\"n\": 0.1000000000000000055511151231257827, ")), 1, "0.1000000000000000055511151231257827"),
        ("1.0 and 1E5", around(&code("\"n\": [1.0, 1E5], ")), 1, "[1.0, 1E5]"),
        ("lone high surrogate", around(&code("\"t\": \"x\\ud83d!\", ")), 1, "x\\ud83d!"),
        ("lone low surrogate", around(&code("\"t\": \"\\udcff\", ")), 1, "\\udcff"),
        ("surrogates in the wrong order", around(&code("\"t\": \"\\ude00\\ud83d\", ")), 1, "\\ude00\\ud83d"),
        ("pair of surrogates", around(&code("\"t\": \"\\ud83d\\ude00\", ")), 1, "\\ud83d\\ude00"),
        ("escaped backslash before u", around(&code("\"t\": \"\\\\ud83d\", ")), 1, "\\\\ud83d"),
        ("escaped ASCII", around(&code("\"t\": \"\\u0041\\/\", ")), 1, "\\u0041\\/"),
        ("nested 300 deep", around(&code(&format!("\"deep\": {deep}, "))), 1, "[[[[1]]]]"),
        ("unknown cell type", around("{\"cell_type\": \"sql\", \"metadata\": {}, \"query\": \"select 1\"}"), 1, "\"query\": \"select 1\""),
        ("cell without a type", around("{\"metadata\": {}, \"source\": \"x\"}"), 1, "\"source\": \"x\""),
        ("cell that is a number", around(&format!("{}, 7", code(""))), 2, ", 7"),
        ("cell that is null", around("null"), 1, "[null"),
        ("source that is a number", around("{\"cell_type\": \"code\", \"source\": 5}"), 1, "\"source\": 5"),
        ("source of numbers", around("{\"cell_type\": \"code\", \"source\": [1]}"), 1, "[1]"),
        ("metadata that is a list", around("{\"cell_type\": \"code\", \"metadata\": [], \"source\": \"x\"}"), 1, "\"metadata\": []"),
        ("outputs that are an object", around("{\"cell_type\": \"code\", \"outputs\": {}, \"source\": \"x\"}"), 1, "\"outputs\": {}"),
        ("unknown output", output("{\"output_type\": \"hologram\", \"depth\": 3}"), 1, "\"depth\": 3"),
        ("output that is a string", output("\"text\""), 1, "[\"text\"]"),
        ("stream without a name", output("{\"output_type\": \"stream\", \"text\": \"x\"}"), 1, "\"text\": \"x\""),
        ("unknown keys everywhere", around(&code("\"future\": {\"b\": 1, \"a\": 2}, ")).replace("\"metadata\": {}, \"nbformat\"", "\"extra\": [1], \"metadata\": {}, \"nbformat\""), 1, "{\"b\": 1, \"a\": 2}"),
        ("no ids", around(&format!("{}, {}", markdown(""), markdown(""))), 2, "\"source\": \"t\""),
        ("duplicate ids", around(&format!("{}, {}", markdown("\"id\": \"x\", "), markdown("\"id\": \"x\", "))), 2, "\"id\": \"x\""),
        ("invalid id", around(&markdown("\"id\": \"not valid!\", ")), 1, "\"id\": \"not valid!\""),
        ("id that is a number", around(&markdown("\"id\": 5, ")), 1, "\"id\": 5"),
        ("heading of an early format 4", around("{\"cell_type\": \"heading\", \"level\": 2, \"metadata\": {}, \"source\": \"T\", \"id\": \"h\"}"), 1, "\"level\": 2"),
        ("minor version of the future", around(&code("")).replace("\"nbformat_minor\": 5", "\"nbformat_minor\": 9"), 1, "\"nbformat_minor\": 9"),
        ("key that comes twice", around(&code("\"k\": 1, \"k\": 2, ")), 1, "\"k\": 1, \"k\": 2"),
        ("source with all line ends", around("{\"cell_type\": \"raw\", \"id\": \"r\", \"metadata\": {}, \"source\": \"a\\r\\nb\\rc\\u2028d\"}"), 1, "a\\r\\nb\\rc\\u2028d"),
        ("text beyond the basic plane", around(&code("\"t\": \"𝒳😀\", ")), 1, "𝒳😀"),
    ]
}

/// Whether all of the text was kept, apart from the ids that the file lacked.
fn written(notebook: &NotebookFile) -> String {
    String::from_utf8(notebook.to_bytes()).unwrap()
}

#[test]
fn every_odd_file_opens_and_is_written_back_as_it_was() {
    assert!(files().len() >= 40);
    for (what, text, cells, kept) in files() {
        let notebook = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(notebook.cells.len(), cells, "{what}");
        assert!(text.contains(kept), "{what}: a mistake in the table");
        let ids: std::collections::HashSet<_> = notebook.cells.iter().map(|cell| cell.id.clone()).collect();
        assert_eq!(ids.len(), cells, "{what}: {ids:?}");
        let lacks_ids = ["no ids", "duplicate ids", "invalid id", "id that is a number"].contains(&what);
        if !lacks_ids {
            assert_eq!(written(&notebook), text, "{what}");
        }
        // Opened again, it is the same.
        let again = parse(written(&notebook).as_bytes()).unwrap();
        assert_eq!(again.cells, notebook.cells, "{what}");
        assert_eq!(parse(text.as_bytes()).unwrap().cells, notebook.cells, "{what}: ids change");
    }
}

#[test]
fn what_was_not_touched_stays_byte_by_byte() {
    for (what, text, cells, kept) in files() {
        // A new cell below the others.
        let mut notebook = parse(text.as_bytes()).unwrap();
        let mut new =
            parse(around(&code("").replace("\"a\"", "\"new\"")).as_bytes()).unwrap().cells.remove(0);
        new.source = "added".into();
        notebook.cells.push(new);
        let out = written(&notebook);
        let again = parse(out.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}\n{out}"));
        assert_eq!(again.cells.len(), cells + 1, "{what}");
        assert_eq!(again.cells[..cells], notebook.cells[..cells], "{what}");
        let replaced = ["duplicate ids", "invalid id", "id that is a number"].contains(&what);
        assert!(replaced || cells == 0 || out.contains(kept), "{what}: {out}");
    }
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
