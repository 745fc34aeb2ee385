//! Flask under load, in both modes: reloads and kills.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::frameworks::site_with;
use super::{MODES, Site};
use crate::load::memory;
use crate::support::{Serving, get, runs, wait_until};
use crate::traffic::{self, Clients, Traffic};
use crate::workers::kill;

/// Answers as the clients of `traffic` expect.
const FLASK: &str = r#"import os
from flask import Flask, request

application = Flask(__name__)

@application.get("/")
def hello():
    return "Hello, world!"

@application.post("/echo")
def echo():
    return request.get_data()

@application.get("/pid")
def pid():
    return str(os.getpid())

@application.get("/number")
def number():
    return NUMBER

NUMBER = "0"
"#;

/// How many requests are answered between two reloads or kills.
const BETWEEN: u64 = 30;

/// How often, by the variable `name`; by default a few times.
fn times(name: &str) -> usize {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(5)
}

/// A site with Flask; `None` if the interpreter does not have it.
fn flask() -> Option<Site> {
    let site = site_with("flask", "flask_site.py")?;
    site.write("web.py", FLASK);
    Some(site)
}

/// Requests on kept and on new connections.
fn load(serving: &Serving) -> Clients {
    let mut clients = Clients::of(serving.address());
    for _ in 0..4 {
        clients.add(|address, traffic| traffic::kept(traffic, 40, || traffic::connect(address)));
    }
    clients.add(|address, traffic| traffic::fresh(traffic, 40, || traffic::connect(address)));
    wait_for_answers(&clients.traffic);
    clients
}

fn wait_for_answers(traffic: &Traffic) {
    let before = traffic.requests.load(Relaxed);
    wait_until("requests are answered", || traffic.requests.load(Relaxed) > before + BETWEEN);
}

#[test]
fn reloads_of_flask_lose_no_request() {
    let Some(site) = flask() else { return };
    for mode in MODES {
        site.write("web.py", FLASK);
        let app = format!("application = \"web:application\"\n{mode}");
        let mut serving = site.serve_with(&app, "", &["--reload"]);
        let processes = serving.children().len();
        let (clients, began, start) = (load(&serving), Instant::now(), memory(serving.pid()));
        let (count, mut most) = (times("PASTER_TEST_RELOADS"), start);
        for number in 1..=count {
            site.write("web.py", &FLASK.replace("NUMBER = \"0\"", &format!("NUMBER = \"{number}\"")));
            serving.wait_for("reloaded");
            assert_eq!(get(&serving, "/number"), number.to_string(), "{mode}");
            wait_for_answers(&clients.traffic);
            clients.traffic.assert_whole();
            most = most.max(memory(serving.pid()));
        }
        let seconds = began.elapsed().as_secs_f64();
        let (answers, p99) = clients.traffic.tally().requests();
        clients.stop().assert_whole();
        eprintln!(
            "{}: {count} reloads of Flask in {seconds:.0} s, {answers} requests, none failed, 99 % within {p99:?}; \
             memory {start} KiB, then {most} KiB at most",
            mode.trim()
        );
        wait_until("the old processes are gone", || serving.children().len() == processes);
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn killed_processes_take_only_their_own_requests_along() {
    let Some(site) = flask() else { return };
    // In both, two processes run the application.
    for (mode, own, more) in [(MODES[0], "workers = 2\n", ""), (MODES[1], "", "[process]\nworkers = 2\n")] {
        let app = format!("application = \"web:application\"\n{mode}{own}");
        let mut serving = site.serve_with(&app, more, &[]);
        let processes = serving.children().len();
        let clients = load(&serving);
        let (count, mut killed) = (times("PASTER_TEST_KILLS"), Vec::new());
        for _ in 0..count {
            let victim = get(&serving, "/pid").parse().unwrap();
            let at = Instant::now();
            kill(victim);
            // Until then, its other threads may still have its sockets.
            wait_until("it is reaped", || !Path::new(&format!("/proc/{victim}")).exists());
            killed.push((at, Instant::now()));
            wait_until("another one serves", || {
                serving.children().iter().filter(|pid| runs(**pid)).count() == processes
            });
            wait_for_answers(&clients.traffic);
        }
        let answers = clients.traffic.requests.load(Relaxed);
        let failures = clients.stop().failures.lock().unwrap().clone();
        eprintln!("{}: {count} kills, {} of {answers} requests failed", mode.trim(), failures.len());
        for (began, failed, why) in failures {
            let in_flight = killed.iter().any(|(at, gone)| began <= *gone && failed >= *at);
            assert!(in_flight, "failed without need: {why}");
        }
        assert_eq!(serving.stop(), Some(0));
    }
}
