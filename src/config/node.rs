//! The tree that sources are merged into: each value with every place that set it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Origin, Source};

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

impl Occurrence {
    /// Compares the sources of two values that are not merged because they have different keys: what is inherited, a file,
    /// a profile, a variable, `-D`.
    pub(super) fn strength(&self) -> u8 {
        match (&self.origin.source, self.via.as_deref()) {
            (Source::Argument(text), _) if text.starts_with("-D") => 4,
            (Source::Environment(_), _) => 3,
            (_, Some(via)) if via.starts_with("profile") => 2,
            (_, None) => 1,
            _ => 0,
        }
    }
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

    pub(super) fn list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(list) => Some(list),
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

    /// Calls `visit` with this node and each node below it.
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
