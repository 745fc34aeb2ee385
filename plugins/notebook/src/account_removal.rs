//! Deletes an account. Its notebooks get another owner, or go to the trash.

use std::sync::Arc;

use crate::files::RelativePath;
use crate::identity::Role;
use crate::state::Notebook;
use crate::store::Account;

/// What to do with the notebooks of a deleted account.
#[derive(Debug, Clone)]
pub enum Notebooks {
    /// This account gets them, as a folder in its own.
    To(Account),
    /// They go to the trash.
    Trash,
}

impl Notebook {
    /// Deletes an account on behalf of `author`, a login name. Returns the new path of its folder, if it is not in the trash.
    /// # Errors
    /// The message is for users. Nothing is deleted then, but the account may be suspended.
    pub async fn remove_account(
        self: &Arc<Self>,
        account: &Account,
        notebooks: Notebooks,
        author: &str,
    ) -> Result<Option<String>, String> {
        if self.store.is_last_administrator(account.id).map_err(|error| error.to_string())? {
            return Err(format!(
                "`{}` is the last administrator: make another account an administrator first",
                account.name
            ));
        }
        let home = RelativePath::parse(&account.name).map_err(|error| error.to_string())?;
        let has_home = account.role != Role::Guest && self.files.facts(&home).is_ok();
        let target = match &notebooks {
            Notebooks::To(to) if to.id == account.id => {
                return Err("the account cannot get its own notebooks".to_owned());
            }
            Notebooks::To(to) if to.role == Role::Guest => {
                return Err(format!("`{}` is a guest and has no folder", to.name));
            }
            Notebooks::To(to) => {
                let folder = RelativePath::parse(&to.name).map_err(|error| error.to_string())?;
                self.files.make_dirs(&folder).map_err(|error| error.to_string())?;
                let name = |number: u32| match number {
                    0 => account.name.clone(),
                    number => format!("{}-{number}", account.name),
                };
                Some(self.files.free_path(&folder, name).map_err(|error| error.to_string())?)
            }
            Notebooks::Trash => None,
        };
        // No account can have this name.
        let folder =
            target.as_ref().map_or_else(|| format!("{} (deleted)", account.name), ToString::to_string);
        // Its kernels and edits end before its files move.
        self.store.set_account(account.id, account.role, false).await.map_err(|error| error.to_string())?;
        if has_home {
            match &target {
                Some(target) => self.move_away(&home, target).await?,
                None => drop(self.move_to_trash(&home, author).await.map_err(|error| error.to_string())?),
            }
        }
        self.store
            .remove_account(account.id, &account.name, &folder)
            .await
            .map_err(|error| error.to_string())?;
        Ok(target.filter(|_| has_home).map(|target| target.to_string()))
    }

    async fn move_away(self: &Arc<Self>, from: &RelativePath, to: &RelativePath) -> Result<(), String> {
        self.close_kernels_below(from).await?;
        self.rename(from, to).await.map_err(|error| error.to_string())
    }

    /// Shuts down the kernels of this server for the notebooks at and below `path`.
    /// # Errors
    /// The message of the kernel host.
    pub(crate) async fn close_own_kernels_below(&self, path: &RelativePath) -> Result<(), String> {
        for (session, _) in self.sessions.list().await.unwrap_or_default() {
            let inside =
                RelativePath::parse_internal(&session.path).is_ok_and(|at| at == *path || at.is_below(path));
            if inside {
                self.sessions.close(&session.id).await.map_err(|problem| problem.message)?;
            }
        }
        Ok(())
    }
}
