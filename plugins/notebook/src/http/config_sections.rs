//! `/api/config/SECTION`: objects that front ends store for a user.
//!
//! # Source
//! Jupyter Server, `services/config`.

use std::path::PathBuf;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::error::{ApiError, Result, blocking, object};
use super::personal::{may_keep, read, write};
use crate::identity::Principal;
use crate::state::Shared;

/// The file of a section.
fn file(notebook: &Shared, principal: &Principal, section: &str) -> Result<PathBuf> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if section.is_empty() || section.len() > 100 || !section.bytes().all(valid) {
        return Err(ApiError::missing(format!("`{section}` is not the name of a section")));
    }
    Ok(notebook.personal(principal, "config").join(format!("{section}.json")))
}

fn section(path: &std::path::Path) -> Result<Map<String, Value>> {
    let Some(text) = read(path)? else { return Ok(Map::new()) };
    serde_json::from_str(&text)
        .map_err(|error| ApiError::bad(format!("`{}` is damaged: {error}", path.display())))
}

pub(super) async fn get(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Map<String, Value>>> {
    let path = file(&notebook, &principal, &name)?;
    Ok(Json(blocking(move || section(&path)).await?))
}

pub(super) async fn put(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<StatusCode> {
    may_keep(&principal)?;
    let path = file(&notebook, &principal, &name)?;
    let text = Value::Object(object(body)?).to_string();
    blocking(move || write(&path, &text)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Merges an object into a section. Null removes a key.
pub(super) async fn patch(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Map<String, Value>>> {
    may_keep(&principal)?;
    let path = file(&notebook, &principal, &name)?;
    let body = object(body)?;
    let merged = blocking(move || {
        let mut kept = section(&path)?;
        merge(&mut kept, body);
        write(&path, &Value::Object(kept.clone()).to_string())?;
        Ok::<_, ApiError>(kept)
    });
    Ok(Json(merged.await?))
}

/// As Jupyter's `recursive_update`: objects are merged, null removes, and an object that becomes empty is removed.
fn merge(target: &mut Map<String, Value>, new: Map<String, Value>) {
    for (key, value) in new {
        match value {
            Value::Null => drop(target.shift_remove(&key)),
            Value::Object(new) => {
                let mut inner = match target.get_mut(&key).map(Value::take) {
                    Some(Value::Object(inner)) => inner,
                    _ => Map::new(),
                };
                merge(&mut inner, new);
                if inner.is_empty() {
                    target.shift_remove(&key);
                } else {
                    target.insert(key, Value::Object(inner));
                }
            }
            value => drop(target.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sections_are_merged_as_jupyters() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut kept =
            object(json!({"foo": "bar", "baz": 73, "sub": {"a": 6, "b": 7}, "sub2": {"c": 8}, "text": "x"}));
        let new = json!({"foo": null, "baz": 75, "wib": [1, 2], "sub": {"a": 8, "b": null, "d": 9}, "sub2": {"c": null}, "text": {"y": 1}});
        merge(&mut kept, object(new));
        assert_eq!(
            Value::Object(kept),
            json!({"baz": 75, "sub": {"a": 8, "d": 9}, "text": {"y": 1}, "wib": [1, 2]})
        );
    }
}
