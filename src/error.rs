//! The error that reaches a user: what is wrong, where, and how to fix it.
//!
//! Nothing here reads files or prints; `cli` renders. An [`Errors`] contains one or more [`Error`]s, because
//! all faults of a configuration are reported together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Result whose error is a non-empty list to report.
pub type Result<T, E = Errors> = std::result::Result<T, E>;

/// Any error, as tower services pass them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error and its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // A wrapper that only repeats its cause is left out.
        if !text.ends_with(&reason) {
            text += ": ";
            text += &reason;
        }
        cause = error.source();
    }
    text
}

/// `path` as messages show it: relative to the working directory, if it is below it.
pub fn shown(path: &Path) -> String {
    let folder = std::env::current_dir().ok();
    let below = folder.and_then(|folder| path.strip_prefix(folder).ok());
    below.filter(|path| !path.as_os_str().is_empty()).unwrap_or(path).display().to_string()
}

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

/// One thing to report. It can be sent to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where it is, if it is in a source.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Box<Origin>>,
    /// How to fix it, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub helps: Vec<String>,
    /// The causes: a list of texts for another process, outermost first.
    #[serde(rename = "causes", skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Box<Cause>>,
    /// Output of a compiler or another program, plain text of several lines.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub output: String,
    /// Determines the exit code.
    #[serde(rename = "code")]
    pub class: Class,
}

/// Why something failed, and the cause of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Cause {
    text: String,
    below: Option<Box<Cause>>,
}

impl Cause {
    /// The text of an error and of what caused it.
    fn of(error: &(dyn std::error::Error + 'static)) -> Cause {
        let text = error.to_string();
        match error.source() {
            // Some types print their own cause: do not print it twice.
            Some(below) if below.to_string() == text => Cause::of(below),
            below => Cause { text, below: below.map(|below| Box::new(Cause::of(below))) },
        }
    }

    /// This cause and those below it.
    fn chain(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |cause| cause.below.as_deref()).map(|cause| cause.text.as_str())
    }
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

impl From<Cause> for Vec<String> {
    fn from(cause: Cause) -> Vec<String> {
        cause.chain().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for Cause {
    type Error = &'static str;

    fn try_from(texts: Vec<String>) -> Result<Cause, &'static str> {
        let add = |below: Option<Cause>, text| Some(Cause { text, below: below.map(Box::new) });
        texts.into_iter().rev().fold(None, add).ok_or("a list of causes is empty")
    }
}

/// Class of an error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
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

impl From<Class> for u8 {
    fn from(class: Class) -> u8 {
        class.exit_code()
    }
}

impl From<u8> for Class {
    fn from(code: u8) -> Class {
        let classes = [Class::Usage, Class::Config];
        classes.into_iter().find(|class| class.exit_code() == code).unwrap_or_default()
    }
}

impl Error {
    /// A failure without a place.
    pub fn new(message: impl Into<String>) -> Self {
        let (origin, helps, cause, output) = Default::default();
        Error { message: message.into(), origin, helps, cause, output, class: Class::Failed }
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
        self.cause = Some(Box::new(Cause::of(&*cause.into())));
        self
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.cause.as_deref().into_iter().flat_map(Cause::chain)
    }

    /// The message and the causes.
    pub fn in_one_line(&self) -> String {
        let texts = std::iter::once(&*self.message).chain(self.causes());
        texts.collect::<Vec<_>>().join(": ")
    }

    /// Adds the output of the program that has failed.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = output.into();
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

/// Exit code of several errors: one of the command line comes first, then one of the configuration.
pub fn exit_code(errors: &[Error]) -> u8 {
    let found = |class: &Class| errors.iter().any(|error| error.class == *class);
    [Class::Usage, Class::Config].into_iter().find(found).unwrap_or_default().exit_code()
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

    /// `result`, unless there are more errors; then all of them.
    /// # Errors
    /// Those of `result`, then `more`.
    pub fn join<T>(result: Result<T>, more: Vec<Error>) -> Result<T> {
        match result {
            Ok(value) => Errors::check(more).map(|()| value),
            Err(mut errors) => {
                errors.0.extend(more);
                Err(errors)
            }
        }
    }

    /// The errors in the order found.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// Exit code: configuration errors take precedence over plain failures.
    pub fn exit_code(&self) -> u8 {
        exit_code(&self.0)
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Errors(vec![error])
    }
}

impl From<Errors> for Vec<Error> {
    fn from(errors: Errors) -> Vec<Error> {
        errors.0
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

/// An exception of a language with tracebacks, as the source of an error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Traceback {
    /// The traceback.
    pub text: String,
    /// The same with the variables of each frame, which may be secret: only for a developer's page.
    pub with_variables: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_a_process() {
        let cause = Cause {
            text: "outer".into(),
            below: Some(Box::new(Cause { text: "inner".into(), below: None })),
        };
        let error =
            Error::config("unknown middleware `tiemout`").help("did you mean `timeout`?").because(cause);
        let sent = serde_json::to_value(&error).unwrap();
        let expected = serde_json::json!({
            "message": "unknown middleware `tiemout`",
            "helps": ["did you mean `timeout`?"],
            "causes": ["outer", "inner"],
            "code": 78,
        });
        assert_eq!(sent, expected);
        assert_eq!(serde_json::from_value::<Error>(sent).unwrap(), error);
        assert_eq!(Error::new("a").because(error).causes().count(), 3);
    }
}
