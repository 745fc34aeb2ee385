//! The JSON Schema of the whole config file, generated from the kinds' options, and the defaults in it.

use serde_json::{Map, Value, json};

use crate::app::APPS;
use crate::app::program::BackgroundOptions;
use crate::config::{
    Config, KeyPath, SECTIONS, TOP_LEVEL, Table, TopLevel, allow_units, common_keys, old_names, profile_keys,
};
use crate::middleware::MIDDLEWARE;
use crate::ops::sections::log::Log;
use crate::ops::sections::otlp::Otlp;
use crate::ops::sections::process::Process;
use crate::ops::sections::task::TaskOptions;
use crate::registry::Entry;
use crate::resource::RESOURCES;
use crate::server::SERVERS;

/// The data of one kind that the schema needs.
struct KindSchema {
    name: &'static str,
    summary: &'static str,
    options: fn() -> schemars::Schema,
}

/// The kinds of a section.
fn kinds(section: &str) -> Vec<KindSchema> {
    fn listed<K>(entries: &[Entry<K>]) -> Vec<KindSchema> {
        let kind = |entry: &Entry<K>| KindSchema {
            name: entry.name,
            summary: entry.summary,
            options: entry.options,
        };
        entries.iter().map(kind).collect()
    }
    match section {
        "server" => listed(&SERVERS),
        "app" => listed(&APPS),
        "middleware" => listed(&MIDDLEWARE),
        "resource" => listed(&RESOURCES),
        _ => Vec::new(),
    }
}

/// Every table of `config` with a known kind, under the current names of its options, and their schema.
pub(crate) fn tables(config: &Config) -> Vec<(Table, schemars::Schema)> {
    let mut found = Vec::new();
    for section in SECTIONS {
        let kinds = kinds(section);
        let tables = config.names(section).into_iter().filter_map(|name| config.table(section, name));
        found.extend(tables.filter_map(|table| {
            let kind = kinds.iter().find(|kind| table.kind().is_ok_and(|name| name == kind.name))?;
            Some((table, (kind.options)()))
        }));
    }
    found.extend(config.section("process").map(|table| (table, schemars::schema_for!(Process))));
    found.extend(config.section("log").map(|table| (table, schemars::schema_for!(Log))));
    found.extend(config.section("otlp").map(|table| (table, schemars::schema_for!(Otlp))));
    let programs = config.names("program").into_iter().filter_map(|name| config.table("program", name));
    found.extend(programs.map(|table| (table, schemars::schema_for!(BackgroundOptions))));
    let tasks = config.names("task").into_iter().filter_map(|name| config.table("task", name));
    found.extend(tasks.map(|table| (table, schemars::schema_for!(TaskOptions))));
    found.into_iter().map(|(table, schema)| (table.current(schema.as_value()), schema)).collect()
}

/// Warnings about the options that `config` gives under old names.
pub fn deprecations(config: &Config) -> Vec<String> {
    tables(config).iter().flat_map(|(table, _)| table.deprecations()).collect()
}

/// The key under which `config` sets an option that also has another name: `process.drain` for `process.drain_secs`.
pub fn written_name(config: &Config, key: &KeyPath) -> Option<KeyPath> {
    let mut names = tables(config).into_iter().flat_map(|(table, _)| table.other_names().collect::<Vec<_>>());
    names.find(|(_, current)| current == key).map(|(written, _)| written)
}

/// The current name of an option that `config` sets under another one.
fn current_name(config: &Config, key: &KeyPath) -> Option<KeyPath> {
    let mut names = tables(config).into_iter().flat_map(|(table, _)| table.other_names().collect::<Vec<_>>());
    names.find(|(written, _)| written == key).map(|(_, current)| current)
}

/// The schema of `server.toml` for editors: `use` selects the kind's options.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    for TopLevel { name, .. } in &TOP_LEVEL {
        properties.insert((*name).into(), top_level(name, &mut definitions));
    }
    let known = definitions.clone();
    definitions.values_mut().chain(properties.values_mut()).for_each(|schema| allow_single(schema, &known));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "paster's config file, server.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// The schema of a key at the top level.
fn top_level(key: &str, definitions: &mut Map<String, Value>) -> Value {
    let tables_of = |table: Value| json!({ "type": "object", "additionalProperties": table });
    match key {
        "include" => described(json!({ "type": "array", "items": { "type": "string" } }), INCLUDE),
        "vars" => described(json!({ "type": "object" }), VARS),
        "profile" => {
            // A profile contains parts of tables: the rest of each is in the files.
            let parts: Map<_, _> =
                profile_keys().map(|key| (key.into(), json!({ "type": "object" }))).collect();
            let profile = json!({ "type": "object", "properties": parts, "additionalProperties": false });
            described(tables_of(profile), PROFILE)
        }
        "process" => hoisted(schemars::schema_for!(Process).to_value(), key, definitions),
        "log" => hoisted(schemars::schema_for!(Log).to_value(), key, definitions),
        "otlp" => hoisted(schemars::schema_for!(Otlp).to_value(), key, definitions),
        "task" => {
            let task = hoisted(schemars::schema_for!(TaskOptions).to_value(), key, definitions);
            described(tables_of(task), TASKS)
        }
        "program" => {
            let program = hoisted(schemars::schema_for!(BackgroundOptions).to_value(), key, definitions);
            described(tables_of(program), PROGRAMS)
        }
        section => {
            let about = match section {
                "server" => "Servers by name. A server accepts connections and calls one app.",
                "app" => "Applications by name.",
                "resource" => "Databases and stores by name, for middleware and applications.",
                _ => "Middleware by name, for the `middleware` lists of apps.",
            };
            described(tables_of(section_schema(section, definitions)), about)
        }
    }
}

