//! Checks the licences and sources of all dependencies against `deny.toml`, and finds crates in several
//! versions.
//!
//! `cargo deny check` reads the same file and checks more, but installing it takes longer than all other
//! checks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use spdx::Expression;

/// The registry that crates may come from, as `cargo metadata` names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the lock file of `manifest` and prints its faults. Returns whether there are none.
pub(crate) fn check(cargo: &mut Command, manifest: &Path, deny: &Path) -> Result<bool> {
    let allowed = Allowed::read(&std::fs::read_to_string(deny).context("deny.toml")?)?;
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let output = cargo.args(arguments).arg(HOST).arg("--manifest-path").arg(manifest).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages: Vec<Package> =
        metadata["packages"].as_array().context("no packages")?.iter().map(Package::of).collect();
    let faults: Vec<String> = packages.iter().filter_map(|package| package.fault(&allowed)).collect();
    for fault in &faults {
        println!("{fault}");
    }
    let duplicates = duplicates(&packages);
    if !duplicates.is_empty() {
        println!("note: {} crates are used in several versions: {}", duplicates.len(), duplicates.join(", "));
    }
    Ok(faults.is_empty())
}

/// The platform of the project: dependencies for other platforms are not checked.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// The licences of a `deny.toml`.
struct Allowed {
    everywhere: Vec<String>,
    /// Crates with the licences that only they may have.
    exceptions: Vec<(String, Vec<String>)>,
}

impl Allowed {
    fn read(text: &str) -> Result<Allowed> {
        let deny: toml::Table = text.parse().context("deny.toml")?;
        let licenses = deny.get("licenses").context("deny.toml has no table `licenses`")?;
        let list = |table: &toml::Value| -> Result<Vec<String>> {
            let list = table.get("allow").and_then(toml::Value::as_array);
            let list = list.context("deny.toml: a list `allow` is missing")?;
            Ok(list.iter().filter_map(|licence| licence.as_str().map(str::to_owned)).collect())
        };
        let exceptions = licenses.get("exceptions").and_then(toml::Value::as_array).into_iter().flatten();
        let exceptions = exceptions.map(|exception| {
            let name = exception.get("crate").and_then(toml::Value::as_str);
            Ok((name.context("deny.toml: an exception without its `crate`")?.to_owned(), list(exception)?))
        });
        Ok(Allowed { everywhere: list(licenses)?, exceptions: exceptions.collect::<Result<_>>()? })
    }

    fn allows(&self, name: &str, licence: &str) -> bool {
        let special = self.exceptions.iter().filter(|(exception, _)| exception == name);
        special.flat_map(|(_, allow)| allow).chain(&self.everywhere).any(|allowed| allowed == licence)
    }
}

/// A crate of the lock file.
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// `None` for the project's own crates.
    source: Option<String>,
}

impl Package {
    fn of(value: &Value) -> Package {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Package {
            name: text("name").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            licence: text("license"),
            source: text("source"),
        }
    }

    /// The fault of this crate, if there is one.
    fn fault(&self, allowed: &Allowed) -> Option<String> {
        let Package { name, version, .. } = self;
        let source = self.source.as_deref()?;
        if source != REGISTRY {
            return Some(format!("`{name}` {version} comes from {source}, which deny.toml does not allow"));
        }
        let Some(licence) = &self.licence else {
            return Some(format!("`{name}` {version} does not name a licence"));
        };
        // Old manifests use `MIT/Apache-2.0`.
        let expression = licence.replace('/', " OR ");
        match Expression::parse(&expression) {
            Err(_) => Some(format!("`{name}` {version}: `{licence}` is not an SPDX expression")),
            Ok(parsed) => {
                let fits = parsed.evaluate(|wanted| allowed.allows(name, &wanted.to_string()));
                let message =
                    || format!("`{name}` {version} is under `{licence}`, which deny.toml does not allow");
                (!fits).then(message)
            }
        }
    }
}

/// Crates that are used in several versions.
fn duplicates(packages: &[Package]) -> Vec<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages {
        *counts.entry(&package.name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_held_to_the_list() {
        let text = "[licenses]\nallow = [\"MIT\", \"Apache-2.0 WITH LLVM-exception\"]\n\
                    exceptions = [{ crate = \"b\", allow = [\"MPL-2.0\"] }]";
        let allowed = Allowed::read(text).expect("it is TOML");
        assert!(
            allowed.allows("b", "MPL-2.0") && allowed.allows("b", "MIT") && !allowed.allows("a", "MPL-2.0")
        );
        let fault = |licence: Option<&str>, source: &str| {
            let package = Package {
                name: "a".into(),
                version: "1.0.0".into(),
                licence: licence.map(str::to_owned),
                source: Some(source.into()),
            };
            package.fault(&allowed).unwrap_or_default()
        };
        for licence in
            ["MIT", "MIT OR GPL-3.0-only", "Unlicense/MIT", "MIT AND Apache-2.0 WITH LLVM-exception"]
        {
            assert_eq!(fault(Some(licence), REGISTRY), "", "{licence}");
        }
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0", "all rights reserved"] {
            assert!(fault(Some(licence), REGISTRY).contains(licence), "{licence}");
        }
        assert!(fault(None, REGISTRY).contains("does not name a licence"));
        assert!(fault(Some("MIT"), "git+https://git.example/a").contains("git.example"));
    }
}
