//! Load on one server, and what it cost.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::server::{Service, pinned};

/// How the load is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// Keep-alive connections from one thread of wrk.
    Http1 { connections: u32 },
    /// 16 connections with 8 streams each, from one thread of h2load, by prior knowledge.
    Http2,
}

/// One run's figures.
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) cpu_micros: f64,
    pub(super) memory_mib: f64,
}

impl Load {
    /// Loads `service` for so long; once more when a busy machine let no answer through.
    /// # Errors
    /// When it answers with errors, or not at all.
    pub(super) fn run(self, service: &Service, path: &str, seconds: u64) -> Result<Figures> {
        self.once(service, path, seconds).or_else(|_| self.once(service, path, 2 * seconds))
    }

    fn once(self, service: &Service, path: &str, seconds: u64) -> Result<Figures> {
        let url = format!("{}{path}", service.url);
        let before = service.cpu_secs();
        let (requests, text) = match self {
            Load::Http1 { connections } => {
                let mut command = pinned(1, Path::new("wrk"));
                command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), &url]);
                let text = said(&mut command)?;
                let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
                (line.and_then(|(count, _)| count.parse().ok()), text)
            }
            Load::Http2 => {
                let mut command = pinned(1, Path::new("h2load"));
                command.args(["-t1", "-c16", "-m8", "-D", &seconds.to_string(), &url]);
                let text = said(&mut command)?;
                let line =
                    text.lines().find_map(|line| line.strip_prefix("status codes: ")?.split_once(" 2xx"));
                (line.and_then(|(count, _)| count.parse().ok()), text)
            }
        };
        let cpu = service.cpu_secs() - before;
        let failed =
            text.contains("Non-2xx") || text.contains("Socket errors") && !text.contains("connect 0, read 0");
        ensure!(!failed, "{url} answered with errors:\n{text}");
        let requests: f64 = requests.with_context(|| format!("the load generator said:\n{text}"))?;
        ensure!(requests > 0.0, "no request was answered:\n{text}");
        Ok(Figures {
            per_second: requests / seconds as f64,
            cpu_micros: cpu * 1e6 / requests,
            memory_mib: service.memory_mib(),
        })
    }
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
