//! What `config show` and `config explain` print: values with secrets masked, and the sources that set them.

use serde_json::Value;

use super::key_path::Key;
use super::secret::{masked as masked_whole, masked_parts};
use super::{Config, KeyPath, Occurrence, Provenance};
use crate::error::{Error, Result};
use crate::registry::nearest;

/// One key, with every source that set it.
#[derive(Debug)]
pub struct Explained {
    /// The key path: `server.main.threads`.
    pub key: KeyPath,
    /// The value in force; masked if secret.
    pub value: Value,
    /// The sources that set it, the winner first. What each one wrote is masked if secret.
    pub places: Vec<Occurrence>,
}

impl Config {
    /// The merged tree with secrets masked.
    pub fn masked(&self) -> Value {
        mask(&self.tree, &self.provenance)
    }

    /// Every source that set `key`, the winner first. For a table, the same for every key in it.
    /// # Errors
    /// If nothing set it; names the nearest key that is set.
    pub fn explain(&self, key: &str) -> Result<Vec<Explained>> {
        let mut path = KeyPath::parse(key)?;
        let mut found = Vec::new();
        let value = path.names().try_fold(&self.tree, |value, name| value.get(name));
        if let (Some(value), Some(entry)) = (value, self.provenance.get(&path)) {
            explain(value, entry, &mut path, &mut found);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let error = Error::usage(format!("`{key}` is not set"));
        let mut known = Vec::new();
        self.provenance.visit_paths(&mut KeyPath::default(), &mut |path| known.push(path.to_string()));
        Err(match nearest(&path.to_string(), known.iter().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("`paster config show` prints everything that is set"),
        }
        .into())
    }
}

/// `value` with its secrets masked.
fn mask(value: &Value, entry: &Provenance) -> Value {
    let below = |key: Key, value: &Value| match entry.below(&key) {
        Some(entry) => mask(value, entry),
        None => value.clone(),
    };
    match value {
        // The value in force is the secret itself, not a reference to it.
        Value::String(_) if entry.secret => super::secret::MASK.into(),
        _ if entry.secret => masked_whole(value),
        Value::Object(table) => {
            table.iter().map(|(key, value)| (key.clone(), below(Key::Name(key.clone()), value))).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| below(Key::Index(index), value)).collect()
        }
        _ => value.clone(),
    }
}

/// Explains each value in `value` that is not a table. A list counts as one value.
fn explain(value: &Value, entry: &Provenance, path: &mut KeyPath, found: &mut Vec<Explained>) {
    if let Value::Object(table) = value
        && (!table.is_empty() || path.is_empty())
    {
        for (name, value) in table {
            let key = Key::Name(name.clone());
            if let Some(entry) = entry.below(&key) {
                path.within(key, |path| explain(value, entry, path, found));
            }
        }
        return;
    }
    // The effective value does not show what another source wrote. But if it is secret, what the others wrote
    // is too.
    let secret = entry.secret || entry.has_secret_item();
    let mut places = entry.places.clone();
    for place in &mut places {
        place.written = if secret { masked_whole(&place.written) } else { masked_parts(&place.written) };
    }
    found.push(Explained { key: path.clone(), value: mask(value, entry), places });
}
