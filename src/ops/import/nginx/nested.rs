//! Locations in other locations, as locations beside them: paster's routes are by prefix, and the longest one wins too.

use super::location::is_php;
use super::parse::Directive;
use super::server::path_of;

/// The locations of a server, in which those inside of others have what they inherit.
///
/// # Source
/// nginx, `ngx_http_core_module`, "location".
pub(super) fn flattened<'a>(locations: impl Iterator<Item = &'a Directive>) -> Vec<Directive> {
    let mut flat = Vec::new();
    locations.for_each(|location| flatten(location, &mut flat));
    // The first expression that matches wins: those after one that serves files forbid only some of a directory.
    let mut is_open = false;
    let mut all = Vec::new();
    for location in flat {
        match forbidden(&location).filter(|_| !is_open) {
            Some(directories) => all.extend(directories),
            None => {
                is_open |= is_expression(&location) && !is_php(&location) && refusal(&location).is_none();
                all.push(location);
            }
        }
    }
    all
}

fn is_expression(location: &Directive) -> bool {
    matches!(location.arg(0), "~" | "~*")
}

/// The status with which a location refuses every request.
fn refusal(location: &Directive) -> Option<String> {
    let is_return = |one: &&Directive| one.name == "return" && one.arg(0).starts_with('4');
    let status = location.block.iter().find(is_return).map(|one| one.arg(0).to_owned());
    let denies = location.block.iter().any(|one| one.name == "deny" && one.arg(0) == "all")
        && !location.block.iter().any(|one| one.name == "allow");
    status.or_else(|| denies.then(|| "403".to_owned()))
}

/// `location ~ ^/(config|data)/ { deny all; }` as a location for each of the directories.
fn forbidden(location: &Directive) -> Option<Vec<Directive>> {
    const ENDS: [&str; 8] = ["", "/", "/.*", "/.*$", "(/|$)", "($|/)", "(?:/|$)", "(?:$|/)"];
    let status = refusal(location).filter(|_| is_expression(location))?;
    let (names, end) = location.arg(1).strip_prefix("^/(")?.split_once(')')?;
    let names: Vec<&str> = names.strip_prefix("?:").unwrap_or(names).split('|').collect();
    let is_name = |name: &&str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            && !name.is_empty()
            && !name.ends_with('_')
    };
    if !ENDS.contains(&end) || !names.iter().all(is_name) {
        return None;
    }
    let answer = |status: &str| Directive {
        name: "return".to_owned(),
        args: vec![status.to_owned()],
        line: location.line,
        block: Vec::new(),
    };
    let one = |name: &str| Directive {
        args: vec![format!("/{name}")],
        block: vec![answer(&status)],
        ..location.clone()
    };
    Some(names.into_iter().map(one).collect())
}

fn flatten(location: &Directive, flat: &mut Vec<Directive>) {
    let location = &with_modifier(location);
    let mut own = location.clone();
    let (inner, rest): (Vec<Directive>, Vec<Directive>) =
        own.block.into_iter().partition(|one| stands_alone(one, location));
    own.block = rest;
    let outer: Vec<Directive> = own.block.iter().filter(|one| is_inherited(one)).cloned().collect();
    // One that only holds others does nothing itself.
    let acts = |one: &Directive| !is_inherited(one) || one.name == "root";
    if inner.is_empty() || own.block.iter().any(acts) {
        flat.push(own);
    }
    for mut one in inner {
        let has = |name: &str| {
            let same = |other: &str| group(other) == group(name);
            one.block.iter().any(|directive| same(&directive.name))
        };
        let mut block: Vec<Directive> = outer.iter().filter(|outer| !has(&outer.name)).cloned().collect();
        block.append(&mut one.block);
        one.block = block;
        flatten(&one, flat);
    }
}

/// A location whose modifier stands apart: nginx reads `=/status` and `~/\.ht` as well.
fn with_modifier(location: &Directive) -> Directive {
    let mut location = location.clone();
    if location.name == "location" && location.args.len() == 1 {
        let split = |modifier: &str| {
            let path = location.arg(0).strip_prefix(modifier)?;
            Some(vec![modifier.to_owned(), path.to_owned()])
        };
        if let Some(args) = ["~*", "^~", "~", "="].into_iter().find_map(split) {
            location.args = args;
        }
    }
    location
}

/// Whether a directive of `outer` is a location that means the same beside it.
fn stands_alone(inner: &Directive, outer: &Directive) -> bool {
    let inner = &with_modifier(inner);
    if inner.name != "location" || matches!(outer.arg(0), "=" | "~" | "~*") || outer.arg(0).starts_with('@') {
        return false;
    }
    match inner.arg(0) {
        "~" | "~*" => path_of(outer) == "/",
        name if name.starts_with('@') => false,
        _ => path_of(inner).starts_with(&path_of(outer)),
    }
}

/// Whether a location has it from the one around it: all but what answers a request.
fn is_inherited(directive: &Directive) -> bool {
    let name = directive.name.as_str();
    !name.ends_with("_pass")
        && !["location", "return", "rewrite", "if", "set", "try_files", "alias", "internal"].contains(&name)
}

/// Directives that are inherited together, or not at all.
fn group(name: &str) -> &str {
    match name {
        "allow" | "deny" => "access",
        name => name,
    }
}
