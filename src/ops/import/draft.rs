//! The config that an import makes, and what it leaves out.

use serde_json::{Map, Value, json};

use super::{ImportInput, Lost};
use crate::config::formatted;
use crate::error::Source;

/// The sections, in the order in which they are written.
const ORDER: [&str; 6] = ["process", "log", "server", "app", "middleware", "program"];
/// An inner table longer than this gets its own header.
const INLINE_LIMIT: usize = 80;

/// The tables of a config by section and name, and what was left out.
#[derive(Debug, Default)]
pub(super) struct Draft {
    sections: Map<String, Value>,
    pub(super) lost: Vec<Lost>,
    file: String,
}

/// A string of the config that means `text`: `${` would begin a reference.
pub(super) fn plain(text: &str) -> Value {
    text.replace("${", "$${").into()
}

impl Draft {
    pub(super) fn of(input: &ImportInput) -> Draft {
        Draft { file: input.path.display().to_string(), ..Draft::default() }
    }

    /// Notes that `what` was left out.
    pub(super) fn lose(&mut self, line: usize, what: impl Into<String>) {
        let lost = Lost { file: self.file.clone(), line, what: what.into() };
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }

    /// The table `[section.name]`; it is made if there is none. An empty name is the section itself.
    pub(super) fn table(&mut self, section: &str, name: &str) -> &mut Map<String, Value> {
        let section = self.sections.entry(section).or_insert_with(|| json!({}));
        let table = match name {
            "" => section,
            name => {
                let tables = section.as_object_mut().expect("a section is a table");
                tables.entry(name).or_insert_with(|| json!({}))
            }
        };
        table.as_object_mut().expect("it is a table")
    }

    pub(super) fn has(&self, section: &str, name: &str) -> bool {
        self.sections.get(section).is_some_and(|section| section.get(name).is_some())
    }

    /// Sets a key, whose inner tables are named before it: `["timeouts", "connect_secs"]`.
    pub(super) fn set(&mut self, section: &str, name: &str, keys: &[&str], value: impl Into<Value>) {
        let mut table = self.table(section, name);
        let Some((last, above)) = keys.split_last() else { return };
        for key in above {
            let inner = table.entry(*key).or_insert_with(|| json!({}));
            table = inner.as_object_mut().expect("it is a table");
        }
        table.insert((*last).to_owned(), value.into());
    }

    /// Adds a table with the name `wanted` or a similar one, and returns the name. An equal table is used again.
    pub(super) fn add(&mut self, section: &str, wanted: &str, table: Value) -> String {
        let wanted = name_of(wanted);
        for number in 1.. {
            let name = if number == 1 { wanted.clone() } else { format!("{wanted}_{number}") };
            match self.sections.get(section).and_then(|section| section.get(&name)) {
                Some(there) if *there == table => return name,
                Some(_) => {}
                None => {
                    *self.table(section, &name) = table.as_object().cloned().unwrap_or_default();
                    return name;
                }
            }
        }
        wanted
    }

    /// Takes all tables of a section.
    pub(super) fn take(&mut self, section: &str) -> Option<Value> {
        self.sections.remove(section)
    }

    pub(super) fn put(&mut self, section: &str, tables: Option<Value>) {
        self.sections.extend(tables.map(|tables| (section.to_owned(), tables)));
    }

    /// The same, for the messages of another input.
    pub(super) fn named(self, input: &ImportInput) -> Draft {
        let file = input.path.display().to_string();
        let lost = self.lost.into_iter().map(|lost| Lost { file: file.clone(), ..lost }).collect();
        Draft { lost, file, ..self }
    }

