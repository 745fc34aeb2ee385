//! Caddyfile: sites, with the directives that most have.
//!
//! # Source
//! Caddy, "Caddyfile Directives": <https://caddyserver.com/docs/caddyfile/directives>.

mod handler;
mod matcher;
mod parse;
mod scope;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::parse::{CaddyLine, parse};
use self::scope::CaddyScope;
use super::ImportInput;
use super::draft::Draft;
use super::sites::{WebSite, add_sites, mounted, site_name};
use crate::error::{Error, Result};

/// How deep snippets may import each other.
const IMPORT_LIMIT: usize = 5;

pub(super) fn recognizes(input: &ImportInput) -> bool {
    input.name() == "Caddyfile"
        || input.name().starts_with("Caddyfile.")
        || input.name().ends_with(".caddyfile")
}

/// The state of reading.
struct CaddyReader {
    draft: Draft,
    sites: Vec<WebSite>,
    /// The contact for certificates.
    email: Option<String>,
    /// `auto_https off`.
    plain: bool,
    http_port: String,
    https_port: String,
    is_only: bool,
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let mut lines = parse(input)?;
    // A file of one site may have no braces round it.
    let has_blocks = lines.first().is_some_and(|line| line.block.is_some());
    if !has_blocks && !lines.is_empty() {
        let inner = lines.split_off(1);
        lines[0].block = Some(inner);
    }
    let mut reader = CaddyReader {
        draft: Draft::of(input),
        sites: Vec::new(),
        email: None,
        plain: false,
        http_port: "80".to_owned(),
        https_port: "443".to_owned(),
        is_only: false,
    };
    let mut snippets: BTreeMap<String, Vec<CaddyLine>> = BTreeMap::new();
    let mut sites = Vec::new();
    for line in lines {
        let name = line.name().to_owned();
        match name.strip_prefix('(').and_then(|name| name.strip_suffix(')')) {
            Some(name) => {
                snippets.insert(name.to_owned(), line.block.unwrap_or_default());
            }
            None if line.words.is_empty() => reader.global(line.inner()),
            None if name == "import" => reader.lose(&line, "the file: import it too"),
            // It may hold whole sites, and is often empty.
            None if line.block.is_none() && name.starts_with("${env:") && line.words.len() == 1 => {
                reader.lose(&line, "the lines that the variable adds");
            }
            None => sites.push(line),
        }
    }
    if sites.is_empty() {
        return Err(Error::config(format!("`{}` has no site", input.path.display())).into());
    }
    reader.is_only = sites.len() == 1;
    for mut site in sites {
        let lines = reader.expanded(site.block.take().unwrap_or_default(), &snippets, 0);
        reader.site(&site, &lines);
    }
    reader.redirect_http();
    add_sites(&mut reader.draft, &reader.sites);
    Ok(reader.draft)
}

impl CaddyReader {
    fn lose(&mut self, line: &CaddyLine, why: &str) {
        self.draft.lose(line.line, format!("`{}`: {why}", line.shown()));
    }

    fn global(&mut self, lines: &[CaddyLine]) {
        for line in lines {
            match line.name() {
                "email" => self.email = Some(line.arg(0).to_owned()),
                "auto_https" if line.arg(0) == "off" => self.plain = true,
                "http_port" => self.http_port = line.arg(0).to_owned(),
                "https_port" => self.https_port = line.arg(0).to_owned(),
                "admin" | "debug" | "order" | "persist_config" | "grace_period" => {}
                _ => self.lose(line, "there is no equivalent"),
            }
        }
    }

    /// Replaces `import NAME ARGUMENT…` by the lines of the snippet.
    fn expanded(
        &mut self,
        lines: Vec<CaddyLine>,
        snippets: &BTreeMap<String, Vec<CaddyLine>>,
        depth: usize,
    ) -> Vec<CaddyLine> {
        let mut all = Vec::new();
        for mut line in lines {
            line.block = line.block.map(|inner| self.expanded(inner, snippets, depth));
            match snippets.get(line.arg(0)).filter(|_| line.name() == "import" && depth < IMPORT_LIMIT) {
                Some(snippet) => {
                    let inner =
                        snippet.iter().map(|inner| with_arguments(inner, &line.args()[1..])).collect();
                    all.extend(self.expanded(inner, snippets, depth + 1));
                }
                None if line.name() == "import" => self.lose(&line, "the file: import it too"),
                None => all.push(line),
            }
        }
        all
    }

