//! What `config show` and `config explain` print: values with secrets masked, and the sources that set them.

use serde::Serialize;
use serde_json::Value;

use super::node::join;
use super::secret::{masked as masked_whole, masked_parts};
use super::{Config, Occurrence};
use crate::error::{Error, Result};
use crate::registry::nearest;

/// One key, with every source that set it.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// The key path: `server.main.threads`.
    pub key: String,
    /// The value in force; masked if secret.
    pub value: Value,
    /// The sources that set it, the winner first. What each one wrote is masked if secret.
    pub places: Vec<Occurrence>,
}

impl Config {
    /// The merged tree with secrets masked.
    pub fn masked(&self) -> Value {
        self.mask("", &self.tree)
    }

    fn mask(&self, path: &str, value: &Value) -> Value {
        if self.provenance.get(path).is_some_and(|entry| entry.secret) {
            return match value {
                // The value in force is the secret itself, not a reference to it.
                Value::String(_) => super::secret::MASK.into(),
                _ => masked_whole(value),
            };
        }
        match value {
            Value::Object(table) => {
                table.iter().map(|(key, value)| (key.clone(), self.mask(&join(path, key), value))).collect()
            }
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(index, value)| self.mask(&super::node::item(path, index), value))
                .collect(),
            _ => value.clone(),
        }
    }

    /// Whether the list at `path` contains a secret.
    fn has_secret_item(&self, path: &str) -> bool {
        let within = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('['));
        self.provenance.iter().any(|(key, entry)| entry.secret && within(key))
    }

    /// Every source that set `key`, the winner first. For a table, the same for every key in it.
    /// # Errors
    /// If nothing set it; names the nearest key that is set.
    pub fn explain(&self, key: &str) -> Result<Vec<Explained>> {
        let path = normal(key)?;
        let mut found = Vec::new();
        let masked = self.masked();
        collect(&masked, "", &mut |at, value| {
            let below =
                at.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            if below || path.is_empty() {
                let entry = self.provenance.get(at);
                // The value in force does not tell what another source wrote. But if it is secret, what the
                // others wrote is too.
                let secret = entry.is_some_and(|entry| entry.secret) || self.has_secret_item(at);
                let mut places = entry.map(|entry| entry.places.clone()).unwrap_or_default();
                for place in &mut places {
                    place.written =
                        if secret { masked_whole(&place.written) } else { masked_parts(&place.written) };
                }
                found.push(Explained { key: at.to_owned(), value: value.clone(), places });
            }
        });
        if !found.is_empty() {
            return Ok(found);
        }
        let error = Error::usage(format!("nothing sets `{key}`"));
        let known = self.provenance.keys().map(String::as_str).filter(|known| !known.is_empty());
        Err(match nearest(&path, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("`paster config show` prints everything that is set"),
        }
        .into())
    }
}

/// The key path as [`Config`] writes it.
fn normal(key: &str) -> Result<String> {
    if key.is_empty() {
        return Ok(String::new());
    }
    match toml_edit::Key::parse(key.trim_matches(['[', ']'])) {
        Ok(keys) => Ok(keys.iter().fold(String::new(), |path, key| join(&path, key.get()))),
        Err(_) => Err(Error::usage(format!("`{key}` is not a dotted key"))
            .help("write it as `server.main.threads`; quote keys that are not plain words: `app.site.routes.\"/\"`")
            .into()),
    }
}

/// Calls `visit` for each value that is not a table. A list counts as one value.
fn collect(value: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(table) if !table.is_empty() || path.is_empty() => {
            table.iter().for_each(|(key, value)| collect(value, &join(path, key), visit));
        }
        _ => visit(path, value),
    }
}
