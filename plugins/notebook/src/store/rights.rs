//! Rights on documents, and the groups that can have rights.

use super::database::{DatabaseConnection, OptionalExtension, Result, params};
use super::documents::id_of;
use super::{Store, StoreError};
use crate::access::Level;
use crate::files::RelativePath;

/// The holder of a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An account, by its login name.
    User(String),
    /// A group.
    Group(String),
    /// Everybody who is logged in.
    Everyone,
}

impl Subject {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Subject::User(name) => ("user", name),
            Subject::Group(name) => ("group", name),
            Subject::Everyone => ("everyone", ""),
        }
    }
}

/// The rows of `rights` that apply to the account `?1` and the paths that the condition after it selects.
const APPLY: &str = "from rights join documents on documents.id = rights.document where (
        kind = 'everyone'
        or kind = 'user' and subject = (select name from users where id = ?1) collate nocase
        or kind = 'group' and subject in (select name from members where user = ?1)
    )";

impl Store {
    /// The highest level that an account has on `path` or a folder that contains it. An account may list a folder if it may
    /// see something in it.
    /// # Errors
    /// [`StoreError`].
    pub fn granted(&self, user: i64, path: &RelativePath) -> Result<Option<Level>, StoreError> {
        let path = path.as_str();
        self.read(|db| {
            let above = format!(
                "select level {APPLY} and (path = ?2 or substr(?2, 1, length(path) + 1) = path || '/')"
            );
            let levels = db
                .prepare_cached(&above)?
                .query_map(params![user, path], |row| row.get(0))?
                .collect::<Result<Vec<Level>>>()?;
            if let Some(level) = levels.into_iter().max() {
                return Ok(Some(level));
            }
            let below = format!("select 1 {APPLY} and substr(path, 1, length(?2) + 1) = ?2 || '/' limit 1");
            let lists = db.prepare_cached(&below)?.exists(params![user, path])?;
            Ok(lists.then_some(Level::View))
        })
    }

    /// The paths that are shared with an account, with their levels.
    /// # Errors
    /// [`StoreError`].
    pub fn shared_with(&self, user: i64) -> Result<Vec<(String, Level)>, StoreError> {
        self.read(|db| {
            db.prepare(&format!("select path, level {APPLY} order by path"))?
                .query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// The rights on a document itself.
    /// # Errors
    /// [`StoreError`].
    pub fn rights_on(&self, path: &RelativePath) -> Result<Vec<(Subject, Level)>, StoreError> {
        self.read(|db| {
            let sql = "select kind, subject, level from rights join documents on documents.id = rights.document where path = ?1 order by kind, subject";
            db.prepare(sql)?
                .query_map([path.as_str()], |row| {
                    let (kind, subject): (String, String) = (row.get(0)?, row.get(1)?);
                    let subject = match kind.as_str() {
                        "user" => Subject::User(subject),
                        "group" => Subject::Group(subject),
                        _ => Subject::Everyone,
                    };
                    Ok((subject, row.get(2)?))
                })?
                .collect()
        })
    }

    /// Grants, changes or revokes (`None`) a right on `path`.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_right(
        &self,
        path: &RelativePath,
        subject: &Subject,
        level: Option<Level>,
    ) -> Result<(), StoreError> {
        let (path, (kind, subject)) = (path.to_string(), subject.columns());
        let subject = subject.to_owned();
        self.write(move |db| {
            match level {
                Some(level) => db.execute(
                    "insert into rights (document, kind, subject, level) values (?1, ?2, ?3, ?4) \
                     on conflict (document, kind, subject) do update set level = excluded.level",
                    params![id_of(db, &path)?, kind, subject, level],
                ),
                None => db.execute(
                    "delete from rights where kind = ?2 and subject = ?3 \
                     and document = (select id from documents where path = ?1)",
                    params![path, kind, subject],
                ),
            }
            .map(drop)
        })
        .await
    }

    /// Adds a link. It grants this right to every logged-in user who opens it.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_link(
        &self,
        path: &RelativePath,
        hash: [u8; 32],
        level: Level,
        expires: i64,
    ) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            let id = id_of(db, &path)?;
            db.execute("delete from links where expires < ?1", [super::now()])?;
            db.execute(
                "insert into links (hash, document, level, expires) values (?1, ?2, ?3, ?4)",
                params![hash, id, level, expires],
            )
            .map(drop)
        })
        .await
    }

    /// The links to a document: number, level, end in milliseconds since 1970.
    /// # Errors
    /// [`StoreError`].
    pub fn links_to(&self, path: &RelativePath) -> Result<Vec<(i64, Level, i64)>, StoreError> {
        self.read(|db| {
            let sql = "select links.rowid, level, expires from links join documents on documents.id = links.document \
                       where path = ?1 and expires > ?2 order by expires";
            db.prepare(sql)?
                .query_map(params![path.as_str(), super::now()], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        })
    }

    /// Deletes a link to a document.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_link(&self, path: &RelativePath, link: i64) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            db.execute(
                "delete from links where rowid = ?2 and document = (select id from documents where path = ?1)",
                params![path, link],
            )
            .map(drop)
        })
        .await
    }

    /// The path of a link, and the level that it grants.
    /// # Errors
    /// [`StoreError`].
    pub fn link(&self, hash: [u8; 32]) -> Result<Option<(String, Level)>, StoreError> {
        self.read(|db| {
            db.query_row(
                "select path, level from links join documents on documents.id = links.document where hash = ?1 and expires > ?2",
                params![hash, super::now()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
        })
    }

    /// All groups with the login names of their members.
    /// # Errors
    /// [`StoreError`].
    pub fn groups(&self) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let rows = self.read(|db| {
            let sql = "select members.name, users.name from members join users on users.id = members.user order by 1, 2";
            db.prepare(sql)?
                .query_map([], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))?
                .collect::<Result<Vec<_>>>()
        })?;
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (group, member) in rows {
            match groups.last_mut().filter(|(name, _)| *name == group) {
                Some((_, members)) => members.push(member),
                None => groups.push((group, vec![member])),
            }
        }
        Ok(groups)
    }

    /// Adds an account to a group, or removes it. A group exists as long as it has members.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_member(&self, group: &str, user: i64, is_member: bool) -> Result<(), StoreError> {
        let group = group.to_owned();
        let sql = match is_member {
            true => "insert into members (name, user) values (?1, ?2) on conflict do nothing",
            false => "delete from members where name = ?1 and user = ?2",
        };
        self.write(move |db: &DatabaseConnection| db.execute(sql, params![group, user]).map(drop)).await
    }
}
