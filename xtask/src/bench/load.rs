//! Puts load on one server, and measures its cost.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::built;
use super::python::upload_script;
use super::server::{Service, pinned};
use crate::target;

/// The kind of load.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// Keep-alive connections from one thread of wrk.
    Http1 { connections: u32 },
    /// 16 connections with 8 streams each, from one thread of h2load, by prior knowledge.
    Http2,
    /// Bodies of 64 KiB, as `Http1`.
    Upload,
    /// 64 WebSockets, each with one message of 13 bytes under way.
    WebSocket,
}

/// The results of one run.
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) cpu_micros: f64,
    pub(super) memory_mib: f64,
}

impl Load {
    /// Puts load on `service` for this long. Tries once more, because on a busy machine a run may get no
    /// responses.
    /// # Errors
    /// When it answers with errors, or not at all.
    pub(super) fn run(self, service: &Service, path: &str, seconds: u64) -> Result<Figures> {
        self.once(service, path, seconds).or_else(|_| self.once(service, path, 2 * seconds))
    }

    fn once(self, service: &Service, path: &str, seconds: u64) -> Result<Figures> {
        let url = format!("{}{path}", service.url);
        let before = service.cpu_secs();
        let (requests, text) = match self {
            Load::Http1 { .. } | Load::Upload => {
                let connections = if let Load::Http1 { connections } = self { connections } else { 64 };
                let mut command = pinned(1, Path::new("wrk"));
                command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), &url]);
                if let Load::Upload = self {
                    command.arg("-s").arg(upload_script(&target().join("bench")));
                }
                let text = said(&mut command)?;
                let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
                (line.and_then(|(count, _)| count.parse().ok()), text)
            }
            Load::WebSocket => {
                let mut command = pinned(1, &built("bench-peer"));
                let text = said(command.args(["web-socket-load", &url, &seconds.to_string()]))?;
                (text.trim().parse().ok(), text)
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
        ensure!(!failed, "{url} returned errors:\n{text}");
        let requests: f64 = requests.with_context(|| format!("the load generator printed:\n{text}"))?;
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
