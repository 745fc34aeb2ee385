//! `paster __exec`: the last step before a program, in its process.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use crate::error::{Error, Result};
use crate::ops::serve::process::descriptors;

/// The first descriptor that is passed to a program (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Executes `words` in the place of this process. Returns only if it fails, or if `parent` has ended. The program gets KILL
/// if `parent` dies.
///
/// With `listen`, standard input is a listening socket, which the program inherits. With `terminal`, standard output is a
/// terminal, which controls the session that the program leads.
/// # Errors
/// When there is no such program.
pub fn exec(words: &[OsString], parent: u32, listen: bool, terminal: bool) -> Result<u8> {
    descriptors::close_inherited();
    let failed = |cause: std::io::Error| Error::new("cannot prepare the program's process").because(cause);
    let Some((program, args)) = words.split_first() else { return Ok(1) };
    let mut command = Command::new(program);
    command.args(args);
    if listen {
        // The lowest free descriptor, because all others are closed.
        let socket = rustix::io::dup(std::io::stdin().as_fd()).map_err(|cause| failed(cause.into()))?;
        if socket.as_raw_fd() != FIRST {
            return Err(Error::new("cannot pass a socket to the program: descriptor 3 is in use").into());
        }
        let _ = socket.into_raw_fd(); // the program closes it
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDNAMES", "http");
    }
    if terminal {
        let _ = rustix::process::setsid(); // it leads a process group only if it was started by hand
        rustix::process::ioctl_tiocsctty(std::io::stdout()).map_err(|cause| failed(cause.into()))?;
        rustix::stdio::dup2_stdin(std::io::stdout()).map_err(|cause| failed(cause.into()))?;
    } else {
        rustix::stdio::dup2_stdin(File::open("/dev/null").map_err(failed)?)
            .map_err(|cause| failed(cause.into()))?;
    }
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let own = rustix::process::getppid().map(|pid| pid.as_raw_pid().cast_unsigned());
    if own != Some(parent) {
        return Ok(1);
    }
    let cause = command.exec();
    Err(Error::new(format!("cannot execute `{}`", program.to_string_lossy())).because(cause).into())
}
