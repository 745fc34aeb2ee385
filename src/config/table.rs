//! One table of the config, as its part reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::OldName;
use super::{Files, KeyPath, NamedPath, Provenance, SECTIONS, common_keys, join, schema};
use crate::error::{Error, Errors, Origin, Result, Source};
use crate::registry::{self, Entry};

/// A table such as `[middleware.staff_only]`, with the origins of its keys.
#[derive(Clone)]
pub struct Table {
    section: String,
    name: String,
    value: Value,
    provenance: Provenance,
    folder: PathBuf,
    files: Files,
    /// The options that were given under old names, of a [current](Table::current) table.
    old_names: Vec<OldName>,
    /// The schema of its options, once they have been read.
    schema: Option<Arc<Value>>,
}

/// The options of a table.
pub struct ReadOptions<T> {
    /// The options, without wrong entries of lists.
    pub options: T,
    /// The table, with the current names of the options.
    pub table: Table,
    /// The errors about entries that were left out.
    pub wrong_entries: Vec<Error>,
}

impl Table {
    pub(super) fn new(
        section: &str,
        name: &str,
        value: Value,
        provenance: Provenance,
        folder: &Path,
    ) -> Self {
        Table {
            section: section.into(),
            name: name.into(),
            value,
            provenance,
            folder: folder.into(),
            files: Files::default(),
            old_names: Vec::new(),
            schema: None,
        }
    }

    pub(super) fn opened_by(self, files: Files) -> Self {
        Table { files, ..self }
    }

    /// How the files that the table names are opened.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// A table that is not in a file: for middleware given only by its kind, and for tests.
    pub fn of_kind(section: &str, kind: &str) -> Self {
        Table::new(section, kind, serde_json::json!({ "use": kind }), Provenance::default(), Path::new("."))
    }

    /// `main` of `[app.main]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `app.main`, as its header reads.
    pub fn path(&self) -> KeyPath {
        join(self.section.as_str(), &self.name)
    }

    /// What `use = "…"` names.
    /// # Errors
    /// If there is none.
    pub fn kind(&self) -> Result<&str> {
        match self.value.get("use").and_then(Value::as_str) {
            Some(kind) => Ok(kind),
            None => Err(self
                .error("", format!("`[{}]` has no `use`", self.path()))
                .help("name its kind, as in `use = \"…\"`: `paster list` shows the kinds")
                .into()),
        }
    }

