//! One `location`: the app that answers for it.

use serde_json::{Map, json};

use super::NginxReader;
use super::parse::Directive;
use super::scope::{NginxScope, lose};
use crate::ops::import::draft::plain;
use crate::ops::import::sites::app;

/// Where a location is, and what else its server has.
pub(super) struct NginxLocation<'a> {
    /// The name that its app should have.
    pub(super) wanted: &'a str,
    pub(super) path: &'a str,
    pub(super) line: usize,
    pub(super) php: Option<&'a Php>,
    /// `location @name`.
    pub(super) named: &'a [&'a Directive],
}

/// Scripts that php-fpm runs.
pub(super) struct Php {
    pub(super) upstreams: Vec<String>,
    pub(super) scope: NginxScope,
}

/// Whether it is a location for PHP scripts.
pub(super) fn is_php(location: &Directive) -> bool {
    let expression = matches!(location.arg(0), "~" | "~*") && location.arg(1).contains("php");
    expression && location.block.iter().any(|one| one.name == "fastcgi_pass")
}

impl NginxReader {
    /// The app of a location with these directives; `None` if nothing answers.
    pub(super) fn location(
        &mut self,
        at: &NginxLocation<'_>,
        block: &[Directive],
        outer: &NginxScope,
    ) -> Option<String> {
        let mut scope = outer.clone();
        let (mut handler, mut alias, mut files) = (None, None, None);
        let own_rewrites = scope.rewrites.len() + scope.redirects.len();
        for directive in block {
            match &*directive.name {
                "proxy_pass" | "fastcgi_pass" | "scgi_pass" | "uwsgi_pass" | "grpc_pass" | "return" => {
                    handler = Some(directive)
                }
                "try_files" => files = Some(directive),
                "alias" => alias = Some(directive.arg(0).to_owned()),
                "fastcgi_param" | "scgi_param" => self.param(directive, &mut scope),
                "location" => {
                    lose(&mut self.draft, directive, "a location in another one: write it beside the other")
                }
                "if" => lose(&mut self.draft, directive, "there are no conditions: see `only` of middleware"),
                _ if scope.apply(directive, &mut self.draft) => {}
                _ => lose(&mut self.draft, directive, "there is no equivalent"),
            }
        }
        if at.path != "/" && scope.rewrites.len() + scope.redirects.len() > own_rewrites {
            self.draft
                .lose(at.line, "`rewrite` in a location: its expression is about the path below the mount");
            (scope.rewrites, scope.redirects) = (outer.rewrites.clone(), outer.redirects.clone());
        }
        if let Some(handler) = handler {
            return self.handler(at, handler, &scope);
        }
        let root = match (&alias, &scope.root) {
            (Some(alias), _) => alias.trim_end_matches('/').to_owned(),
            (None, Some(root)) => format!("{}{}", root.trim_end_matches('/'), at.path.trim_end_matches('/')),
            (None, None) => String::new(),
        };
        self.files(at, &root, files, &scope)
    }

    fn param(&mut self, directive: &Directive, scope: &mut NginxScope) {
        match directive.arg(1).contains('$') {
            false => {
                scope.params.insert(directive.arg(0).to_owned(), plain(directive.arg(1)));
            }
            true if directive.arg(0) == "SCRIPT_FILENAME" => {}
            true => lose(&mut self.draft, directive, "`params` has fixed values"),
        }
    }

    fn handler(
        &mut self,
        at: &NginxLocation<'_>,
        directive: &Directive,
        scope: &NginxScope,
    ) -> Option<String> {
        match &*directive.name {
            "return" => self.answer(at, directive, scope),
            "proxy_pass" => self.proxy(at, directive, scope),
            "fastcgi_pass" | "scgi_pass" => {
                let kind = directive.name.trim_end_matches("_pass");
                let mut options = scope.bridge();
                options.insert("upstreams".to_owned(), json!(self.sockets(directive.arg(0))));
                if !scope.params.is_empty() {
                    options.insert("params".to_owned(), scope.params.clone().into());
                }
                let stack = scope.stack(&mut self.draft, at.line, true);
                Some(app(&mut self.draft, at.wanted, kind, options.into(), &stack))
            }
            "uwsgi_pass" => {
                lose(
                    &mut self.draft,
                    directive,
                    "serve the application itself, with the kind `wsgi`: see docs/from-uwsgi.md",
                );
                None
            }
            _ => {
                lose(
                    &mut self.draft,
                    directive,
                    "the kind `proxy` has `protocol = \"http2\"`, which is not tried with gRPC",
                );
                None
            }
        }
    }

