//! Reads the sources, weakest first, and merges them: included files, the main file, the profile, the
//! environment, `-D`.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::expand::Expander;
use super::node::{Data, Node, Occurrence};
use super::secret;
use super::sections::profile_keys;
use super::shape;
use super::{Argument, document};
use crate::error::{Error, Origin, Source};
use crate::registry::nearest;

/// A config file larger than this is assumed to be a mistake.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// The most files that one config may include, counted each time: nested includes can double at every level.
const INCLUDE_LIMIT: usize = 1000;

/// The files of a config, as they are read.
#[derive(Default)]
pub(super) struct SourceFiles {
    /// All files, absolute, the main one first. Includes optional ones that are absent.
    pub(super) paths: Vec<PathBuf>,
    /// The chain of includes that leads to the current file, to find cycles.
    open: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
    included: usize,
    /// Set by an error that leaves the tree incomplete: a missing file, broken TOML.
    pub(super) incomplete: bool,
    pub(super) errors: Vec<Error>,
}

impl SourceFiles {
    /// Reads `path`, merged over everything that it includes.
    pub(super) fn read(&mut self, path: &Path, included_by: Option<&Origin>) -> Node {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if self.seen.insert(path.clone()) {
            self.paths.push(path.clone());
        }
        let parsed = read_text(&path)
            .map_err(|error| {
                vec![if error.origin.is_none() { error.at(included_by.cloned()) } else { error }]
            })
            .map(|text| document::parse(Source::File(path.clone()), text));
        let (mut own, mut errors) = parsed.unwrap_or_else(|errors| (Node::root(), errors));
        self.incomplete |= !errors.is_empty();
        self.errors.append(&mut errors);
        let include = own.table_mut().and_then(|table| table.shift_remove("include"));
        let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
        self.open.push(identity);
        let mut merged = Node::root();
        let entries = include.as_ref().map_or(&[][..], |include| self.include_list(include));
        for node in entries {
            if let Some(below) = self.include(node, path.parent().unwrap_or(Path::new("/"))) {
                merged.merge(below);
            }
        }
        self.open.pop();
        merged.merge(own);
        merged
    }

    fn include_list<'n>(&mut self, include: &'n Node) -> &'n [Node] {
        match &include.data {
            Data::List(list) => list,
            Data::Value(Value::String(_)) => std::slice::from_ref(include),
            _ => {
                let error = Error::config("`include` must be a file or a list of files");
                let help = "write `include = [\"common.toml\"]`";
                self.errors.push(error.at(include.origin()).help(help));
                &[]
            }
        }
    }

    fn include(&mut self, entry: &Node, folder: &Path) -> Option<Node> {
        let Some(text) = entry.str() else {
            self.errors.push(Error::config("each entry of `include` must be a string").at(entry.origin()));
            return None;
        };
        let place = entry.places.first()?;
        let text = match Expander::without_vars(folder).text(text, place) {
            Ok(text) => text,
            Err(mut errors) => {
                self.errors.append(&mut errors);
                return None;
            }
        };
        let (file, optional) = match text.strip_suffix('?') {
            Some(file) => (file, true),
            None => (text.as_str(), false),
        };
        if file.is_empty() {
            self.errors.push(Error::config("an entry of `include` is empty").at(entry.origin()));
            return None;
        }
        let path = folder.join(file);
        self.included += 1;
        if self.included > INCLUDE_LIMIT {
            if self.included == INCLUDE_LIMIT + 1 {
                let message = format!("more than {INCLUDE_LIMIT} files are included");
                self.errors.push(Error::config(message).at(entry.origin()));
            }
            return None;
        }
        if optional && !path.exists() {
            let path = std::path::absolute(&path).unwrap_or(path);
            if self.seen.insert(path.clone()) {
                self.paths.push(path);
            }
            return None;
        }
        let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
        if let Some(at) = self.open.iter().position(|open| *open == identity) {
            let names = self.open[at..].iter().chain([&identity]).map(|path| name_of(path));
            let chain = names.collect::<Vec<_>>().join("` → `");
            self.errors.push(
                Error::config(format!("`{file}` is included by itself: `{chain}`"))
                    .at(entry.origin())
                    .help("remove one of these includes"),
            );
            return None;
        }
        Some(self.read(&path, entry.origin().as_ref()))
    }
}

