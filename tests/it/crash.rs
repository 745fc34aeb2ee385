//! Workers that are killed or crash, under load.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::load::hello;
use crate::support::{Connection, Serving, folder, get, runs, wait_until};
use crate::traffic::{self, Clients};
use crate::workers::{config, kill};

/// How many kills: 6, or what `PASTER_TEST_KILLS` says; then the figures are held to their limits too.
fn kills() -> (usize, bool) {
    let wanted = std::env::var("PASTER_TEST_KILLS").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(6), wanted.is_some())
}

/// For so long after the signal a dying process may still hold its connections.
const DYING: Duration = Duration::from_millis(250);

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
        killed.push(at);
        // Whoever comes right now is answered by the sibling, or waits in the kernel's queue.
        while Connection::try_get(serving.address(), "/").is_none() {}
        answers.push(at.elapsed());
        assert_eq!(serving.wait_for("worker_exit")["pid"], victim);
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
        let in_flight = killed.iter().any(|at| began <= *at + DYING && failed >= *at);
        assert!(in_flight, "failed without need: {why}");
    }
    if strict {
        assert!(*slowest < Duration::from_millis(100), "an answer took {slowest:?}");
        assert!(*latest < Duration::from_secs(1), "a worker took {latest:?}");
    }
    assert_eq!(serving.children().len(), 2, "no zombies");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_crash_loop_backs_off_and_a_new_generation_begins_afresh() {
    let folder = folder(&[("server.toml", &config(""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let crash = |serving: &mut Serving| {
        assert!(Connection::try_get(serving.address(), "/abort").is_none());
        let crashed = |exit: &serde_json::Value| exit["expected"] == false;
        let exit = std::iter::repeat_with(|| serving.wait_for("worker_exit")).find(crashed).unwrap();
        assert!(exit["status"].as_str().unwrap().contains("SIGABRT"), "{exit}");
        serving.wait_for("worker_ready")["ms"].as_u64().unwrap()
    };
    let pauses: Vec<_> = (0..5).map(|_| crash(&mut serving)).collect();
    for (pause, least) in pauses.iter().zip([0, 100, 200, 400, 800]) {
        assert!(*pause >= least, "{pauses:?}");
    }
    assert!(!get(&serving, "/pid").is_empty(), "it has recovered");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert!(crash(&mut serving) < 800, "a new generation has done nothing yet");
    assert_eq!(serving.stop(), Some(0));
}
