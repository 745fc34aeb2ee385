//! The full-text index of notebooks. Each database has its own.

#[cfg(feature = "postgres")]
pub(super) mod postgres;
pub(super) mod sqlite;

use std::collections::HashMap;

use super::database::DatabaseConnection;
use super::{Store, StoreError};

/// The version of a file in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    /// When it was written, in nanoseconds since 1970.
    pub modified: i64,
    /// In bytes.
    pub size: i64,
}

/// The indexed texts of a notebook.
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
    /// A snippet of its text, as pieces that match or do not.
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

    /// Adds notebooks to the index or replaces them, and removes others.
    /// # Errors
    /// [`StoreError`].
    pub async fn index(&self, changed: Vec<IndexedNotebook>, gone: Vec<String>) -> Result<(), StoreError> {
        self.write(move |db| {
            for path in gone.iter().chain(changed.iter().map(|notebook| &notebook.path)) {
                match db {
                    DatabaseConnection::Sqlite(_) => sqlite::remove(db, path)?,
                    #[cfg(feature = "postgres")]
                    DatabaseConnection::Postgres(_) => postgres::remove(db, path)?,
                }
            }
            for notebook in &changed {
                match db {
                    DatabaseConnection::Sqlite(_) => sqlite::add(db, notebook)?,
                    #[cfg(feature = "postgres")]
                    DatabaseConnection::Postgres(_) => postgres::add(db, notebook)?,
                }
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
        let parts = parts(words);
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        self.read(|db| match db {
            DatabaseConnection::Sqlite(_) => sqlite::search(db, &parts, limit),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(_) => postgres::search(db, &parts, limit),
        })
    }
}

/// A part of a search query.
#[derive(Debug, Clone, PartialEq, Eq)]
enum QueryPart {
    /// A word; words that begin with it match too.
    Word(String),
    /// Words that follow each other.
    Phrase(String),
}

/// The parts of a query as typed. They contain no quotation marks.
fn parts(words: &str) -> Vec<QueryPart> {
    let is_word = |part: &str| part.contains(char::is_alphanumeric) || part.contains('_');
    let mut parts = Vec::new();
    for (at, text) in words.split('"').enumerate() {
        match at % 2 {
            // Between quotes.
            1 if is_word(text) => parts.push(QueryPart::Phrase(text.to_owned())),
            1 => (),
            _ => parts.extend(
                text.split_whitespace()
                    .filter(|word| is_word(word))
                    .map(|word| QueryPart::Word(word.to_owned())),
            ),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

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
