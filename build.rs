//! Lists the files of `skeletons/`, and the sources of the sdk, so that they are embedded in the program. Tells it its features.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let write = |name: &str, text: String| {
        std::fs::write(out.join(name), text).expect("the build's own folder takes it");
    };
    write("skeletons.rs", skeletons(&root));
    write("sdk.rs", sdk(&root));
    println!("cargo::rustc-env=PASTER_FEATURES={}", features());
}

/// The features of this build, as the argument of cargo's `--features`.
fn features() -> String {
    let variables =
        std::env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()));
    let features: Vec<_> = variables.map(|name| format!("paster/{name}")).collect();
    features.join(",")
}

/// Path and bytes of each manifest and source file of `paster-abi` and `paster-sdk`.
fn sdk(root: &Path) -> String {
    let plugins = root.join("plugins");
    let mut text = String::from("&[\n");
    for name in ["paster-abi", "paster-sdk"] {
        let mut files = vec![plugins.join(name).join("Cargo.toml")];
        gather(&plugins.join(name).join("src"), &mut files);
        println!("cargo::rerun-if-changed={}", plugins.join(name).join("src").display());
        for file in files {
            println!("cargo::rerun-if-changed={}", file.display());
            let path = file.strip_prefix(&plugins).expect("it lies in there");
            let (path, file) =
                (path.to_str().expect("names are UTF-8"), file.to_str().expect("names are UTF-8"));
            writeln!(text, "    ({path:?}, include_bytes!({file:?})),").expect("memory takes it");
        }
    }
    text + "]\n"
}

fn skeletons(root: &Path) -> String {
    let skeletons = root.join("skeletons");
    println!("cargo::rerun-if-changed={}", skeletons.display());
    let mut text = String::from("&[\n");
    for folder in sorted(&skeletons) {
        // Skeletons for `paster add` are one level deeper.
        let folders = if folder.ends_with("add") { sorted(&folder) } else { vec![folder] };
        for folder in folders {
            text += &skeleton(&skeletons, &folder);
        }
    }
    text + "]\n"
}

/// One skeleton: its name, and the parts that make the result.
fn skeleton(skeletons: &Path, folder: &Path) -> String {
    let name = folder.strip_prefix(skeletons).expect("it lies in there").to_str().expect("names are UTF-8");
    let mut text = format!("    ({name:?}, &[\n");
    let mut files = vec![folder.join("skeleton.toml")];
    for part in ["files", "partials"].map(|part| folder.join(part)) {
        if part.exists() {
            gather(&part, &mut files);
        }
    }
    for file in files {
        let path = file.strip_prefix(folder).expect("it lies in there").to_str().expect("names are UTF-8");
        let file_name = file.to_str().expect("names are UTF-8");
        let executable = executable(&file);
        writeln!(text, "        ({path:?}, {executable}, include_bytes!({file_name:?})),")
            .expect("memory takes it");
    }
    text + "    ]),\n"
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in sorted(folder) {
        let kind = std::fs::symlink_metadata(&path).expect("it was just listed").file_type();
        assert!(!kind.is_symlink(), "{}: a skeleton holds no symlinks", path.display());
        if kind.is_dir() {
            gather(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    paths
}

#[cfg(unix)]
fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).expect("it was just listed").permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn executable(_: &Path) -> bool {
    false
}
