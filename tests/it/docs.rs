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
const FILES: [(&str, &str); 8] = [
    ("public/index.html", "<h1>Public</h1>"),
    ("data/public/index.html", "<h1>Public</h1>"),
    ("staff.htpasswd", ""),
    ("common.toml", ""),
    ("mywiki/main.py", "def application(environ, start_response): pass\n"),
    ("wiki.wsgi", "def application(environ, start_response): pass\n"),
    ("api/main.py", "async def app(scope, receive, send): pass\n"),
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

/// The pages for those who come from other servers name options that exist.
#[test]
fn options_beside_those_of_other_servers_exist() {
    let kinds = std::fs::read_to_string(root().join("docs/kinds.md")).unwrap();
    let section = |anchor: &str| {
        let start = kinds.find(anchor).unwrap_or_else(|| panic!("no section {anchor}"));
        let rest = &kinds[start + anchor.len()..];
        rest[..rest.find("\n## ").unwrap_or(rest.len()).min(rest.find("\n### ").unwrap_or(rest.len()))]
            .to_owned()
    };
    let settings = std::fs::read_to_string(root().join("plugins/notebook/src/settings.rs")).unwrap();
    let mut seen = 0;
    for page in pages().iter().filter(|page| page.file_name().unwrap().to_str().unwrap().starts_with("from-"))
    {
        let text = std::fs::read_to_string(page).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [_, option, place] = cells[..] else { panic!("{}: {row}", page.display()) };
            let place = place.trim();
            let option = option.trim_matches('`');
            let known = match place {
                "app" => {
                    let kinds =
                        ["wsgi", "asgi", "pyramid"].map(|kind| section(&format!("<a id=\"app-{kind}\">")));
                    option.starts_with("use = ")
                        || kinds.iter().any(|text| text.contains(&format!("\n| `{option}` |")))
                }
                "server" => section("<a id=\"server-http\">").contains(&format!("\n| `{option}")),
                "process" => section("## `[process]`").contains(&format!("\n| `{option}` |")),
                "log" => section("## `[log]`").contains(&format!("\n| `{option}` |")),
                "settings" => settings.contains(&format!("\n    pub {option}: ")),
                "serve" => help(&["serve"]).contains(option),
                "command" => help(&[]).contains(&format!("\n  {} ", option.trim_start_matches("paster "))),
                // A kind; `middleware-redirect` where an app has the same name.
                kind => {
                    let anchors =
                        ["", "app-", "middleware-"].map(|start| format!("<a id=\"{start}{kind}\">"));
                    let anchor = anchors.iter().find(|anchor| kinds.contains(*anchor));
                    let anchor =
                        anchor.unwrap_or_else(|| panic!("{}: `{kind}` is not a place", page.display()));
                    section(anchor).contains(&format!("\n| `{option}` |"))
                }
            };
            assert!(known, "{}: there is no `{option}` ({place})", page.display());
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

fn help(command: &[&str]) -> String {
    let output = paster().args(command).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
