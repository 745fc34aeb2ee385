//! Directives that answer requests: what becomes apps.

use serde_json::{Map, Value, json};

use super::CaddyReader;
use super::matcher::CaddyMatcher;
use super::parse::CaddyLine;
use super::scope::CaddyScope;
use crate::ops::import::sites::{WebSite, app};

/// What answers for a prefix.
#[derive(Debug, Clone)]
pub(super) struct CaddyRoute {
    /// `/`, or `/api`.
    pub(super) path: String,
    /// Whether the prefix is removed from the path.
    strips: bool,
    lines: Vec<CaddyLine>,
    line: usize,
    /// Options of a redirect of everything.
    redirect: Option<Value>,
}

impl CaddyRoute {
    pub(super) fn redirect(line: &CaddyLine, options: Value) -> CaddyRoute {
        CaddyRoute {
            path: "/".to_owned(),
            strips: false,
            lines: Vec::new(),
            line: line.line,
            redirect: Some(options),
        }
    }
}

impl CaddyReader {
    /// Adds a directive to the route of its path.
    pub(super) fn route(&mut self, line: &CaddyLine, matcher: &CaddyMatcher, routes: &mut Vec<CaddyRoute>) {
        let Some(prefixes) = matcher.prefixes() else {
            return self.lose(line, "apps are chosen by host and by prefix");
        };
        let is_block = ["handle", "handle_path", "route"].contains(&line.name());
        for path in prefixes {
            let inner = if is_block { line.inner().to_vec() } else { vec![line.clone()] };
            let strips = line.name() == "handle_path";
            match routes.iter_mut().find(|route| route.path == path && !is_block && route.redirect.is_none())
            {
                Some(route) => route.lines.extend(inner),
                None => {
                    routes.push(CaddyRoute { path, strips, lines: inner, line: line.line, redirect: None })
                }
            }
        }
    }

    /// The app of a route; `None` if nothing in it answers.
    pub(super) fn handler(&mut self, wanted: &str, route: &CaddyRoute, outer: &CaddyScope) -> Option<String> {
        let mut scope = outer.clone();
        if let Some(options) = &route.redirect {
            let stack = scope.stack(&mut self.draft);
            return Some(app(&mut self.draft, wanted, "redirect", options.clone(), &stack));
        }
        let own = |name: &str| {
            ["file_server", "reverse_proxy", "php_fastcgi", "respond", "try_files", "uri", "abort", "error"]
                .contains(&name)
        };
        let (handlers, rest): (Vec<CaddyLine>, Vec<CaddyLine>) =
            route.lines.iter().cloned().partition(|line| own(line.name()));
        let inner = self.scope(&rest, &mut scope, &mut WebSite::default());
        for nested in &inner {
            self.draft.lose(nested.line, "a `handle` or `redir` in a `handle`: write it beside the other");
        }
        let find = |name: &str| handlers.iter().find(|line| line.name() == name);
        let mut strips = route.strips;
        if let Some(line) = find("uri") {
            match (line.arg(0), line.arg(1).trim_end_matches('/') == route.path) {
                ("strip_prefix", true) => strips = true,
                _ => self.lose(line, "the middleware `rewrite` changes paths"),
            }
        }
        for line in handlers.iter().filter(|line| ["abort", "error"].contains(&line.name())) {
            self.lose(line, "`respond` answers with a status");
        }
        if let Some(line) = find("php_fastcgi") {
            return Some(self.php(wanted, line, &scope));
        }
        if let Some(line) = find("reverse_proxy") {
            return Some(self.proxy(wanted, route, strips, line, &scope));
        }
        if let Some(line) = find("file_server") {
            return self.files(wanted, route, strips, line, find("try_files"), &scope);
        }
        find("respond").map(|line| self.respond(wanted, line, &scope))
    }

    fn proxy(
        &mut self,
        wanted: &str,
        route: &CaddyRoute,
        strips: bool,
        line: &CaddyLine,
        scope: &CaddyScope,
    ) -> String {
        let (_, args) = CaddyMatcher::of(line, &scope.named);
        let mut upstreams: Vec<String> = args.iter().map(|address| upstream(address)).collect();
        let mut options = Map::new();
        let mut set_headers = Map::new();
        for inner in line.inner() {
            match (inner.name(), inner.arg(0)) {
                ("to", _) => upstreams.extend(inner.args().iter().map(|address| upstream(address))),
                ("lb_policy", "round_robin" | "random") => {}
                ("lb_policy", "least_conn") => {
                    options.insert("balance".to_owned(), "least_busy".into());
                }
                ("health_uri", path) => {
                    options.entry("health").or_insert_with(|| json!({}))["path"] = path.into();
                }
                ("health_interval", time) => self.health_time("interval_secs", inner, time, &mut options),
                ("health_timeout", time) => self.health_time("timeout_secs", inner, time, &mut options),
                ("fail_duration", time) => self.health_time("out_secs", inner, time, &mut options),
                ("header_up", "Host") if inner.arg(1).contains("upstream_hostport") => {
                    options.insert("host".to_owned(), "upstream".into());
                }
                ("header_up", "X-Real-IP") => {
                    self.lose(inner, "the client's address is in `X-Forwarded-For` only")
                }
                ("header_up", name) if name.starts_with("X-Forwarded-") => {}
                ("header_up", name) if !inner.arg(1).contains('{') && !name.starts_with(['+', '-']) => {
                    set_headers.insert(name.to_ascii_lowercase(), inner.arg(1).into());
                }
                ("flush_interval" | "lb_try_duration" | "lb_try_interval" | "max_fails", _) => {}
                _ => self.lose(inner, "see the options of the kind `proxy`"),
            }
        }
        options.insert("upstreams".to_owned(), json!(upstreams));
        if route.path != "/" && !strips {
            options.insert("prefix".to_owned(), "keep".into());
        }
        let mut scope = scope.clone();
        if !set_headers.is_empty() {
            scope.push(
                "request_headers",
                json!({ "use": "headers", "request": { "set": set_headers } }),
                &CaddyMatcher::default(),
            );
        }
        let stack = scope.stack(&mut self.draft);
        app(&mut self.draft, wanted, "proxy", options.into(), &stack)
    }

