//! The software bill of materials, as CycloneDX 1.5 in JSON.
//!
//! `cargo-cyclonedx` knows nothing of npm packages, and installing it takes longer than the rest of `dist`.
//!
//! # Source
//! <https://cyclonedx.org/docs/1.5/json/>.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::contents::Component;
use super::{Release, output};

/// The document for these components. The same release gives the same bytes.
pub(super) fn text(components: &[Component], release: &Release) -> Result<String> {
    let purls = components.iter().map(|component| component.purl.as_str()).collect::<Vec<_>>();
    let own = format!("pkg:cargo/paster@{}", release.version);
    let mut dependencies = vec![json!({ "ref": own, "dependsOn": purls })];
    for component in components {
        let mut needs: Vec<&String> =
            component.needs.iter().filter(|purl| purls.contains(&purl.as_str())).collect();
        needs.sort();
        needs.dedup();
        dependencies.push(json!({ "ref": component.purl, "dependsOn": needs }));
    }
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(release.time)?,
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "paster",
                "version": release.version,
                "purl": own,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": components.iter().map(entry).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn entry(component: &Component) -> Value {
    let Component { name, version, licence, purl, hash, .. } = component;
    let mut entry = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{ "expression": licence }],
    });
    if let Some((algorithm, hash)) = hash {
        entry["hashes"] = json!([{ "alg": algorithm, "content": hash }]);
    }
    entry
}

/// `2026-01-31T12:00:00Z`.
fn timestamp(secs: u64) -> Result<String> {
    let text = output(
        Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date"]).arg(format!("@{secs}")),
    )?;
    Ok(text.trim().to_owned())
}
