//! Three-way merges: what a skeleton changed is applied to a file that the user may have changed too.
//!
//! Text is merged by lines. TOML and JSON are merged by keys, so that a table can be added anywhere in a file that
//! the skeleton did not write. Pure functions of the three texts.

mod json;
mod toml;

use serde::{Deserialize, Serialize};
use similar::TextMerge;

/// How a file is merged with an existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeKind {
    /// By lines.
    #[default]
    Text,
    /// By the keys of a TOML file. Comments and the order of the existing file stay.
    Toml,
    /// By the keys of a JSON file.
    Json,
    /// The file is a set of lines, such as `.gitignore`: missing ones are appended.
    Lines,
}

/// The three texts of a merge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions<'a> {
    /// What the skeleton wrote before; empty if it wrote nothing.
    pub(super) base: &'a str,
    /// What exists.
    pub(super) ours: &'a str,
    /// What the skeleton writes now.
    pub(super) theirs: &'a str,
}

/// A merged text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Both changes are in it.
    Clean(String),
    /// Both changed the same place.
    Conflict {
        /// The text, with conflict markers as git writes them.
        marked: String,
        /// The keys with two values, if the file was merged by keys.
        keys: Vec<String>,
    },
}

/// Applies the changes from `base` to `theirs` to `ours`. `replaced` are patterns of keys that `theirs` may
/// overwrite (`server.*.app`); `label` names the new version in conflict markers.
/// # Errors
/// A file that is to be merged by keys and cannot be parsed, with the parser's message.
pub(super) fn merge(
    kind: MergeKind,
    versions: Versions<'_>,
    replaced: &[String],
    label: &str,
) -> Result<Merged, String> {
    let by_keys = match kind {
        MergeKind::Text => return Ok(lines(versions, label)),
        MergeKind::Lines => return Ok(Merged::Clean(set_of_lines(versions))),
        MergeKind::Toml => toml::merge(versions, replaced)?,
        MergeKind::Json => json::merge(versions, replaced)?,
    };
    let ByKeys { text, conflicts } = by_keys;
    if !conflicts.is_empty() {
        let marked = match lines(versions, label) {
            Merged::Conflict { marked, .. } => marked,
            // Lines that do not touch can still give one key two values.
            Merged::Clean(_) => conflict_of_all(versions, label),
        };
        return Ok(Merged::Conflict { marked, keys: conflicts });
    }
    // Merging by lines also keeps what changed in comments. It is right if it gives the same values.
    if !versions.base.is_empty()
        && let Merged::Clean(by_lines) = lines(versions, label)
        && match kind {
            MergeKind::Toml => toml::same(&by_lines, &text),
            _ => json::same(&by_lines, &text),
        }
    {
        return Ok(Merged::Clean(by_lines));
    }
    Ok(Merged::Clean(text))
}

/// The result of a merge by keys.
struct ByKeys {
    text: String,
    /// The keys that both changed: `app.main.use`.
    conflicts: Vec<String>,
}

fn lines(versions: Versions<'_>, label: &str) -> Merged {
    let mut merge = TextMerge::from_lines(versions.base, versions.ours, versions.theirs);
    merge.labels("before", "yours", label);
    let marked = merge.to_string();
    if merge.is_conflicted() { Merged::Conflict { marked, keys: Vec::new() } } else { Merged::Clean(marked) }
}

/// One conflict over the whole file.
fn conflict_of_all(versions: Versions<'_>, label: &str) -> String {
    let ended = |text: &str| {
        if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
    };
    format!("<<<<<<< yours\n{}=======\n{}>>>>>>> {label}\n", ended(versions.ours), ended(versions.theirs))
}

/// `ours` without the lines that `theirs` dropped, and with those that it added.
fn set_of_lines(versions: Versions<'_>) -> String {
    let has = |text: &str, line: &str| text.lines().any(|other| other.trim_end() == line.trim_end());
    let dropped = |line: &str| has(versions.base, line) && !has(versions.theirs, line);
    let mut text = String::new();
    for line in versions.ours.lines().filter(|line| !dropped(line)) {
        text += line;
        text += "\n";
    }
    for line in versions.theirs.lines() {
        if !has(versions.base, line) && !has(versions.ours, line) {
            text += line;
            text += "\n";
        }
    }
    text
}

/// Whether a text still has the markers of an earlier merge.
pub(super) fn has_markers(text: &str) -> bool {
    let starts = |mark: &str| text.lines().any(|line| line.starts_with(mark));
    starts("<<<<<<< ") && starts("=======") && starts(">>>>>>> ")
}

/// Whether `key` may be overwritten: `*` in a pattern stands for one part of the key.
fn may_replace(replaced: &[String], key: &[String]) -> bool {
    replaced.iter().any(|pattern| {
        let parts: Vec<_> = pattern.split('.').collect();
        parts.len() == key.len() && parts.iter().zip(key).all(|(part, name)| *part == "*" || part == name)
    })
}

