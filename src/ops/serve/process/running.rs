//! A child process, watched by its descriptor. The previous program may have started it.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::{fmt, io};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::io::unix::AsyncFd;

/// A process that is running, or has ended and is not yet reaped. Dropping this kills it.
pub(crate) struct Running {
    pid: Pid,
    fd: AsyncFd<OwnedFd>,
    ended: bool,
}

impl Running {
    /// Starts `command`.
    ///
    /// Call this on the process's main thread only: the kernel ends a child with the *thread* that started
    /// it.
    /// # Errors
    /// When no process can be started.
    pub(crate) fn start(command: &mut Command) -> io::Result<Running> {
        let child = command.spawn()?;
        Running::adopt(child.id())
    }

    /// Takes over the child `pid` of this process, which must not be reaped yet.
    /// # Errors
    /// When it is not a child of this process.
    pub(crate) fn adopt(pid: u32) -> io::Result<Running> {
        let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "an `OwnedFd` keeps what `register` asks its callers to keep")]
        let fd = AsyncFd::new(fd)?;
        Ok(Running { pid, fd, ended: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Waits for its end and reaps it. Safe to cancel.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        loop {
            // Neither call can fail for a child of this process; after an error there would be nothing to
            // wait for.
            let Ok(mut ready) = self.fd.readable().await else { return ExitStatus::default() };
            match rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG) {
                Ok(None) => ready.clear_ready(),
                Ok(Some((_, status))) => {
                    self.ended = true;
                    return ExitStatus::from_raw(status.as_raw());
                }
                Err(_) => {
                    self.ended = true;
                    return ExitStatus::default();
                }
            }
        }
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.ended {
            let _ = rustix::process::pidfd_send_signal(self.fd.get_ref(), signal); // it may have ended already
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid.as_raw_pid())
    }
}
