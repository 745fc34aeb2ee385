//! Accounts, their sessions and tokens, invitations, and the audit log. Secrets are stored as hashes only.

use super::database::{OptionalExtension, Result, Row, params};
use super::{Store, StoreError, now};
use crate::access::Level;
use crate::identity::Role;

/// The hash of a secret.
pub type SecretHash = [u8; 32];

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// The login name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Whether it may log in.
    pub active: bool,
    /// The password's hash as a PHC string.
    pub password: String,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
}

/// A login of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSession {
    /// Its id, by which it can be ended.
    pub id: i64,
    /// When it began, in milliseconds since 1970.
    pub created: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: i64,
    /// Where the login came from.
    pub address: String,
    /// The browser's `User-Agent`.
    pub agent: String,
}

/// A token for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its number.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// The highest level that it grants on documents.
    pub level: Level,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: i64,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The login name; empty for the server.
    pub user: String,
    /// Where the request came from.
    pub address: String,
    /// The action.
    pub action: String,
    /// What it was applied to.
    pub target: String,
}

pub(super) const ACCOUNT: &str = "select id, name, role, active, password, created from users";

pub(super) fn account(row: &Row<'_>) -> Result<Account> {
    Ok(Account {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        active: row.get(3)?,
        password: row.get(4)?,
        created: row.get(5)?,
    })
}

