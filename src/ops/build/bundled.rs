//! Plugins that come with paster, found by name: `use = "notebook"`.

use super::types::LibrarySource;
use crate::error::Error;
use crate::ops::sdk::{checkout, package_libraries};

/// The cargo profile for a plugin that comes with paster. A development build of paster, such as that of `cargo run`, gets a
/// development build of the plugin: both share what cargo compiles for them, so the first start takes less time.
pub(super) fn default_profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

/// Finds the plugin `name`: an installed paster has it in `../lib/paster` beside the program, one that cargo has built in its
/// source directory as a crate.
/// # Errors
/// If it is in neither place.
pub(super) fn find(name: &str, profile: String) -> Result<LibrarySource, Error> {
    let installed = package_libraries().map(|folder| folder.join(format!("lib{name}.so")));
    if let Some(library) = installed.as_ref().filter(|library| library.is_file()) {
        return Ok(LibrarySource::File(library.clone()));
    }
    let manifest =
        checkout().map(|root| root.join("plugins").join(name.replace('_', "-")).join("Cargo.toml"));
    if let Some(manifest) = manifest.filter(|manifest| manifest.is_file()) {
        return Ok(LibrarySource::Crate { manifest, profile });
    }
    let place = installed.map_or_else(|| "lib/paster".to_owned(), |library| library.display().to_string());
    Err(Error::config(format!("the plugin `{name}` is not installed"))
        .help(format!("put its library at `{place}`, or run paster from its source directory")))
}
