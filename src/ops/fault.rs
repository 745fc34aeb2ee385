//! Errors that are sent to another process or a page.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Class, Error, Errors, Origin};

/// An [`Error`] that can be sent to another process or a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Box<Origin>>,
    /// How to fix it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub helps: Vec<String>,
    /// The causes, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub causes: Vec<String>,
    /// Output of a compiler or another program, plain text of several lines.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub output: String,
    /// The exit code for it.
    pub code: u8,
}

impl Fault {
    /// A fault with the output of the program that reported it.
    pub(crate) fn with_output(error: &Error, output: impl Into<String>) -> Self {
        Fault { output: output.into(), ..Fault::from(error) }
    }

    /// All errors as faults.
    pub(crate) fn list(errors: &Errors) -> Vec<Fault> {
        errors.iter().map(Fault::from).collect()
    }

    /// Converts it back to an error for display, without the program's output.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(self.message.clone()).at(self.origin.as_deref().cloned());
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
            // Some types print their own cause: do not print it twice.
            if below(cause).is_none_or(|inner| cause.to_string() != inner) {
                causes.push(cause.to_string());
            }
            next = cause.source();
        }
        Fault {
            message: error.message.clone(),
            origin: error.origin.clone(),
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
