//! `django`: a Django project, with its static files and media.
//!
//! Only Django knows the project's settings. So the processes collect the static files and write the directories to serve to a
//! file ([`LIST`]). The workers read this file before they serve. In development, and without a supervisor, Django serves the
//! static files from their source directories, as `runserver` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::asgi::LoopOptions;
use super::framework::framework_name;
use super::kind::{Interface, PythonKind, PythonOptions};
use super::wsgi::ThreadOptions;
use crate::app::mount::{move_prefix, prefix_length};
use crate::app::{Builder, static_files};
use crate::body::App;
use crate::config::{ConfigPath, OutputPath, Table};
use crate::error::{Error, Result};

/// The name of the list in the directory of the static files. Names with a dot are not served.
const LIST: &str = ".paster.json";

/// Options of an `[app.NAME]` table with `use = "django"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct DjangoOptions {
    /// The directory of the project. It or one of its subdirectories contains `manage.py`. Default: the config's directory.
    publish_dir: Option<ConfigPath>,
    /// The settings module. Default: `$DJANGO_SETTINGS_MODULE`, then the one that `manage.py` names.
    settings: Option<String>,
    /// The interface to Django: "wsgi", or "asgi" for asynchronous views and Channels. Default: "wsgi". paster runs the
    /// `WSGI_APPLICATION` or `ASGI_APPLICATION` of the settings.
    #[serde(default)]
    interface: Interface,
    /// Directory for the static files. paster collects them there (`collectstatic`) and serves them at `STATIC_URL`.
    /// `STATIC_ROOT` is not used. Default: `.paster/NAME` in the project's directory. With `--reload`, Django serves the files
    /// from their source directories.
    static_dir: Option<OutputPath>,
    #[serde(flatten)]
    common: PythonOptions,
    #[serde(flatten)]
    threads: ThreadOptions,
    #[serde(flatten)]
    event_loop: LoopOptions,
}

impl DjangoOptions {
    fn static_dir(&self, table: &Table, folder: &Path) -> PathBuf {
        let named = self.static_dir.as_deref().map(Path::to_path_buf);
        named.unwrap_or_else(|| folder.join(".paster").join(table.name()))
    }
}

impl PythonKind for DjangoOptions {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        self.interface
    }

    fn folder(&self) -> (&'static str, Option<&Path>) {
        ("publish_dir", self.publish_dir.as_deref())
    }

    fn application(&self, table: &Table, folder: &Path, development: bool) -> String {
        let options = json!({
            "settings": self.settings,
            "asgi": self.interface == Interface::Asgi,
            "development": development,
            "static_dir": self.static_dir(table, folder),
            "list": LIST,
        });
        framework_name(table, options.as_object().cloned().unwrap_or_default())
    }

    fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        if self.settings.as_ref().is_some_and(|name| name.trim().is_empty()) {
            let error = table.error("settings", "`settings` is empty");
            errors.push(error.help("remove it, or set the module: `settings = \"project.settings\"`"));
        }
    }

    fn in_flight(&self) -> usize {
        match self.interface {
            Interface::Wsgi => self.threads.in_flight(&self.common),
            Interface::Asgi => LoopOptions::IN_FLIGHT,
        }
    }

    fn settings(&self) -> Vec<(String, String)> {
        [self.threads.settings(), self.event_loop.settings()].concat()
    }

    /// Serves the directories that the processes have listed.
    fn wrap(&self, app: App, table: &Table, folder: &Path, builder: &mut Builder<'_>) -> Result<App> {
        let list = self.static_dir(table, folder).join(LIST);
        let served = builder.context.processes.contains_key(table.name());
        let text = if served { std::fs::read_to_string(&list).ok() } else { None };
        let listed: BTreeMap<String, PathBuf> = match text.map(|text| serde_json::from_str(&text)) {
            None => return Ok(app), // Django serves them itself
            Some(Ok(listed)) => listed,
            Some(Err(cause)) => {
                let message = format!("cannot read the list of static files `{}`", list.display());
                return Err(table.error("use", message).because(cause).into());
            }
        };
        let mut directories: Vec<(String, App)> = Vec::new();
        for (url, directory) in listed.into_iter().filter(|(_, directory)| directory.is_dir()) {
            let files = static_files::Options::new(directory.into());
            directories
                .push((url.trim_end_matches('/').to_owned(), static_files::build(files, table, builder)?));
        }
        Ok(App::from_call(move |mut request| {
            let path = request.uri().path();
            let found = directories.iter().find_map(|(url, app)| Some((app, prefix_length(path, url)?)));
            match found {
                Some((files, length)) => {
                    move_prefix(&mut request, length);
                    files.handle(request)
                }
                None => app.handle(request),
            }
        }))
    }
}
