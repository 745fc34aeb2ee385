//! The servers that share a database, and what each of them has open.

use std::sync::Arc;

use super::database::{DatabaseConnection, Result, params};
use super::leases::{LEASE_MS, NOW};
use super::{Store, StoreError};
use crate::files::RelativePath;

/// Servers that other servers can reach. Each renews its row with its leases.
pub(super) const SERVERS: &str = "
    create table servers (
        server text primary key,
        address text not null,
        expires integer not null            -- in milliseconds since 1970, by the clock of the database
    ) strict, without rowid;
";

/// Where a document is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The address of the server, as in its settings.
    pub address: String,
    /// Whether it is this server.
    pub is_own: bool,
}

/// Renews the row of a server.
pub(super) fn renew(db: &DatabaseConnection, server: &str, address: &str) -> Result<usize> {
    let sql = format!(
        "insert into servers (server, address, expires) values (?1, ?2, {NOW} + {LEASE_MS}) \
         on conflict (server) do update set address = excluded.address, expires = excluded.expires"
    );
    db.execute(&sql, [server, address])
}

/// Deletes the rows of servers that ended long ago.
pub(super) fn forget(db: &DatabaseConnection, before_ms: i64) -> Result<()> {
    db.execute(&format!("delete from servers where expires < {NOW} - ?1"), [before_ms]).map(drop)
}

impl Store {
    /// Announces to the other servers of the database that they can reach this one at `address`, for as long as it runs.
    /// # Errors
    /// [`StoreError`].
    pub fn announce(&self, address: &str) -> Result<(), StoreError> {
        let (address, server): (Arc<str>, _) = (address.into(), self.0.leases.server.clone());
        let _ = self.0.leases.address.set(address.clone());
        // At once: a server that has leases must be known to run.
        self.post(move |db| renew(db, &server, &address).map(drop))
    }

    /// The addresses of the other servers that run.
    /// # Errors
    /// [`StoreError`].
    pub fn other_servers(&self) -> Result<Vec<String>, StoreError> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let sql =
            format!("select address from servers where server <> ?1 and expires > {NOW} order by address");
        self.read(|db| {
            db.prepare_cached(&sql)?.query_map([&*self.0.leases.server], |row| row.get(0))?.collect()
        })
    }

    /// Where the document at `path` is open; with `below`, also where those in the folder `path` are.
    /// # Errors
    /// [`StoreError`].
    pub fn holders(&self, path: &RelativePath, below: bool) -> Result<Vec<Holder>, StoreError> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let or_below = if below { " or ?1 = '' or substr(path, 1, length(?1) + 1) = ?1 || '/'" } else { "" };
        let sql = format!(
            "select distinct server, address from leases join documents on documents.id = leases.document \
             where expires > {NOW} and (path = ?1{or_below})"
        );
        let own = &self.0.leases.server;
        self.read(|db| {
            let holder = |row: &super::database::Row<'_>| {
                Ok(Holder { is_own: row.get::<String>(0)? == **own, address: row.get(1)? })
            };
            db.prepare_cached(&sql)?.query_map(params![path.as_str()], holder)?.collect()
        })
    }
}
