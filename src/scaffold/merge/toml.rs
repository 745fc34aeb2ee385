//! Merges TOML files by keys.

use serde_json::{Map, Value as Json};
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value};

use super::{ByKeys, Versions, may_replace, merged_list};

pub(super) fn merge(versions: Versions<'_>, replaced: &[String]) -> Result<ByKeys, String> {
    let parse = |text: &str| text.parse::<DocumentMut>().map_err(|error| error.message().to_owned());
    let (base, mut ours, theirs) = (parse(versions.base)?, parse(versions.ours)?, parse(versions.theirs)?);
    let mut merge = Merge { replaced, path: Vec::new(), conflicts: Vec::new() };
    merge.tables(Some(base.as_table()), ours.as_table_mut(), theirs.as_table());
    Ok(ByKeys { text: ours.to_string(), conflicts: merge.conflicts })
}

/// Whether two files have the same values. One that cannot be parsed is never the same.
pub(super) fn same(left: &str, right: &str) -> bool {
    let values = |text: &str| text.parse::<DocumentMut>().ok().map(|document| json(document.as_item()));
    values(left).is_some_and(|left| Some(left) == values(right))
}

struct Merge<'a> {
    replaced: &'a [String],
    path: Vec<String>,
    conflicts: Vec<String>,
}

impl Merge<'_> {
    fn tables(&mut self, base: Option<&dyn TableLike>, ours: &mut dyn TableLike, theirs: &dyn TableLike) {
        for (key, new) in theirs.iter() {
            self.path.push(key.to_owned());
            self.key(base.and_then(|base| base.get(key)), ours, key, new);
            self.path.pop();
        }
        let Some(base) = base else { return };
        for (key, old) in base.iter().filter(|(key, _)| !theirs.contains_key(key)) {
            if ours.get(key).is_some_and(|item| json(item) == json(old)) {
                ours.remove(key);
            }
        }
    }

    /// Merges one key that the new version has.
    fn key(&mut self, old: Option<&Item>, ours: &mut dyn TableLike, key: &str, new: &Item) {
        let Some(item) = ours.get_mut(key) else {
            // What the user removed stays removed, unless the skeleton never wrote it.
            if old.is_none() {
                ours.insert(key, inserted(new));
            }
            return;
        };
        if let (Some(mine), Some(new)) = (item.as_table_like_mut(), new.as_table_like()) {
            let before = mine.len();
            self.tables(old.and_then(Item::as_table_like), mine, new);
            if mine.len() != before
                && let Some(inline) = item.as_inline_table_mut()
            {
                inline.fmt();
            }
            return;
        }
        if json(item) == json(new) || old.is_some_and(|old| json(old) == json(new)) {
            return;
        }
        if let (Some(mine), Some(new)) = (item.as_array_mut(), new.as_array()) {
            return add_to_array(old.and_then(Item::as_array), mine, new);
        }
        if let (Some(mine), Some(new)) = (item.as_array_of_tables_mut(), new.as_array_of_tables()) {
            let old: Vec<_> = old.and_then(Item::as_array_of_tables).into_iter().flatten().cloned().collect();
            let (before, new): (Vec<_>, Vec<_>) =
                (mine.iter().cloned().collect(), new.iter().cloned().collect());
            let same = |left: &Table, right: &Table| json_table(left) == json_table(right);
            let mut merged = merged_list(&old, &before, &new, same);
            mine.clear();
            for table in &mut merged {
                mine.push(std::mem::take(table));
            }
            return;
        }
        if old.is_some_and(|old| json(old) == json(item)) || may_replace(self.replaced, &self.path) {
            set(item, new);
        } else {
            self.conflicts.push(self.path.join("."));
        }
    }
}

/// Sets a value, and leaves the space and the comment around the old one.
fn set(item: &mut Item, new: &Item) {
    match (item.as_value_mut(), new.as_value()) {
        (Some(mine), Some(new)) => {
            let decor = mine.decor().clone();
            *mine = new.clone();
            *mine.decor_mut() = decor;
        }
        _ => *item = inserted(new),
    }
}

/// Applies the change of a list. Its items keep their own lines if they have them.
fn add_to_array(old: Option<&Array>, mine: &mut Array, new: &Array) {
    let items = |array: &Array| array.iter().cloned().collect::<Vec<_>>();
    let same = |left: &Value, right: &Value| json_value(left) == json_value(right);
    let merged = merged_list(&old.map(items).unwrap_or_default(), &items(mine), &items(new), same);
    let prefix = mine.iter().last().and_then(|last| last.decor().prefix()?.as_str().map(str::to_owned));
    let known = items(mine);
    mine.clear();
    for mut value in merged {
        if !known.iter().any(|other| same(other, &value)) {
            let prefix = prefix.clone().unwrap_or_default();
            let prefix = if mine.is_empty() {
                prefix.trim_start_matches(' ').to_owned()
            } else if prefix.is_empty() {
                " ".to_owned()
            } else {
                prefix
            };
            value.decor_mut().set_prefix(prefix);
            value.decor_mut().set_suffix("");
        } else if mine.is_empty() && value.decor().prefix().and_then(|prefix| prefix.as_str()) == Some(" ") {
            value.decor_mut().set_prefix("");
        }
        mine.push_formatted(value);
    }
}

/// A copy for another document: its tables are written after those that are there already.
fn inserted(item: &Item) -> Item {
    let mut item = item.clone();
    match &mut item {
        Item::Table(table) => place(table),
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(place),
        _ => {}
    }
    item
}

fn place(table: &mut Table) {
    table.set_position(None);
    if !table.is_implicit() {
        let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        if !prefix.starts_with('\n') {
            let prefix = format!("\n{prefix}");
            table.decor_mut().set_prefix(prefix);
        }
    }
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => place(table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(place),
            _ => {}
        }
    }
}

/// The value without its format, for comparisons.
fn json(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => json_value(value),
        Item::Table(table) => json_table(table),
        Item::ArrayOfTables(tables) => tables.iter().map(json_table).collect(),
    }
}

fn json_table(table: &Table) -> Json {
    sorted(table.iter().map(|(key, item)| (key.to_owned(), json(item))))
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(value) => (*value.value()).into(),
        Value::Datetime(time) => Json::Array(vec!["datetime".into(), time.value().to_string().into()]),
        Value::Array(items) => items.iter().map(json_value).collect(),
        Value::InlineTable(table) => {
            sorted(table.iter().map(|(key, value)| (key.to_owned(), json_value(value))))
        }
    }
}

/// A table, whose order does not count.
fn sorted(entries: impl Iterator<Item = (String, Json)>) -> Json {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    Json::Object(entries.into_iter().collect::<Map<_, _>>())
}
