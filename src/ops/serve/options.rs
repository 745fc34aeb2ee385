//! The arguments of `paster serve`, and the config that they give.

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
    /// Listen here instead of where the config says.
    pub listen: Vec<String>,
    /// `--reload` or `--no-reload`, which override the config.
    pub reload: Option<bool>,
    /// Whether standard output is reserved for events: workers then write to standard error only.
    pub json: bool,
}

/// Loads the config for `options`.
/// # Errors
/// Every fault of the sources; an unknown server.
pub(super) fn load(options: &Options) -> Result<Config> {
    let mut config = Config::load(&options.sources)?;
    let known: Vec<String> = config.names("server").into_iter().map(str::to_owned).collect();
    let unknown = options.servers.iter().filter(|name| !known.contains(name));
    Errors::check(unknown.map(|name| unknown_server(name, &known)).collect())?;
    let wanted = |name: &str| options.servers.is_empty() || options.servers.iter().any(|one| one == name);
    if options.app.is_some() || !options.listen.is_empty() {
        let names: Vec<&String> = known.iter().filter(|name| wanted(name)).collect();
        if names.len() > 1 && !options.listen.is_empty() {
            let error =
                Error::usage("`--listen` with several servers").help("choose one with `--server NAME`");
            return Err(error.into());
        }
        // Set as `-D` would, so that `config explain` and errors show where a value comes from.
        let mut sources = options.sources.clone();
        for name in names {
            sources.overrides.extend(options.app.iter().map(|app| format!("server.{name}.app={app:?}")));
            if !options.listen.is_empty() {
                sources.overrides.push(format!("server.{name}.listen={:?}", options.listen));
            }
        }
        config = Config::load(&sources)?;
    }
    config.retain("server", wanted);
    Ok(config)
}

fn unknown_server(name: &str, known: &[String]) -> Error {
    let error = Error::usage(format!("the config has no server `{name}`"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("it has: {}", known.join(", "))),
    }
}
