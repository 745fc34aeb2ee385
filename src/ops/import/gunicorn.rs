//! gunicorn: `gunicorn.conf.py`, or its arguments.
//!
//! # Source
//! gunicorn, "Settings": <https://docs.gunicorn.org/en/stable/settings.html>.

use serde_json::{Value, json};

use super::ImportInput;
use super::draft::Draft;
use super::python_settings::{
    PythonFlag, PythonSetting, address, certificate, lose, of_arguments, read as read_settings,
    trusted_proxies,
};
use crate::error::{Error, Result};

/// What becomes of a setting.
enum GunicornTo {
    /// The key of a table, with the same number.
    Number(&'static str, &'static str, &'static [&'static str]),
    /// The key of a table, with the same text.
    Text(&'static str, &'static str, &'static [&'static str]),
    Other(fn(&mut Draft, &PythonSetting)),
    /// paster does the same in any case, or it does not matter.
    Nothing,
    /// Why there is no equivalent.
    Lost(&'static str),
}

const HOOK: &str = "paster does not call hooks";

static SETTINGS: &[(&str, GunicornTo)] = &[
    ("bind", GunicornTo::Other(bind)),
    ("workers", GunicornTo::Number("app", "main", &["workers"])),
    ("threads", GunicornTo::Number("app", "main", &["threads"])),
    ("worker_class", GunicornTo::Other(worker_class)),
    ("wsgi_app", GunicornTo::Other(application)),
    ("chdir", GunicornTo::Text("app", "main", &["working_dir"])),
    ("pythonpath", GunicornTo::Text("app", "main", &["working_dir"])),
    ("raw_env", GunicornTo::Other(environment)),
    ("max_requests", GunicornTo::Number("app", "main", &["max_requests"])),
    ("max_requests_jitter", GunicornTo::Nothing), // a tenth of `max_requests`
    ("timeout", GunicornTo::Number("app", "main", &["stuck_secs"])),
    ("graceful_timeout", GunicornTo::Number("process", "", &["drain_secs"])),
    ("keepalive", GunicornTo::Number("server", "main", &["idle_timeout_secs"])),
    ("limit_request_line", GunicornTo::Number("server", "main", &["target_limit_bytes"])),
    ("limit_request_fields", GunicornTo::Number("server", "main", &["fields_limit"])),
    ("limit_request_field_size", GunicornTo::Number("server", "main", &["head_limit_bytes"])),
    ("forwarded_allow_ips", GunicornTo::Other(trusted_proxies)),
    ("proxy_protocol", GunicornTo::Nothing), // with `proxy_allow_ips`
    ("user", GunicornTo::Other(user)),
    ("group", GunicornTo::Other(user)),
    ("umask", GunicornTo::Other(umask)),
    ("pidfile", GunicornTo::Text("process", "", &["pid_file"])),
    ("loglevel", GunicornTo::Other(level)),
    ("errorlog", GunicornTo::Other(error_log)),
    ("accesslog", GunicornTo::Other(access_log)),
    (
        "access_log_format",
        GunicornTo::Lost("`format` of `access_log` is \"common\", \"combined\" or \"json\""),
    ),
    ("reload", GunicornTo::Other(reload)),
    ("certfile", GunicornTo::Nothing),
    ("keyfile", GunicornTo::Nothing),
    ("ca_certs", GunicornTo::Nothing),
    ("cert_reqs", GunicornTo::Nothing),
    ("preload_app", GunicornTo::Lost("each process loads the application itself")),
    ("daemon", GunicornTo::Lost("paster runs in the foreground: start it with systemd")),
    (
        "worker_connections",
        GunicornTo::Lost("`max_in_flight` of the server limits requests, and `max_connections` connections"),
    ),
    ("worker_tmp_dir", GunicornTo::Nothing),
    ("capture_output", GunicornTo::Nothing),
    ("reuse_port", GunicornTo::Nothing),
    ("sendfile", GunicornTo::Nothing),
    ("default_proc_name", GunicornTo::Nothing),
    ("proc_name", GunicornTo::Lost("processes have fixed names")),
    ("backlog", GunicornTo::Lost("the system's limit is used")),
    ("statsd_host", GunicornTo::Lost("the middleware `metrics` has metrics for Prometheus")),
    ("paste", GunicornTo::Lost("import the `.ini` file instead")),
    ("config", GunicornTo::Nothing),
];