    /// Replaces a part of all strings.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        fn walk(value: &mut Value, from: &str, to: &str) {
            match value {
                Value::String(text) => *text = text.replace(from, to),
                Value::Array(items) => items.iter_mut().for_each(|item| walk(item, from, to)),
                Value::Object(table) => table.values_mut().for_each(|value| walk(value, from, to)),
                _ => {}
            }
        }
        self.sections.values_mut().for_each(|section| walk(section, from, to));
    }

    /// Adds what every config has: a server and its address, and the usual middleware of its apps.
    pub(super) fn complete(&mut self) {
        if !self.has("app", "main") && !self.sections.contains_key("app") {
            return;
        }
        let servers: Vec<String> = self.names("server");
        for name in if servers.is_empty() { vec!["main".to_owned()] } else { servers } {
            let table = self.table("server", &name);
            if !table.contains_key("use") {
                table.insert("use".to_owned(), "http".into());
            }
            if table["use"] == "http" && !table.contains_key("listen") {
                table.insert("listen".to_owned(), json!(["127.0.0.1:8080"]));
            }
        }
        for section in ["server", "app", "middleware"] {
            for name in self.names(section) {
                let table = self.table(section, &name);
                *table = in_order(std::mem::take(table));
            }
        }
    }

    fn names(&self, section: &str) -> Vec<String> {
        let tables = self.sections.get(section).and_then(Value::as_object);
        tables.into_iter().flat_map(|tables| tables.keys().cloned()).collect()
    }

    /// The config file.
    pub(super) fn text(&self, source: &str, input: &ImportInput) -> String {
        let from = match input.name() {
            "" => format!("arguments of {source}"),
            name => format!("`{name}`"),
        };
        let mut text = format!("# Converted from {from} by `paster config import --from {source}`.\n");
        if !self.lost.is_empty() {
            text += "#\n# Not converted:\n";
            for lost in &self.lost {
                let place = if lost.line > 0 { format!("line {}: ", lost.line) } else { String::new() };
                for (index, line) in format!("{place}{}", lost.what).lines().enumerate() {
                    let mark = if index == 0 { "-" } else { " " };
                    text += &format!("# {mark} {line}\n");
                }
            }
        }
        for section in ORDER {
            let Some(tables) = self.sections.get(section).and_then(Value::as_object) else { continue };
            match section {
                "process" | "log" => write_table(&mut text, section, tables),
                _ => {
                    for (name, table) in tables {
                        let table = table.as_object().cloned().unwrap_or_default();
                        write_table(&mut text, &format!("{section}.{}", key(name)), &table);
                    }
                }
            }
        }
        formatted(Source::File("server.toml".into()), &text).unwrap_or(text)
    }
}

/// The keys of a table in the usual order: the kind first, the stack last.
fn in_order(mut table: Map<String, Value>) -> Map<String, Value> {
    let first = ["use", "listen", "app"].into_iter().filter_map(|key| table.shift_remove_entry(key));
    let mut ordered: Map<String, Value> = first.collect();
    let stack = table.shift_remove_entry("middleware");
    ordered.extend(table);
    ordered.extend(stack);
    ordered
}

/// Converts `wanted` to a valid name of a table.
pub(super) fn name_of(wanted: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = wanted.chars().map(valid).collect();
    match name.trim_matches('_') {
        "" => "main".to_owned(),
        name => name.to_owned(),
    }
}

fn write_table(text: &mut String, path: &str, table: &Map<String, Value>) {
    let is_outer = |value: &Value| value.is_object() && !is_short(value);
    // A table with only inner tables needs no header.
    if table.is_empty() || !table.values().all(is_outer) {
        *text += &format!("\n[{path}]\n");
    }
    let mut inner = Vec::new();
    for (name, value) in table {
        match value {
            Value::Object(below) if !is_short(value) => inner.push((name, below)),
            Value::Null => {}
            value => *text += &format!("{} = {}\n", key(name), literal(value)),
        }
    }
    for (name, below) in inner {
        write_table(text, &format!("{path}.{}", key(name)), below);
    }
}

/// Whether a table is written on the line of its key.
fn is_short(value: &Value) -> bool {
    let nested = value.as_object().is_some_and(|table| table.values().any(Value::is_object));
    !nested && literal(value).len() < INLINE_LIMIT
}

/// A key, in quotes if it needs them.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => toml::Value::from(name).to_string(),
    }
}

/// A value as TOML on one line.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) => {
            let items: Vec<_> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), literal(value))).collect();
            format!("{{ {} }}", items.join(", "))
        }
        other => other.to_string(),
    }
}
