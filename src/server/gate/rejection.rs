//! Why a request is refused.

use std::borrow::Cow;

use http::StatusCode;

use super::path;

/// A request that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: StatusCode,
    /// The rule that it broke, in a few words.
    pub reason: &'static str,
    /// The server option behind the rule, if there is one.
    pub option: Option<&'static str>,
}

impl Rejection {
    /// A refusal that does not depend on an option.
    pub const fn new(status: StatusCode, reason: &'static str) -> Rejection {
        Rejection { status, reason, option: None }
    }

    /// The same, because of an option of the server.
    #[must_use]
    pub const fn by(self, option: &'static str) -> Rejection {
        Rejection { option: Some(option), ..self }
    }

    /// The reason for the log, which names the option.
    pub fn explained(&self) -> Cow<'static, str> {
        match self.option {
            None => self.reason.into(),
            Some(option) => format!("{}: see the option `{option}`", self.reason).into(),
        }
    }

    /// For a path that is refused.
    pub(in crate::server) fn path(reason: path::PathError) -> Rejection {
        let rejection = Rejection::new(StatusCode::BAD_REQUEST, reason);
        if reason == path::ENCODED_SLASH { rejection.by("encoded_slashes") } else { rejection }
    }
}

pub(super) const fn refuse<T>(status: StatusCode, reason: &'static str) -> Result<T, Rejection> {
    Err(Rejection::new(status, reason))
}

pub(super) const fn bad<T>(reason: &'static str) -> Result<T, Rejection> {
    refuse(StatusCode::BAD_REQUEST, reason)
}
