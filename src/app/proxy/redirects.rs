//! Redirects of an upstream to its own places, as they are seen from outside.

use crate::app::upstream::Address;

/// Where a redirect of the upstream at `address` leads from outside; `None` for a place that is not the
/// upstream's or needs no change. `host` is the client's, which the upstream may use as its own name.
pub(super) fn relocated(
    location: &str,
    address: &Address,
    mount: &str,
    host: Option<&str>,
) -> Option<String> {
    let own = |rest: &str, authority: &str| {
        let rest = rest.get(authority.len()..).filter(|_| {
            rest.as_bytes()
                .get(..authority.len())
                .is_some_and(|own| own.eq_ignore_ascii_case(authority.as_bytes()))
        })?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| rest.to_owned())
    };
    let (origin, path) = match location.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            match own(rest, &address.authority) {
                // The upstream's own address: outside that is this server, so a path is enough.
                Some(path) => (String::new(), path),
                None => {
                    let host = host?;
                    (format!("{scheme}://{host}"), own(rest, host)?)
                }
            }
        }
        _ if location.starts_with('/') && !location.starts_with("//") => (String::new(), location.to_owned()),
        _ => return None,
    };
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let begins = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    };
    let path = match &*address.base {
        "" => &*path,
        base if begins(base) => &path[base.len()..],
        _ => &*path,
    };
    // An upstream that knows `X-Forwarded-Prefix` has already added it.
    let known = !mount.is_empty()
        && path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    let mount = if known { "" } else { mount };
    let path = if path.is_empty() && mount.is_empty() { "/" } else { path };
    let path = match origin.is_empty() && mount.is_empty() && path.starts_with(['/', '\\']) {
        // Without a prefix, `//evil` would be another host.
        true => format!("/{}", path.trim_start_matches(['/', '\\'])),
        false => path.to_owned(),
    };
    let found = format!("{origin}{mount}{path}");
    (found != location).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let check = |location: &str, upstream: &str, mount: &str, expected: Option<&str>| {
            let address = Address::http(upstream).unwrap();
            let found = relocated(location, &address, mount, Some("example.org"));
            assert_eq!(found.as_deref(), expected, "{location} of {upstream} under {mount}");
        };
        let here = "http://127.0.0.1:9000";
        check("/login", here, "", None);
        check("/login?a=b", here, "/app", Some("/app/login?a=b"));
        check("/app/login", here, "/app", None);
        check("/application", here, "/app", Some("/app/application"));
        check("http://127.0.0.1:9000/a", here, "", Some("/a"));
        check("http://127.0.0.1:9000", here, "/app", Some("/app/"));
        check("http://127.0.0.1:90001/a", here, "", None);
        check("https://example.org/a", here, "", None);
        check("https://example.org/a", here, "/app", Some("https://example.org/app/a"));
        check("https://example.org/app/a", here, "/app", None);
        check("https://elsewhere.org/a", here, "/app", None);
        check("//elsewhere.org/a", here, "/app", None);
        check("next", here, "/app", None);
        check("/base/a", "http://10.0.0.1/base", "", Some("/a"));
        check("/base", "http://10.0.0.1/base", "/app", Some("/app"));
        check("/base", "http://10.0.0.1/base", "", Some("/"));
        check("/base//evil.example/x/", "http://10.0.0.1/base", "", Some("/evil.example/x/"));
        check("/base/\\evil.example/", "http://10.0.0.1/base", "", Some("/evil.example/"));
        check("/base//evil.example/", "http://10.0.0.1/base", "/app", Some("/app//evil.example/"));
        check("http://127.0.0.1:9000//evil.example/", here, "", Some("/evil.example/"));
        check("https://example.org//evil.example/", here, "", None);
    }
}