static FLAGS: &[PythonFlag] = &[
    PythonFlag("bind", &["-b", "--bind"], false),
    PythonFlag("workers", &["-w", "--workers"], false),
    PythonFlag("worker_class", &["-k", "--worker-class"], false),
    PythonFlag("threads", &["--threads"], false),
    PythonFlag("worker_connections", &["--worker-connections"], false),
    PythonFlag("max_requests", &["--max-requests"], false),
    PythonFlag("max_requests_jitter", &["--max-requests-jitter"], false),
    PythonFlag("timeout", &["-t", "--timeout"], false),
    PythonFlag("graceful_timeout", &["--graceful-timeout"], false),
    PythonFlag("keepalive", &["--keep-alive"], false),
    PythonFlag("limit_request_line", &["--limit-request-line"], false),
    PythonFlag("limit_request_fields", &["--limit-request-fields"], false),
    PythonFlag("limit_request_field_size", &["--limit-request-field_size"], false),
    PythonFlag("reload", &["--reload"], true),
    PythonFlag("preload_app", &["--preload"], true),
    PythonFlag("sendfile", &["--no-sendfile"], true),
    PythonFlag("reuse_port", &["--reuse-port"], true),
    PythonFlag("chdir", &["--chdir"], false),
    PythonFlag("daemon", &["-D", "--daemon"], true),
    PythonFlag("raw_env", &["-e", "--env"], false),
    PythonFlag("pidfile", &["-p", "--pid"], false),
    PythonFlag("worker_tmp_dir", &["--worker-tmp-dir"], false),
    PythonFlag("user", &["-u", "--user"], false),
    PythonFlag("group", &["-g", "--group"], false),
    PythonFlag("umask", &["-m", "--umask"], false),
    PythonFlag("forwarded_allow_ips", &["--forwarded-allow-ips"], false),
    PythonFlag("accesslog", &["--access-logfile"], false),
    PythonFlag("access_log_format", &["--access-logformat"], false),
    PythonFlag("errorlog", &["--error-logfile", "--log-file"], false),
    PythonFlag("loglevel", &["--log-level"], false),
    PythonFlag("capture_output", &["--capture-output"], true),
    PythonFlag("proc_name", &["-n", "--name"], false),
    PythonFlag("pythonpath", &["--pythonpath"], false),
    PythonFlag("paste", &["--paste", "--paster"], false),
    PythonFlag("proxy_protocol", &["--proxy-protocol"], true),
    PythonFlag("proxy_allow_ips", &["--proxy-allow-from"], false),
    PythonFlag("certfile", &["--certfile"], false),
    PythonFlag("keyfile", &["--keyfile"], false),
    PythonFlag("ca_certs", &["--ca-certs"], false),
    PythonFlag("cert_reqs", &["--cert-reqs"], false),
    PythonFlag("backlog", &["--backlog"], false),
    PythonFlag("statsd_host", &["--statsd-host"], false),
    PythonFlag("config", &["-c", "--config"], false),
];

pub(super) fn recognizes(input: &ImportInput) -> bool {
    let name = input.name();
    name.ends_with(".py") && name.contains("gunicorn")
        || input.arguments.first().is_some_and(|word| word == "gunicorn")
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let (settings, mut draft) = match input.arguments.as_slice() {
        [] => (read_settings(input, "")?, Draft::of(input)),
        words => {
            let words = words.strip_prefix(&["gunicorn".to_owned()]).unwrap_or(words);
            let mut settings = of_arguments(words, FLAGS, "wsgi_app")?;
            match settings.iter().find(|setting| setting.name == "config").map(PythonSetting::text) {
                None => (settings, Draft::of(input)),
                // The arguments win.
                Some(path) => {
                    let file = ImportInput::read(&input.working_dir.join(path.trim_start_matches("file:")))?;
                    let in_file = read_settings(&file, "")?;
                    let is_argument = |name: &str| settings.iter().any(|setting| setting.name == name);
                    let more: Vec<_> =
                        in_file.into_iter().filter(|setting| !is_argument(&setting.name)).collect();
                    settings.extend(more);
                    (settings, Draft::of(&file))
                }
            }
        }
    };
    if settings.is_empty() {
        return Err(Error::config("there are no settings of gunicorn").into());
    }
    draft.table("server", "main").insert("app".to_owned(), "main".into());
    draft.set("app", "main", &["use"], "wsgi");
    draft.set("app", "main", &["application"], "");
    let has_log = settings.iter().any(|setting| setting.name == "accesslog" && !setting.is_off());
    let stack = if has_log {
        json!(["access_log", "error_page", "body_limit"])
    } else {
        json!(["error_page", "body_limit"])
    };
    draft.set("app", "main", &["middleware"], stack);
    for setting in &settings {
        carry_over(&mut draft, setting);
    }
    certificate(&mut draft, &settings, ["certfile", "keyfile", "ca_certs", "cert_reqs"]);
    proxy_protocol(&mut draft, &settings);
    finish(&mut draft);
    Ok(draft)
}

