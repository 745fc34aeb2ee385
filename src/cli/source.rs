//! `[CONFIG] --as KIND --profile NAME -D KEY=VALUE`: the arguments of every command that reads a config.

use std::path::{Path, PathBuf};

use crate::app::{config_of, from_argument};
use crate::config::{Argument, Sources};
use crate::error::{Error, Result};
use crate::ops::detect::{PathStyle, detect};

/// Where the config comes from. Flatten it into a command's `Args`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SourceArgs {
    /// The config file, or a directory with one or with an application [default: server.toml]
    #[arg(value_name = "CONFIG", value_hint = clap::ValueHint::AnyPath)]
    pub(super) config: Option<PathBuf>,

    /// The kind of application in the directory, if there are several: `django`, `static`
    #[arg(long = "as", value_name = "KIND")]
    pub(super) kind: Option<String>,

    /// Merge the table `[profile.NAME]` over the files
    #[arg(long, value_name = "NAME", env = "PASTER_PROFILE", hide_env_values = true)]
    pub(super) profile: Option<String>,

    /// Set a key, overriding all other sources, such as `server.main.threads=4` (a TOML value, otherwise a
    /// string)
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// The sources, and what was found in a directory.
pub(super) struct FoundSources {
    pub(super) sources: Sources,
    /// For the user: the kind of application, and why.
    pub(super) note: Option<String>,
}

impl SourceArgs {
    /// The sources for [`Config::load`](crate::config::Config::load): the file, or `server.toml` in the
    /// working directory; the profile; the `PASTER_…` environment variables; `-D`. A directory without `server.toml` gives
    /// the config of the application in it.
    /// # Errors
    /// When no file is given and there is no `server.toml`; a directory with nothing that paster recognizes.
    pub(super) fn sources(&self) -> Result<Sources> {
        Ok(self.found(PathStyle::Absolute)?.sources)
    }

    /// The same, with what was found in a directory.
    pub(super) fn found(&self, style: PathStyle) -> Result<FoundSources> {
        let file = match &self.config {
            Some(folder) if folder.is_dir() => {
                let file = folder.join("server.toml");
                if self.kind.is_some() || !file.exists() {
                    return self.detected(folder, style);
                }
                file
            }
            Some(file) => file.clone(),
            None if self.kind.is_some() => return self.detected(Path::new("."), style),
            None if Path::new("server.toml").exists() => "server.toml".into(),
            None => {
                return Err(Error::config("no `server.toml` in the working directory")
                    .help("name a config file: `paster serve path/to/server.toml`")
                    .help("or name the directory of an application: `paster serve .`")
                    .help("or serve without one: `paster serve --app static:./public`, `--app proxy:http://127.0.0.1:9000`")
                    .help("or start from a skeleton: `paster create NAME --template notebook`")
                    .into());
            }
        };
        if let Some(kind) = &self.kind {
            let error =
                Error::usage(format!("`--as {kind}` is for a directory, and `{}` is a file", file.display()));
            return Err(error.help("name the directory of the application").into());
        }
        Ok(FoundSources { sources: self.around(Some(file)), note: None })
    }

    /// The sources of the application in a directory.
    fn detected(&self, folder: &Path, style: PathStyle) -> Result<FoundSources> {
        let found = detect(folder, self.kind.as_deref(), style)?;
        let note = found.note(folder);
        let text = folder.display().to_string();
        let argument = Argument { option: "the directory".to_owned(), text, tree: found.config };
        let directory = Some(folder.to_owned());
        let sources = Sources { argument: Some(argument), directory, ..self.around(None) };
        Ok(FoundSources { sources, note: Some(note) })
    }

    /// The sources for a command that only needs to know which server is meant.
    pub(super) fn of_server(config: PathBuf) -> Sources {
        let file = config.join("server.toml");
        let this = SourceArgs::default();
        match config.is_dir() {
            true if file.exists() => this.around(Some(file)),
            true => Sources { directory: Some(config), ..this.around(None) },
            false => this.around(Some(config)),
        }
    }

    /// The same, with the app that `--app` names. `KIND:…` takes the place of a config file.
    /// # Errors
    /// As [`SourceArgs::sources`]; when the argument does not name an app, or a file is given as well.
    pub(super) fn with_app(
        &self,
        app: Option<&str>,
        style: PathStyle,
    ) -> Result<(FoundSources, Option<String>)> {
        let (Some(table), Some(text)) = (app.map(from_argument).transpose()?.flatten(), app) else {
            return Ok((self.found(style)?, app.map(str::to_owned)));
        };
        if let Some(file) = &self.config {
            let error = Error::usage(format!("`--app {text}` replaces the config file, but one is given"));
            let help = format!("omit `{}`, or name one of its apps", file.display());
            return Err(error.help(help).into());
        }
        let argument = Argument { option: "--app".to_owned(), text: text.to_owned(), tree: config_of(table) };
        let sources = Sources { argument: Some(argument), ..self.around(None) };
        Ok((FoundSources { sources, note: None }, None))
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
            directory: None,
            profile: self.profile.clone().filter(|name| !name.is_empty()),
            environment,
            overrides: self.set.clone(),
        }
    }
}
