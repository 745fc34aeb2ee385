//! The licences of everything that the packages contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::contents::Component;

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
            let parsed = spdx::Expression::parse(expression);
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
pub(super) fn text(components: &[Component]) -> Result<String> {
    let mut notices = Notices::default();
    for Component { name, version, licence, folder, purl, .. } in components {
        let kind = if purl.starts_with("pkg:npm/") { "npm: " } else { "" };
        notices.add(&format!("{kind}{name} {version}"), licence, folder)?;
    }
    Ok(notices.print())
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
