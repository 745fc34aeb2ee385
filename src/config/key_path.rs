//! The path of a value in a config or in one of its tables: `server.main.listen[0]`.

use std::fmt;

use serde_json::Value;

use crate::error::{Error, Result};

/// Names of keys, and positions in lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<Key>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Name(String),
    Index(usize),
}

impl KeyPath {
    /// Reads a dotted key as TOML writes it: `app.site.routes."/"`. Brackets around it are ignored.
    /// # Errors
    /// If it is not one.
    pub fn parse(key: &str) -> Result<KeyPath> {
        if key.is_empty() {
            return Ok(KeyPath::default());
        }
        match toml_edit::Key::parse(key.trim_matches(['[', ']'])) {
            Ok(keys) => Ok(KeyPath(keys.iter().map(|key| Key::Name(key.get().to_owned())).collect())),
            Err(_) => Err(Error::usage(format!("`{key}` is not a dotted key"))
                .help("write it as `server.main.threads`; quote keys that are not plain words: `app.site.routes.\"/\"`")
                .into()),
        }
    }

    /// The steps, from the outermost.
    pub(super) fn keys(&self) -> &[Key] {
        &self.0
    }

    /// The names among the steps.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|key| match key {
            Key::Name(name) => Some(name.as_str()),
            Key::Index(_) => None,
        })
    }

    /// Whether it has no steps, and so refers to the whole config or table.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This path, then the steps of `other`.
    pub(super) fn followed_by(mut self, other: &KeyPath) -> KeyPath {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// Calls `visit` with this path extended by `key`.
    pub(super) fn within<T>(&mut self, key: Key, visit: impl FnOnce(&mut KeyPath) -> T) -> T {
        self.0.push(key);
        let result = visit(self);
        self.0.pop();
        result
    }
}

/// Dotted plain words, as code writes them: `tls.acme.domains`. The empty string is the empty path.
impl From<&str> for KeyPath {
    fn from(keys: &str) -> KeyPath {
        KeyPath(keys.split('.').filter(|key| !key.is_empty()).map(|key| Key::Name(key.to_owned())).collect())
    }
}

impl From<&KeyPath> for KeyPath {
    fn from(path: &KeyPath) -> KeyPath {
        path.clone()
    }
}

/// The path of `key` in the table at `path`.
pub fn join(path: impl Into<KeyPath>, key: &str) -> KeyPath {
    let mut path = path.into();
    path.0.push(Key::Name(key.to_owned()));
    path
}

/// The path of one item of the list at `path`.
pub fn item(path: impl Into<KeyPath>, index: usize) -> KeyPath {
    let mut path = path.into();
    path.0.push(Key::Index(index));
    path
}

/// Bare keys follow a dot, other keys are quoted: `app.site.routes."/"`.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            match key {
                Key::Index(_) => write!(f, "[{key}]")?,
                Key::Name(_) if index == 0 => write!(f, "{key}")?,
                Key::Name(_) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match self {
            Key::Index(index) => write!(f, "{index}"),
            Key::Name(name) if !name.is_empty() && name.chars().all(bare) => f.write_str(name),
            Key::Name(name) => write!(f, "{}", Value::from(name.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_in_toml() {
        let path = item(join(join("app", "x.y"), "list"), 3);
        assert_eq!(path.to_string(), "app.\"x.y\".list[3]");
        assert_eq!(path.names().collect::<Vec<_>>(), ["app", "x.y", "list"]);
        assert_eq!(KeyPath::parse("app.\"x.y\"").unwrap(), join("app", "x.y"));
        assert_eq!(KeyPath::from("tls.acme"), join(join("", "tls"), "acme"));
        assert!(KeyPath::from("").is_empty() && KeyPath::parse("a b").is_err());
    }
}
