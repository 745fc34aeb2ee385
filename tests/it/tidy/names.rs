//! Type names are unique in their crate: a name says which type is meant, also in an error or a search.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::sources;
use crate::support::root;

/// Names that several modules may have: conventions of this project, of clap and of the standard library.
const CONVENTIONS: [&str; 4] = ["Args", "Command", "Options", "Result"];

/// The definition of a type. An associated type does not match, because it is indented and not `pub`.
static DEFINITION: LazyLock<Regex> = LazyLock::new(|| {
    let visibility = r"(?:pub(?:\([a-z:_ ]+\))? )?";
    Regex::new(&format!(r"(?m)^(?:\s*{visibility}(?:struct|enum|trait) |{visibility}type )(\w+)")).unwrap()
});

#[test]
fn type_names_are_unique() {
    let plugins = ["notebook", "paster-sdk", "paster-abi", "paster-frames", "paster-python"];
    let crates = std::iter::once("src".to_owned()).chain(plugins.map(|name| format!("plugins/{name}/src")));
    for folder in crates {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in sources(&root().join(&folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            if path.ends_with("tests.rs") {
                continue;
            }
            let file = path.strip_prefix(root()).unwrap().display().to_string();
            for name in DEFINITION.captures_iter(code) {
                found.entry(name[1].to_owned()).or_default().insert(file.clone());
            }
        }
        assert!(found.len() > 5, "{folder}: {found:?}");
        found.retain(|name, files| files.len() > 1 && !CONVENTIONS.contains(&&**name));
        assert!(found.is_empty(), "give these types the nouns of their modules: {found:#?}");
    }
}
