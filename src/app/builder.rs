//! The interface between the kinds of application and the assembler.

use crate::body::App;
pub use crate::config::AppLink;
use crate::context::Context;
use crate::error::Origin;
use crate::plugin::Instance;

/// What the `build` function of an app can use.
pub struct Builder<'a> {
    /// The context of the generation.
    pub context: &'a Context,
    /// Builds another app of the config by name, with its middleware (`mount`, `cascade`); the origin is the place of the
    /// name. The assembler reports errors of that app, and continues with a placeholder to find all errors.
    pub resolve: &'a mut dyn FnMut(&str, Option<Origin>) -> App,
    /// The plugin instances created so far: the worker probes, retires and shuts them down.
    pub instances: &'a mut Vec<Instance>,
}
