//! Ends the process with its parent.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// The pause between two scans for processes.
const PAUSE: Duration = Duration::from_millis(5);
/// Maximum number of scans.
const SCANS: u32 = 200;

/// Ends this process and its session when the parent ends, even if the application blocks all Python threads.
/// # Errors
/// If the kernel cannot report that end, or if the thread cannot be started.
pub(crate) fn end_with_parent() -> io::Result<()> {
    let Some(parent) = rustix::process::getppid() else { return Err(io::ErrorKind::NotFound.into()) };
    let parent = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
    // A scan needs two descriptors, and the application may have taken all others.
    let spare = File::open("/dev/null")?;
    let guard = move || {
        let mut ended = [PollFd::new(&parent, PollFlags::IN)];
        while rustix::event::poll(&mut ended, None).is_err() {}
        drop((parent, spare));
        let own = rustix::process::getpid();
        if rustix::process::getsid(None) == Ok(own) {
            end_session(own);
        } else if rustix::process::getpgrp() == own {
            let _ = rustix::process::kill_process_group(own, Signal::KILL); // ends this process too
        }
        let _ = rustix::process::kill_process(own, Signal::KILL);
    };
    std::thread::Builder::new().name("guard".into()).spawn(guard)?;
    // The parent-death signal would end only this process.
    let _ = rustix::process::set_parent_process_death_signal(None);
    Ok(())
}

/// Kills all other processes of the session that this process leads, also those in other process groups.
fn end_session(own: Pid) {
    // The next scan finds what is started meanwhile.
    for _ in 0..SCANS {
        let others = others(own);
        if others.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        for other in others.into_iter().flatten() {
            let _ = rustix::process::kill_process(other, Signal::KILL); // it may have ended already
        }
        std::thread::sleep(PAUSE);
    }
}

/// The other running processes of a session.
fn others(session: Pid) -> io::Result<Vec<Pid>> {
    let numbers = std::fs::read_dir("/proc")?.flatten();
    let numbers =
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    Ok(numbers.filter(|pid| *pid != session && belongs(*pid, session)).collect())
}

/// Whether a process is in a session and has not ended.
fn belongs(pid: Pid, session: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    // The program's name may contain spaces; the fields start after its closing parenthesis.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let runs = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    runs && fields.nth(2).and_then(|number| number.parse().ok()) == Some(session.as_raw_pid())
}
