//! The checks of PEP 3333 on other servers: `cargo xtask bench pep3333` prints the table of docs/python.md.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::conformance::broken_rules;
use super::rules::table;
use super::{MODES, Site, checks};
use crate::bridge::{Program, free_port};

/// Servers and their arguments: `PORT` is replaced. Each is a program of the environment in `PASTER_TEST_PEERS`.
const SERVERS: [(&str, &str, &[&str]); 5] = [
    (
        "gunicorn gthread",
        "gunicorn",
        &["-k", "gthread", "--threads", "4", "-b", "127.0.0.1:PORT", "checks:application"],
    ),
    ("waitress", "waitress-serve", &["--listen", "127.0.0.1:PORT", "checks:application"]),
    (
        "uWSGI",
        "pyuwsgi",
        &["--http11-socket", "127.0.0.1:PORT", "--threads", "4", "--wsgi", "checks:application"],
    ),
    (
        "Granian",
        "granian",
        &[
            "--interface",
            "wsgi",
            "--blocking-threads",
            "4",
            "--host",
            "127.0.0.1",
            "--port",
            "PORT",
            "checks:application",
        ],
    ),
    ("uvicorn, a2wsgi", "uvicorn", &["--port", "PORT", "bridged:application"]),
];

/// What paster promises beyond PEP 3333.
const OWN: [&str; 3] = [
    "environ: wsgi.input_terminated",
    "Unicode Issues: the gate refuses bytes that are not UTF-8",
    "Error Handling: SystemExit is an error like others",
];

/// A running server. It leads a process group, so that it can signal its own group only, and nothing of it remains.
struct Peer(Program);

impl Peer {
    fn start(command: &mut Command) -> Peer {
        Peer(Program::start(command.process_group(0)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.end();
        // There may be none left.
        let _ = killpg(Pid::from_raw(self.0.pid().cast_signed()), Signal::SIGKILL);
    }
}

#[test]
#[ignore = "compares other servers; see the head of this file"]
fn pep_3333_on_other_servers() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    site.write("bridged.py", "from a2wsgi import WSGIMiddleware\nfrom checks import application as a\napplication = WSGIMiddleware(a)\n");
    let environment = std::env::var_os("PASTER_TEST_PEERS").expect("the environment with the servers");
    println!("| server | kept | broken | which |\n|---|---|---|---|");
    let count = table().iter().filter(|check| !OWN.contains(&check.rule)).count();
    let show = |name: &str, broken: &[(&str, String)]| {
        let rules = broken.iter().map(|(rule, _)| *rule).filter(|rule| !OWN.contains(rule));
        let rules: Vec<&str> = rules.collect();
        println!("| {name} | {} | {} | {} |", count - rules.len(), rules.len(), rules.join("; "));
    };
    for mode in MODES {
        let serving = site.serve(&format!("application = \"checks:application\"\n{mode}"));
        show(&format!("paster, {}", mode.trim()), &broken_rules(|| serving.address().to_owned()));
    }
    for (name, program, arguments) in SERVERS {
        let program = Path::new(&environment).join("bin").join(program);
        let start = || {
            (0..5).find_map(|_| {
                let port = free_port();
                let arguments = arguments.iter().map(|argument| argument.replace("PORT", &port.to_string()));
                let mut command = Command::new(&program);
                let mut server = Peer::start(command.args(arguments).current_dir(site.folder()));
                server.0.wait_for_port(port).then_some((server, format!("127.0.0.1:{port}")))
            })
        };
        let Some(mut running) = start() else {
            println!("| {name} | it did not start | | |");
            continue;
        };
        // One that a check has ended is started again for the next one.
        let address = || {
            if TcpStream::connect(&running.1).is_err() {
                running = start().expect("it has started before");
            }
            running.1.clone()
        };
        show(name, &broken_rules(address));
    }
}
