//! The licences of everything that the programs contain: crates, and the npm packages of the notebook's pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{PLUGINS, output};
use crate::root;

/// How the names of licence files begin, in upper case.
const NAMES: &[&str] = &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The texts, each with the packages that are under it.
#[derive(Default)]
struct Notices {
    /// By the text without differences in white space.
    texts: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Notices {
    /// Adds a package by the licence files in its directory, or by the texts of its SPDX expression.
    fn add(&mut self, name: &str, expression: &str, folder: &Path) -> Result<()> {
        let label = format!("{name} ({expression})");
        let mut texts = files(folder).with_context(|| format!("the licence files of {name}"))?;
        if texts.is_empty() {
            // Old manifests use `MIT/Apache-2.0`.
            let parsed = spdx::Expression::parse(&expression.replace('/', " OR "));
            let parsed = parsed.with_context(|| format!("the licence of {name}"))?;
            let ids = parsed.requirements().filter_map(|one| one.req.license.id());
            texts.extend(ids.map(|id| id.text().to_owned()));
        }
        if texts.is_empty() {
            bail!("{name} has no licence text in {}", folder.display());
        }
        for text in texts {
            let key = text.split_whitespace().collect::<Vec<_>>().join(" ");
            self.texts.entry(key).or_insert_with(|| (text, BTreeSet::new())).1.insert(label.clone());
        }
        Ok(())
    }

    fn print(self) -> String {
        let mut page = "paster contains these packages, under these licences.\n".to_owned();
        let mut texts: Vec<_> = self.texts.into_values().collect();
        texts.sort_by(|one, other| one.1.cmp(&other.1));
        for (text, labels) in texts {
            let labels: Vec<_> = labels.into_iter().collect();
            page += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), labels.join("\n"), text.trim());
        }
        page
    }
}

/// The text of all licences.
pub(super) fn text(target: &str) -> Result<String> {
    let mut notices = Notices::default();
    crates(&mut notices, target)?;
    pages(&mut notices)?;
    Ok(notices.print())
}

/// Adds the crates that the program and the plugins are linked with.
fn crates(notices: &mut Notices, target: &str) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--features=paster/full",
        "--filter-platform",
        target,
    ]);
    let metadata: Value = serde_json::from_str(&output(cargo.current_dir(root()))?)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let by_id = |values: Vec<Value>| -> BTreeMap<String, Value> {
        values.into_iter().filter_map(|one| Some((one["id"].as_str()?.to_owned(), one))).collect()
    };
    let packages = by_id(list(&metadata["packages"]));
    let nodes = by_id(list(&metadata["resolve"]["nodes"]));
    let ours = |package: &&Value| {
        let name = package["name"].as_str().unwrap_or_default();
        package["source"].is_null() && (name == "paster" || PLUGINS.contains(&name))
    };
    let mut left: Vec<&str> =
        packages.values().filter(ours).filter_map(|package| package["id"].as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let linked = |link: &&Value| list(&link["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let links = nodes[id]["deps"].as_array().into_iter().flatten().filter(linked);
        left.extend(links.filter_map(|link| link["pkg"].as_str()));
        let package = &packages[id];
        if package["source"].is_null() {
            continue;
        }
        let word = |key: &str| package[key].as_str().unwrap_or_default();
        let folder = Path::new(word("manifest_path")).parent().context("a manifest without a directory")?;
        notices.add(&format!("{} {}", word("name"), word("version")), word("license"), folder)?;
    }
    Ok(())
}

/// Adds the npm packages in the notebook's pages.
fn pages(notices: &mut Notices) -> Result<()> {
    let web = root().join("plugins/notebook/web");
    let lock: Value = serde_json::from_str(&fs::read_to_string(web.join("package-lock.json"))?)?;
    for (path, package) in lock["packages"].as_object().into_iter().flatten() {
        if path.is_empty() || package["dev"] == true {
            continue;
        }
        let name = path.rsplit_once("node_modules/").map_or(path.as_str(), |(_, name)| name);
        let word = |key: &str| package[key].as_str().unwrap_or_default();
        let folder = web.join(path);
        if !folder.is_dir() {
            bail!("`{name}` is not installed: run `npm ci` in plugins/notebook/web");
        }
        notices.add(&format!("npm: {name} {}", word("version")), word("license"), &folder)?;
    }
    Ok(())
}

/// The content of the licence files in a package's directory.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && NAMES.iter().any(|start| name.starts_with(start))
    });
    paths.sort();
    paths.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())).collect()
}
