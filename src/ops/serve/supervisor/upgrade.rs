//! USR2: the program's file was replaced, and the new program takes over in the same process.
//!
//! The supervisor executes the new program in its own place (execve(2)), so it keeps its process id, its
//! children, its lock on the pid file, and systemd's trust. Its state goes along as an [`UpgradeState`] and
//! descriptors, through a socket in place of standard input. The workers keep serving; the new supervisor
//! makes a generation of its own program and retires them as in any reload. Before that, the new program must
//! show that it can read the state. If anything fails, the old one keeps serving.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::app_process::CarriedApp;
use super::child::Name;
use super::plan::GenerationPlan;
use crate::error::{Error, Result};
use crate::ops::serve::ipc::wire::{self, MOST_DESCRIPTORS, Packet};
use crate::ops::serve::process::credentials::PREDECESSOR;
use crate::ops::serve::process::descriptors::take_over_stdin;

/// The time limit for the new program to read the state.
const PREFLIGHT_TIME: Duration = Duration::from_secs(10);

/// What one supervisor passes to the next. The descriptors follow in the order of the fields: standard input,
/// the runtime directory's lock, the pid file, the bound sockets, the workers' sockets, the side processes'
/// listeners, the descriptors of the processes of applications.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UpgradeState {
    pub(super) run: String,
    pub(super) generation: u64,
    pub(super) turns: u64,
    pub(super) started: u64,
    pub(super) reload: bool,
    /// The runtime directory, if one was needed.
    #[serde(default)]
    pub(super) folder: Option<PathBuf>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) bound: Vec<CarriedSocket>,
    pub(super) serving: u64,
    pub(super) plan: GenerationPlan,
    pub(super) previous: Option<GenerationPlan>,
    pub(super) slots: usize,
    pub(super) workers: Vec<CarriedWorker>,
    pub(super) sides: Vec<CarriedSideProcess>,
    /// The processes of applications.
    #[serde(default)]
    pub(super) apps: Vec<CarriedApp>,
    /// Those of the generation that serves: their places in `apps`.
    #[serde(default)]
    pub(super) own_apps: Vec<usize>,
    /// Workers that have ended, and whose remaining processes are being ended.
    #[serde(default)]
    pub(super) orphans: Vec<u32>,
    /// [`HandoffState`](super::handoff_state::HandoffState), encoded.
    #[serde(default)]
    pub(super) handoff_state: serde_json::Value,
}

/// A bound socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedSocket {
    pub(super) server: String,
    pub(super) kind: String,
    pub(super) listen: String,
}

/// A worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedWorker {
    pub(super) name: Name,
    pub(super) pid: u32,
    /// Its slot; `None` if it is retired.
    pub(super) slot: Option<usize>,
    /// The turn in which it was retired.
    pub(super) turn: Option<u64>,
    /// When it became ready.
    #[serde(default)]
    pub(super) since: Option<SystemTime>,
    /// When it was retired.
    #[serde(default)]
    pub(super) retired: Option<SystemTime>,
    /// The processes of its applications: their places in [`UpgradeState::apps`].
    #[serde(default)]
    pub(super) apps: Vec<usize>,
}

/// A side process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedSideProcess {
    pub(super) app: String,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) library: PathBuf,
    /// 0 while it is being restarted.
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) since: Option<SystemTime>,
    #[serde(default)]
    pub(super) restarts: u64,
}

/// The program's path as it was called, so that a file or a link that was replaced since then is found.
pub(super) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let found = match called.components().count() {
            0 => None,
            1 => std::env::var_os("PATH").and_then(|path| {
                std::env::split_paths(&path).map(|folder| folder.join(&called)).find(|file| file.is_file())
            }),
            _ => std::path::absolute(&called).ok(),
        };
        found.or_else(|| std::env::current_exe().ok()).unwrap_or(called)
    })
}

/// Tests in a separate process whether the new program can read `upgrade_state`.
/// # Errors
/// When it cannot be started or cannot read the state.
pub(super) async fn preflight(upgrade_state: Vec<u8>) -> Result<(), Error> {
    let program = program();
    let failed = |cause: io::Error| {
        Error::new(format!("the program `{}` cannot take over", program.display())).because(cause)
    };
    let file = memory(&upgrade_state).map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("__successor").stdin(Stdio::from(file)).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    match tokio::time::timeout(PREFLIGHT_TIME, output).await {
        Err(_) => Err(failed(io::Error::other("it did not respond in time"))),
        Ok(Err(cause)) => Err(failed(cause)),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(io::Error::other(format!("{}: {}", output.status, said.trim()))))
        }
    }
}

