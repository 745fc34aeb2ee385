//! Schedules of notebooks, and their runs.

use super::database::{OptionalExtension, Result, Row, params};

use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::files::RelativePath;
use crate::schedules::{Alert, Missed, SchedulePlan, Zone};

/// Recreates the table of notices, whose kinds were a fixed list.
pub(super) const SCHEDULES: &str = "
    create table schedules (
        id text primary key,                -- a UUID
        document text not null references documents on delete cascade,
        owner integer references users on delete cascade, -- null: the single user
        cron text not null,
        zone text not null,
        parameters text not null,           -- a JSON object
        missed text not null,
        alert text not null,
        paused integer not null,
        created integer not null,
        due integer not null                -- when it runs next
    ) strict;
    create index schedules_due on schedules (due);
    create table scheduled_runs (
        id text primary key,                -- a UUID
        schedule text not null references schedules on delete cascade,
        cause text not null,                -- schedule, missed or by_hand
        due integer not null,
        started integer not null,
        ended integer,
        status text not null,               -- waiting, running, ok, error, lost, missed or stopped
        message text not null,
        host text not null,                 -- the kernel host that runs it
        copy text not null,                 -- the path of the copy that runs
        content text                        -- the JSON of a notebook
    ) strict;
    create index scheduled_runs_schedule on scheduled_runs (schedule, started);
    create table new_notices (
        id integer primary key,
        account integer not null references users on delete cascade,
        at integer not null,
        kind text not null,
        author text not null,
        document text not null references documents on delete cascade,
        thread integer references threads on delete cascade,
        text text not null,
        seen integer not null default 0
    ) strict;
    insert into new_notices (id, account, at, kind, author, document, thread, text, seen)
        select id, account, at, kind, author, document, thread, text, seen from notices;
    drop table notices;
    alter table new_notices rename to notices;
    create index notices_account on notices (account, seen);
";

/// A schedule of a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its UUID.
    pub id: String,
    /// The path of the notebook; hidden if it is in the trash.
    pub path: String,
    /// The account that it runs for; `None` for the single user.
    pub owner: Option<i64>,
    /// The login name of that account.
    pub owner_name: String,
    /// When and how it runs.
    pub plan: SchedulePlan,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// When it runs next, in milliseconds since 1970.
    pub due: i64,
}

/// One run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRun {
    /// Its UUID.
    pub id: String,
    /// The schedule.
    pub schedule: String,
    /// `schedule`, `missed` or `by_hand`.
    pub cause: String,
    /// When it was due, in milliseconds since 1970.
    pub due: i64,
    /// When it began, in milliseconds since 1970.
    pub started: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended: Option<i64>,
    /// `waiting`, `running`, `ok`, `error`, `lost`, `missed` or `stopped`.
    pub status: String,
    /// Why it did not succeed.
    pub message: String,
    /// The path of the copy that runs.
    pub copy: String,
    /// Whether its notebook is stored.
    pub has_content: bool,
}

const SCHEDULE: &str = "select schedules.id, path, owner, coalesce(name, ''), cron, zone, parameters, missed, alert, paused, schedules.created, due \
    from schedules join documents on documents.id = document left join users on users.id = owner";
const RUN: &str = "select id, schedule, cause, due, started, ended, status, message, copy, case when content is null then 0 else 1 end from scheduled_runs";

fn schedule(row: &Row<'_>) -> Result<Schedule> {
    let text = |at: usize| -> Result<String> { row.get(at) };
    let paused: i64 = row.get(9)?;
    let plan = SchedulePlan {
        cron: text(4)?,
        zone: Zone::parse(&text(5)?).unwrap_or_default(),
        parameters: serde_json::from_str(&text(6)?).unwrap_or_default(),
        missed: Missed::parse(&text(7)?).unwrap_or_default(),
        alert: Alert::parse(&text(8)?).unwrap_or_default(),
    };
    Ok(Schedule {
        id: row.get(0)?,
        path: row.get(1)?,
        owner: row.get(2)?,
        owner_name: row.get(3)?,
        plan,
        paused: paused != 0,
        created: row.get(10)?,
        due: row.get(11)?,
    })
}

fn run(row: &Row<'_>) -> Result<ScheduledRun> {
    let has_content: i64 = row.get(9)?;
    Ok(ScheduledRun {
        id: row.get(0)?,
        schedule: row.get(1)?,
        cause: row.get(2)?,
        due: row.get(3)?,
        started: row.get(4)?,
        ended: row.get(5)?,
        status: row.get(6)?,
        message: row.get(7)?,
        copy: row.get(8)?,
        has_content: has_content != 0,
    })
}

fn parameters(plan: &SchedulePlan) -> String {
    serde_json::Value::Object(plan.parameters.clone()).to_string()
}

