//! `docs/kinds.md`: every kind and table with its options as Markdown, generated from the doc comments of the
//! options.

use std::fmt::Write;

use serde_json::Value;

use super::list::{OptionRow, Section, option_rows};
use super::sections::log::Log;
use super::sections::otlp::Otlp;
use super::sections::process::Process;
use super::sections::task::TaskOptions;
use crate::app::program::BackgroundOptions;
use crate::config::common_keys;

/// Returns the page. A test compares it with the file in the repository.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in Section::ALL {
        section_chapter(&mut page, section);
    }
    let tables = [
        ("[process]", PROCESS, option_rows(&schemars::schema_for!(Process))),
        ("[log]", LOG, option_rows(&schemars::schema_for!(Log))),
        ("[otlp]", OTLP, option_rows(&schemars::schema_for!(Otlp))),
        ("[program.NAME]", PROGRAM, option_rows(&schemars::schema_for!(BackgroundOptions))),
        ("[task.NAME]", TASK, option_rows(&schemars::schema_for!(TaskOptions))),
    ];
    for (name, about, options) in tables {
        put(&mut page, format_args!("\n## `{name}`\n\n{about}\n"));
        options_table(&mut page, &options);
    }
    page
}

const HEAD: &str = "# Kinds and their options

<!-- Written by `paster list --markdown`. Do not edit: change the doc comments of the options. -->

`use = \"KIND\"` names the kind of a server, an application or a middleware. `paster list` prints these lists, and
`paster list middleware timeout` prints the options of one kind. A dotted option belongs to an inner table: `tls.acme.domains` is the key
`domains` of `[server.NAME.tls.acme]`.
";

const PROCESS: &str = "The number of workers, their user, and when they are replaced.";
const LOG: &str = "The log of the supervisor, the workers and the side processes.";
const OTLP: &str = "Sends the log and the metrics of the whole server to an OpenTelemetry collector. The middleware `trace` sends spans.";
const PROGRAM: &str = "A program that does not serve requests, such as a queue worker. It runs once per server, beside the workers.";
const TASK: &str = "Work on a schedule. A task runs once per server, however many workers there are.";

fn section_chapter(page: &mut String, section: Section) {
    let (title, about) = match section {
        Section::Servers => ("Servers", "accepts requests and passes them to one app"),
        Section::Middleware => ("Middleware", "wraps an app. An app's key `middleware` lists the names"),
        Section::Apps => ("Applications", "answers requests"),
        Section::Resources => (
            "Resources",
            "describes a database or another store, which middleware and applications use by its name",
        ),
    };
    let table = section.table();
    put(page, format_args!("\n## {title}\n\nA table `[{table}.NAME]` {about}.\n"));
    let kinds = section.kinds();
    put(page, format_args!("\n| kind | what it does |\n|---|---|\n"));
    for kind in &kinds {
        put(page, format_args!("| [`{0}`](#{table}-{0}) | {1} |\n", kind.name, cell(kind.summary)));
    }
    let common: Vec<_> =
        common_keys(table).into_iter().flat_map(|(name, schema)| common_rows(name, &schema)).collect();
    if !common.is_empty() {
        put(page, format_args!("\nEvery `[{table}.NAME]` table also has:\n"));
        options_table(page, &common);
    }
    for kind in kinds {
        put(page, format_args!("\n### <a id=\"{table}-{0}\"></a>`{0}`\n\n{1}.\n", kind.name, kind.summary));
        if let Some(about) = &kind.about {
            put(page, format_args!("\n{about}\n"));
        }
        match kind.options.is_empty() {
            true => page.push_str("\nIt has no options.\n"),
            false => options_table(page, &kind.options),
        }
    }
}

fn options_table(page: &mut String, options: &[OptionRow]) {
    page.push_str("\n| option | takes | default | what it is for |\n|---|---|---|---|\n");
    for option in options {
        let default = match (&option.default, option.required) {
            (_, true) => "required".to_owned(),
            (Some(Value::Null) | None, _) => String::new(),
            (Some(default), _) => format!("`{}`", cell(&default.to_string())),
        };
        let (takes, text) = (cell(&option.takes), cell(&option.text));
        put(page, format_args!("| `{}` | {takes} | {default} | {text} |\n", option.name));
    }
}

/// A key that all tables of a section have, and the keys of its inner table.
fn common_rows(name: &str, schema: &Value) -> Vec<OptionRow> {
    let takes = match schema["type"].as_str() {
        Some("array") => "list of text",
        Some("integer") => "whole number",
        Some("object") => "table",
        _ => "text",
    };
    let mut rows = vec![OptionRow {
        name: name.into(),
        takes: takes.into(),
        required: false,
        default: schema.get("default").cloned(),
        text: schema["description"].as_str().unwrap_or_default().into(),
    }];
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        rows.extend(common_rows(&format!("{name}.{key}"), inner));
    }
    rows
}

/// Escapes the text of a table cell: a bar would end the cell, and `<` would start a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = page.write_fmt(text);
}
