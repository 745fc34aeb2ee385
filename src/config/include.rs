//! Reads the main file of a config and the files that it includes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document;
use super::expand::Expander;
use super::node::{Data, Node};
use super::provider::SourceValues;
use crate::error::{Error, Origin, Source, shown};
use crate::registry::nearest;

/// A config file larger than this is assumed to be a mistake.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// The most files that one config may include, counted each time: nested includes can double at every level.
const INCLUDE_LIMIT: usize = 1000;

/// The files of a config, in the order in which they are read.
#[derive(Default)]
pub(super) struct SourceFiles {
    /// All files, absolute, the main one first. Includes optional ones that are absent.
    pub(super) paths: Vec<PathBuf>,
    /// What each file sets, weakest first: included files come before those that include them.
    pub(super) values: Vec<SourceValues>,
    /// The chain of includes that leads to the current file, to find cycles.
    open: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
    included: usize,
    /// Set by an error that leaves the tree incomplete: a missing file, broken TOML.
    pub(super) incomplete: bool,
    pub(super) errors: Vec<Error>,
}

impl SourceFiles {
    /// Reads `path` after everything that it includes.
    pub(super) fn read(&mut self, path: &Path, included_by: Option<&Origin>) {
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
        let entries = include.as_ref().map_or(&[][..], |include| self.include_list(include));
        for node in entries {
            if let Some((below, by)) = self.included(node, path.parent().unwrap_or(Path::new("/"))) {
                self.read(&below, by.as_ref());
            }
        }
        self.open.pop();
        self.values.push(SourceValues::new(Source::File(path), own));
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

    /// The file that an entry of `include` names, and the entry's place, unless there is nothing to read.
    fn included(&mut self, entry: &Node, folder: &Path) -> Option<(PathBuf, Option<Origin>)> {
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
        Some((path, entry.origin()))
    }
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
