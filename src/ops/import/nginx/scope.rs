//! Directives that a block inherits from those around it: what becomes the middleware and the options of its apps.

use serde_json::{Map, Value, json};

use super::needless::NEEDLESS;
use super::parse::{Directive, seconds, size};
use crate::ops::import::draft::{Draft, plain};

/// What holds in a block.
#[derive(Debug, Clone, Default)]
pub(super) struct NginxScope {
    pub(super) root: Option<String>,
    pub(super) index: Vec<String>,
    pub(super) listing: bool,
    pub(super) gzip: bool,
    gzip_min_bytes: Option<u64>,
    body_limit: Option<u64>,
    auth: Option<(String, String)>,
    access: Vec<(bool, String)>,
    headers: Map<String, Value>,
    pub(super) cache_control: Option<String>,
    timeouts: Map<String, Value>,
    /// Fields for upstreams.
    request_headers: Map<String, Value>,
    /// The field `Host` for upstreams.
    pub(super) host: Option<String>,
    access_log: Option<String>,
    no_access_log: bool,
    /// Files by status.
    pub(super) pages: Map<String, Value>,
    rate_limit: Option<Value>,
    pub(super) rewrites: Vec<Value>,
    pub(super) redirects: Vec<Value>,
    pub(super) to_https: bool,
    /// `Cache-Control` by paths.
    pub(super) by_path: Vec<(Vec<String>, String)>,
    /// Variables for FastCGI and SCGI.
    pub(super) params: Map<String, Value>,
    /// Rate limits by zone.
    pub(super) zones: Map<String, Value>,
    /// Directories of the pages of `error_page` that have a separate `location`.
    pub(super) page_roots: Map<String, Value>,
}

impl NginxScope {
    /// Takes over a directive. Returns false if it is not one of these.
    pub(super) fn apply(&mut self, directive: &Directive, draft: &mut Draft) -> bool {
        let arg = directive.arg(0);
        match &*directive.name {
            "root" => self.root = Some(arg.to_owned()),
            "index" => self.index = directive.args.clone(),
            "autoindex" => self.listing = directive.is_on(),
            "gzip" => self.gzip = directive.is_on(),
            "gzip_min_length" => self.gzip_min_bytes = size(arg),
            "client_max_body_size" => match size(arg) {
                Some(0) | None => lose(draft, directive, "`max_bytes` of `body_limit` must be a number"),
                limit => self.body_limit = limit,
            },
            "auth_basic" if arg == "off" => self.auth = None,
            "auth_basic" => self.auth.get_or_insert_default().0 = arg.to_owned(),
            "auth_basic_user_file" => self.auth.get_or_insert_default().1 = arg.to_owned(),
            "allow" | "deny" => self.access.push((directive.name == "allow", arg.to_owned())),
            "expires" => self.expires(directive, draft),
            "add_header" => self.add_header(directive, draft),
            "proxy_set_header" => self.set_header(directive, draft),
            "proxy_hide_header" | "fastcgi_hide_header" | "scgi_hide_header" => self.hidden(arg),
            "proxy_connect_timeout" | "fastcgi_connect_timeout" => {
                self.timeout("connect_secs", directive, draft)
            }
            "proxy_read_timeout" | "fastcgi_read_timeout" | "scgi_read_timeout" => {
                self.timeout("head_secs", directive, draft);
                self.timeout("pause_secs", directive, draft);
            }
            "access_log" => {
                self.no_access_log = arg == "off";
                self.access_log = (arg != "off" && arg.starts_with('/')).then(|| arg.to_owned());
                if directive.args.len() > 1 && !["combined", "main"].contains(&directive.arg(1)) {
                    lose(
                        draft,
                        directive,
                        "the format of the log: see `format` and `fields` of `access_log`",
                    );
                }
            }
            "error_page" => self.error_page(directive, draft),
            "limit_req" => self.rate_limit(directive, draft),
            "rewrite" => self.rewrite(directive, draft),
            name if name.starts_with("proxy_cache") || name.starts_with("fastcgi_cache") => {
                lose(draft, directive, "see the middleware `cache`");
            }
            name if NEEDLESS.contains(&name) => {}
            _ => return false,
        }
        true
    }

