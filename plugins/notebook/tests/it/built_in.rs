//! The built-in kernel, with a Python that has no packages for notebooks.

use std::time::Instant;

use serde_json::{Value, json};

use crate::server::{Page, Server};

const KERNEL: &str = "paster-python";

/// Runs these cells one after the other; an error does not stop the next.
async fn run(server: &Server, cells: &[&str]) -> Page {
    server.write_notebook("a.ipynb", KERNEL, cells);
    let mut page = Page::open(server, "a.ipynb", None).await;
    for at in 0..cells.len() {
        page.ask(json!({"type": "run", "cell_ids": [format!("c{at}")]})).await.unwrap();
        page.until_idle().await;
    }
    page
}

fn outputs(page: &Page, cell: usize) -> String {
    page.cell(cell)["outputs"].to_string()
}

#[tokio::test]
async fn its_magics_work_and_it_says_which_it_lacks() {
    let server = Server::start().await;
    let cells = [
        ("x = 5\n%time y = x + 1\nprint(y)", "Wall time: "),
        ("%who", "x  y"),
        ("%whos", "int   6"),
        ("%timeit -n 10 -r 2 pass", "2 runs, 10 loops each"),
        ("!echo value {x} $y; exit 3", "value 5 6\\n"),
        ("z = !printf 'one\\ntwo'\nz", "['one', 'two']"),
        ("%%html\n<b>bold</b>", "<b>bold</b>"),
        ("%%markdown\n*m*", "text/markdown"),
        ("%%latex\n$x$", "text/latex"),
        ("%%javascript\n1", "application/javascript"),
        ("%%sh\necho from the shell", "from the shell"),
        ("%%writefile part.py\nq = 3", "Writing part.py"),
        ("%run part.py\nq", "\"text/plain\":\"3\""),
        ("%cd ..\n%pwd", "text/plain"),
        ("%lsmagic", "%%writefile"),
        ("x?", "int([x]) -> integer"),
        ("%memit x", "the built-in kernel has no `%memit`. `%lsmagic` lists what it has."),
        ("%html x", "`%html` is for whole cells: write `%%html` in the first line"),
        ("import nosuch", "To install it, run `%pip install nosuch`."),
        ("s = '''\n%who\n'''\nprint(len(s))", "\"6\\n\""),
    ];
    let page = run(&server, &cells.map(|(code, _)| code)).await;
    for (at, (code, expected)) in cells.iter().enumerate() {
        assert!(outputs(&page, at).contains(expected), "{code}: {}", outputs(&page, at));
    }
}

#[tokio::test]
async fn a_file_is_loaded_into_the_cell() {
    let server = Server::start().await;
    std::fs::write(server.data("part.py"), "print('loaded')\n").unwrap();
    let mut page = run(&server, &["%load part.py"]).await;
    page.until(|document| document["cells"][0]["source"] == "# %load part.py\nprint('loaded')\n").await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "loaded\n");
}

#[tokio::test]
async fn values_are_shown_in_their_richest_form() {
    let server = Server::start().await;
    let cells = [
        ("from IPython.display import display, Math, IFrame, Image\nMath('x^2')", "\\\\displaystyle x^2"),
        ("display(IFrame('a.html', 300, 200))", "<iframe src=\\\"a.html\\\" width=\\\"300\\\""),
        ("Image(url='x.png', width=3)", "<img src=\\\"x.png\\\" width=\\\"3\\\">"),
        ("from paster_display import Audio\nAudio([0, 1, 0], rate=8000)", "data:audio/wav;base64,UklGR"),
        (
            "class Shown:\n    def _ipython_display_(self): print('shows itself')\nShown()",
            "\"shows itself\\n\"",
        ),
        ("class Html:\n    def _repr_html_(self): return '<i>h</i>'\nHtml()", "\"text/html\":\"<i>h</i>\""),
        ("h = display('one', display_id=True)\nh.update('two')", "'two'"),
    ];
    let page = run(&server, &cells.map(|(code, _)| code)).await;
    for (at, (code, expected)) in cells.iter().enumerate() {
        assert!(outputs(&page, at).contains(expected), "{code}: {}", outputs(&page, at));
    }
}