impl Store {
    /// The account with this login name.
    /// # Errors
    /// [`StoreError`].
    pub fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.read(|db| db.query_row(&format!("{ACCOUNT} where name = ?1"), [name], account).optional())
    }

    /// All accounts, by name.
    /// # Errors
    /// [`StoreError`].
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read(|db| db.prepare(&format!("{ACCOUNT} order by name"))?.query_map([], account)?.collect())
    }

    /// Adds an account. Returns `None` if the name is taken.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_account(
        &self,
        name: &str,
        role: Role,
        password: String,
    ) -> Result<Option<i64>, StoreError> {
        let name = name.to_owned();
        self.write(move |db| {
            db.query_row(
                "insert into users (name, role, active, password, created) values (?1, ?2, 1, ?3, ?4) on conflict do nothing returning id",
                params![name, role, password, now()],
                |row| row.get(0),
            )
            .optional()
        })
        .await
    }

    /// Changes a password, and ends every session and token of the account.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_password(&self, user: i64, password: String) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("update users set password = ?2 where id = ?1", params![user, password])?;
            db.execute("delete from sessions where user = ?1", [user])?;
            db.execute("delete from tokens where user = ?1", [user]).map(drop)
        })
        .await
    }

    /// Changes a role, or suspends an account. Changes nothing and returns false if that would leave no active administrator.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_account(&self, user: i64, role: Role, active: bool) -> Result<bool, StoreError> {
        self.write(move |db| {
            let others: i64 = db.query_row(
                "select count(*) from users where role = 'admin' and active = 1 and id <> ?1",
                [user],
                |row| row.get(0),
            )?;
            if others == 0 && (role != Role::Admin || !active) {
                return Ok(false);
            }
            db.execute("update users set role = ?2, active = ?3 where id = ?1", params![user, role, active])?;
            if !active {
                db.execute("delete from sessions where user = ?1", [user])?;
            }
            Ok(true)
        })
        .await
    }

    /// Starts a session of an account.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_session(
        &self,
        user: i64,
        hash: SecretHash,
        expires: i64,
        address: &str,
        agent: &str,
    ) -> Result<(), StoreError> {
        let (address, agent) = (address.to_owned(), agent.to_owned());
        self.write(move |db| {
            db.execute("delete from sessions where expires < ?1", [now()])?;
            db.execute(
                "insert into sessions (hash, user, created, expires, address, agent) values (?1, ?2, ?3, ?4, ?5, ?6)",
                params![hash, user, now(), expires, address, agent],
            )
            .map(drop)
        })
        .await
    }

    /// The active account that a session's secret belongs to.
    /// # Errors
    /// [`StoreError`].
    pub fn account_of_session(&self, hash: SecretHash) -> Result<Option<Account>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!(
                "{ACCOUNT} where active = 1 and id = (select user from sessions where hash = ?1 and expires > ?2)"
            ))?
            .query_row(params![hash, now()], account)
            .optional()
        })
    }

    /// The sessions of an account, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn sessions_of(&self, user: i64) -> Result<Vec<LoginSession>, StoreError> {
        self.read(|db| {
            let sql = "select rowid, created, expires, address, agent from sessions where user = ?1 and expires > ?2 order by created desc";
            db.prepare(sql)?
                .query_map(params![user, now()], |row| {
                    Ok(LoginSession {
                        id: row.get(0)?,
                        created: row.get(1)?,
                        expires: row.get(2)?,
                        address: row.get(3)?,
                        agent: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// Ends a session of an account.
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(&self, user: i64, id: i64) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("delete from sessions where user = ?1 and rowid = ?2", [user, id]).map(drop)
        })
        .await
    }

    /// Ends the session with this secret.
    /// # Errors
    /// [`StoreError`].
    pub async fn log_out(&self, hash: SecretHash) -> Result<(), StoreError> {
        self.write(move |db| db.execute("delete from sessions where hash = ?1", [hash]).map(drop)).await
    }

    /// Adds a token of an account.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_token(
        &self,
        user: i64,
        hash: SecretHash,
        name: &str,
        level: Level,
        expires: i64,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |db| {
            db.execute(
                "insert into tokens (hash, user, name, level, created, expires) values (?1, ?2, ?3, ?4, ?5, ?6)",
                params![hash, user, name, level, now(), expires],
            )
            .map(drop)
        })
        .await
    }

    /// The active account that a token belongs to, and the level of the token.
    /// # Errors
    /// [`StoreError`].
    pub fn account_of_token(&self, hash: SecretHash) -> Result<Option<(Account, Level)>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "select users.id, users.name, role, active, password, users.created, level from users join tokens on user = users.id \
                 where active = 1 and hash = ?1 and expires > ?2",
            )?
            .query_row(params![hash, now()], |row| Ok((account(row)?, row.get(6)?)))
            .optional()
        })
    }

    /// The tokens of an account, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn tokens_of(&self, user: i64) -> Result<Vec<ApiToken>, StoreError> {
        self.read(|db| {
            let sql =
                "select id, name, level, created, expires from tokens where user = ?1 order by created desc";
            db.prepare(sql)?
                .query_map([user], |row| {
                    Ok(ApiToken {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        level: row.get(2)?,
                        created: row.get(3)?,
                        expires: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// Deletes a token of an account.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_token(&self, user: i64, id: i64) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("delete from tokens where user = ?1 and id = ?2", [user, id]).map(drop)
        })
        .await
    }

    /// Adds an invitation. Its code can be used once: to create an account with this role, or to set the password of `user`.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_invitation(
        &self,
        hash: SecretHash,
        role: Role,
        user: Option<i64>,
        expires: i64,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("delete from invitations where expires < ?1", [now()])?;
            db.execute(
                "insert into invitations (hash, role, user, expires) values (?1, ?2, ?3, ?4)",
                params![hash, role, user, expires],
            )
            .map(drop)
        })
        .await
    }

    /// The purpose of an invitation: a role for a new account, or an account that gets a new password.
    /// # Errors
    /// [`StoreError`].
    pub fn invitation(&self, hash: SecretHash) -> Result<Option<(Role, Option<Account>)>, StoreError> {
        self.read(|db| {
            let found = db
                .query_row(
                    "select role, user from invitations where hash = ?1 and expires > ?2",
                    params![hash, now()],
                    |row| Ok((row.get(0)?, row.get::<Option<i64>>(1)?)),
                )
                .optional()?;
            let Some((role, user)) = found else { return Ok(None) };
            let account = match user {
                Some(user) => Some(db.query_row(&format!("{ACCOUNT} where id = ?1"), [user], account)?),
                None => None,
            };
            Ok(Some((role, account)))
        })
    }

    /// Consumes an invitation. Returns false if it was used in the meantime.
    /// # Errors
    /// [`StoreError`].
    pub async fn take_invitation(&self, hash: SecretHash) -> Result<bool, StoreError> {
        self.write(move |db| {
            db.execute("delete from invitations where hash = ?1 and expires > ?2", params![hash, now()])
                .map(|taken| taken > 0)
        })
        .await
    }

    /// Adds an entry to the audit log.
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(
        &self,
        user: &str,
        address: &str,
        action: &str,
        target: &str,
    ) -> Result<(), StoreError> {
        let values = [user, address, action, target].map(|text| text.chars().take(500).collect::<String>());
        self.write(move |db| {
            let [user, address, action, target] = values;
            db.execute(
                "insert into audit (at, user, address, action, target) values (?1, ?2, ?3, ?4, ?5)",
                params![now(), user, address, action, target],
            )
            .map(drop)
        })
        .await
    }

    /// The newest entries of the audit log.
    /// # Errors
    /// [`StoreError`].
    pub fn audit_log(&self, count: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(|db| {
            db.prepare("select at, user, address, action, target from audit order by id desc limit ?1")?
                .query_map([count], |row| {
                    Ok(AuditEntry {
                        at: row.get(0)?,
                        user: row.get(1)?,
                        address: row.get(2)?,
                        action: row.get(3)?,
                        target: row.get(4)?,
                    })
                })?
                .collect()
        })
    }
}
