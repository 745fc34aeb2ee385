//! `paster __app`: what runs in a process of an application before its program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use super::process::credentials::Credentials;
use super::process::descriptors;
use crate::error::{Error, Result};

/// Takes on the credentials, and executes `words` in the place of this process. Returns only if it fails, or if the
/// supervisor has ended.
///
/// The process leads its own session, so that all its child processes can be ended with it. It gets KILL if the
/// supervisor dies.
/// # Errors
/// If the credentials cannot be set, or if there is no such program.
pub fn app(words: &[OsString], parent: u32, credentials: &str) -> Result<u8> {
    descriptors::close_inherited();
    let _ = rustix::process::setsid(); // fails if it was started by hand
    let credentials: Credentials = serde_json::from_str(credentials)
        .map_err(|cause| Error::usage("the process cannot read its credentials").because(cause))?;
    credentials.drop_privileges()?;
    // A change of the user makes the kernel forget this, and executing a program does not.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let own = rustix::process::getppid().map(|pid| pid.as_raw_pid().cast_unsigned());
    let Some((program, args)) = words.split_first().filter(|_| own == Some(parent)) else { return Ok(1) };
    let cause = Command::new(program).args(args).exec();
    Err(Error::new(format!("cannot execute `{}`", program.to_string_lossy())).because(cause).into())
}
