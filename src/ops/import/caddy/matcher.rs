//! Matchers: which requests a directive is for.

use serde_json::{Map, Value, json};

use super::parse::CaddyLine;

/// Requests that a directive is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CaddyMatcher {
    /// Paths: `/api/*`.
    pub(super) paths: Vec<String>,
    /// Methods and hosts, as `only` of a middleware has them.
    pub(super) other: Map<String, Value>,
    /// Clients, as `allow` and `deny` of `grant_ip` have them, and whether all others are meant.
    pub(super) clients: Option<(bool, Vec<String>)>,
    /// What paster cannot match.
    pub(super) unknown: Option<String>,
}

impl CaddyMatcher {
    /// The matcher of a directive, and its other arguments. `named` are the `@name` of the site.
    pub(super) fn of<'l>(
        line: &'l CaddyLine,
        named: &[(String, CaddyMatcher)],
    ) -> (CaddyMatcher, &'l [String]) {
        let args = line.args();
        // `root DIRECTORY` has no matcher.
        if line.name() == "root" && args.len() == 1 {
            return (CaddyMatcher::default(), args);
        }
        match args {
            [first, rest @ ..] if first == "*" => (CaddyMatcher::default(), rest),
            [first, rest @ ..] if first.starts_with('/') => {
                (CaddyMatcher { paths: vec![first.clone()], ..CaddyMatcher::default() }, rest)
            }
            [first, rest @ ..] if first.starts_with('@') => {
                let found = named.iter().find(|(name, _)| name == first).map(|(_, matcher)| matcher.clone());
                let unknown = || CaddyMatcher { unknown: Some(first.clone()), ..CaddyMatcher::default() };
                (found.unwrap_or_else(unknown), rest)
            }
            args => (CaddyMatcher::default(), args),
        }
    }

    /// What `@name …` or `@name { … }` defines.
    pub(super) fn defined(line: &CaddyLine) -> CaddyMatcher {
        let mut matcher = CaddyMatcher::default();
        let single = CaddyLine { words: line.args().to_vec(), line: line.line, block: None };
        let lines = line.block.as_deref().unwrap_or(std::slice::from_ref(&single));
        for line in lines {
            let values = line.args();
            match line.name() {
                "remote_ip" | "client_ip" => matcher.clients = Some((false, clients(values))),
                "not" if ["remote_ip", "client_ip"].contains(&line.arg(0)) => {
                    matcher.clients = Some((true, clients(values.get(1..).unwrap_or_default())));
                }
                "path" => matcher.paths.extend(values.iter().cloned()),
                "method" => {
                    matcher.other.insert("method".to_owned(), json!(values));
                }
                "host" => {
                    matcher.other.insert("host".to_owned(), json!(values));
                }
                _ => matcher.unknown = Some(line.shown()),
            }
        }
        matcher
    }

    pub(super) fn is_any(&self) -> bool {
        *self == CaddyMatcher::default()
    }

    /// The matcher without what paster cannot match: it matches more.
    pub(super) fn wider(&self) -> CaddyMatcher {
        CaddyMatcher { unknown: None, ..self.clone() }
    }

    /// The table `only` of a middleware.
    pub(super) fn only(&self) -> Option<Value> {
        if self.is_any() {
            return None;
        }
        let mut only = self.other.clone();
        if !self.paths.is_empty() {
            only.insert("path".to_owned(), json!(self.paths));
        }
        (!only.is_empty()).then(|| only.into())
    }

    /// The prefixes of its paths, if it matches nothing else.
    pub(super) fn prefixes(&self) -> Option<Vec<String>> {
        if self.unknown.is_some() || self.clients.is_some() || !self.other.is_empty() {
            return None;
        }
        if self.paths.is_empty() {
            return Some(vec!["/".to_owned()]);
        }
        let prefix = |path: &String| {
            let path = path.trim_end_matches('*').trim_end_matches('/');
            let path = if path.is_empty() { "/" } else { path };
            (path.starts_with('/') && !path.contains('*')).then(|| path.to_owned())
        };
        self.paths.iter().map(prefix).collect()
    }
}

/// Addresses and networks.
fn clients(words: &[String]) -> Vec<String> {
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1", "fd00::/8"];
    let one = |word: &String| match &**word {
        "private_ranges" => private.map(str::to_owned).to_vec(),
        word => vec![word.to_owned()],
    };
    words.iter().flat_map(one).collect()
}
