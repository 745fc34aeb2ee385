//! How a process has ended, and what follows.

use std::fmt;
use std::time::{Duration, Instant};

use super::group::GroupOwner;
use crate::app::process::{LoadFailure, ProcessSpec, Restart};
use crate::ops::serve::process::backoff::Backoff;
use crate::ops::serve::supervisor::event::Event;

/// How a process has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was to end.
    Stopped,
    /// It could not load the application.
    Failed(LoadFailure),
    /// By itself, with its last output.
    Exited(String, String),
    /// Somebody has killed it after it was ready.
    Killed(String),
    /// By itself, with success.
    Finished,
    /// Another one has taken its place.
    Replaced,
}

impl Ended {
    /// The outcome of a first start that has ended like this.
    pub(super) fn of_first_start(&self, spec: &ProcessSpec) -> Result<(), LoadFailure> {
        let traceback = match self {
            Ended::Finished if spec.once => return Ok(()),
            Ended::Failed(failure) => return Err(failure.clone()),
            Ended::Exited(_, output) => output.clone(),
            _ => String::new(),
        };
        let summary = format!("its process ended while it was loaded ({self})");
        Err(LoadFailure { summary, traceback, ..LoadFailure::default() })
    }

    /// Whether the process starts again.
    pub(super) fn restarts(&self, spec: &ProcessSpec) -> bool {
        match spec.restart {
            _ if spec.once => false,
            Restart::Always => true,
            Restart::OnFailure => !matches!(self, Ended::Finished),
            Restart::Never => false,
        }
    }

    /// The pause before the next start of a process that has run for `lasted`.
    pub(super) fn pause(&self, backoff: &mut Backoff, lasted: Duration) -> Duration {
        match self {
            Ended::Killed(_) => backoff.next_of_killed(Instant::now()),
            _ => backoff.next(Instant::now(), lasted),
        }
    }

    /// What is reported of process `index` of `owner`. `pause` is the time until it starts again; `None` if it does not.
    pub(super) fn event(&self, owner: &GroupOwner, index: usize, pause: Option<Duration>) -> Event {
        let ms = pause.map_or(0, |pause| pause.as_millis());
        let message = match self {
            Ended::Failed(failure) if pause.is_some() => {
                let what = if failure.traceback.is_empty() { &failure.summary } else { &failure.traceback };
                format!(
                    "process {index} of {owner} could not load the application; retrying in {ms} ms: {what}"
                )
            }
            // It keeps failing.
            Ended::Exited(status, output) if ms > 0 => {
                let output =
                    if output.is_empty() { String::new() } else { format!("; its last output:\n{output}") };
                format!("process {index} of {owner} ended: {status}; restarting it in {ms} ms{output}")
            }
            _ => {
                return Event::AppExit {
                    app: owner.name.clone(),
                    program: owner.is_program,
                    process: index,
                    status: self.to_string(),
                    restarts: pause.is_some(),
                };
            }
        };
        Event::Warning { message }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(status, _) | Ended::Killed(status) => write!(f, "{status}"),
            Ended::Failed(failure) => write!(f, "{}", failure.summary),
            Ended::Stopped | Ended::Finished | Ended::Replaced => write!(f, "exit status: 0"),
        }
    }
}
