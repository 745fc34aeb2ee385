//! The project's rules that a program can check: imports point to lower floors, `unsafe` stays at the border,
//! every dependency is used, and a test uses each config key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::root;

/// The top modules of `src/` by floor, from the lowest (see `ARCHITECTURE.md`). On floors 0 and 1 a module
/// may also import those before it in its line; on the others it may import none of its own floor.
const FLOORS: [&[&str]; 6] = [
    &["error", "escape", "socket_path", "inflight", "body", "environ", "spans", "health", "metrics"],
    &["registry", "codec", "context", "config"],
    &["server", "middleware", "app", "plugin", "scaffold"],
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
    from == to || (from, to) == ("app", "plugin") || below.0 < above.0 || (above.0 < 2 && below < above)
}

/// The top modules that a file names after `crate::`, each with its line; including those in a group,
/// `crate::{a::b, c}`.
fn imports(text: &str) -> Vec<(usize, String)> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
        if text[begin..at].contains("//") || text[..at].ends_with('$') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, word(rest)));
            continue;
        };
        let mut depth = 0;
        let parts = group.split_inclusive([',', '{', '}']);
        let mut first = true;
        for part in parts {
            if depth == 0 && std::mem::replace(&mut first, false) {
                found.push((line, word(part)));
            }
            match part.chars().last() {
                Some('{') => depth += 1,
                Some('}') if depth == 0 => break,
                Some('}') => depth -= 1,
                _ => first = depth == 0,
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

#[test]
fn groups_of_imports_are_read() {
    let check = |text: &str, expected: &[(usize, &str)]| {
        let expected: Vec<_> = expected.iter().map(|(line, name)| (*line, (*name).to_owned())).collect();
        assert_eq!(imports(text), expected, "{text}");
    };
    check("use crate::app::{a, b};\n// crate::cli\nfn a() { crate::ops::b() }", &[(1, "app"), (3, "ops")]);
    check(
        "\nuse crate::{\n    app::{A, b::{C, D}, E}, cli, ops as o,\n    main,\n};",
        &[(2, "app"), (2, "cli"), (2, "ops"), (2, "main")],
    );
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

#[test]
fn imports_point_to_lower_floors() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let inner = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let module = inner.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        assert!(place(&module).is_some() || module == "lib", "src/{inner}: a new top module needs a floor");
        for (line, target) in imports(&std::fs::read_to_string(&path).unwrap()) {
            if !may_import(&module, &target) {
                wrong.push(format!("src/{inner}:{line}: {module} imports {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    found.retain(|key| !mentions(&tests, key));
    assert!(found.is_empty(), "no test names these keys of the config: {found:?}");
}
