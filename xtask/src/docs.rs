//! `cargo xtask docs`: builds the site of `docs/` with mdBook into `target/book`, and looks for dead links in it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{checked, which};
use crate::{cargo, root, target};

/// The version of mdBook that is installed if there is none.
const MDBOOK: &str = "^0.5";
/// Where the files are that the pages mention and that are not pages.
const REPOSITORY: &str = "https://github.com/paster-rs/paster/blob/main/";

/// Builds the site. Returns whether all its links lead somewhere.
pub(crate) fn build() -> Result<bool> {
    let mdbook = match installed() {
        Some(program) => program,
        None => install()?,
    };
    let (source, site) = (root().join("target/book-source"), root().join("target/book"));
    copy(&root().join("docs"), &source)?;
    checked(Command::new(mdbook).arg("build").arg(&source).arg("--dest-dir").arg(&site))?;
    let dead = dead_links(&site)?;
    dead.iter().for_each(|link| eprintln!("{link}"));
    println!("{}", site.join("index.html").display());
    Ok(dead.is_empty())
}

/// An mdBook on `PATH`, or the one that was installed by an earlier run.
fn installed() -> Option<PathBuf> {
    which("mdbook").or_else(|| Some(own_program()).filter(|program| program.is_file()))
}

fn own_program() -> PathBuf {
    target().join("mdbook/bin/mdbook")
}

/// Installs mdBook. Compiling it takes some minutes.
fn install() -> Result<PathBuf> {
    eprintln!("installing mdBook {MDBOOK} into {}", target().join("mdbook").display());
    let mut cargo = cargo();
    cargo.args(["install", "mdbook", "--version", MDBOOK, "--locked", "--quiet", "--debug"]);
    cargo.args(["--no-default-features", "--features", "search", "--root"]).arg(target().join("mdbook"));
    checked(cargo.env("CARGO_TARGET_DIR", target().join("mdbook/build")))?;
    Ok(own_program())
}

/// Copies the pages and their pictures. Links to files outside of `docs` lead to the repository.
fn copy(docs: &Path, source: &Path) -> Result<()> {
    if source.exists() {
        std::fs::remove_dir_all(source).with_context(|| source.display().to_string())?;
    }
    std::fs::create_dir_all(source).with_context(|| source.display().to_string())?;
    for entry in std::fs::read_dir(docs).context("docs")? {
        let path = entry?.path();
        let to = source.join(path.file_name().unwrap_or_default());
        if path.extension().is_some_and(|end| end == "md") {
            let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            std::fs::write(&to, page.replace("](../", &format!("]({REPOSITORY}")))?;
        } else if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, &to).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// The links of a site that lead nowhere, with their page.
fn dead_links(site: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    read_pages(site, &mut pages)?;
    if pages.is_empty() {
        bail!("mdBook wrote no pages to {}", site.display());
    }
    let mut dead = Vec::new();
    for (page, text) in &pages {
        for link in links(text) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let path = path.split('?').next().unwrap_or_default();
            let folder = page.parent().unwrap_or(site);
            let mut to = if path.is_empty() { page.clone() } else { plain(&folder.join(path)) };
            if to.is_dir() {
                to.push("index.html");
            }
            let is_there = match pages.get(&to) {
                Some(text) => fragment.is_empty() || text.contains(&format!("id=\"{fragment}\"")),
                None => to.exists(),
            };
            // The page that hosts show instead of a missing one has absolute links.
            if !is_there && !page.ends_with("404.html") {
                dead.push(format!("{}: dead link: {link}", page.display()));
            }
        }
    }
    Ok(dead)
}

fn read_pages(folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            read_pages(&path, pages)?;
        } else if path.extension().is_some_and(|end| end == "html") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            pages.insert(path, text);
        }
    }
    Ok(())
}

/// What `href` and `src` name on the same site.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let values = [" href=\"", " src=\""].into_iter().flat_map(|start| page.split(start).skip(1));
    let values = values.filter_map(|rest| rest.split('"').next());
    values.filter(|link| !link.contains("://") && !link.starts_with("mailto:") && !link.starts_with("data:"))
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let site = std::env::temp_dir().join(format!("paster-docs-{}", std::process::id()));
        std::fs::create_dir_all(site.join("inner")).unwrap();
        let index = "<a href=\"inner/a.html#x\">1</a> <a href=\"inner/a.html#y\">2</a> <a href=\"b.html\">3</a> \
                     <a href=\"https://example.org/\">4</a> <img src=\"inner/../index.html\">";
        std::fs::write(site.join("index.html"), index).unwrap();
        std::fs::write(site.join("inner/a.html"), "<h1 id=\"x\">a</h1> <a href=\"../index.html\">up</a>")
            .unwrap();
        let dead = dead_links(&site);
        std::fs::remove_dir_all(&site).unwrap();
        let dead: Vec<_> =
            dead.unwrap().iter().filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect();
        assert_eq!(dead, ["inner/a.html#y", "b.html"]);
    }
}
