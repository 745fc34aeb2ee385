//! Users whom the server has authenticated before the notebook gets the request.

use http::StatusCode;

use super::error::{ApiError, Result};
use super::location::RequestLocation;
use crate::accounts::new_secret;
use crate::files::{FileError, RelativePath};
use crate::identity::{Authentication, Principal, Role};
use crate::login_groups::usable;
use crate::state::Notebook;
use crate::store::Account;

/// The user of a request; `None` if the server has not authenticated one, or is not trusted to.
/// # Errors
/// 403 for a suspended
/// account, and for a name that cannot be a login name. Two names never share an account.
pub(super) async fn principal(notebook: &Notebook, place: &RequestLocation) -> Result<Option<Principal>> {
    let Some(name) = place.user.as_deref().filter(|_| notebook.settings.trust_server_user) else {
        return Ok(None);
    };
    if notebook.accounts.is_none() {
        return Ok(None);
    }
    if !notebook.settings.server_groups.may_enter(&place.groups) {
        return Err(refused("your groups do not allow you to use this notebook"));
    }
    let account = match notebook.store.account(name)? {
        Some(account) if account.name == name => account,
        Some(_) => return Err(refused("another account has this name in a different spelling")),
        None => add(notebook, place, name).await?,
    };
    if !account.active {
        return Err(refused("your account is suspended"));
    }
    let account = refresh(notebook, place, account).await?;
    let Account { id, name, role, .. } = account;
    Ok(Some(Principal { user: Some(id), name, role, authentication: Authentication::Server }))
}

/// Sets the role and the groups of an account to those of this login.
async fn refresh(notebook: &Notebook, place: &RequestLocation, mut account: Account) -> Result<Account> {
    let (store, client) = (&notebook.store, place.client_text());
    let role = notebook.settings.server_groups.role(account.role, &place.groups);
    if role != account.role {
        store.set_login_role(account.id, role).await?;
        if account.role == Role::Guest {
            make_home(notebook, &account.name)?;
        }
        let what = format!("{} {}, by the groups of the login", account.name, role.name());
        store.audit(&account.name, &client, "set role", &what).await?;
        account.role = role;
    }
    let groups = usable(&place.groups);
    if store.login_groups(account.id)? != groups {
        let what = format!("{} {}", account.name, groups.join(", "));
        store.set_login_groups(account.id, groups).await?;
        store.audit(&account.name, &client, "set groups of the login", &what).await?;
    }
    Ok(account)
}

fn make_home(notebook: &Notebook, name: &str) -> Result<()> {
    match notebook.files.make_dir(&RelativePath::parse(name)?) {
        Ok(()) | Err(FileError::Exists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message)
}

async fn add(notebook: &Notebook, place: &RequestLocation, name: &str) -> Result<Account> {
    let accounts = notebook.accounts.as_ref().ok_or_else(|| refused("there are no accounts"))?;
    // A random password that nobody knows.
    let hash =
        accounts.prepare(name, new_secret()).await.map_err(|error| refused(&format!("`{name}`: {error}")))?;
    let home = RelativePath::parse(name)?;
    if notebook.files.facts(&home).is_ok() {
        return Err(refused(&format!(
            "the folder `{name}` already exists: an administrator must rename it before you can have an account"
        )));
    }
    let role = notebook.settings.server_groups.role(Role::User, &place.groups);
    if notebook.store.add_account(name, role, hash).await?.is_some() {
        if role != Role::Guest {
            make_home(notebook, name)?;
        }
        notebook
            .store
            .audit(name, &place.client_text(), "create account", "authenticated by the server")
            .await?;
    }
    let account = notebook.store.account(name)?;
    account.ok_or_else(|| refused("your account was deleted in the meantime"))
}
