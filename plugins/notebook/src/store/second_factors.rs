//! Second factors of logins: the secrets of time-based codes, and recovery codes.

use super::database::{OptionalExtension, Row, params};
use super::{SecretHash, Store, StoreError};

/// The second factor of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// The secret from which the codes are computed.
    pub secret: Vec<u8>,
    /// Whether a login asks for a code. It does not during the setup.
    pub confirmed: bool,
    /// The time step of the newest code that was used.
    pub step: i64,
}

impl Store {
    /// The second factor of an account.
    /// # Errors
    /// [`StoreError`].
    pub fn second_factor(&self, account: i64) -> Result<Option<SecondFactor>, StoreError> {
        self.read(|db| {
            let sql = "select secret, confirmed, step from second_factors where account = ?1";
            let read = |row: &Row<'_>| {
                Ok(SecondFactor { secret: row.get(0)?, confirmed: row.get(1)?, step: row.get(2)? })
            };
            db.query_row(sql, [account], read).optional()
        })
    }

    /// Begins the setup of a second factor. Does not replace one that is in use.
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_second_factor(&self, account: i64, secret: Vec<u8>) -> Result<(), StoreError> {
        self.write(move |db| {
            let sql = "insert into second_factors (account, secret, confirmed, step) values (?1, ?2, 0, 0) \
                       on conflict (account) do update set secret = excluded.secret where second_factors.confirmed = 0";
            db.execute(sql, params![account, secret]).map(drop)
        })
        .await
    }

    /// Completes the setup: logins ask for a code from now on. Replaces the recovery codes.
    /// # Errors
    /// [`StoreError`].
    pub async fn confirm_second_factor(
        &self,
        account: i64,
        codes: Vec<SecretHash>,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("update second_factors set confirmed = 1 where account = ?1", [account])?;
            db.execute("delete from recovery_codes where account = ?1", [account])?;
            for code in codes {
                db.execute(
                    "insert into recovery_codes (hash, account) values (?1, ?2)",
                    params![code, account],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Consumes the code of a time step. Returns false if it or a later one was used before.
    /// # Errors
    /// [`StoreError`].
    pub async fn use_step(&self, account: i64, step: i64) -> Result<bool, StoreError> {
        self.write(move |db| {
            let sql = "update second_factors set step = ?2 where account = ?1 and step < ?2";
            db.execute(sql, params![account, step]).map(|used| used > 0)
        })
        .await
    }

    /// Consumes a recovery code. Returns false if there is no such code.
    /// # Errors
    /// [`StoreError`].
    pub async fn use_recovery_code(&self, account: i64, code: SecretHash) -> Result<bool, StoreError> {
        self.write(move |db| {
            let sql = "delete from recovery_codes where account = ?1 and hash = ?2";
            db.execute(sql, params![account, code]).map(|used| used > 0)
        })
        .await
    }

    /// Removes the second factor of an account, so that logins no longer ask for a code.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_second_factor(&self, account: i64) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("delete from second_factors where account = ?1", [account])?;
            db.execute("delete from recovery_codes where account = ?1", [account]).map(drop)
        })
        .await
    }
}
