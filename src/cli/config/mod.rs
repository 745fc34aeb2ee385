//! `paster config`: the values in force, where they come from, what can be set, and other files.

mod fmt;
mod import;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{note, print};
use super::report;
use super::source::SourceArgs;
use crate::config::{Config, Explained, KeyPath};
use crate::error::{Error, Result};
use crate::ops::detect::PathStyle;
use crate::ops::schema;

/// Shows the merged config, where its values come from, and its schema; formats and imports config files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster config show site/server.toml --profile production
  paster config show --defaults                             include the defaults
  paster config show blog > blog/server.toml                start a config file for the application in a directory
  paster config show --app static:./public > server.toml    start a config file
  paster config explain server.main.threads site/server.toml
  paster config schema > server.schema.json
  paster config fmt --check
  paster config import nginx.conf > server.toml

An editor uses the schema if a config's first line is `#:schema ./server.schema.json`.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the merged config, secrets masked
    Show {
        #[command(flatten)]
        source: SourceArgs,
        /// Show the config that `paster serve --app KIND:…` uses, instead of a file
        #[arg(long, value_name = "KIND:…", conflicts_with = "config")]
        app: Option<String>,
        /// Also show the defaults of all options that are not set
        #[arg(long)]
        defaults: bool,
        /// Print it as JSON
        #[arg(long, conflicts_with = "toml")]
        json: bool,
        /// Print it as TOML (default)
        #[arg(long)]
        toml: bool,
    },
    /// Print every source that sets a key, the effective one first
    Explain {
        /// The key, such as `server.main.threads`, or a table for all keys in it
        key: String,
        #[command(flatten)]
        source: SourceArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON Schema of the config file, for editors
    Schema,
    /// Format config files
    Fmt(fmt::Args),
    /// Convert the config of another server (nginx, gunicorn, …) to one for paster and print it
    Import(import::Args),
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Show { source, app, defaults, json, .. } => {
                let (found, named) = source.with_app(app.as_deref(), PathStyle::Relative)?;
                if let Some(name) = named {
                    let error = Error::usage(format!("`--app {name}` does not name a kind"));
                    return Err(error.help("name one, such as `--app static:./public`").into());
                }
                let config = Config::load(&found.sources)?;
                if let Some(text) = found.note {
                    note(&format!("{text}\n"));
                }
                print(&show(&config, defaults, json)?)
            }
            Command::Explain { key, source, json } => {
                let config = Config::load(&source.sources()?)?;
                print(&explain(&config, &key, json)?)
            }
            Command::Fmt(args) => args.run(),
            Command::Import(args) => args.run(),
            Command::Schema => print(&format!("{:#}\n", schema::schema())),
        }
    }
}

fn show(config: &Config, defaults: bool, json: bool) -> Result<String> {
    let masked = match defaults {
        true => config.masked_with(&schema::defaults(config))?,
        false => config.masked(),
    };
    if json {
        return Ok(format!("{masked:#}\n"));
    }
    toml::to_string_pretty(&escaped(masked))
        .map_err(|error| Error::new("the merged config cannot be written as TOML").because(error).into())
}

/// The tree as it stands in a file, where `$${` is `${`.
fn escaped(tree: Value) -> Value {
    match tree {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(table) => table.into_iter().map(|(key, value)| (key, escaped(value))).collect(),
        other => other,
    }
}

fn explain(config: &Config, key: &str, json: bool) -> Result<String> {
    let found = match config.explain(key) {
        Ok(found) => found,
        // No source sets it: show the default.
        Err(errors) => {
            let key = KeyPath::parse(key)?;
            match (schema::written_name(config, &key), schema::default_of(config, &key)) {
                (Some(written), _) => config.explain(&written.to_string())?,
                (None, Some(value)) => vec![Explained { key, value, places: Vec::new() }],
                (None, None) => return Err(errors),
            }
        }
    };
    if json {
        let list: Vec<Value> = found.iter().map(|one| explained_value(config, one)).collect();
        return Ok(format!("{:#}\n", Value::from(list)));
    }
    let mut text = String::new();
    for one in &found {
        text += &format!("{} = {}\n", one.key, literal(&one.value));
        let mut rows: Vec<[String; 3]> = one
            .places
            .iter()
            .map(|place| {
                let via = place.via.clone().unwrap_or_default();
                [report::place(&place.origin), literal(&place.written), via]
            })
            .collect();
        if let Some(default) = schema::default_of(config, &one.key) {
            rows.push(["default".into(), literal(&default), String::new()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [place, written, via] in &rows {
            let row = format!("  {place:<first$}  {written:<second$}  {via}");
            text += row.trim_end();
            text.push('\n');
        }
    }
    Ok(text)
}

fn explained_value(config: &Config, one: &Explained) -> Value {
    let sources: Vec<Value> = one
        .places
        .iter()
        .map(|place| {
            let mut value = report::origin_value(&place.origin);
            value["written"] = place.written.clone();
            value["via"] = place.via.clone().map_or(Value::Null, Value::from);
            value
        })
        .collect();
    let default = schema::default_of(config, &one.key).unwrap_or(Value::Null);
    json!({ "key": one.key.to_string(), "value": one.value, "sources": sources, "default": default })
}

/// A value as TOML on one line.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) if table.is_empty() => "{}".into(),
        Value::Object(table) => {
            let items: Vec<_> =
                table.iter().map(|(key, value)| format!("{key} = {}", literal(value))).collect();
            format!("{{ {} }}", items.join(", "))
        }
        Value::Null => "(table)".into(),
        other => other.to_string(),
    }
}
