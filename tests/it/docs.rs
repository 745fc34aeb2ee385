//! README and `docs/`: links are valid, configs are valid, and console blocks run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Serving, folder, paster, root};

/// README and every page of `docs`.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .map(|name| root().join(name))
        .into_iter()
        .chain(pages)
        .collect()
}

/// The fenced blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<String> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut inside) {
            (Some(_), Some(_)) => blocks.extend(inside.take()),
            (Some(word), None) if word == language => inside = Some(String::new()),
            // A block of another language is skipped.
            (Some(_), None) => inside = None,
            (None, Some(text)) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn links_lead_to_files_and_headings() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: no file for the link `{link}`", page.display());
            if !anchor.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let given = there.contains(&format!("id=\"{anchor}\""));
                let heading =
                    there.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
                assert!(given || heading, "{}: no heading for the link `{link}`", page.display());
            }
        }
    }
}

/// The anchor that a heading gets on the web.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

/// The files that the configs of the pages name.
const FILES: [(&str, &str); 5] = [
    ("public/index.html", "<h1>Public</h1>"),
    ("data/public/index.html", "<h1>Public</h1>"),
    ("staff.htpasswd", ""),
    ("common.toml", ""),
    ("program", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'\n"),
];

#[test]
fn configs_are_valid_and_console_blocks_run() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let place = folder(&FILES);
        make_executable(&place.path().join("program"));
        for block in blocks(&text, "console") {
            for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
                run(line, place.path(), &page);
            }
        }
        for config in blocks(&text, "toml").iter().filter(|block| block.contains("[server.")) {
            check(config, place.path(), &page);
        }
    }
}

fn make_executable(file: &Path) {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs one line in a shell. A server gets a free port, builds for development, which is quicker, and is
/// stopped when it is ready.
fn run(line: &str, folder: &Path, page: &Path) {
    let line = line.split(" #").next().unwrap().trim_end();
    let words: Vec<_> = line.split_whitespace().collect();
    if words[..2] == ["paster", "serve"] && !line.contains("--list-") {
        let mut words = words;
        if let Some(at) = words.iter().position(|word| *word == "--listen") {
            words.drain(at..at + 2);
        }
        words.retain(|word| *word != "--reload");
        let mut command = paster();
        command.args(&words[1..]).args(["--reload", "--json", "--listen", "127.0.0.1:0"]).current_dir(folder);
        command.env("XDG_STATE_HOME", folder.join("state"));
        let mut serving = Serving::spawn(command);
        assert_eq!(serving.stop(), Some(0), "{}: {line}\n{}", page.display(), serving.stderr());
        return;
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_paster")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).env("PATH", path);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {line}\n{printed}", page.display());
}

/// Checks one config. The projects that it names are those that the page's console blocks created.
fn check(config: &str, folder: &Path, page: &Path) {
    std::fs::write(folder.join("page.toml"), config).unwrap();
    let output = paster().args(["check", "page.toml"]).current_dir(folder).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{config}\n{printed}", page.display());
}
