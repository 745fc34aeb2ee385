//! Replaces `${…}` in strings: `${here}`, `${env:NAME:-default}`, `${file:PATH}`, and `${name}` from
//! `[vars]`. `$${` stands for `${`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::node::{Data, Node, Occurrence};
use super::origin::narrowed;
use super::secret;
use crate::error::{Error, Source};
use crate::registry::nearest;

/// How deep defaults may be nested in defaults, and how many variables may use one another in a chain.
const DEPTH_LIMIT: usize = 64;
/// The longest string that references may produce, and the largest secret file.
const TEXT_LIMIT_BYTES: usize = 1 << 20;

/// The value of a reference or a string.
struct ExpandedPiece {
    data: Data,
    secret: bool,
}

/// The state of a variable of `[vars]`.
enum Variable {
    /// Being resolved: meeting it again is a cycle.
    Open,
    Done(Data, bool),
    /// Its error has been reported at its definition.
    Broken,
}

/// `None`: already reported.
type ExpandError = Option<Error>;

/// Replaces references and remembers the variables that it has resolved.
pub(super) struct Expander<'a> {
    /// `${here}` for values that are not in a file.
    folder: &'a Path,
    /// `[vars]`; `None` where variables are not allowed.
    vars: Option<IndexMap<String, Node>>,
    states: BTreeMap<String, Variable>,
    open: Vec<String>,
    /// The files that `${file:…}` named.
    pub(super) files: Vec<PathBuf>,
    pub(super) errors: Vec<Error>,
}

