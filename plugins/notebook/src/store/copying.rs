//! Copies all tables from one database to another, which may be of another kind. The full-text index and the list of files are made
//! again from the files, and what belongs to running servers is left out.

use std::path::Path;

use rusqlite::ToSql;
use rusqlite::types::Value;

use super::database::{Backend, DatabaseConnection, Result};
use super::{StoreError, schema};

/// A table: its name, its columns, and whether the database numbers its rows.
struct Table {
    name: String,
    columns: Vec<String>,
    numbered: bool,
}

/// The tables, in an order in which each refers to earlier ones only.
fn tables() -> Result<Vec<Table>, StoreError> {
    let model = Backend::Sqlite(":memory:".into()).connect()?;
    schema::migrate(&model)?;
    let sql = "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' and name not in ('files', 'indexed', 'leases', 'secrets', 'servers', 'writers') \
               and name not like 'search%' order by rowid";
    let names: Vec<String> = model.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    let mut tables = Vec::new();
    for name in names {
        let sql = "select name, type, pk from pragma_table_info(?1) order by cid";
        let columns: Vec<(String, String, i64)> = model
            .prepare(sql)?
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_>>()?;
        let numbered = columns.iter().any(|(name, kind, key)| name == "id" && kind == "INTEGER" && *key == 1);
        tables.push(Table { name, columns: columns.into_iter().map(|(name, ..)| name).collect(), numbered });
    }
    Ok(tables)
}

/// Copies the rows of all tables.
fn copy(from: &DatabaseConnection, to: &DatabaseConnection) -> Result<(), StoreError> {
    for Table { name, columns, numbered } in tables()? {
        let names: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let names = names.join(", ");
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
        let mut insert =
            to.prepare(&format!("insert into {name} ({names}) values ({})", places.join(", ")))?;
        from.each(&format!("select {names} from {name}"), |row| {
            let values: Vec<Value> =
                (0..columns.len()).map(|column| row.get(column)).collect::<Result<_>>()?;
            let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
            insert.execute(values.as_slice()).map(drop)
        })?;
        if numbered {
            to.number_after_rows(&name)?;
        }
    }
    Ok(())
}

/// Copies a database to the new SQLite file `to`, as it was when `from` began its transaction.
pub(super) fn to_file(from: &DatabaseConnection, to: &Path) -> Result<(), StoreError> {
    let to = Backend::Sqlite(to.to_owned()).connect()?;
    schema::migrate(&to)?;
    to.begin()?;
    copy(from, &to)?;
    Ok(to.commit()?)
}

/// Whether there are accounts or edits.
pub(super) fn in_use(db: &DatabaseConnection) -> Result<bool> {
    let has_rows = |table: &str| db.prepare(&format!("select 1 from {table} limit 1"))?.exists([]);
    Ok(has_rows("users")? || has_rows("operations")?)
}

/// Replaces the content of an unused database with that of the SQLite database `from`. If the database is in use, changes
/// nothing and returns false.
pub(super) fn from_file(from: &Path, to: &DatabaseConnection) -> Result<bool, StoreError> {
    if in_use(to)? {
        return Ok(false);
    }
    for table in tables()?.iter().rev() {
        to.execute(&format!("delete from {}", table.name), [])?;
    }
    let from = Backend::Sqlite(from.to_owned()).connect()?;
    copy(&from, to)?;
    Ok(true)
}
