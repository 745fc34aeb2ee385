//! From a merged config to its apps, each with its stack of middleware, and its servers.

use crate::body::App;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::plugin::Instance;
use crate::server::Server;

/// Everything one generation built from a config.
pub struct Assembly {
    /// Each `[server.NAME]`: its name, the server and the app that it serves.
    pub servers: Vec<(String, Box<dyn Server>, App)>,
    /// All plugin instances.
    pub instances: Vec<Instance>,
}

/// Builds all servers and the apps that they reach, starting nothing.
/// # Errors
/// Every fault of the config that building shows.
pub fn assemble(config: &Config, context: &Context) -> Result<Assembly> {
    let _ = (config, context);
    Err(Error::config("no server").into())
}
