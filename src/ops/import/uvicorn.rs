//! uvicorn: its arguments, or the call of `uvicorn.run` in a Python file.
//!
//! # Source
//! uvicorn, "Settings": <https://www.uvicorn.org/settings/>.

use serde_json::json;

use super::ImportInput;
use super::draft::Draft;
use super::python_settings::{
    PythonFlag, PythonSetting, certificate, lose, of_arguments, read as read_settings, trusted_proxies,
};
use crate::error::{Error, Result};

/// What becomes of a setting.
enum UvicornTo {
    Number(&'static str, &'static str, &'static str),
    Text(&'static str, &'static str, &'static str),
    Other(fn(&mut Draft, &PythonSetting)),
    Nothing,
    Lost(&'static str),
}

static SETTINGS: &[(&str, UvicornTo)] = &[
    ("app", UvicornTo::Nothing),
    ("factory", UvicornTo::Nothing),
    ("host", UvicornTo::Nothing),
    ("port", UvicornTo::Nothing),
    ("uds", UvicornTo::Nothing),
    ("fd", UvicornTo::Nothing),
    ("app_dir", UvicornTo::Text("app", "main", "working_dir")),
    ("workers", UvicornTo::Number("app", "main", "workers")),
    ("loop", UvicornTo::Other(event_loop)),
    ("http", UvicornTo::Nothing),
    ("ws", UvicornTo::Nothing),
    ("lifespan", UvicornTo::Nothing),
    ("interface", UvicornTo::Other(interface)),
    ("reload", UvicornTo::Other(reload)),
    (
        "reload_dirs",
        UvicornTo::Lost("with `reload`, the modules that the application has imported are watched"),
    ),
    ("env_file", UvicornTo::Lost("set the variables in `env` of the app")),
    ("log_level", UvicornTo::Other(level)),
    ("log_config", UvicornTo::Lost("`[log]` sets up the log")),
    ("access_log", UvicornTo::Other(access_log)),
    ("use_colors", UvicornTo::Nothing),
    ("proxy_headers", UvicornTo::Nothing),
    ("forwarded_allow_ips", UvicornTo::Other(trusted_proxies)),
    ("root_path", UvicornTo::Nothing),
    ("limit_concurrency", UvicornTo::Number("server", "main", "max_in_flight")),
    ("limit_max_requests", UvicornTo::Number("app", "main", "max_requests")),
    ("timeout_keep_alive", UvicornTo::Number("server", "main", "idle_timeout_secs")),
    ("timeout_graceful_shutdown", UvicornTo::Number("process", "", "grace_secs")),
    ("h11_max_incomplete_event_size", UvicornTo::Number("server", "main", "head_limit_bytes")),
    ("ssl_certfile", UvicornTo::Nothing),
    ("ssl_keyfile", UvicornTo::Nothing),
    ("ssl_ca_certs", UvicornTo::Nothing),
    ("ssl_cert_reqs", UvicornTo::Nothing),
    ("ssl_keyfile_password", UvicornTo::Lost("the key must not be encrypted")),
    ("ssl_ciphers", UvicornTo::Lost("the TLS library chooses the ciphers")),
    ("headers", UvicornTo::Other(headers)),
    ("server_header", UvicornTo::Nothing),
    ("date_header", UvicornTo::Nothing),
    ("backlog", UvicornTo::Lost("the system's limit is used")),
    ("ws_max_size", UvicornTo::Lost("WebSocket messages are limited by the application")),
    ("ws_ping_interval", UvicornTo::Nothing),
    ("ws_ping_timeout", UvicornTo::Nothing),
];

static FLAGS: &[PythonFlag] = &[
    PythonFlag("host", &["--host"], false),
    PythonFlag("port", &["--port"], false),
    PythonFlag("uds", &["--uds"], false),
    PythonFlag("fd", &["--fd"], false),
    PythonFlag("reload", &["--reload"], true),
    PythonFlag("reload_dirs", &["--reload-dir", "--reload-include", "--reload-exclude"], false),
    PythonFlag("workers", &["--workers"], false),
    PythonFlag("loop", &["--loop"], false),
    PythonFlag("http", &["--http"], false),
    PythonFlag("ws", &["--ws"], false),
    PythonFlag("ws_max_size", &["--ws-max-size"], false),
    PythonFlag("ws_ping_interval", &["--ws-ping-interval"], false),
    PythonFlag("ws_ping_timeout", &["--ws-ping-timeout"], false),
    PythonFlag("lifespan", &["--lifespan"], false),
    PythonFlag("interface", &["--interface"], false),
    PythonFlag("env_file", &["--env-file"], false),
    PythonFlag("log_config", &["--log-config"], false),
    PythonFlag("log_level", &["--log-level"], false),
    PythonFlag("access_log", &["--access-log", "--no-access-log"], true),
    PythonFlag("use_colors", &["--use-colors", "--no-use-colors"], true),
    PythonFlag("proxy_headers", &["--proxy-headers", "--no-proxy-headers"], true),
    PythonFlag("server_header", &["--server-header", "--no-server-header"], true),
    PythonFlag("date_header", &["--date-header", "--no-date-header"], true),
    PythonFlag("forwarded_allow_ips", &["--forwarded-allow-ips"], false),
    PythonFlag("root_path", &["--root-path"], false),
    PythonFlag("limit_concurrency", &["--limit-concurrency"], false),
    PythonFlag("backlog", &["--backlog"], false),
    PythonFlag("limit_max_requests", &["--limit-max-requests"], false),
    PythonFlag("timeout_keep_alive", &["--timeout-keep-alive"], false),
    PythonFlag("timeout_graceful_shutdown", &["--timeout-graceful-shutdown"], false),
    PythonFlag("ssl_keyfile", &["--ssl-keyfile"], false),
    PythonFlag("ssl_certfile", &["--ssl-certfile"], false),
    PythonFlag("ssl_keyfile_password", &["--ssl-keyfile-password"], false),
    PythonFlag("ssl_cert_reqs", &["--ssl-cert-reqs"], false),
    PythonFlag("ssl_ca_certs", &["--ssl-ca-certs"], false),
    PythonFlag("ssl_ciphers", &["--ssl-ciphers"], false),
    PythonFlag("headers", &["--header"], false),
    PythonFlag("app_dir", &["--app-dir"], false),
    PythonFlag("h11_max_incomplete_event_size", &["--h11-max-incomplete-event-size"], false),
    PythonFlag("factory", &["--factory"], true),
];

pub(super) fn recognizes(input: &ImportInput) -> bool {
    let calls = || input.text.contains("uvicorn.run(") || input.text.contains("uvicorn.Config(");
    input.name().ends_with(".py") && calls() || input.arguments.first().is_some_and(|word| word == "uvicorn")
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let settings = match input.arguments.as_slice() {
        [] => read_settings(input, "uvicorn")?,
        words => of_arguments(words.strip_prefix(&["uvicorn".to_owned()]).unwrap_or(words), FLAGS, "app")?,
    };
    if settings.is_empty() {
        return Err(Error::config("there is no call of `uvicorn.run`").into());
    }
    let mut draft = Draft::of(input);
    draft.set("server", "main", &["app"], "main");
    draft.set("app", "main", &["use"], "asgi");
    draft.set("app", "main", &["middleware"], json!(["access_log", "error_page", "body_limit"]));
    application(&mut draft, &settings, input);
    listen(&mut draft, &settings);
    for setting in &settings {
        carry_over(&mut draft, setting);
    }
    certificate(&mut draft, &settings, ["ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "ssl_cert_reqs"]);
    mount(&mut draft, &settings);
    Ok(draft)
}

fn carry_over(draft: &mut Draft, setting: &PythonSetting) {
    let to = SETTINGS.iter().find(|(name, _)| *name == setting.name).map(|(_, to)| to);
    match to {
        None => lose(draft, setting, "paster has no such setting"),
        Some(_) if setting.code.is_some() => {
            lose(draft, setting, "its value is computed when the file runs: write it yourself");
        }
        // `access_log = False` is significant.
        Some(UvicornTo::Other(set)) if !setting.value.is_null() => set(draft, setting),
        Some(_) if setting.is_off() => {}
        Some(UvicornTo::Number(section, name, key)) => draft.set(section, name, &[key], setting.number()),
        Some(UvicornTo::Text(section, name, key)) => draft.set(section, name, &[key], setting.text()),
        Some(UvicornTo::Other(_) | UvicornTo::Nothing) => {}
        Some(UvicornTo::Lost(why)) => lose(draft, setting, why),
    }
}

fn find<'s>(settings: &'s [PythonSetting], name: &str) -> Option<&'s PythonSetting> {
    settings.iter().find(|setting| setting.name == name && setting.code.is_none() && !setting.is_off())
}

fn application(draft: &mut Draft, settings: &[PythonSetting], input: &ImportInput) {
    let text = find(settings, "app").map(PythonSetting::text).unwrap_or_default();
    let text = match text.strip_prefix(':') {
        // An object of the file itself.
        Some(object) => format!("{}:{object}", input.name().trim_end_matches(".py")),
        None if text.is_empty() || text.contains(':') => text,
        None => format!("{text}:app"),
    };
    if text.is_empty() {
        draft.set("app", "main", &["application"], "main:app");
        draft.lose(0, "the application: set `application` to `module:object`");
        return;
    }
    let call = if find(settings, "factory").is_some() { "()" } else { "" };
    draft.set("app", "main", &["application"], format!("{text}{call}"));
}

fn listen(draft: &mut Draft, settings: &[PythonSetting]) {
    let text = |name: &str| find(settings, name).map(PythonSetting::text);
    let address = match (text("uds"), text("fd")) {
        (Some(path), _) => format!("unix:{path}"),
        (None, Some(number)) => format!("fd:{number}"),
        (None, None) => {
            let host = text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
            let host = if host.contains(':') && !host.contains("${") { format!("[{host}]") } else { host };
            format!("{host}:{}", text("port").unwrap_or_else(|| "8000".to_owned()))
        }
    };
    draft.set("server", "main", &["listen"], json!([address]));
}

/// `root_path`: the application below a prefix.
fn mount(draft: &mut Draft, settings: &[PythonSetting]) {
    let Some(prefix) = find(settings, "root_path").map(PythonSetting::text) else { return };
    let prefix = format!("/{}", prefix.trim_matches('/'));
    draft.set("app", "mounted", &["use"], "mount");
    draft.set("app", "mounted", &["routes", &prefix], "main");
    draft.set("app", "mounted", &["routes", "/"], "main");
    draft.set("server", "main", &["app"], "mounted");
}

fn event_loop(draft: &mut Draft, setting: &PythonSetting) {
    match &*setting.text() {
        known @ ("auto" | "asyncio" | "uvloop") => draft.set("app", "main", &["event_loop"], known),
        _ => lose(draft, setting, "`event_loop` is \"auto\", \"asyncio\" or \"uvloop\""),
    }
}

fn interface(draft: &mut Draft, setting: &PythonSetting) {
    match &*setting.text() {
        "wsgi" => draft.set("app", "main", &["use"], "wsgi"),
        "asgi2" => lose(draft, setting, "an application of kind `asgi` is called by ASGI 3"),
        _ => {}
    }
}

fn reload(draft: &mut Draft, setting: &PythonSetting) {
    if setting.is_on() {
        draft.set("process", "", &["reload"], true);
    }
}

fn level(draft: &mut Draft, setting: &PythonSetting) {
    let name = setting.text();
    let level = match &*name {
        "critical" | "error" => "error",
        "warning" => "warn",
        known @ ("info" | "debug" | "trace") => known,
        _ => return lose(draft, setting, "it is not a level of `[log]`"),
    };
    draft.set("log", "", &["level"], level);
}

fn access_log(draft: &mut Draft, setting: &PythonSetting) {
    if !setting.is_on() {
        draft.set("app", "main", &["middleware"], json!(["error_page", "body_limit"]));
    }
}

fn headers(draft: &mut Draft, setting: &PythonSetting) {
    // `--header Name:value`, or pairs in Python.
    let pairs: Vec<(String, String)> = match &setting.value {
        serde_json::Value::Array(items) => items
            .iter()
            .filter_map(|item| match item {
                serde_json::Value::Array(pair) => {
                    Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()))
                }
                item => {
                    item.as_str()?.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()))
                }
            })
            .collect(),
        item => {
            let pair = item.as_str().and_then(|text| text.split_once(':'));
            pair.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect()
        }
    };
    draft.set("middleware", "headers", &["use"], "headers");
    for (name, value) in pairs {
        draft.set(
            "middleware",
            "headers",
            &["response", "append", &name.trim().to_ascii_lowercase()],
            value.trim(),
        );
    }
    let table = draft.table("app", "main");
    if let Some(stack) = table.get_mut("middleware").and_then(|stack| stack.as_array_mut()) {
        stack.push("headers".into());
    }
}
