//! The session of a request: what the middleware `session` reads and writes, and applications use.
//!
//! An application outside of this process gets the data as a JSON object with the request, and sends back a
//! [`SessionChanges`] as JSON with the head of its response. Both end here.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The session of a request, in its extensions. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Session(Arc<Mutex<SessionState>>);

#[derive(Debug, Default)]
struct SessionState {
    data: Map<String, Value>,
    changes: SessionChanges,
}

/// What a request has changed in its session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionChanges {
    /// New values by key.
    pub set: Map<String, Value>,
    /// Keys that are removed.
    pub remove: BTreeSet<String>,
    /// The session gets a new id, and the old one becomes invalid: after a login.
    pub renew: bool,
    /// Everything is removed, and the id becomes invalid: at a logout. What is `set` begins a new session.
    pub end: bool,
}

impl SessionChanges {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty() && !self.renew && !self.end
    }

    /// Makes the changes in `data`.
    pub fn apply_to(&self, data: &mut Map<String, Value>) {
        if self.end {
            data.clear();
        }
        for key in &self.remove {
            data.shift_remove(key);
        }
        data.extend(self.set.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    /// Adds later changes.
    fn add(&mut self, later: SessionChanges) {
        if later.end {
            *self = SessionChanges::default();
        }
        for key in later.remove {
            self.set.shift_remove(&key);
            self.remove.insert(key);
        }
        for (key, value) in later.set {
            self.remove.remove(&key);
            self.set.insert(key, value);
        }
        self.renew |= later.renew;
        self.end |= later.end;
    }
}

impl Session {
    /// A session with this data.
    pub fn new(data: Map<String, Value>) -> Session {
        Session(Arc::new(Mutex::new(SessionState { data, changes: SessionChanges::default() })))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.lock().data.get(key).cloned()
    }

    /// All data as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0.lock().data).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Sets the value of `key`.
    pub fn set(&self, key: &str, value: Value) {
        let set = Map::from_iter([(key.to_owned(), value)]);
        self.change(SessionChanges { set, ..SessionChanges::default() });
    }

    /// Removes `key`.
    pub fn remove(&self, key: &str) {
        let remove = BTreeSet::from([key.to_owned()]);
        self.change(SessionChanges { remove, ..SessionChanges::default() });
    }

    /// Gives the session a new id. Call it when a user logs in, so that knowing the old id does not grant access.
    pub fn renew(&self) {
        self.change(SessionChanges { renew: true, ..SessionChanges::default() });
    }

    /// Removes everything, and ends the session.
    pub fn end(&self) {
        self.change(SessionChanges { end: true, ..SessionChanges::default() });
    }

    /// Adds the changes of an application, as JSON; empty if there are none.
    /// # Errors
    /// When they are not a [`SessionChanges`].
    pub fn change_by(&self, changes: &[u8]) -> serde_json::Result<()> {
        if !changes.is_empty() {
            self.change(serde_json::from_slice(changes)?);
        }
        Ok(())
    }

    /// Takes all changes so far.
    pub fn take_changes(&self) -> SessionChanges {
        std::mem::take(&mut self.0.lock().changes)
    }

    fn change(&self, changes: SessionChanges) {
        let mut state = self.0.lock();
        changes.apply_to(&mut state.data);
        state.changes.add(changes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_add_up_as_if_made_one_by_one() {
        let begun = json!({ "a": 1, "b": 2 }).as_object().unwrap().clone();
        let session = Session::new(begun.clone());
        session.set("c", 3.into());
        session.remove("a");
        session.set("a", 4.into());
        session.remove("c");
        session.change_by(br#"{"set":{"d":[5]},"remove":["b"],"renew":true}"#).unwrap();
        session.change_by(b"").unwrap();
        assert!(session.change_by(br#"{"get":1}"#).is_err());
        assert_eq!(session.to_json(), r#"{"a":4,"d":[5]}"#);
        let changes = session.take_changes();
        let mut data = begun;
        changes.apply_to(&mut data);
        assert_eq!(Value::from(data), json!({ "a": 4, "d": [5] }));
        assert!(changes.renew && !changes.end && session.take_changes().is_empty());
        session.end();
        session.set("e", 6.into());
        let changes = session.take_changes();
        assert_eq!((changes.end, changes.set.len(), session.to_json()), (true, 1, r#"{"e":6}"#.to_owned()));
    }
}
