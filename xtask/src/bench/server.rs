//! The measured processes: starts them, waits for them, reads their clocks, ends them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::setup::which;

/// A service at one address: the measured processes, and the ones behind them that are not measured.
pub(super) struct Service {
    pub(super) url: String,
    pub(super) measured: Vec<Server>,
    pub(super) others: Vec<Server>,
}

impl Service {
    pub(super) fn of(server: Server) -> Service {
        Service { url: server.url.clone(), measured: vec![server], others: Vec::new() }
    }

    /// User and system time so far, in seconds.
    pub(super) fn cpu_secs(&self) -> f64 {
        self.measured.iter().map(|server| cpu_secs(server.child.id())).sum()
    }

    pub(super) fn memory_mib(&self) -> f64 {
        self.measured.iter().flat_map(|server| tree(server.child.id())).map(pss_mib).sum()
    }

    pub(super) fn ready_secs(&self) -> f64 {
        self.measured.iter().map(|server| server.ready.as_secs_f64()).sum()
    }
}

/// A started program; dropping it ends the program.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
    ready: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // INT, because TERM makes uWSGI restart.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a starting server prints in a line.
pub(super) enum Said {
    /// Its address.
    Url(String),
    /// That it is ready.
    Ready,
    /// Both.
    Both(String),
}

impl Server {
    /// Starts a server that prints on standard output when it is ready.
    pub(super) fn until(mut command: Command, said: impl Fn(&str) -> Option<Said>) -> Result<Server> {
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

    /// Starts a server and waits until `accepts` returns true.
    pub(super) fn at(command: &mut Command, url: String, accepts: impl Fn() -> bool) -> Result<Server> {
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, url, ready: Duration::ZERO };
        while !accepts() {
            ensure!(server.child.try_wait()?.is_none(), "{command:?} ended before it was ready");
            ensure!(begun.elapsed() < Duration::from_secs(30), "{command:?} does not accept connections");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.ready = begun.elapsed();
        Ok(server)
    }
}

/// A command that runs on one core, if there are several.
pub(super) fn pinned(core: usize, program: &Path) -> Command {
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

/// The process and all its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|entry| std::fs::read_to_string(entry.path().join("children")).ok());
    for text in children {
        for child in text.split_whitespace().filter_map(|word| word.parse().ok()) {
            found.extend(tree(child));
        }
    }
    found
}

/// User and system time of a process tree, in seconds: from each process's CPU clock, because `/proc` counts
/// in ticks of 10 ms.
fn cpu_secs(pid: u32) -> f64 {
    let used = tree(pid).into_iter().filter_map(|pid| {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed())).ok()?;
        Some(Duration::from(clock.now().ok()?).as_secs_f64())
    });
    used.sum()
}

fn pss_mib(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
