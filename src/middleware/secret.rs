//! Masks secrets in addresses, so that no log and no page shows them.

/// Query parameters with secret values, by what their name contains.
const SECRET: [&str; 10] = [
    "token",
    "password",
    "passwd",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "signature",
    "session",
    "authorization",
];

/// A target or URL with the values of secret query parameters replaced by `***`.
pub(super) fn masked(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let mut masked = format!("{path}?");
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            masked.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                masked += name;
                masked += "=***";
            }
            _ => masked += pair,
        }
    }
    if let Some(fragment) = fragment {
        masked.push('#');
        // Some sign-in flows put the token into the fragment.
        masked += if is_secret(fragment) { "***" } else { fragment };
    }
    masked
}

fn is_secret(name: &str) -> bool {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word)) || matches!(&*name, "code" | "key" | "pw" | "pass" | "auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let check = |target: &str, expected: &str| assert_eq!(masked(target), expected);
        check("/a", "/a");
        check("/a?b=c&d", "/a?b=c&d");
        check("/a?token=abc&b=c", "/a?token=***&b=c");
        check("/a?b=c&Access_Token=abc", "/a?b=c&Access_Token=***");
        check("/a?%74oken=abc", "/a?%74oken=***");
        check("https://h/?password=a=b#access_token=c", "https://h/?password=***#***");
    }
}
