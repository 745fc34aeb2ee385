//! `cargo xtask bench`: paster beside its peers, in turn within one run, as ratios.
//!
//! Every server runs on one core and the load generator (wrk) on another, where there are two. The figure to
//! trust is CPU time per request, of the whole process tree, read from `/proc`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{checked, packages, which};
use crate::{root, target};

/// Rounds of each comparison; every server has one run in each.
const ROUNDS: usize = 5;
/// Length of one run.
const SECONDS: u64 = 2;

/// One comparison: what is asked for, and the servers in the order of the table; the last but `paster` is the base.
struct Case {
    name: &'static str,
    path: &'static str,
    paster: Config,
    peers: &'static [Peer],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Peer {
    Raw,
    Axum,
    Nginx,
    Caddy,
}

#[derive(Clone, Copy)]
enum Config {
    Respond,
    Plugin,
    Static,
}

const CASES: &[Case] = &[
    Case { name: "respond", path: "/", paster: Config::Respond, peers: &[Peer::Raw] },
    Case { name: "hello", path: "/", paster: Config::Plugin, peers: &[Peer::Axum] },
    Case { name: "json", path: "/json", paster: Config::Plugin, peers: &[Peer::Axum] },
    Case { name: "stream", path: "/stream?bytes=1048576", paster: Config::Plugin, peers: &[Peer::Axum] },
    Case { name: "static-10k", path: "/10k.bin", paster: Config::Static, peers: &[Peer::Nginx, Peer::Caddy] },
    Case { name: "static-1m", path: "/1m.bin", paster: Config::Static, peers: &[Peer::Nginx, Peer::Caddy] },
];

/// Runs the named comparisons (all without names) and prints one table.
pub(crate) fn run(names: &[&str]) -> Result<bool> {
    if let Some(unknown) =
        names.iter().find(|name| **name != "start" && !CASES.iter().any(|c| c.name == **name))
    {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).chain(["start"]).collect();
        bail!("unknown benchmark `{unknown}`; known: {}", known.join(", "));
    }
    packages(&[
        (&["wrk"], &["wrk"], "makes the load"),
        (&["nginx"], &["nginx-light"], "a peer"),
        (&["caddy"], &["caddy"], "a peer"),
        (&["taskset"], &["util-linux"], "pins processes"),
    ])?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root()).args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "paster",
        "-p",
        "bench-peer",
        "-p",
        "hello",
    ]);
    checked(&mut cargo)?;
    let folder = target().join("bench");
    prepare(&folder)?;
    println!("| what | server | requests/s | ratio | CPU µs a request | ratio | memory MiB |");
    println!("|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| names.is_empty() || names.contains(&case.name)) {
        compare(case, &folder)?;
    }
    if names.is_empty() || names.contains(&"start") {
        start(&folder)?;
    }
    Ok(true)
}

/// Writes the files and configs that the servers use.
fn prepare(folder: &Path) -> Result<()> {
    let public = folder.join("public");
    std::fs::create_dir_all(&public)?;
    let noise = |length: usize| -> Vec<u8> {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(length)
        .collect()
    };
    std::fs::write(public.join("10k.bin"), noise(10 * 1024))?;
    std::fs::write(public.join("1m.bin"), noise(1024 * 1024))?;
    let server = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\n";
    let library = target().join("release/libhello.so");
    let respond = "[app.main]\nuse = \"respond\"\nbody = \"Hello, world!\"\n";
    let plugin = format!("[app.main]\nuse = \"plugin\"\nlibrary = '{}'\n", library.display());
    let files = "[app.main]\nuse = \"static\"\npublish_dir = \"public\"\n";
    for (name, app) in [("respond.toml", respond), ("plugin.toml", &plugin), ("static.toml", files)] {
        std::fs::write(folder.join(name), format!("{server}{app}"))?;
    }
    Ok(())
}

