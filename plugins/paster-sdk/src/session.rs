//! The session of a visitor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What the middleware `session` keeps for a visitor, in the extensions of a request. Clones share it.
///
/// The host stores the changes before the response begins: changes that a body makes while it is sent are lost. If several
/// requests change a session at the same time, each key keeps its last value.
///
/// ```
/// use axum::Extension;
/// use paster_sdk::Session;
///
/// async fn count(Extension(session): Extension<Session>) -> Result<String, axum::http::StatusCode> {
///     let visits = session.get::<u64>("visits").unwrap_or(0) + 1;
///     session.insert("visits", visits).map_err(|_| axum::http::StatusCode::INTERNAL_SERVER_ERROR)?;
///     Ok(format!("visit {visits}"))
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(count));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Session(Arc<Mutex<SessionState>>);

#[derive(Debug, Default)]
struct SessionState {
    data: Map<String, Value>,
    changes: Changes,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Changes {
    #[serde(skip_serializing_if = "Map::is_empty")]
    set: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remove: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    renew: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end: bool,
}

impl Session {
    /// The session with this JSON object.
    pub(crate) fn of(json: &[u8]) -> Result<Session, serde_json::Error> {
        let state = SessionState { data: serde_json::from_slice(json)?, changes: Changes::default() };
        Ok(Session(Arc::new(Mutex::new(state))))
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `key`. `None` if there is none, or if it is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.state().data.get(key).cloned()?;
        serde_json::from_value(value).ok()
    }

    /// The keys.
    pub fn keys(&self) -> Vec<String> {
        self.state().data.keys().cloned().collect()
    }

    /// Sets the value of `key`. The first value begins a session, and the visitor gets a cookie.
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<(), serde_json::Error> {
        let value = serde_json::to_value(value)?;
        let mut state = self.state();
        state.changes.remove.retain(|removed| removed != key);
        state.changes.set.insert(key.to_owned(), value.clone());
        state.data.insert(key.to_owned(), value);
        Ok(())
    }

    /// Removes `key`.
    pub fn remove(&self, key: &str) {
        let mut state = self.state();
        state.changes.set.remove(key);
        if state.data.remove(key).is_some() {
            state.changes.remove.push(key.to_owned());
        }
    }

    /// Gives the session a new id. Call it when a user logs in, so that knowing the old id does not grant access.
    pub fn renew(&self) {
        self.state().changes.renew = true;
    }

    /// Removes everything and ends the session: for a logout. A value that is set afterwards begins a new one.
    pub fn end(&self) {
        *self.state() =
            SessionState { changes: Changes { end: true, ..Changes::default() }, ..SessionState::default() };
    }

    /// Takes what has changed, as JSON; `None` if nothing has.
    pub(crate) fn take_changes(&self) -> Option<Vec<u8>> {
        let changes = std::mem::take(&mut self.state().changes);
        if changes == Changes::default() {
            return None;
        }
        serde_json::to_vec(&changes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let session = Session::of(br#"{"a":1,"b":"x"}"#).unwrap();
        assert_eq!(
            (session.get::<u8>("a"), session.get::<u8>("b"), session.keys().len()),
            (Some(1), None, 2)
        );
        assert_eq!(session.take_changes(), None);
        session.insert("c", [1, 2]).unwrap();
        session.remove("a");
        session.remove("none");
        session.renew();
        assert_eq!(session.take_changes().unwrap(), br#"{"set":{"c":[1,2]},"remove":["a"],"renew":true}"#);
        session.insert("d", 1).unwrap();
        session.end();
        assert_eq!(
            (session.get::<u8>("d"), session.take_changes()),
            (None, Some(br#"{"end":true}"#.to_vec()))
        );
        assert_eq!(session.take_changes(), None);
    }
}
