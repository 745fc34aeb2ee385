//! The site of `docs/`: every page is in it, and `examples/docs` serves it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Connection, Serving, cargo, folder, root};

#[test]
fn the_contents_list_every_page_once() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut listed: Vec<&str> =
        summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    listed.sort_unstable();
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut pages: Vec<String> = pages.map(|name| name.into_string().unwrap()).collect();
    pages.retain(|name| name.ends_with(".md") && name != "SUMMARY.md");
    pages.sort_unstable();
    assert_eq!(listed, pages);
}

/// The first program with one of these names.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

#[test]
fn the_site_has_no_dead_links_and_is_served_with_its_search() {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    if !target.join("mdbook/bin/mdbook").is_file() && program(&["mdbook"]).is_none() {
        return eprintln!("skipped: there is no mdBook; `cargo xtask docs` installs it");
    }
    let output = cargo().args(["xtask", "docs"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let example = root().join("examples/docs");
    let mut serving =
        Serving::start(&example, &["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]);
    for (path, status, part) in [
        ("/", 200, "id=\"paster\""),
        ("/tutorial.html", 200, "From nothing to production"),
        ("/kinds.html", 200, "id=\"middleware-rate_limit\""),
        ("/cli.html", 200, "id=\"paster-serve\""),
        ("/no-such-page.html", 404, "Document not found"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
        let (head, body) = Connection::open(serving.address()).request(&request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(part),
            "{path}: {head}\n{body}"
        );
    }
    match program(&["chromium", "chromium-browser", "google-chrome"]) {
        Some(chromium) => search(&chromium, serving.url()),
        None => eprintln!("skipped: there is no Chromium to search with"),
    }
    assert_eq!(serving.stop(), Some(0));
}

/// Searches as a reader does.
fn search(chromium: &Path, url: &str) {
    let profile = folder(&[]);
    let mut command = Command::new(chromium);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    command.args([
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = command.arg(format!("{url}/index.html?search=power_of_two")).output().unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        page.contains("href=\"kinds.html?highlight=") || page.contains("kinds.html?highlight="),
        "{page}"
    );
}
