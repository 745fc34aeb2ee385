//! The tree that sources are merged into: each value with every place that set it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Origin;

/// One value, table or list.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) data: Data,
    /// The sources that set it, the winner first. Never empty in a tree that was read.
    pub(super) places: Vec<Occurrence>,
    /// Whether it must not be shown, because of its name or because it was made from a secret.
    pub(super) secret: bool,
    /// Whether it contained a `${…}`. Its text may then be read as a number or boolean if one is expected.
    pub(super) expanded: bool,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Table(IndexMap<String, Node>),
    List(Vec<Node>),
    /// A string, number or boolean.
    Value(Value),
}

/// Where a value was set, and what was written there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Occurrence {
    /// The value.
    pub origin: Origin,
    /// The key before it, if the source has text.
    pub key: Option<Origin>,
    /// How it got there: ``profile `production` ``, ``inherited from `[app.main]` ``.
    pub via: Option<String>,
    /// The value as written there, before `${…}` was replaced; null for a table.
    pub written: Value,
}

impl Node {
    pub(super) fn new(data: Data, place: Occurrence) -> Self {
        Node { data, places: vec![place], secret: false, expanded: false }
    }

    /// A table that no source set.
    pub(super) fn root() -> Self {
        Node { data: Data::Table(IndexMap::new()), places: Vec::new(), secret: false, expanded: false }
    }

    pub(super) fn table(&self) -> Option<&IndexMap<String, Node>> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut IndexMap<String, Node>> {
        match &mut self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.table()?.get(key)
    }

    pub(super) fn str(&self) -> Option<&str> {
        match &self.data {
            Data::Value(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The place of the winning value.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.places.first().map(|place| place.origin.clone())
    }

    /// The place of the winning value's key.
    pub(super) fn key_origin(&self) -> Option<Origin> {
        let place = self.places.first()?;
        Some(place.key.as_ref().unwrap_or(&place.origin).clone())
    }

    /// Merges `upper` over this node: tables by key; any other value is replaced.
    pub(super) fn merge(&mut self, upper: Node) {
        let Node { data, mut places, secret, expanded } = upper;
        places.append(&mut self.places);
        self.places = places;
        self.secret = secret;
        self.expanded = expanded;
        match (&mut self.data, data) {
            (Data::Table(lower), Data::Table(upper)) => {
                for (key, node) in upper {
                    match lower.get_mut(&key) {
                        Some(below) => below.merge(node),
                        None => {
                            lower.insert(key, node);
                        }
                    }
                }
            }
            (data, upper) => *data = upper,
        }
    }

    /// Calls `visit` with the key path of this node and of each node below it.
    pub(super) fn walk(&self, path: &str, visit: &mut dyn FnMut(&str, &Node)) {
        visit(path, self);
        match &self.data {
            Data::Table(table) => table.iter().for_each(|(key, node)| node.walk(&join(path, key), visit)),
            Data::List(list) => {
                list.iter().enumerate().for_each(|(index, node)| node.walk(&item(path, index), visit));
            }
            Data::Value(_) => {}
        }
    }

    /// Like `walk`, but `visit` may change the nodes.
    pub(super) fn walk_mut(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        visit(self);
        match &mut self.data {
            Data::Table(table) => table.values_mut().for_each(|node| node.walk_mut(visit)),
            Data::List(list) => list.iter_mut().for_each(|node| node.walk_mut(visit)),
            Data::Value(_) => {}
        }
    }

    /// The plain value.
    pub(super) fn value(&self) -> Value {
        match &self.data {
            Data::Table(table) => table.iter().map(|(key, node)| (key.clone(), node.value())).collect(),
            Data::List(list) => list.iter().map(Node::value).collect(),
            Data::Value(value) => value.clone(),
        }
    }
}

/// The key path of `key` in the table at `path`. Bare keys follow a dot, others are quoted
/// (`app.site.routes."/"`).
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { Value::from(key).to_string() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The key path of one item of the list at `path`: `server.main.listen[0]`.
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The path of what contains `path`: `a.b[0]` gives `a.b`, `a.b` gives `a`. `None` for a path of one key.
pub(super) fn parent(path: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut last = None;
    for (at, c) in path.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => last = Some(at),
            _ => {}
        }
    }
    last.map(|at| &path[..at])
}

/// The keys of a key path. The index of an item is not a key.
pub(super) fn keys(path: &str) -> Vec<String> {
    let mut keys = vec![];
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.trim_start_matches('.');
        let mut quoted = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        if rest.starts_with('"')
            && let Some(Ok(key)) = quoted.next()
        {
            keys.push(key);
            rest = &rest[quoted.byte_offset()..];
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if end > 0 {
            keys.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        if rest.starts_with('[') {
            rest = rest.find(']').map_or("", |end| &rest[end + 1..]);
        }
    }
    keys
}

/// `path` without quotes and brackets, for callers that only join keys with dots: `routes."/"` equals
/// `routes./`, and `listen[0]` equals `listen.0`.
pub(super) fn loose(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let mut quoted = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let mut length = c.len_utf8();
        match (c, quoted.next()) {
            ('"', Some(Ok(key))) => {
                out += &key;
                length = quoted.byte_offset();
            }
            ('[', _) => out.push('.'),
            (']', _) => {}
            (c, _) => out.push(c),
        }
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths() {
        let path = item(&join(&join("app", "x.y"), "list"), 3);
        assert_eq!(path, "app.\"x.y\".list[3]");
        assert_eq!(keys(&path), ["app", "x.y", "list"]);
        assert_eq!(loose(&path), "app.x.y.list.3");
        assert_eq!(parent(&path), Some("app.\"x.y\".list"));
        assert_eq!(parent("app.\"x.y\""), Some("app"));
        assert_eq!(parent("app"), None);
    }
}