/// A list after the change from `base` to `theirs`: without what that removed, and with what it added.
fn merged_list<T: Clone>(base: &[T], ours: &[T], theirs: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let within = |list: &[T], item: &T| list.iter().any(|other| same(other, item));
    let kept = ours.iter().filter(|item| !within(base, item) || within(theirs, item));
    let added = theirs.iter().filter(|item| !within(base, item) && !within(ours, item));
    kept.chain(added).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: MergeKind, base: &str, ours: &str, theirs: &str) -> String {
        match merge(kind, Versions { base, ours, theirs }, &["server.*.app".into()], "made 2") {
            Ok(Merged::Clean(text)) => text,
            Ok(Merged::Conflict { marked, keys }) => format!("{keys:?}\n{marked}"),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn lines_of_both_are_kept_and_conflicts_are_marked() {
        let base = "one\ntwo\nthree\nfour\n";
        assert_eq!(
            check(MergeKind::Text, base, "ONE\ntwo\nthree\nfour\n", "one\ntwo\nthree\nFOUR\n"),
            "ONE\ntwo\nthree\nFOUR\n"
        );
        insta::assert_snapshot!(check(MergeKind::Text, base, "one\n2\nthree\nfour\n", "one\nTWO\nthree\nfour\n"), @r"
        []
        one
        <<<<<<< yours
        2
        =======
        TWO
        >>>>>>> made 2
        three
        four
        ");
        assert_eq!(check(MergeKind::Lines, "a\nb\n", "b\nmine", "b\nc\n"), "b\nmine\nc\n");
        assert!(has_markers("a\n<<<<<<< yours\n=======\n>>>>>>> x\n") && !has_markers("=======\n"));
    }

    #[test]
    fn tables_are_added_to_a_toml_file() {
        let ours = "# My server\n[server.main]\nuse = \"http\" # plain\n\n[app.main]\nuse = \"mount\"\nroutes = { \"/\" = \"a\" }\n\n[app.a]\nuse = \"respond\"\n\n[log]\nformat = \"json\"\n";
        let theirs = "[server.main]\napp = \"site\"\n\n[app.main.routes]\n\"/b\" = \"b\"\n\n# The new one.\n[app.b]\nuse = \"static\"\npublish_dir = \"b\"\n\n[[rule]]\nname = \"x\"\n";
        insta::assert_snapshot!(check(MergeKind::Toml, "", ours, theirs), @r#"
        # My server
        [server.main]
        use = "http" # plain
        app = "site"

        [app.main]
        use = "mount"
        routes = { "/" = "a", "/b" = "b" }

        [app.a]
        use = "respond"

        # The new one.
        [app.b]
        use = "static"
        publish_dir = "b"

        [log]
        format = "json"

        [[rule]]
        name = "x"
        "#);
        // A second time nothing changes.
        let once = check(MergeKind::Toml, "", ours, theirs);
        assert_eq!(check(MergeKind::Toml, "", &once, theirs), once);
    }

    #[test]
    fn keys_change_remove_and_collide() {
        let base = "[app.main]\nuse = \"a\"\nold = 1\nlist = [\"x\", \"y\"]\n[server.main]\napp = \"one\"\n";
        let ours = "[app.main]\nuse = \"a\"   # mine\nold = 1\nlist = [\"x\", \"y\", \"mine\"]\n[server.main]\napp = \"two\"\n";
        let theirs = "[app.main]\nuse = \"b\"\nlist = [\"y\", \"z\"]\n[server.main]\napp = \"three\"\n";
        insta::assert_snapshot!(check(MergeKind::Toml, base, ours, theirs), @r#"
        [app.main]
        use = "b"   # mine
        list = ["y", "mine", "z"]
        [server.main]
        app = "three"
        "#);
        insta::assert_snapshot!(check(MergeKind::Toml, "", "[app.b]\nuse = \"x\"\n", "[app.b]\nuse = \"y\"\n"), @r#"
        ["app.b.use"]
        <<<<<<< yours
        [app.b]
        use = "x"
        =======
        [app.b]
        use = "y"
        >>>>>>> made 2
        "#);
        // What the user removed stays removed; comments that the skeleton changed are taken.
        assert_eq!(check(MergeKind::Toml, "a = 1\nb = 1\n", "b = 1\n", "a = 2\nb = 1\n"), "b = 1\n");
        assert_eq!(
            check(
                MergeKind::Toml,
                "# old\na = 1\n\nb = 1\n",
                "# old\na = 1\n\nb = 2\n",
                "# new\na = 1\n\nb = 1\n"
            ),
            "# new\na = 1\n\nb = 2\n"
        );
        assert!(check(MergeKind::Toml, "", "a = \n", "b = 1\n").starts_with("error: "));
    }

    #[test]
    fn json_keeps_its_order_and_indentation() {
        let ours = "{\n    \"name\": \"mine\",\n    \"scripts\": {\n        \"start\": \"x\"\n    }\n}\n";
        let theirs = "{\"scripts\": {\"test\": \"y\"}, \"files\": [\"a\"]}";
        insta::assert_snapshot!(check(MergeKind::Json, "", ours, theirs), @r#"
        {
            "name": "mine",
            "scripts": {
                "start": "x",
                "test": "y"
            },
            "files": [
                "a"
            ]
        }
        "#);
        assert!(check(MergeKind::Json, "", "{\"a\": 1}", "{\"a\": 2}").starts_with("[\"a\"]"));
        assert!(check(MergeKind::Json, "", "[", "{}").starts_with("error: "));
    }
}
