//! All decisions about rights, for the HTTP API, live documents, kernels and files.

use serde::{Deserialize, Serialize};

use crate::files::RelativePath;
use crate::identity::{Authentication, Principal, Role};
use crate::store::{Account, Store, StoreError};

/// What a user may do with a file or folder. Each level includes the previous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Open a notebook as an app: its texts, outputs and controls, without its code.
    App,
    /// See it, also live.
    View,
    /// Comment on it.
    Comment,
    /// Run its cells and use its kernel.
    Run,
    /// Change it.
    Edit,
    /// Rename, delete and share it.
    Manage,
}

/// Why an action is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The principal must not even learn that it exists.
    Hidden,
    /// The principal may see it, but not do this.
    Insufficient,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Level; 6] =
        [Level::App, Level::View, Level::Comment, Level::Run, Level::Edit, Level::Manage];

    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Level::App => "app",
            Level::View => "view",
            Level::Comment => "comment",
            Level::Run => "run",
            Level::Edit => "edit",
            Level::Manage => "manage",
        }
    }

    /// As users see it, after "may".
    pub fn words(self) -> &'static str {
        match self {
            Level::App => "open as an app",
            Level::View => "view",
            Level::Comment => "view and comment",
            Level::Run => "view, comment and run",
            Level::Edit => "edit",
            Level::Manage => "edit, delete and share",
        }
    }

    /// The level with this name.
    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Decides what principals may do. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    /// `None` if there is a single user, who may do everything.
    accounts: Option<Store>,
}

impl Access {
    /// With one user, or with the accounts in a store.
    pub fn new(accounts: Option<Store>) -> Access {
        Access { accounts }
    }

    /// The level of `principal` on the file or folder at `path`; `None` if there is none. Rights apply to everything in a
    /// folder.
    pub fn level(&self, principal: &Principal, path: &RelativePath) -> Option<Level> {
        if !principal.is_known() {
            return None;
        }
        let Some(store) = &self.accounts else { return Some(Level::Manage) };
        granted(store, principal, path).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot look up rights, so nothing is allowed");
            None
        })
    }

    /// Whether an account may do this when it is logged in.
    pub fn account_may(&self, account: &Account, level: Level, path: &RelativePath) -> bool {
        let Some(store) = &self.accounts else { return false };
        account.active
            && level_of(store, account, account.role, path)
                .unwrap_or_else(|error| {
                    tracing::error!(%error, "cannot look up rights, so nothing is allowed");
                    None
                })
                .is_some_and(|granted| granted >= level)
    }

    /// Checks that `principal` has `level` on the file or folder at `path`.
    /// # Errors
    /// [`Denied`].
    pub fn may(&self, principal: &Principal, level: Level, path: &RelativePath) -> Result<(), Denied> {
        match self.level(principal, path) {
            Some(granted) if granted >= level => Ok(()),
            Some(_) => Err(Denied::Insufficient),
            None => Err(Denied::Hidden),
        }
    }
}

fn granted(store: &Store, principal: &Principal, path: &RelativePath) -> Result<Option<Level>, StoreError> {
    // The account may have been suspended, or the session ended, since the request began.
    let (account, limit) = match principal.authentication {
        Authentication::Session(hash) => (store.account_of_session(hash)?, Level::Manage),
        Authentication::ApiToken { hash, .. } => match store.account_of_token(hash)? {
            Some((account, level)) => (Some(account), level),
            None => (None, Level::View),
        },
        Authentication::Server => match principal.user {
            Some(user) => (store.active_account(user)?, Level::Manage),
            None => (None, Level::View),
        },
        _ => (None, Level::View),
    };
    let Some(account) = account else { return Ok(None) };
    // A token of an administrator only has the rights of a user.
    let level = level_of(store, &account, account.role.min(principal.role), path)?;
    Ok(level.map(|level| level.min(limit)))
}

/// The level of an account by its role, without the limits of a token.
fn level_of(
    store: &Store,
    account: &Account,
    role: Role,
    path: &RelativePath,
) -> Result<Option<Level>, StoreError> {
    let home = RelativePath::parse(&account.name).ok().filter(|_| role != Role::Guest);
    let level = if role == Role::Admin || home.as_ref().is_some_and(|home| path.is_below(home)) {
        Some(Level::Manage)
    } else if home.as_ref() == Some(path) {
        // The folder itself cannot be changed.
        Some(Level::Edit)
    } else if path.is_root() {
        Some(Level::View)
    } else {
        store.granted(account.id, path)?
    };
    Ok(level)
}