/// `path` relative to the working directory if it is below it.
pub(super) fn shown(path: &Path) -> String {
    let folder = std::env::current_dir().ok();
    folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path).display().to_string()
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn read_text(path: &Path) -> Result<String, Error> {
    let shown = shown(path);
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let error = Error::config(format!("there is no config file `{shown}`"));
            match similar_file(path) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(
                    "name another file, or start from a skeleton: `paster create NAME --template notebook`",
                ),
            }
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::config(format!("no permission to read the config file `{shown}`"))
                .help("make it readable for the user that runs paster")
        }
        _ => Error::config(format!("cannot read the config file `{shown}`")).because(error),
    };
    if path.is_dir() {
        let error = Error::config(format!("`{shown}` is a folder, not a config file"));
        return Err(if path.join("server.toml").is_file() {
            error.help(format!("name the file in it: `{shown}/server.toml`"))
        } else {
            error.help("name a TOML file")
        });
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(Error::config(format!("`{shown}` is larger than {} MiB", FILE_LIMIT_BYTES >> 20))
            .help("is it a config file?"));
    }
    String::from_utf8(super::without_bom(bytes)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        // Invalid bytes, which become replacement characters, only come after the mark, so its line and
        // column are right.
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
        let mut text = super::origin::Text::new(Source::File(path.to_owned()), text);
        text.hide_by_look(at);
        Error::config(format!("`{}` is not UTF-8 text", name_of(path)))
            .at(text.origin(at..end))
            .help("save it as UTF-8")
    })
}

/// A TOML file beside `path` with a similar name.
fn similar_file(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(shown(&folder.join(near)))
}

/// Removes `[profile]` from the merged files and merges the table selected by `name` over them.
pub(super) fn apply_profile(tree: &mut Node, name: Option<&str>, errors: &mut Vec<Error>) {
    let profiles = tree.table_mut().and_then(|table| table.shift_remove("profile"));
    let mut chosen = None;
    let mut known = Vec::new();
    if let Some(profiles) = profiles {
        match profiles.data {
            Data::Table(table) => {
                for (profile, node) in table {
                    shape::check_profile(&profile, &node, errors);
                    if Some(profile.as_str()) == name && node.table().is_some() {
                        chosen = Some(node);
                    }
                    known.push(profile);
                }
            }
            _ => errors.push(
                Error::config("`profile` must be a table of profiles")
                    .at(profiles.places.first().map(|place| place.origin.clone()))
                    .help(
                        "choose one with `--profile NAME` or PASTER_PROFILE; define one as `[profile.NAME]`",
                    ),
            ),
        }
    }
    let Some(name) = name else { return };
    match chosen {
        Some(mut node) => {
            if let Some(table) = node.table_mut() {
                table.retain(|key, _| profile_keys().any(|known| known == key)); // the others were reported
            }
            let via = format!("profile `{name}`");
            node.walk_mut(&mut |node| {
                node.places.iter_mut().for_each(|place| place.via = Some(via.clone()));
            });
            tree.merge(node);
        }
        None if known.iter().any(|known| known == name) => {} // not a table: reported above
        None => {
            let error = Error::config(format!("unknown profile `{name}`"));
            errors.push(match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => {
                    error.help(format!("the config defines none: add a table `[profile.{name}]`"))
                }
                None => error.help(format!("the config defines `{}`", known.join("`, `"))),
            });
        }
    }
}

/// Merges the variables `PASTER_SECTION__NAME__KEY=value`.
pub(super) fn apply_environment(tree: &mut Node, variables: &[(String, String)], errors: &mut Vec<Error>) {
    let mut variables: Vec<_> = variables.iter().collect();
    variables.sort();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("PASTER_") else { continue };
        // `PASTER_PROFILE`, `PASTER_LOG` and variables of other programs (`PASTER_PORT_80_TCP`) are not
        // config.
        if !rest.contains("__") {
            continue;
        }
        let mut path = Vec::new();
        for segment in rest.split("__") {
            path.push(spelled(tree, &path, segment));
        }
        let shown = if hidden(&path, value) { secret::MASK } else { value };
        let text = format!("{name}={shown}");
        let place = outside(Source::Environment(name.clone()), text, 0..name.len());
        if !profile_keys().any(|section| section == path[0]) || path.iter().any(String::is_empty) {
            let error = Error::config(format!("`{name}` is not a key of the config")).at(place.key);
            let near = nearest(&path[0], profile_keys()).map(|near| near.to_ascii_uppercase());
            errors.push(match near {
                Some(near) if path.iter().all(|key| !key.is_empty()) => {
                    let name = name.replacen(&rest[..rest.find("__").unwrap_or(rest.len())], &near, 1);
                    error.help(format!("did you mean `{name}`?"))
                }
                _ => error.help(
                    "write it as `PASTER_SERVER__MAIN__THREADS`: section, table and key, separated by `__`",
                ),
            });
            continue;
        }
        set(tree, &path, value, place, errors);
    }
}

