//! `/api/schedules`: scheduled runs of notebooks. `/api/scheduled-runs/ID`: the result of a run.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Result, object};
use super::history::time;
use super::location::RequestLocation;
use super::pages;
use super::percent::encode;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::schedules::{RunCause, ScheduleError, SchedulePlan};
use crate::state::{Notebook, Shared};
use crate::store::{Schedule, ScheduledRun, now};

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> ApiError {
        match error {
            ScheduleError::Unfit(message) => ApiError::bad(message),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct SchedulesQuery {
    /// Only the schedules of this notebook.
    path: Option<String>,
}

/// The schedules that `principal` may see, those of one notebook or all.
pub(super) fn visible(
    notebook: &Notebook,
    principal: &Principal,
    path: Option<&RelativePath>,
) -> Result<Vec<Schedule>> {
    let mut schedules = notebook.store.schedules()?;
    schedules.retain(|schedule| {
        path.is_none_or(|path| schedule.path == path.as_str()) && notebook.may_manage(principal, schedule)
    });
    Ok(schedules)
}

/// A schedule that `principal` may change.
pub(super) fn managed(notebook: &Notebook, principal: &Principal, id: &str) -> Result<Schedule> {
    let found = notebook.store.schedule(id)?.filter(|schedule| notebook.may_manage(principal, schedule));
    found.ok_or_else(|| ApiError::missing("there is no such schedule"))
}

fn shown(schedule: &Schedule, runs: &[ScheduledRun]) -> Value {
    let next = (!schedule.paused && schedule.due < i64::MAX).then(|| time(schedule.due));
    json!({
        "id": schedule.id, "path": schedule.path, "owner": schedule.owner_name, "plan": schedule.plan, "paused": schedule.paused,
        "created": time(schedule.created), "next": next, "runs": runs.iter().map(run_json).collect::<Vec<Value>>(),
    })
}

fn run_json(run: &ScheduledRun) -> Value {
    json!({
        "id": run.id, "cause": run.cause, "due": time(run.due), "started": time(run.started), "ended": run.ended.map(time),
        "status": run.status, "message": run.message, "has_result": run.has_content,
    })
}

pub(super) async fn list(
    State(notebook): State<Shared>,
    principal: Principal,
    Query(query): Query<SchedulesQuery>,
) -> Result<Json<Value>> {
    let path = query.path.map(|path| RelativePath::parse(&path)).transpose()?;
    if let Some(path) = &path {
        notebook.may(&principal, Level::View, path)?;
    }
    let schedules = visible(&notebook, &principal, path.as_ref())?.into_iter().map(|schedule| {
        let runs = notebook.store.scheduled_runs(&schedule.id)?;
        Ok::<_, ApiError>(shown(&schedule, &runs))
    });
    let schedules: Vec<Value> = schedules.collect::<Result<_>>()?;
    Ok(Json(json!({"schedules": schedules})))
}

/// Adds a schedule. It runs with the rights of the user who adds it.
pub(super) async fn add(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>)> {
    let mut body = object(body)?;
    let path = match body.remove("path") {
        Some(Value::String(path)) => RelativePath::parse(&path)?,
        _ => return Err(ApiError::bad("`path` must be the path of a notebook")),
    };
    notebook.may(&principal, Level::Run, &path)?;
    let plan = plan(body)?;
    let id = notebook.add_schedule(&path, principal.user, plan).await?;
    notebook.store.audit(&principal.name, &place.client_text(), "add schedule", path.as_str()).await?;
    let schedule = managed(&notebook, &principal, &id)?;
    Ok((StatusCode::CREATED, Json(shown(&schedule, &[]))))
}

fn plan(body: Map<String, Value>) -> Result<SchedulePlan> {
    serde_json::from_value(body.into()).map_err(|error| {
        ApiError::bad(format!("the schedule needs `cron`, and takes `zone`, `parameters`, `missed`, `alert` and `paused`: {error}"))
    })
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let schedule = managed(&notebook, &principal, &id)?;
    let runs = notebook.store.scheduled_runs(&id)?;
    Ok(Json(shown(&schedule, &runs)))
}

/// Changes the fields in the body.
pub(super) async fn change(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let schedule = managed(&notebook, &principal, &id)?;
    let mut body = object(body)?;
    let paused = match body.remove("paused") {
        None => schedule.paused,
        Some(Value::Bool(paused)) => paused,
        Some(_) => return Err(ApiError::bad("`paused` must be true or false")),
    };
    let mut whole = match serde_json::to_value(&schedule.plan) {
        Ok(Value::Object(whole)) => whole,
        _ => Map::new(),
    };
    whole.extend(body);
    notebook.change_schedule(&id, plan(whole)?, paused).await?;
    show(State(notebook), principal, Path(id)).await
}

pub(super) async fn delete(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let schedule = managed(&notebook, &principal, &id)?;
    notebook.delete_schedule(&schedule).await?;
    notebook.store.audit(&principal.name, &place.client_text(), "delete schedule", &schedule.path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a schedule now, with its parameters and the rights of its owner.
pub(super) async fn run_now(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>)> {
    let schedule = managed(&notebook, &principal, &id)?;
    let run = notebook.queue_run(&schedule, RunCause::ByHand, now()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"run": run}))))
}

impl Notebook {
    /// Deletes a schedule with its history, and stops its run.
    pub(crate) async fn delete_schedule(
        &self,
        schedule: &Schedule,
    ) -> std::result::Result<(), crate::store::StoreError> {
        for run in self.store.scheduled_runs(&schedule.id)? {
            if run.ended.is_none() {
                self.end_run(schedule, &run, "stopped", "the schedule was deleted", false).await?;
            }
        }
        self.store.remove_schedule(&schedule.id).await
    }
}

/// A run that `principal` may see, its schedule and its notebook.
fn found(
    notebook: &Notebook,
    principal: &Principal,
    id: &str,
) -> Result<(ScheduledRun, Schedule, Option<String>)> {
    let missing = || ApiError::missing("there is no such run, or it is no longer stored");
    let (run, content) = notebook.store.scheduled_run(id)?.ok_or_else(missing)?;
    let schedule = managed(notebook, principal, &run.schedule).map_err(|_| missing())?;
    Ok((run, schedule, content))
}

#[derive(Deserialize)]
pub(super) struct ResultQuery {
    download: Option<String>,
}

/// The result of a run: the notebook with its outputs.
pub(super) async fn result(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
    Query(query): Query<ResultQuery>,
) -> Result<Response> {
    let (run, schedule, content) = found(&notebook, &principal, &id)?;
    let content: Value = match content {
        Some(content) => serde_json::from_str(&content)
            .map_err(|error| ApiError::bad(format!("the result cannot be read: {error}")))?,
        None => Value::Null,
    };
    let name = schedule.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".ipynb");
    if query.download.is_some() {
        if content.is_null() {
            return Err(ApiError::missing("this run has no result"));
        }
        let name = format!("attachment; filename*=UTF-8''{}.ipynb", encode(name));
        return Ok(([(header::CONTENT_DISPOSITION, name)], Json(content)).into_response());
    }
    Ok(Json(json!({"title": name, "path": schedule.path, "run": run_json(&run), "content": content}))
        .into_response())
}

/// The page of a result, whose content the front end loads.
pub(super) async fn result_page(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(id): Path<String>,
) -> Result<Response> {
    found(&notebook, &principal, &id)?;
    Ok(pages::page(&place, &principal))
}
