//! What is read, what is refused, and what is written back.

mod foreign;

use super::*;

#[test]
fn a_canonical_file_is_written_back_unchanged() {
    let text = concat!(
        "{\n \"cells\": [\n  {\n   \"attachments\": {\n    \"a.png\": {\n     \"image/png\": \"iVBO\"\n    }\n   },\n",
        "   \"cell_type\": \"markdown\",\n   \"id\": \"a1\",\n   \"metadata\": {},\n   \"source\": [\n    \"# Ü\\n\",\n    \"x\"\n   ]\n  },\n",
        "  {\n   \"cell_type\": \"code\",\n   \"execution_count\": 3,\n   \"future\": 1.5,\n   \"id\": \"b2\",\n   \"metadata\": {\n    \"tags\": [\n     \"t\"\n    ]\n   },\n",
        "   \"outputs\": [\n    {\n     \"data\": {\n      \"application/json\": {\n       \"a\": [\n        1,\n        2\n       ]\n      },\n      \"text/plain\": [\n       \"1\\n\",\n       \"2\"\n      ]\n     },\n     \"execution_count\": 3,\n     \"metadata\": {},\n     \"output_type\": \"execute_result\"\n    },\n",
        "    {\n     \"name\": \"stdout\",\n     \"output_type\": \"stream\",\n     \"text\": [\n      \"hi\\n\"\n     ]\n    },\n    {\n     \"new\": true,\n     \"output_type\": \"hologram\"\n    }\n   ],\n   \"source\": []\n  }\n ],\n",
        " \"metadata\": {\n  \"kernelspec\": {\n   \"name\": \"x\"\n  },\n  \"other\": null\n },\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n",
    );
    let notebook = parse(text.as_bytes()).unwrap();
    assert_eq!(notebook.cells[0].source, "# Ü\nx");
    assert_eq!(String::from_utf8(notebook.to_bytes()).unwrap(), text);
}

#[test]
fn faults_name_the_cell() {
    for (text, what) in [
        ("[]", "it has no `nbformat` number"),
        ("{", "it is not JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"nbformat": 9}"#, "its format 9 is not supported, only 2, 3 and 4 are"),
        (r#"{"nbformat": 4}"#, "it has no list of `cells`"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), what);
    }
}

#[test]
fn format_3_is_upgraded() {
    let old = json!({"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "x"}, "worksheets": [{"metadata": {}, "cells": [
        {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Title"]},
        {"cell_type": "code", "language": "python", "metadata": {}, "collapsed": false, "prompt_number": 1,
         "input": ["1+1"], "outputs": [{"output_type": "pyout", "prompt_number": 1, "metadata": {}, "text": ["2"]}]},
    ]}]});
    let notebook = parse(old.to_string().as_bytes()).unwrap();
    assert_eq!(notebook.cells[0].source, "## Title");
    assert_eq!(notebook.metadata["orig_nbformat"], 3);
    assert_eq!((notebook.cells[1].source.as_str(), notebook.cells[1].outputs.len()), ("1+1", 1));
}
