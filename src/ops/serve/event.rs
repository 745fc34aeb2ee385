//! What `paster serve` tells: events for the terminal, for `--json` and for the page of a developer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Class, Error, Errors, Origin};

/// Something that happened, in the order in which it did. `cli` renders it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The supervisor has begun.
    Starting {
        /// Its process id.
        pid: u32,
    },
    /// An app's library is being built.
    Building {
        /// Name of the app.
        app: String,
    },
    /// One more line of a build's progress: the crate or the step at work.
    Progress {
        /// Name of the app.
        app: String,
        /// What is being done.
        text: String,
        /// Finished parts, when they can be counted.
        done: Option<u64>,
    },
    /// A build has ended well.
    Built {
        /// Name of the app.
        app: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// Something to know that does not stop the start.
    Warning {
        /// Lower case, no full stop.
        message: String,
    },
    /// A socket listens.
    Listening {
        /// Name of the server.
        server: String,
        /// Where to reach it.
        url: String,
    },
    /// The first generation serves.
    Ready {
        /// Its number.
        generation: u64,
        /// From the program's start, in milliseconds.
        ms: u64,
    },
    /// A new generation is being made.
    Reloading {
        /// Why.
        reason: Reason,
        /// What has changed, for people.
        detail: String,
    },
    /// A new generation serves.
    Reloaded {
        /// Its number.
        generation: u64,
        /// From the reason's arrival, in milliseconds.
        ms: u64,
        /// Of these, spent in builds.
        cargo_ms: u64,
    },
    /// A new generation could not be made; the old one, if there is one, serves on.
    ReloadFailed {
        /// Number of the generation that serves; 0 when none does.
        generation: u64,
        /// What is wrong.
        errors: Vec<Fault>,
    },
    /// A worker process has ended.
    WorkerExit {
        /// Its generation.
        generation: u64,
        /// Its process id.
        pid: u32,
        /// `exit status: 0`, `signal: 9 (SIGKILL)`.
        status: String,
        /// Whether it was meant to end.
        expected: bool,
    },
    /// A side process has ended and is started anew.
    SideExit {
        /// Name of the app.
        app: String,
        /// Name of the side process.
        name: String,
        /// As for a worker.
        status: String,
    },
    /// The supervisor is ending.
    Stopping {
        /// `TERM`, `INT`, or `done`.
        reason: String,
    },
}

/// Why a new generation is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The program's start.
    Start,
    /// Files of an app have changed.
    Files,
    /// A config file has changed.
    Config,
    /// The signal HUP.
    Hup,
    /// The worker has crashed.
    Crash,
}

/// An [`Error`] that can be sent to another process and to a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Origin>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub helps: Vec<String>,
    /// The causes, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub causes: Vec<String>,
    /// Output of a compiler or another program, plain text of several lines.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub output: String,
    /// Exit code that it asks for.
    pub code: u8,
}

impl Fault {
    /// A fault with the output of the program that showed it.
    pub(super) fn with_output(error: &Error, output: impl Into<String>) -> Self {
        Fault { output: output.into(), ..Fault::from(error) }
    }

    /// All of `errors`.
    pub(super) fn list(errors: &Errors) -> Vec<Fault> {
        errors.iter().map(Fault::from).collect()
    }

    /// Back to an error to render; the program's output stays behind.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(self.message.clone()).at(self.origin.clone());
        error.class = match self.code {
            2 => Class::Usage,
            78 => Class::Config,
            _ => Class::Failed,
        };
        error.helps.clone_from(&self.helps);
        error.cause = self.causes.iter().rev().fold(None, |below, text| {
            Some(Box::new(Cause { text: text.clone(), below }) as crate::error::BoxError)
        });
        error
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let below = |error: &dyn std::error::Error| error.source().map(ToString::to_string);
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            // Some types print their own cause: no need to say it twice.
            if below(cause).is_none_or(|inner| cause.to_string() != inner) {
                causes.push(cause.to_string());
            }
            next = cause.source();
        }
        Fault {
            message: error.message.clone(),
            origin: error.origin.as_deref().cloned(),
            helps: error.helps.clone(),
            causes,
            output: String::new(),
            code: error.class.exit_code(),
        }
    }
}

#[derive(Debug)]
struct Cause {
    text: String,
    below: Option<crate::error::BoxError>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.below.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_keeps_what_an_error_says() {
        let error = Error::config("unknown middleware `tiemout`")
            .help("did you mean `timeout`?")
            .because(Cause { text: "outer".into(), below: Some("inner".into()) });
        let fault = Fault::from(&error);
        assert_eq!(fault.causes, ["outer", "inner"]);
        let back = fault.to_error();
        assert_eq!((back.message.as_str(), back.class), ("unknown middleware `tiemout`", Class::Config));
        assert_eq!(Fault::from(&back), fault);
    }
}
