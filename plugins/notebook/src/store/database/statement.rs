//! Prepared statements and their rows.

use std::vec;

use rusqlite::types::FromSql;

#[cfg(feature = "postgres")]
use super::postgres::PostgresSession;
use super::{Params, Result};

/// A prepared statement.
pub(in crate::store) enum Statement<'a> {
    Sqlite(rusqlite::CachedStatement<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a PostgresSession, tokio_postgres::Statement),
}

impl Statement<'_> {
    /// Runs it. Returns how many rows it changed.
    pub(in crate::store) fn execute(&mut self, params: impl Params) -> Result<usize> {
        params.with(|params| match self {
            Statement::Sqlite(statement) => statement.execute(params),
            #[cfg(feature = "postgres")]
            Statement::Postgres(session, statement) => session.execute(statement, params),
        })
    }

    /// The first row.
    pub(in crate::store) fn query_row<T>(
        &mut self,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        params.with(|params| match self {
            Statement::Sqlite(statement) => statement.query_row(params, |row| map(&Row::Sqlite(row))),
            #[cfg(feature = "postgres")]
            Statement::Postgres(session, statement) => {
                let rows = session.query(statement, params)?;
                map(&Row::Postgres(rows.first().ok_or(rusqlite::Error::QueryReturnedNoRows)?))
            }
        })
    }

    /// The results of `map` for all rows.
    pub(in crate::store) fn query_map<T>(
        &mut self,
        params: impl Params,
        mut map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<vec::IntoIter<Result<T>>> {
        let mapped = params.with(|params| -> Result<Vec<Result<T>>> {
            match self {
                Statement::Sqlite(statement) => {
                    Ok(statement.query_map(params, |row| map(&Row::Sqlite(row)))?.collect())
                }
                #[cfg(feature = "postgres")]
                Statement::Postgres(session, statement) => {
                    let rows = session.query(statement, params)?;
                    Ok(rows.iter().map(|row| map(&Row::Postgres(row))).collect())
                }
            }
        })?;
        Ok(mapped.into_iter())
    }

    /// Whether there is a row.
    pub(in crate::store) fn exists(&mut self, params: impl Params) -> Result<bool> {
        params.with(|params| match self {
            Statement::Sqlite(statement) => statement.exists(params),
            #[cfg(feature = "postgres")]
            Statement::Postgres(session, statement) => Ok(!session.query(statement, params)?.is_empty()),
        })
    }
}

/// A row of a result.
pub(in crate::store) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    pub(in crate::store) fn get<T: FromSql>(&self, column: usize) -> Result<T> {
        match self {
            Row::Sqlite(row) => row.get(column),
            #[cfg(feature = "postgres")]
            Row::Postgres(row) => super::encoding::get(row, column),
        }
    }
}
