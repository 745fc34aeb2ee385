//! PasteDeploy's `.ini` files: what Paste's own parts do becomes kinds of paster, and the rest stays an application of the
//! kind `wsgi`, which PasteDeploy loads.
//!
//! # Source
//! PasteDeploy, "Paste Deployment": <https://docs.pylonsproject.org/projects/pastedeploy/>.

mod filters;
mod ini;
mod server;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::ini::{IniSection, parse};
use super::ImportInput;
use super::draft::{Draft, name_of, plain};
use crate::error::{Error, Result};

/// The names of sections with an application, by preference.
const APPLICATIONS: [&str; 6] = ["app", "application", "composite", "composit", "pipeline", "filter-app"];

pub(super) fn recognizes(input: &ImportInput) -> bool {
    let is_section =
        |line: &str| APPLICATIONS.iter().any(|kind| line.trim_start().starts_with(&format!("[{kind}:")));
    input.name().ends_with(".ini") && input.text.lines().any(is_section)
}

struct PasteReader {
    sections: BTreeMap<String, IniSection>,
    draft: Draft,
    /// The name of the file.
    file: String,
    /// Sections that are being read, so that a circle ends.
    open: Vec<String>,
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let sections = parse(input)?;
    let (draft, file) = (Draft::of(input), input.name().to_owned());
    let mut reader = PasteReader { sections, draft, file, open: Vec::new() };
    let Some(main) = reader.main() else {
        let error = Error::config(format!("`{}` has no application `main`", input.path.display()));
        return Err(error.help("add `[app:main]`, `[pipeline:main]` or `[composite:main]`").into());
    };
    if main != "main" {
        reader
            .draft
            .lose(0, format!("there is no `main`: serving `{main}`, which no other application uses"));
    }
    let app = reader.app(&main)?;
    reader.servers(&app);
    Ok(reader.draft)
}

/// What a part of Paste's becomes.
enum PastePart {
    /// An app, or a middleware, with its options.
    Own(Value),
    /// It runs in Python.
    Python,
}

impl PasteReader {
    /// The application to serve: `main`, or the only one that no other section uses.
    fn main(&self) -> Option<String> {
        if self.application("main").is_some() {
            return Some("main".to_owned());
        }
        let names = self.sections.keys().filter_map(|section| section.split_once(':'));
        let names = names.filter(|(kind, _)| APPLICATIONS.contains(kind)).map(|(_, name)| name);
        let uses = |(section, IniSection { entries, .. }): (&String, &IniSection), name: &str| {
            let kind = section.split(':').next().unwrap_or_default();
            let keys = entries.iter().filter(|(key, ..)| match kind {
                "composite" | "composit" => key != "use",
                "pipeline" => key == "pipeline",
                "filter-app" => key == "next",
                kind => APPLICATIONS.contains(&kind) && key == "use",
            });
            keys.flat_map(|(_, value, _)| value.split_whitespace()).any(|word| word == name)
        };
        let is_used = |name: &str| self.sections.iter().any(|section| uses(section, name));
        let mut roots = names.filter(|name| !is_used(name));
        let first = roots.next()?;
        roots.next().is_none().then(|| first.to_owned())
    }

    /// The section with an application of this name, and its kind.
    fn application(&self, name: &str) -> Option<(&'static str, IniSection)> {
        APPLICATIONS
            .iter()
            .find_map(|kind| Some((*kind, self.sections.get(&format!("{kind}:{name}"))?.clone())))
    }

    /// Adds the application `name` and what it needs; returns the name of the app.
    /// # Errors
    /// Sections that are missing, or that need each other.
    fn app(&mut self, name: &str) -> Result<String> {
        let own = name_of(name);
        if self.draft.has("app", &own) {
            return Ok(own);
        }
        let Some((kind, section)) = self.application(name) else {
            // `egg:Package#name`, `config:other.ini#name`, `call:module:object`
            if name.contains(':') {
                return Ok(self.elsewhere(name));
            }
            return Err(Error::config(format!("there is no section for the application `{name}`")).into());
        };
        if self.open.iter().any(|open| open == name) {
            return Err(Error::config(format!("the section of `{name}` refers to itself")).into());
        }
        self.open.push(name.to_owned());
        let table = match kind {
            "pipeline" => self.pipeline(name, &section),
            "filter-app" => self.filter_app(name, &section),
            "composite" | "composit" => self.composite(name, &section),
            _ => self.plain_app(name, &section),
        };
        self.open.pop();
        *self.draft.table("app", &own) = table?;
        Ok(own)
    }

