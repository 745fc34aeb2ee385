//! `only` and `except` of any middleware table: which requests pass through the middleware.

use std::fmt;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use super::options::{Wrong, entries, method};
use crate::body::Request;
use crate::codec::host_name::to_ascii;
use crate::codec::variables::decode_path;
use crate::config::{Table, common_keys, join};
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// The requests that pass through a middleware.
#[derive(Debug, Clone)]
pub struct Selection(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    only: Option<RequestFilter>,
    except: Option<RequestFilter>,
}

/// Requests with one of the values of each key; an empty list allows any value.
#[derive(Debug, Default)]
struct RequestFilter {
    paths: Vec<PathPattern>,
    methods: Vec<Method>,
    hosts: Vec<HostPattern>,
}

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OnlyTable {
    path: Vec<String>,
    method: Vec<String>,
    host: Vec<String>,
}

/// A path in which `*` stands for any characters, decoded.
#[derive(Debug)]
struct PathPattern {
    /// The texts between the `*`s: one text without a `*`.
    texts: Vec<String>,
}

/// A host, or with `below` every host below it.
#[derive(Debug)]
struct HostPattern {
    name: String,
    below: bool,
}

impl Selection {
    /// Reads `only` and `except` of a middleware's table; `None` if it has neither.
    /// # Errors
    /// Every fault of the two tables.
    pub fn read(table: &Table) -> Result<Option<Selection>> {
        let mut errors = Vec::new();
        let mut read = |key: &str| match RequestFilter::read(table, key) {
            Ok(requests) => requests,
            Err(found) => {
                errors.extend(found);
                None
            }
        };
        let (only, except) = (read("only"), read("except"));
        Errors::check(errors)?;
        let any = only.is_some() || except.is_some();
        Ok(any.then(|| Selection(Arc::new(Compiled { only, except }))))
    }

    /// Whether the request passes through the middleware.
    pub fn matches(&self, request: &Request) -> bool {
        let Compiled { only, except } = &*self.0;
        only.as_ref().is_none_or(|only| only.contain(request))
            && except.as_ref().is_none_or(|except| !except.contain(request))
    }
}

/// In words: `only POST /api/*, except /api/open`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiled { only, except } = &*self.0;
        let parts = [("only", only), ("except", except)];
        let parts = parts.into_iter().filter_map(|(word, requests)| Some((word, requests.as_ref()?)));
        for (index, (word, requests)) in parts.enumerate() {
            write!(f, "{}{word} {requests}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for RequestFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.methods.iter().map(Method::to_string).collect();
        let dot = |below| if below { "*." } else { "" };
        let hosts: Vec<_> =
            self.hosts.iter().map(|host| format!("{}{}", dot(host.below), host.name)).collect();
        let paths: Vec<_> = self.paths.iter().map(|path| path.texts.join("*")).collect();
        let parts = [methods.join("|"), hosts.join("|"), paths.join("|")];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        f.write_str(&parts.join(" "))
    }
}

impl RequestFilter {
    fn read(table: &Table, key: &str) -> Result<Option<RequestFilter>> {
        if table.value().get(key).is_none() {
            return Ok(None);
        }
        let schema = common_keys("middleware").into_iter().find(|(name, _)| *name == key);
        let schema = schema.map(|(_, schema)| schema).unwrap_or_default();
        let written: OnlyTable = serde_json::from_value(table.resolve(&schema, key)?)
            .map_err(|cause| table.error(key, format!("`{key}` cannot be read")).because(cause))?;
        let mut errors = Vec::new();
        if written.path.is_empty() && written.method.is_empty() && written.host.is_empty() {
            let error = table.error(key, format!("`{key}` matches no requests"));
            errors.push(error.help(format!("write `{key} = {{ path = \"/api/*\" }}`, or remove it")));
        }
        let paths = entries(table, join(key, "path"), &written.path, &mut errors, PathPattern::parse);
        let methods = entries(table, join(key, "method"), &written.method, &mut errors, method);
        let hosts = entries(table, join(key, "host"), &written.host, &mut errors, HostPattern::parse);
        Errors::check(errors)?;
        Ok(Some(RequestFilter { paths, methods, hosts }))
    }

