//! The index in SQLite: FTS5.

use super::{Found, IndexedNotebook, QueryPart};
use crate::store::database::{DatabaseConnection, OptionalExtension, Result, params};

/// `indexed.id` is the `rowid` in `search`.
pub(in crate::store) const TABLES: &str = "
    create table indexed (
        id integer primary key,
        path text not null unique,
        modified integer not null,          -- of the file, in nanoseconds since 1970
        size integer not null
    ) strict;
    create virtual table search using fts5 (name, text, code, tokenize = \"unicode61 tokenchars '_'\");
    -- Overwrite what is removed from the index.
    insert into search (search, rank) values ('secure-delete', 1);
";

/// The marks around a match in a snippet. Typed text does not contain them.
const MATCH: (char, char) = ('\u{2}', '\u{3}');

pub(super) fn remove(db: &DatabaseConnection, path: &str) -> Result<()> {
    let sql = "delete from indexed where path = ?1 returning id";
    let id: Option<i64> = db.query_row(sql, [path], |row| row.get(0)).optional()?;
    db.execute("delete from search where rowid = ?1", [id]).map(drop)
}

pub(super) fn add(db: &DatabaseConnection, notebook: &IndexedNotebook) -> Result<()> {
    let IndexedNotebook { path, version, name, text, code } = notebook;
    let sql = "insert into indexed (path, modified, size) values (?1, ?2, ?3) returning id";
    let id: i64 = db.query_row(sql, params![path, version.modified, version.size], |row| row.get(0))?;
    let sql = "insert into search (rowid, name, text, code) values (?1, ?2, ?3, ?4)";
    db.execute(sql, params![id, name, text, code]).map(drop)
}

pub(super) fn search(db: &DatabaseConnection, parts: &[QueryPart], limit: u32) -> Result<Vec<Found>> {
    let sql = "select path, snippet(search, -1, ?2, ?3, '…', 24) from search join indexed on id = search.rowid \
               where search match ?1 order by bm25(search, 8.0, 2.0, 1.0) limit ?4";
    db.prepare_cached(sql)?
        .query_map(params![query(parts), MATCH.0.to_string(), MATCH.1.to_string(), limit], |row| {
            Ok(Found { path: row.get(0)?, snippet: pieces(&row.get::<String>(1)?) })
        })?
        .collect()
}

/// An FTS5 query. Every part is a string, so it has no operators.
fn query(parts: &[QueryPart]) -> String {
    let part = |part: &QueryPart| match part {
        QueryPart::Word(word) => format!("\"{word}\"*"),
        QueryPart::Phrase(phrase) => format!("\"{phrase}\""),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" AND ")
}

fn pieces(snippet: &str) -> Vec<(String, bool)> {
    let mut pieces = Vec::new();
    for (at, part) in snippet.split([MATCH.0, MATCH.1]).enumerate() {
        if !part.is_empty() {
            pieces.push((part.to_owned(), at % 2 == 1));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_no_program() {
        let cases = [
            ("a b", "\"a\"* AND \"b\"*"),
            ("\"a b\" c", "\"a b\" AND \"c\"*"),
            ("NOT x* (", "\"NOT\"* AND \"x*\"*"),
            ("\"unclosed phrase", "\"unclosed phrase\""),
            (" - \"\" ", ""),
        ];
        for (typed, expected) in cases {
            assert_eq!(query(&super::super::parts(typed)), expected, "{typed}");
        }
    }
}
