//! The cookies of one session with one application.

/// Cookies by name and path.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    path: String,
}

impl Jar {
    /// Stores the cookie of a `Set-Cookie` field, or removes it if it expires at once.
    /// # Source
    /// RFC 6265 section 5.2, without domains and expiry times: there is one host, and a session is short.
    pub(super) fn take(&mut self, text: &str) {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (mut path, mut ends) = ("/", false);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if key.eq_ignore_ascii_case("path") && value.starts_with('/') {
                path = value;
            }
            if key.eq_ignore_ascii_case("max-age") {
                ends = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
            }
            if key.eq_ignore_ascii_case("expires") {
                ends |=
                    httpdate::parse_http_date(value).is_ok_and(|time| time <= std::time::SystemTime::now());
            }
        }
        self.0.retain(|cookie| cookie.name != name || cookie.path != path);
        if !ends && !name.is_empty() {
            self.0.push(Cookie { name: name.into(), value: value.into(), path: path.into() });
        }
    }

    /// The `Cookie` field for a request to `target`.
    pub(super) fn of(&self, target: &str) -> Option<String> {
        let path = target.split('?').next().unwrap_or_default();
        let fits = |cookie: &&Cookie| {
            path.strip_prefix(cookie.path.as_str())
                .is_some_and(|rest| rest.is_empty() || cookie.path.ends_with('/') || rest.starts_with('/'))
        };
        let pairs = self.0.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value));
        let pairs: Vec<_> = pairs.collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Names of all cookies.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|cookie| cookie.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_by_name_and_path() {
        let mut jar = Jar::default();
        jar.take("a=1; HttpOnly");
        jar.take("b=2; Path=/x");
        jar.take("a=3; Path=/");
        assert_eq!(jar.of("/x/y?z").as_deref(), Some("b=2; a=3"));
        assert_eq!(jar.of("/xy").as_deref(), Some("a=3"));
        jar.take("a=; Max-Age=0");
        jar.take("b=; Path=/x; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(jar.of("/x"), None);
    }
}
