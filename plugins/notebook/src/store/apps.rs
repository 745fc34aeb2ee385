//! What notebooks need as apps: whether their controls may be used, and the last state of their widgets.

use super::database::{OptionalExtension, params};
use super::documents::id_of;
use super::{Store, StoreError};
use crate::files::RelativePath;

pub(super) const APPS: &str = "
    alter table publications add column interactive integer not null default 0; -- readers may use the controls
    create table app_controls (             -- notebooks whose controls may be used in apps
        document text primary key references documents on delete cascade
    ) strict, without rowid;
    create table widget_states (
        document text primary key references documents on delete cascade,
        states text not null                -- JSON, as in the metadata of notebooks
    ) strict, without rowid;
";

impl Store {
    /// Whether the users who open the notebook at `path` as an app may use its controls.
    /// # Errors
    /// [`StoreError`].
    pub fn app_controls(&self, path: &RelativePath) -> Result<bool, StoreError> {
        let sql = "select 1 from app_controls join documents on documents.id = document where path = ?1";
        self.read(|db| db.prepare_cached(sql)?.exists([path.as_str()]))
    }

    /// Sets whether they may.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_app_controls(&self, path: &RelativePath, allowed: bool) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            let id = id_of(db, &path)?;
            let sql = match allowed {
                true => "insert into app_controls (document) values (?1) on conflict do nothing",
                false => "delete from app_controls where document = ?1",
            };
            db.execute(sql, [id]).map(drop)
        })
        .await
    }

    /// The state of the widgets of the notebook at `path` when its kernel had them last, as JSON.
    /// # Errors
    /// [`StoreError`].
    pub fn widget_states(&self, path: &RelativePath) -> Result<Option<String>, StoreError> {
        let sql =
            "select states from widget_states join documents on documents.id = document where path = ?1";
        self.read(|db| db.query_row(sql, [path.as_str()], |row| row.get(0)).optional())
    }

    /// Keeps it.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_widget_states(&self, path: &RelativePath, states: String) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            db.execute(
                "insert into widget_states (document, states) values (?1, ?2) \
                 on conflict (document) do update set states = excluded.states",
                params![id_of(db, &path)?, states],
            )
            .map(drop)
        })
        .await
    }
}
