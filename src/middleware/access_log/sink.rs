//! Where lines go: they are collected in memory and written in batches by one thread, so that no request
//! waits for a disk.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::config::{Files, Purpose};
use crate::context::Reopen;

/// Maximum bytes that may wait in memory. If the disk is too slow, further lines are dropped and counted.
const MOST: usize = 4 * 1024 * 1024;
/// A batch is written when it has this many bytes, …
const BATCH: usize = 64 * 1024;
/// … or this long after its first line.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often to check whether the file was moved away.
const LOOK: Duration = Duration::from_secs(1);

/// Where the lines are written.
#[derive(Debug, Clone)]
pub(in crate::middleware) enum LogTarget {
    Stderr,
    Stdout,
    File(PathBuf, Files),
}

/// Accepts lines. On drop, the lines that it holds are written first.
pub(in crate::middleware) struct LineSink {
    shared: Arc<SinkShared>,
    target: LogTarget,
    reopen: Reopen,
    /// Started by the first line, so that a config that is only checked starts no thread.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct SinkShared {
    state: Mutex<SinkState>,
    wake: Condvar,
}

#[derive(Default)]
struct SinkState {
    lines: Vec<u8>,
    dropped: u64,
    started: bool,
    closed: bool,
}

impl LineSink {
    pub(in crate::middleware) fn new(target: LogTarget, reopen: Reopen) -> LineSink {
        LineSink { shared: Arc::default(), target, reopen, thread: Mutex::new(None) }
    }

    /// Accepts a line with its line break, in parts.
    pub(in crate::middleware) fn write(&self, line: &[&[u8]]) {
        let length: usize = line.iter().map(|part| part.len()).sum();
        let mut state = self.shared.state();
        if state.lines.len() + length > MOST {
            state.dropped += 1;
            return;
        }
        let (before, after) = (state.lines.len(), state.lines.len() + length);
        let wakes = before == 0 || (before < BATCH && after >= BATCH);
        state.lines.reserve(length);
        line.iter().for_each(|part| state.lines.extend_from_slice(part));
        if !std::mem::replace(&mut state.started, true) {
            drop(state);
            let (shared, output) = (self.shared.clone(), LogOutput::new(&self.target, self.reopen.clone()));
            let thread = std::thread::Builder::new().name("access_log".into());
            match thread.spawn(move || shared.run(output)) {
                Ok(handle) => {
                    *self.thread.lock() = Some(handle);
                }
                // The next line tries again.
                Err(error) => {
                    self.shared.state().started = false;
                    tracing::error!("cannot start the access log's thread: {error}");
                }
            }
        } else if wakes {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for LineSink {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // It never panics. If it did, there would be nothing left to write.
            let _ = thread.join();
        }
    }
}

impl SinkShared {
    fn state(&self) -> MutexGuard<'_, SinkState> {
        self.state.lock()
    }

    fn run(&self, mut output: LogOutput) {
        let mut batch = Vec::new();
        // Number of lines lost since the error was logged.
        let mut lost: Option<usize> = None;
        loop {
            let (dropped, closed) = {
                let mut state = self.state();
                while state.lines.is_empty() && !state.closed {
                    self.wake.wait(&mut state);
                }
                let fills = |state: &mut SinkState| state.lines.len() < BATCH && !state.closed;
                self.wake.wait_while_for(&mut state, fills, PATIENCE);
                std::mem::swap(&mut batch, &mut state.lines);
                (std::mem::take(&mut state.dropped), state.closed)
            };
            let lines = || batch.iter().filter(|byte| **byte == b'\n').count();
            match (output.write(&batch), lost) {
                (Ok(()), _) if batch.is_empty() => {}
                (Ok(()), None) => {}
                (Ok(()), Some(count)) => {
                    tracing::info!("the access log can be written again; {count} lines were lost");
                    lost = None;
                }
                (Err(_), Some(count)) => lost = Some(count + lines()),
                (Err(error), None) => {
                    tracing::error!("cannot write the access log: {error}");
                    lost = Some(lines());
                }
            }
            if dropped > 0 {
                tracing::error!("the access log is too slow: {dropped} lines were dropped");
            }
            batch.clear();
            if closed {
                return;
            }
        }
    }
}

/// The open output of a target.
struct LogOutput {
    target: LogTarget,
    file: Option<File>,
    looked: Instant,
    reopen: Reopen,
    /// The value of `reopen` when the file was opened.
    opened: u64,
}

impl LogOutput {
    fn new(target: &LogTarget, reopen: Reopen) -> LogOutput {
        let opened = reopen.count();
        LogOutput { target: target.clone(), file: None, looked: Instant::now(), reopen, opened }
    }

    fn write(&mut self, batch: &[u8]) -> std::io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (path, files) = match &self.target {
            LogTarget::Stderr => return std::io::stderr().lock().write_all(batch),
            LogTarget::Stdout => {
                let mut stdout = std::io::stdout().lock();
                return stdout.write_all(batch).and_then(|()| stdout.flush());
            }
            LogTarget::File(path, files) => (path.clone(), files.clone()),
        };
        let asked = self.reopen.count();
        if asked != self.opened {
            (self.file, self.opened) = (None, asked);
        }
        if self.file.is_some() && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if !self.is_still(&path) {
                self.file = None;
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(files.open(&path, Purpose::Append)?),
        };
        file.write_all(batch)
    }

    /// Whether the path still names the open file.
    fn is_still(&self, path: &Path) -> bool {
        let named = std::fs::metadata(path).ok();
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        named.map(identity) == open.map(identity)
    }
}
