//! The programs that a build runs: their output, and how they end.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;

/// Kills a whole process group when the future that waits for it is dropped: cargo starts compilers, npm
/// starts node.
pub(super) struct ProcessGroup(Option<rustix::process::Pid>);

impl ProcessGroup {
    pub(super) fn of(child: &Child) -> ProcessGroup {
        ProcessGroup(child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())))
    }

    pub(super) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that all processes have ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Reads lines in the background.
pub(super) fn lines(
    pipe: Option<impl AsyncRead + Send + Unpin + 'static>,
) -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
    if let Some(pipe) = pipe {
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line).await {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
    }
    lines
}

/// Finds a program in the search path.
pub(super) fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
