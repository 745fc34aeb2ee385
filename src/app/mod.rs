//! Kinds of application: one file each.

use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::{Origin, Result};
use crate::registry::Entry;

/// Makes an application from its `[app.NAME]` table.
pub type Build = fn(&Table, &mut Builder<'_>) -> Result<App>;

/// Every kind of application.
pub static APPS: &[Entry<Build>] = &[];

/// What an application's `build` may use.
pub struct Builder<'a> {
    /// The generation's surroundings.
    pub context: &'a Context,
    /// Builds another app of the config by name, with its middleware (`mount`, `cascade`); the origin is for errors.
    pub resolve: &'a mut dyn FnMut(&str, Option<Origin>) -> Result<App>,
    /// The plugin instances made so far: the worker probes, retires and shuts them down.
    pub instances: &'a mut Vec<crate::plugin::Instance>,
}