/// Merges what a command-line argument stands for. The argument is the place of every value in it.
pub(super) fn apply_argument(tree: &mut Node, argument: &Argument) {
    let Argument { option, text, tree: said } = argument;
    let shown = if secret::has_password(text) { secret::MASK } else { text };
    let place = outside(Source::Argument(option.clone()), format!("{option} {shown}"), 0..option.len());
    tree.merge(node_of(said, &place));
}

/// A value with everything in it, all at `place`.
fn node_of(value: &Value, place: &Occurrence) -> Node {
    let data = match value {
        Value::Object(table) => {
            Data::Table(table.iter().map(|(key, value)| (key.clone(), node_of(value, place))).collect())
        }
        Value::Array(list) => Data::List(list.iter().map(|value| node_of(value, place)).collect()),
        value => Data::Value(value.clone()),
    };
    Node::new(data, Occurrence { written: value.clone(), ..place.clone() })
}

/// How the config spells the name that a variable has in capitals: a `_` may stand for `-` and the like.
fn spelled(tree: &Node, path: &[String], segment: &str) -> String {
    let table = path.iter().try_fold(tree, |node, key| node.get(key)).and_then(Node::table);
    let folded = |key: &str| -> String {
        key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let wanted = folded(segment);
    let known = table.and_then(|table| table.keys().find(|key| folded(key) == wanted).cloned());
    known.unwrap_or_else(|| segment.to_ascii_lowercase())
}

/// Merges `-D key=value` arguments.
pub(super) fn apply_overrides(tree: &mut Node, overrides: &[String], errors: &mut Vec<Error>) {
    for text in overrides {
        let usage = |message: String| {
            Error::usage(message).help(
                "write it as `-D server.main.threads=4`: a dotted key, `=`, then a TOML value or plain text",
            )
        };
        let Some(at) = equals_sign(text) else {
            // Without `=` the whole argument is a key, so it contains no secret.
            errors.push(usage(format!("`-D {text}` has no `=`")));
            continue;
        };
        let (key, value) = (text[..at].trim(), text[at + 1..].trim());
        let path: Vec<String> = match toml_edit::Key::parse(key) {
            Ok(keys) => keys.iter().map(|key| key.get().to_owned()).collect(),
            Err(_) => {
                errors.push(usage(format!("`-D {key}=…`: `{key}` is not a dotted TOML key")));
                continue;
            }
        };
        let shown = if hidden(&path, value) { secret::MASK } else { value };
        let text = format!("-D {key}={shown}");
        let place = outside(Source::Argument(format!("-D {key}")), text, 3..3 + key.len());
        if ["include", "profile"].contains(&path[0].as_str()) {
            errors.push(usage(format!("`{}` cannot be set by -D", path[0])));
            continue;
        }
        set(tree, &path, value, place, errors);
    }
}

fn hidden(path: &[String], value: &str) -> bool {
    secret::is_secret_path(path.iter().map(String::as_str)) || secret::has_password(value)
}

/// Where the key ends: at the first `=` outside quotes.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '=') => return Some(at),
            _ => {}
        }
    }
    None
}

/// The place of a value that is not in a file but in `text`: the key at `key`, then `=` and the value.
fn outside(source: Source, text: String, key: std::ops::Range<usize>) -> Occurrence {
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let text: std::sync::Arc<str> = text.into();
    let mark = |span: std::ops::Range<usize>| Origin {
        source: source.clone(),
        line: 0,
        column: 0,
        width: count(&text[span.clone()]).max(1),
        mark: count(&text[..span.start]),
        text: text.clone(),
    };
    let origin = mark(key.end + 1..text.len());
    Occurrence { origin, key: Some(mark(key)), via: None, written: Value::Null }
}

fn set(tree: &mut Node, path: &[String], value: &str, place: Occurrence, errors: &mut Vec<Error>) {
    let mut node = match document::parse_value(value, &place) {
        Ok(node) => node,
        Err(mut faults) => {
            errors.append(&mut faults);
            return;
        }
    };
    for key in path.iter().rev() {
        node = Node::new(Data::Table([(key.clone(), node)].into_iter().collect()), place.clone());
    }
    // It sets only those tables on the way that did not exist. Only they have it as their place.
    forget_known(&mut node, Some(tree));
    tree.merge(node);
}

/// Drops the places of tables in `upper` that are also tables in `lower`.
fn forget_known(upper: &mut Node, lower: Option<&Node>) {
    let Some(lower) = lower.and_then(Node::table) else { return };
    let Some(table) = upper.table_mut() else { return };
    for (key, node) in table.iter_mut() {
        forget_known(node, lower.get(key));
    }
    upper.places.clear();
}