    fn health_time(&mut self, key: &str, line: &CaddyLine, time: &str, options: &mut Map<String, Value>) {
        match humantime::parse_duration(time) {
            Ok(time) => {
                options.entry("health").or_insert_with(|| json!({}))[key] = time.as_secs().max(1).into()
            }
            Err(_) => self.lose(line, "it is not a time"),
        }
    }

    fn php(&mut self, wanted: &str, line: &CaddyLine, scope: &CaddyScope) -> String {
        let (_, args) = CaddyMatcher::of(line, &scope.named);
        let address = |text: &String| match text.strip_prefix("unix/") {
            Some(path) => format!("unix:{path}"),
            None => text.trim_start_matches("fastcgi://").to_owned(),
        };
        let upstreams: Vec<_> = args.iter().map(address).collect();
        let root = self.root(line, scope);
        let options = json!({ "upstreams": upstreams, "root": root, "fallback": "/index.php" });
        for inner in line.inner() {
            self.lose(inner, "see the options of the kind `fastcgi`");
        }
        let stack = scope.stack(&mut self.draft);
        app(&mut self.draft, wanted, "fastcgi", options, &stack)
    }

    fn root(&mut self, line: &CaddyLine, scope: &CaddyScope) -> String {
        scope.root.clone().unwrap_or_else(|| {
            self.draft.lose(line.line, "the directory: Caddy serves its working directory");
            ".".to_owned()
        })
    }

    fn files(
        &mut self,
        wanted: &str,
        route: &CaddyRoute,
        strips: bool,
        line: &CaddyLine,
        tried: Option<&CaddyLine>,
        scope: &CaddyScope,
    ) -> Option<String> {
        let root = self.root(line, scope);
        let folder = match strips || route.path == "/" {
            true => root.clone(),
            false => format!("{}{}", root.trim_end_matches('/'), route.path),
        };
        let mut options = json!({ "publish_dir": folder });
        if line.args().iter().any(|arg| arg == "browse") {
            options["listing"] = true.into();
        }
        for inner in line.inner() {
            match inner.name() {
                "browse" => options["listing"] = true.into(),
                "index" => options["index"] = json!(inner.args()),
                "precompressed" => {}
                _ => self.lose(inner, "names that begin with a dot are not served"),
            }
        }
        let stack = scope.stack(&mut self.draft);
        let page = tried.and_then(|tried| tried.args().last().map(|last| (tried, last.clone())));
        match page {
            Some((_, page)) if page.starts_with('/') && !page.contains('{') => {
                let files = app(&mut self.draft, &format!("{wanted}_files"), "static", options, &[]);
                let file = format!("{}{page}", root.trim_end_matches('/'));
                let page =
                    app(&mut self.draft, &format!("{wanted}_page"), "respond", json!({ "file": file }), &[]);
                Some(app(&mut self.draft, wanted, "cascade", json!({ "apps": [files, page] }), &stack))
            }
            Some((tried, _)) => {
                self.lose(tried, "a path is tried as a file and as a directory with an index file");
                Some(app(&mut self.draft, wanted, "static", options, &stack))
            }
            None => Some(app(&mut self.draft, wanted, "static", options, &stack)),
        }
    }

    fn respond(&mut self, wanted: &str, line: &CaddyLine, scope: &CaddyScope) -> String {
        let (_, args) = CaddyMatcher::of(line, &scope.named);
        let options = match args {
            [status] if status.parse::<u16>().is_ok() => {
                json!({ "status": status.parse::<u16>().unwrap_or(200) })
            }
            [body, status, ..] => json!({ "status": status.parse::<u16>().unwrap_or(200), "body": body }),
            [body] => json!({ "body": body }),
            [] => json!({ "status": 200 }),
        };
        let stack = scope.stack(&mut self.draft);
        app(&mut self.draft, wanted, "respond", options, &stack)
    }
}

/// The address of an upstream.
pub(super) fn upstream(address: &str) -> String {
    if let Some(path) = address.strip_prefix("unix/") {
        return format!("unix:{path}");
    }
    match address {
        address if address.contains("://") => address.to_owned(),
        port if port.starts_with(':') => format!("http://127.0.0.1{port}"),
        host if host.contains(':') => format!("http://{host}"),
        host => format!("http://{host}:80"),
    }
}