    /// An application that is not a section of this file.
    fn elsewhere(&mut self, reference: &str) -> String {
        let application = reference.strip_prefix("call:").map_or_else(|| reference.to_owned(), str::to_owned);
        let mut table = python_table(&application);
        if reference.starts_with("egg:") {
            self.draft.lose(
                0,
                format!("`{reference}`: write a section `[app:NAME]` with `use = {reference}` for it"),
            );
            table = Map::from_iter([("use".to_owned(), "respond".into()), ("status".to_owned(), 503.into())]);
        }
        let wanted = reference.rsplit(['#', ':', '/']).next().unwrap_or("app");
        self.draft.add("app", wanted, table.into())
    }

    /// The application of a section, in Python.
    fn python(&self, name: &str) -> Map<String, Value> {
        python_table(&format!("config:{}#{name}", self.file))
    }

    fn plain_app(&mut self, name: &str, section: &IniSection) -> Result<Map<String, Value>> {
        let section = self.inherited(section);
        let mut table = match own_app(&section, &mut self.draft) {
            PastePart::Own(table) => {
                let mut table = table.as_object().cloned().unwrap_or_default();
                table.insert("middleware".to_owned(), json!(["error_page", "body_limit"]));
                table
            }
            // PasteDeploy reads the rest of the section, `filter-with` too.
            PastePart::Python => return Ok(self.python(name)),
        };
        if let Some(filter) = section.get("filter-with") {
            match self.filter(filter) {
                Some(middleware) => prepend(&mut table, vec![middleware]),
                None => return Ok(self.python(name)),
            }
        }
        Ok(table)
    }

    /// A section whose `use` names another one, with the keys of that.
    fn inherited(&self, section: &IniSection) -> IniSection {
        let mut section = section.clone();
        for _ in 0..self.sections.len() {
            let Some(name) = section.get("use").filter(|name| !name.contains(':')) else { break };
            let Some((_, parent)) = self.application(name) else { break };
            let own = |key: &str| {
                key != "use"
                    && section.entries.iter().any(|(name, ..)| name == key || name == &format!("set {key}"))
            };
            let more: Vec<_> = parent.entries.iter().filter(|(key, ..)| !own(key)).cloned().collect();
            section.entries.retain(|(key, ..)| key != "use");
            section.entries.extend(more);
        }
        section
    }

    fn pipeline(&mut self, name: &str, section: &IniSection) -> Result<Map<String, Value>> {
        let words: Vec<String> =
            section.get("pipeline").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let Some((last, filters)) = words.split_last() else {
            return Err(Error::config(format!("`[pipeline:{name}]` has no `pipeline`")).into());
        };
        self.filtered(name, filters, last)
    }

    fn filter_app(&mut self, name: &str, section: &IniSection) -> Result<Map<String, Value>> {
        let Some(next) = section.get("next").map(str::to_owned) else {
            return Err(Error::config(format!("`[filter-app:{name}]` has no `next`")).into());
        };
        match self.filter_of(section) {
            Some(middleware) => self.wrapped(vec![middleware], &next),
            None => Ok(self.python(name)),
        }
    }

    fn filtered(&mut self, name: &str, filters: &[String], last: &str) -> Result<Map<String, Value>> {
        let found: Option<Vec<_>> = filters.iter().map(|filter| self.filter(filter)).collect();
        match found {
            Some(middleware) => self.wrapped(middleware, last),
            // A filter in Python needs the rest of the pipeline in Python too.
            None => Ok(self.python(name)),
        }
    }

    /// The app `next` with more middleware.
    fn wrapped(&mut self, middleware: Vec<String>, next: &str) -> Result<Map<String, Value>> {
        let next = self.app(next)?;
        let mut table = Map::from_iter([("use".to_owned(), format!("app:{next}").into())]);
        let stack = self.draft.table("app", &next).get("middleware").cloned();
        table.extend(stack.map(|stack| ("middleware".to_owned(), stack)));
        prepend(&mut table, middleware);
        Ok(table)
    }

    fn composite(&mut self, name: &str, section: &IniSection) -> Result<Map<String, Value>> {
        match egg(section.get("use").unwrap_or_default()) {
            Some(("paste", "urlmap")) => self.urlmap(section),
            Some(("paste", "cascade")) => self.cascade(section),
            _ => Ok(self.python(name)),
        }
    }

