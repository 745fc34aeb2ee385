//! Kernels of other languages and makers, through the real server. One that is not installed is skipped with a message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::server::{Page, Server};
use crate::support::{Host, own_environment, test_python};

/// What to run with a kernel.
struct Tried {
    /// The language of its kernelspec, and a part of the kernelspec's name.
    language: &'static str,
    name: &'static str,
    /// Prints `42`, from a variable of the cell before.
    first: &'static str,
    second: &'static str,
    /// Fails, with this in its error.
    error: (&'static str, &'static str),
    /// Code whose end is completed to this.
    completion: (&'static str, &'static str),
    /// Runs for long after it has printed `go`; empty: the kernel has no interrupt.
    busy: &'static str,
    /// Asks for a line and prints it; empty: the kernel cannot ask.
    asks: &'static str,
}

const KERNELS: [Tried; 6] = [
    Tried {
        language: "bash",
        name: "bash",
        first: "answer=42",
        second: "echo $answer",
        error: ("ls /no/such/folder", "No such file or directory"),
        completion: ("ech", "echo"),
        busy: "echo go; sleep 600",
        asks: "",
    },
    Tried {
        language: "python",
        name: "xpython",
        first: "answer = 42",
        second: "print(answer)",
        error: ("1 / 0", "ZeroDivisionError"),
        completion: ("answer.real.bit_len", "bit_length"),
        // Its kernelspec asks for SIGINT, which ends it.
        busy: "",
        asks: "print(input('? '))",
    },
    Tried {
        language: "r",
        name: "",
        first: "answer <- 42",
        second: "cat(answer)",
        error: ("stop('broken')", "broken"),
        completion: ("answe", "answer"),
        busy: "cat('go\\n'); flush.console(); Sys.sleep(600)",
        asks: "cat(readline('? '))",
    },
    Tried {
        language: "julia",
        name: "",
        first: "answer = 42",
        second: "println(answer)",
        error: ("error(\"broken\")", "broken"),
        completion: ("answe", "answer"),
        busy: "println(\"go\"); flush(stdout); sleep(600)",
        asks: "println(readline())",
    },
    Tried {
        language: "typescript",
        name: "deno",
        first: "const answer: number = 42",
        second: "console.log(answer)",
        error: ("throw new Error('broken')", "broken"),
        completion: ("console.lo", "log"),
        busy: "",
        asks: "console.log(prompt('? '))",
    },
    Tried {
        language: "rust",
        name: "",
        first: "let answer = 42;",
        second: "println!(\"{answer}\")",
        error: ("panic!(\"broken\")", "panicked"),
        completion: ("answe", "answer"),
        busy: "println!(\"go\"); std::thread::sleep(std::time::Duration::from_secs(600));",
        asks: "",
    },
];

/// A server with the kernels of the test's Python, and of this machine.
async fn server() -> Server {
    let host = Host::start();
    let (python, kernels) = own_environment(host.folder.path());
    let has_bash = std::process::Command::new(&python).args(["-c", "import bash_kernel"]).output().unwrap();
    if has_bash.status.success() {
        // What `python -m bash_kernel.install` writes, without the user's own start files.
        let spec = json!({
            "argv": [python, "-m", "bash_kernel", "-f", "{connection_file}"], "display_name": "Bash", "language": "bash",
            "env": {"PS1": "$", "HOME": host.folder.path()},
        });
        std::fs::create_dir(kernels.join("bash")).unwrap();
        std::fs::write(kernels.join("bash/kernel.json"), spec.to_string()).unwrap();
    }
    let installed = std::path::Path::new(&test_python()).parent().unwrap().join("../share/jupyter/kernels");
    let xpython = std::fs::read(installed.join("xpython/kernel.json"));
    if let Ok(spec) = xpython {
        std::fs::create_dir(kernels.join("xpython")).unwrap();
        std::fs::write(kernels.join("xpython/kernel.json"), spec).unwrap();
    }
    Server::start_with(Arc::new(host), json!({"python": python})).await
}

async fn run(page: &mut Page, cell: usize) -> String {
    page.ask(json!({"type": "run", "cell_ids": [format!("c{cell}")]})).await.unwrap();
    page.until_idle().await;
    page.cell(cell)["outputs"].to_string()
}

