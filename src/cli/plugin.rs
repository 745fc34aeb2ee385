//! `paster plugin`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::plugin::{Info, Library};

/// Inspects plugin libraries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster plugin inspect target/debug/libhello.so")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Inspect(Inspect),
}

/// Prints what a plugin library declares, without creating an app.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster plugin inspect target/debug/libhello.so
  paster plugin inspect libhello.so --json | jq .settings_schema")]
struct Inspect {
    /// The library
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Command::Inspect(Inspect { file, json }) = self.command;
        let info = Library::load(&file)?.info().clone();
        let text = match json {
            true => {
                let failed = |error| Error::new("cannot write the plugin's data as JSON").because(error);
                serde_json::to_string_pretty(&info).map_err(failed)? + "\n"
            }
            false => render(&info),
        };
        super::output::print(&text)
    }
}

fn render(info: &Info) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let functions: Vec<_> = info.functions.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{} {}\n  ABI             version {}, table of {} bytes\n  functions       {}\n  side processes  {}\n",
        info.name,
        info.version,
        info.abi_version,
        info.size_bytes,
        list(&functions),
        list(&info.side_processes),
    );
    let rows = info.settings_schema.as_ref().map(settings);
    match rows.as_deref() {
        None => text += "  settings        any (it exports no schema)\n",
        Some([]) => text += "  settings        none\n",
        Some(rows) => {
            text += "  settings\n";
            let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let (name, kind, default) = (width(0), width(1), width(2));
            for [a, b, c, about] in rows {
                let line = format!("    {a:name$}  {b:kind$}  {c:default$}  {about}");
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
    }
    text
}

/// Name, type, default and the first line of the description of each setting.
fn settings(schema: &Value) -> Vec<[String; 4]> {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
    };
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let default = match &property["default"] {
                Value::Null if required(name) => "required".to_owned(),
                Value::Null => "optional".to_owned(),
                value => format!("default {value}"),
            };
            let about = property["description"].as_str().unwrap_or_default();
            [
                name.clone(),
                kind(schema, property),
                default,
                about.lines().next().unwrap_or_default().to_owned(),
            ]
        })
        .collect()
}

/// The type of a setting: `string`, `integer or null`, `one of "a", "b"`.
fn kind(schema: &Value, property: &Value) -> String {
    if let Some(target) =
        property["$ref"].as_str().and_then(|path| schema.pointer(path.trim_start_matches('#')))
    {
        return kind(schema, target);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = property[choice].as_array() {
            let kinds: Vec<_> = options.iter().map(|option| kind(schema, option)).collect();
            return kinds.join(" or ");
        }
    }
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<_> = values.iter().map(Value::to_string).collect();
        return format!("one of {}", values.join(", "));
    }
    if !property["const"].is_null() {
        return property["const"].to_string();
    }
    let kind = |value: &Value| match (value.as_str(), property["format"].as_str()) {
        (Some("string"), Some("path")) => "path".to_owned(),
        (Some("object"), _) => "table".to_owned(),
        (Some("array"), _) => "list".to_owned(),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".to_owned(),
    };
    match &property["type"] {
        Value::Array(kinds) => kinds.iter().map(kind).collect::<Vec<_>>().join(" or "),
        value => kind(value),
    }
}
