//! Published notebooks: frozen copies that everyone can read.

use super::database::{OptionalExtension, Result, Row, params};
use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::files::RelativePath;

/// A published notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The name of its page.
    pub slug: String,
    /// When it was last published, in milliseconds since 1970.
    pub at: i64,
    /// The login name of the person who published it.
    pub author: String,
    /// Its title for readers.
    pub title: String,
    /// Its licence; empty if none was chosen.
    pub licence: String,
    /// Whether each save of the notebook publishes it again.
    pub republish: bool,
    /// Whether readers may use its controls.
    pub interactive: bool,
}

/// A reader's rating of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    /// The login name.
    pub name: String,
    /// 0 to 4.
    pub stars: u8,
    /// A comment; may be empty.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

const PUBLICATION: &str = "slug, at, author, title, licence, republish, interactive";

fn publication(row: &Row<'_>) -> Result<Publication> {
    Ok(Publication {
        slug: row.get(0)?,
        at: row.get(1)?,
        author: row.get(2)?,
        title: row.get(3)?,
        licence: row.get(4)?,
        republish: row.get(5)?,
        interactive: row.get(6)?,
    })
}

impl Store {
    /// Publishes a notebook with this content. If it was already published, replaces the copy and keeps its address.
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
        // The address cannot be guessed.
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

    /// Withdraws a publication.
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

    /// Sets the licence of a publication, whether each save of the notebook publishes it again, and whether readers may use its
    /// controls.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_publication(
        &self,
        path: &RelativePath,
        licence: &str,
        republish: bool,
        interactive: bool,
    ) -> Result<(), StoreError> {
        let (path, licence) = (path.to_string(), licence.to_owned());
        self.write(move |db| {
            let sql = "update publications set licence = ?2, republish = ?3, interactive = ?4 where document = (select id from documents where path = ?1)";
            db.execute(sql, params![path, licence, republish, interactive]).map(drop)
        })
        .await
    }

    /// The publication of the notebook at `path`.
    /// # Errors
    /// [`StoreError`].
    pub fn publication_of(&self, path: &RelativePath) -> Result<Option<Publication>, StoreError> {
        self.read(|db| {
            let sql = format!("select {PUBLICATION} from publications join documents on documents.id = document where path = ?1");
            db.query_row(&sql, [path.as_str()], publication).optional()
        })
    }

    /// A publication and its content, a notebook's JSON.
    /// # Errors
    /// [`StoreError`].
    pub fn publication(&self, slug: &str) -> Result<Option<(Publication, String)>, StoreError> {
        self.read(|db| {
            let sql = format!("select {PUBLICATION}, content from publications where slug = ?1");
            db.query_row(&sql, [slug], |row| Ok((publication(row)?, row.get(7)?))).optional()
        })
    }

    /// A publication without its content.
    /// # Errors
    /// [`StoreError`].
    pub fn publication_facts(&self, slug: &str) -> Result<Option<Publication>, StoreError> {
        self.read(|db| {
            let sql = format!("select {PUBLICATION} from publications where slug = ?1");
            db.query_row(&sql, [slug], publication).optional()
        })
    }

    /// Rates a publication, or withdraws the rating (`None`). The newest rating of an account counts.
    /// # Errors
    /// [`StoreError`].
    pub async fn rate(
        &self,
        slug: &str,
        account: i64,
        rating: Option<(u8, String)>,
    ) -> Result<(), StoreError> {
        let slug = slug.to_owned();
        self.write(move |db| {
            match rating {
                Some((stars, text)) => db.execute(
                    "insert into ratings (slug, account, stars, text, at) values (?1, ?2, ?3, ?4, ?5) \
                     on conflict (slug, account) do update set stars = excluded.stars, text = excluded.text, at = excluded.at",
                    params![slug, account, stars, text, now()],
                ),
                None => db.execute("delete from ratings where slug = ?1 and account = ?2", params![slug, account]),
            }
            .map(drop)
        })
        .await
    }

    /// The ratings of a publication, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn ratings(&self, slug: &str) -> Result<Vec<Rating>, StoreError> {
        self.read(|db| {
            let sql = "select name, stars, text, at from ratings join users on id = account where slug = ?1 order by at desc";
            db.prepare(sql)?
                .query_map([slug], |row| {
                    Ok(Rating { name: row.get(0)?, stars: row.get(1)?, text: row.get(2)?, at: row.get(3)? })
                })?
                .collect()
        })
    }
}
