//! What the kinds of application share with the assembler.

use crate::body::App;
pub use crate::config::AppLink;
use crate::context::Context;
use crate::error::Origin;
use crate::plugin::Instance;

/// What the `build` function of an app may use.
pub struct Builder<'a> {
    /// What surrounds the generation.
    pub context: &'a Context,
    /// Builds another app of the config by name, with its middleware (`mount`, `cascade`); the origin is
    /// where the name is written. The assembler reports faults of that app, and continues with a placeholder
    /// so that all faults are found.
    pub resolve: &'a mut dyn FnMut(&str, Option<Origin>) -> App,
    /// The plugin instances created so far: the worker probes, retires and shuts them down.
    pub instances: &'a mut Vec<Instance>,
}