    fn hidden(&mut self, name: &str) {
        let list = self.headers.entry(" remove").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(name.to_ascii_lowercase().into());
        }
    }

    fn timeout(&mut self, key: &str, directive: &Directive, draft: &mut Draft) {
        match seconds(directive.arg(0)).filter(|seconds| *seconds > 0) {
            Some(seconds) => {
                self.timeouts.insert(key.to_owned(), seconds.into());
            }
            None => lose(draft, directive, "it is not a time"),
        }
    }

    fn expires(&mut self, directive: &Directive, draft: &mut Draft) {
        self.cache_control = match directive.arg(0) {
            "off" => None,
            "epoch" | "-1" => Some("no-cache".to_owned()),
            "max" => Some("max-age=315360000".to_owned()),
            time => match seconds(time) {
                Some(seconds) => Some(format!("max-age={seconds}")),
                None => return lose(draft, directive, "it is not a fixed time"),
            },
        };
    }

    fn add_header(&mut self, directive: &Directive, draft: &mut Draft) {
        let (name, value) = (directive.arg(0).to_ascii_lowercase(), directive.arg(1));
        match value.contains('$') {
            true => lose(draft, directive, "the middleware `headers` sets fixed values"),
            false if name == "cache-control" => self.cache_control = Some(value.to_owned()),
            false => {
                self.headers.insert(name, plain(value));
            }
        }
    }

    fn set_header(&mut self, directive: &Directive, draft: &mut Draft) {
        let (name, value) = (directive.arg(0).to_ascii_lowercase(), directive.arg(1));
        match (&*name, value) {
            ("host", "$host" | "$http_host" | "$host:$server_port" | "$server_name") => self.host = None,
            ("host", "$proxy_host") => self.host = Some("upstream".to_owned()),
            // The bridge sends these.
            (
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "upgrade"
                | "connection",
                _,
            ) => {}
            ("x-real-ip", "$remote_addr") => {
                lose(draft, directive, "the client's address is in `X-Forwarded-For` only");
            }
            (_, value) if value.contains('$') => {
                lose(draft, directive, "the middleware `headers` sets fixed values")
            }
            ("host", value) => self.host = Some(value.to_owned()),
            (_, value) => {
                self.request_headers.insert(name, plain(value));
            }
        }
    }

    fn error_page(&mut self, directive: &Directive, draft: &mut Draft) {
        let Some((path, statuses)) = directive.args.split_last() else { return };
        let is_plain = path.starts_with('/') && statuses.iter().all(|status| status.parse::<u16>().is_ok());
        let own_root = self.page_roots.get(path).and_then(Value::as_str);
        match own_root.or(self.root.as_deref()).filter(|_| is_plain) {
            Some(root) => {
                let file = format!("{}{path}", root.trim_end_matches('/'));
                for status in statuses {
                    self.pages.insert(status.clone(), file.clone().into());
                }
            }
            None => lose(draft, directive, "the middleware `error_page` has files as pages"),
        }
    }

    fn rate_limit(&mut self, directive: &Directive, draft: &mut Draft) {
        let option = |name: &str| directive.args.iter().find_map(|arg| arg.strip_prefix(name));
        let Some(zone) = option("zone=") else { return };
        let Some(Value::Object(mut limit)) = self.zones.get(zone).cloned() else {
            return lose(draft, directive, "its zone does not count by the client's address");
        };
        if let Some(burst) = option("burst=").and_then(|burst| burst.parse::<u64>().ok()) {
            limit.insert("burst".to_owned(), (burst + 1).into());
        }
        self.rate_limit = Some(limit.into());
    }

    fn rewrite(&mut self, directive: &Directive, draft: &mut Draft) {
        let [pattern, to, rest @ ..] = directive.args.as_slice() else { return };
        let to_is_plain = !to.replace("$1", "").replace("$2", "").replace("$3", "").contains('$');
        if regex::Regex::new(pattern).is_err() || !to_is_plain {
            return lose(draft, directive, "it uses variables or a pattern that paster does not have");
        }
        let rule = json!({ "match": pattern, "to": to });
        match rest.first().map(String::as_str) {
            Some("permanent") => self.redirects.push(json!({ "match": pattern, "to": to, "status": 301 })),
            Some("redirect") => self.redirects.push(json!({ "match": pattern, "to": to, "status": 302 })),
            _ if to.starts_with("http") => {
                self.redirects.push(json!({ "match": pattern, "to": to, "status": 302 }))
            }
            _ => self.rewrites.push(rule),
        }
    }

    /// Whether a redirect answers every request.
    pub(super) fn redirects_all(&self) -> bool {
        let matches_all = |rule: &Value| {
            rule["match"]
                .as_str()
                .is_some_and(|text| ["^", "^.*", "^(.*)", "^(.*)$", "^/(.*)", "^/(.*)$"].contains(&text))
        };
        self.to_https || self.redirects.iter().any(matches_all)
    }

    /// The options that bridges to upstreams have.
    pub(super) fn bridge(&self) -> Map<String, Value> {
        match self.timeouts.is_empty() {
            true => Map::new(),
            false => Map::from_iter([("timeouts".to_owned(), self.timeouts.clone().into())]),
        }
    }

    /// The stack of an app, outermost first. `is_bridge`: it forwards requests.
    pub(super) fn stack(&self, draft: &mut Draft, line: usize, is_bridge: bool) -> Vec<String> {
        let mut stack = Vec::new();
        match (self.no_access_log, &self.access_log) {
            (true, _) => {}
            (false, None) => stack.push("access_log".to_owned()),
            (false, Some(file)) => {
                stack.push(draft.add(
                    "middleware",
                    "access_log",
                    json!({ "use": "access_log", "file": file }),
                ));
            }
        }
        if self.to_https {
            stack.push(draft.add(
                "middleware",
                "to_https",
                json!({ "use": "redirect", "https": true, "status": 301 }),
            ));
        }
        match self.pages.is_empty() {
            true => stack.push("error_page".to_owned()),
            false => {
                let table = json!({ "use": "error_page", "pages": self.pages });
                stack.push(draft.add("middleware", "error_page", table));
            }
        }
        if self.gzip {
            let mut table = json!({ "use": "compress" });
            match self.gzip_min_bytes {
                None => stack.push("compress".to_owned()),
                Some(bytes) => {
                    table["min_bytes"] = bytes.into();
                    stack.push(draft.add("middleware", "compress", table));
                }
            }
        }
        self.limits(draft, line, &mut stack);
        self.changes(draft, is_bridge, &mut stack);
        match self.body_limit {
            None => stack.push("body_limit".to_owned()),
            Some(bytes) => {
                stack.push(draft.add(
                    "middleware",
                    "body_limit",
                    json!({ "use": "body_limit", "max_bytes": bytes }),
                ));
            }
        }
        stack
    }

    /// Who may pass, and how often.
    fn limits(&self, draft: &mut Draft, line: usize, stack: &mut Vec<String>) {
        if let Some(limit) = &self.rate_limit {
            stack.push(draft.add("middleware", "rate_limit", limit.clone()));
        }
        let networks = |allowed: bool| -> Vec<&String> {
            self.access
                .iter()
                .filter(|(allow, who)| *allow == allowed && who != "all")
                .map(|(_, who)| who)
                .collect()
        };
        let (allowed, denied) = (networks(true), networks(false));
        let last = self.access.last().map(|(allow, who)| (*allow, who.as_str()));
        // `deny` comes before `allow` here, so the result is never less strict.
        let mixed =
            self.access.iter().skip_while(|(allow, _)| !allow).any(|(allow, who)| !allow && who != "all");
        if mixed {
            draft.lose(line, "the order of `allow` and `deny`: in `grant_ip`, `deny` takes precedence");
        }
        let mut table = json!({ "use": "grant_ip" });
        if last == Some((false, "all")) {
            table["allow"] = json!(allowed);
        }
        if !denied.is_empty() {
            table["deny"] = json!(denied);
        }
        if table.as_object().is_some_and(|table| table.len() > 1) {
            stack.push(draft.add("middleware", "access", table));
        }
        if let Some((realm, file)) = self.auth.as_ref().filter(|(_, file)| !file.is_empty()) {
            let table = json!({ "use": "auth_basic", "htpasswd": file, "realm": plain(realm) });
            stack.push(draft.add("middleware", "auth", table));
        }
    }

    /// What is changed in requests and responses.
    fn changes(&self, draft: &mut Draft, is_bridge: bool, stack: &mut Vec<String>) {
        let mut table = json!({ "use": "headers" });
        let mut set = self.headers.clone();
        if let Some(remove) = set.shift_remove(" remove") {
            table["response"]["remove"] = remove;
        }
        if let Some(cache) = &self.cache_control {
            set.insert("cache-control".to_owned(), plain(cache));
        }
        if !set.is_empty() {
            table["response"]["set"] = set.into();
        }
        if is_bridge && !self.request_headers.is_empty() {
            table["request"]["set"] = self.request_headers.clone().into();
        }
        for (paths, cache) in &self.by_path {
            let table = json!({
                "use": "headers", "only": { "path": paths }, "response": { "set": { "cache-control": plain(cache) } },
            });
            stack.push(draft.add("middleware", "cache_control", table));
        }
        if table.as_object().is_some_and(|table| table.len() > 1) {
            stack.push(draft.add("middleware", "headers", table));
        }
        stack.extend(self.path_changes(draft));
    }

    /// The middleware that uses the path below the app's mount.
    pub(super) fn path_changes(&self, draft: &mut Draft) -> Vec<String> {
        let mut stack = Vec::new();
        if !self.redirects.is_empty() {
            let table = json!({ "use": "redirect", "rules": self.redirects });
            stack.push(draft.add("middleware", "redirects", table));
        }
        if !self.rewrites.is_empty() {
            let table = json!({ "use": "rewrite", "rules": self.rewrites });
            stack.push(draft.add("middleware", "rewrites", table));
        }
        stack
    }
}

/// Notes a directive that was left out.
pub(super) fn lose(draft: &mut Draft, directive: &Directive, why: &str) {
    draft.lose(directive.line, format!("`{}`: {why}", directive.shown()));
}