const INCLUDE: &str =
    "Files that this one overrides, relative to it. A file with `?` at the end is optional.";
const VARS: &str = "Values for `${name}` in any string of the config.";
const PROGRAMS: &str = "Programs by name that do not serve requests, such as queue workers.";
const TASKS: &str = "Scheduled tasks by name, run once per server.";
const PROFILE: &str = "Tables merged over the files if selected by `--profile NAME` or PASTER_PROFILE.";

/// The schema of one table of a section.
fn section_schema(section: &str, definitions: &mut Map<String, Value>) -> Value {
    let mut choices = Vec::new();
    let mut names = Vec::new();
    for kind in kinds(section) {
        let definition = format!("{section}.{}", kind.name);
        let mut options = hoisted((kind.options)().to_value(), &definition, definitions);
        if let Some(table) = options.as_object_mut() {
            table.remove("$schema");
            table.remove("title");
            let properties = table.entry("properties").or_insert_with(|| json!({}));
            if let Some(properties) = properties.as_object_mut() {
                properties.values_mut().for_each(allow_references);
                properties.insert("use".into(), json!({ "const": kind.name }));
                for (key, mut schema) in common_keys(section) {
                    allow_references(&mut schema);
                    properties.insert(key.into(), schema);
                }
            }
        }
        let reference = format!("#/$defs/{}", pointer(&definition));
        definitions.insert(definition, options);
        names.push(json!({ "const": kind.name, "description": kind.summary }));
        choices.push(json!({
            "if": { "properties": { "use": { "const": kind.name } }, "required": ["use"] },
            "then": { "$ref": reference },
        }));
    }
    names.push(json!({
        "type": "string",
        "pattern": format!("^{section}:"),
        "description": "Another table of this section, whose keys this one overrides.",
    }));
    let about = "The kind, or another table to inherit from.";
    json!({
        "type": "object",
        "properties": { "use": { "anyOf": names, "description": about } },
        "required": ["use"],
        "allOf": choices,
    })
}

fn described(mut schema: Value, about: &str) -> Value {
    schema["description"] = about.into();
    schema
}

/// Also allows a string with `${…}` in place of a number or boolean.
fn allow_references(schema: &mut Value) {
    let reference = json!({ "type": "string", "pattern": "\\$\\{" });
    // A number with a unit is a choice already.
    let is_number = |branch: &Value| branch["type"] == "integer" || branch["type"] == "number";
    if let Some(branches) = schema.get_mut("anyOf").and_then(Value::as_array_mut)
        && branches.iter().any(|branch| {
            is_number(branch)
                || branch["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "integer"))
        })
    {
        branches.push(reference);
        return;
    }
    let plain = |kind: &Value| ["integer", "number", "boolean"].iter().any(|name| kind == name);
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(plain),
        kind => plain(kind),
    };
    if !kinds {
        return;
    }
    let mut outer = Map::new();
    if let Some(table) = schema.as_object_mut() {
        for key in ["description", "default"] {
            if let Some(value) = table.remove(key) {
                outer.insert(key.into(), value);
            }
        }
    }
    outer.insert("anyOf".into(), json!([schema.take(), reference]));
    *schema = outer.into();
}

/// Also allows the old names of options, as deprecated, in `schema` and everything below it.
fn allow_old_names(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let mut old = Map::new();
        for (key, property) in properties.iter_mut() {
            let names: Vec<_> = old_names(property).map(str::to_owned).collect();
            if let Some(property) = property.as_object_mut() {
                property.remove("x-renamed-from");
            }
            for name in names {
                let mut property = described(property.clone(), &format!("Old name of `{key}`."));
                property["deprecated"] = true.into();
                old.insert(name, property);
            }
        }
        properties.extend(old);
    }
    match schema {
        Value::Object(table) => table.values_mut().for_each(allow_old_names),
        Value::Array(list) => list.iter_mut().for_each(allow_old_names),
        _ => {}
    }
}