    /// The addresses of a FastCGI or SCGI upstream.
    pub(super) fn sockets(&self, name: &str) -> Vec<String> {
        match self.upstreams.get(name) {
            Some(upstream) => upstream.servers.clone(),
            None => vec![name.to_owned()],
        }
    }

    fn proxy(&mut self, at: &NginxLocation<'_>, directive: &Directive, scope: &NginxScope) -> Option<String> {
        let url = directive.arg(0);
        let Some((scheme, rest)) = url.split_once("://").filter(|(_, rest)| !rest.contains('$')) else {
            lose(&mut self.draft, directive, "the address must be fixed");
            return None;
        };
        let mut options = Map::new();
        // `unix:PATH:/uri`, or `name/uri`
        let (name, uri) = match rest.strip_prefix("unix:") {
            Some(path) => match path.split_once(':') {
                Some((path, uri)) => (format!("unix:{path}"), uri),
                None => (format!("unix:{path}"), ""),
            },
            None => match rest.find('/') {
                Some(slash) => (rest[..slash].to_owned(), &rest[slash..]),
                None => (rest.to_owned(), ""),
            },
        };
        let base = uri.trim_end_matches('/');
        let known = self.upstreams.get(&name).cloned();
        let servers = known.as_ref().map_or_else(|| vec![name.clone()], |upstream| upstream.servers.clone());
        let addresses: Vec<_> = servers
            .iter()
            .map(|server| match server.starts_with("unix:") {
                true => server.clone(),
                false => format!("{scheme}://{server}{base}"),
            })
            .collect();
        if !base.is_empty() && servers.iter().any(|server| server.starts_with("unix:")) {
            lose(
                &mut self.draft,
                directive,
                &format!("the path `{base}`: the address of a Unix socket has none"),
            );
        }
        options.insert("upstreams".to_owned(), json!(addresses));
        if at.path != "/" && uri.is_empty() {
            options.insert("prefix".to_owned(), "keep".into());
        }
        if let Some(host) = scope.host.clone() {
            options.insert("host".to_owned(), host.into());
        }
        options.extend(scope.bridge());
        options.extend(known.map(|upstream| upstream.options).unwrap_or_default());
        let stack = scope.stack(&mut self.draft, at.line, true);
        Some(app(&mut self.draft, at.wanted, "proxy", options.into(), &stack))
    }

    /// `return CODE [TEXT]`, `return CODE URL`, `return URL`.
    fn answer(
        &mut self,
        at: &NginxLocation<'_>,
        directive: &Directive,
        scope: &NginxScope,
    ) -> Option<String> {
        let (status, text) = match directive.arg(0).parse::<u16>() {
            Ok(status) => (status, directive.arg(1)),
            Err(_) => (302, directive.arg(0)),
        };
        let mut scope = scope.clone();
        if ![301, 302, 303, 307, 308].contains(&status) {
            if text.contains('$') || status == 444 {
                lose(&mut self.draft, directive, "`respond` answers with a fixed text");
            }
            let status = if status == 444 { 404 } else { status };
            let mut options = json!({ "status": status });
            if !text.is_empty() && !text.contains('$') {
                options["body"] = plain(text);
            }
            let stack = scope.stack(&mut self.draft, at.line, false);
            return Some(app(&mut self.draft, at.wanted, "respond", options, &stack));
        }
        let same_path =
            ["$request_uri", "$uri$is_args$args", "$uri"].iter().find_map(|end| text.strip_suffix(end));
        let own_hosts = ["https://$host", "https://$server_name", "https://$http_host"];
        match same_path {
            Some(host) if own_hosts.contains(&host) => {
                scope.to_https = true;
                let stack = scope.stack(&mut self.draft, at.line, false);
                Some(app(&mut self.draft, at.wanted, "respond", json!({ "status": 404 }), &stack))
            }
            Some(base) if !base.contains('$') => {
                let to = format!("{base}{}", at.path.trim_end_matches('/'));
                let options = json!({ "to": to, "status": status, "keep_path": true });
                let stack = scope.stack(&mut self.draft, at.line, false);
                Some(app(&mut self.draft, at.wanted, "redirect", options, &stack))
            }
            None if !text.contains('$') && (text.starts_with('/') || text.starts_with("http")) => {
                let stack = scope.stack(&mut self.draft, at.line, false);
                Some(app(
                    &mut self.draft,
                    at.wanted,
                    "redirect",
                    json!({ "to": text, "status": status }),
                    &stack,
                ))
            }
            _ => {
                lose(
                    &mut self.draft,
                    directive,
                    "a redirect has a fixed address, to which the path can be added",
                );
                None
            }
        }
    }

