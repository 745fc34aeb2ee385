//! `cgi`: runs a program for each request.
//!
//! # Source
//! RFC 3875.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::upstream::{
    Address, CgiAnswer, Decoded, FailureReason, Gateway, GatewayProtocol, Group, Outgoing, PoolOptions,
    Program, Protocol, ResponseHead, Secs, Stream, Timeouts, UpstreamConnection, UpstreamExchange,
    UpstreamFailure, UpstreamOptions, UpstreamStop, UpstreamTarget, check_variables, duration, one_gib, secs,
};
use crate::app::Builder;
use crate::body::{App, Body};
use crate::codec::Variables;
use crate::config::{ConfigPath, ProgramPath, Table};
use crate::error::{Errors, Result};

/// The default `PATH` of CGI programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Options of an `[app.NAME]` table with `use = "cgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The program to run for each request. `PATH_INFO` is the path below the mount.
    program: ProgramPath,
    /// Arguments of the program.
    #[serde(default)]
    args: Vec<String>,
    /// Variables to add to those of RFC 3875, or to replace them. The program does not see paster's own
    /// environment; its `PATH` is `/usr/local/bin:/usr/bin:/bin` by default.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Working directory of the program. Default: the directory that contains it.
    working_dir: Option<ConfigPath>,
    /// Maximum number of programs that run at once. Further requests wait.
    #[serde(default = "sixteen")]
    max_processes: NonZeroU32,
    /// Maximum time that a request waits for a program to end. After that, the response is 503.
    #[serde(default = "ten")]
    queue_secs: Secs,
    /// Maximum time to wait for the response head. After that, the response is 504.
    #[serde(default = "a_minute")]
    head_secs: Secs,
    /// Maximum pause between two parts of the response body. After that, the response is aborted.
    #[serde(default = "a_minute")]
    pause_secs: Secs,
    /// Maximum time for a request. After that, or when the client disconnects, the program and everything in
    /// its process group get TERM, and KILL 2 s later. After a complete response, or one without a body
    /// (HEAD, 204, 304, a local redirect), the program may run for another 10 s.
    #[serde(default = "five_minutes")]
    time_limit_secs: Secs,
    /// Maximum length in bytes of a request body of unknown length. `CONTENT_LENGTH` must be known first, so such a body is
    /// buffered. Beyond 64 KiB, the buffer is an unnamed file. (`body_limit` applies before.)
    #[serde(default = "one_gib")]
    spool_limit_bytes: u64,
}

fn sixteen() -> NonZeroU32 {
    secs(16)
}

fn ten() -> Secs {
    secs(10)
}

fn a_minute() -> Secs {
    secs(60)
}

fn five_minutes() -> Secs {
    secs(300)
}

/// The program as an app.
struct CgiApp {
    gateway: Gateway,
    name: Arc<str>,
    program: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    working_dir: PathBuf,
    slots: Arc<Semaphore>,
    time_limit: std::time::Duration,
}

/// Creates the app; runs nothing yet.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    check_variables(table, "env", &options.env, &mut errors);
    let program = options.program.to_path_buf();
    let shown = program.display().to_string();
    match program.metadata() {
        Ok(found) if !found.is_file() => {
            errors.push(table.error("program", format!("`{shown}` is not a file")).help("name a program"));
        }
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            let error = table.error("program", format!("the program `{shown}` is not executable"));
            errors.push(error.help(format!("make it executable: `chmod +x {shown}`")));
        }
        Ok(_) => {}
        Err(error) => {
            let message = format!("cannot find the program `{shown}`");
            errors.push(table.error("program", message).because(error).help("correct the path"));
        }
    }
    let own = program.parent().unwrap_or(std::path::Path::new("/")).to_owned();
    let working_dir = options.working_dir.as_ref().map_or(own, |folder| folder.to_path_buf());
    if options.working_dir.is_some() && !working_dir.is_dir() {
        let message =
            format!("`{}` is not a directory, so the program cannot start in it", working_dir.display());
        errors.push(table.error("working_dir", message));
    }
    Errors::check(errors)?;
    // A single upstream that always exists: the program.
    let address = Address {
        target: UpstreamTarget::Unix(program.clone()),
        resolved: None,
        shown,
        tls: false,
        authority: String::new(),
        base: String::new(),
    };
    let timeouts = Timeouts {
        head_secs: options.head_secs,
        pause_secs: options.pause_secs,
        queue_secs: options.queue_secs,
        ..Timeouts::default()
    };
    let pool = PoolOptions { max_idle: 0, ..PoolOptions::default() };
    let upstream = UpstreamOptions { timeouts, pool, ..UpstreamOptions::default() };
    let group = Group::new(table.name(), vec![address], upstream, None, builder.context.development);
    let cgi = Arc::new(CgiApp {
        gateway: Gateway {
            group: Arc::new(group),
            hand_off: None,
            spool_limit: options.spool_limit_bytes,
            variables: BTreeMap::new(),
        },
        name: table.name().into(),
        program,
        args: options.args,
        env: options.env,
        working_dir,
        slots: Arc::new(Semaphore::new(options.max_processes.get() as usize)),
        time_limit: duration(options.time_limit_secs),
    });
    Ok(App::from_call(move |request| {
        let cgi = cgi.clone();
        Box::pin(async move { cgi.gateway.answer(&*cgi, request).await })
    }))
}

impl GatewayProtocol for CgiApp {
    type Protocol = ProgramResponse;

    async fn send(
        &self,
        gateway: &Gateway,
        _: &Parts,
        variables: Variables,
        body: Body,
    ) -> Result<(UpstreamExchange<ProgramResponse>, ResponseHead), UpstreamFailure> {
        let group = &gateway.group;
        let lease = group.uncounted(&group.members().list[0]);
        let member = lease.member.clone();
        let failed = |reason| UpstreamFailure::Upstream(member.fault(reason));
        let wait =
            tokio::time::timeout(duration(group.timeouts.queue_secs), self.slots.clone().acquire_owned());
        let Ok(Ok(permit)) = wait.await else { return Err(failed(FailureReason::Full)) };
        let end = Instant::now() + self.time_limit;
        let program = Program::start(self.command(&variables), &self.name, permit, end);
        let program = program.map_err(|error| failed(FailureReason::Unreachable(error)))?;
        let connection = UpstreamConnection::new(Stream::Program(Box::new(program)));
        let mut exchange =
            UpstreamExchange::new(group.clone(), lease, connection, body, Some(end), |_, _| {
                ProgramResponse(CgiAnswer::default())
            });
        match exchange.head().await {
            Ok(head) => Ok((exchange, head)),
            Err(UpstreamStop::Client(error)) => Err(UpstreamFailure::Client(error)),
            Err(UpstreamStop::Upstream(reason)) => Err(failed(reason)),
        }
    }
}

impl CgiApp {
    fn command(&self, variables: &Variables) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().env("PATH", PATH).current_dir(&self.working_dir);
        for (name, value) in variables.iter() {
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
        command.env("SCRIPT_FILENAME", &self.program).envs(&self.env);
        command
    }
}

/// The response of a program, which ends with the program's output.
struct ProgramResponse(CgiAnswer);

impl Protocol for ProgramResponse {
    fn data(&mut self, data: Bytes, out: &mut Outgoing) {
        out.push(data);
    }

    fn end(&mut self, _: Option<HeaderMap>, _: &mut Outgoing) {}

    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, FailureReason> {
        self.0.plain(input, ended)
    }
}
