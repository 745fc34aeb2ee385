//! The terminal that started the supervisor: HUP stops the program once it is gone, and reloads otherwise.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// A HUP within this time after the end of the terminal comes from that end. A user who kept the program
/// alive (with the shell's `disown`) may use HUP to reload it later.
const FRESH: Duration = Duration::from_secs(5);

/// The controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Since when it is known to be gone.
    gone: Option<Instant>,
}

impl Terminal {
    /// The terminal of this process; `None` without one (a service, `setsid`, output to files), or if HUP is
    /// ignored (`nohup`). Call this before installing signal handlers.
    pub(super) fn of_process() -> Option<Terminal> {
        let is_shown = stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal();
        let controls = is_shown && std::fs::File::open("/dev/tty").is_ok();
        (controls && !ignores_hup()).then_some(Terminal { gone: None })
    }

    /// Checks whether it is gone.
    pub(super) fn look(&mut self) {
        if self.gone.is_none() && is_hung_up() {
            self.gone = Some(Instant::now());
        }
    }

    /// Whether a HUP comes from its end.
    pub(super) fn has_just_gone(&mut self) -> bool {
        self.look();
        self.gone.is_some_and(|since| since.elapsed() < FRESH)
    }
}

/// Whether a standard stream is a terminal that was hung up.
fn is_hung_up() -> bool {
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    streams.into_iter().any(|stream| {
        let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).is_ok()
            && polled[0].revents().contains(PollFlags::HUP)
            && is_character_device(stream)
    })
}

/// A pipe without a reader gives the same poll result.
fn is_character_device(stream: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(stream)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice)
}

/// Whether the process was started with HUP ignored, according to proc_pid_status(5).
fn ignores_hup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1) // signal 1 is the lowest bit
}
