//! The arguments of `paster serve`, and the config that they give.

use std::path::PathBuf;

use crate::config::{Config, Sources};
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;

/// The arguments of `paster serve`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the config comes from.
    pub sources: Sources,
    /// Serve only these servers of the config; all when empty.
    pub servers: Vec<String>,
    /// Serve this app instead of the servers' own.
    pub app: Option<String>,
    /// Listen here instead of at the addresses in the config.
    pub listen: Vec<String>,
    /// `--reload` or `--no-reload`, which override the config.
    pub reload: Option<bool>,
    /// Whether standard output is reserved for events: workers then write to standard error only.
    pub json: bool,
}

/// What was read for the options.
#[derive(Debug)]
pub(super) struct LoadedConfig {
    /// All files that were read, even if their content is wrong.
    pub(super) files: Vec<PathBuf>,
    /// The config, or every fault of the sources.
    pub(super) config: Result<Config>,
}

impl Options {
    /// Reads the config.
    pub(super) fn load(&self) -> LoadedConfig {
        let (files, config) = Config::load_with(&self.sources, |servers| self.overrides(servers));
        LoadedConfig { files, config: config.and_then(|config| self.select(config)) }
    }

    fn is_wanted(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server)
    }

    /// What `--app` and `--listen` stand for, as `-D` would set it: errors show where a value comes from.
    fn overrides(&self, mut servers: Vec<String>) -> Vec<String> {
        servers.retain(|name| self.is_wanted(name));
        let of_server = |name: String| {
            let app = self.app.iter().map(|app| format!("server.{name}.app={app:?}"));
            let listen = (!self.listen.is_empty()).then(|| format!("server.{name}.listen={:?}", self.listen));
            app.chain(listen).collect::<Vec<_>>()
        };
        servers.into_iter().flat_map(of_server).collect()
    }

    /// Removes all servers except the selected ones.
    /// # Errors
    /// An unknown server; one address for several servers.
    fn select(&self, mut config: Config) -> Result<Config> {
        let known: Vec<String> = config.names("server").into_iter().map(str::to_owned).collect();
        let unknown = self.servers.iter().filter(|name| !known.contains(name));
        Errors::check(unknown.map(|name| unknown_server(name, &known)).collect())?;
        if !self.listen.is_empty() && known.iter().filter(|name| self.is_wanted(name)).count() > 1 {
            let error =
                Error::usage("`--listen` with several servers").help("choose one with `--server NAME`");
            return Err(error.into());
        }
        config.retain("server", |name| self.is_wanted(name));
        Ok(config)
    }
}

fn unknown_server(name: &str, known: &[String]) -> Error {
    let error = Error::usage(format!("the config has no server `{name}`"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("it has: {}", known.join(", "))),
    }
}
