//! Who sends a request. The guard puts a [`Principal`] into every request that it lets through.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// Who sends a request, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account; `None` for the single user and for nobody.
    pub user: Option<i64>,
    /// The login name; empty for nobody.
    pub name: String,
    /// What the account may do in general.
    pub role: Role,
    /// How the request was authenticated.
    pub authentication: Authentication,
}

/// What an account may do apart from its rights on documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Uses what others share; has no folder.
    Guest,
    /// Has a folder and kernels.
    User,
    /// Manages accounts and every document.
    Admin,
}

/// How a request was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    Nobody,
    /// The token of the single user.
    Token,
    /// The login cookie of the single user.
    Cookie,
}

impl Principal {
    /// The single user, who may do everything.
    pub fn owner(authentication: Authentication) -> Principal {
        Principal { user: None, name: "owner".to_owned(), role: Role::Admin, authentication }
    }

    /// A visitor who is not logged in.
    pub fn nobody() -> Principal {
        Principal {
            user: None,
            name: String::new(),
            role: Role::Guest,
            authentication: Authentication::Nobody,
        }
    }

    /// Whether the request was authenticated.
    pub fn is_known(&self) -> bool {
        self.authentication != Authentication::Nobody
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Principal, Self::Rejection> {
        Ok(parts.extensions.get::<Principal>().cloned().unwrap_or_else(Principal::nobody))
    }
}
