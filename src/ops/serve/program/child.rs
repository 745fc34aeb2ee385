//! Starts a program, and sends it signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::output::{OutputTerminal, ProgramOutput};
use super::ready::Readiness;
use crate::app::process::Settings;
use crate::app::program::{AddressWords, ProgramSettings, StopSignal};
use crate::context::ProcessAddress;

/// A running program. It leads a process group.
pub(super) struct ProgramChild {
    pub(super) process: Child,
    pub(super) pid: u32,
    pub(super) readiness: Readiness,
    output: ProgramOutput,
}

impl ProgramChild {
    /// Starts it.
    /// # Errors
    /// When no process, pipe or terminal can be made.
    pub(super) fn start(
        plan: &ProgramSettings,
        settings: Settings,
        readiness: Readiness,
    ) -> io::Result<ProgramChild> {
        if let Some(ProcessAddress::Unix(path)) =
            settings.address.as_ref().filter(|_| settings.listener.is_none())
        {
            let _ = std::fs::remove_file(path); // of a program that has crashed
        }
        let words = AddressWords::of(settings.address.as_ref(), settings.listener.is_some());
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0("paster").arg("__exec").arg("--parent").arg(std::process::id().to_string());
        if settings.listener.is_some() {
            command.arg("--listen");
        }
        let terminal = if plan.terminal { Some(OutputTerminal::open()?) } else { None };
        match &terminal {
            Some(_) => drop(command.arg("--terminal")),
            None => drop(command.process_group(0)),
        }
        command.arg("--").args(plan.words.iter().map(|word| words.fill(word)));
        for (name, value) in &words.variables {
            command.env(name, value);
        }
        for name in &plan.fill {
            if let Ok(value) = std::env::var(name) {
                command.env(name, words.fill(&value));
            }
        }
        readiness.set_variables(&mut command);
        command.stdin(match settings.listener {
            Some(listener) => Stdio::from(blocking(listener)?),
            None => Stdio::null(),
        });
        let pipe = match &terminal {
            Some(terminal) => {
                command.stdout(terminal.program.try_clone()?).stderr(terminal.program.try_clone()?);
                None
            }
            None => {
                let (reader, writer) = io::pipe()?;
                command.stdout(writer.try_clone()?).stderr(writer);
                Some(reader)
            }
        };
        let mut command = Command::from(command);
        let process = command.kill_on_drop(true).spawn()?;
        drop(command); // it has the program's end of the pipe or the terminal
        let pid = process.id().unwrap_or(0);
        let output = ProgramOutput::copy(terminal, pipe)?;
        Ok(ProgramChild { process, pid, readiness, output })
    }

    /// Sends a signal to the program, and to what it has started.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid.cast_signed()) {
            let _ = rustix::process::kill_process_group(group, signal); // it may have ended
        }
    }

    /// Ends what the program has left behind: it might keep the address.
    pub(super) fn clear(&self) {
        self.signal(Signal::KILL);
    }

    /// The name by which commands reach its terminal.
    pub(super) fn terminal_name(&self) -> Option<&str> {
        self.output.terminal_name()
    }

    /// The last lines that it has written. It has ended.
    pub(super) async fn last_output(&mut self) -> String {
        self.output.last_lines().await
    }
}

/// Workers of paster do not wait for connections at it, but programs may.
fn blocking(listener: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(listener.as_fd())?;
    rustix::fs::fcntl_setfl(&listener, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(listener)
}

/// The signal.
pub(super) fn signal_of(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}
