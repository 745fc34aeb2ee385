//! Workers that are killed or crash, under load.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::hello;
use crate::support::{Connection, Serving, folder, get, plugin, runs, wait_until};
use crate::traffic::{self, Clients};
use crate::workers::{config, kill};

/// How many kills: 6, or the value of `PASTER_TEST_KILLS`; then the figures must also meet their limits.
fn kills() -> (usize, bool) {
    let wanted = std::env::var("PASTER_TEST_KILLS").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(6), wanted.is_some())
}

#[test]
fn killed_workers_take_only_their_own_requests_along() {
    let folder = folder(&[("server.toml", &hello("", ""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut clients = Clients::of(serving.address());
    for _ in 0..4 {
        clients.add(|address, traffic| traffic::kept(traffic, 80, || traffic::connect(address)));
    }
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::fresh(traffic, 90, || traffic::connect(address)));
    }
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || traffic.requests.load(Relaxed) > 50);
    let (count, strict) = kills();
    let (mut killed, mut answers, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let victims = serving.children();
        let victim = victims[number % victims.len()];
        let at = Instant::now();
        kill(victim);
        // A request that comes right now is answered by the other worker, or waits in the kernel's queue.
        wait_until("somebody answers", || Connection::try_get(serving.address(), "/").is_some());
        answers.push(at.elapsed());
        assert_eq!(serving.wait_for("worker_exit")["pid"], victim);
        killed.push((at, Instant::now()));
        serving.wait_for("worker_ready");
        ready.push(at.elapsed());
        wait_until("no zombie is left", || serving.children().iter().filter(|pid| runs(**pid)).count() == 2);
    }
    let failures = clients.stop().failures.lock().unwrap().clone();
    let (slowest, latest) = (answers.iter().max().unwrap(), ready.iter().max().unwrap());
    eprintln!(
        "{count} kills: {} of {} requests failed; answers within {slowest:?}, the next worker within {latest:?}",
        failures.len(),
        traffic.requests.load(Relaxed)
    );
    for (began, failed, why) in failures {
        let in_flight = killed.iter().any(|(at, gone)| began <= *gone && failed >= *at);
        assert!(in_flight, "failed without need: {why}");
    }
    if strict {
        assert!(*slowest < Duration::from_millis(100), "an answer took {slowest:?}");
        assert!(*latest < Duration::from_secs(1), "a worker took {latest:?}");
    }
    assert_eq!(serving.children().len(), 2, "no zombies");
    assert_eq!(serving.stop(), Some(0));
}

/// Makes the application crash; returns the new worker's `worker_ready`.
fn crash(serving: &mut Serving, path: &str) -> Value {
    assert!(Connection::try_get(serving.address(), path).is_none());
    let exit = serving.wait_for_one("worker_exit", |exit| exit["expected"] == false);
    assert!(exit["status"].as_str().unwrap().contains("SIGABRT"), "{exit}");
    serving.wait_for("worker_ready")
}

#[test]
fn a_worker_that_crashes_alone_is_never_held_back_for_long() {
    let folder = folder(&[("server.toml", &config(""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut pause = || crash(&mut serving, "/abort")["pause_ms"].as_u64().unwrap();
    let pauses: Vec<_> = (0..8).map(|_| pause()).collect();
    assert_eq!(pauses[..5], [0; 5], "at once: {pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 100), "no worker serves: {pauses:?}");
    assert!(!get(&serving, "/pid").is_empty(), "it has recovered");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_eq!(crash(&mut serving, "/abort")["pause_ms"], 0, "a new generation begins afresh");
    assert_eq!(serving.stop(), Some(0));
}

/// Two applications share the workers, and one of them crashes each second. Only requests that the crashing
/// process had accepted before its end may fail. No other request fails, and none waits for a worker whose
/// restart is delayed.
#[test]
fn a_crash_each_second_fails_no_request_of_another_app() {
    let text = hello("", "").replace("[app.main]", "[app.hello]")
        + &format!("[app.faulty]\nuse = \"plugin\"\nlibrary = {:?}\n", plugin("faulty"))
        + "[app.main]\nuse = \"mount\"\n[app.main.routes]\n\"/\" = \"hello\"\n\"/faulty\" = \"faulty\"\n";
    let folder = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut clients = Clients::of(serving.address());
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::kept(traffic, 50, || traffic::connect(address)));
        clients.add(|address, traffic| traffic::fresh(traffic, 50, || traffic::connect(address)));
    }
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || traffic.requests.load(Relaxed) > 50);
    traffic.tally();
    let (count, strict) = kills();
    let mut dying = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        assert!(Connection::try_get(serving.address(), "/faulty/abort").is_none());
        serving.wait_for("worker_exit");
        dying.push((began, Instant::now()));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed())); // one crash each second
    }
    let (answered, p99) = traffic.tally().requests();
    let failures = clients.stop().failures.lock().unwrap().clone();
    eprintln!(
        "{count} crashes: {} requests failed, {answered} were answered, 99 % within {p99:?}",
        failures.len()
    );
    for (began, failed, why) in failures {
        let accepted = dying.iter().any(|(from, to)| began <= *to && failed >= *from);
        assert!(accepted, "failed without need: {why}");
    }
    if strict {
        assert!(p99 < Duration::from_secs(1), "{p99:?}");
    }
    assert_eq!(serving.stop(), Some(0));
}
