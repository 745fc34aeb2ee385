//! One `server` block.

use serde_json::{Map, Value, json};

use super::NginxReader;
use super::location::{NginxLocation, Php, is_php};
use super::nested::flattened;
use super::parse::Directive;
use super::scope::{NginxScope, lose};
use crate::ops::import::draft::plain;
use crate::ops::import::sites::{WebSite, mounted, site_name};

impl NginxReader {
    pub(super) fn server(&mut self, block: &Directive, outer: &NginxScope, options: &Map<String, Value>) {
        let mut scope = outer.clone();
        let flat = flattened(block.block.iter().filter(|one| one.name == "location"));
        let locations: Vec<&Directive> = flat.iter().collect();
        for location in locations.iter().filter(|one| one.arg(0) == "=") {
            let root = location.block.iter().find(|one| one.name == "root");
            if let Some(root) = root {
                scope.page_roots.insert(location.arg(1).to_owned(), root.arg(0).into());
            }
        }
        let mut site = WebSite { server: options.clone(), ..WebSite::default() };
        let mut handler = Vec::new();
        for directive in &block.block {
            match &*directive.name {
                "location" => {}
                "listen" => self.listen(directive, &mut site),
                "server_name" => self.server_names(directive, &mut site),
                "return" | "try_files" => handler.push(directive.clone()),
                "if" => self.condition(directive, &mut scope),
                _ if self.tls(directive, &mut site) => {}
                _ if self.server_option(directive, &mut site.server) => {}
                _ if scope.apply(directive, &mut self.draft) => {}
                "error_log" => lose(&mut self.draft, directive, "the server has one log"),
                _ => lose(&mut self.draft, directive, "there is no equivalent"),
            }
        }
        if site.addresses.is_empty() {
            site.addresses.push(("0.0.0.0:80".to_owned(), false));
        }
        self.finish_tls(&mut site, block.line);
        let mut name = site_name(&site.hosts, &site.addresses, self.is_only);
        if self.draft.has("app", &name) {
            name += if site.addresses.iter().any(|(_, tls)| *tls) { "_https" } else { "_http" };
        }
        site.app = self.site_app(&name, &scope, &locations, &handler, block.line);
        self.sites.push(site);
    }

    /// The app of a site: from its locations, or from the block itself.
    fn site_app(
        &mut self,
        name: &str,
        scope: &NginxScope,
        locations: &[&Directive],
        handler: &[Directive],
        line: usize,
    ) -> String {
        let php = self.php(scope, locations);
        let named: Vec<&Directive> =
            locations.iter().filter(|one| one.arg(0).starts_with('@')).copied().collect();
        let mut routes = Map::new();
        let prefixes: Vec<&&Directive> = locations.iter().filter(|one| self.is_route(one, scope)).collect();
        let is_mount = prefixes.iter().any(|one| path_of(one) != "/");
        let mut inner = scope.clone();
        if is_mount {
            // Their expressions are about the whole path: the mount has them.
            (inner.redirects, inner.rewrites) = (Vec::new(), Vec::new());
        }
        for directive in locations {
            if !prefixes.iter().any(|one| std::ptr::eq(**one, *directive)) {
                self.special_location(directive, &mut inner);
            }
        }
        for directive in prefixes {
            let path = path_of(directive);
            let wanted = match (&*path, is_mount) {
                ("/", false) => name.to_owned(),
                ("/", true) => format!("{name}_root"),
                (path, _) => format!("{name}{}", path.trim_end_matches('/')),
            };
            let location = NginxLocation {
                wanted: &wanted,
                path: &path,
                line: directive.line,
                php: php.as_ref(),
                named: &named,
            };
            if let Some(app) = self.location(&location, &directive.block, &inner) {
                routes.entry(trimmed(&path)).or_insert_with(|| app.into());
            }
        }
        if !routes.contains_key("/") {
            let wanted = if is_mount { format!("{name}_root") } else { name.to_owned() };
            let location =
                NginxLocation { wanted: &wanted, path: "/", line, php: php.as_ref(), named: &named };
            if let Some(app) = self.location(&location, handler, &inner) {
                routes.insert("/".to_owned(), app.into());
            }
        }
        let app = mounted(&mut self.draft, name, routes);
        let changes = if is_mount { scope.path_changes(&mut self.draft) } else { Vec::new() };
        if !changes.is_empty() {
            self.draft.set("app", &app, &["middleware"], json!(changes));
        }
        app
    }

