//! The tasks of an isolated plugin: a worker asks for them over the connections of its requests.

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::{App, Body, Request, Response, text_response};
use crate::error::chain;
use crate::plugin::{Instance, TaskName};

/// The field of a request that is a [`PluginCall`]. A client's field of this name is dropped.
pub(in crate::app) const CALL: &str = "paster-call";

/// What a worker asks of an isolated plugin besides requests, as JSON in the field [`CALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum PluginCall {
    /// The list of its tasks.
    List,
    /// A run of the task of this name, with the body as its arguments. It ends with the connection.
    Run(String),
}

/// The value of [`CALL`] for a request that calls the plugin.
pub(in crate::app) fn encode(request: &http::request::Parts) -> Option<Vec<u8>> {
    serde_json::to_vec(request.extensions.get::<PluginCall>()?).ok()
}

/// The tasks of the isolated plugin `app`.
/// # Errors
/// Why its process has not answered.
pub async fn isolated_tasks(app: &App) -> Result<Vec<TaskName>, String> {
    call(app, PluginCall::List, Body::empty()).await
}

/// Runs a task of the isolated plugin `app` in one of its processes. Dropping the future ends the task.
/// # Errors
/// If the task fails, or if its process ends first.
pub async fn run_isolated_task(app: &App, name: &str, arguments: &Value) -> Result<String, String> {
    let call = call(app, PluginCall::Run(name.to_owned()), Body::from(arguments.to_string()));
    call.await.and_then(|result: Result<String, String>| result)
}

async fn call<T: DeserializeOwned>(app: &App, call: PluginCall, body: Body) -> Result<T, String> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    request.extensions_mut().insert(call);
    let response = app.handle(request).await.map_err(|error| chain(&*error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("its process has not answered ({})", response.status()));
    }
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| format!("its process ended before the task: {}", chain(&*error)))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
}

/// The answer to a request that calls the plugin `instance`; `None` if `fields` are those of another request.
pub(super) async fn answer(
    instance: Option<&Instance>,
    fields: &HeaderMap,
    body: &mut Body,
) -> Option<Response> {
    let call = serde_json::from_slice(fields.get(CALL)?.as_bytes());
    let (Ok(call), Some(instance)) = (call, instance) else {
        return Some(text_response(StatusCode::BAD_REQUEST, "This app has no tasks.\n"));
    };
    let answer = match call {
        PluginCall::List => serde_json::to_string(&instance.tasks()),
        PluginCall::Run(name) => {
            let arguments = body.collect().await.ok().map(|body| serde_json::from_slice(&body.to_bytes()));
            let Some(Ok(arguments)) = arguments else {
                return Some(text_response(StatusCode::BAD_REQUEST, "The arguments are incomplete.\n"));
            };
            serde_json::to_string(&instance.run_task(&name, &arguments).await)
        }
    };
    Some(text_response(StatusCode::OK, answer.unwrap_or_default())) // texts only: cannot fail
}
