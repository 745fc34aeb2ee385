//! The error that reaches a user: what is wrong, where, and how to fix it.
//!
//! Nothing here reads files or prints; `cli` renders. An [`Errors`] contains one or more [`Error`]s, because
//! all faults of a configuration are reported together.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Result whose error is a non-empty list to report.
pub type Result<T, E = Errors> = std::result::Result<T, E>;

/// Any error, as tower services pass them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file, or other source of the value: `environment variable PASTER_SERVER__MAIN__USE`, `-D …`,
    /// `default`.
    pub source: Source,
    /// Line, counted from 1; 0 when the source has no lines.
    pub line: u32,
    /// Column in characters, counted from 1; 0 when the source has no lines.
    pub column: u32,
    /// Length of the marked text in characters, at least 1.
    pub width: u32,
    /// The marked source line: secrets are masked, and a very long line is cut to the part around the mark.
    pub text: Arc<str>,
    /// Where the mark starts in `text`: the number of characters before it.
    pub mark: u32,
}

/// A place config comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file on disk.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// A `-D key=value` argument, without its value: `-D key`.
    Argument(String),
    /// Built into paster.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Argument(text) => write!(f, "{text}"),
            Source::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// One thing to report.
#[derive(Debug)]
pub struct Error {
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where it is, if it is in a source.
    pub origin: Option<Box<Origin>>,
    /// How to fix it, one sentence each.
    pub helps: Vec<String>,
    /// The underlying cause.
    pub cause: Option<BoxError>,
    /// Determines the exit code.
    pub class: Class,
}

/// Class of an error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Something failed: 1.
    #[default]
    Failed,
    /// The command line is wrong: 2.
    Usage,
    /// The configuration is wrong: 78 (`EX_CONFIG` of sysexits.h).
    Config,
}

impl Class {
    /// The process's exit code for this class.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Failed => 1,
            Class::Usage => 2,
            Class::Config => 78,
        }
    }
}

impl Error {
    /// A failure without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), origin: None, helps: Vec::new(), cause: None, class: Class::Failed }
    }

    /// A configuration error.
    pub fn config(message: impl Into<String>) -> Self {
        Error { class: Class::Config, ..Error::new(message) }
    }

    /// A command-line error.
    pub fn usage(message: impl Into<String>) -> Self {
        Error { class: Class::Usage, ..Error::new(message) }
    }

    /// Sets the place of the error.
    #[must_use]
    pub fn at(mut self, origin: impl Into<Option<Origin>>) -> Self {
        self.origin = origin.into().map(Box::new);
        self
    }

    /// Adds a sentence on how to fix it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// One or more errors to report together, in the order found.
#[derive(Debug)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// The list as a result: `Ok` if it is empty. An error that was found twice is listed once.
    /// # Errors
    /// All of `errors`, if there are any.
    pub fn check(mut errors: Vec<Error>) -> Result<()> {
        for index in (1..errors.len()).rev() {
            let (before, error) = (&errors[..index], &errors[index]);
            let same = |other: &Error| other.message == error.message && other.origin == error.origin;
            if error.origin.is_some() && before.iter().any(same) {
                errors.remove(index);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Errors(errors)) }
    }

    /// The errors in the order found.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// Exit code: configuration errors take precedence over plain failures.
    pub fn exit_code(&self) -> u8 {
        let classes = || self.0.iter().map(|error| error.class);
        [Class::Usage, Class::Config]
            .into_iter()
            .find(|class| classes().any(|c| c == *class))
            .unwrap_or_default()
            .exit_code()
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Errors(vec![error])
    }
}

impl IntoIterator for Errors {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