    /// Whether a location is a prefix with something to do: not an expression, a named one or the place of an error page.
    fn is_route(&self, location: &Directive, scope: &NginxScope) -> bool {
        let is_expression = matches!(location.arg(0), "~" | "~*") || location.arg(0).starts_with('@');
        let is_page = scope
            .pages
            .values()
            .any(|file| file.as_str().is_some_and(|file| file.ends_with(location.arg(1))));
        let acts = |one: &Directive| {
            one.name.ends_with("_pass")
                || ["return", "try_files", "alias", "root", "deny", "expires", "autoindex"]
                    .contains(&&*one.name)
        };
        let exact = location.arg(0) == "=";
        !is_expression && !(exact && (is_page || !location.block.iter().any(acts)))
    }

    /// A location by an expression that is about what a middleware does, or that nothing corresponds to.
    fn special_location(&mut self, location: &Directive, scope: &mut NginxScope) {
        let expression = location.arg(1);
        let denies = location
            .block
            .iter()
            .any(|one| one.name == "deny" || (one.name == "return" && one.arg(0).starts_with('4')));
        // Names that begin with a dot are not served.
        let hides = expression.starts_with("/\\.") && denies;
        if is_php(location) || hides || location.arg(0).starts_with('@') || location.arg(0) == "=" {
            return;
        }
        match extensions(expression) {
            Some(paths) => {
                let mut own = NginxScope::default();
                let rest = location.block.iter().filter(|one| {
                    !["access_log", "log_not_found", "try_files"].contains(&&*one.name)
                        && !own.apply(one, &mut self.draft)
                });
                let rest: Vec<_> = rest.collect();
                for directive in rest {
                    lose(
                        &mut self.draft,
                        directive,
                        "a location with an expression can only set header fields",
                    );
                }
                if let Some(cache) = own.cache_control {
                    scope.by_path.push((paths, cache));
                }
            }
            None => lose(
                &mut self.draft,
                location,
                "paths are matched by prefix: see `only` of middleware, and `rewrite`",
            ),
        }
    }

    /// `location ~ \.php$`: where php-fpm is.
    fn php(&mut self, scope: &NginxScope, locations: &[&Directive]) -> Option<Php> {
        let location = locations.iter().find(|one| is_php(one))?;
        let mut scope = scope.clone();
        let mut pass = None;
        for directive in &location.block {
            match &*directive.name {
                "fastcgi_pass" => pass = Some(directive.arg(0).to_owned()),
                "try_files" | "include" => {}
                "fastcgi_param" if !directive.arg(1).contains('$') => {
                    scope.params.insert(directive.arg(0).to_owned(), directive.arg(1).into());
                }
                "fastcgi_param"
                    if ["SCRIPT_FILENAME", "PATH_INFO", "SCRIPT_NAME", "DOCUMENT_ROOT", "HTTPS"]
                        .contains(&directive.arg(0)) => {}
                _ if scope.apply(directive, &mut self.draft) => {}
                _ => lose(&mut self.draft, directive, "there is no equivalent"),
            }
        }
        Some(Php { upstreams: self.sockets(&pass?), scope })
    }

    fn listen(&mut self, directive: &Directive, site: &mut WebSite) {
        let (address, options) = (directive.arg(0), directive.args.get(1..).unwrap_or_default());
        let address = match address {
            unix if unix.starts_with("unix:") => unix.to_owned(),
            port if port.parse::<u16>().is_ok() => format!("0.0.0.0:{port}"),
            every if every.starts_with("*:") => every.replacen('*', "0.0.0.0", 1),
            host if host.rsplit_once(':').is_none() || host.ends_with(']') => format!("{host}:80"),
            address => address.to_owned(),
        };
        let mut tls = false;
        for option in options {
            match option.as_str() {
                "ssl" => tls = true,
                "default_server" | "default" => site.is_default = true,
                "http2" | "reuseport" | "deferred" | "fastopen" | "ipv6only=on" => {}
                "proxy_protocol" => lose(
                    &mut self.draft,
                    directive,
                    "set `proxy_protocol` to the networks of the load balancers",
                ),
                "quic" => return lose(&mut self.draft, directive, "there is no HTTP/3"),
                option if option.starts_with("backlog=") => {}
                option => lose(&mut self.draft, directive, &format!("`{option}` has no equivalent")),
            }
        }
        site.addresses.push((address, tls));
    }

    fn server_names(&mut self, directive: &Directive, site: &mut WebSite) {
        for name in &directive.args {
            match name.as_str() {
                "_" | "" => {}
                name if name.starts_with(['~', '*', '.']) || name.ends_with('*') => {
                    lose(&mut self.draft, directive, &format!("`{name}`: routes name each host"));
                }
                name => site.hosts.push(name.to_owned()),
            }
        }
    }

