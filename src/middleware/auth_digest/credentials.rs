//! The field `Authorization: Digest …` (RFC 7616, section 3.4).

use http::Method;

use super::hash;

/// The credentials of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DigestCredentials {
    pub(super) username: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) uri: String,
    pub(super) response: String,
    /// The nonce count, as sent and as a number.
    nc: String,
    pub(super) count: u32,
    cnonce: String,
}

impl DigestCredentials {
    /// Parses the field; `None` if it is malformed, or uses something that the challenge did not offer.
    pub(super) fn parse(field: &str) -> Option<DigestCredentials> {
        let (scheme, mut rest) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let (mut found, mut qop, mut algorithm) =
            (DigestCredentials::default(), String::new(), String::new());
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = parameter(after.trim_start())?;
            rest = after;
            let target = match name.trim().to_ascii_lowercase().as_str() {
                "username" => &mut found.username,
                "realm" => &mut found.realm,
                "nonce" => &mut found.nonce,
                "uri" => &mut found.uri,
                "response" => &mut found.response,
                "nc" => &mut found.nc,
                "cnonce" => &mut found.cnonce,
                "qop" => &mut qop,
                "algorithm" => &mut algorithm,
                _ => continue, // RFC 7616, section 3.4: unknown parameters are ignored
            };
            if !target.is_empty() {
                return None;
            }
            *target = value;
        }
        let complete = [&found.username, &found.nonce, &found.uri, &found.response, &found.cnonce];
        let plain = qop == "auth" && algorithm.eq_ignore_ascii_case("SHA-256") && found.nc.len() == 8;
        if !plain || complete.iter().any(|value| value.is_empty()) {
            return None;
        }
        found.count = u32::from_str_radix(&found.nc, 16).ok().filter(|count| *count > 0)?;
        found.response.make_ascii_lowercase();
        Some(found)
    }

    /// The response of a client that knows the password, whose hash is `user` (section 3.4.1).
    pub(super) fn response_for(&self, user: &str, method: &Method) -> String {
        let request = hash(&[method.as_str(), &self.uri]);
        hash(&[user, &self.nonce, &self.nc, &self.cnonce, "auth", &request])
    }
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 7616, section 3.9.1.
        let field = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
                     algorithm=SHA-256, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                     cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
                     response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\", \
                     opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let given = DigestCredentials::parse(field).unwrap();
        let user = hash(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        assert_eq!((given.response_for(&user, &Method::GET), given.count), (given.response.clone(), 1));
        for (from, to) in [
            ("Digest", "Basic"),
            ("nc=00000001", "nc=0000000g"),
            ("nc=00000001", "nc=00000000"),
            ("nc=00000001", "nc=1"),
            ("qop=auth", "qop=auth-int"),
            ("SHA-256", "MD5"),
            ("cnonce=", "other="),
            ("opaque=\"", "realm=\""),
            ("opaque=\"FQ", "opaque=\"\\"),
        ] {
            let changed = field.replacen(from, to, 1);
            let changed = if to.ends_with('\\') { changed.trim_end_matches('"').to_owned() } else { changed };
            assert_eq!(DigestCredentials::parse(&changed), None, "{from} {to}");
        }
        assert_eq!(parameter(r#""a\"b", c"#), Some(("a\"b".into(), ", c")));
    }
}
