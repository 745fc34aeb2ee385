//! The config, with the options of the command line of `paster serve`.

use super::Options;
use crate::config::Config;
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;

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
