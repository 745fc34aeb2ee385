//! Reloads under load: nothing is lost, and nothing grows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::pki::Authority;
use crate::support::{Serving, children, plugin, wait_until};
use crate::traffic::{self, Clients};

/// How many reloads: 12, or what `PASTER_TEST_RELOADS` says; then the figures are held to their limits too, which a
/// machine that is busy with other tests may miss.
fn reloads() -> (u64, bool) {
    let wanted = std::env::var("PASTER_TEST_RELOADS").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(12), wanted.is_some())
}

/// Memory of a process and its children that no file backs, in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    own_memory(pid) + children(pid).into_iter().map(own_memory).sum::<u64>()
}

fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// A config of two workers that serve `hello`.
pub(crate) fn hello(process: &str, server: &str) -> String {
    format!(
        "[process]\nworkers = 2\n{process}\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{server}\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("hello")
    )
}

/// The same with a second server, over TLS; and what its clients need to trust it.
pub(crate) fn with_tls(folder: &Path, config: &str) -> (String, Arc<ClientConfig>) {
    let authority = Authority::new("test");
    let pair = authority.pair(folder, "localhost", &["localhost"]);
    let server = format!(
        "{config}[server.secure]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[server.secure.tls]\ncertificates = [{}]\n",
        pair.item()
    );
    (server, authority.client(&["http/1.1"], None).config().clone())
}

/// About 500 requests a second in all; those over TLS to the server `secure`.
pub(crate) fn all_kinds(clients: &mut Clients, serving: &Serving, tls: &Arc<ClientConfig>) {
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::kept(traffic, 80, || traffic::connect(address)));
    }
    clients.add(|address, traffic| traffic::fresh(traffic, 80, || traffic::connect(address)));
    let secure: Arc<str> = serving.urls["secure"].trim_start_matches("https://").into();
    for number in 0..2 {
        let (secure, tls) = (secure.clone(), tls.clone());
        clients.add(move |_, traffic| match number {
            0 => traffic::fresh(traffic, 20, || traffic::connect_tls(&secure, &tls)),
            _ => traffic::kept(traffic, 80, || traffic::connect_tls(&secure, &tls)),
        });
    }
    for _ in 0..2 {
        clients.add(|address, traffic| {
            let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
            traffic::http2(traffic, 80, &format!("http://{address}"), &client);
        });
    }
    for number in 0..10 {
        // Half of them stay as long as they may, half come and go.
        let lives = if number < 5 { u64::MAX } else { 40 + number };
        clients.add(move |address, traffic| traffic::web_socket(address, traffic, lives));
    }
    for _ in 0..2 {
        clients.add(traffic::streams);
    }
}

#[test]
fn reloads_under_load_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, tls) = with_tls(folder.path(), &hello("", ""));
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let mut clients = Clients::of(serving.address());
    all_kinds(&mut clients, &serving, &tls);
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || {
        [&traffic.requests, &traffic.messages, &traffic.streams].iter().all(|count| count.load(Relaxed) > 0)
    });
    let (count, strict) = reloads();
    traffic.p99();
    let calm_until = Instant::now() + Duration::from_secs(if strict { 10 } else { 1 });
    wait_until("calm was measured", || Instant::now() > calm_until);
    let (calm, _) = traffic.p99();

    let began = Instant::now();
    let mut switches = Vec::new();
    let start = memory(serving.pid());
    let (mut most, mut own_early) = (start, 0);
    for number in 1..=count {
        let before = traffic.requests.load(Relaxed);
        serving.signal("HUP");
        let reloaded = serving.wait_for("reloaded");
        assert_eq!(reloaded["generation"], number + 1);
        switches.push(reloaded["ms"].as_u64().unwrap());
        most = most.max(memory(serving.pid()));
        if number == 5 {
            // Once it has read and compared the library, of which its allocator keeps the room.
            own_early = own_memory(serving.pid());
        }
        wait_until("requests are answered", || traffic.requests.load(Relaxed) > before + 20);
        traffic.assert_whole();
    }
    let own_end = own_memory(serving.pid());
    let (busy, answers) = traffic.p99();
    let seconds = began.elapsed().as_secs_f64();
    clients.stop();
    switches.sort_unstable();
    eprintln!(
        "{count} reloads of 2 workers in {seconds:.1} s, half of them within {} ms, all within {} ms; {:.0} requests/s, {} \
         WebSocket messages, {} streams of 6 MiB, nothing lost; 99 % within {calm:?} in calm, {busy:?} under reloads \
         ({answers}); memory of all processes {start} KiB at the start, {most} KiB at most; supervisor {own_early}, then \
         {own_end} KiB",
        switches[switches.len() / 2],
        switches[switches.len() - 1],
        answers as f64 / seconds,
        traffic.messages.load(Relaxed),
        traffic.streams.load(Relaxed),
    );
    traffic.assert_whole();
    assert!(most < start + (128 << 10), "memory grows: {start} KiB, then {most} KiB");
    assert!(own_end < own_early + 8_192, "the supervisor grows: {own_early} KiB, then {own_end} KiB");
    if strict {
        assert!(busy < calm * 3, "slow under reloads: {calm:?}, then {busy:?}");
    }
    wait_until("all old workers are gone", || serving.children().len() == 2);
    assert_eq!(serving.stop(), Some(0));
}
