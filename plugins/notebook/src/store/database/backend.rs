//! The choice of database.

use std::path::{Path, PathBuf};
#[cfg(feature = "postgres")]
use std::sync::Arc;

#[cfg(feature = "postgres")]
use super::postgres::PostgresAddress;
use super::{DatabaseConnection, sqlite};
use crate::store::StoreError;

/// A database. Cheap to clone.
#[derive(Clone)]
pub enum Backend {
    /// SQLite, in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresAddress>),
}

impl Backend {
    /// The database at an address `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. `ca_file` contains the certificates (PEM) of
    /// the authorities that may sign the server's certificate; the default is the public ones. Does not connect.
    /// # Errors
    /// If the address is wrong, the file cannot be read, or the notebook was built without PostgreSQL.
    #[cfg(feature = "postgres")]
    pub fn parse(url: &str, ca_file: Option<&Path>) -> Result<Backend, StoreError> {
        Ok(Backend::Postgres(Arc::new(PostgresAddress::parse(url, ca_file)?)))
    }

    /// The same without PostgreSQL.
    /// # Errors
    /// Always.
    #[cfg(not(feature = "postgres"))]
    pub fn parse(_: &str, _: Option<&Path>) -> Result<Backend, StoreError> {
        Err(StoreError(
            "this notebook was built without PostgreSQL (the cargo feature `postgres`)".to_owned(),
        ))
    }

    /// Its name in messages, without the password.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Backend::Sqlite(path) => path.display().to_string(),
            #[cfg(feature = "postgres")]
            Backend::Postgres(address) => address.name(),
        }
    }

    /// Makes a connection.
    pub(in crate::store) fn connect(&self) -> Result<DatabaseConnection, StoreError> {
        match self {
            Backend::Sqlite(path) => Ok(sqlite::connect(path)?),
            #[cfg(feature = "postgres")]
            Backend::Postgres(address) => address.connect(),
        }
    }

    /// Connections for reads.
    pub(super) fn readers(&self) -> usize {
        match self {
            Backend::Sqlite(_) => 1,
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => 4,
        }
    }
}
