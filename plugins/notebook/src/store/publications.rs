//! Published notebooks: frozen copies that everybody may read.

use rusqlite::{OptionalExtension, params};

use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::files::RelativePath;

/// A published notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The name of its page.
    pub slug: String,
    /// When it was published last, in milliseconds since 1970.
    pub at: i64,
    /// The login name of who published it.
    pub author: String,
    /// What readers see as its title.
    pub title: String,
}

impl Store {
    /// Publishes a notebook with this content, or replaces what was published of it. The address stays.
    /// # Errors
    /// [`StoreError`].
    pub async fn publish(
        &self,
        path: &RelativePath,
        author: &str,
        title: &str,
        content: String,
    ) -> Result<(), StoreError> {
        let (path, author, title) = (path.to_string(), author.to_owned(), title.to_owned());
        // Whoever does not know the address cannot guess it.
        let slug: String = uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect();
        self.write(move |db| {
            db.execute(
                "insert into publications (slug, document, at, author, title, content) values (?1, ?2, ?3, ?4, ?5, ?6) \
                 on conflict (document) do update set at = excluded.at, author = excluded.author, title = excluded.title, content = excluded.content",
                params![slug, id_of(db, &path)?, now(), author, title, content],
            )
            .map(drop)
        })
        .await
    }

    /// Takes a publication back.
    /// # Errors
    /// [`StoreError`].
    pub async fn unpublish(&self, path: &RelativePath) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            db.execute(
                "delete from publications where document = (select id from documents where path = ?1)",
                [path],
            )
            .map(drop)
        })
        .await
    }

    /// What was published of the notebook at `path`.
    /// # Errors
    /// [`StoreError`].
    pub fn publication_of(&self, path: &RelativePath) -> Result<Option<Publication>, StoreError> {
        self.read(|db| {
            db.query_row(
                "select slug, at, author, title from publications join documents on documents.id = document where path = ?1",
                [path.as_str()],
                |row| {
                    Ok(Publication { slug: row.get(0)?, at: row.get(1)?, author: row.get(2)?, title: row.get(3)? })
                },
            )
            .optional()
        })
    }

    /// A publication and its content, a notebook's JSON.
    /// # Errors
    /// [`StoreError`].
    pub fn publication(&self, slug: &str) -> Result<Option<(Publication, String)>, StoreError> {
        self.read(|db| {
            db.query_row(
                "select slug, at, author, title, content from publications where slug = ?1",
                [slug],
                |row| {
                    let publication = Publication {
                        slug: row.get(0)?,
                        at: row.get(1)?,
                        author: row.get(2)?,
                        title: row.get(3)?,
                    };
                    Ok((publication, row.get(4)?))
                },
            )
            .optional()
        })
    }
}
