//! Directives that become middleware.

use serde_json::{Map, Value, json};

use super::CaddyReader;
use super::handler::CaddyRoute;
use super::matcher::CaddyMatcher;
use super::parse::CaddyLine;
use crate::ops::import::draft::Draft;
use crate::ops::import::sites::WebSite;

/// What holds for a site, or in a `handle`.
#[derive(Debug, Clone, Default)]
pub(super) struct CaddyScope {
    pub(super) root: Option<String>,
    /// Whether there is a log, and its file.
    log: Option<Option<String>>,
    compress: bool,
    /// Middleware tables with the names that they should have, outermost first.
    tables: Vec<(String, Value)>,
    body_limit: Option<u64>,
    /// Rules about whole paths.
    pub(super) redirects: Vec<Value>,
    rewrites: Vec<Value>,
    /// Matchers by name.
    pub(super) named: Vec<(String, CaddyMatcher)>,
}

impl CaddyScope {
    /// The stack of an app, outermost first.
    pub(super) fn stack(&self, draft: &mut Draft) -> Vec<String> {
        let mut stack = Vec::new();
        match &self.log {
            None => {}
            Some(None) => stack.push("access_log".to_owned()),
            Some(Some(file)) => {
                stack.push(draft.add(
                    "middleware",
                    "access_log",
                    json!({ "use": "access_log", "format": "json", "file": file }),
                ));
            }
        }
        stack.push("error_page".to_owned());
        if self.compress {
            stack.push("compress".to_owned());
        }
        for (name, table) in &self.tables {
            stack.push(draft.add("middleware", name, table.clone()));
        }
        stack.extend(self.paths_stack(draft));
        // Caddy has no limit for bodies.
        if let Some(bytes) = self.body_limit {
            stack.push(draft.add(
                "middleware",
                "body_limit",
                json!({ "use": "body_limit", "max_bytes": bytes }),
            ));
        }
        stack
    }

    /// The middleware about whole paths.
    pub(super) fn paths_stack(&self, draft: &mut Draft) -> Vec<String> {
        let mut stack = Vec::new();
        if !self.redirects.is_empty() {
            stack.push(draft.add(
                "middleware",
                "redirects",
                json!({ "use": "redirect", "rules": self.redirects }),
            ));
        }
        if !self.rewrites.is_empty() {
            stack.push(draft.add(
                "middleware",
                "rewrites",
                json!({ "use": "rewrite", "rules": self.rewrites }),
            ));
        }
        stack
    }

    /// Removes what is about whole paths.
    pub(super) fn take_paths(&mut self) {
        (self.redirects, self.rewrites) = (Vec::new(), Vec::new());
    }

    pub(super) fn push(&mut self, name: &str, mut table: Value, matcher: &CaddyMatcher) {
        if let Some(only) = matcher.only() {
            table["only"] = only;
        }
        self.tables.push((name.to_owned(), table));
    }
}

impl CaddyReader {
    /// Takes over the directives of a site or a `handle` that are about all of it; returns its handlers by path.
    pub(super) fn scope(
        &mut self,
        lines: &[CaddyLine],
        scope: &mut CaddyScope,
        site: &mut WebSite,
    ) -> Vec<CaddyRoute> {
        for line in lines.iter().filter(|line| line.name().starts_with('@')) {
            scope.named.push((line.name().to_owned(), CaddyMatcher::defined(line)));
        }
        let mut routes: Vec<CaddyRoute> = Vec::new();
        for line in lines {
            let (matcher, args) = CaddyMatcher::of(line, &scope.named);
            let Some(matcher) = self.understood(line, matcher) else { continue };
            if let Some((others, clients)) = &matcher.clients {
                self.by_client(line, *others, clients, &matcher, scope);
                continue;
            }
            let arg = args.first().map_or("", String::as_str);
            match line.name() {
                name if name.starts_with('@') => {}
                "root" if matcher.is_any() => scope.root = Some(arg.to_owned()),
                "encode" => scope.compress = true,
                "log" => self.log(line, scope),
                "header" => self.header(line, args, &matcher, scope),
                "request_body" => self.request_body(line, scope),
                "basic_auth" | "basicauth" => self.basic_auth(line, &matcher, scope),
                "forward_auth" => self.forward_auth(line, arg, &matcher, scope),
                "redir" => self.redirect(line, args, &matcher, scope, &mut routes),
                "rewrite" => self.rewrite(line, arg, &matcher, scope),
                "metrics" => scope.push("metrics", json!({ "use": "metrics" }), &CaddyMatcher::default()),
                "tls" => self.tls(line, site),
                "bind" | "log_skip" | "skip_log" => {}
                "handle" | "handle_path" | "route" | "file_server" | "reverse_proxy" | "php_fastcgi"
                | "respond" | "try_files" | "uri" | "abort" | "error" => {
                    self.route(line, &matcher, &mut routes)
                }
                _ => self.lose(line, "there is no equivalent"),
            }
        }
        routes
    }

