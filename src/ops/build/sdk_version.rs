//! Which version of `paster-sdk` a crate builds against. Versions with the same ABI work together, so another one is
//! only noted.

use std::path::{Path, PathBuf};

use semver::{Version, VersionReq};
use toml_edit::Document;

use crate::error::{Error, Origin, Result};
use crate::ops::sdk::{Copy, checkout};
use crate::scaffold::location::of_span;

/// The version of this program and of its SDK.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the dependency `paster-sdk` of a manifest names.
enum SdkDependency {
    /// A directory, absolute.
    Path(PathBuf),
    /// A version requirement for the registry.
    Version(String),
}

/// Compares the SDK that the crate at `manifest` depends on with that of this program. Returns a note for another
/// version.
/// # Errors
/// A directory that does not exist, so that the crate cannot build.
pub(super) fn check(manifest: &Path) -> Result<Option<String>, Error> {
    let Some((wanted, origin)) = wanted(manifest) else { return Ok(None) };
    let version = match wanted {
        SdkDependency::Version(wanted) => {
            let fits = VersionReq::parse(&wanted).ok().zip(Version::parse(VERSION).ok());
            fits.is_some_and(|(wanted, ours)| !wanted.matches(&ours)).then_some(wanted)
        }
        SdkDependency::Path(path) if ours().as_ref() == Some(&path) => None,
        SdkDependency::Path(path) if !path.join("Cargo.toml").is_file() => {
            let error = Error::config(format!("there is no SDK in `{}`", path.display())).at(origin);
            return Err(error.help(format!("use that of paster {VERSION}: `{}`", line())));
        }
        SdkDependency::Path(path) => version(&path).filter(|version| version != VERSION),
    };
    Ok(version.map(|version| {
        let place = format!("{}:{}", origin.source, origin.line);
        format!(
            "`{place}` uses version {version} of the SDK, but this is paster {VERSION}: they work together if they have the same ABI version; to update the crate, write `{}`",
            line()
        )
    }))
}

/// Writes this program's copy of the SDK if the crate at `manifest` builds against it and it does not exist.
/// # Errors
/// When it cannot be written.
pub(super) fn provide(manifest: &Path) -> Result<()> {
    let Some((SdkDependency::Path(path), _)) = wanted(manifest) else { return Ok(()) };
    if path.join("Cargo.toml").is_file() {
        return Ok(());
    }
    match Copy::find().filter(|copy| copy.sdk() == path) {
        Some(copy) => copy.write().map(drop),
        None => check(manifest).map(drop).map_err(Into::into),
    }
}

/// The dependency of the crate at `manifest`, and its place. `None` if the crate has none, inherits it or gets it from
/// elsewhere. Cargo reports the faults of manifests.
fn wanted(manifest: &Path) -> Option<(SdkDependency, Origin)> {
    let text = std::fs::read_to_string(manifest).ok()?;
    let document = Document::parse(&*text).ok()?;
    let dependency = document.get("dependencies")?.get("paster-sdk")?;
    let path = dependency.get("path");
    let value = path.or_else(|| dependency.get("version")).unwrap_or(dependency);
    let written = value.as_str()?;
    let origin = of_span(&manifest.to_string_lossy(), &text, &value.span()?);
    let wanted = match path {
        Some(_) => SdkDependency::Path(manifest.parent()?.join(written)),
        None if dependency.get("git").is_some() => return None,
        None => SdkDependency::Version(written.to_owned()),
    };
    Some((wanted, origin))
}

/// The directory of this program's SDK.
fn ours() -> Option<PathBuf> {
    match checkout() {
        Some(root) => Some(root.join("plugins/paster-sdk")),
        None => Some(Copy::find()?.sdk()),
    }
}

/// The line of a manifest for this program's SDK, as `paster create` writes it.
fn line() -> String {
    match ours() {
        Some(path) => {
            let path = toml::Value::String(path.to_string_lossy().into_owned());
            format!("paster-sdk = {{ path = {path} }}")
        }
        None => format!("paster-sdk = \"{VERSION}\""),
    }
}

/// The version of the crate in `folder`, which it may inherit from its workspace.
fn version(folder: &Path) -> Option<String> {
    let read = |folder: &Path| -> Option<toml::Table> {
        std::fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()
    };
    let version = |table: &toml::Table| Some(table.get("package")?.get("version")?.as_str()?.to_owned());
    let shared = |table: &toml::Table| version(table.get("workspace")?.as_table()?);
    let inherited = || folder.ancestors().skip(1).find_map(|folder| shared(&read(folder)?));
    version(&read(folder)?).or_else(inherited)
}