#[tokio::test]
async fn it_completes_magics_files_keys_and_arguments() {
    let server = Server::start().await;
    std::fs::write(server.data("table.csv"), "").unwrap();
    let mut page = run(&server, &["table = {'total': 1}\ndef draw(width, height): pass"]).await;
    for (code, expected) in [
        ("%who", "whos"),
        ("%%ht", "html"),
        ("open('tab", "table.csv"),
        ("%run tab", "table.csv"),
        ("table['to", "total"),
        ("draw(wi", "width="),
        ("import json.to", "tool"),
        ("table.val", "values"),
    ] {
        let cursor = code.len();
        let reply = page.ask(json!({"type": "complete", "code": code, "cursor": cursor})).await.unwrap();
        let found = reply["matches"].as_array().unwrap().iter().any(|found| found["text"] == expected);
        assert!(found, "{code}: {reply}");
    }
    let help = json!({"type": "inspect", "code": "draw(1, ", "cursor": 8, "detail": 0});
    let reply = page.ask(help).await.unwrap();
    assert!(reply["data"]["text/plain"].as_str().unwrap().contains("draw(width, height)"), "{reply}");
}

#[tokio::test]
async fn whatever_runs_is_interrupted() {
    let server = Server::start().await;
    let busy = [
        "print('go', flush=True)\nwhile True: pass",
        "import time\nprint('go', flush=True)\ntime.sleep(600)",
        "!echo go; sleep 600",
        "import asyncio\nprint('go', flush=True)\nawait asyncio.sleep(600)",
        "import re\nprint('go', flush=True)\nre.match('(a+)+$', 'a' * 60 + 'b')",
    ];
    server.write_notebook("a.ipynb", KERNEL, &busy);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    for at in 0..busy.len() {
        page.ask(json!({"type": "run", "cell_ids": [format!("c{at}")]})).await.unwrap();
        page.until(|document| document["cells"][at]["outputs"].to_string().contains("go")).await;
        let start = Instant::now();
        page.ask(json!({"type": "interrupt"})).await.unwrap();
        page.until_idle().await;
        println!("interrupted after {:?}: {}", start.elapsed(), busy[at]);
        assert!(outputs(&page, at).contains("KeyboardInterrupt"), "{}", outputs(&page, at));
    }
}

#[tokio::test]
async fn interact_has_controls_without_ipywidgets() {
    let server = Server::start().await;
    let code = "@interact(n=(0, 10), name=['a', 'b'], double=True)\ndef show(n, name, double):\n    print(name, n * (1 + double))";
    let mut page = run(&server, &[code]).await;
    assert!(outputs(&page, 0).contains("widget-view+json"), "{}", outputs(&page, 0));
    let find = |comms: &Value, model: &str| {
        let list = comms["comms"].as_array().unwrap();
        list.iter().find(|comm| comm["data"]["state"]["_model_name"] == model).unwrap().clone()
    };
    let comms = page.ask(json!({"type": "open_comms"})).await.unwrap();
    let shown = |comms: &Value| find(comms, "OutputModel")["data"]["state"]["outputs"].to_string();
    assert!(shown(&comms).contains("a 10\\n"), "{comms}");
    // As a page does when the slider and the choice move.
    for (model, state) in [("IntSliderModel", json!({"value": 7})), ("DropdownModel", json!({"index": 1}))] {
        let comm_id = find(&comms, model)["comm_id"].clone();
        let message = json!({
            "comm_id": comm_id, "kind": "message", "target_name": null, "metadata": {}, "buffers": [], "request": null,
            "data": {"method": "update", "state": state, "buffer_paths": []},
        });
        page.ask(json!({"type": "send_comm", "message": message})).await.unwrap();
    }
    let comms = page.ask(json!({"type": "open_comms"})).await.unwrap();
    assert!(shown(&comms).contains("b 14\\n"), "{comms}");
    assert_eq!(find(&comms, "IntSliderModel")["data"]["state"]["value"], 7);
}
