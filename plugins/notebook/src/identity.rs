//! Who sends a request. The guard puts a [`Principal`] into every request that it lets through.

use crate::access::Level;
use crate::store::SecretHash;
use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// Who sends a request, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
pub enum Role {
    /// Uses what others share; has no folder.
    Guest,
    /// Has a folder and kernels.
    User,
    /// Manages accounts and every document.
    Admin,
}

/// How a request was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Not at all.
    Nobody,
    /// The token of the single user.
    Token,
    /// The login cookie of the single user.
    Cookie,
    /// An account that the server has authenticated.
    Server,
    /// The login cookie of an account: the hash of its secret.
    Session(SecretHash),
    /// A token of an account.
    ApiToken {
        /// The hash of its secret.
        hash: SecretHash,
        /// The most that it may do with documents.
        level: Level,
    },
}

impl Role {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Role::Guest => "guest",
            Role::User => "user",
            Role::Admin => "admin",
        }
    }

    /// As users see it.
    pub fn words(self) -> &'static str {
        match self {
            Role::Guest => "guest (no folder)",
            Role::User => "user",
            Role::Admin => "administrator",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Role> {
        [Role::Guest, Role::User, Role::Admin].into_iter().find(|role| role.name() == name)
    }
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

    /// The account's folder; `None` for the single user, for guests and for nobody.
    pub fn home(&self) -> Option<&str> {
        (self.user.is_some() && self.role != Role::Guest).then_some(self.name.as_str())
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