impl<'a> Expander<'a> {
    /// For `include`, which is read before variables are known.
    pub(super) fn without_vars(folder: &'a Path) -> Self {
        Expander {
            folder,
            vars: None,
            states: BTreeMap::new(),
            open: Vec::new(),
            files: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Replaces all references of `tree`, those in `[vars]` first.
    pub(super) fn expand(tree: &mut Node, folder: &'a Path) -> Self {
        let vars = tree.get("vars").and_then(Node::table).cloned().unwrap_or_default();
        let names: Vec<String> = vars.keys().cloned().collect();
        let mut expander = Expander { vars: Some(vars), ..Expander::without_vars(folder) };
        for name in &names {
            expander.variable(name);
        }
        for (key, node) in tree.table_mut().into_iter().flatten() {
            if key == "vars" {
                for (name, node) in node.table_mut().into_iter().flatten() {
                    if let Some(Variable::Done(data, secret)) = expander.states.get(name) {
                        node.data = data.clone();
                        node.secret |= secret;
                    }
                }
            } else {
                expander.node(node);
            }
        }
        expander
    }

    /// Expands one string; its references must produce a string.
    /// # Errors
    /// Every error in it.
    pub(super) fn text(mut self, text: &str, place: &Occurrence) -> Result<String, Vec<Error>> {
        match self.whole(text, place, 0) {
            Ok(ExpandedPiece { data: Data::Value(value), .. }) => Ok(plain(&value)),
            Ok(_) => Err(vec![Error::config("expected a string, not a list").at(place.origin.clone())]),
            Err(fault) => {
                self.errors.extend(fault);
                Err(self.errors)
            }
        }
    }

    fn node(&mut self, node: &mut Node) {
        match &mut node.data {
            Data::Table(table) => table.values_mut().for_each(|node| self.node(node)),
            Data::List(list) => list.iter_mut().for_each(|node| self.node(node)),
            Data::Value(Value::String(text)) if text.contains("${") => {
                let Some(place) = node.places.first() else { return };
                match self.whole(text, place, 0) {
                    Ok(piece) => {
                        node.data = piece.data;
                        node.secret |= piece.secret;
                        node.expanded = true;
                    }
                    Err(fault) => self.errors.extend(fault),
                }
            }
            Data::Value(_) => {}
        }
    }

    /// Resolves the variable `name` and reports its errors.
    fn variable(&mut self, name: &str) {
        if self.states.contains_key(name) {
            return;
        }
        let Some(mut node) = self.vars.as_ref().and_then(|vars| vars.get(name)).cloned() else { return };
        self.states.insert(name.to_owned(), Variable::Open);
        self.open.push(name.to_owned());
        let before = self.errors.len();
        self.node(&mut node);
        self.open.pop();
        if size(&node) > TEXT_LIMIT_BYTES {
            let message = format!("the variable `{name}` is longer than {} MiB", TEXT_LIMIT_BYTES >> 20);
            self.errors.push(Error::config(message).at(node.origin()));
        }
        // If a variable inside was already reported, there is no new error here, but the reference is still
        // unreplaced.
        let whole = self.errors.len() == before && !self.is_broken_inside(&node);
        let secret = node.secret || secret::is_secret_name(name);
        let state = if whole { Variable::Done(node.data, secret) } else { Variable::Broken };
        self.states.insert(name.to_owned(), state);
    }

    fn is_broken_inside(&self, node: &Node) -> bool {
        match &node.data {
            Data::Value(Value::String(text)) => !node.expanded && text.contains("${"),
            Data::List(list) => list.iter().any(|node| self.is_broken_inside(node)),
            _ => false,
        }
    }

    /// Replaces the references in one string. A string that is a single reference takes the type of its
    /// value.
    fn whole(&mut self, text: &str, place: &Occurrence, depth: usize) -> Result<ExpandedPiece, ExpandError> {
        let fault = |message: String| Error::config(message).at(place.origin.clone());
        if depth > DEPTH_LIMIT {
            return Err(Some(fault(format!("references are nested more than {DEPTH_LIMIT} levels deep"))));
        }
        let mut out = String::new();
        let mut hidden = false;
        let mut broken = false;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                out += before;
                out += "${";
                rest = &rest[at + 2..];
                continue;
            }
            let Some(length) = closing(&rest[at + 2..]) else {
                return Err(Some(
                    fault("`${` is not closed".into())
                        .help("close it with `}`; write `$${` for the characters `${`"),
                ));
            };
            let end = at + 2 + length;
            let piece = self.reference(&rest[at + 2..end], place, depth);
            if at == 0 && end + 1 == text.len() {
                return piece;
            }
            out += &rest[..at];
            match piece {
                Ok(ExpandedPiece { data: Data::Value(value), secret }) => {
                    out += &plain(&value);
                    hidden |= secret;
                }
                // The other references in the string may be wrong too.
                Err(fault) => {
                    self.errors.extend(fault);
                    broken = true;
                }
                Ok(_) => {
                    let name = &rest[at..=end];
                    let error = Error::config(format!(
                        "`{name}` is a list or a table and cannot be part of a string"
                    ));
                    return Err(Some(
                        error
                            .at(narrowed(Some(place.origin.clone()), name))
                            .help("use it as the whole value, without other text"),
                    ));
                }
            }
            if out.len() > TEXT_LIMIT_BYTES {
                return Err(Some(fault(format!("the string is longer than {} MiB", TEXT_LIMIT_BYTES >> 20))));
            }
            rest = &rest[end + 1..];
        }
        out += rest;
        if broken {
            return Err(None);
        }
        Ok(ExpandedPiece { data: Data::Value(out.into()), secret: hidden })
    }

