//! A running program: its pipes, its log, its end.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::OwnedSemaphorePermit;

/// How long a program that has answered may go on before it is asked to end.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long a program that is asked to end may take.
const GRACE: Duration = Duration::from_secs(2);
/// Longest line of the log; the rest of it comes as further lines.
const LINE: usize = 4096;

/// A program with pipes to its standard input and output.
///
/// It leads a process group of its own. Dropped before [`Program::finished`] the whole group is asked to end, and
/// killed when it does not.
pub(in crate::app) struct Program {
    app: Arc<str>,
    input: Option<ChildStdin>,
    output: ChildStdout,
    child: Option<Child>,
    permit: Option<OwnedSemaphorePermit>,
    finished: bool,
}

impl Program {
    /// Starts `command`; what it writes to standard error is logged. The permit is held until it has ended.
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        mut command: Command,
        app: &Arc<str>,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Program> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(log(errors, app.clone()));
        }
        let (app, input, permit) = (app.clone(), Some(input), Some(permit));
        Ok(Program { app, input, output, child: Some(child), permit, finished: false })
    }

    /// The program sees the end of its input.
    pub(in crate::app) fn close_input(&mut self) {
        self.input = None;
    }

    /// Its answer is whole: it may end by itself.
    pub(in crate::app) fn finished(&mut self) {
        self.finished = true;
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

impl Drop for Program {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let signal = move |signal| {
            if let Some(group) = group {
                // An error means that nobody of the group is left.
                let _ = kill_process_group(group, signal);
            }
        };
        self.input = None;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return signal(Signal::KILL) };
        let (finished, app, permit) = (self.finished, self.app.clone(), self.permit.take());
        if !finished {
            signal(Signal::TERM);
        }
        runtime.spawn(async move {
            let _permit = permit;
            let mut ended = None;
            if finished {
                ended = tokio::time::timeout(AFTERWARDS, child.wait()).await.ok();
                if ended.is_none() {
                    tracing::warn!(app = &*app, "the program goes on after its answer: it is ended");
                    signal(Signal::TERM);
                }
            }
            if ended.is_none() {
                let graceful = tokio::time::timeout(GRACE, child.wait()).await;
                // Children of its own may be left that did not heed the signal.
                signal(Signal::KILL);
                if graceful.is_err() {
                    let _ = child.wait().await;
                }
                return;
            }
            match ended {
                Some(Ok(status)) if !status.success() => {
                    tracing::warn!(app = &*app, "the program ended with {status}");
                }
                _ => {}
            }
        });
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

/// Text for a log: nothing in it moves the cursor of whoever reads it.
pub(in crate::app) fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