fn carry_over(draft: &mut Draft, setting: &PythonSetting) {
    let to = SETTINGS.iter().find(|(name, _)| *name == setting.name).map(|(_, to)| to);
    match to {
        _ if setting.function => lose(draft, setting, HOOK),
        None if setting.name == "proxy_allow_ips" => {}
        // A value that other settings use.
        None if setting.code.is_none() && !setting.name.is_empty() => {}
        None => lose(draft, setting, "it depends on code that runs in the file"),
        Some(_) if setting.code.is_some() => {
            lose(draft, setting, "its value is computed when the file runs: write it yourself");
        }
        Some(_) if setting.is_off() => {}
        Some(GunicornTo::Number(section, name, keys)) => draft.set(section, name, keys, setting.number()),
        Some(GunicornTo::Text(section, name, keys)) => draft.set(section, name, keys, setting.text()),
        Some(GunicornTo::Other(set)) => set(draft, setting),
        Some(GunicornTo::Nothing) => {}
        Some(GunicornTo::Lost(why)) => lose(draft, setting, why),
    }
}

/// What depends on several settings.
fn finish(draft: &mut Draft) {
    let app = draft.table("app", "main");
    let is_asgi = app["use"] == "asgi";
    if is_asgi {
        app.shift_remove("threads");
    } else if !app.contains_key("threads") {
        // gunicorn's default: the application may not be thread safe.
        app.insert("threads".to_owned(), 1.into());
    }
    if app["application"] == "" {
        app.insert("application".to_owned(), "app".into());
        draft.lose(
            0,
            "the application, which is an argument of gunicorn: set `application` to `module:object`",
        );
    }
    let server = draft.table("server", "main");
    if !server.contains_key("listen") {
        server.insert("listen".to_owned(), json!(["127.0.0.1:8000"]));
    }
    for key in ["target_limit_bytes", "head_limit_bytes", "fields_limit", "idle_timeout_secs"] {
        if draft.table("server", "main").get(key) == Some(&json!(0)) {
            draft.table("server", "main").shift_remove(key);
            draft.lose(0, format!("a limit of 0: `{key}` must be at least 1"));
        }
    }
}

fn bind(draft: &mut Draft, setting: &PythonSetting) {
    let addresses: Vec<_> = setting.list().iter().map(|text| address(text, 8000)).collect();
    draft.set("server", "main", &["listen"], json!(addresses));
}

fn application(draft: &mut Draft, setting: &PythonSetting) {
    let text = setting.text();
    let object = if text.contains(':') { "" } else { ":application" };
    draft.set("app", "main", &["application"], format!("{text}{object}"));
}

fn worker_class(draft: &mut Draft, setting: &PythonSetting) {
    let class = setting.text();
    if class.contains("uvicorn") {
        draft.set("app", "main", &["use"], "asgi");
    } else if !["sync", "gthread"].contains(&&*class) {
        lose(draft, setting, &format!("the application runs on threads, not on `{class}`"));
    }
}

fn environment(draft: &mut Draft, setting: &PythonSetting) {
    // A value may contain a comma.
    let variables = match &setting.value {
        Value::String(text) => vec![text.clone()],
        _ => setting.list(),
    };
    for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
        draft.set("app", "main", &["env", name], value);
    }
}

fn user(draft: &mut Draft, setting: &PythonSetting) {
    draft.set("process", "", &[&setting.name], setting.text());
}

fn umask(draft: &mut Draft, setting: &PythonSetting) {
    let mask = match &setting.value {
        Value::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        value => value.as_u64().and_then(|mask| u32::try_from(mask).ok()),
    };
    match mask {
        Some(mask) if mask > 0 => draft.set("process", "", &["umask"], format!("{mask:03o}")),
        _ => {}
    }
}

fn level(draft: &mut Draft, setting: &PythonSetting) {
    let level = match &*setting.text().to_ascii_lowercase() {
        "critical" | "error" => "error",
        "warning" => "warn",
        "debug" => "debug",
        _ => "info",
    };
    draft.set("log", "", &["level"], level);
}

fn error_log(draft: &mut Draft, setting: &PythonSetting) {
    if setting.text() != "-" {
        draft.set("log", "", &["file"], setting.text());
    }
}

fn access_log(draft: &mut Draft, setting: &PythonSetting) {
    draft.set("middleware", "access_log", &["use"], "access_log");
    match &*setting.text() {
        "-" => draft.set("middleware", "access_log", &["to"], "stdout"),
        file => draft.set("middleware", "access_log", &["file"], file),
    }
}

fn reload(draft: &mut Draft, setting: &PythonSetting) {
    if setting.is_on() {
        draft.set("process", "", &["reload"], true);
    }
}

fn proxy_protocol(draft: &mut Draft, settings: &[PythonSetting]) {
    let find = |name: &str| settings.iter().find(|setting| setting.name == name);
    if !find("proxy_protocol").is_some_and(PythonSetting::is_on) {
        return;
    }
    let peers = find("proxy_allow_ips").map_or_else(|| vec!["127.0.0.1".to_owned()], PythonSetting::list);
    draft.set("server", "main", &["proxy_protocol"], json!(peers));
}