    /// The value of `${inner}`.
    fn reference(
        &mut self,
        inner: &str,
        place: &Occurrence,
        depth: usize,
    ) -> Result<ExpandedPiece, ExpandError> {
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let origin = || narrowed(Some(place.origin.clone()), &format!("${{{inner}}}"));
        let fault = |message: String| Error::config(message).at(origin());
        let text = |text: String, secret| Ok(ExpandedPiece { data: Data::Value(text.into()), secret });
        let folder = match &place.origin.source {
            Source::File(path) => path.parent().unwrap_or(Path::new("/")).to_owned(),
            _ => self.folder.to_owned(),
        };
        if name == "here" {
            return text(folder.to_string_lossy().into_owned(), false);
        }
        if let Some(variable) = name.strip_prefix("env:") {
            let found = if variable.is_empty() { None } else { std::env::var(variable).ok() };
            return match (found, default) {
                // As in a shell, an empty variable also uses the default.
                (Some(value), None) => text(value, secret::is_secret_name(variable)),
                (Some(value), Some(_)) if !value.is_empty() => text(value, secret::is_secret_name(variable)),
                (_, Some(default)) => self.whole(default, place, depth + 1),
                (None, None) => {
                    let error = fault(format!("the environment variable `{variable}` is not set"));
                    Err(Some(error.help(format!("set it, or give a default: `${{env:{variable}:-…}}`"))))
                }
            };
        }
        if let Some(file) = name.strip_prefix("file:") {
            let file = match self.whole(file, place, depth + 1)?.data {
                Data::Value(value) => plain(&value),
                _ => return Err(Some(fault("the path in `${file:…}` must be a string".into()))),
            };
            let path = folder.join(&file);
            self.files.push(path.clone());
            return match (read_secret(&path), default) {
                (Ok(content), _) => text(content, true),
                (Err(error), Some(default)) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.whole(default, place, depth + 1)
                }
                (Err(error), _) => {
                    let help = match error.kind() {
                        std::io::ErrorKind::NotFound => "create it, or give a default: `${file:PATH:-…}`",
                        _ => "paster must be able to read it as a text file",
                    };
                    let shown = crate::error::shown(&path);
                    let error = fault(format!("cannot read `{shown}` for `${{file:…}}`")).because(error);
                    Err(Some(error.help(help)))
                }
            };
        }
        if let Some((prefix, _)) = name.split_once(':') {
            return Err(Some(fault(format!("unknown reference `${{{prefix}:…}}`"))
                .help("known: `${here}`, `${env:NAME:-default}`, `${file:PATH}`, and `${name}` from `[vars]`; write `$${` for the characters `${`")));
        }
        let Some(vars) = &self.vars else {
            return Err(Some(
                fault(format!("`${{{name}}}` cannot be used in `include`"))
                    .help("files are included before `[vars]` is known: use `${here}` or `${env:NAME}`"),
            ));
        };
        if !vars.contains_key(name) {
            if let Some(default) = default {
                return self.whole(default, place, depth + 1);
            }
            let error = fault(format!("unknown variable `{name}`"));
            let known = vars.keys().map(String::as_str).chain(["here"]);
            return Err(Some(match nearest(name, known) {
                Some(near) => error.help(format!("did you mean `${{{near}}}`?")),
                None => error.help(format!(
                    "define it under `[vars]`, or write `$${{` for the characters `${{`{}",
                    if name.to_ascii_uppercase() == name {
                        format!("; for the environment variable, write `${{env:{name}}}`")
                    } else {
                        String::new()
                    }
                )),
            }));
        }
        if let Some(at) = self.open.iter().position(|open| open == name) {
            let chain: Vec<_> = self.open[at..].iter().map(|name| format!("`{name}`")).collect();
            let message = format!("the variable `{name}` refers to itself: {} → `{name}`", chain.join(" → "));
            return Err(Some(fault(message).help("give one of them a value without `${…}`")));
        }
        if self.open.len() > DEPTH_LIMIT {
            return Err(Some(fault(format!(
                "variables refer to one another more than {DEPTH_LIMIT} levels deep"
            ))));
        }
        self.variable(name);
        match self.states.get(name) {
            Some(Variable::Done(data, secret)) => Ok(ExpandedPiece { data: data.clone(), secret: *secret }),
            _ => Err(None),
        }
    }
}

/// The length of a reference up to its `}`, skipping references inside it.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|(_, next)| *next == b'{') => {
                bytes.next();
                depth += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn size(node: &Node) -> usize {
    match &node.data {
        Data::Table(table) => 1 + table.values().map(size).sum::<usize>(),
        Data::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Data::Value(Value::String(text)) => 1 + text.len(),
        Data::Value(_) => 1,
    }
}

fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut content = String::new();
    let limit = TEXT_LIMIT_BYTES as u64;
    std::fs::File::open(path)?.take(limit + 1).read_to_string(&mut content)?;
    if content.len() as u64 > limit {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", limit >> 20)));
    }
    let content = content.strip_prefix('\u{feff}').unwrap_or(&content);
    let trimmed = content.strip_suffix('\n').unwrap_or(content);
    Ok(trimmed.strip_suffix('\r').unwrap_or(trimmed).to_owned())
}
