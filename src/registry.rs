//! Maps the name of a kind to its entry. Generic: it knows no part; each part's `mod.rs` owns its table.

use std::sync::LazyLock;

use crate::error::Error;

/// A table of kinds, made when it is first used.
pub type Entries<K> = LazyLock<Vec<Entry<K>>>;

/// One kind that a config may name in `use = "…"`.
pub struct Entry<K> {
    /// The name in the config: snake case.
    pub name: &'static str,
    /// One line on what it does, with a verb in the third person.
    pub summary: &'static str,
    /// JSON Schema of its `Options`, including doc comments.
    pub options: fn() -> schemars::Schema,
    /// How a part of this kind is built, and everything that others must know about it.
    pub kind: K,
}

impl<K> Entry<K> {
    /// The entry of a kind with the options `O`.
    pub fn new<O: schemars::JsonSchema>(name: &'static str, summary: &'static str, kind: K) -> Entry<K> {
        Entry { name, summary, options: || schemars::schema_for!(O), kind }
    }
}

/// The error for a kind or command that this build lacks. The cargo feature has its name.
pub fn lacking(name: &str) -> Error {
    Error::config(format!("`{name}` is not in this build of paster"))
        .help(format!("build paster with the feature `{name}`: `cargo install --path . --features {name}`"))
}

/// Finds `name` among `entries`; `what` is the word for the error (`server`, `middleware`).
/// # Errors
/// An unknown name, with the nearest one as help.
pub fn find<'a, K>(entries: &'a [Entry<K>], what: &str, name: &str) -> Result<&'a Entry<K>, Error> {
    entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let error = Error::config(format!("unknown {what} `{name}`"));
        match nearest(name, entries.iter().map(|entry| entry.name)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => {
                let names: Vec<_> = entries.iter().map(|entry| format!("`{}`", entry.name)).collect();
                error.help(format!("known: {}", names.join(", ")))
            }
        }
    })
}

/// The candidate nearest to `name`, if it is near enough to be a typo.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            let (short, long) = (candidate.len().min(name.len()), candidate.len().max(name.len()));
            *distance <= long.div_ceil(3) && *distance < short
        })
        .min()
        .map(|(_, candidate)| candidate)
}