    fn urlmap(&mut self, section: &IniSection) -> Result<Map<String, Value>> {
        let mut routes = Map::new();
        for (key, value, line) in &section.entries {
            let words: Vec<&str> = key.split_whitespace().collect();
            let at = match words.as_slice() {
                ["use"] | ["debug"] => continue,
                ["not_found_app"] => {
                    self.draft.lose(*line, "`not_found_app`: see the middleware `error_document`");
                    continue;
                }
                ["domain", host] => format!("{host}/"),
                ["domain", host, path] => format!("{host}{path}"),
                [path] => path.trim_start_matches("http://").to_owned(),
                _ => key.clone(),
            };
            let at = if at.contains('/') { at } else { format!("{at}/") };
            let at = if at.len() > 1 && !at.trim_end_matches('/').contains('/') { at } else { trimmed(&at) };
            routes.insert(at, self.app(value)?.into());
        }
        let mut table = Map::from_iter([("use".to_owned(), "mount".into())]);
        table.insert("routes".to_owned(), routes.into());
        Ok(table)
    }

    fn cascade(&mut self, section: &IniSection) -> Result<Map<String, Value>> {
        let mut keys: Vec<_> =
            section.entries.iter().filter(|(key, ..)| key.starts_with("app")).cloned().collect();
        keys.sort();
        let mut apps = Vec::new();
        for (_, value, _) in keys {
            apps.push(Value::from(self.app(&value)?));
        }
        let mut table =
            Map::from_iter([("use".to_owned(), "cascade".into()), ("apps".to_owned(), apps.into())]);
        let statuses: Vec<u16> = section
            .get("catch")
            .unwrap_or("404")
            .split_whitespace()
            .filter_map(|status| status.parse().ok())
            .collect();
        if statuses != [404] {
            table.insert("next_on".to_owned(), json!(statuses));
        }
        Ok(table)
    }
}

fn python_table(application: &str) -> Map<String, Value> {
    Map::from_iter([
        ("use".to_owned(), "wsgi".into()),
        ("application".to_owned(), application.into()),
        ("middleware".to_owned(), json!(["error_page", "body_limit"])),
    ])
}

/// A route without a slash at its end, but for a whole host.
fn trimmed(at: &str) -> String {
    match at.trim_end_matches('/') {
        "" => "/".to_owned(),
        rest => rest.to_owned(),
    }
}

fn prepend(table: &mut Map<String, Value>, mut middleware: Vec<String>) {
    let stack = table.get("middleware").and_then(Value::as_array).cloned().unwrap_or_default();
    middleware.extend(stack.iter().filter_map(Value::as_str).map(str::to_owned));
    let mut unique: Vec<String> = Vec::new();
    middleware.into_iter().for_each(|name| {
        if !unique.contains(&name) {
            unique.push(name);
        }
    });
    table.insert("middleware".to_owned(), json!(unique));
}

/// The package and the entry point of `egg:Package#name`, the package in lower case.
fn egg(text: &str) -> Option<(&'static str, &str)> {
    let (package, entry) =
        text.strip_prefix("egg:").map(|text| text.split_once('#').unwrap_or((text, "main")))?;
    let known = ["paste", "pastescript", "waitress", "gunicorn"];
    known.into_iter().find(|known| package.eq_ignore_ascii_case(known)).map(|package| (package, entry))
}

/// Paste's own applications.
fn own_app(section: &IniSection, draft: &mut Draft) -> PastePart {
    let get = |key: &str| section.get(key).unwrap_or_default();
    match egg(get("use")) {
        Some(("paste", "static")) => {
            let mut table = json!({ "use": "static", "publish_dir": plain(get("document_root")) });
            if let Some(age) = section.get("cache_max_age") {
                table["cache_control"] = format!("max-age={age}").into();
            }
            PastePart::Own(table)
        }
        Some(("paste", "cgi")) => {
            if let Some((.., line)) =
                section.entries.iter().find(|(key, ..)| ["path", "include_os_environ"].contains(&&**key))
            {
                draft.lose(*line, "the options of `cgi`: see `env` of the kind `cgi`");
            }
            PastePart::Own(json!({ "use": "cgi", "program": plain(get("script")) }))
        }
        Some(("paste", "proxy")) => {
            if let Some((.., line)) =
                section.entries.iter().find(|(key, ..)| key.starts_with("allowed_request_methods"))
            {
                draft.lose(*line, "`allowed_request_methods`: a proxy forwards every method");
            }
            PastePart::Own(json!({ "use": "proxy", "upstreams": [plain(get("address"))] }))
        }
        _ => PastePart::Python,
    }
}
