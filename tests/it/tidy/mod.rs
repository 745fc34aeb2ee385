//! The project's rules that a program can check: imports point to lower floors and not in circles, `unsafe`
//! stays at the border, every dependency is used, and a test uses each config key.

mod import_graph;
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::import_graph::ImportGraph;
use crate::support::root;

/// The top modules of `src/` by floor, from the lowest (see `ARCHITECTURE.md`). On floors 0 and 1 a module
/// may also import those before it in its line; on the others it may import none of its own floor.
const FLOORS: [&[&str]; 6] = [
    &[
        "error",
        "escape",
        "socket_path",
        "inflight",
        "body",
        "environ",
        "spans",
        "health",
        "metrics",
        "session",
        "caches",
        "profilers",
    ],
    &["registry", "codec", "store", "context", "config", "tls_client"],
    &["server", "middleware", "app", "plugin", "resource", "scaffold"],
    &["ops"],
    &["cli"],
    &["main"],
];

/// The floor of a top module, and its position there.
fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, modules)| {
        modules.iter().position(|name| *name == module).map(|place| (floor, place))
    })
}

/// Whether one top module may import another.
fn may_import(from: &str, to: &str) -> bool {
    let (Some(above), Some(below)) = (place(from), place(to)) else { return true };
    from == to
        || [("app", "plugin"), ("middleware", "plugin")].contains(&(from, to))
        || below.0 < above.0
        || (above.0 < 2 && below < above)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The imports between the files of `src/`.
fn imports() -> ImportGraph {
    let src = root().join("src");
    ImportGraph::read(&src, &sources(&src))
}

#[test]
fn imports_point_to_lower_floors() {
    for (from, to, expected) in [
        ("server", "config", true),
        ("config", "server", false),
        ("server", "app", false),
        ("app", "plugin", true),
        ("body", "error", true),
        ("error", "body", false),
        ("ops", "ops", true),
    ] {
        assert_eq!(may_import(from, to), expected, "{from} {to}");
    }
    let module = |file: &str| file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    let mut wrong = Vec::new();
    for (file, targets) in imports().edges() {
        let from = module(file);
        assert!(place(&from).is_some() || from == "lib", "src/{file}: a new top module needs a floor");
        for (target, path) in targets {
            if from != "lib" && !may_import(&from, &module(target)) {
                wrong.push(format!("src/{file}: {from} imports {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the files of a folder may not import: supervisor and worker meet only in messages, and what both use
/// knows neither.
const SEPARATE: [(&str, &[&str]); 6] = [
    ("ops/sections/", &["ops/serve/"]),
    ("ops/control/", &["ops/serve/"]),
    ("ops/serve/process/", &["ops/serve/supervisor/", "ops/serve/worker/", "ops/serve/ipc/"]),
    ("ops/serve/ipc/", &["ops/serve/supervisor/", "ops/serve/worker/"]),
    ("ops/serve/supervisor/", &["ops/serve/worker/"]),
    ("ops/serve/worker/", &["ops/serve/supervisor/"]),
];

#[test]
fn supervisor_and_worker_are_separate() {
    let graph = imports();
    let mut wrong = Vec::new();
    for (folder, others) in SEPARATE {
        let files = graph.edges().into_iter().filter(|(file, _)| file.starts_with(folder));
        let files: Vec<_> = files.collect();
        assert!(!files.is_empty(), "src/{folder} has moved");
        for (file, targets) in files {
            let apart = |(target, _): &(&str, String)| others.iter().any(|other| target.starts_with(other));
            wrong.extend(
                targets.into_iter().filter(apart).map(|(_, path)| format!("src/{file} imports {path}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folder whose files belong together: `server/http`, `ops/serve`, or the top module itself.
fn family(file: &str) -> String {
    let folders: Vec<&str> = file.split('/').rev().skip(1).collect();
    folders.into_iter().rev().take(2).collect::<Vec<_>>().join("/")
}

#[test]
fn no_more_than_three_files_import_each_other() {
    let graph = imports();
    let mut wrong = Vec::new();
    for circle in graph.circles() {
        let families: BTreeSet<_> = circle.iter().map(|file| family(file)).collect();
        // The first one is the shortest: a folder may belong to the module that contains it.
        let first = families.first().unwrap();
        let related = families.iter().all(|family| family.starts_with(first.as_str()));
        if circle.len() > 3 || !related {
            wrong.push(circle.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    assert!(wrong.is_empty(), "these files import each other in a circle:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_only_at_the_border() {
    let src = root().join("src");
    for path in sources(&src) {
        if path.starts_with(src.join("plugin")) {
            continue;
        }
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap();
            assert!(
                !code.contains("unsafe "),
                "{}:{}: unsafe outside src/plugin",
                path.display(),
                number + 1
            );
        }
    }
}

/// The schema of a config is checked before serde reads it, so an alias would only be another unknown key.
#[test]
fn no_option_has_an_alias_of_serde() {
    for path in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let alias = text.lines().any(|line| line.contains("#[serde(") && mentions(line, "alias"));
        assert!(!alias, "{}: rename an option with `x-renamed-from` (CONTRIBUTING.md)", path.display());
    }
}

/// The text of the Rust files of the crate in `folder` that are in one of `parts`, including files used by
/// `#[path]`.
fn text_of(folder: &Path, parts: &[&str]) -> String {
    let mut text = String::new();
    let mut files: Vec<PathBuf> = parts.iter().map(|part| folder.join(part)).collect();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let inner = path != *folder && path.join("Cargo.toml").exists();
            if !inner {
                files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && let Ok(file) = std::fs::read_to_string(&path)
        {
            let included = file.lines().filter_map(|line| line.trim().strip_prefix("#[path = \""));
            let included = included.filter_map(|rest| rest.split('"').next());
            files.extend(included.map(|name| path.parent().unwrap().join(name)));
            text += &file;
        }
    }
    text
}

/// Whether `text` contains `name` as a word.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word))
}

#[test]
fn every_dependency_is_used() {
    let root = root();
    let mut folders = vec![root.clone(), root.join("benches/peer"), root.join("xtask"), root.join("fuzz")];
    for group in ["plugins", "tests/fixtures/plugins"] {
        folders.extend(std::fs::read_dir(root.join(group)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut unused = Vec::new();
    for folder in folders {
        let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        let manifest: toml::Table = manifest.parse().unwrap();
        let code = text_of(&folder, &["src", "fuzz_targets"]);
        let tests = text_of(&folder, &["src", "tests", "benches"]);
        let build = text_of(&folder, &["build.rs"]);
        for (section, text) in
            [("dependencies", &code), ("dev-dependencies", &tests), ("build-dependencies", &build)]
        {
            let Some(section) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            let names = section.keys().filter(|name| !mentions(text, &name.replace('-', "_")));
            unused.extend(names.map(|name| format!("{}: `{name}`", folder.display())));
        }
    }
    assert!(unused.is_empty(), "no code uses these dependencies:\n{}", unused.join("\n"));
}

/// The keys that tables of a JSON Schema may have.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    match schema {
        serde_json::Value::Object(object) => object.values().for_each(|value| keys(value, found)),
        serde_json::Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// The text of every file below `folder`.
fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { texts(&path) } else { read_lossy(&path) }).collect()
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

#[test]
fn a_test_names_every_key_of_the_config() {
    let output = crate::support::paster().args(["config", "schema"]).output().unwrap();
    let schema = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = BTreeSet::new();
    keys(&schema, &mut found);
    assert!(found.contains("listen") && found.len() > 100, "{found:?}");
    // A line end in a string literal is not part of the word after it.
    let tests = texts(&root().join("tests")).replace("\\n", " ");
    // `drain` is `drain_secs` with its unit in the value.
    let all = found.clone();
    let units = ["secs", "millis", "bytes", "mib"];
    let is_short = |key: &str| units.iter().any(|unit| all.contains(&format!("{key}_{unit}")));
    found.retain(|key| !is_short(key) && !mentions(&tests, key));
    assert!(found.is_empty(), "no test names these keys of the config: {found:?}");
}
