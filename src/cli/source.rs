//! `[CONFIG] --profile NAME -D KEY=VALUE`: the arguments of every command that reads a config.

use std::path::{Path, PathBuf};

use crate::app::{config_of, from_argument};
use crate::config::{Argument, Sources};
use crate::error::{Error, Result};

/// Where the config comes from. Flatten it into a command's `Args`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SourceArgs {
    /// The config file [default: server.toml]
    #[arg(value_name = "CONFIG", value_hint = clap::ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,

    /// Merge the table `[profile.NAME]` over the files
    #[arg(long, value_name = "NAME", env = "PASTER_PROFILE", hide_env_values = true)]
    pub(super) profile: Option<String>,

    /// Set a key, overriding all other sources, such as `server.main.threads=4` (a TOML value, otherwise a
    /// string)
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

impl SourceArgs {
    /// The sources for [`Config::load`](crate::config::Config::load): the file, or `server.toml` in the
    /// working directory; the profile; the `PASTER_…` environment variables; `-D`.
    /// # Errors
    /// When no file is given and there is no `server.toml`.
    pub(super) fn sources(&self) -> Result<Sources> {
        let file = match &self.config {
            Some(file) => file.clone(),
            None if Path::new("server.toml").exists() => "server.toml".into(),
            None => {
                return Err(Error::config("no `server.toml` in the working directory")
                    .help("name a config file: `paster serve path/to/server.toml`")
                    .help("or serve without one: `paster serve --app static:./public`, `--app proxy:http://127.0.0.1:9000`")
                    .help("or start from a skeleton: `paster create NAME --template notebook`")
                    .into());
            }
        };
        Ok(self.around(Some(file)))
    }

    /// The same, with the app that `--app` names. `KIND:…` takes the place of a config file.
    /// # Errors
    /// As [`SourceArgs::sources`]; when the argument does not name an app, or a file is given as well.
    pub(super) fn with_app(&self, app: Option<&str>) -> Result<(Sources, Option<String>)> {
        let (Some(table), Some(text)) = (app.map(from_argument).transpose()?.flatten(), app) else {
            return Ok((self.sources()?, app.map(str::to_owned)));
        };
        if let Some(file) = &self.config {
            let error = Error::usage(format!("`--app {text}` replaces the config file, but one is given"));
            let help = format!("omit `{}`, or name one of its apps", file.display());
            return Err(error.help(help).into());
        }
        let argument = Argument { option: "--app".to_owned(), text: text.to_owned(), tree: config_of(table) };
        Ok((Sources { argument: Some(argument), ..self.around(None) }, None))
    }

    /// All sources; `file` is `None` if an argument takes its place.
    fn around(&self, file: Option<PathBuf>) -> Sources {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("PASTER_"))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        Sources {
            file,
            argument: None,
            profile: self.profile.clone().filter(|name| !name.is_empty()),
            environment,
            overrides: self.set.clone(),
        }
    }
}
