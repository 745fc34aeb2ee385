//! The kinds of server, middleware and application, and their options, from the registries.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::app::APPS;
use crate::error::Result;
use crate::middleware::MIDDLEWARE;
use crate::registry::{self, Entry};
use crate::resource::RESOURCES;
use crate::server::SERVERS;

/// The sections of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Backends.
    Servers,
    /// Middleware.
    Middleware,
    /// Kinds of application.
    Apps,
    /// Kinds of resource.
    Resources,
}

/// One kind.
#[derive(Debug, Clone, Serialize)]
pub struct ListedKind {
    /// What `use = "…"` names.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// More about it, as Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Its options; those of inner tables have dotted names.
    pub options: Vec<OptionRow>,
}

/// One option of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct OptionRow {
    /// The key in the table.
    pub name: String,
    /// The type of its value, in words.
    #[serde(rename = "type")]
    pub takes: String,
    /// Whether it is required.
    pub required: bool,
    /// The default, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Its description.
    pub text: String,
}

impl Section {
    /// All sections, in the order in which they are listed.
    pub const ALL: [Section; 4] = [Section::Servers, Section::Middleware, Section::Apps, Section::Resources];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Section::Servers => "servers",
            Section::Middleware => "middleware",
            Section::Apps => "apps",
            Section::Resources => "resources",
        }
    }

    /// The config table of a kind: `[app.NAME]`.
    pub(super) fn table(self) -> &'static str {
        match self {
            Section::Servers => "server",
            Section::Middleware => "middleware",
            Section::Apps => "app",
            Section::Resources => "resource",
        }
    }

    /// Every kind, in the registry's order.
    pub fn kinds(self) -> Vec<ListedKind> {
        fn kinds<B>(entries: &[Entry<B>]) -> Vec<ListedKind> {
            entries.iter().map(kind).collect()
        }
        match self {
            Section::Servers => kinds(&SERVERS),
            Section::Middleware => kinds(&MIDDLEWARE),
            Section::Apps => kinds(&APPS),
            Section::Resources => kinds(&RESOURCES),
        }
    }

    /// The kind of this name.
    /// # Errors
    /// An unknown name, with the nearest one.
    pub fn kind(self, name: &str) -> Result<ListedKind> {
        Ok(match self {
            Section::Servers => kind(registry::find(&SERVERS, "server", name)?),
            Section::Middleware => kind(registry::find(&MIDDLEWARE, "middleware", name)?),
            Section::Apps => kind(registry::find(&APPS, "kind of app", name)?),
            Section::Resources => kind(registry::find(&RESOURCES, "kind of resource", name)?),
        })
    }

    /// Names and summaries, in lines of up to `columns` characters.
    pub fn text(self, columns: usize) -> String {
        let kinds = self.kinds();
        let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for kind in kinds {
            let mut name = kind.name;
            for line in wrapped(kind.summary, columns.saturating_sub(width + 2)) {
                text += &format!("{name:width$}  {line}\n");
                name = "";
            }
        }
        text
    }

    /// One kind with its options, for people, in lines of up to `columns` characters.
    pub fn describe(self, kind: &ListedKind, columns: usize) -> String {
        let mut text = format!("{}: {}\n\n", kind.name, kind.summary);
        if let Some(about) = &kind.about {
            text += &prose(about, columns);
        }
        if kind.options.is_empty() {
            text += "It has no options.\n";
            return text;
        }
        let table = format!("[{}.NAME]", self.table());
        // Writing to a string does not fail.
        let _ = writeln!(text, "Options of a `{table}` table with `use = \"{}\"`:", kind.name);
        for option in &kind.options {
            let default = match (&option.default, option.required) {
                (_, true) => ", required".to_owned(),
                (Some(Value::Null) | None, _) => String::new(),
                (Some(default), _) => format!(", default {default}"),
            };
            let _ = writeln!(text, "\n  {}: {}{default}", option.name, option.takes);
            for line in wrapped(&option.text, columns.saturating_sub(6)) {
                let _ = writeln!(text, "      {line}");
            }
        }
        text
    }
}

/// Markdown for a terminal: wrapped paragraphs, and indented blocks of code. Ends with an empty line.
fn prose(markdown: &str, columns: usize) -> String {
    let (mut text, mut paragraph, mut code) = (String::new(), String::new(), false);
    for line in markdown.lines().chain([""]) {
        let fence = line.starts_with("```");
        if code && !fence {
            text += &format!("    {line}\n");
        } else if line.is_empty() || fence {
            for line in wrapped(&std::mem::take(&mut paragraph), columns) {
                text += &format!("{line}\n");
            }
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push('\n');
            }
        } else {
            paragraph += &format!("{line} ");
        }
        code ^= fence;
    }
    text
}

