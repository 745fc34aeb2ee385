//! `use = "app:main"`: a table inherits from another one of its section and overrides some of its keys.

use std::collections::BTreeMap;

use super::join;
use super::node::{Data, Node};
use super::origin::narrowed;
use super::sections::SECTIONS;
use crate::error::Error;
use crate::registry::nearest;

/// Merges every inheriting table over its parent.
pub(super) fn apply(tree: &mut Node, errors: &mut Vec<Error>) {
    for section in SECTIONS {
        let Some(parts) = tree.table_mut().and_then(|table| table.get_mut(section)).and_then(Node::table_mut)
        else {
            continue;
        };
        let written = parts.clone();
        let mut done = BTreeMap::new();
        for (name, part) in parts {
            if let Some(node) = resolve(section, name, &written, &mut done, errors) {
                *part = node;
            }
        }
    }
}

type InheritedTables = indexmap::IndexMap<String, Node>;

/// The merged table; `None` if an error in its chain was reported: then it stays as written.
fn resolve(
    section: &str,
    name: &str,
    parts: &InheritedTables,
    done: &mut BTreeMap<String, Option<Node>>,
    errors: &mut Vec<Error>,
) -> Option<Node> {
    if let Some(known) = done.get(name) {
        return known.clone();
    }
    // An explicit stack, because a chain of inheritance may be longer than the thread's stack allows.
    let mut line = vec![name.to_owned()];
    while let Some(parent) = line.last().and_then(|last| parent_of(section, last, parts, errors)) {
        let Ok(parent) = parent else {
            line.iter().for_each(|name| drop(done.insert(name.clone(), None)));
            return None;
        };
        if done.contains_key(&parent) {
            line.push(parent);
            break;
        }
        if let Some(at) = line.iter().position(|name| *name == parent) {
            let mut chain: Vec<_> = line[at..].iter().map(|name| format!("`{section}:{name}`")).collect();
            chain.push(format!("`{section}:{parent}`"));
            let place =
                parts.get(&line[line.len() - 1]).and_then(|node| node.get("use")).and_then(Node::origin);
            let message =
                format!("`[{}]` inherits from itself: {}", join(section, &parent), chain.join(" → "));
            errors.push(
                Error::config(message).at(place).help("one table in this chain must name a kind in `use`"),
            );
            line.iter().for_each(|name| drop(done.insert(name.clone(), None)));
            return None;
        }
        line.push(parent);
    }
    let mut whole: Option<(String, Node)> = None;
    while let Some(name) = line.pop() {
        if let Some(known) = done.get(&name) {
            match known {
                Some(node) => whole = Some((name, node.clone())),
                None => {
                    line.iter().for_each(|name| drop(done.insert(name.clone(), None)));
                    return None;
                }
            }
            continue;
        }
        let own = parts.get(&name)?.clone();
        let node = match whole.take() {
            None => own,
            Some((parent, below)) => merge(section, &parent, below, own),
        };
        done.insert(name.clone(), Some(node.clone()));
        whole = Some((name, node));
    }
    whole.map(|(_, node)| node)
}

/// The table that `[section.name]` inherits from, if any. `Err`: it names a table that it cannot inherit
/// from, and the error was reported.
fn parent_of(
    section: &str,
    name: &str,
    parts: &InheritedTables,
    errors: &mut Vec<Error>,
) -> Option<Result<String, ()>> {
    let node = parts.get(name)?.get("use")?;
    let (prefix, parent) = node.str()?.split_once(':')?;
    let place = narrowed(node.origin(), &format!("{prefix}:{parent}"));
    if prefix != section {
        let error = if SECTIONS.contains(&prefix) {
            let message =
                format!("`[{}]` cannot inherit from `[{}]`", join(section, name), join(prefix, parent));
            Error::config(message).help(format!("inherit from a table of the same section: `{section}:NAME`"))
        } else {
            Error::config(format!("unknown section `{prefix}` in `use = \"{prefix}:{parent}\"`"))
                .help(format!("to inherit, write `{section}:NAME`; a kind has no colon"))
        };
        errors.push(error.at(place));
        return Some(Err(()));
    }
    if parts.get(parent).and_then(Node::table).is_none() {
        let error =
            Error::config(format!("there is no `[{}]` to inherit from", join(section, parent))).at(place);
        let others = parts.keys().map(String::as_str).filter(|other| *other != name);
        errors.push(match nearest(parent, others.clone()) {
            Some(near) => error.help(format!("did you mean `{section}:{near}`?")),
            None => {
                let known: Vec<_> = others.map(|other| format!("`{section}:{other}`")).collect();
                if known.is_empty() { error } else { error.help(format!("known: {}", known.join(", "))) }
            }
        });
        return Some(Err(()));
    }
    Some(Ok(parent.to_owned()))
}

/// `own` merged over `below`, whose kind it takes. Inherited values record where they came from.
fn merge(section: &str, parent: &str, below: Node, mut own: Node) -> Node {
    let inherits = own.table_mut().and_then(|table| table.shift_remove("use"));
    let mut whole = below;
    let via = format!("inherited from `[{}]`", join(section, parent));
    whole.walk_mut(&mut |node| {
        for place in node.places.iter_mut().filter(|place| place.via.is_none()) {
            place.via = Some(via.clone());
        }
    });
    whole.places.clear(); // the place of the table itself is its own
    let below_use = whole.get("use").cloned();
    whole.merge(own);
    // Both lines explain `use`: the one that names the kind, and the one that inherits.
    if let (Some(mut kind), Some(inherits)) = (below_use, inherits) {
        kind.places.extend(inherits.places);
        if let Data::Table(table) = &mut whole.data {
            table.insert("use".into(), kind);
        }
    }
    whole
}