/// A started server; ends with the value.
struct Server {
    child: Child,
    url: String,
    ready: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Server {
    fn paster(config: Config, folder: &Path) -> Result<Server> {
        let file = match config {
            Config::Respond => "respond.toml",
            Config::Plugin => "plugin.toml",
            Config::Static => "static.toml",
        };
        let mut command = pinned(0, &target().join("release/paster"));
        command.args(["serve", "--json"]).arg(folder.join(file));
        Server::until(command, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            match event["event"].as_str()? {
                "listening" => Some(Said::Url(event["url"].as_str()?.trim_end_matches('/').to_owned())),
                "ready" => Some(Said::Ready),
                _ => None,
            }
        })
    }

    fn peer(peer: Peer, folder: &Path) -> Result<Server> {
        let said = |line: &str| Some(Said::Both(format!("http://{}", line.strip_prefix("listening ")?)));
        match peer {
            Peer::Raw | Peer::Axum => {
                let mut command = pinned(0, &target().join("release/bench-peer"));
                command.arg(if peer == Peer::Raw { "raw" } else { "axum" });
                Server::until(command, said)
            }
            Peer::Nginx => {
                let port = free_port()?;
                let file = folder.join("nginx.conf");
                let here = folder.display();
                std::fs::write(
                    &file,
                    format!(
                        "worker_processes 1; daemon off; pid {here}/nginx.pid; error_log stderr; user root;\n\
                         events {{ worker_connections 1024; }}\n\
                         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
                         open_file_cache max=100; client_body_temp_path {here}/b; proxy_temp_path {here}/p;\n\
                         fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
                         server {{ listen 127.0.0.1:{port}; root {here}/public; }} }}\n"
                    ),
                )?;
                let mut command = pinned(0, Path::new("nginx"));
                command.args(["-e", "stderr", "-c"]).arg(file).stderr(Stdio::null());
                Server::at(command, port)
            }
            Peer::Caddy => {
                let port = free_port()?;
                let file = folder.join("Caddyfile");
                std::fs::write(
                    &file,
                    format!(
                        "{{\n auto_https off\n admin off\n}}\nhttp://127.0.0.1:{port} {{\n bind 127.0.0.1\n root * {}\n file_server\n}}\n",
                        folder.join("public").display()
                    ),
                )?;
                let mut command = pinned(0, Path::new("caddy"));
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).stderr(Stdio::null());
                command.env("HOME", folder).env("GOMAXPROCS", "1");
                Server::at(command, port)
            }
        }
    }

    /// Starts a server that tells on standard output when it is ready.
    fn until(mut command: Command, said: impl Fn(&str) -> Option<Said>) -> Result<Server> {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let mut server = Server { child, url: String::new(), ready: Duration::ZERO };
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let line = lines.next().with_context(|| format!("{command:?} ended before it was ready"))??;
            match said(&line) {
                Some(Said::Url(url)) => server.url = url,
                Some(Said::Both(url)) => {
                    server.url = url;
                    break;
                }
                Some(Said::Ready) => break,
                None => {}
            }
        }
        server.ready = begun.elapsed();
        std::thread::spawn(move || lines.for_each(drop)); // keeps the pipe from filling
        Ok(server)
    }

    /// Starts a server on a known port and waits until it accepts.
    fn at(mut command: Command, port: u16) -> Result<Server> {
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stdin(Stdio::null()).spawn()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Server { child, url, ready: Duration::ZERO };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "{command:?} ended before it was ready");
            ensure!(begun.elapsed() < Duration::from_secs(30), "{command:?} does not accept");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.ready = begun.elapsed();
        Ok(server)
    }
}

/// What a line of a starting server says.
enum Said {
    Url(String),
    Ready,
    Both(String),
}

/// One run's figures.
struct Figures {
    per_second: f64,
    cpu_micros: f64,
    memory_mib: f64,
}