/// Wraps words into lines of up to `columns` characters; a longer word gets its own line.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn kind<B>(entry: &Entry<B>) -> ListedKind {
    let schema = (entry.options)();
    // The first paragraph of an `Options` only names the kind.
    let about = schema.as_value()["description"].as_str().and_then(|text| text.split_once("\n\n"));
    let about = about.map(|(_, about)| about.trim().replace("[`", "`").replace("`]", "`"));
    ListedKind { name: entry.name, summary: entry.summary, about, options: option_rows(&schema) }
}

/// The options in a schema.
pub(super) fn option_rows(schema: &schemars::Schema) -> Vec<OptionRow> {
    let mut options = Vec::new();
    rows(schema.as_value(), schema.as_value(), "", &mut options);
    options
}

/// The options of the object `schema` of the document `root`, below the key `prefix`.
fn rows(root: &Value, schema: &Value, prefix: &str, found: &mut Vec<OptionRow>) {
    let schema = resolved(root, schema);
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let key = format!("{prefix}{name}");
        let inner = resolved(root, property);
        if inner["properties"].is_object() {
            rows(root, inner, &format!("{key}."), found);
            continue;
        }
        let mut text =
            property["description"].as_str().or(inner["description"].as_str()).unwrap_or_default().to_owned();
        for branch in inner["oneOf"].as_array().into_iter().flatten() {
            if let (Some(value), Some(about)) = (branch.get("const"), branch["description"].as_str()) {
                text += &format!(" {value}: {about}");
            }
        }
        found.push(OptionRow {
            takes: takes(root, property),
            required: required(name),
            default: property.get("default").cloned(),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            name: key,
        });
    }
}

/// Follows `$ref`, and unwraps "this or null".
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return root.pointer(pointer).unwrap_or(schema);
    }
    let not_null = |branch: &&Value| branch["type"] != "null";
    match schema["anyOf"].as_array().map(|branches| branches.iter().filter(not_null).collect::<Vec<_>>()) {
        Some(branches) if branches.len() == 1 => resolved(root, branches[0]),
        _ => schema,
    }
}

/// Describes the type of a value with this schema.
fn takes(root: &Value, schema: &Value) -> String {
    let schema = resolved(root, schema);
    let quoted = |values: Vec<&Value>| {
        let words: Vec<_> = values.iter().map(|value| value.to_string()).collect();
        words.join(" or ")
    };
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(values) = schema["enum"].as_array() {
        return quoted(values.iter().collect());
    }
    if let Some(branches) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let mut words: Vec<_> =
            branches.iter().filter(|b| b["type"] != "null").map(|b| takes(root, b)).collect();
        words.dedup();
        return words.join(" or ");
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
        }
        _ => return "any value".into(),
    };
    let word = |kind: &&str| match *kind {
        "string" if schema["format"] == "path" => "path".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of {}", takes(root, &schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("table of {}", takes(root, &schema["additionalProperties"]))
        }
        "object" => "table".to_owned(),
        other => other.to_owned(),
    };
    kinds.iter().map(word).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_and_option_has_a_name_of_its_own_and_text() {
        for section in Section::ALL {
            let kinds = section.kinds();
            let names: BTreeSet<_> = kinds.iter().map(|kind| kind.name).collect();
            assert_eq!(names.len(), kinds.len(), "{section:?}: a name stands twice");
            for kind in kinds {
                let place = format!("{section:?} {}", kind.name);
                assert!(
                    kind.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                    "{place}: not in snake case"
                );
                assert!(kind.summary.len() > 10 && !kind.summary.ends_with('.'), "{place}: summary");
                assert!(kind.summary.starts_with(char::is_uppercase), "{place}: summary");
                for option in kind.options {
                    assert!(!option.text.is_empty(), "{place}: {} has no text", option.name);
                    assert!(
                        option.takes != "any value" || option.name == "settings",
                        "{place}: {}",
                        option.name
                    );
                }
            }
        }
    }

    #[test]
    fn a_kind_described() {
        let kind = Section::Middleware.kind("compress").unwrap();
        insta::assert_snapshot!(Section::Middleware.describe(&kind, 80), @r#"
        compress: Compresses responses with zstd, br or gzip

        Options of a `[middleware.NAME]` table with `use = "compress"`:

          algorithms: list of "zstd" or "br" or "gzip", default ["zstd","br","gzip"]
              Content codings to offer.

          min_bytes: whole number, default 1024
              Do not compress responses shorter than this many bytes.

          level: "fastest" or "balanced" or "best", default "balanced"
              The compression level. "fastest": Fastest. "balanced": The usual level of
              each coding for dynamic responses. "best": Smallest size, several times
              slower.
        "#);
    }
}