    /// `if ($scheme = http) { return 301 https://…; }`
    fn condition(&mut self, directive: &Directive, scope: &mut NginxScope) {
        let about_scheme = directive
            .args
            .iter()
            .any(|arg| arg.contains("$scheme") || arg.contains("$https") || arg.contains("forwarded_proto"));
        match directive.block.as_slice() {
            [only]
                if about_scheme
                    && only.name == "return"
                    && only.args.iter().any(|arg| arg.starts_with("https://")) =>
            {
                scope.to_https = true;
            }
            _ => lose(&mut self.draft, directive, "there are no conditions: see `only` of middleware"),
        }
    }

    fn tls(&mut self, directive: &Directive, site: &mut WebSite) -> bool {
        const KNOWN: [&str; 7] = [
            "ssl_certificate",
            "ssl_certificate_key",
            "ssl_client_certificate",
            "ssl_trusted_certificate",
            "ssl_verify_client",
            "ssl_protocols",
            "ssl",
        ];
        if !KNOWN.contains(&&*directive.name) {
            return false;
        }
        let arg = directive.arg(0);
        let tls = site.server.entry("tls").or_insert_with(|| json!({}));
        match &*directive.name {
            "ssl_certificate" => tls[" certificate"] = plain(arg),
            "ssl_certificate_key" => tls[" key"] = plain(arg),
            "ssl_client_certificate" | "ssl_trusted_certificate" => tls["client_ca_file"] = arg.into(),
            "ssl_verify_client" => match arg {
                "on" => tls["client_certificates"] = "required".into(),
                "optional" => tls["client_certificates"] = "optional".into(),
                _ => {}
            },
            "ssl_protocols" => {
                let old = directive
                    .args
                    .iter()
                    .any(|version| ["SSLv3", "TLSv1", "TLSv1.1"].contains(&version.as_str()));
                if old {
                    lose(&mut self.draft, directive, "versions before TLS 1.2 are not safe");
                } else if !directive.args.iter().any(|version| version == "TLSv1.2") {
                    tls["min_version"] = "1.3".into();
                }
            }
            // Before nginx 1.15, this stood for `ssl` of each `listen`.
            "ssl" if directive.is_on() => tls[" on"] = true.into(),
            _ => {}
        }
        true
    }

    fn finish_tls(&mut self, site: &mut WebSite, line: usize) {
        let Some(tls) = site.server.get_mut("tls").and_then(Value::as_object_mut) else {
            if site.addresses.iter().any(|(_, tls)| *tls) {
                self.draft.lose(line, "the certificate of this server: set `tls.certificates`");
                site.server.insert("tls".to_owned(), json!({ "self_signed": true }));
            }
            return;
        };
        if tls.shift_remove(" on").is_some() {
            site.addresses.iter_mut().for_each(|(_, is_tls)| *is_tls = true);
        }
        let (certificate, key) = (tls.shift_remove(" certificate"), tls.shift_remove(" key"));
        if let (Some(certificate), Some(key)) = (certificate, key) {
            tls.insert(
                "certificates".to_owned(),
                json!([{ "certificate_file": certificate, "key_file": key }]),
            );
        }
        if !tls.contains_key("client_certificates") {
            tls.shift_remove("client_ca_file");
        }
    }
}

/// The path of a location.
pub(super) fn path_of(location: &Directive) -> String {
    let path = if matches!(location.arg(0), "=" | "^~") { location.arg(1) } else { location.arg(0) };
    path.to_owned()
}

/// A path as a route: without a slash at its end.
fn trimmed(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

/// `\.(css|js)$` as patterns of paths: `*.css`, `*.js`.
fn extensions(expression: &str) -> Option<Vec<String>> {
    let inner = expression.strip_prefix("\\.")?;
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let list = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    let list = list.strip_prefix("?:").unwrap_or(list);
    let mut found = Vec::new();
    for name in list.split('|') {
        // `jpe?g`
        let both = match name.split_once('?') {
            Some((before, after)) => {
                let mut short = before.to_owned();
                short.pop();
                vec![format!("{short}{after}"), format!("{before}{after}")]
            }
            None => vec![name.to_owned()],
        };
        if both.iter().any(|name| name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric())) {
            return None;
        }
        found.extend(both.into_iter().map(|name| format!("*.{name}")));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_of_expressions() {
        let check = |expression: &str, expected: Option<&[&str]>| {
            let expected = expected.map(|list| list.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(extensions(expression), expected, "{expression}");
        };
        check(r"\.(css|js)$", Some(&["*.css", "*.js"]));
        check(r"\.(?:jpe?g|png)$", Some(&["*.jpg", "*.jpeg", "*.png"]));
        check(r"\.svg$", Some(&["*.svg"]));
        check(r"^/api/", None);
        check(r"\.(css|j.)$", None);
    }
}
