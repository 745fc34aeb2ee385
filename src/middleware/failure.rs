//! Which part of a stack failed: the error that carries its name outwards.

use crate::error::BoxError;

/// A failure with the part in which it arose. `error_page` shows it; its source is the part's own error.
#[derive(Debug, thiserror::Error)]
#[error("{part} failed")]
pub struct Failure {
    /// `the app `main`` or `the middleware `timeout` of the app `main``.
    pub part: String,
    /// What it failed with.
    #[source]
    pub cause: BoxError,
}

/// A panic, caught where a part was polled.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

impl Panicked {
    /// From what `catch_unwind` gives.
    pub fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }
}
