//! A kernel's process: starts it with limits in its own process group, signals it, and reports why it ended.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::cgroup::Cgroup;
use super::sandbox::{self, SandboxFiles};
use super::wire::{KernelLimits, Launch};

/// How many bytes of the process's stdout and stderr are kept.
const TAIL_BYTES: usize = 4 << 10;

/// A running process and its group.
pub(super) struct Process {
    child: Child,
    pid: Pid,
    tail: Arc<Mutex<VecDeque<u8>>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    /// Last, because it ends what the process has left behind.
    _cgroup: Option<Cgroup>,
}

impl Process {
    /// Starts `launch`'s program. `told` replaces `{connection_file}` or, for the built-in kernel, follows
    /// the arguments.
    pub(super) fn start(launch: &Launch, told: &Path) -> io::Result<Process> {
        let private = told.parent().unwrap_or(told);
        let told = told.to_string_lossy();
        let mut arguments: Vec<String> = launch
            .argv
            .iter()
            .map(|part| {
                part.replace("{connection_file}", &told).replace("{resource_dir}", &launch.resource_dir)
            })
            .collect();
        if launch.built_in.is_some() {
            arguments.push(told.into_owned());
        }
        if let Some(sandbox) = &launch.sandbox {
            if sandbox.files == SandboxFiles::Writable {
                std::fs::create_dir_all(&sandbox.home)?;
            }
            let Launch { env, folder, resource_dir, .. } = launch;
            arguments = sandbox::wrap(sandbox, &arguments, env, folder, resource_dir, private);
        }
        let limits = &launch.limits;
        let cgroup = limits
            .cgroup
            .as_ref()
            .map(|folder| Cgroup::make(Path::new(folder), "run", limits))
            .transpose()?;
        arguments = limited(arguments, limits);
        if let Some(cgroup) = &cgroup {
            arguments = cgroup.enter(&arguments);
        }
        // In a session of its own, the system gives it as much of the processors as the server and each other kernel together with
        // all that it starts (`sched(7)`, autogroups).
        let session = sandbox::find("setsid").map(|program| program.to_string_lossy().into_owned());
        let has_session = session.is_some();
        arguments.splice(..0, session);
        let (program, arguments) =
            arguments.split_first().ok_or_else(|| io::Error::other("the kernelspec has no argv"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if !has_session {
            command.process_group(0);
        }
        // The server's own environment may contain secrets.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PASTER_"))
        {
            command.env_remove(name);
        }
        command.env("JPY_PARENT_PID", std::process::id().to_string());
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| io::Error::other("no process id"))?;
        set_limits(pid, &launch.limits);
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(keep_tail(stdout, tail.clone())));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(keep_tail(stderr, tail.clone())));
        }
        Ok(Process { child, pid, tail, readers, _cgroup: cgroup })
    }

    /// Its process id, which is also its group's id.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends a signal to its whole group.
    pub(super) fn signal(&self, signal: Signal) {
        // It has no group before `setsid` has run. After its end, its id may belong to another process.
        let signalled = rustix::process::kill_process_group(self.pid, signal);
        if signalled.is_err() && self.child.id().is_some() {
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Waits for its end, and describes it for users: how it ended and what it wrote last. May be cancelled
    /// and called again.
    pub(super) async fn ended(&mut self) -> String {
        let how = match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("its end could not be awaited: {error}"),
        };
        // Children may keep the pipes open, so the rest is not waited for long.
        while let Some(reader) = self.readers.last_mut() {
            let _ = tokio::time::timeout(Duration::from_millis(200), reader).await;
            self.readers.pop(); // at once: the next call must not wait again for a finished one
        }
        let tail: Vec<u8> = self.tail.lock().iter().copied().collect();
        let tail = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        if last.is_empty() { how } else { format!("{how}; its last output:\n{last}") }
    }

    /// Waits for its end. May be cancelled and called again.
    pub(super) async fn exited(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Waits at most `grace` for its end, then kills it and its group.
    pub(super) async fn end_within(&mut self, grace: Duration) {
        if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.child.wait().await;
        }
        // Kill what it left behind in its group.
        self.signal(Signal::KILL);
    }
}

/// The command that runs `arguments` with these limits. It sets them before the program starts, because bubblewrap starts the
/// kernel at once, which would not get limits that are set later.
fn limited(arguments: Vec<String>, limits: &KernelLimits) -> Vec<String> {
    let mut script = String::new();
    let mut add = |option: &str, value: Option<u64>| {
        if let Some(value) = value {
            script.push_str(&format!("ulimit -{option} {value}; "));
        }
    };
    // In KiB, and in blocks of 512 bytes (POSIX, `ulimit`).
    if limits.cgroup.is_none() {
        add("v", limits.memory_bytes.map(|bytes| bytes / 1024));
    }
    add("t", limits.cpu_secs);
    add("f", limits.file_bytes.map(|bytes| bytes / 512));
    if script.is_empty() {
        return arguments;
    }
    script.push_str("exec \"$@\"");
    ["sh", "-c", &script, "sh"].into_iter().map(str::to_owned).chain(arguments).collect()
}

pub(super) fn set_limits(pid: Pid, limits: &KernelLimits) {
    let set = |resource: Resource, value: Option<u64>| {
        let Some(value) = value else { return };
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        if let Err(error) = rustix::process::prlimit(Some(pid), resource, limit) {
            tracing::warn!(?resource, %error, "cannot set a limit of a kernel");
        }
    };
    set(Resource::Core, Some(0));
    // The cgroup counts better: what is used rather than reserved, and this kernel's processes only.
    if limits.cgroup.is_none() {
        set(Resource::As, limits.memory_bytes);
        set(Resource::Nproc, limits.processes);
    }
    set(Resource::Cpu, limits.cpu_secs);
    set(Resource::Fsize, limits.file_bytes);
}

async fn keep_tail(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut chunk = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let mut tail = tail.lock();
        tail.extend(&chunk[..count]);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(9)) => "was killed (signal 9), by a user or because memory ran out".to_owned(),
        (None, Some(number)) => match signal_name(number) {
            Some(name) => format!("was ended by signal {number} ({name})"),
            None => format!("was ended by signal {number}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "hang-up",
        2 => "interrupt",
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        11 => "segmentation fault",
        15 => "termination",
        24 => "CPU time limit",
        25 => "file size limit",
        31 => "forbidden system call",
        _ => return None,
    })
}
