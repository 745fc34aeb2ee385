//! The groups that the authenticating server reported at an account's newest login.

use super::database::params;

use super::{Store, StoreError};
use crate::identity::Role;

pub(super) const LOGIN_GROUPS: &str = "
    create table login_groups (             -- as the server that authenticates people named them last
        account integer not null references users on delete cascade,
        name text not null collate nocase,
        added integer not null,             -- whether the account was not a member by other means
        primary key (account, name)
    ) strict, without rowid;
";

impl Store {
    /// The groups of an account's newest login, sorted.
    /// # Errors
    /// [`StoreError`].
    pub fn login_groups(&self, account: i64) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = self.read(|db| {
            db.prepare_cached("select name from login_groups where account = ?1")?
                .query_map([account], |row| row.get(0))?
                .collect()
        })?;
        names.sort();
        Ok(names)
    }

    /// Makes an account that logged in with these groups a member of them, and removes the memberships that its previous login
    /// added. Memberships that an administrator added remain.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_login_groups(&self, account: i64, groups: Vec<String>) -> Result<(), StoreError> {
        self.write(move |db| {
            let sql = "delete from members where user = ?1 and name in (select name from login_groups where account = ?1 and added = 1)";
            db.execute(sql, [account])?;
            db.execute("delete from login_groups where account = ?1", [account])?;
            for name in groups {
                let sql = "insert into members (name, user) values (?1, ?2) on conflict do nothing";
                let added = i64::from(db.execute(sql, params![name, account])? > 0);
                let sql = "insert into login_groups (account, name, added) values (?1, ?2, ?3) on conflict do nothing";
                db.execute(sql, params![account, name, added])?;
            }
            Ok(())
        })
        .await
    }

    /// Sets the role that the groups of a login give. Unlike [`Store::set_account`], it may remove the last administrator,
    /// because the directory can name another one.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_login_role(&self, account: i64, role: Role) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("update users set role = ?2 where id = ?1", params![account, role]).map(drop)
        })
        .await
    }
}
