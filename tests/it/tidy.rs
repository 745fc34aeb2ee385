//! The house rules that a machine can check: imports point to lower floors, no forbidden words, file sizes.

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
        "error" | "body" | "environ" | "inflight" | "counts" | "spans" | "vitals" => 0,
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
