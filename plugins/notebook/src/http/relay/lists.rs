//! Lists of kernels, sessions and terminals: those of all servers.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::target::Target;
use super::{Relay, sender};
use crate::state::Shared;

/// Adds what the other servers list to the response of this one.
pub(super) async fn gather(notebook: &Shared, relay: &Relay, request: Request, next: Next) -> Response {
    let (from, path) = (sender(&request), request.uri().path().to_owned());
    let response = next.run(request).await;
    let servers = relay.running(&notebook.store).unwrap_or_default();
    if !response.status().is_success() || servers.is_empty() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Ok(mut all) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    let answers = servers.iter().map(|to| relay.ask(to, &path, &from));
    for (to, answer) in servers.iter().zip(futures_util::future::join_all(answers).await) {
        match answer {
            Ok(answer) => add(&mut all, answer),
            Err(failure) => relay.warn(to, &Target::Lists.held(), &failure),
        }
    }
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(all.to_string()))
}

fn add(all: &mut Value, more: Value) {
    match (all, more) {
        (Value::Array(all), Value::Array(more)) => all.extend(more),
        (Value::Object(all), Value::Object(more)) => {
            for (name, more) in more {
                if let Some(list) = all.get_mut(&name) {
                    add(list, more);
                }
            }
        }
        _ => {}
    }
}
