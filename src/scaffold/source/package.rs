//! Skeletons in the `skeletons/` folder of a Rust package from cargo's registry.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{Error, Result};

/// Where a package is on disk, and its version.
pub(super) struct FoundPackage {
    pub(super) folder: PathBuf,
    pub(super) version: String,
}

/// Finds the package `name`, and downloads it with cargo if needed. No code of the package is built or run.
/// # Errors
/// A name or version that is not one; what cargo reports.
pub(super) fn find(name: &str, version: Option<&str>) -> Result<FoundPackage> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if name.is_empty() || !plain(name) {
        return Err(Error::usage(format!("`{}` is not the name of a package", name.escape_debug())).into());
    }
    let needed = version.unwrap_or("*");
    if let Err(error) = semver::VersionReq::parse(needed) {
        return Err(Error::usage(format!("`{}` is not a version", needed.escape_debug()))
            .because(error)
            .into());
    }
    let fault = |error: std::io::Error| Error::new(format!("cannot get the package `{name}`")).because(error);
    let place = tempfile::tempdir().map_err(fault)?;
    let manifest = format!(
        "[package]\nname = \"paster-skeleton-source\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\nsource = {{ package = \"{name}\", version = \"{needed}\" }}\n[workspace]\n"
    );
    std::fs::write(place.path().join("Cargo.toml"), manifest).map_err(fault)?;
    std::fs::write(place.path().join("lib.rs"), "").map_err(fault)?;
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--quiet"])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .map_err(fault)?;
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(format!("cargo cannot get the package `{name}`")).with_output(printed).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| fault(error.into()))?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let found = packages.iter().find(|package| package["name"] == name);
    let text = |key: &str| found.and_then(|package| package[key].as_str()).unwrap_or_default().to_owned();
    let folder = PathBuf::from(text("manifest_path")).parent().map(|folder| folder.join("skeletons"));
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => Ok(FoundPackage { folder, version: text("version") }),
        None => Err(Error::usage(format!("the package `{name}` has no folder `skeletons`")).into()),
    }
}
