//! The full-text index of notebooks. It uses SQLite's FTS5, so another database needs a file of its own in place of this one.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError};

/// `indexed.id` is the `rowid` in `search`.
pub(super) const TABLES: &str = "
    create table indexed (
        id integer primary key,
        path text not null unique,
        modified integer not null,          -- of the file, in nanoseconds since 1970
        size integer not null
    ) strict;
    create virtual table search using fts5 (name, text, code, tokenize = \"unicode61 tokenchars '_'\");
    -- What is removed from the index is overwritten.
    insert into search (search, rank) values ('secure-delete', 1);
";

/// The marks of a match in a snippet. No text that is typed contains them.
const MATCH: (char, char) = ('\u{2}', '\u{3}');

/// Which version of a file is in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    /// When it was written, in nanoseconds since 1970.
    pub modified: i64,
    /// In bytes.
    pub size: i64,
}

/// What the index keeps of a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedNotebook {
    /// Its path.
    pub path: String,
    /// The file.
    pub version: FileVersion,
    /// Its name without the extension.
    pub name: String,
    /// Its Markdown and raw cells.
    pub text: String,
    /// Its code cells.
    pub code: String,
}

/// A notebook that matches a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// A part of its text: pieces, and whether each matches.
    pub snippet: Vec<(String, bool)>,
}

impl Store {
    /// The notebooks in the index.
    /// # Errors
    /// [`StoreError`].
    pub fn indexed(&self) -> Result<HashMap<String, FileVersion>, StoreError> {
        self.read(|db| {
            db.prepare_cached("select path, modified, size from indexed")?
                .query_map([], |row| {
                    Ok((row.get(0)?, FileVersion { modified: row.get(1)?, size: row.get(2)? }))
                })?
                .collect()
        })
    }

    /// Adds notebooks to the index, or replaces what it has of them, and removes others.
    /// # Errors
    /// [`StoreError`].
    pub async fn index(&self, changed: Vec<IndexedNotebook>, gone: Vec<String>) -> Result<(), StoreError> {
        self.write(move |db| {
            for path in gone.iter().chain(changed.iter().map(|notebook| &notebook.path)) {
                let id: Option<i64> = db
                    .query_row("delete from indexed where path = ?1 returning id", [path], |row| row.get(0))
                    .optional()?;
                db.execute("delete from search where rowid = ?1", [id])?;
            }
            for IndexedNotebook { path, version, name, text, code } in &changed {
                db.execute(
                    "insert into indexed (path, modified, size) values (?1, ?2, ?3)",
                    params![path, version.modified, version.size],
                )?;
                db.execute(
                    "insert into search (rowid, name, text, code) values (?1, ?2, ?3, ?4)",
                    params![db.last_insert_rowid(), name, text, code],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// The notebooks that contain every word and every phrase in double quotes, the best first. A word also finds
    /// words that begin with it.
    /// # Errors
    /// [`StoreError`].
    pub fn search(&self, words: &str, limit: u32) -> Result<Vec<Found>, StoreError> {
        let Some(query) = query(words) else { return Ok(Vec::new()) };
        self.read(|db| {
            let sql = "select path, snippet(search, -1, ?2, ?3, '…', 24) from search join indexed on id = search.rowid \
                       where search match ?1 order by bm25(search, 8.0, 2.0, 1.0) limit ?4";
            db.prepare_cached(sql)?
                .query_map(params![query, MATCH.0.to_string(), MATCH.1.to_string(), limit], |row| {
                    Ok(Found { path: row.get(0)?, snippet: pieces(&row.get::<_, String>(1)?) })
                })?
                .collect()
        })
    }
}

/// What a user typed as an FTS5 query; `None` if it has no words. Every part is a string, so it has no operators.
fn query(words: &str) -> Option<String> {
    let part = |(at, text): (usize, &str)| {
        let quoted = |text: &str| format!("\"{text}\"");
        match at % 2 {
            // Between quotes: a phrase.
            1 => vec![quoted(text)],
            _ => text.split_whitespace().map(|word| format!("{}*", quoted(word))).collect(),
        }
    };
    let is_word = |part: &String| part.contains(char::is_alphanumeric) || part.contains('_');
    let parts: Vec<String> = words.split('"').enumerate().flat_map(part).filter(is_word).collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
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
            ("a b", Some("\"a\"* AND \"b\"*")),
            ("\"a b\" c", Some("\"a b\" AND \"c\"*")),
            ("NOT x* (", Some("\"NOT\"* AND \"x*\"*")),
            ("\"unclosed phrase", Some("\"unclosed phrase\"")),
            (" - \"\" ", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(query(typed).as_deref(), expected, "{typed}");
        }
    }

    #[tokio::test]
    async fn words_phrases_and_code_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        let notebook = |path: &str, text: &str, code: &str| IndexedNotebook {
            path: path.into(),
            version: FileVersion { modified: 1, size: 1 },
            name: path.into(),
            text: text.into(),
            code: code.into(),
        };
        let first = notebook("waves", "The heat equation", "def solve_heat(u): pass");
        store.index(vec![first, notebook("other", "equation of heat", "x")], Vec::new()).await.unwrap();
        let check = |words: &str, expected: &[&str]| {
            let found = store.search(words, 10).unwrap();
            let mut paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
            paths.sort_unstable();
            assert_eq!(paths, expected, "{words}");
        };
        check("equation heat", &["other", "waves"]);
        check("\"heat equation\"", &["waves"]);
        check("solve_h", &["waves"]);
        check("wav HEAT", &["waves"]);
        check("nothing heat", &[]);
        check("*\" OR 1", &[]);
        let snippet = store.search("\"heat equation\"", 1).unwrap().remove(0).snippet;
        assert_eq!(snippet, [("The ".to_owned(), false), ("heat equation".to_owned(), true)]);
        store.index(vec![notebook("waves", "", "")], vec!["other".into()]).await.unwrap();
        check("equation", &[]);
        assert_eq!(store.indexed().unwrap().len(), 1);
    }
}
