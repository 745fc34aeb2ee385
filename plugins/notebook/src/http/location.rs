//! Where the application stands: the prefix that it is mounted at, and whether the client came by TLS.

use http::request::Parts;

/// Put into a request's extensions by the caller; without it the application stands at the root.
#[derive(Debug, Clone, Default)]
pub struct RequestLocation {
    /// Empty, or `/a/b` (SCRIPT_NAME).
    pub prefix: String,
    /// Whether the client's connection is TLS.
    pub secure: bool,
    /// The effective host, with its port where the client gave one; `None`: read the request's own.
    pub authority: Option<String>,
}

impl RequestLocation {
    /// Of a request.
    pub(crate) fn of(parts: &Parts) -> RequestLocation {
        parts.extensions.get::<RequestLocation>().cloned().unwrap_or_default()
    }

    /// The prefix with a slash at its end: what addresses begin with.
    pub(crate) fn base(&self) -> String {
        format!("{}/", self.prefix)
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for RequestLocation {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<RequestLocation, Self::Rejection> {
        Ok(RequestLocation::of(parts))
    }
}