    /// The files below `root`, with what `try_files` names after them.
    fn files(
        &mut self,
        at: &NginxLocation<'_>,
        root: &str,
        tried: Option<&Directive>,
        scope: &NginxScope,
    ) -> Option<String> {
        let (last, before) = tried.and_then(|tried| tried.args.split_last()).unzip();
        for path in before.unwrap_or_default() {
            if !["$uri", "$uri/", "$uri/index.html"].contains(&path.as_str()) {
                let shown = format!(
                    "`try_files … {path}`: a path is tried as a file and as a directory with an index file"
                );
                self.draft.lose(tried.map_or(at.line, |tried| tried.line), shown);
            }
        }
        if let Some(php) = at.php.filter(|_| !root.is_empty() && at.path == "/") {
            return Some(self.php_site(at, php, root, last.map(String::as_str), scope));
        }
        match last.map(String::as_str) {
            Some(named) if named.starts_with('@') => {
                let Some(block) = at.named.iter().find(|one| one.arg(0) == named) else {
                    self.draft.lose(at.line, format!("`{named}`: there is no such location"));
                    return self.static_files(at.wanted, root, scope, at.line, true);
                };
                let app = self.location(at, &block.block, scope)?;
                if root.is_empty() {
                    return Some(app);
                }
                let files =
                    self.static_files(&format!("{}_files", at.wanted), root, scope, at.line, false)?;
                let overlay =
                    self.draft.add("middleware", "files", json!({ "use": "static_overlay", "app": files }));
                let table = self.draft.table("app", &app);
                let stack = table.entry("middleware").or_insert_with(|| json!([]));
                if let Some(stack) = stack.as_array_mut() {
                    // The limit for bodies stays innermost.
                    let place = stack.len().saturating_sub(1);
                    stack.insert(place, overlay.into());
                }
                Some(app)
            }
            Some(page) if page.starts_with('/') && !page.contains(['$', '?']) && !root.is_empty() => {
                let stack = scope.stack(&mut self.draft, at.line, false);
                let files =
                    self.static_files(&format!("{}_files", at.wanted), root, scope, at.line, false)?;
                let base = scope.root.as_deref().unwrap_or(root).trim_end_matches('/').to_owned();
                let page = json!({ "file": format!("{base}{page}") });
                let page = app(&mut self.draft, &format!("{}_page", at.wanted), "respond", page, &[]);
                Some(app(&mut self.draft, at.wanted, "cascade", json!({ "apps": [files, page] }), &stack))
            }
            Some(other) if !other.starts_with('=') && !other.starts_with("$uri") => {
                let line = tried.map_or(at.line, |tried| tried.line);
                self.draft.lose(line, format!("`try_files … {other}`: there is no equivalent"));
                self.static_files(at.wanted, root, scope, at.line, true)
            }
            _ => self.static_files(at.wanted, root, scope, at.line, true),
        }
    }

    fn php_site(
        &mut self,
        at: &NginxLocation<'_>,
        php: &Php,
        root: &str,
        last: Option<&str>,
        scope: &NginxScope,
    ) -> String {
        let mut options = php.scope.bridge();
        options.insert("upstreams".to_owned(), json!(php.upstreams));
        options.insert("root".to_owned(), root.into());
        // The script gets the query in any case.
        let fallback =
            last.filter(|last| last.starts_with('/')).and_then(|last| last.split(['?', '$']).next());
        if let Some(fallback) = fallback {
            options.insert("fallback".to_owned(), fallback.into());
        }
        if !php.scope.params.is_empty() {
            options.insert("params".to_owned(), php.scope.params.clone().into());
        }
        let stack = scope.stack(&mut self.draft, at.line, true);
        app(&mut self.draft, at.wanted, "fastcgi", options.into(), &stack)
    }

    fn static_files(
        &mut self,
        wanted: &str,
        root: &str,
        scope: &NginxScope,
        line: usize,
        with_stack: bool,
    ) -> Option<String> {
        if root.is_empty() && scope.redirects_all() {
            let stack = scope.stack(&mut self.draft, line, false);
            return Some(app(&mut self.draft, wanted, "respond", json!({ "status": 404 }), &stack));
        }
        if root.is_empty() {
            self.draft.lose(line, "a location without `root`: nothing serves it");
            return None;
        }
        let mut options = Map::from_iter([("publish_dir".to_owned(), plain(root))]);
        let index: Vec<_> =
            scope.index.iter().filter(|name| !name.ends_with(".php") && !name.contains('$')).collect();
        if !index.is_empty() && index != ["index.html"] {
            options.insert("index".to_owned(), json!(index));
        }
        if scope.listing {
            options.insert("listing".to_owned(), true.into());
        }
        let stack = if with_stack { scope.stack(&mut self.draft, line, false) } else { Vec::new() };
        Some(app(&mut self.draft, wanted, "static", options.into(), &stack))
    }
}
