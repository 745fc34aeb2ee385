//! The descriptors that a process of paster starts with.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Closes all descriptors except the three standard ones. Call this before anything is opened.
///
/// The supervisor's own inherited descriptors (systemd's sockets, `fd:N`, a shell's lock) must stay open
/// there across an exec, so they have no close-on-exec flag and every child inherits them. They must not stay
/// open here: a program that an application starts could accept connections with them, or keep the address in
/// use after the server has ended.
pub(crate) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let numbers: Vec<_> = entries.flatten().filter_map(number).filter(|number| *number > 2).collect();
    for number in numbers {
        let _ = nix::unistd::close(number); // one of them was the directory listing
    }
}

/// Takes the socket from standard input, and replaces it by `/dev/null`.
pub(crate) fn take_over_stdin() -> std::io::Result<OwnedFd> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}
