//! nginx: `server` blocks, with the directives that most sites have.
//!
//! # Source
//! nginx, "Alphabetical index of directives": <https://nginx.org/en/docs/dirindex.html>.

mod location;
mod needless;
mod nested;
mod parse;
mod scope;
mod server;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::parse::{Directive, parse, seconds};
use self::scope::{NginxScope, lose};
use super::ImportInput;
use super::draft::Draft;
use super::sites::{WebSite, add_sites};
use crate::error::{Error, Result};

/// How deep files may include each other.
const INCLUDE_LIMIT: usize = 5;

pub(super) fn recognizes(input: &ImportInput) -> bool {
    let has = |word: &str| input.text.lines().any(|line| line.trim_start().starts_with(word));
    (has("server {") || has("server{") || has("http {") || has("server_name ")) && input.text.contains(';')
}

/// What `upstream` defines.
#[derive(Debug, Clone, Default)]
struct NginxUpstream {
    servers: Vec<String>,
    /// The share of each server.
    weights: Vec<u64>,
    options: Map<String, Value>,
}

/// The state of reading.
struct NginxReader {
    draft: Draft,
    upstreams: BTreeMap<String, NginxUpstream>,
    sites: Vec<WebSite>,
    /// Whether there is only one `server`.
    is_only: bool,
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let mut directives = parse(input)?;
    let mut draft = Draft::of(input);
    include(&mut directives, input, &mut draft, 0)?;
    let servers = count(&directives);
    if servers == 0 {
        return Err(Error::config(format!("`{}` has no `server` block", input.path.display())).into());
    }
    let mut reader =
        NginxReader { draft, upstreams: BTreeMap::new(), sites: Vec::new(), is_only: servers == 1 };
    reader.upstreams(&directives);
    reader.main(&directives, &NginxScope::default());
    add_sites(&mut reader.draft, &reader.sites);
    Ok(reader.draft)
}

fn count(directives: &[Directive]) -> usize {
    let inner = |directive: &Directive| match &*directive.name {
        "server" => 1,
        "http" => count(&directive.block),
        _ => 0,
    };
    directives.iter().map(inner).sum()
}

/// Replaces each `include` of a file beside this one by its directives.
fn include(
    directives: &mut Vec<Directive>,
    input: &ImportInput,
    draft: &mut Draft,
    depth: usize,
) -> Result<()> {
    let mut all = Vec::new();
    for mut directive in std::mem::take(directives) {
        include(&mut directive.block, input, draft, depth)?;
        if directive.name != "include" {
            all.push(directive);
            continue;
        }
        let name = directive.arg(0);
        let known = [
            "mime.types",
            "fastcgi_params",
            "fastcgi.conf",
            "fastcgi-php.conf",
            "scgi_params",
            "uwsgi_params",
            "proxy_params",
        ];
        if known.iter().any(|known| name.ends_with(known)) {
            continue;
        }
        let path = input.folder().join(name);
        match ImportInput::read(&path) {
            Ok(file) if depth < INCLUDE_LIMIT && path.is_file() => {
                let mut inner = parse(&file)?;
                include(&mut inner, &file, draft, depth + 1)?;
                // Lines of another file would mislead.
                inner.iter_mut().for_each(|inner| at_line(inner, directive.line));
                all.extend(inner);
            }
            _ => lose(draft, &directive, "the file cannot be read: import it too"),
        }
    }
    *directives = all;
    Ok(())
}

fn at_line(directive: &mut Directive, line: usize) {
    directive.line = line;
    directive.block.iter_mut().for_each(|inner| at_line(inner, line));
}

impl NginxReader {
    /// Directives outside of `server`.
    fn main(&mut self, directives: &[Directive], outer: &NginxScope) {
        let mut scope = outer.clone();
        let mut server_options = Map::new();
        let (blocks, plain): (Vec<_>, Vec<_>) =
            directives.iter().partition(|one| ["http", "server"].contains(&&*one.name));
        for directive in plain {
            if scope.apply(directive, &mut self.draft) || self.server_option(directive, &mut server_options) {
                continue;
            }
            self.global(directive, &mut scope);
        }
        for directive in blocks {
            match &*directive.name {
                "http" => self.main(&directive.block, &scope),
                _ => self.server(directive, &scope, &server_options),
            }
        }
    }

    fn global(&mut self, directive: &Directive, scope: &mut NginxScope) {
        let arg = directive.arg(0);
        let draft = &mut self.draft;
        match &*directive.name {
            "user" => {
                draft.set("process", "", &["user"], arg);
                if let Some(group) = directive.args.get(1) {
                    draft.set("process", "", &["group"], group.as_str());
                }
            }
            "worker_processes" => match arg.parse::<u64>() {
                Ok(number) => draft.set("process", "", &["workers"], number),
                Err(_) => draft.set("process", "", &["workers"], "auto"),
            },
            "worker_rlimit_nofile" => match arg.parse::<u64>() {
                Ok(number) => draft.set("process", "", &["limits", "open_files"], number),
                Err(_) => lose(draft, directive, "it is not a number"),
            },
            "pid" => draft.set("process", "", &["pid_file"], arg),
            "error_log" => {
                if arg.starts_with('/') {
                    draft.set("log", "", &["file"], arg);
                }
                let level = match directive.arg(1) {
                    "emerg" | "alert" | "crit" | "error" => "error",
                    "warn" => "warn",
                    "debug" => "debug",
                    _ => "info",
                };
                draft.set("log", "", &["level"], level);
            }
            "limit_req_zone" => zone(directive, scope, draft),
            "events" | "upstream" | "worker_cpu_affinity" | "log_format" | "pcre_jit" => {}
            "load_module" => lose(draft, directive, "modules of nginx cannot be loaded"),
            "map" | "geo" | "split_clients" => lose(draft, directive, "there are no variables"),
            "stream" | "mail" => lose(draft, directive, "paster serves HTTP, FastCGI and SCGI"),
            _ => lose(draft, directive, "there is no equivalent"),
        }
    }

