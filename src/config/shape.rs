//! The outline of every config: the sections at the top level, the named tables in them, and `use` in each.

use indexmap::IndexMap;

use super::node::Node;
use super::sections::{SECTIONS, TOP_LEVEL, profile_keys};
use super::{KeyPath, join};
use crate::error::Error;
use crate::registry::nearest;

/// Finds unknown names at the top level, and sections and parts that are not tables.
pub(super) fn check(tree: &Node, errors: &mut Vec<Error>) {
    let Some(table) = tree.table() else { return };
    check_names(table, &TOP_LEVEL.map(|key| key.name), &KeyPath::default(), errors);
    for section in SECTIONS {
        let Some(node) = table.get(section) else { continue };
        let Some(parts) = node.table() else {
            errors.push(
                not_a_table(node, &section.into()).help(format!("name a table in it: `[{section}.main]`")),
            );
            continue;
        };
        let named =
            || parts.iter().filter(|(_, part)| part.get("use").is_some()).map(|(name, _)| name.as_str());
        for (name, part) in parts {
            let path = join(section, name);
            match part.table() {
                None => {
                    let whole =
                        format!("tables of `{section}` have names: put the key in `[{section}.main]`");
                    errors.push(not_a_table(part, &path).help(whole));
                }
                Some(table) if !table.contains_key("use") => {
                    let error = Error::config(format!("`[{path}]` has no `use`")).at(part.origin());
                    errors.push(match nearest(name, named()) {
                        Some(near) => error.help(format!("did you mean `[{}]`?", join(section, near))),
                        None => {
                            error.help("name its kind, as in `use = \"…\"`: `paster list` shows the kinds")
                        }
                    });
                }
                Some(table) => {
                    if let Some(kind) = table.get("use").filter(|kind| kind.str().is_none()) {
                        let error = Error::config("`use` must be a string").at(kind.origin());
                        errors.push(error.help("it names a kind, or another table: `use = \"app:main\"`"));
                    }
                }
            }
        }
    }
    for (section, example) in [("program", "program.worker"), ("task", "task.sweep")] {
        let Some(parts) = table.get(section) else { continue };
        let Some(named) = parts.table() else {
            let error = not_a_table(parts, &section.into());
            errors.push(error.help(format!("name a table in it: `[{example}]`")));
            continue;
        };
        for (name, part) in named.iter().filter(|(_, part)| part.table().is_none()) {
            let error = not_a_table(part, &join(section, name));
            errors
                .push(error.help(format!("tables of `{section}` have names: put the key in `[{example}]`")));
        }
    }
    if let Some(vars) = table.get("vars").filter(|vars| vars.table().is_none()) {
        errors.push(not_a_table(vars, &"vars".into()).help("define variables under `[vars]`"));
    }
}

/// Removes `[profile]`, which figment has merged, and finds unknown names in its tables, selected or not. The
/// selected one must be among them.
pub(super) fn check_profiles(tree: &mut Node, selected: Option<&str>, errors: &mut Vec<Error>) {
    let profiles = tree.table_mut().and_then(|table| table.shift_remove("profile"));
    let table = profiles.as_ref().and_then(Node::table);
    if let (Some(profiles), None) = (&profiles, table) {
        errors.push(
            Error::config("`profile` must be a table of profiles")
                .at(profiles.origin())
                .help("choose one with `--profile NAME` or PASTER_PROFILE; define one as `[profile.NAME]`"),
        );
    }
    let known = || table.into_iter().flat_map(|table| table.keys()).map(String::as_str);
    table.into_iter().flatten().for_each(|(name, node)| check_profile(name, node, errors));
    let Some(name) = selected.filter(|name| !known().any(|known| known == *name)) else { return };
    let error = Error::config(format!("unknown profile `{name}`"));
    errors.push(match nearest(name, known()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if known().next().is_none() => {
            error.help(format!("the config defines none: add a table `[profile.{name}]`"))
        }
        None => error.help(format!("the config defines `{}`", known().collect::<Vec<_>>().join("`, `"))),
    });
}

fn check_profile(name: &str, node: &Node, errors: &mut Vec<Error>) {
    let path = join("profile", name);
    match node.table() {
        Some(table) => check_names(table, &profile_keys().collect::<Vec<_>>(), &path, errors),
        None => errors.push(not_a_table(node, &path).help(format!("write `[profile.{name}.server.main]`"))),
    }
}

fn check_names(
    table: &IndexMap<String, Node>,
    known: &[&'static str],
    path: &KeyPath,
    errors: &mut Vec<Error>,
) {
    for (key, node) in table {
        if known.contains(&key.as_str()) {
            continue;
        }
        let place = if path.is_empty() { String::new() } else { format!(" in `[{path}]`") };
        let what = if node.table().is_some() { "section" } else { "key" };
        let error = Error::config(format!("unknown {what} `{key}`{place}")).at(node.key_origin());
        errors.push(match nearest(key, known.iter().copied()) {
            _ if key == "reload" && path.is_empty() => {
                error.help("write it under `[process]`, or start with `paster serve --reload`")
            }
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("known here: `{}`", known.join("`, `"))),
        });
    }
}

fn not_a_table(node: &Node, path: &KeyPath) -> Error {
    Error::config(format!("`{path}` is not a table")).at(node.origin())
}
