//! A pseudoterminal, and the program that it is the terminal of.
//!
//! # Source
//! pty(7), setsid(1).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::process::{Child, Command};

use crate::kernel::process::set_limits;
use crate::kernel::sandbox;
use crate::kernel::wire::TerminalLaunch;

/// Starts the program as the leader of a session whose terminal is a new one.
pub(super) fn start(launch: &TerminalLaunch, private: &Path) -> io::Result<(OwnedFd, Child)> {
    let pty = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&pty)?;
    rustix::pty::unlockpt(&pty)?;
    let name = rustix::pty::ptsname(&pty, Vec::new())?;
    let flags = rustix::fs::fcntl_getfl(&pty)?;
    rustix::fs::fcntl_setfl(&pty, flags | rustix::fs::OFlags::NONBLOCK)?;
    resize(&pty, (24, 80));
    let name = Path::new(std::ffi::OsStr::new(name.to_str().map_err(io::Error::other)?));
    let side = OpenOptions::new().read(true).write(true).open(name)?;
    let mut arguments = launch.argv.clone();
    if let Some(sandbox) = &launch.sandbox {
        std::fs::create_dir_all(&sandbox.home)?;
        arguments = sandbox::wrap(sandbox, &arguments, &launch.env, &launch.folder, "", private);
    }
    // `--ctty` gives the session its terminal, which std cannot do.
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .args(arguments)
        .current_dir(&launch.folder)
        .stdin(Stdio::from(side.try_clone()?))
        .stdout(Stdio::from(side.try_clone()?))
        .stderr(Stdio::from(side))
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PASTER_")) {
        command.env_remove(name);
    }
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    let child = command.spawn()?;
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        set_limits(pid, &launch.limits);
    }
    Ok((pty, child))
}

/// Sets the number of rows and columns for the programs in a terminal.
pub(super) fn resize(pty: &OwnedFd, (rows, columns): (u16, u16)) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(error) = rustix::termios::tcsetwinsize(pty, size) {
        tracing::debug!(%error, "cannot set the size of a terminal");
    }
}

/// Takes the complete characters from the start of `bytes`. Broken ones are replaced.
pub(super) fn complete_text(bytes: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        // A character that continues in the next part.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => {
            let tail = bytes.iter().rev().take(3).position(|byte| *byte >= 0xc0).map_or(0, |at| at + 1);
            bytes.len() - tail
        }
    };
    let rest = bytes.split_off(end);
    let text = String::from_utf8_lossy(bytes).into_owned();
    bytes.clear();
    bytes.extend_from_slice(&rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        let mut bytes = "aé".as_bytes()[..2].to_vec();
        assert_eq!(complete_text(&mut bytes), "a");
        bytes.extend_from_slice(&"é€".as_bytes()[1..4]);
        assert_eq!(complete_text(&mut bytes), "é");
        assert_eq!(bytes, "€".as_bytes()[..2]);
        let mut broken = b"a\xffb\xe2\x82".to_vec();
        assert_eq!(
            (complete_text(&mut broken).as_str(), broken.as_slice()),
            ("a\u{fffd}b", &b"\xe2\x82"[..])
        );
    }
}
