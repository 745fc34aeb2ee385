//! `paster __side`: a side process of a plugin, seen from inside.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::process::credentials::Credentials;
use super::process::{descriptors, log};
use crate::error::{Error, Result};
use crate::plugin::Library;

/// How long it may continue after the end of the supervisor.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the side process `name` of the plugin `library` in this process (`paster __side`); returns its exit
/// status.
///
/// It gets TERM when the supervisor dies, and is killed some seconds later if it is still running.
/// # Errors
/// When the library cannot be loaded.
pub fn side(library: &Path, name: &str, parent: u32, credentials: &str) -> Result<u8> {
    descriptors::close_inherited();
    let lost = |cause: io::Error| Error::new("the side process has no socket").because(cause);
    let listener = descriptors::take_over_stdin().map_err(lost)?;
    let credentials: Credentials = serde_json::from_str(credentials)
        .map_err(|cause| Error::usage("the side process cannot read its credentials").because(cause))?;
    credentials.drop_privileges()?;
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let parent =
        Pid::from_raw(parent.cast_signed()).filter(|parent| rustix::process::getppid() == Some(*parent));
    let Some(Ok(parent)) = parent.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())) else {
        return Ok(1); // the supervisor ended while this process was starting
    };
    let _ = std::fs::write("/proc/self/comm", "paster side"); // for `ps`
    log::start(&Default::default(), None, None, Default::default(), None)?;
    std::thread::spawn(move || {
        let mut ended = [rustix::event::PollFd::new(&parent, rustix::event::PollFlags::IN)];
        while rustix::event::poll(&mut ended, None).is_err() {}
        std::thread::sleep(GRACE);
        std::process::exit(1);
    });
    let code = Library::load(library)?.run_side(name, listener)?;
    Ok(u8::try_from(code).unwrap_or(1))
}
