//! Flame graphs of Python applications, by the middleware `profile`.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{MODES, Site, pythons};
use crate::support::{Connection, Serving};

const PROFILED: &str = "application = \"busy:application\"\nmiddleware = [\"profile\"]\n";

/// Spends nine tenths of its time in one of two functions.
const BUSY: &str = r#"
import threading, time

def often(until):
    while time.perf_counter() < until:
        sum(range(100))

def rarely(until):
    while time.perf_counter() < until:
        sum(range(100))

def idle():
    threading.Event().wait()

threading.Thread(target=idle, daemon=True).start()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/busy":
        for _ in range(10):
            often(time.perf_counter() + 0.009)
            rarely(time.perf_counter() + 0.001)
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"done\n"]
"#;

/// The response to a request for a profile while the application is busy: its head, and its body.
fn profile(serving: &Serving, query: &str, busy: bool) -> (String, String) {
    let (address, done) = (serving.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        if busy {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (_, body) = Connection::open(address).get("/busy");
                    assert_eq!(body, "done\n");
                }
            });
        }
        let response = Connection::open(address).get(&format!("/debug/profile{query}"));
        done.store(true, Ordering::Relaxed);
        response
    })
}

/// The percentage of the samples that the graph shows for the function.
fn share(graph: &str, function: &str) -> f64 {
    let titles = graph.split("<title>").skip(1).filter_map(|rest| rest.split("</title>").next());
    let of_function = titles.filter(|title| title.starts_with(&format!("{function} (busy.py): ")));
    of_function
        .map(|title| title.rsplit_once(", ").unwrap().1.trim_end_matches(" %").parse::<f64>().unwrap())
        .sum()
}

#[test]
fn a_graph_shows_where_the_time_of_an_application_goes() {
    let Some(site) = Site::new(&[("busy.py", BUSY)]) else { return };
    for mode in MODES {
        let serving = site.serve(&format!("{PROFILED}{mode}"));
        let (head, graph) = profile(&serving, "?app=main&secs=2", true);
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("image/svg+xml"), "{head}\n{graph}");
        let (often, rarely) = (share(&graph, "often"), share(&graph, "rarely"));
        assert!(often > 60.0 && rarely > 0.5 && rarely < often / 3.0, "{often} {rarely} {mode}\n{graph}");
        assert!(
            graph
                .contains("Python functions of the app main, 1 of 1 processes, 2 s at 99 samples per second")
        );
        assert!(!graph.contains("idle (busy.py)"), "a thread that waits is not in it: {graph}");
        // Nothing runs, and the loader's own frames are left out.
        let (_, graph) = profile(&serving, "?secs=1&app=main", false);
        assert!(graph.contains("Nothing was running."), "{graph}");
    }
}

#[test]
fn requests_for_a_profile_that_cannot_be_taken_are_explained() {
    let Some(site) = Site::new(&[("busy.py", BUSY)]) else { return };
    let serving = site.serve(PROFILED);
    for (query, status, words) in [
        ("?app=other", "404", "There is no such Python application. There are: main."),
        ("?secs=soon", "400", "`secs` must be a whole number of seconds."),
        ("?seconds=5", "400", "The query may contain `app` and `secs`."),
    ] {
        let (head, text) = profile(&serving, query, false);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && text.contains(words), "{head}\n{text}");
    }
}

#[test]
fn every_version_can_be_profiled() {
    let Some(site) = Site::new(&[("busy.py", BUSY)]) else { return };
    let path = site.python.display().to_string();
    for python in pythons() {
        site.write("server.toml", &site.config(PROFILED, "").replace(&path, &python.display().to_string()));
        let serving = Serving::spawn(site.paster(&["serve", "--json"]));
        let (head, graph) = profile(&serving, "?app=main&secs=2", true);
        assert!(head.starts_with("HTTP/1.1 200"), "{}: {head}\n{graph}", python.display());
        assert!(share(&graph, "often") > 50.0, "{}: {graph}", python.display());
    }
}
