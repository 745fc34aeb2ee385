//! `[server:main]`.

use serde_json::{Value, json};

use super::ini::IniSection;
use super::{PasteReader, egg};
use crate::ops::import::draft::name_of;

impl PasteReader {
    /// Adds the servers, which serve `app`.
    pub(super) fn servers(&mut self, app: &str) {
        let names: Vec<String> =
            self.sections.keys().filter_map(|name| name.strip_prefix("server:")).map(str::to_owned).collect();
        for name in &names {
            if let Some(section) = self.sections.get(&format!("server:{name}")).cloned() {
                self.server(name, &section, app);
            }
        }
        if names.is_empty() {
            self.draft.set("server", "main", &["app"], app);
        }
    }

    fn server(&mut self, name: &str, section: &IniSection, app: &str) {
        let used = section.get("use").unwrap_or("egg:Paste#http");
        let (package, entry) = egg(used).unwrap_or(("", used));
        let kind = match entry.to_ascii_lowercase() {
            entry if entry.contains("scgi") => "scgi",
            entry if entry.contains("fcgi") || entry.contains("fastcgi") => "fastcgi",
            entry if entry == "cgi" => "cgi",
            _ => "http",
        };
        let own = name_of(name);
        self.draft.set("server", &own, &["use"], kind);
        if kind != "cgi" {
            let listen = addresses(section, package, kind);
            self.draft.set("server", &own, &["listen"], json!(listen));
        }
        self.draft.set("server", &own, &["app"], app);
        for (key, value, line) in &section.entries {
            self.server_option(&own, key, value, *line, app);
        }
    }

    fn server_option(&mut self, server: &str, key: &str, value: &str, line: usize, app: &str) {
        let number = || value.parse::<u64>().map(Value::from).unwrap_or_else(|_| value.into());
        match key {
            "use" | "host" | "port" | "listen" | "unix_socket" | "socket" | "ident" | "use_threadpool"
            | "daemon_threads" | "preload" => {}
            "threads" | "threadpool_workers" => self.app_option(app, "threads", number(), key, line),
            "workers" => self.app_option(app, "workers", number(), key, line),
            "ssl_pem" => {
                let entry = json!([{ "certificate_file": value, "key_file": value }]);
                self.draft.set("server", server, &["tls", "certificates"], entry);
            }
            "trusted_proxy" => self.draft.set("server", server, &["trusted_proxies"], json!([value])),
            "max_request_header_size" => self.draft.set("server", server, &["head_limit_bytes"], number()),
            "channel_timeout" | "socket_timeout" => {
                self.draft.set("server", server, &["idle_timeout_secs"], number());
            }
            "connection_limit" => self.draft.set("server", server, &["max_connections"], number()),
            "max_request_body_size" => {
                self.draft.set("middleware", "body_limit", &["use"], "body_limit");
                self.draft.set("middleware", "body_limit", &["max_bytes"], number());
            }
            _ => self
                .draft
                .lose(line, format!("`{key} = {value}` of `[server:{server}]`: there is no equivalent")),
        }
    }

    /// An option of the server that the app in Python has here.
    fn app_option(&mut self, app: &str, option: &str, value: Value, key: &str, line: usize) {
        let table = self.draft.table("app", app);
        let parent = table
            .get("use")
            .and_then(Value::as_str)
            .and_then(|kind| kind.strip_prefix("app:"))
            .map(str::to_owned);
        if let Some(parent) = parent {
            return self.app_option(&parent, option, value, key, line);
        }
        match table.get("use").is_some_and(|kind| kind == "wsgi") {
            true => {
                table.insert(option.to_owned(), value);
            }
            false => self.draft.lose(line, format!("`{key}`: set `{option}` of each app of the kind `wsgi`")),
        }
    }
}

fn addresses(section: &IniSection, package: &str, kind: &str) -> Vec<String> {
    if let Some(path) = section.get("unix_socket").or_else(|| section.get("socket")) {
        return vec![format!("unix:{path}")];
    }
    if let Some(listen) = section.get("listen") {
        return listen.split_whitespace().map(|at| at.replacen("*:", ":", 1)).collect();
    }
    let (host, port) = match (package, kind) {
        ("waitress", _) => ("0.0.0.0", "8080"),
        ("gunicorn", _) => ("127.0.0.1", "8000"),
        (_, "scgi" | "fastcgi") => ("127.0.0.1", "4000"),
        _ => ("127.0.0.1", "8080"),
    };
    let host = section.get("host").filter(|host| !host.is_empty()).unwrap_or(host);
    let host = if host == "*" { "" } else { host };
    // Paste takes `host = 0.0.0.0:80` too.
    match host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) && !host.contains('[') {
        true => vec![host.to_owned()],
        false => vec![format!("{host}:{}", section.get("port").unwrap_or(port))],
    }
}
