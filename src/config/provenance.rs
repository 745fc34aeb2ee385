//! What is known about the values of a config apart from the values: their places, and what must not be shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key_path::{Key, KeyPath};
use super::node::{Data, Node, Occurrence};
use super::secret;

/// What is known about one value, and about the values in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Provenance {
    /// The sources that set it, the winner first.
    pub(super) places: Vec<Occurrence>,
    /// Whether it must not be shown.
    pub(super) secret: bool,
    /// Whether it contained a `${…}`.
    pub(super) expanded: bool,
    /// If it is a table: its values.
    keys: BTreeMap<String, Provenance>,
    /// If it is a list: its items.
    items: Vec<Provenance>,
}

impl Provenance {
    /// Of a whole config.
    pub(super) fn of(tree: &Node) -> Provenance {
        Provenance::at(&mut KeyPath::default(), tree, false)
    }

    fn at(path: &mut KeyPath, node: &Node, in_secret: bool) -> Provenance {
        let secret = node.secret
            || in_secret
            || node.table().is_none() && secret::is_secret_path(path.names())
            || node.str().is_some_and(secret::has_password);
        let mut own = Provenance {
            places: node.places.clone(),
            secret,
            expanded: node.expanded,
            ..Provenance::default()
        };
        match &node.data {
            Data::Table(table) => {
                let below = |(key, node): (&String, &Node)| {
                    let at = |path: &mut KeyPath| Provenance::at(path, node, secret);
                    (key.clone(), path.within(Key::Name(key.clone()), at))
                };
                own.keys = table.iter().map(below).collect();
            }
            Data::List(list) => {
                let below = |(index, node): (usize, &Node)| {
                    path.within(Key::Index(index), |path| Provenance::at(path, node, secret))
                };
                own.items = list.iter().enumerate().map(below).collect();
            }
            Data::Value(_) => {}
        }
        own
    }

    /// What is known about one value in this one.
    pub(super) fn below(&self, key: &Key) -> Option<&Provenance> {
        match key {
            Key::Name(name) => self.keys.get(name),
            Key::Index(index) => self.items.get(*index),
        }
    }

    /// Gives what is known about the value at `old` the last name in `new`.
    pub(super) fn rename(&mut self, old: &KeyPath, new: &KeyPath) {
        let ([above @ .., Key::Name(old)], [.., Key::Name(new)]) = (old.keys(), new.keys()) else { return };
        let table = above.iter().try_fold(self, |table, key| match key {
            Key::Name(name) => table.keys.get_mut(name),
            Key::Index(index) => table.items.get_mut(*index),
        });
        if let Some(table) = table
            && let Some(entry) = table.keys.remove(old)
        {
            table.keys.insert(new.clone(), entry);
        }
    }

    /// What is known about the value at `path`.
    pub(super) fn get(&self, path: &KeyPath) -> Option<&Provenance> {
        path.keys().iter().try_fold(self, |above, key| above.below(key))
    }

    /// This value, then each on the way to `path`, as far as they exist.
    pub(super) fn along<'p>(&'p self, path: &KeyPath) -> impl Iterator<Item = &'p Provenance> {
        let mut keys = path.keys().iter();
        std::iter::successors(Some(self), move |above| above.below(keys.next()?))
    }

    /// Whether a value in it must not be shown.
    pub(super) fn has_secret_item(&self) -> bool {
        let mut below = self.keys.values().chain(&self.items);
        below.any(|entry| entry.secret || entry.has_secret_item())
    }

    /// Calls `visit` with the path of each value in it.
    pub(super) fn visit_paths(&self, path: &mut KeyPath, visit: &mut impl FnMut(&KeyPath)) {
        let keys = self.keys.iter().map(|(key, entry)| (Key::Name(key.clone()), entry));
        let items = self.items.iter().enumerate().map(|(index, entry)| (Key::Index(index), entry));
        for (key, entry) in keys.chain(items) {
            path.within(key, |path| {
                visit(path);
                entry.visit_paths(path, visit);
            });
        }
    }
}
