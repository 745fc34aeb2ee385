//! The host's side of the plugin border: load a library, make an app of it, call it.
//!
//! All `unsafe` of `src/` stands below this module.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::body::App;
use crate::context::Context;
use crate::error::{Error, Result};

/// What a plugin says about itself, read without creating an app.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Info {
    /// The app's name.
    pub name: String,
    /// The app's version.
    pub version: String,
    /// Version of the ABI that it was built with.
    pub abi_version: u32,
    /// JSON Schema of its settings, when it exports one.
    pub settings_schema: Option<serde_json::Value>,
}

/// A loaded library. Never unloaded.
#[derive(Clone)]
pub struct Library {
    path: PathBuf,
    info: Arc<Info>,
}

impl Library {
    /// Loads a plugin after checking its table's version and size.
    /// # Errors
    /// Not a library, no `PASTER_PLUGIN` symbol, another ABI: each says how to rebuild.
    pub fn load(path: &Path) -> Result<Library> {
        Err(Error::new(format!("cannot load `{}`", path.display())).into())
    }

    /// What it says about itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the plugin's side process `name` over `listener` until it ends (`paster __side`); returns its status.
    pub fn run_side(&self, name: &str, listener: std::os::fd::OwnedFd) -> i32 {
        let _ = (name, listener);
        1
    }
}

/// One app made by a plugin.
#[derive(Clone)]
pub struct Instance {
    name: String,
    app: App,
}

impl Instance {
    /// Creates the app `name` with its settings, checked against the plugin's schema by the caller.
    /// # Errors
    /// What `create` said; a panic in it too.
    pub fn create(_: &Library, name: &str, _settings: &serde_json::Value, _: &Context) -> Result<Instance> {
        Err(Error::new(format!("cannot create app `{name}`")).into())
    }

    /// Name of the app in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The app to call.
    pub fn app(&self) -> App {
        self.app.clone()
    }

    /// Runs the plugin's own health probe.
    /// # Errors
    /// What the plugin says is wrong.
    pub async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    /// State to carry to the next generation, when the plugin has any.
    pub fn save_state(&self) -> Option<Vec<u8>> {
        None
    }

    /// Tells the plugin that a newer generation has taken over.
    pub fn retire(&self) {}

    /// Tells the plugin to close what is left (WebSockets with 1012): the generation ends.
    pub fn shutdown(&self) {}
}