    /// What is an option of `[server.NAME]`. Returns false if it is not one.
    fn server_option(&mut self, directive: &Directive, options: &mut Map<String, Value>) -> bool {
        let arg = directive.arg(0);
        let time = |key: &str, options: &mut Map<String, Value>| {
            if let Some(seconds) = seconds(arg).filter(|seconds| *seconds > 0) {
                options.insert(key.to_owned(), seconds.into());
            }
        };
        match &*directive.name {
            "keepalive_timeout" => time("idle_timeout_secs", options),
            "client_header_timeout" => time("head_timeout_secs", options),
            "send_timeout" => time("write_stall_secs", options),
            "client_body_timeout" => time("body_pace_secs", options),
            "large_client_header_buffers" => {
                let number = arg.parse::<u64>().unwrap_or(4);
                if let Some(size) = parse::size(directive.arg(1)) {
                    options.insert("target_limit_bytes".to_owned(), size.into());
                    options.insert("head_limit_bytes".to_owned(), size.saturating_mul(number).into());
                }
            }
            "set_real_ip_from" => {
                let list = options.entry("trusted_proxies").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    let proxy = if arg == "unix:" { "unix" } else { arg };
                    list.push(proxy.into());
                }
            }
            "real_ip_header" if ["X-Forwarded-For", "proxy_protocol"].contains(&arg) => {}
            "real_ip_recursive" => {}
            _ => return false,
        }
        true
    }

    fn upstreams(&mut self, directives: &[Directive]) {
        for directive in directives {
            match &*directive.name {
                "http" => self.upstreams(&directive.block),
                "upstream" => {
                    let upstream = self.upstream(directive);
                    self.upstreams.insert(directive.arg(0).to_owned(), upstream);
                }
                _ => {}
            }
        }
    }

    fn upstream(&mut self, block: &Directive) -> NginxUpstream {
        let mut upstream = NginxUpstream::default();
        for directive in &block.block {
            match &*directive.name {
                "server" if directive.args.iter().any(|arg| arg == "down") => {}
                "server" => self.upstream_server(directive, &mut upstream),
                "least_conn" => {
                    upstream.options.insert("balance".to_owned(), "least_busy".into());
                }
                "keepalive" => {
                    let idle = directive.arg(0).parse::<u64>().unwrap_or(64);
                    upstream.options.insert("pool".to_owned(), json!({ "max_idle": idle }));
                }
                "keepalive_requests" | "keepalive_timeout" | "keepalive_time" | "zone" => {}
                _ => lose(&mut self.draft, directive, "`balance` is \"round_robin\" or \"least_busy\""),
            }
        }
        if upstream.weights.iter().any(|weight| *weight != 1) {
            upstream.options.insert("weights".to_owned(), json!(upstream.weights));
        }
        upstream
    }

    fn upstream_server(&mut self, directive: &Directive, upstream: &mut NginxUpstream) {
        upstream.servers.push(directive.arg(0).to_owned());
        upstream.weights.push(1);
        for arg in &directive.args[1..] {
            let health = |upstream: &mut NginxUpstream, key: &str, value: u64| {
                let health = upstream.options.entry("health").or_insert_with(|| json!({}));
                health[key] = value.into();
            };
            match arg.split_once('=') {
                Some(("max_fails", number)) => {
                    if let Ok(number @ 1..) = number.parse::<u64>() {
                        health(upstream, "max_fails", number);
                    }
                }
                Some(("fail_timeout", time)) => {
                    if let Some(seconds) = seconds(time).filter(|seconds| *seconds > 0) {
                        health(upstream, "window_secs", seconds);
                        health(upstream, "out_secs", seconds);
                    }
                }
                Some(("weight", number)) => {
                    if let (Ok(number @ 1..), Some(weight)) = (number.parse(), upstream.weights.last_mut()) {
                        *weight = number;
                    }
                }
                // Names are resolved again in any case.
                None if arg == "resolve" => {}
                _ => lose(&mut self.draft, directive, &format!("`{arg}`: there is no equivalent")),
            }
        }
    }
}

/// `limit_req_zone $binary_remote_addr zone=one:10m rate=10r/s;`
fn zone(directive: &Directive, scope: &mut NginxScope, draft: &mut Draft) {
    let option = |name: &str| directive.args.iter().find_map(|arg| arg.strip_prefix(name));
    let rate = option("rate=").and_then(|rate| match rate.strip_suffix("r/s") {
        Some(number) => Some((number.parse::<u64>().ok()?, 1)),
        None => Some((rate.strip_suffix("r/m")?.parse::<u64>().ok()?, 60)),
    });
    let name = option("zone=").and_then(|zone| zone.split(':').next());
    match (name, rate) {
        (Some(name), Some((requests, secs))) if directive.arg(0).ends_with("remote_addr") => {
            let limit = json!({ "use": "rate_limit", "requests": requests, "per_secs": secs, "burst": 1 });
            scope.zones.insert(name.to_owned(), limit);
        }
        _ => lose(draft, directive, "`rate_limit` counts by client, by user or by a header field"),
    }
}
