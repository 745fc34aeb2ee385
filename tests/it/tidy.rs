//! The house rules that a machine can check: imports point to lower floors, `unsafe` stays at the border, and every
//! dependency is used.

use std::path::{Path, PathBuf};

use crate::support::root;

/// Floor of each top module of `src/` (see `ARCHITECTURE.md`).
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "main" => 5,
        "cli" => 4,
        "ops" => 3,
        "server" | "middleware" | "app" | "plugin" | "scaffold" => 2,
        "config" | "registry" | "context" | "codec" => 1,
        "error" | "escape" | "body" | "environ" | "inflight" | "counts" | "spans" | "vitals" => 0,
        _ => return None,
    })
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
        let Some(from) = floor(&module) else {
            assert_eq!(module, "lib", "src/{inner}: a new top module needs a floor");
            continue;
        };
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            for part in line.split("crate::").skip(1) {
                let target: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(to) = floor(&target) else { continue };
                let sideways = module == "app" && target == "plugin";
                let wrong_way = to > from || (to == from && from >= 2);
                if target != module && wrong_way && !sideways {
                    wrong.push(format!("src/{inner}:{}: {module} imports {target}", number + 1));
                }
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

/// Text of the Rust files of the crate in `folder` that lie in one of `parts`, with what they include by `#[path]`.
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

/// Whether `text` has `name` as a word.
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
