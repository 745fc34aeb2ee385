//! Parses `skeleton.toml` into a [`Manifest`], with the place of each error.

use std::ops::Range;

use serde::Deserialize;
use toml_edit::{Document, Item};

use super::{About, Case, FileRule, Manifest, Migration, PostStep, Var};
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;
use crate::scaffold::location;

/// Keys that the format reserves and this version does not support, each with its meaning.
const LATER: [(&str, &str, &str); 1] = [("test", "golden", "comparing the whole tree")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    skeleton: About,
    #[serde(default, deserialize_with = "in_order")]
    vars: Vec<Var>,
    #[serde(default)]
    file: Vec<FileRule>,
    #[serde(default)]
    post: Vec<PostStep>,
    #[serde(default)]
    migrate: Vec<Migration>,
    #[serde(default)]
    test: Vec<Case>,
}

impl Manifest {
    /// Parses `text`, the content of the file `place`.
    /// # Errors
    /// Every error, with its line: invalid TOML, keys that are unknown or not supported yet, conditions and
    /// patterns that do not parse, references to variables that are not defined above, defaults that break
    /// their own rules.
    pub fn parse(place: &str, text: &str) -> Result<Manifest> {
        Manifest::parse_on(place, text, &[])
    }

    /// The same, for a skeleton that extends those of `bases`, the most general one first.
    pub(in crate::scaffold) fn parse_on(place: &str, text: &str, bases: &[&Manifest]) -> Result<Manifest> {
        let reader = ManifestReader { place, text };
        let document = Document::parse(text)
            .map_err(|error| reader.error(error.span(), format!("invalid TOML: {}", error.message())))?;
        reader.refuse_later_keys(&document)?;
        let raw: Raw = toml_edit::de::from_str(text).map_err(|error| reader.read_error(&error))?;
        let mut manifest = Manifest {
            about: raw.skeleton,
            vars: raw.vars,
            files: raw.file,
            posts: raw.post,
            migrations: raw.migrate,
            tests: raw.test,
        };
        let (own_posts, mut faults) = (manifest.posts.len(), Vec::new());
        bases.iter().rev().for_each(|base| manifest.inherit(base, own_posts));
        manifest.check(&mut |keys: &[&str], index, message: String| {
            let mut item = Some(document.as_item());
            for key in keys {
                item = item.and_then(|item| item.get(key));
                if let (Some(Item::ArrayOfTables(_)), Some(index)) = (item, index) {
                    item = item.and_then(|item| item.get::<usize>(index));
                }
            }
            faults.push(reader.error(item.and_then(Item::span), message));
        });
        let mut tests = Vec::new();
        for (index, case) in manifest.tests.iter().enumerate() {
            match case.combinations() {
                Ok(all) => tests.extend(all),
                Err(why) => {
                    let tests = document.get("test").and_then(|tests| tests.get(index));
                    let matrix = tests.and_then(|test| test.get("matrix"));
                    faults.push(reader.error(matrix.and_then(Item::span), why));
                }
            }
        }
        Errors::check(faults)?;
        manifest.tests = tests;
        // What happens first is what the more general ones do.
        manifest.posts.rotate_left(own_posts);
        Ok(manifest)
    }
}

/// What the skeleton of this manifest extends, before the rest of it is read.
/// # Errors
/// Invalid TOML; a list that is none.
pub(in crate::scaffold) fn extends(place: &str, text: &str) -> Result<Vec<String>> {
    let reader = ManifestReader { place, text };
    let document = Document::parse(text)
        .map_err(|error| reader.error(error.span(), format!("invalid TOML: {}", error.message())))?;
    let Some(item) = document.get("skeleton").and_then(|about| about.get("extends")) else {
        return Ok(Vec::new());
    };
    let names =
        item.as_array().map(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    let names: Option<Vec<String>> = names.flatten();
    Ok(names.ok_or_else(|| reader.error(item.span(), "`extends` must be a list of skeletons: [\"axum\"]"))?)
}

/// `[vars]`, in the order of the file.
fn in_order<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Var>, D::Error> {
    struct InOrder;
    impl<'de> serde::de::Visitor<'de> for InOrder {
        type Value = Vec<Var>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a table of variables")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<Var>, A::Error> {
            let mut vars = Vec::new();
            while let Some((name, var)) = map.next_entry::<String, Var>()? {
                vars.push(Var { name, ..var });
            }
            Ok(vars)
        }
    }
    deserializer.deserialize_map(InOrder)
}

/// The text being parsed, for errors with places.
struct ManifestReader<'a> {
    place: &'a str,
    text: &'a str,
}

impl ManifestReader<'_> {
    fn error(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Error {
        Error::new(message).at(span.map(|span| location::of_span(self.place, self.text, &span)))
    }

    /// An error from serde, with the nearest known key.
    fn read_error(&self, error: &toml_edit::de::Error) -> Error {
        let message = error.message().lines().next().unwrap_or_default();
        let found = self.error(error.span(), message);
        // "unknown field `kint`, expected one of `a`, `b`": the quoted words are the names.
        let names: Vec<_> = message.split('`').skip(1).step_by(2).collect();
        match names.split_first() {
            Some((name, known)) if message.starts_with("unknown ") => {
                match nearest(name, known.iter().copied()) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found,
                }
            }
            _ => found,
        }
    }

    /// Refuses keys that this version knows but does not support, rather than ignoring them.
    fn refuse_later_keys(&self, document: &Document<&str>) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |item: &Item, key: &str, what: &str| {
            let fault = self
                .error(item.span(), format!("`{key}` ({what}) is not supported by this version of paster"));
            faults.push(fault.help(format!("remove `{key}`")));
        };
        for (table, key, what) in LATER {
            match document.get(table) {
                Some(Item::ArrayOfTables(tables)) => {
                    tables.iter().filter_map(|table| table.get(key)).for_each(|item| refuse(item, key, what));
                }
                Some(table) => {
                    if let Some(item) = table.get(key) {
                        refuse(item, key, what);
                    }
                }
                None => {}
            }
        }
        Errors::check(faults)
    }
}
