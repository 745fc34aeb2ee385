//! The error that names which part of a stack failed.

use crate::error::BoxError;

/// A failure and the part in which it occurred. `error_page` shows it; its source is the part's own error.
#[derive(Debug, thiserror::Error)]
#[error("{part} failed")]
pub struct Failure {
    /// `the app `main`` or `the middleware `timeout` of the app `main``.
    pub part: String,
    /// The part's own error.
    #[source]
    pub cause: BoxError,
}

/// A panic that was caught while a part was polled.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

impl Panicked {
    /// From the payload that `catch_unwind` returns.
    pub fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }
}
