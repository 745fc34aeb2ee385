//! The commands for scheduled runs.

use serde_json::{Map, Value, json};

use super::table::table;
use super::words::Words;
use super::{CommandError, Printed, Result, fail, time};
use crate::files::RelativePath;
use crate::schedules::{Alert, Missed, RunCause, ScheduleError, SchedulePlan, Zone};
use crate::state::Notebook;
use crate::store::{Schedule, now};

impl From<ScheduleError> for CommandError {
    fn from(error: ScheduleError) -> CommandError {
        CommandError(error.to_string())
    }
}

pub(super) async fn schedules(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    match words.need("the command")?.as_str() {
        "list" => list(notebook, words),
        "add" => add(notebook, words).await,
        "runs" => runs(notebook, words),
        "pause" => pause(notebook, words, true).await,
        "resume" => pause(notebook, words, false).await,
        "run" => {
            let schedule = one(notebook, words)?;
            let run = notebook.queue_run(&schedule, RunCause::ByHand, now()).await?;
            Ok(Printed::new(format!("{} runs", schedule.path), json!({"run": run})))
        }
        "delete" => {
            let schedule = one(notebook, words)?;
            notebook.delete_schedule(&schedule).await?;
            notebook.audit_command("delete schedule", &schedule.path).await?;
            Ok(Printed::new(format!("{} is no longer scheduled", schedule.path), json!({"id": schedule.id})))
        }
        other => fail(format!("there is no command `schedules {other}`: `help` lists them")),
    }
}

/// The schedule whose id begins with the next word.
fn one(notebook: &Notebook, words: &mut Words) -> Result<Schedule> {
    let id = words.need("ID")?;
    words.end()?;
    let mut found = notebook.store.schedules()?;
    found.retain(|schedule| schedule.id.starts_with(&id));
    match found.pop().filter(|_| found.is_empty()) {
        Some(schedule) => Ok(schedule),
        None => fail(format!("`{id}` matches no schedule, or several: `schedules list` shows them")),
    }
}

fn list(notebook: &Notebook, words: &Words) -> Result<Printed> {
    words.end()?;
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for schedule in notebook.store.schedules()? {
        let last = notebook.store.scheduled_runs(&schedule.id)?.into_iter().next();
        let status = last.map_or_else(|| "never ran".to_owned(), |run| run.status);
        let next = (!schedule.paused && schedule.due < i64::MAX).then(|| time(schedule.due));
        rows.push(vec![
            schedule.id.get(..8).unwrap_or(&schedule.id).to_owned(),
            schedule.path.clone(),
            schedule.owner_name.clone(),
            format!("{} ({})", schedule.plan.cron, schedule.plan.zone.name()),
            next.clone().unwrap_or_else(|| if schedule.paused { "paused" } else { "never" }.to_owned()),
            status.clone(),
        ]);
        shown.push(json!({
            "id": schedule.id, "path": schedule.path, "owner": schedule.owner_name, "plan": schedule.plan, "paused": schedule.paused,
            "next": next, "last": status,
        }));
    }
    Ok(Printed::new(table(&["ID", "NOTEBOOK", "FOR", "WHEN", "NEXT", "LAST"], rows), json!(shown)))
}

async fn add(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let (zone, missed, alert) = (words.value("zone")?, words.value("missed")?, words.value("alert")?);
    let (parameters, owner) = (words.value("parameters")?, words.value("as")?);
    let plan = SchedulePlan {
        zone: choice(zone, "zone", Zone::parse, "local or utc")?,
        missed: choice(missed, "missed", Missed::parse, "run or skip")?,
        alert: choice(alert, "alert", Alert::parse, "failure, always or never")?,
        parameters: match parameters.as_deref().map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(Value::Object(parameters))) => parameters,
            Some(_) => return fail("`--parameters` must be a JSON object, such as '{\"days\": 7}'"),
        },
        cron: String::new(),
    };
    let path = RelativePath::parse(&words.need("PATH")?).map_err(|error| CommandError(error.to_string()))?;
    let plan = SchedulePlan { cron: words.need("CRON")?, ..plan };
    words.end()?;
    let owner = match (&notebook.accounts, owner) {
        (None, _) => None,
        (Some(_), Some(name)) => Some(notebook.account_named(&name)?.id),
        // The owner of the folder.
        (Some(_), None) => {
            let name = path.as_str().split('/').next().unwrap_or_default();
            Some(notebook.account_named(name)?.id)
        }
    };
    let id = notebook.add_schedule(&path, owner, plan).await?;
    notebook.audit_command("add schedule", path.as_str()).await?;
    Ok(Printed::new(format!("{path} is scheduled as {}", &id[..8]), json!({"id": id})))
}

/// The value of an option that has a fixed list.
fn choice<T: Default>(
    value: Option<String>,
    option: &str,
    parse: fn(&str) -> Option<T>,
    known: &str,
) -> Result<T> {
    let Some(value) = value else { return Ok(T::default()) };
    match parse(&value) {
        Some(value) => Ok(value),
        None => fail(format!("`--{option}` must be {known}, not `{value}`")),
    }
}

async fn pause(notebook: &Notebook, words: &mut Words, paused: bool) -> Result<Printed> {
    let schedule = one(notebook, words)?;
    notebook.change_schedule(&schedule.id, schedule.plan.clone(), paused).await?;
    let state = if paused { "is paused" } else { "runs again" };
    Ok(Printed::new(
        format!("the schedule of {} {state}", schedule.path),
        json!({"id": schedule.id, "paused": paused}),
    ))
}

fn runs(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let schedule = one(notebook, words)?;
    let runs = notebook.store.scheduled_runs(&schedule.id)?;
    let rows = runs.iter().map(|run| {
        let ended = run.ended.map(time).unwrap_or_default();
        vec![
            time(run.due),
            run.cause.clone(),
            time(run.started),
            ended,
            run.status.clone(),
            run.message.clone(),
        ]
    });
    let rows = rows.collect();
    let shown: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "id": run.id, "cause": run.cause, "due": time(run.due), "started": time(run.started),
                "ended": run.ended.map(time), "status": run.status, "message": run.message,
            })
        })
        .collect();
    Ok(Printed::new(table(&["DUE", "CAUSE", "BEGAN", "ENDED", "STATUS", "WHY"], rows), json!(shown)))
}
