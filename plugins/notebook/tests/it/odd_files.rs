//! Files of other programs, in every odd form: each opens or is refused with a reason, and none is changed by being opened.
//!
//! `docs/notebook-files.md` has the table of them. With `PASTER_BLESS=1`, the test writes it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use notebook::format::{NotebookFile, parse};
use serde_json::json;

use crate::server::{Page, Server};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/notebook-files.md");

/// A notebook of format 4 around these cells.
fn around(cells: &str) -> String {
    format!("{{\"cells\": [{cells}], \"metadata\": {{}}, \"nbformat\": 4, \"nbformat_minor\": 5}}")
}

fn code(more: &str) -> String {
    format!(
        "{{\"cell_type\": \"code\", \"execution_count\": null, \"id\": \"a\", \"metadata\": {{}}, \"outputs\": [], {more}\"source\": \"1\"}}"
    )
}

/// Notebooks of format 4: their names in the table, their texts, the number of their cells, and a text that the first cell or the file
/// keeps.
fn notebooks() -> Vec<(&'static str, String, usize, &'static str)> {
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

/// Files that are not notebooks of format 4 in UTF-8.
fn others() -> Vec<(&'static str, Vec<u8>)> {
    let text = around(&code("\"t\": \"é😀\", "));
    let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    };
    let old = |format: u64, cell: serde_json::Value| {
        json!({"nbformat": format, "metadata": {"name": ""}, "worksheets": [{"cells": [cell]}]}).to_string()
    };
    let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(600));
    vec![
        ("byte order mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        ("UTF-16, little endian", wide(u16::to_le_bytes)),
        ("UTF-16, big endian", wide(u16::to_be_bytes)),
        (
            "format 3",
            old(3, json!({"cell_type": "code", "input": "1", "language": "python", "outputs": []})).into(),
        ),
        ("format 2", old(2, json!({"cell_type": "text", "source": "plain"})).into()),
        ("an empty file", Vec::new()),
        ("only spaces", b" \n\n".to_vec()),
        ("no metadata", b"{\"cells\": [], \"nbformat\": 4}".to_vec()),
        ("a format of the future", b"{\"nbformat\": 5, \"cells\": []}".to_vec()),
        ("no format number", b"{\"cells\": []}".to_vec()),
        ("no cells", b"{\"nbformat\": 4, \"metadata\": {}}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("text that ends in the middle", text.as_bytes()[..40].to_vec()),
        (
            "markers of a merge conflict",
            around(&code("")).replace("\"source\"", "\n<<<<<<< HEAD\n\"source\"").into(),
        ),
        ("a comma too many", around(&format!("{},", code(""))).into()),
        ("single quotes", text.replace('"', "'").into()),
        ("Latin-1", b"{\"nbformat\": 4, \"cells\": [], \"metadata\": {\"name\": \"caf\xe9\"}}".to_vec()),
        ("a page of HTML", b"<!doctype html><title>Log in</title>".to_vec()),
        ("nested 600 deep", around(&code(&format!("\"deep\": {open}1{close}, "))).into()),
    ]
}

fn all() -> Vec<(&'static str, Vec<u8>)> {
    let notebooks = notebooks().into_iter().map(|(what, text, ..)| (what, text.into_bytes()));
    notebooks.chain(others()).collect()
}

fn written(notebook: &NotebookFile) -> String {
    String::from_utf8(notebook.to_bytes()).unwrap()
}

/// What happens with a file, in words.
fn result(bytes: &[u8]) -> String {
    let notebook = match parse(bytes) {
        Ok(notebook) => notebook,
        Err(error) => return format!("not opened: {error}"),
    };
    let mut words = String::from("opens");
    if !notebook.problems.is_empty() {
        words += ", with the cell shown as JSON";
    }
    let text = String::from_utf8_lossy(bytes);
    words += if written(&notebook).as_bytes() == bytes {
        "; saving keeps it"
    } else if notebook.metadata.contains_key("orig_nbformat") {
        "; saving writes format 4.5"
    } else if !text.starts_with([' ', '{']) && !text.is_empty() {
        "; saving writes UTF-8 without a mark"
    } else if text.trim().is_empty() {
        "; saving writes an empty notebook"
    } else if !text.contains("\"metadata\"") {
        "; saving adds the metadata"
    } else if text.contains("\"id\"") {
        "; saving gives a cell a new id"
    } else {
        "; saving adds ids"
    };
    words
}

#[test]
fn the_docs_have_every_odd_file_with_its_result() {
    let mut table = String::from("| file | result |\n|---|---|\n");
    for (what, bytes) in all() {
        writeln!(table, "| {what} | {} |", result(&bytes)).unwrap();
    }
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let start = docs.find("| file |").unwrap();
    let expected = format!("{}{table}", &docs[..start]);
    if std::env::var_os("PASTER_BLESS").is_some() {
        std::fs::write(DOCS, &expected).unwrap();
    } else {
        assert_eq!(docs, expected, "out of date: run the test with PASTER_BLESS=1");
    }
}

#[test]
fn every_odd_file_opens_and_is_written_back_as_it_was() {
    assert!(notebooks().len() >= 40);
    for (what, text, cells, kept) in notebooks() {
        let notebook = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(notebook.cells.len(), cells, "{what}");
        assert!(text.contains(kept), "{what}: a mistake in the table");
        let ids: HashSet<_> = notebook.cells.iter().map(|cell| cell.id.clone()).collect();
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
    for (what, text, cells, kept) in notebooks() {
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

#[tokio::test]
async fn no_odd_file_is_changed_by_being_opened() {
    let server = Server::start().await;
    let mut files = HashMap::new();
    for (n, (what, bytes)) in all().into_iter().enumerate() {
        let name = format!("{n}.ipynb");
        std::fs::write(server.data(&name), &bytes).unwrap();
        let changed = std::fs::metadata(server.data(&name)).unwrap().modified().unwrap();
        match parse(&bytes) {
            Ok(notebook) => {
                let mut page = Page::open(&server, &name, None).await;
                let cells = page.document["cells"].as_array().unwrap();
                assert_eq!(cells.len(), notebook.cells.len(), "{what}");
                page.ask(json!({"type": "set_cursor", "cursor": null})).await.unwrap();
            }
            Err(error) => {
                let mut socket = server.socket(&format!("/api/documents/{name}"), None).await;
                let frame = socket.next_json().await;
                assert_eq!(
                    (&frame["type"], &frame["code"]),
                    (&json!("error"), &json!(400)),
                    "{what}: {frame}"
                );
                assert!(frame["message"].as_str().unwrap().contains(&error.to_string()), "{what}: {frame}");
            }
        }
        files.insert(name, (what, bytes, changed));
    }
    // Writes everything that is to be written.
    server.notebook().documents.retire().await;
    for (name, (what, bytes, changed)) in files {
        assert_eq!(std::fs::read(server.data(&name)).unwrap(), bytes, "{what}");
        let metadata = std::fs::metadata(server.data(&name)).unwrap();
        assert_eq!(metadata.modified().unwrap(), changed, "{what}");
    }
}
