//! The stacks of all threads.
//!
//! The signal USR2 lets faulthandler write them to a pipe. It does not need the interpreter, so they also tell what a process
//! that hangs is doing. A thread reads the pipe, and passes them to who has asked, or else to the log.

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

/// Nothing more is written after a pause of this length.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// A longer text is cut, in bytes.
const MOST: usize = 1 << 20;

/// Whether the control socket has asked for the next ones.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Sends the stacks to who has started this process.
pub(crate) fn send() {
    WANTED.store(true, Ordering::Release);
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::USR2); // cannot fail: it is this process
}

/// Starts the thread. Returns the end of the pipe for faulthandler, which drops what does not fit.
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
                let _ = io::stderr().lock().write_all(text); // nothing can be told without standard error
            }
        }
    };
    std::thread::Builder::new().name("stacks".into()).spawn(collector)?;
    Ok(stacks)
}

/// What is written until there is a pause.
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
