//! Lists and removes invitations.

use super::database::{Result, params};
use super::{Store, StoreError, now};
use crate::identity::Role;

/// An unused invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its number.
    pub id: i64,
    /// The role of the new account.
    pub role: Role,
    /// The login name of the account that gets a new password instead.
    pub user: Option<String>,
    /// When it ends, in milliseconds since 1970.
    pub expires: i64,
}

impl Store {
    /// The invitations that can still be used, the first to end first.
    /// # Errors
    /// [`StoreError`].
    pub fn invitations(&self) -> Result<Vec<Invitation>, StoreError> {
        self.read(|db| {
            let sql = "select hash, invitations.role, users.name, expires from invitations left join users on users.id = user \
                       where expires > ?1 order by expires";
            db.prepare(sql)?
                .query_map([now()], |row| {
                    Ok(Invitation { id: number(&row.get::<[u8; 32]>(0)?), role: row.get(1)?, user: row.get(2)?, expires: row.get(3)? })
                })?
                .collect()
        })
    }

    /// Revokes an invitation. Returns false if there is none with this id.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_invitation(&self, id: i64) -> Result<bool, StoreError> {
        self.write(move |db| {
            let hashes = db
                .prepare("select hash from invitations")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<Vec<[u8; 32]>>>()?;
            let Some(hash) = hashes.into_iter().find(|hash| number(hash) == id) else { return Ok(false) };
            db.execute("delete from invitations where hash = ?1", params![hash]).map(|removed| removed > 0)
        })
        .await
    }
}

/// An id for an invitation: the first bytes of the hash of its code, which do not help to guess the code.
fn number(hash: &[u8; 32]) -> i64 {
    i64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}
