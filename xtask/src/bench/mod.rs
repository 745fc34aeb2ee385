//! `cargo xtask bench`: compares paster with its peers, in alternation within one run, as ratios.
//!
//! The servers of a comparison run on one core. The load generator (wrk, h2load) and the server behind a
//! proxy run on another, if there is one. The most reliable figure is CPU time per request, over all
//! processes of a server, read from their clocks: it changes little when the machine is busy with other
//! things.

mod load;
mod peers;
mod python;
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::setup::{checked, packages};
use crate::{cargo, target};
use load::{Figures, Load};
use peers::Bench;
use server::Service;

/// Rounds of each comparison; every server runs once in each. `PASTER_BENCH_ROUNDS` sets another number.
const ROUNDS: usize = 9;
/// Length of one run, in seconds.
const SECONDS: u64 = 1;

/// One comparison: the request, the load, and the servers. The first is paster.
struct Case {
    name: &'static str,
    path: &'static str,
    load: Load,
    contenders: &'static [(&'static str, Start)],
}

/// Starts a server.
type Start = fn(&Bench) -> Result<Service>;

const RAW: (&str, Start) = ("raw hyper", |b| b.peer("raw"));
const AXUM: (&str, Start) = ("axum", |b| b.peer("axum"));
const HTTP1: Load = Load::Http1 { connections: 64 };
/// Over SCGI and FastCGI each request is a connection: more at once would fill the queues of the slower
/// peers.
const GATEWAY: Load = Load::Http1 { connections: 16 };

const CASES: &[Case] = &[
    Case {
        name: "respond",
        path: "/",
        load: HTTP1,
        contenders: &[
            ("paster", |b| b.paster("respond")),
            RAW,
            ("nginx", |b| b.nginx("", "", peers::HELLO)),
            ("caddy", |b| b.caddy("", "http", "respond \"Hello, world!\"")),
        ],
    },
    Case {
        name: "respond-log",
        path: "/",
        load: HTTP1,
        contenders: &[
            ("paster", |b| b.paster("respond-log")),
            RAW,
            ("nginx", |b| b.nginx("access_log access-nginx.log;", "", peers::HELLO)),
        ],
    },
    Case {
        name: "respond-h2",
        path: "/",
        load: Load::Http2,
        contenders: &[
            ("paster", |b| b.paster("respond")),
            ("raw hyper", |b| b.peer("raw-h2")),
            ("nginx", |b| b.nginx("", "http2", peers::HELLO)),
            ("caddy", |b| b.caddy("servers {\n protocols h1 h2c\n}", "http", "respond \"Hello, world!\"")),
        ],
    },
    Case {
        name: "stack",
        path: "/",
        load: HTTP1,
        contenders: &[("paster", |b| b.paster("stack")), ("tower-http by hand", |b| b.peer("stack"))],
    },
    Case { name: "hello", path: "/", load: HTTP1, contenders: &[("paster", |b| b.paster("plugin")), AXUM] },
    Case {
        name: "json",
        path: "/json",
        load: HTTP1,
        contenders: &[("paster", |b| b.paster("plugin")), AXUM],
    },
    Case {
        name: "stream",
        path: "/stream?bytes=1048576",
        load: HTTP1,
        contenders: &[("paster", |b| b.paster("plugin")), AXUM],
    },
    Case { name: "static-10k", path: "/10k.bin", load: HTTP1, contenders: FILES },
    Case { name: "static-1m", path: "/1m.bin", load: HTTP1, contenders: FILES },
    Case { name: "tls-10k", path: "/10k.bin", load: HTTP1, contenders: TLS_FILES },
    Case { name: "tls-1m", path: "/1m.bin", load: HTTP1, contenders: TLS_FILES },
    Case {
        name: "proxy",
        path: "/",
        load: HTTP1,
        contenders: &[
            ("paster", |b| b.proxy(|b, back| b.paster_to("proxy", &format!("upstreams = ['{back}']")))),
            ("nginx", |b| b.proxy(peers::nginx_proxy)),
            ("caddy", |b| b.proxy(|b, back| b.caddy("", "http", &format!("reverse_proxy {back}")))),
        ],
    },
    Case {
        name: "scgi",
        path: "/",
        load: GATEWAY,
        contenders: &[
            ("nginx, paster", |b| b.behind_nginx("scgi", Bench::paster_gateway)),
            ("nginx, uWSGI", |b| b.behind_nginx("scgi", Bench::uwsgi)),
            ("nginx, flup", |b| b.behind_nginx("scgi", Bench::flup)),
        ],
    },
    Case {
        name: "fastcgi",
        path: "/",
        load: GATEWAY,
        contenders: &[
            ("nginx, paster", |b| b.behind_nginx("fastcgi", Bench::paster_gateway)),
            ("nginx, uWSGI", |b| b.behind_nginx("fastcgi", Bench::uwsgi)),
            ("nginx, flup", |b| b.behind_nginx("fastcgi", Bench::flup)),
        ],
    },
];

const FILES: &[(&str, Start)] = &[
    ("paster", |b| b.paster("static")),
    ("nginx", |b| b.nginx("", "", "root public;")),
    ("caddy", |b| b.caddy("", "http", "root * public\nfile_server")),
];