fn compare(case: &Case, folder: &Path) -> Result<()> {
    let mut servers: Vec<(String, Server)> = vec![("paster".into(), Server::paster(case.paster, folder)?)];
    for peer in case.peers {
        servers.push((format!("{peer:?}").to_lowercase(), Server::peer(*peer, folder)?));
    }
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for (_, server) in &servers {
        load(server, case.path, 1)?; // warm
    }
    for _ in 0..ROUNDS {
        for (name, server) in &servers {
            figures.entry(name).or_default().push(load(server, case.path, SECONDS)?);
        }
    }
    let paster = &figures["paster"];
    for (name, _) in &servers {
        let own = &figures[name.as_str()];
        let per_round = |f: fn(&Figures) -> f64, upside_down: bool| {
            let ratios = own
                .iter()
                .zip(paster)
                .map(|(own, paster)| if upside_down { f(own) / f(paster) } else { f(paster) / f(own) });
            spread(ratios.collect())
        };
        let (speed, cpu) = if name == "paster" {
            ("–".into(), "–".into())
        } else {
            (per_round(|f| f.per_second, false), per_round(|f| f.cpu_micros, true))
        };
        println!(
            "| {} | {name} | {:.0} | {speed} | {:.1} | {cpu} | {:.0} |",
            case.name,
            median(own.iter().map(|f| f.per_second).collect()),
            median(own.iter().map(|f| f.cpu_micros).collect()),
            median(own.iter().map(|f| f.memory_mib).collect()),
        );
    }
    Ok(())
}

/// Loads one server with wrk: 64 keep-alive connections from one thread.
fn load(server: &Server, path: &str, seconds: u64) -> Result<Figures> {
    let before = cpu_seconds(server.child.id());
    let wrk = pinned(1, Path::new("wrk"))
        .args(["-t1", "-c64", &format!("-d{seconds}s"), &format!("{}{path}", server.url)])
        .output()?;
    let text = String::from_utf8_lossy(&wrk.stdout);
    let cpu = cpu_seconds(server.child.id()) - before;
    ensure!(!text.contains("Non-2xx"), "{} answered with errors:\n{text}", server.url);
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.trim().parse().ok())
        .with_context(|| format!("wrk said:\n{text}"))?;
    ensure!(requests > 0.0, "no request was answered:\n{text}");
    let memory_mib = tree(server.child.id()).iter().map(|pid| pss_mib(*pid)).sum();
    Ok(Figures { per_second: requests / seconds as f64, cpu_micros: cpu * 1e6 / requests, memory_mib })
}

/// Time from start to ready for the hello plugin, and memory at rest.
fn start(folder: &Path) -> Result<()> {
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..10 {
        let server = Server::paster(Config::Plugin, folder)?;
        times.push(server.ready.as_secs_f64() * 1e3);
        memory.push(tree(server.child.id()).iter().map(|pid| pss_mib(*pid)).sum());
    }
    println!(
        "\nhello plugin: ready after {:.0} ms, {:.1} MiB at rest (PSS of the process tree; medians of 10)",
        median(times),
        median(memory)
    );
    Ok(())
}

/// A command held to one core, where there are several.
fn pinned(core: usize, program: &Path) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = match (which("taskset"), cores) {
        (Some(taskset), 2..) => {
            let mut command = Command::new(taskset);
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        _ => Command::new(program),
    };
    let sbin = [PathBuf::from("/usr/sbin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(path) = std::env::join_paths(std::env::split_paths(&path).chain(sbin)) {
        command.env("PATH", path);
    }
    command
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let threads = tasks.filter_map(|entry| std::fs::read_to_string(entry.path().join("children")).ok());
    let mut all: Vec<u32> = std::iter::once(children)
        .chain(threads)
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
        .collect();
    all.sort_unstable();
    all.dedup();
    for child in all {
        found.extend(tree(child));
    }
    found
}

/// User and system time of a process tree, in seconds (a tick is 10 ms on Linux).
fn cpu_seconds(pid: u32) -> f64 {
    let ticks = tree(pid).into_iter().filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    });
    ticks.sum::<f64>() / 100.0
}

fn pss_mib(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median with the least and the greatest.
fn spread(values: Vec<f64>) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}–{greatest:.2})", median(values))
}