/// Interrupts as a person would: again, if nothing happens. Bash loses the signal if it comes while it starts a program.
async fn interrupt(page: &mut Page) {
    for _ in 0..5 {
        page.ask(json!({"type": "interrupt"})).await.unwrap();
        if tokio::time::timeout(Duration::from_secs(3), page.until_idle()).await.is_ok() {
            return;
        }
    }
    page.until_idle().await;
}

async fn try_kernel(server: &Server, spec: &str, tried: &Tried) {
    let sources = [tried.first, tried.second, tried.error.0, tried.busy, tried.asks];
    let path = format!("{spec}.ipynb");
    server.write_notebook(&path, spec, &sources);
    let mut page = Page::open(server, &path, None).await;
    let start = Instant::now();
    run(&mut page, 0).await;
    println!("{spec}: the first result after {:?}", start.elapsed());
    assert_eq!(page.document["kernel"]["name"], spec);
    let shown = run(&mut page, 1).await;
    assert!(shown.contains("42"), "{spec}: {shown}");
    let shown = run(&mut page, 2).await;
    assert!(shown.contains(tried.error.1), "{spec}: {shown}");
    let (code, expected) = tried.completion;
    let cursor = code.len();
    let reply = page.ask(json!({"type": "complete", "code": code, "cursor": cursor})).await.unwrap();
    let found = reply["matches"].as_array().unwrap().iter().any(|found| {
        let text = found["text"].as_str().unwrap();
        text.ends_with(expected) || text.starts_with(expected)
    });
    assert!(found, "{spec}: {reply}");
    if !tried.busy.is_empty() {
        page.ask(json!({"type": "run", "cell_ids": ["c3"]})).await.unwrap();
        page.until(|document| document["cells"][3]["outputs"].to_string().contains("go")).await;
        let start = Instant::now();
        interrupt(&mut page).await;
        println!("{spec}: interrupted after {:?}", start.elapsed());
        let shown = run(&mut page, 1).await;
        assert!(shown.contains("42"), "{spec} keeps its variables: {shown}");
    }
    if !tried.asks.is_empty() {
        page.ask(json!({"type": "run", "cell_ids": ["c4"]})).await.unwrap();
        page.until(|document| !document["input"].is_null()).await;
        page.ask(json!({"type": "answer_input", "value": "Ada"})).await.unwrap();
        page.until_idle().await;
        assert!(page.cell(4)["outputs"].to_string().contains("Ada"), "{spec}: {}", page.cell(4));
    }
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    let shown = run(&mut page, 1).await;
    assert!(!shown.contains("42"), "{spec} is new after a restart: {shown}");
}

#[tokio::test]
async fn kernels_of_other_makers_work() {
    let server = server().await;
    let (_, found) = server.call("GET", "/api/kernelspecs", None).await;
    let specs = found["kernelspecs"].as_object().unwrap();
    let language = |spec: &Value| spec["spec"]["language"].as_str().unwrap_or_default().to_lowercase();
    let mut failed = Vec::new();
    for tried in &KERNELS {
        let mut names = specs.iter().filter(|(_, spec)| language(spec) == tried.language);
        match names.find(|(name, _)| name.contains(tried.name) && *name != "xpython-raw") {
            // The others are tried too.
            Some((name, _)) => {
                match AssertUnwindSafe(try_kernel(&server, name, tried)).catch_unwind().await {
                    Ok(()) => println!("{name}: everything works"),
                    Err(_) => failed.push(name),
                }
            }
            None => println!("skipped: there is no kernel {} for {}", tried.name, tried.language),
        }
    }
    assert!(failed.is_empty(), "these kernels do not work: {failed:?}");
}

#[tokio::test]
async fn bash_runs_cells_of_a_python_notebook_and_python_those_of_a_bash_notebook() {
    let server = server().await;
    let (_, found) = server.call("GET", "/api/kernelspecs", None).await;
    if found["kernelspecs"]["bash"].is_null() {
        println!("skipped: bash_kernel is not installed");
        return;
    }
    let cells = ["greeting=hello", "%python\nx = 3 * 14\nprint(x)", "echo $greeting", "%html\n<b>b</b>"];
    server.write_notebook("a.ipynb", "bash", &cells);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until_idle().await;
    assert!(page.text(1).contains("42"), "{}", page.cell(1));
    assert!(page.text(2).contains("hello"), "{}", page.cell(2));
    assert_eq!(page.cell(3)["outputs"][0]["data"], json!({"text/html": "<b>b</b>"}));
}