const TLS_FILES: &[(&str, Start)] = &[
    ("paster", |b| b.paster("static-tls")),
    ("nginx", |b| b.nginx("ssl_certificate cert.pem; ssl_certificate_key key.pem;", "ssl", "root public;")),
    ("caddy", |b| b.caddy("", "https", "tls cert.pem key.pem\nroot * public\nfile_server")),
];

/// Runs the named comparisons (all if none is named) and prints one table.
pub(crate) fn run(names: &[&str]) -> Result<bool> {
    let known: Vec<&str> = cases().map(|case| case.name).chain(["start", "python", "pep3333"]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("unknown benchmark `{unknown}`; known: {}", known.join(", "));
    }
    packages(&[
        (&["wrk"], &["wrk"], "generates the load"),
        (&["h2load"], &["nghttp2-client"], "generates the load over HTTP/2"),
        (&["nginx"], &["nginx-light"], "a peer"),
        (&["caddy"], &["caddy"], "a peer"),
        (&["uwsgi"], &["uwsgi", "uwsgi-plugin-python3"], "a peer"),
        (&["python3"], &["python3", "python3-venv", "python3-pip"], "runs a peer"),
        (&["openssl"], &["openssl"], "creates a certificate"),
        (&["taskset"], &["util-linux"], "pins processes"),
    ])?;
    let mut cargo = cargo();
    // With the features of the packages.
    cargo.args(["build", "--quiet", "--features", "paster/full", "--profile", &profile()]);
    for package in ["paster", "bench-peer", "hello", "notebook", "paster-python"] {
        cargo.args(["--package", package]);
    }
    checked(&mut cargo)?;
    let folder = target().join("bench");
    let bench = peers::prepare(&folder)?;
    if names == ["pep3333"] {
        return python::conformance(&bench);
    }
    println!(
        "Each ratio compares paster with the peer in the same round. Above 1, paster is better. Median of {}, \
         minimum to maximum.\n",
        rounds()
    );
    println!("| what | server | requests/s | ratio | CPU µs per request | ratio | memory MiB |");
    println!("|---|---|---|---|---|---|---|");
    let mut whole = true;
    // `python` is all cases that begin with it.
    let named = |case: &&Case| {
        let group = case.name.split('-').next().filter(|group| *group == "python");
        names.is_empty() || names.contains(&case.name) || group.is_some_and(|group| names.contains(&group))
    };
    for case in cases().filter(named) {
        if let Err(error) = compare(case, &bench) {
            println!("| {} | {error:#} | | | | | |", case.name);
            whole = false;
        }
    }
    if names.is_empty() || names.contains(&"start") {
        start(&bench)?;
    }
    Ok(whole)
}

fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(python::CASES)
}

fn rounds() -> usize {
    std::env::var("PASTER_BENCH_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(ROUNDS)
}

/// The cargo profile to measure; `PASTER_BENCH_PROFILE` sets another one than that of packages.
fn profile() -> String {
    std::env::var("PASTER_BENCH_PROFILE").unwrap_or_else(|_| "dist".to_owned())
}

fn compare(case: &Case, bench: &Bench) -> Result<()> {
    let mut services = Vec::new();
    for (name, start) in case.contenders {
        match start(bench) {
            Ok(service) => services.push((*name, service)),
            Err(error) if services.is_empty() => return Err(error),
            Err(error) => println!("| {} | {name}: {error:#} | | | | | |", case.name),
        }
    }
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for round in 0..=rounds() {
        for (name, service) in &services {
            let one = case.load.run(service, case.path, SECONDS)?;
            // The first round warms up.
            if round > 0 {
                figures.entry(name).or_default().push(one);
            }
        }
    }
    let paster = &figures[services[0].0];
    for (index, (name, _)) in services.iter().enumerate() {
        let own = &figures[name];
        let ratios = |of: fn(&Figures, &Figures) -> f64| match index {
            0 => "–".to_owned(),
            _ => spread(paster.iter().zip(own).map(|(paster, own)| of(paster, own)).collect()),
        };
        println!(
            "| {} | {name} | {:.0} | {} | {:.1} | {} | {:.0} |",
            case.name,
            median(own.iter().map(|f| f.per_second).collect()),
            ratios(|paster, own| paster.per_second / own.per_second),
            median(own.iter().map(|f| f.cpu_micros).collect()),
            ratios(|paster, own| own.cpu_micros / paster.cpu_micros),
            median(own.iter().map(|f| f.memory_mib).collect()),
        );
    }
    Ok(())
}

/// Time from start to ready for the hello plugin, and its memory when idle.
fn start(bench: &Bench) -> Result<()> {
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..10 {
        let service = bench.paster("plugin")?;
        times.push(service.ready_secs() * 1e3);
        memory.push(service.memory_mib());
    }
    println!(
        "\nhello plugin: ready after {:.0} ms, {:.1} MiB when idle (PSS of the process tree; medians of 10)",
        median(times),
        median(memory)
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median, with the minimum and the maximum.
fn spread(values: Vec<f64>) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}–{greatest:.2})", median(values))
}

/// The file of this name that the build makes.
fn built(name: &str) -> std::path::PathBuf {
    target().join(profile()).join(Path::new(name))
}
