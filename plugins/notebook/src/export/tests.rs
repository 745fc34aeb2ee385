//! One notebook in every format that needs no browser.

use std::io::Read;

use serde_json::json;

use super::*;
use crate::format;

fn notebook() -> NotebookFile {
    let pixel =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg\ngg==";
    let text = "# Title & co\n\n*em* $x^2$ [link](javascript:alert(1)) ![p](attachment:a.png)\n\n| a | b |\n|---|---|\n| 1 | 2_3 |\n\n$$\\frac{1}{2}$$\n\n<b>html</b>";
    let cells = json!([
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": text, "attachments": {"a.png": {"image/png": pixel}}},
        {"cell_type": "code", "id": "c", "metadata": {}, "execution_count": 3, "source": "%matplotlib inline\nif 1 < 2:\n    !ls 'x'", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": "\u{1b}[1;31mred\u{1b}[0m <x>\n"},
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": pixel, "text/plain": "<Figure>"}},
            {"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": {"text/html": "<script>1</script>", "text/plain": "plain"}},
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\u{1b}[0;31mE\u{1b}[0m: v"]},
        ]},
        {"cell_type": "code", "id": "d", "metadata": {}, "execution_count": null, "source": "%%bash -e\necho \"hi\"", "outputs": []},
        {"cell_type": "raw", "id": "r", "metadata": {}, "source": "raw <text>"},
    ]);
    let metadata = json!({"language_info": {"name": "python", "file_extension": ".py"}});
    format::from_json(json!({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))
        .unwrap()
}

fn exported(format: Format, sanitize: bool) -> Exported {
    export(&notebook(), "a b", format, sanitize).unwrap()
}

fn text_of(exported: &Exported) -> String {
    String::from_utf8(exported.bytes.clone()).unwrap()
}

/// The files of an archive.
fn unpacked(exported: &Exported) -> Vec<(String, String)> {
    assert_eq!((exported.mime, exported.extension.as_str()), ("application/zip", ".zip"));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(exported.bytes.clone())).unwrap();
    (0..archive.len())
        .map(|at| {
            let mut file = archive.by_index(at).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn html() {
    let page = text_of(&exported(Format::Html, false));
    contains(
        &page,
        &[
            "<title>a b</title>",
            "Title &amp; co</h1>",
            "<math",
            "<mfrac",
            "src=\"data:image/png;base64,iVBOR",
        ],
    );
    contains(
        &page,
        &["<b>html</b>", "<script>1</script>", "if 1 &lt; 2:", "[3]", "raw &lt;text&gt;", "<td>2_3</td>"],
    );
    contains(
        &page,
        &["<span class=\"ansi-bold ansi-1\">red</span> &lt;x&gt;", "<span class=\"ansi-1\">E</span>: v"],
    );
    assert!(!page.contains("javascript:"), "{page}");
    let clean = text_of(&exported(Format::Html, true));
    assert!(!clean.contains("<script>") && !clean.contains("<b>"), "{clean}");
    contains(&clean, &["&lt;script&gt;1&lt;/script&gt;", "&lt;b&gt;html"]);
}

#[test]
fn scripts() {
    let script = exported(Format::Script, false);
    assert_eq!((script.mime, script.extension.as_str()), ("text/plain", ".py"));
    let text = text_of(&script);
    assert_eq!(text, text_of(&exported(Format::Python, false)));
    contains(
        &text,
        &[
            "# # Title & co\n",
            "# In[3]:\n\n\nget_ipython().run_line_magic(\"matplotlib\", \"inline\")\nif 1 < 2:",
        ],
    );
    contains(
        &text,
        &["    get_ipython().system(\"ls 'x'\")", "run_cell_magic(\"bash\", \"-e\", \"echo \\\"hi\\\"\")"],
    );
    contains(&text, &["# raw <text>\n"]);
}

#[test]
fn markdown() {
    let files = unpacked(&exported(Format::Markdown, false));
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a b.md", "output_0.png", "output_1.png"]);
    contains(
        &files[0].1,
        &["![p](output_0.png)", "```python\n%matplotlib", "    red <x>\n", "![output](output_1.png)"],
    );
    assert!(files[1].1.contains("PNG"), "an image");
}

#[test]
fn latex() {
    let files = unpacked(&exported(Format::Latex, false));
    assert_eq!(files[0].0, "a b.tex");
    let text = &files[0].1;
    contains(
        text,
        &[
            "\\title{a b}",
            "\\section{Title \\& co}",
            "\\emph{em} $x^2$",
            "1 & 2\\_3 \\\\",
            "\\[\\frac{1}{2}\\]",
        ],
    );
    contains(
        text,
        &[
            "{output_0.png}",
            "\\begin{source}\n%matplotlib inline\n",
            "\\begin{printed}\nred <x>\n\\end{printed}",
        ],
    );
    contains(text, &["\\begin{printed}\nplain\n", "raw <text>", "\\end{document}"]);
    assert!(!text.contains("\\href{attachment"), "{text}");
}

#[test]
fn a_notebook_without_images_is_one_file() {
    let plain =
        format::from_json(json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})).unwrap();
    for (format, extension) in [(Format::Markdown, ".md"), (Format::Latex, ".tex")] {
        assert_eq!(export(&plain, "x", format, false).unwrap().extension, extension);
    }
    for format in Format::ALL {
        assert_eq!(Format::parse(format.name()), Some(format));
    }
}

#[test]
fn slides() {
    let kind = |slide_type: &str| json!({"slideshow": {"slide_type": slide_type}});
    let text = |id: &str, source: &str, metadata: Value| json!({"cell_type": "markdown", "id": id, "metadata": metadata, "source": source});
    let deck = |cells: Value| {
        let file = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
        let made = export(&format::from_json(file).unwrap(), "deck", Format::Slides, false).unwrap();
        assert_eq!((made.mime, made.extension.as_str()), ("text/html", ".slides.html"));
        text_of(&made)
    };
    let marked = deck(json!([
        text("a", "first", kind("slide")),
        text("b", "beside", json!({})),
        text("c", "later", kind("fragment")),
        text("d", "hidden", kind("skip")),
        text("e", "second", kind("subslide")),
        text("f", "to say", kind("notes")),
    ]));
    assert_eq!(marked.matches("<article>").count(), 2);
    let (one, two) = marked.split_once("</article>").unwrap();
    contains(one, &["first", "beside", "<div class=\"fragment\"><section class=\"text\"><p>later"]);
    contains(two, &["second", "<div class=\"notes\"><section class=\"text\"><p>to say"]);
    assert!(!marked.contains("hidden</p>"));
    // Nobody marked slides: headings begin them.
    let unmarked = deck(json!([
        text("a", "# One", json!({})),
        text("b", "x", json!({})),
        text("c", "## Two", json!({})),
        text("d", "### Part", json!({}))
    ]));
    assert_eq!(unmarked.matches("<article>").count(), 2);
}
