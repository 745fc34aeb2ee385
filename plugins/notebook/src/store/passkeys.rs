//! Passkeys of accounts.

use super::database::{OptionalExtension, Result, Row, params};

use super::{SecretHash, Store, StoreError, now};
use crate::passkeys::NewPasskey;

pub(super) const PASSKEYS: &str = "
    create table passkeys (
        id blob primary key,                -- of the credential
        account integer not null references users on delete cascade,
        name text not null,
        public_key blob not null,           -- a SubjectPublicKeyInfo
        algorithm integer not null,
        counter integer not null,
        created integer not null,
        used integer                        -- when it logged in last
    ) strict, without rowid;
    create index passkeys_account on passkeys (account);
    create table used_challenges (          -- each is used once
        hash blob primary key,
        expires integer not null
    ) strict, without rowid;
";

/// A passkey of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// The id of the credential.
    pub id: Vec<u8>,
    /// The account.
    pub account: i64,
    /// The name that its owner gave it.
    pub name: String,
    /// Its public key.
    pub public_key: Vec<u8>,
    /// The COSE number of its algorithm.
    pub algorithm: i64,
    /// The counter of its uses.
    pub counter: i64,
    /// When it was added, in milliseconds since 1970.
    pub created: i64,
    /// When it was last used to log in, in milliseconds since 1970.
    pub used: Option<i64>,
}

const PASSKEY: &str = "select id, account, name, public_key, algorithm, counter, created, used from passkeys";

fn passkey(row: &Row<'_>) -> Result<Passkey> {
    Ok(Passkey {
        id: row.get(0)?,
        account: row.get(1)?,
        name: row.get(2)?,
        public_key: row.get(3)?,
        algorithm: row.get(4)?,
        counter: row.get(5)?,
        created: row.get(6)?,
        used: row.get(7)?,
    })
}

impl Store {
    /// The passkeys of an account, the oldest first.
    /// # Errors
    /// [`StoreError`].
    pub fn passkeys_of(&self, account: i64) -> Result<Vec<Passkey>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{PASSKEY} where account = ?1 order by created"))?
                .query_map([account], passkey)?
                .collect()
        })
    }

    /// The passkey with this id.
    /// # Errors
    /// [`StoreError`].
    pub fn passkey(&self, id: &[u8]) -> Result<Option<Passkey>, StoreError> {
        self.read(|db| db.query_row(&format!("{PASSKEY} where id = ?1"), [id], passkey).optional())
    }

    /// Adds a passkey. Returns false if it is already known.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_passkey(&self, account: i64, name: &str, new: NewPasskey) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write(move |db| {
            let sql = "insert into passkeys (id, account, name, public_key, algorithm, counter, created) \
                       values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing";
            let NewPasskey { id, public_key, algorithm, counter } = new;
            db.execute(sql, params![id, account, name, public_key, algorithm, i64::from(counter), now()])
                .map(|added| added > 0)
        })
        .await
    }

    /// Records a login with a passkey whose counter is `counter`. Returns false if the counter did not grow, which shows that
    /// the key was copied.
    /// # Errors
    /// [`StoreError`].
    pub async fn use_passkey(&self, id: Vec<u8>, counter: u32) -> Result<bool, StoreError> {
        self.write(move |db| {
            let sql = "update passkeys set counter = ?2, used = ?3 where id = ?1 and (counter < ?2 or (counter = 0 and ?2 = 0))";
            db.execute(sql, params![id, i64::from(counter), now()]).map(|used| used > 0)
        })
        .await
    }

    /// Deletes a passkey of an account.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_passkey(&self, account: i64, id: Vec<u8>) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("delete from passkeys where account = ?1 and id = ?2", params![account, id]).map(drop)
        })
        .await
    }

    /// Consumes a challenge. Returns false if it was used before.
    /// # Errors
    /// [`StoreError`].
    pub async fn use_challenge(&self, hash: SecretHash, expires: i64) -> Result<bool, StoreError> {
        self.write(move |db| {
            db.execute("delete from used_challenges where expires < ?1", [now()])?;
            let sql = "insert into used_challenges (hash, expires) values (?1, ?2) on conflict do nothing";
            db.execute(sql, params![hash, expires]).map(|used| used > 0)
        })
        .await
    }
}