/// Also allows one string in place of a list of strings, in `schema` and everything below it.
fn allow_single(schema: &mut Value, definitions: &Map<String, Value>) {
    match schema {
        Value::Object(table) => table.values_mut().for_each(|inner| allow_single(inner, definitions)),
        Value::Array(list) => list.iter_mut().for_each(|inner| allow_single(inner, definitions)),
        _ => return,
    }
    let items = schema.get("items").map(|items| match items.get("$ref").and_then(Value::as_str) {
        Some(reference) => reference.strip_prefix("#/$defs/").and_then(|name| definitions.get(name)),
        None => Some(items),
    });
    let of_strings = items.flatten().is_some_and(|items| items["type"] == "string");
    if !of_strings {
        return;
    }
    let mut outer = Map::new();
    if let Some(table) = schema.as_object_mut() {
        for key in ["description", "default"] {
            outer.extend(table.remove(key).map(|value| (key.to_owned(), value)));
        }
    }
    outer.insert("anyOf".into(), json!([schema.take(), { "type": "string" }]));
    *schema = outer.into();
}

/// Moves the definitions of one kind's schema into those of the whole schema, each under a unique name.
fn hoisted(mut schema: Value, name: &str, definitions: &mut Map<String, Value>) -> Value {
    allow_units(&mut schema);
    allow_old_names(&mut schema);
    let own = schema.as_object_mut().and_then(|table| table.remove("$defs"));
    let prefix = format!("{name}.");
    rename(&mut schema, &prefix);
    if let Some(Value::Object(own)) = own {
        for (key, mut definition) in own {
            rename(&mut definition, &prefix);
            definitions.insert(format!("{prefix}{key}"), definition);
        }
    }
    schema
}

fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(table) => {
            if let Some(Value::String(reference)) = table.get_mut("$ref")
                && let Some(key) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/$defs/{}{key}", pointer(prefix));
            }
            table.values_mut().for_each(|inner| rename(inner, prefix));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| rename(inner, prefix)),
        _ => {}
    }
}

/// Escapes a name for a JSON Pointer.
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The defaults of all options that no source sets, in the tables that `config` has.
pub fn defaults(config: &Config) -> Value {
    let mut tree = json!({});
    for (table, schema) in tables(config) {
        let root = schema.as_value();
        let mut found = unset_options(root, root, table.value());
        let path = table.path();
        let names: Vec<&str> = path.names().collect();
        for (key, common) in names.first().into_iter().flat_map(|section| common_keys(section)) {
            if let Some(default) = common.get("default").filter(|_| names.len() > 1) {
                found.insert(key.into(), default.clone());
            }
        }
        let place = names.iter().fold(&mut tree, |table, name| &mut table[*name]);
        *place = found.into();
    }
    tree
}

/// The defaults in `schema` of the options that `table` does not set.
fn unset_options(root: &Value, schema: &Value, table: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let missing = properties.filter_map(|(key, property)| {
        let set = table.get(key);
        let reference = property.get("$ref").and_then(Value::as_str);
        let inner = reference.and_then(|reference| root.pointer(reference.strip_prefix('#')?));
        let value = match (set, inner) {
            (Some(set @ Value::Object(_)), Some(inner)) => unset_options(root, inner, set).into(),
            (Some(_), _) => return None,
            (None, _) => property.get("default").or_else(|| inner?.get("default"))?.clone(),
        };
        Some((key.clone(), without_nulls(value)?))
    });
    missing.collect()
}

/// `value` without the options that have no default, which TOML cannot express. `None` if nothing is left.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(table) => {
            let left = table.into_iter().filter_map(|(key, value)| Some((key, without_nulls(value)?)));
            let left: Map<_, _> = left.collect();
            (!left.is_empty()).then(|| left.into())
        }
        other => Some(other),
    }
}

/// The default of a key in a table with a known kind, such as `server.main.threads` of the kind `http`.
pub fn default_of(config: &Config, key: &KeyPath) -> Option<Value> {
    let key = &current_name(config, key).unwrap_or_else(|| key.clone());
    let mut keys = key.names();
    let section = keys.next()?;
    let schema = match section {
        "process" => schemars::schema_for!(Process),
        "log" => schemars::schema_for!(Log),
        "otlp" => schemars::schema_for!(Otlp),
        "program" => {
            config.table("program", keys.next()?)?;
            schemars::schema_for!(BackgroundOptions)
        }
        "task" => {
            config.table("task", keys.next()?)?;
            schemars::schema_for!(TaskOptions)
        }
        section => {
            let name = keys.next()?;
            let table = config.table(section, name)?;
            let kind = table.kind().ok()?;
            (kinds(section).into_iter().find(|known| known.name == kind)?.options)()
        }
    };
    let keys: Vec<&str> = keys.collect();
    if let [key] = &keys[..]
        && let Some((_, common)) = common_keys(section).into_iter().find(|(common, _)| common == key)
    {
        return common.get("default").cloned();
    }
    let root = schema.as_value();
    let mut at = root;
    for key in &keys {
        at = at.get("properties")?.get(key)?;
        if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
            // A default beside the reference takes precedence.
            if at.get("default").is_none() {
                at = root.pointer(reference.strip_prefix('#')?)?;
            }
        }
    }
    at.get("default").filter(|value| !value.is_null()).cloned()
}
