//! The stacks of all threads.
//!
//! On the signal USR2, faulthandler writes the stacks to a pipe. This does not need the interpreter lock, so it also works for
//! a process that hangs. A thread reads the pipe and sends the stacks to the requester, or else to the log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use paster_frames::Kind;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::control::Reporter;
use crate::descriptors;

/// The stacks are complete after a pause of this length.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Maximum length of the text in bytes. A longer text is truncated.
const MOST: usize = 1 << 20;

/// Whether the control socket has requested the next stacks.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Sends the stacks to the starter of this process.
pub(crate) fn send() {
    WANTED.store(true, Ordering::Release);
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::USR2); // cannot fail: the signal is for this process
}

/// Starts the thread. Returns faulthandler's end of the pipe, which drops what does not fit.
pub(crate) fn collect(reporter: Reporter) -> io::Result<OwnedFd> {
    let (pipe, stacks) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&stacks, rustix::fs::OFlags::NONBLOCK)?;
    descriptors::remember(&pipe);
    let mut pipe = File::from(pipe);
    let collector = move || {
        while let Ok(text @ [_, ..]) = read(&mut pipe).as_deref() {
            if WANTED.swap(false, Ordering::AcqRel) {
                reporter.send(Kind::Stacks, String::from_utf8_lossy(text).as_bytes());
            } else {
                let _ = io::stderr().lock().write_all(text); // there is nowhere to report this without standard error
            }
        }
    };
    std::thread::Builder::new().name("stacks".into()).spawn(collector)?;
    Ok(stacks)
}

/// The text that is written until there is a pause.
fn read(pipe: &mut File) -> io::Result<Vec<u8>> {
    let (mut text, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = pipe.read(&mut chunk)?;
        text.extend_from_slice(&chunk[..count.min(MOST - text.len())]);
        let mut ready = [PollFd::new(&*pipe, PollFlags::IN)];
        if count == 0 || matches!(rustix::event::poll(&mut ready, Some(&PAUSE)), Ok(0)) {
            return Ok(text);
        }
    }
}
