//! Reloads under load: nothing is lost, and nothing grows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::pki::Authority;
use crate::support::{Serving, children, plugin, wait_until};
use crate::traffic::{self, Clients};

/// How many reloads: 12, or the value of `PASTER_TEST_RELOADS`. Then the figures of a release build must also
/// meet their limits, which a machine that is busy with other tests may miss. Without optimization a reload
/// takes five times as long.
fn reloads() -> (u64, bool) {
    let wanted = std::env::var("PASTER_TEST_RELOADS").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(12), wanted.is_some() && !cfg!(debug_assertions))
}

/// How many requests are answered between two reloads.
const BETWEEN: u64 = 100;

/// The anonymous memory of a process and its children, in KiB.
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

/// The same with a second server, over TLS, with `options`. Also returns the authority that its clients
/// trust.
pub(crate) fn with_tls(folder: &Path, config: &str, options: &str) -> (String, Authority) {
    let authority = Authority::new("test");
    let pair = authority.pair(folder, "localhost", &["localhost"]);
    let server = format!(
        "{config}[server.secure]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{options}\n[server.secure.tls]\ncertificates = [{}]\n",
        pair.item()
    );
    (server, authority)
}

/// 500 requests per second in total; those over TLS go to the server `secure`.
pub(crate) fn all_kinds(clients: &mut Clients, serving: &Serving, authority: &Authority) {
    let secure: Arc<str> = serving.urls["secure"].trim_start_matches("https://").into();
    let tls = |protocol| authority.client(&[protocol], None).config().clone();
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::kept(traffic, 60, || traffic::connect(address)));
        let (secure, tls) = (secure.clone(), tls("http/1.1"));
        clients.add(move |_, traffic| traffic::kept(traffic, 60, || traffic::connect_tls(&secure, &tls)));
    }
    clients.add(|address, traffic| traffic::fresh(traffic, 80, || traffic::connect(address)));
    clients.add(|address, traffic| traffic::http2(traffic, 80, address, None));
    let (address, config) = (secure.clone(), tls("http/1.1"));
    clients.add(move |_, traffic| traffic::fresh(traffic, 20, || traffic::connect_tls(&address, &config)));
    let config = tls("h2");
    clients.add(move |_, traffic| traffic::http2(traffic, 80, &secure, Some(&config)));
    for number in 0..10 {
        // Half of them stay connected as long as they may; the others come and go.
        let lives = if number < 5 { u64::MAX } else { 20 + number };
        clients.add(move |address, traffic| traffic::web_socket(address, traffic, lives));
    }
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::streams(address, traffic));
    }
}

/// CPU time of a process and its children, including ended ones, in milliseconds.
fn processor_ms(pid: u32) -> f64 {
    let times = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
        rest.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
    };
    let ticks = times(pid) + children(pid).into_iter().map(times).sum::<u64>();
    ticks as f64 * 10.0 // Linux counts in hundredths of a second here, whatever its own clock does
}

#[test]
fn reloads_under_load_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = with_tls(folder.path(), &hello("", ""), "");
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let mut clients = Clients::of(serving.address());
    all_kinds(&mut clients, &serving, &authority);
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || {
        [&traffic.requests, &traffic.messages, &traffic.streams].iter().all(|count| count.load(Relaxed) > 0)
    });
    let (count, strict) = reloads();
    traffic.tally();
    let (calm_began, calm_from) = (Instant::now(), processor_ms(serving.pid()));
    let calm_time = Duration::from_secs(if strict { 20 } else { 1 });
    wait_until("calm was measured", || calm_began.elapsed() >= calm_time);
    let calm_load = (processor_ms(serving.pid()) - calm_from) / calm_began.elapsed().as_secs_f64();
    let calm = traffic.tally();

    let (began, busy_from) = (Instant::now(), processor_ms(serving.pid()));
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
            // After it has read and compared the library, whose memory its allocator keeps.
            own_early = own_memory(serving.pid());
        }
        wait_until("requests are answered", || traffic.requests.load(Relaxed) > before + BETWEEN);
        traffic.assert_whole();
    }
    let own_end = own_memory(serving.pid());
    let busy = traffic.tally();
    let seconds = began.elapsed().as_secs_f64();
    let busy_ms = processor_ms(serving.pid()) - busy_from;
    clients.stop();
    switches.sort_unstable();
    let ((_, calm_99), (answers, busy_99)) = (calm.requests(), busy.requests());
    let rate = answers as f64 / seconds;
    eprintln!(
        "{count} reloads of 2 workers in {seconds:.1} s, half of them within {} ms, all within {} ms; {rate:.0} requests/s, \
         {} WebSocket messages, {} streams of 6 MiB, nothing lost; 99 % within {calm_99:?} in calm, {busy_99:?} under \
         reloads ({answers}); memory of all processes {start} KiB at the start, {most} KiB at most; supervisor \
         {own_early}, then {own_end} KiB; processor time {calm_load:.0} ms/s in calm, and {:.0} ms more for each reload\n{}",
        switches[switches.len() / 2],
        switches[switches.len() - 1],
        traffic.messages.load(Relaxed),
        traffic.streams.load(Relaxed),
        (busy_ms - calm_load * seconds) / count as f64,
        calm.beside(&busy)
    );
    traffic.assert_whole();
    assert!(most < start + (128 << 10), "memory grows: {start} KiB, then {most} KiB");
    assert!(own_end < own_early + 8_192, "the supervisor grows: {own_early} KiB, then {own_end} KiB");
    if strict {
        assert!(rate > 490.0, "{rate} requests/s instead of 500");
        assert!(busy_99 < calm_99 * 3, "slow under reloads: {calm_99:?}, then {busy_99:?}");
    }
    wait_until("all old workers are gone", || serving.children().len() == 2);
    assert_eq!(serving.stop(), Some(0));
}