impl Store {
    /// All schedules, by path.
    /// # Errors
    /// [`StoreError`].
    pub fn schedules(&self) -> Result<Vec<Schedule>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{SCHEDULE} order by path, schedules.created"))?
                .query_map([], schedule)?
                .collect()
        })
    }

    /// One schedule.
    /// # Errors
    /// [`StoreError`].
    pub fn schedule(&self, id: &str) -> Result<Option<Schedule>, StoreError> {
        self.read(|db| {
            db.query_row(&format!("{SCHEDULE} where schedules.id = ?1"), [id], schedule).optional()
        })
    }

    /// The schedules that are due at `time`.
    /// # Errors
    /// [`StoreError`].
    pub fn due_schedules(&self, time: i64) -> Result<Vec<Schedule>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{SCHEDULE} where paused = 0 and due <= ?1 order by due"))?
                .query_map([time], schedule)?
                .collect()
        })
    }

    /// Adds a schedule. Returns its id.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_schedule(
        &self,
        path: &RelativePath,
        owner: Option<i64>,
        plan: SchedulePlan,
        due: i64,
    ) -> Result<String, StoreError> {
        let (id, path) = (uuid::Uuid::new_v4().to_string(), path.to_string());
        let added = id.clone();
        self.write(move |db| {
            let values = parameters(&plan);
            db.execute(
                "insert into schedules (id, document, owner, cron, zone, parameters, missed, alert, paused, created, due) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)",
                params![id, id_of(db, &path)?, owner, plan.cron, plan.zone.name(), values, plan.missed.name(), plan.alert.name(), now(), due],
            )
            .map(drop)
        })
        .await?;
        Ok(added)
    }

    /// Changes a schedule.
    /// # Errors
    /// [`StoreError`].
    pub async fn change_schedule(
        &self,
        id: &str,
        plan: SchedulePlan,
        paused: bool,
        due: i64,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            let values = parameters(&plan);
            db.execute(
                "update schedules set cron = ?2, zone = ?3, parameters = ?4, missed = ?5, alert = ?6, paused = ?7, due = ?8 where id = ?1",
                params![id, plan.cron, plan.zone.name(), values, plan.missed.name(), plan.alert.name(), i64::from(paused), due],
            )
            .map(drop)
        })
        .await
    }

    /// Deletes a schedule with its runs.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_schedule(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |db| db.execute("delete from schedules where id = ?1", [id]).map(drop)).await
    }

    /// Moves a due schedule to its next time. Returns false if another server did so first.
    /// # Errors
    /// [`StoreError`].
    pub async fn take_due(&self, id: &str, due: i64, next: i64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            let sql = "update schedules set due = ?3 where id = ?1 and due = ?2 and paused = 0";
            db.execute(sql, params![id, due, next]).map(|taken| taken > 0)
        })
        .await
    }

    /// Adds a run. Deletes all but the newest `kept` runs of its schedule.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_scheduled_run(
        &self,
        new: ScheduledRun,
        host: &str,
        kept: usize,
    ) -> Result<(), StoreError> {
        let (host, kept) = (host.to_owned(), i64::try_from(kept).unwrap_or(i64::MAX));
        self.write(move |db| {
            db.execute(
                "insert into scheduled_runs (id, schedule, cause, due, started, ended, status, message, host, copy) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![new.id, new.schedule, new.cause, new.due, new.started, new.ended, new.status, new.message, host, new.copy],
            )?;
            let sql = "delete from scheduled_runs where schedule = ?1 and status not in ('running', 'waiting') and id not in \
                       (select id from scheduled_runs where schedule = ?1 order by started desc, id limit ?2)";
            db.execute(sql, params![new.schedule, kept]).map(drop)
        })
        .await
    }

    /// Records that a waiting run has begun.
    /// # Errors
    /// [`StoreError`].
    pub async fn start_scheduled_run(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            let sql = "update scheduled_runs set status = 'running', started = ?2 where id = ?1 and status = 'waiting'";
            db.execute(sql, params![id, now()]).map(drop)
        })
        .await
    }

    /// Ends the open runs that began before `before`.
    /// # Errors
    /// [`StoreError`].
    pub async fn give_up_runs(&self, before: i64) -> Result<(), StoreError> {
        let open = "status in ('running', 'waiting') and started < ?1";
        let any = format!("select count(*) from scheduled_runs where {open}");
        let count: i64 = self.read(|db| db.query_row(&any, [before], |row| row.get(0)))?;
        if count == 0 {
            return Ok(());
        }
        self.write(move |db| {
            let sql = format!(
                "update scheduled_runs set status = 'lost', message = 'the server that ran it did not return', ended = ?2 where {open}"
            );
            db.execute(&sql, params![before, now()]).map(drop)
        })
        .await
    }

    /// Records the end of a run. Returns false if it had already ended.
    /// # Errors
    /// [`StoreError`].
    pub async fn end_scheduled_run(
        &self,
        id: &str,
        status: &str,
        message: &str,
        content: Option<String>,
    ) -> Result<bool, StoreError> {
        let (id, status, message) = (id.to_owned(), status.to_owned(), message.to_owned());
        self.write(move |db| {
            let sql = "update scheduled_runs set status = ?2, message = ?3, content = ?4, ended = ?5 where id = ?1 and status in ('running', 'waiting')";
            db.execute(sql, params![id, status, message, content, now()]).map(|ended| ended > 0)
        })
        .await
    }

    /// The runs of a schedule, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn scheduled_runs(&self, schedule: &str) -> Result<Vec<ScheduledRun>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{RUN} where schedule = ?1 order by started desc, id"))?
                .query_map([schedule], run)?
                .collect()
        })
    }

    /// The open runs of a kernel host.
    /// # Errors
    /// [`StoreError`].
    pub fn open_runs(&self, host: &str) -> Result<Vec<ScheduledRun>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{RUN} where status in ('running', 'waiting') and host = ?1"))?
                .query_map([host], run)?
                .collect()
        })
    }

    /// A run and its notebook's JSON.
    /// # Errors
    /// [`StoreError`].
    pub fn scheduled_run(&self, id: &str) -> Result<Option<(ScheduledRun, Option<String>)>, StoreError> {
        self.read(|db| {
            let found = db.query_row(&format!("{RUN} where id = ?1"), [id], run).optional()?;
            let Some(found) = found else { return Ok(None) };
            let content =
                db.query_row("select content from scheduled_runs where id = ?1", [id], |row| row.get(0))?;
            Ok(Some((found, content)))
        })
    }
}
