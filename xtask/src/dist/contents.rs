//! What the packages contain: the crates that the program and the plugins are linked with, and the npm packages in the
//! notebook's pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{PLUGINS, output};
use crate::{cargo, root};

/// A crate or an npm package.
pub(super) struct Component {
    pub(super) name: String,
    pub(super) version: String,
    /// Its SPDX expression.
    pub(super) licence: String,
    /// Its sources on this machine.
    pub(super) folder: PathBuf,
    /// Its package URL: `pkg:cargo/hyper@1.12.0`.
    pub(super) purl: String,
    /// The algorithm and the hash of its archive in the registry, in hexadecimal digits.
    pub(super) hash: Option<(&'static str, String)>,
    /// Package URLs of what it depends on.
    pub(super) needs: Vec<String>,
}

/// Everything, sorted by package URL. A component is there once.
pub(super) fn components(target: &str) -> Result<Vec<Component>> {
    let mut all = crates(target)?;
    all.extend(pages()?);
    all.sort_by(|one, other| one.purl.cmp(&other.purl));
    all.dedup_by(|one, other| one.purl == other.purl);
    Ok(all)
}

/// The crates that the program and the plugins are linked with, without those of this repository.
fn crates(target: &str) -> Result<Vec<Component>> {
    let mut cargo = cargo();
    cargo.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--features=paster/full",
        "--filter-platform",
        target,
    ]);
    let metadata: Value = serde_json::from_str(&output(&mut cargo)?)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let by_id = |values: Vec<Value>| -> BTreeMap<String, Value> {
        values.into_iter().filter_map(|one| Some((one["id"].as_str()?.to_owned(), one))).collect()
    };
    let packages = by_id(list(&metadata["packages"]));
    let nodes = by_id(list(&metadata["resolve"]["nodes"]));
    let checksums = checksums()?;
    let ours = |package: &&Value| {
        let name = package["name"].as_str().unwrap_or_default();
        package["source"].is_null() && (name == "paster" || PLUGINS.contains(&name))
    };
    let mut left: Vec<&str> =
        packages.values().filter(ours).filter_map(|package| package["id"].as_str()).collect();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let linked = |link: &&Value| list(&link["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let links = nodes[id]["deps"].as_array().into_iter().flatten().filter(linked);
        let needs: Vec<&str> = links.filter_map(|link| link["pkg"].as_str()).collect();
        left.extend(&needs);
        let package = &packages[id];
        if package["source"].is_null() {
            continue;
        }
        let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let folder =
            Path::new(&word("manifest_path")).parent().context("a manifest without a directory")?.to_owned();
        let hash = checksums.get(&(word("name"), word("version"))).map(|hash| ("SHA-256", hash.clone()));
        found.push(Component {
            name: word("name"),
            version: word("version"),
            // Old manifests use `MIT/Apache-2.0`.
            licence: word("license").replace('/', " OR "),
            folder,
            purl: purl(package),
            hash,
            needs: needs.iter().filter_map(|id| packages.get(*id)).map(purl).collect(),
        });
    }
    Ok(found)
}

fn purl(package: &Value) -> String {
    let word = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", word("name"), word("version"))
}

/// The checksums of the lock file by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("the lock file has no packages")?;
    let word =
        |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let entries = packages.iter().filter_map(|package| {
        Some(((word(package, "name")?, word(package, "version")?), word(package, "checksum")?))
    });
    Ok(entries.collect())
}

/// The npm packages in the notebook's pages.
fn pages() -> Result<Vec<Component>> {
    let web = root().join("plugins/notebook/web");
    let lock: Value = serde_json::from_str(&fs::read_to_string(web.join("package-lock.json"))?)?;
    let mut found = Vec::new();
    for (path, package) in lock["packages"].as_object().into_iter().flatten() {
        if path.is_empty() || package["dev"] == true {
            continue;
        }
        let name = path.rsplit_once("node_modules/").map_or(path.as_str(), |(_, name)| name);
        let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let folder = web.join(path);
        if !folder.is_dir() {
            bail!("`{name}` is not installed: run `npm ci` in plugins/notebook/web");
        }
        let hash =
            word("integrity").strip_prefix("sha512-").and_then(|text| BASE64_STANDARD.decode(text).ok());
        found.push(Component {
            name: name.to_owned(),
            version: word("version"),
            licence: word("license"),
            folder,
            // The `@` of a scope is escaped in a package URL.
            purl: format!("pkg:npm/{}@{}", name.replacen('@', "%40", 1), word("version")),
            hash: hash.map(|hash| ("SHA-512", hash.iter().map(|byte| format!("{byte:02x}")).collect())),
            needs: Vec::new(),
        });
    }
    Ok(found)
}
