//! The settings that the process beside a program receives.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::ProcessAddress;

/// The settings that the process beside a program receives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProgramSettings {
    /// Name of the app or of the table.
    pub name: String,
    /// The program with its arguments.
    pub words: Vec<String>,
    /// When it is ready.
    pub ready: Ready,
    /// Ask over HTTP/2 whether it is ready.
    pub http2: bool,
    /// Maximum time until it is ready.
    pub start_secs: u64,
    /// The signal that asks it to end.
    pub stop_signal: StopSignal,
    /// Maximum time to end.
    pub stop_secs: u64,
    /// It is killed when it has not been ready for this long; 0 means never.
    pub stuck_secs: u64,
    /// It ends by itself, and is ready then.
    pub once: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Report each second that it runs, so that its memory is looked at.
    pub reports: bool,
    /// Variables whose values name the address.
    pub fill: Vec<String>,
}

/// When a program is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// At once.
    Started,
    /// It accepts connections.
    #[default]
    Connect,
    /// It answers a request, with any status.
    Answer,
    /// It answers a request of this path with 2xx or 3xx.
    Path(String),
    /// This command succeeds.
    Command(Vec<String>),
    /// It says so over `NOTIFY_SOCKET`, as sd_notify(3).
    Notify,
}

/// The option `ready`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum ReadyOption {
    /// `connect`, `notify`, or a path.
    Text(String),
    /// A command.
    Command(ReadyCommand),
    #[default]
    #[serde(skip)]
    Default,
}

/// A command that tells whether a program is ready.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ReadyCommand {
    /// The command with its arguments. `{port}`, `{host}` and `{socket}` stand for the address.
    command: Vec<String>,
}

impl ReadyOption {
    /// What it means for a program that serves, if `listens`, over HTTP, if `http`.
    /// # Errors
    /// What is wrong, and how to fix it.
    pub(super) fn read(self, listens: bool, http: bool) -> Result<Ready, (String, &'static str)> {
        match self {
            ReadyOption::Default => Ok(if listens { Ready::Connect } else { Ready::Started }),
            ReadyOption::Command(ReadyCommand { command })
                if command.first().is_none_or(String::is_empty) =>
            {
                Err(("it does not name a program".to_owned(), "write `ready = { command = [\"program\"] }`"))
            }
            ReadyOption::Command(ReadyCommand { command }) => Ok(Ready::Command(command)),
            ReadyOption::Text(text) => match &*text {
                "notify" => Ok(Ready::Notify),
                "connect" if listens => Ok(Ready::Connect),
                path if path.starts_with('/') && path.parse::<http::Uri>().is_ok() && http => {
                    Ok(Ready::Path(text))
                }
                path if path.starts_with('/') && !http => Err((
                    "a path can be requested only from a program that serves HTTP".to_owned(),
                    "use \"notify\" or `{ command = […] }`",
                )),
                _ => Err((
                    format!("`{text}` does not say when the program is ready"),
                    "write a path such as \"/healthz\", \"connect\", \"notify\" or `{ command = […] }`",
                )),
            },
        }
    }
}

/// The signal that asks a program to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[allow(missing_docs, reason = "they have the names of signals")]
pub enum StopSignal {
    #[default]
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

impl ProgramSettings {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("it has only strings and numbers")
    }

    /// Reads what the process beside a program was told.
    /// # Errors
    /// When it is not in that form.
    pub fn read(text: &str) -> Result<ProgramSettings, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The texts that stand for an address.
#[derive(Debug, Clone, Default)]
pub struct AddressWords {
    /// The variables that tell the program about it.
    pub variables: Vec<(&'static str, String)>,
}

impl AddressWords {
    /// Those of `address`.
    pub fn of(address: Option<&ProcessAddress>, inherited: bool) -> AddressWords {
        let variables = match address {
            Some(ProcessAddress::Tcp(port)) => {
                vec![("PORT", port.to_string()), ("HOST", "127.0.0.1".to_owned())]
            }
            Some(ProcessAddress::Unix(path)) if !inherited => vec![("SOCKET", path.display().to_string())],
            _ => Vec::new(),
        };
        AddressWords { variables }
    }

    /// `text` with `{port}`, `{host}` and `{socket}` replaced.
    pub fn fill(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{}}}", name.to_ascii_lowercase()), value)
        })
    }
}

/// What is missing until it is ready.
impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Started => write!(f, "it has not started"),
            Ready::Connect => write!(f, "it does not accept connections"),
            Ready::Answer => write!(f, "it does not respond"),
            Ready::Path(path) => write!(f, "GET {path} fails"),
            Ready::Command(words) => write!(f, "`{}` fails", words.first().map_or("", String::as_str)),
            Ready::Notify => write!(f, "it has not sent READY=1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_stand_for_the_address() {
        let words = AddressWords::of(Some(&ProcessAddress::Tcp(81)), false);
        assert_eq!(words.fill("-l {host}:{port} {socket} {}"), "-l 127.0.0.1:81 {socket} {}");
        let words = AddressWords::of(Some(&ProcessAddress::Unix("/run/a".into())), false);
        assert_eq!(words.fill("--unix={socket}"), "--unix=/run/a");
    }
}