    /// The matcher, if paster can match it. A directive that keeps requests out is for more of them otherwise, rather than for
    /// none.
    fn understood(&mut self, line: &CaddyLine, matcher: CaddyMatcher) -> Option<CaddyMatcher> {
        let Some(unknown) = &matcher.unknown else { return Some(matcher) };
        let guards = ["basic_auth", "basicauth", "forward_auth"].contains(&line.name());
        let refuses = refuses(line) && !matcher.paths.is_empty();
        let (wide, why) = match guards || refuses {
            true => (
                true,
                format!(
                    "paster cannot match `{unknown}`: the setting applies to all requests that the other conditions match"
                ),
            ),
            false => (false, format!("paster cannot match `{unknown}`")),
        };
        self.draft.lose(line.line, format!("`{}`: {why}", line.shown()));
        wide.then(|| matcher.wider())
    }

    /// A directive for some clients: those that are refused.
    fn by_client(
        &mut self,
        line: &CaddyLine,
        others: bool,
        clients: &[String],
        matcher: &CaddyMatcher,
        scope: &mut CaddyScope,
    ) {
        if !refuses(line) {
            return self.lose(line, "only `grant_ip` looks at the client's address");
        }
        let key = if others { "allow" } else { "deny" };
        scope.push("clients", json!({ "use": "grant_ip", key: clients }), matcher);
    }

    fn log(&mut self, line: &CaddyLine, scope: &mut CaddyScope) {
        scope.log.get_or_insert(None);
        for inner in line.inner() {
            match (inner.name(), inner.arg(0)) {
                ("output", "file") => scope.log = Some(Some(inner.arg(1).to_owned())),
                ("output", "stderr" | "stdout") | ("format", "json" | "console") | ("level", _) => {}
                _ => self.lose(inner, "see the options of `access_log`"),
            }
        }
    }

    fn header(&mut self, line: &CaddyLine, args: &[String], matcher: &CaddyMatcher, scope: &mut CaddyScope) {
        let single = CaddyLine { words: args.to_vec(), line: line.line, block: None };
        let lines = line.block.as_deref().unwrap_or(std::slice::from_ref(&single));
        let mut response = json!({});
        for one in lines {
            let (name, value) = (one.name(), one.arg(0));
            if value.contains('{') && !value.contains("${env:") || one.args().len() > 1 {
                self.lose(one, "the middleware `headers` sets fixed values");
                continue;
            }
            let field = name.trim_start_matches(['+', '-', '?', '>']).to_ascii_lowercase();
            match name.chars().next() {
                Some('-') => match response["remove"].as_array_mut() {
                    Some(list) => list.push(field.into()),
                    None => response["remove"] = json!([field]),
                },
                Some('+') => response["append"][&field] = value.into(),
                Some('?') => response["set_missing"][&field] = value.into(),
                Some(_) if !name.eq_ignore_ascii_case("defer") => response["set"][&field] = value.into(),
                _ => {}
            }
        }
        if response.as_object().is_some_and(|response| !response.is_empty()) {
            scope.push("headers", json!({ "use": "headers", "response": response }), matcher);
        }
    }

    fn request_body(&mut self, line: &CaddyLine, scope: &mut CaddyScope) {
        for inner in line.inner() {
            match (inner.name(), bytes(inner.arg(0))) {
                ("max_size", Some(bytes)) => scope.body_limit = Some(bytes),
                _ => self.lose(inner, "the middleware `body_limit` has `max_bytes`"),
            }
        }
    }

    /// The users stay closed out until their file is written.
    fn basic_auth(&mut self, line: &CaddyLine, matcher: &CaddyMatcher, scope: &mut CaddyScope) {
        let why = "`basic_auth`: put its users into `users.htpasswd`, each as `NAME:HASH`";
        self.draft.lose(line.line, why);
        scope.push("auth", json!({ "use": "auth_basic", "htpasswd": "users.htpasswd" }), matcher);
    }

