//! Projects over time: sources of skeletons, `paster add`, `update`, `undo`, and the commands for authors.

mod add;
mod authors;
mod extends;
mod hostile;
mod plan_file;
mod sources;
mod update;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{folder, paster};

/// Exit code, standard output, standard error of `paster ARGS` in `folder`.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = paster().args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Expects success; returns standard output.
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = run(folder, args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

/// Expects the exit code `code` and each of `words` in the message, and that nothing in `folder` changes.
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = tree(folder);
    let (found, _, err) = run(folder, args);
    assert_eq!(found, code, "{args:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: `{word}` is missing in\n{err}");
    }
    assert!(tree(folder) == before, "{args:?} changed something");
}

/// Every path below `folder` with its content, without git's own files.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_symlink() {
                found.push((name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
            } else if path.is_dir() {
                found.push((format!("{name}/"), Vec::new()));
                if !name.ends_with(".git") {
                    walk(root, &path, found);
                }
            } else {
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// A folder with the skeleton `s`, from the body of its manifest and its files (below `s/`).
fn skeleton(manifest: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let place = folder(&[]);
    write_skeleton(place.path(), "1.0.0", manifest, files);
    place
}

/// Writes (or replaces) the skeleton `s` in `place`.
fn write_skeleton(place: &Path, version: &str, manifest: &str, files: &[(&str, &str)]) {
    let s = place.join("s");
    let _ = std::fs::remove_dir_all(&s);
    let head = format!("[skeleton]\nname = \"made\"\nsummary = \"For a test\"\nversion = \"{version}\"\n");
    write(&s, "skeleton.toml", &format!("{head}{manifest}"));
    write(&s, "files/always.txt", "always\n");
    for (path, content) in files {
        write(&s, path, content);
    }
}

fn write(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs git in `folder` with a name and nothing of the user's config.
fn git(folder: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main"]);
    git.args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = git.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
