//! What a skeleton may know about the config of the project that it is added to: the variable `existing`.

use std::path::Path;

use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item};

use crate::config::without_bom;
use crate::error::{Error, Result};
use crate::scaffold::Rendered;

/// The config file of a project.
pub(super) const CONFIG: &str = "server.toml";

/// Facts about a project's config.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing(Option<Map<String, Value>>);

impl Existing {
    /// What an earlier call found.
    pub(super) fn kept_before(kept: Option<Map<String, Value>>) -> Existing {
        Existing(kept)
    }

    /// Reads the config in `target`, if there is one.
    /// # Errors
    /// A config that cannot be read or parsed.
    pub(super) fn of_project(target: &Path) -> Result<Existing> {
        let path = target.join(CONFIG);
        let shown = path.display().to_string();
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8(without_bom(bytes))
                .map_err(|error| Error::new(format!("`{shown}` is not UTF-8")).because(error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Existing::default()),
            Err(error) => return Err(Error::new(format!("cannot read `{shown}`")).because(error).into()),
        };
        match text.parse::<DocumentMut>() {
            Ok(config) => Ok(Existing(Some(facts(&config)))),
            Err(error) => {
                let why = error.message().to_owned();
                Err(Error::new(format!("cannot add to `{shown}`: it is not valid TOML")).because(why).into())
            }
        }
    }

    /// Reads the config among files that are not written yet.
    pub(super) fn of_files(files: &[Rendered]) -> Existing {
        let config = files.iter().find(|file| file.path == CONFIG);
        let text = config.and_then(|file| std::str::from_utf8(&file.bytes).ok());
        Existing(text.and_then(|text| text.parse::<DocumentMut>().ok()).map(|config| facts(&config)))
    }

    /// As templates see it.
    pub(super) fn value(&self) -> Value {
        Value::Object(self.0.clone().unwrap_or_else(|| facts(&DocumentMut::new())))
    }

    /// What the project remembers.
    pub(super) fn kept(&self) -> Option<Map<String, Value>> {
        self.0.clone()
    }
}

/// `server` and `port`: the first server that listens for HTTP. `app`: the app that it serves, and whether that is a
/// `mount`. `apps` and `kinds`: the names of all apps and what they use.
fn facts(config: &DocumentMut) -> Map<String, Value> {
    let tables = |name: &str| -> Vec<(&str, &Item)> {
        config.get(name).and_then(Item::as_table_like).map(|table| table.iter().collect()).unwrap_or_default()
    };
    let text = |item: &Item, key: &str| item.get(key).and_then(Item::as_str).map(str::to_owned);
    let servers = tables("server");
    let http = servers.iter().find(|(_, item)| text(item, "use").as_deref() == Some("http"));
    let server = http.or(servers.first());
    let app = server.and_then(|(_, item)| text(item, "app")).unwrap_or_else(|| "main".into());
    let apps = tables("app");
    let kind =
        |name: &str| apps.iter().find(|(other, _)| *other == name).and_then(|(_, item)| text(item, "use"));
    let mut kinds: Vec<_> = apps.iter().filter_map(|(_, item)| text(item, "use")).collect();
    kinds.sort();
    kinds.dedup();
    let listen = server.and_then(|(_, item)| item.get("listen"));
    let address = listen.and_then(|item| item.as_str().or_else(|| item.as_array()?.get(0)?.as_str()));
    let port = address.and_then(|address| address.rsplit(':').next()?.parse::<u16>().ok());
    let facts = json!({
        "server": server.map_or("main", |(name, _)| name),
        "port": port.unwrap_or(8080),
        "mount": kind(&app).as_deref() == Some("mount"),
        "app": app,
        "apps": apps.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "kinds": kinds,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}