    fn forward_auth(
        &mut self,
        line: &CaddyLine,
        address: &str,
        matcher: &CaddyMatcher,
        scope: &mut CaddyScope,
    ) {
        let mut table = json!({ "use": "auth_forward" });
        for inner in line.inner() {
            match inner.name() {
                "uri" => table["path"] = inner.arg(0).into(),
                "copy_headers" => {
                    let names = inner.args().iter().chain(inner.inner().iter().flat_map(|line| &line.words));
                    let names: Vec<_> = names.map(|name| name.to_ascii_lowercase()).collect();
                    table["copy"] = json!(names);
                }
                _ => self.lose(inner, "see the options of `auth_forward`"),
            }
        }
        let upstream = super::handler::upstream(address);
        let app = crate::ops::import::sites::app(
            &mut self.draft,
            "auth",
            "proxy",
            json!({ "upstreams": [upstream] }),
            &[],
        );
        table["app"] = app.into();
        scope.push("forward_auth", table, matcher);
    }

    /// `redir TO [CODE]`: of a path, a rule; of all paths, the app.
    fn redirect(
        &mut self,
        line: &CaddyLine,
        args: &[String],
        matcher: &CaddyMatcher,
        scope: &mut CaddyScope,
        routes: &mut Vec<CaddyRoute>,
    ) {
        let [to, rest @ ..] = args else { return };
        let status = match rest.first().map(String::as_str) {
            None | Some("temporary") => 302,
            Some("permanent") => 301,
            Some(code) => match code.parse::<u16>() {
                Ok(code @ (301 | 302 | 303 | 307 | 308)) => code,
                _ => return self.lose(line, "it is not the status of a redirect"),
            },
        };
        let keeps = to.strip_suffix("{uri}");
        if keeps.unwrap_or(to).replace("${env:", "").contains('{') {
            return self.lose(line, "a redirect has a fixed address, to which the path can be added");
        }
        match matcher.prefixes() {
            Some(prefixes) if prefixes == ["/"] => {
                let mut options = json!({ "to": keeps.unwrap_or(to), "status": status });
                if keeps.is_some() {
                    options["keep_path"] = true.into();
                }
                routes.push(CaddyRoute::redirect(line, options));
            }
            _ if matcher.other.is_empty() => {
                for path in &matcher.paths {
                    let (start, end) = match path.strip_suffix('*') {
                        Some(start) => (start, "(.*)"),
                        None => (path.as_str(), ""),
                    };
                    let to = match keeps {
                        Some(base) if end.is_empty() => format!("{base}{path}"),
                        Some(base) => format!("{base}{start}$1"),
                        None => to.replace('$', "$$"),
                    };
                    let expression = format!("^{}{end}$", regex::escape(start));
                    scope.redirects.push(json!({ "match": expression, "to": to, "status": status }));
                }
            }
            _ => self.lose(line, "redirects are by path"),
        }
    }

    fn rewrite(&mut self, line: &CaddyLine, to: &str, matcher: &CaddyMatcher, scope: &mut CaddyScope) {
        if to.contains('{') || !to.starts_with('/') || !matcher.other.is_empty() {
            return self.lose(line, "`rewrite` has rules with expressions for paths");
        }
        let paths = if matcher.paths.is_empty() { vec!["/*".to_owned()] } else { matcher.paths.clone() };
        for path in paths {
            let expression = format!("^{}$", regex::escape(&path).replace("\\*", ".*"));
            scope.rewrites.push(json!({ "match": expression, "to": to }));
        }
    }

    fn tls(&mut self, line: &CaddyLine, site: &mut WebSite) {
        let tls = match line.args() {
            [word] if word == "internal" => json!({ "self_signed": true }),
            [email] if email.contains('@') => {
                self.email.get_or_insert_with(|| email.clone());
                return;
            }
            [certificate, key] => {
                json!({ "certificates": [{ "certificate_file": certificate, "key_file": key }] })
            }
            _ => return self.lose(line, "see `tls` of the kind `http`"),
        };
        if !line.inner().is_empty() {
            self.lose(line, "its block: see `tls` of the kind `http`");
        }
        site.server = Map::from_iter([("tls".to_owned(), tls)]);
    }
}

/// `10MB` in bytes, as Caddy reads it.
fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..at].parse().ok()?;
    let scale = match text[at..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Whether a directive refuses requests: `abort`, `error`, `respond 403`.
fn refuses(line: &CaddyLine) -> bool {
    let status = line
        .args()
        .iter()
        .any(|arg| arg.len() == 3 && arg.starts_with(['4', '5']) && arg.parse::<u16>().is_ok());
    matches!(line.name(), "abort" | "error") || line.name() == "respond" && status
}
