//! Maps the name of a kind to its entry. Generic: it knows no part; each part's `mod.rs` owns its table.

use crate::error::Error;

/// One kind that a config may name in `use = "…"`.
pub struct Entry<B: 'static> {
    /// The name in the config: snake case.
    pub name: &'static str,
    /// One line on what it does, with a verb in the third person.
    pub summary: &'static str,
    /// JSON Schema of its `Options`, including doc comments.
    pub options: fn() -> schemars::Schema,
    /// Creates the part from its table.
    pub build: B,
}

/// The JSON Schema of an `Options` type, for [`Entry::options`].
pub fn options<T: schemars::JsonSchema>() -> schemars::Schema {
    schemars::schema_for!(T)
}

/// Finds `name` among `entries`; `what` is the word for the error (`server`, `middleware`).
/// # Errors
/// An unknown name, with the nearest one as help.
pub fn find<'a, B>(entries: &'a [Entry<B>], what: &str, name: &str) -> Result<&'a Entry<B>, Error> {
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