    fn site(&mut self, header: &CaddyLine, lines: &[CaddyLine]) {
        let mut site = WebSite::default();
        let mut scope = CaddyScope::default();
        let names: Vec<String> =
            header.words.iter().flat_map(|word| word.split(',')).map(str::to_owned).collect();
        let bind = lines.iter().find(|line| line.name() == "bind").map(|line| line.arg(0).to_owned());
        let mut certified = Vec::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            self.address(header, name, bind.as_deref(), &mut site, &mut certified);
        }
        let routes = self.scope(lines, &mut scope, &mut site);
        if !certified.is_empty() {
            self.certificates(&mut site, &certified);
        }
        let name = site_name(&site.hosts, &site.addresses, self.is_only);
        site.app = self.routes(&name, &routes, &scope, header.line);
        self.sites.push(site);
    }

    /// One address of a site: a host, a port, a URL.
    fn address(
        &mut self,
        header: &CaddyLine,
        text: &str,
        bind: Option<&str>,
        site: &mut WebSite,
        certified: &mut Vec<String>,
    ) {
        let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
        let (rest, path) = rest.split_once('/').map_or((rest, ""), |(rest, path)| (rest, path));
        if !path.is_empty() && path != "*" {
            self.lose(header, "a path in the address of a site");
        }
        let (host, port) = split_port(rest);
        let has_host = !host.is_empty() && host != "*";
        let tls = match (scheme, port) {
            _ if self.plain => scheme == "https",
            ("http", _) => false,
            ("https", _) => true,
            (_, Some(port)) if port == self.http_port => false,
            (_, Some(port)) if port == self.https_port => true,
            _ => has_host,
        };
        let default = if tls { &self.https_port } else { &self.http_port };
        let port = port.unwrap_or(default);
        site.addresses.push((format!("{}:{port}", bind.unwrap_or_default()), tls));
        if host.contains("${") && !self.is_only {
            self.lose(header, "a variable in a host: routes name each host");
        } else if host.starts_with("*.") {
            self.lose(header, "a wildcard: routes name each host");
        } else if has_host {
            site.hosts.push(host.to_owned());
            if tls {
                certified.push(host.to_owned());
            }
        } else {
            site.is_default = true;
        }
    }

    /// Certificates for hosts: of an authority, or self-signed for those that only this machine knows.
    fn certificates(&mut self, site: &mut WebSite, hosts: &[String]) {
        if site.server.contains_key("tls") {
            return;
        }
        let is_local = |host: &String| {
            let endings = [".localhost", ".local", ".internal", ".home.arpa", ".test"];
            host == "localhost"
                || host.parse::<std::net::IpAddr>().is_ok()
                || endings.iter().any(|ending| host.ends_with(ending))
        };
        let tls = match hosts.iter().all(is_local) {
            true => json!({ "self_signed": true }),
            false => {
                let mut acme = json!({ "domains": hosts, "cache": "acme", "terms_of_service_agreed": true });
                if let Some(email) = &self.email {
                    acme["contact"] = json!([format!("mailto:{email}")]);
                }
                json!({ "acme": acme })
            }
        };
        site.server.insert("tls".to_owned(), tls);
    }

    /// Caddy redirects from port 80 where no site listens there.
    fn redirect_http(&mut self) {
        let plain = format!(":{}", self.http_port);
        let taken = self
            .sites
            .iter()
            .any(|site| site.addresses.iter().any(|(address, tls)| !tls && *address == plain));
        if taken || self.http_port != "80" || self.https_port != "443" {
            return;
        }
        for site in &mut self.sites {
            let certified = site.addresses.iter().any(|(address, tls)| *tls && address.ends_with(":443"));
            if certified && site.addresses.iter().all(|(_, tls)| *tls) {
                site.server.insert("redirect_http".to_owned(), true.into());
            }
        }
    }

    /// The app of a site, from its handlers by path.
    fn routes(
        &mut self,
        name: &str,
        routes: &[handler::CaddyRoute],
        scope: &CaddyScope,
        line: usize,
    ) -> String {
        let is_mount = routes.iter().any(|route| route.path != "/");
        let mut found = Map::new();
        for route in routes {
            let wanted = match is_mount {
                true if route.path == "/" => format!("{name}_main"),
                true => format!("{name}{}", route.path),
                false => name.to_owned(),
            };
            let mut scope = scope.clone();
            if is_mount {
                scope.take_paths();
            }
            if !found.contains_key(&route.path)
                && let Some(app) = self.handler(&wanted, route, &scope)
            {
                found.insert(route.path.clone(), Value::from(app));
            }
        }
        if found.is_empty() {
            let stack = scope.clone().stack(&mut self.draft);
            let options = json!({ "status": 404 });
            let app = super::sites::app(&mut self.draft, name, "respond", options, &stack);
            if scope.redirects.is_empty() {
                self.draft.lose(line, "a site without a handler");
            }
            return app;
        }
        let app = mounted(&mut self.draft, name, found);
        let changes = if is_mount { scope.paths_stack(&mut self.draft) } else { Vec::new() };
        if !changes.is_empty() {
            self.draft.set("app", &app, &["middleware"], json!(changes));
        }
        app
    }
}

/// Splits an address at its last colon outside of brackets and of references.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let (mut depth, mut colon) = (0, None);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 0 => colon = Some(at),
            _ => {}
        }
    }
    match colon {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// `{args[0]}` and `{args.0}` of a snippet.
fn with_arguments(line: &CaddyLine, arguments: &[String]) -> CaddyLine {
    let words = line.words.iter().map(|word| {
        arguments.iter().enumerate().fold(word.clone(), |word, (index, argument)| {
            word.replace(&format!("{{args[{index}]}}"), argument)
                .replace(&format!("{{args.{index}}}"), argument)
        })
    });
    let block =
        line.block.as_ref().map(|inner| inner.iter().map(|inner| with_arguments(inner, arguments)).collect());
    CaddyLine { words: words.collect(), line: line.line, block }
}
