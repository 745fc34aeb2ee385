//! The end of the log, in memory: the supervisor's lines, and what its children write to standard error.
//!
//! Each child writes into a pipe. A thread per pipe copies it to the supervisor's standard error and into
//! this buffer, so that a terminal that accepts nothing blocks only the child.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::ops::control::LogLine;
use crate::ops::serve::process::clock::now_ms;

/// Size of the buffer, in bytes.
const MOST: usize = 1 << 20;
/// How many chunks a follower may lag behind.
const BEHIND: usize = 512;
/// A longer line is split.
const LONGEST_LINE: usize = 64 << 10;

/// Some lines of one writer.
#[derive(Debug)]
pub(super) struct LogChunk {
    at_ms: u64,
    from: Arc<str>,
    text: Box<[u8]>,
}

impl LogChunk {
    pub(super) fn new(from: impl Into<Arc<str>>, text: impl Into<Vec<u8>>) -> LogChunk {
        LogChunk { at_ms: now_ms(), from: from.into(), text: text.into().into() }
    }

    /// Its lines.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        let text = String::from_utf8_lossy(&self.text);
        let line =
            |text: &str| LogLine { at_ms: self.at_ms, from: self.from.to_string(), text: text.to_owned() };
        text.lines().map(line).collect()
    }
}

/// The end of the log. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogBuffer(Arc<BufferedLog>);

#[derive(Debug)]
struct BufferedLog {
    kept: Mutex<BufferedChunk>,
    followers: broadcast::Sender<Arc<LogChunk>>,
}

#[derive(Debug, Default)]
struct BufferedChunk {
    pieces: VecDeque<Arc<LogChunk>>,
    bytes: usize,
}

impl LogBuffer {
    pub(super) fn new() -> LogBuffer {
        LogBuffer(Arc::new(BufferedLog { kept: Mutex::default(), followers: broadcast::Sender::new(BEHIND) }))
    }

    /// Adds lines.
    pub(super) fn push(&self, piece: LogChunk) {
        let piece = Arc::new(piece);
        let mut kept = self.0.kept.lock();
        kept.bytes += piece.text.len();
        kept.pieces.push_back(piece.clone());
        while kept.bytes > MOST
            && let Some(old) = kept.pieces.pop_front()
        {
            kept.bytes -= old.text.len();
        }
        let _ = self.0.followers.send(piece); // no followers
    }

    /// The last `count` lines, and a receiver for those that follow.
    pub(super) fn look(&self, count: usize) -> (Vec<LogLine>, broadcast::Receiver<Arc<LogChunk>>) {
        let kept = self.0.kept.lock();
        let next = self.0.followers.subscribe();
        let mut lines = Vec::new();
        for piece in kept.pieces.iter().rev() {
            if lines.len() >= count {
                break;
            }
            lines.extend(piece.lines().into_iter().rev());
        }
        lines.truncate(count);
        lines.reverse();
        (lines, next)
    }

    /// Copies what is written to `pipe` to the supervisor's standard error and into the buffer, until all
    /// writers have closed it. Returns the thread that does so.
    pub(super) fn tee(&self, from: String, pipe: OwnedFd) -> JoinHandle<()> {
        let (log_buffer, from): (LogBuffer, Arc<str>) = (self.clone(), from.into());
        std::thread::spawn(move || {
            let mut pipe = std::fs::File::from(pipe);
            let mut chunk = vec![0; 32 << 10];
            let mut rest = Vec::new();
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                let new = &chunk[..count];
                // Nothing can be reported if standard error is closed.
                let _ = std::io::stderr().lock().write_all(new);
                rest.extend_from_slice(new);
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                let whole = whole.or((rest.len() > LONGEST_LINE).then_some(rest.len()));
                if let Some(whole) = whole {
                    let left = rest.split_off(whole);
                    log_buffer.push(LogChunk::new(from.clone(), std::mem::replace(&mut rest, left)));
                }
            }
            if !rest.is_empty() {
                log_buffer.push(LogChunk::new(from, rest));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_followed() {
        let log_buffer = LogBuffer::new();
        log_buffer.push(LogChunk::new("a", "one\ntwo\n"));
        log_buffer.push(LogChunk::new("b", "three"));
        let (lines, mut next) = log_buffer.look(2);
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["two", "three"]);
        log_buffer.push(LogChunk::new("a", vec![b'x'; MOST]));
        assert_eq!(next.try_recv().unwrap().lines().len(), 1);
        assert_eq!(log_buffer.look(9).0.len(), 1, "lines beyond the limit are dropped");
    }

    #[test]
    fn a_pipe_is_kept_in_whole_lines() {
        let log_buffer = LogBuffer::new();
        let (_, mut next) = log_buffer.look(0);
        let (reader, mut writer) = std::io::pipe().unwrap();
        log_buffer.tee("worker 1".into(), reader.into());
        writer.write_all(b"first\nsec").unwrap();
        writer.write_all(b"ond").unwrap();
        drop(writer);
        let mut lines = Vec::new();
        while lines.len() < 2 {
            lines.extend(next.blocking_recv().unwrap().lines());
        }
        assert_eq!((lines[0].text.as_str(), lines[1].text.as_str()), ("first", "second"));
    }
}
