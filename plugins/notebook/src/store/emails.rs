//! Email addresses of accounts. An address is used once it is confirmed.

use super::database::{OptionalExtension, params};
use super::{SecretHash, Store, StoreError, now};

/// Minimum time between two emails with a link to one account, in milliseconds.
const PAUSE_MS: i64 = 5 * 60 * 1000;

impl Store {
    /// The confirmed address of an account.
    /// # Errors
    /// [`StoreError`].
    pub fn email_of(&self, account: i64) -> Result<Option<String>, StoreError> {
        self.read(|db| {
            let sql = "select address from emails where account = ?1 and address <> ''";
            db.query_row(sql, [account], |row| row.get(0)).optional()
        })
    }

    /// The active account with this login name or confirmed address.
    /// # Errors
    /// [`StoreError`].
    pub fn account_of_email(&self, name_or_address: &str) -> Result<Option<(i64, String)>, StoreError> {
        self.read(|db| {
            let sql = "select users.id, address from users join emails on account = users.id \
                       where active = 1 and address <> '' and (name = ?1 or address = ?1 collate nocase)";
            db.query_row(sql, [name_or_address], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Whether an account may get an email with a link now. Records the time if so.
    /// # Errors
    /// [`StoreError`].
    pub async fn take_mail(&self, account: i64) -> Result<bool, StoreError> {
        self.write(move |db| {
            let sql = "insert into emails (account, address, mailed) values (?1, '', ?2) \
                       on conflict (account) do update set mailed = excluded.mailed where emails.mailed < ?2 - ?3";
            db.execute(sql, params![account, now(), PAUSE_MS]).map(|changed| changed > 0)
        })
        .await
    }

    /// Adds a code that confirms `address` for the account.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_email_code(
        &self,
        account: i64,
        address: &str,
        hash: SecretHash,
        expires: i64,
    ) -> Result<(), StoreError> {
        let address = address.to_owned();
        self.write(move |db| {
            db.execute(
                "delete from email_codes where expires < ?1 or account = ?2",
                params![now(), account],
            )?;
            let sql = "insert into email_codes (hash, account, address, expires) values (?1, ?2, ?3, ?4)";
            db.execute(sql, params![hash, account, address, expires]).map(drop)
        })
        .await
    }

    /// Consumes a code of an account. Returns the address, which is now confirmed.
    /// # Errors
    /// [`StoreError`].
    pub async fn confirm_email(&self, account: i64, hash: SecretHash) -> Result<Option<String>, StoreError> {
        self.write(move |db| {
            let sql =
                "delete from email_codes where hash = ?1 and account = ?2 and expires > ?3 returning address";
            let address: Option<String> =
                db.query_row(sql, params![hash, account, now()], |row| row.get(0)).optional()?;
            if let Some(address) = &address {
                let sql = "insert into emails (account, address, mailed) values (?1, ?2, 0) \
                           on conflict (account) do update set address = excluded.address, mailed = 0";
                db.execute(sql, params![account, address])?;
            }
            Ok(address)
        })
        .await
    }
}
