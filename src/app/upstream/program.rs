//! A running program: its pipes, its log, and how it ends.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a program may run on after its response before it gets TERM.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long a program may take to end after TERM.
const GRACE: Duration = Duration::from_secs(2);
/// Longest line of the log; a longer one is split.
const LINE: usize = 4096;

/// A program with pipes to its standard input and output.
///
/// It leads its own process group. If it is dropped before [`Program::finished`], or when its time is over,
/// the whole group gets TERM, and KILL if it does not end.
pub(in crate::app) struct Program {
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// Tells [`watch`] that the response is complete. Dropping it earlier means that nobody waits for the
    /// response any more.
    finished: Option<oneshot::Sender<()>>,
    /// Whether its time is over.
    late: Arc<AtomicBool>,
}

impl Program {
    /// Starts `command`; what it writes to standard error is logged. The permit is held until the program has
    /// ended. At `end` it gets TERM, whether or not its response is being read.
    /// # Errors
    /// If it cannot be started.
    pub(in crate::app) fn start(
        mut command: Command,
        app: &Arc<str>,
        permit: OwnedSemaphorePermit,
        end: Instant,
    ) -> io::Result<Program> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(log(errors, app.clone()));
        }
        let (finished, told) = oneshot::channel();
        let late = Arc::<AtomicBool>::default();
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (running, app, time_is_over) = (RunningProgram { child, group }, app.clone(), late.clone());
        tokio::spawn(async move {
            let _permit = permit;
            watch(running, &app, told, end, &time_is_over).await;
        });
        Ok(Program { input: Some(input), output, finished: Some(finished), late })
    }

    /// Closes the program's input.
    pub(in crate::app) fn close_input(&mut self) {
        self.input = None;
    }

    /// Its response is complete: the program may end by itself.
    pub(in crate::app) fn finished(&mut self) {
        if let Some(finished) = self.finished.take() {
            let _ = finished.send(()); // no receiver if its time is over
        }
    }

    /// Whether its time is over. If so, its output and the end of its output mean nothing.
    pub(in crate::app) fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    pub(in crate::app) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }

    pub(in crate::app) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// A program that has not been reaped yet.
struct RunningProgram {
    child: Child,
    group: Option<Pid>,
}

impl RunningProgram {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // An error means that the group is empty.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // The worker ends before the program, which has not been reaped.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// Waits for the end of a program, and ends it when its time is over. Only this task reaps it, so its process
/// id cannot be reused in the meantime.
async fn watch(
    mut program: RunningProgram,
    app: &str,
    finished: oneshot::Receiver<()>,
    end: Instant,
    late: &AtomicBool,
) {
    let finished = tokio::select! {
        told = finished => told.is_ok(),
        () = sleep_until(end) => {
            late.store(true, Ordering::Release);
            false
        }
    };
    if finished {
        match timeout(AFTERWARDS, program.child.wait()).await {
            Ok(Ok(status)) if !status.success() => {
                return tracing::warn!(app, "the program ended with {status}");
            }
            Ok(_) => return,
            Err(_) => tracing::warn!(app, "the program still runs after its response: stopping it"),
        }
    }
    program.signal(Signal::TERM);
    let graceful = timeout(GRACE, program.child.wait()).await;
    // Children that ignored the signal may be left.
    program.signal(Signal::KILL);
    if graceful.is_err() {
        let _ = program.child.wait().await;
    }
}

/// Logs what a program writes to standard error, line by line.
async fn log(mut errors: ChildStderr, app: Arc<str>) {
    let mut buffer = Vec::with_capacity(LINE);
    while let Ok(1..) = errors.read_buf(&mut buffer).await {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            told(&buffer[..end], &app);
            buffer.drain(..=end);
        }
        if buffer.len() >= LINE {
            told(&buffer, &app);
            buffer.clear();
        }
    }
    told(&buffer, &app);
}

fn told(line: &[u8], app: &str) {
    let line = line.trim_ascii_end();
    if !line.is_empty() {
        tracing::warn!(app, "{}", plain_text(line));
    }
}

/// Text for a log: it cannot move the reader's cursor.
pub(in crate::app) fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