    /// The entry of its kind among `entries`; `what` is the word for errors (`server`, `middleware`).
    /// # Errors
    /// If it names no kind, or an unknown one.
    pub fn kind_in<'a, K>(&self, entries: &'a [Entry<K>], what: &str) -> Result<&'a Entry<K>> {
        Ok(registry::find(entries, what, self.kind()?).map_err(|error| error.at(self.origin("use")))?)
    }

    /// The table's values, as merged.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Deserializes the table as `T`, without `use` and the [keys](common_keys) that every table of its section
    /// may have. `T` must have `#[serde(deny_unknown_fields)]`. Resolves relative [paths](super::ConfigPath).
    /// # Errors
    /// Every unknown, missing or ill-typed key, with its place; an option under its old and its current name.
    pub fn options<T: DeserializeOwned + JsonSchema>(&self) -> Result<T> {
        let ReadOptions { options, wrong_entries, .. } = self.read()?;
        Errors::check(wrong_entries).map(|()| options)
    }

    /// The same, with the table under whose keys the options are found: renamed options have their current
    /// names. Wrong entries of lists are returned beside the options, so that more errors can be found.
    /// # Errors
    /// As [`Table::options`].
    pub fn read<T: DeserializeOwned + JsonSchema>(&self) -> Result<ReadOptions<T>> {
        let schema = schemars::schema_for!(T).to_value();
        let table = self.current(&schema);
        let (value, wrong_entries) = table.check_options(&schema)?;
        let options = schema::read(&table, &KeyPath::default(), value)?;
        Ok(ReadOptions { options, table: Table { schema: Some(schema.into()), ..table }, wrong_entries })
    }

    /// The table with the current names of all options, by the schema of its kind.
    pub fn current(&self, schema: &Value) -> Table {
        let mut table = self.clone();
        let compare = |old: &KeyPath, new: &KeyPath| self.strength(old).cmp(&self.strength(new));
        table.old_names = schema::rename(schema, &mut table.value, &KeyPath::default(), &compare);
        for OldName { old, new, .. } in table.old_names.iter().filter(|name| !name.doubled) {
            table.provenance.rename(old, new);
        }
        table
    }

    /// How strong the source of a value is, as far as it can differ from that of the same option under another name.
    fn strength(&self, key: &KeyPath) -> u8 {
        self.provenance.get(key).and_then(|entry| entry.places.first()).map_or(0, super::Occurrence::strength)
    }

    /// The other names under which a [current](Table::current) table was given its options, and the current ones, as paths
    /// in the config.
    pub fn other_names(&self) -> impl Iterator<Item = (KeyPath, KeyPath)> {
        let whole = |key: &KeyPath| self.path().followed_by(key);
        self.old_names
            .iter()
            .filter(|name| !name.doubled)
            .map(move |name| (whole(&name.old), whole(&name.new)))
    }

    /// The options that a [current](Table::current) table gives under old names: the place of the name, the old name and the
    /// current one.
    pub fn old_keys(&self) -> Vec<(Origin, String, String)> {
        let last = |key: &KeyPath| key.names().last().unwrap_or_default().to_owned();
        let deprecated = self.old_names.iter().filter(|name| !name.short && !name.doubled);
        deprecated
            .filter_map(|name| Some((self.key_origin(&name.new)?, last(&name.old), last(&name.new))))
            .collect()
    }

    /// Warnings about the options that a [current](Table::current) table gives under old names.
    pub fn deprecations(&self) -> Vec<String> {
        let warning = |name: &OldName| {
            let place = self.key_origin(&name.new).map(|origin| format!("{origin}: ")).unwrap_or_default();
            format!(
                "{place}the key `{}` in `[{}]` is deprecated: write `{}`",
                name.old,
                self.path(),
                name.new
            )
        };
        self.old_names.iter().filter(|name| !name.short).map(warning).collect()
    }

    /// Checks the same keys against a kind's schema, and resolves its paths.
    fn check_options(&self, schema: &Value) -> Result<(Value, Vec<Error>)> {
        let mut value = self.value.clone();
        if let Some(table) = value.as_object_mut() {
            if SECTIONS.contains(&self.section.as_str()) {
                table.remove("use");
            }
            for (key, _) in common_keys(&self.section) {
                table.remove(key);
            }
        }
        let doubled = self.old_names.iter().filter(|name| name.doubled);
        let mut errors: Vec<_> = doubled.map(|name| self.doubled(name)).collect();
        match schema::check(self, &KeyPath::default(), schema, value) {
            Ok(checked) => Errors::check(errors).map(|()| checked),
            Err(found) => {
                errors.extend(found);
                Errors::check(errors).map(|()| Default::default())
            }
        }
    }

    fn doubled(&self, OldName { old, new, short, .. }: &OldName) -> Error {
        Error::config(format!("`{old}` and `{new}` are two names of the same option"))
            .at(self.key_origin(old))
            .help(match short {
                true => "remove one of them".to_owned(),
                false => format!("remove `{old}`, which is its old name"),
            })
    }

    /// The paths in this table by the schema of its kind, absolute. If the table has errors, those that can
    /// be determined.
    pub fn paths(&self, schema: &Value) -> Vec<NamedPath> {
        schema::paths(self, schema, self.value.clone())
    }

    /// Checks the inner table `key` (`settings`) against a JSON Schema that is known only at run time, and
    /// makes its strings of `format: path` absolute. An absent table counts as empty.
    /// # Errors
    /// Every error in the table, with its place; an invalid schema.
    pub fn resolve(&self, schema: &Value, key: &str) -> Result<Value> {
        let value = match key {
            "" => Some(&self.value),
            key => self.value.get(key),
        };
        let mut value = value.cloned().unwrap_or_else(|| Value::Object(Default::default()));
        let base = key.into();
        let compare = |old: &KeyPath, new: &KeyPath| self.strength(old).cmp(&self.strength(new));
        let mut table = self.clone();
        table.old_names = schema::rename(schema, &mut value, &base, &compare);
        Errors::check(
            table.old_names.iter().filter(|name| name.doubled).map(|name| self.doubled(name)).collect(),
        )?;
        for OldName { old, new, .. } in &table.old_names {
            table.provenance.rename(old, new);
        }
        let (value, wrong_entries) = schema::check(&table, &base, schema, value)?;
        Errors::check(wrong_entries).map(|()| value)
    }

    /// Where `key` of this table was written (`""`: the table itself). If the key was not written, the place
    /// of what contains it.
    pub fn origin(&self, key: impl Into<KeyPath>) -> Option<Origin> {
        self.place(&key.into()).map(|place| place.origin.clone())
    }

    /// The place of the name of `key`, for errors about the key rather than its value.
    pub fn key_origin(&self, key: impl Into<KeyPath>) -> Option<Origin> {
        self.place(&key.into()).map(|place| place.key.as_ref().unwrap_or(&place.origin).clone())
    }

    /// A configuration error about `key` of this table.
    pub fn error(&self, key: impl Into<KeyPath>, message: impl Into<String>) -> Error {
        Error::config(message).at(self.origin(key))
    }

    /// Whether the value of `key` contained a `${…}`.
    pub(super) fn is_expanded(&self, key: &KeyPath) -> bool {
        self.provenance.get(key).is_some_and(|entry| entry.expanded)
    }

    fn place(&self, key: &KeyPath) -> Option<&super::Occurrence> {
        debug_assert!(self.has_option(key), "`[{}]` has no option `{key}`", self.path());
        self.provenance.along(key).filter_map(|entry| entry.places.first()).last()
    }

    /// Whether its kind has an option `key`, as far as its options are known.
    fn has_option(&self, key: &KeyPath) -> bool {
        let Some(schema) = &self.schema else { return true };
        let keys: Vec<&str> = key.names().collect();
        let common =
            |key: &&str| *key == "use" || common_keys(&self.section).iter().any(|(name, _)| name == key);
        keys.first().is_some_and(common) || schema::has_key(schema, schema, &keys)
    }

    /// Whether the value of `key` must not be shown.
    pub(super) fn is_secret(&self, key: &KeyPath) -> bool {
        self.provenance.along(key).any(|entry| entry.secret)
    }

    /// The folder that a relative path in `key` is resolved against: the folder of the file that wrote it.
    pub fn base(&self, key: &KeyPath) -> &Path {
        match self.place(key).map(|place| &place.origin.source) {
            Some(Source::File(file)) => file.parent().unwrap_or(Path::new("/")),
            _ => &self.folder,
        }
    }
}

/// Shows only the name, because the table may contain secrets.
impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table([{}])", self.path())
    }
}
