//! `--app KIND:ARGUMENT`: an app without a config file.

use serde_json::{Map, Value, json};

use super::APPS;
use crate::error::Error;
use crate::registry::nearest;

/// The forms of such an argument, for help texts.
const FORMS: &str = "one of `static:DIRECTORY`, `proxy:http://HOST:PORT`, `fastcgi:HOST:PORT`, `scgi:HOST:PORT` (or \
                     `unix:PATH` for any of the three), `cgi:PROGRAM`, `plugin:CRATE` or `plugin:FILE.so`, \
                     `redirect:URL`, `respond:TEXT`";

/// Parses `proxy:http://127.0.0.1:9000` into the table of an app; `None` if the text is only the name of an
/// app.
/// # Errors
/// An unknown kind, or a kind that needs more than one argument.
pub fn from_argument(text: &str) -> Result<Option<Map<String, Value>>, Error> {
    let Some((kind, rest)) = text.split_once(':') else { return Ok(None) };
    let key = match kind {
        "static" => "publish_dir",
        "proxy" | "fastcgi" | "scgi" => "upstreams",
        "cgi" => "program",
        "plugin" if rest.ends_with(".so") => "library",
        "plugin" => "crate",
        "redirect" => "to",
        "respond" => "body",
        _ => {
            let names = || APPS.iter().map(|entry| entry.name);
            if names().any(|name| name == kind) {
                let error = Error::usage(format!("an app of the kind `{kind}` needs a config file"));
                return Err(error.help(format!("without one an app is {FORMS}")));
            }
            let error = Error::usage(format!("unknown kind of app `{kind}` in `--app {text}`"));
            return Err(match nearest(kind, names()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("write the name of an app of the config, or {FORMS}")),
            });
        }
    };
    if rest.is_empty() {
        return Err(Error::usage(format!("`--app {text}` names only a kind")).help(format!("write {FORMS}")));
    }
    let value = match key {
        "upstreams" => Value::from(rest.split(',').map(str::trim).collect::<Vec<_>>()),
        _ => rest.into(),
    };
    let mut table = Map::new();
    table.insert("use".to_owned(), kind.into());
    table.insert(key.to_owned(), value);
    Ok(Some(table))
}

/// The config of a server that serves one app with the usual middleware.
pub fn config_of(app: Map<String, Value>) -> Value {
    let mut app = app;
    app.insert("middleware".to_owned(), json!(["access_log", "error_page", "body_limit"]));
    json!({
        "server": { "main": { "use": "http", "listen": ["127.0.0.1:8080"], "app": "main" } },
        "app": { "main": app },
        // A table, so that `-D middleware.body_limit.max_bytes=…` can change it.
        "middleware": { "body_limit": { "use": "body_limit" } },
    })
}