    fn contain(&self, request: &Request) -> bool {
        let method = || self.methods.contains(request.method());
        let host = || {
            let environ = request.extensions().get::<Environ>();
            environ.is_some_and(|environ| self.hosts.iter().any(|host| host.contains(&environ.host)))
        };
        (self.methods.is_empty() || method())
            && (self.paths.is_empty() || any_path(&self.paths, request.uri().path()))
            && (self.hosts.is_empty() || host())
    }
}

/// Whether a request's path matches one of the patterns.
fn any_path(patterns: &[PathPattern], path: &str) -> bool {
    // The gate has removed unneeded escapes; others, such as those of spaces, are compared decoded.
    if path.contains('%') {
        let decoded = String::from_utf8_lossy(&decode_path(path)).into_owned();
        return patterns.iter().any(|pattern| pattern.matches(&decoded));
    }
    patterns.iter().any(|pattern| pattern.matches(path))
}

impl PathPattern {
    fn parse(text: &str) -> Result<PathPattern, Wrong> {
        if !text.starts_with(['/', '*']) || text.contains(['?', '#']) {
            let help = "begin it with `/` or `*`, and omit the query";
            return Err((format!("`{text}` is not a pattern for paths"), help));
        }
        let decoded = String::from_utf8_lossy(&decode_path(text)).into_owned();
        Ok(PathPattern { texts: decoded.split('*').map(str::to_owned).collect() })
    }

    /// `/api/*` also matches `/api`, as a mount does.
    fn matches(&self, path: &str) -> bool {
        let [first, rest @ ..] = &self.texts[..] else { return false };
        let Some((last, middle)) = rest.split_last() else { return path == first };
        if middle.is_empty() && last.is_empty() && first.strip_suffix('/') == Some(path) {
            return true;
        }
        let Some(mut left) = path.strip_prefix(first.as_str()) else { return false };
        for text in middle {
            match left.find(text.as_str()) {
                Some(at) => left = &left[at + text.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<HostPattern, Wrong> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        let port = name.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':'));
        match to_ascii(name).filter(|name| !name.is_empty() && name.chars().all(valid) && !port) {
            Some(name) => Ok(HostPattern { name: name.to_ascii_lowercase(), below }),
            None => {
                let help = "write `example.org` or `*.example.org`, without a port";
                Err((format!("`{text}` is not a host"), help))
            }
        }
    }

    fn contains(&self, host: &str) -> bool {
        match self.below {
            true => host.strip_suffix(&*self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.name || host.trim_matches(['[', ']']) == self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_paths() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let patterns = [PathPattern::parse(pattern).unwrap()];
            assert_eq!(any_path(&patterns, path), expected, "{pattern} {path}");
        };
        for (path, expected) in
            [("/api", true), ("/api/", true), ("/api/a/b", true), ("/apis", false), ("/a/api/b", false)]
        {
            check("/api/*", path, expected);
        }
        check("/api", "/api", true);
        check("/api", "/api/", false);
        check("*.php", "/a/b.php", true);
        check("*.php", "/a.php/b", false);
        check("/*/edit", "/a/b/edit", true);
        check("/*/edit", "/edit", false);
        check("/a*b*c", "/aXbYc", true);
        check("/a*b*c", "/ac", false);
        check("/ab*bc", "/abc", false);
        check("*", "/anything", true);
        check("/my files/*", "/my%20files/x", true);
        check("/my%20files/*", "/my%20files/x", true);
        for wrong in ["", "api", "/a?b", "/a#b"] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_of_hosts() {
        let check = |pattern: &str, host: &str, expected: bool| {
            assert_eq!(HostPattern::parse(pattern).unwrap().contains(host), expected, "{pattern} {host}");
        };
        check("Example.org", "example.org", true);
        check("*.example.org", "a.b.example.org", true);
        check("*.example.org", "example.org", false);
        check("*.example.org", "badexample.org", false);
        check("::1", "[::1]", true);
        check("[::1]", "[::1]", true);
        check("bücher.example", "xn--bcher-kva.example", true);
        for wrong in ["", "a b", "a/b", "example.org:80"] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
