//! Active accounts, and how accounts are deleted.

use super::accounts::{ACCOUNT, Account, account};
use super::database::OptionalExtension;
use super::{Store, StoreError};

impl Store {
    /// The account with this number, if it may log in.
    /// # Errors
    /// [`StoreError`].
    pub fn active_account(&self, user: i64) -> Result<Option<Account>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{ACCOUNT} where active = 1 and id = ?1"))?
                .query_row([user], account)
                .optional()
        })
    }

    /// Whether an account is the only active administrator.
    /// # Errors
    /// [`StoreError`].
    pub fn is_last_administrator(&self, user: i64) -> Result<bool, StoreError> {
        self.read(|db| {
            let sql = "select role = 'admin' and active = 1 and not exists \
                       (select 1 from users where role = 'admin' and active = 1 and id <> ?1) from users where id = ?1";
            Ok(db.query_row(sql, [user], |row| row.get(0)).optional()?.unwrap_or(false))
        })
    }

    /// Deletes an account with its sessions, tokens, rights and marks. Its entries in the trash move to paths below `folder`.
    /// A later account with the same name inherits nothing.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_account(&self, user: i64, name: &str, folder: &str) -> Result<(), StoreError> {
        let (name, folder) = (name.to_owned(), folder.to_owned());
        self.write(move |db| {
            db.execute("delete from rights where kind = 'user' and subject = ?1", [&name])?;
            for table in ["marks", "tags"] {
                db.execute(&format!("delete from {table} where account = ?1"), [user])?;
            }
            let sql = "update trash set path = ?2 || substr(path, length(?1) + 1) where substr(path, 1, length(?1) + 1) = ?1 || '/'";
            db.execute(sql, [&name, &folder])?;
            db.execute("update trash set author = '' where author = ?1", [&name])?;
            for table in ["comments", "publications"] {
                db.execute(&format!("update {table} set author = author || ' (deleted)' where author = ?1"), [&name])?;
            }
            db.execute("delete from users where id = ?1", [user]).map(drop)
        })
        .await
    }
}