/// The other side of `preflight` (`paster __successor`).
/// # Errors
/// When standard input does not contain a state that this program can read.
pub fn successor() -> Result<u8> {
    let read: io::Result<UpgradeState> = serde_json::from_reader(io::stdin().lock()).map_err(Into::into);
    read.map_err(|cause| Error::new("this program cannot take over from the running one").because(cause))?;
    Ok(0)
}

/// Executes the new program in place of this one. Returns only if that fails; nothing has changed then.
pub(super) async fn execute(upgrade_state: &[u8], descriptors: Vec<OwnedFd>) -> Error {
    let failed =
        |cause: io::Error| Error::new(format!("cannot execute `{}`", program().display())).because(cause);
    let stdin = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => stdin,
        Err(cause) => return failed(cause),
    };
    let replaced = async {
        let into = pack(upgrade_state, &stdin, descriptors).await?;
        let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
        let path = text(program().as_os_str().to_owned())?;
        let arguments = std::env::args_os().map(text).collect::<io::Result<Vec<_>>>()?;
        let variables = std::env::vars_os().filter(|(name, _)| name != PREDECESSOR);
        let predecessor = (PREDECESSOR.into(), std::process::id().to_string().into());
        let environment = variables.chain([predecessor]).map(|(name, value): (OsString, OsString)| {
            text(OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()))
        });
        let environment = environment.collect::<io::Result<Vec<_>>>()?;
        rustix::stdio::dup2_stdin(&into)?;
        // A signal that comes now waits for the new program's handlers.
        signals().thread_block()?;
        let Err(cause) = nix::unistd::execve(&path, &arguments, &environment);
        Err::<(), _>(io::Error::from(cause))
    };
    let cause = replaced.await.err().unwrap_or_else(|| io::Error::other("it returned"));
    accept_signals();
    let _ = rustix::stdio::dup2_stdin(&stdin); // the supervisor does not read it
    failed(cause)
}

/// The signals that a supervisor acts on.
fn signals() -> SigSet {
    [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect()
}

/// Unblocks signals that the previous program has held back. Call this once their handlers are installed.
pub(super) fn accept_signals() {
    let _ = signals().thread_unblock(); // cannot fail for a valid set
}

/// The first packet: how many descriptors follow.
#[derive(Serialize, Deserialize)]
struct Count(usize);

/// A socket from which [`inherited`] reads the state and the descriptors.
async fn pack(upgrade_state: &[u8], stdin: &OwnedFd, descriptors: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    let (out, into) = wire::pair()?;
    let out = wire::stream(out)?;
    let mut all = vec![OwnedFd::from(memory(upgrade_state)?), stdin.try_clone()?];
    all.extend(descriptors);
    wire::send(&out, &Packet::new(&Count(all.len()))).await?;
    while !all.is_empty() {
        let rest = all.split_off(all.len().min(MOST_DESCRIPTORS));
        wire::send(&out, &Packet { fds: all, ..Packet::new(&()) }).await?;
        all = rest;
    }
    Ok(into)
}

/// The state passed by the previous program in this process, if there was one.
/// # Errors
/// When it cannot be read: the workers are lost then.
pub(super) async fn inherited() -> Result<Option<(UpgradeState, std::vec::IntoIter<OwnedFd>)>> {
    let predecessor = std::env::var(PREDECESSOR).ok().and_then(|pid| pid.parse::<u32>().ok());
    if predecessor != Some(std::process::id()) {
        return Ok(None);
    }
    let read = async {
        let stream = wire::stream(take_over_stdin()?)?;
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let Count(count) = wire::receive(&stream).await?.ok_or_else(cut)?.message()?;
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(wire::receive(&stream).await?.ok_or_else(cut)?.fds);
        }
        let mut all = all.into_iter();
        let mut file = File::from(all.next().ok_or_else(cut)?);
        rustix::stdio::dup2_stdin(all.next().ok_or_else(cut)?)?;
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        Ok::<_, io::Error>((serde_json::from_slice(&text)?, all))
    };
    let failed = |cause| Error::new("cannot take over from the previous program").because(cause);
    Ok(Some(read.await.map_err(failed)?))
}

/// A file in memory, positioned at its start.
fn memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("upgrade-state", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
