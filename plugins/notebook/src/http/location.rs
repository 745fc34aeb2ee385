//! Where the application is mounted, and whether the client uses TLS.

use std::net::IpAddr;

use http::request::Parts;
use serde::{Deserialize, Serialize};

/// The location of the application, which the caller puts into a request's extensions. Without it, the application is at the
/// root.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RequestLocation {
    /// Empty, or `/a/b` (SCRIPT_NAME).
    pub prefix: String,
    /// Whether the client's connection is TLS.
    pub secure: bool,
    /// The effective host, with its port if the client sent one. `None`: read it from the request.
    pub authority: Option<String>,
    /// The client, if known.
    pub client: Option<IpAddr>,
    /// The user whom the server has authenticated.
    pub user: Option<String>,
    /// The origin that serves outputs. The guard sets it.
    pub content_origin: Option<String>,
    /// The user's groups, if the server knows them.
    pub groups: Vec<String>,
}

impl RequestLocation {
    /// The location for a request.
    pub(crate) fn of(parts: &Parts) -> RequestLocation {
        parts.extensions.get::<RequestLocation>().cloned().unwrap_or_default()
    }

    /// The client's address for the audit log; empty if unknown.
    pub(crate) fn client_text(&self) -> String {
        self.client.map(|client| client.to_string()).unwrap_or_default()
    }

    /// The prefix with a slash at its end. Addresses begin with it.
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
