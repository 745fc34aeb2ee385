//! Which values must not be shown: in `config show`, in excerpts of source lines, in messages.

use serde_json::Value;

/// What is shown instead of a secret.
pub(super) const MASK: &str = "********";

/// Whether a key is named like a secret: its last word is `password`, `token`, `key` or similar.
pub(super) fn is_secret_name(name: &str) -> bool {
    let last = name.rsplit(['_', '-', '.']).next().unwrap_or(name).to_ascii_lowercase();
    let words = ["password", "passwd", "passphrase", "secret", "token", "key", "credential", "apikey"];
    words.iter().any(|word| last == *word || last.strip_suffix('s') == Some(word))
}

/// Whether the name of a log field is that of a secret.
pub fn is_secret_field(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_secret_name(&lower) || ["authorization", "cookie"].iter().any(|word| lower.contains(word))
}

/// Whether a value at these keys is secret, by its own name or that of a table around it. The names that
/// users give to servers, apps and middleware do not count.
pub(super) fn is_secret_path<'k>(keys: impl IntoIterator<Item = &'k str>) -> bool {
    let keys: Vec<&str> = keys.into_iter().collect();
    let named = if keys.first() == Some(&"profile") { 4 } else { 2 };
    let (last, around) = match keys.split_last() {
        Some((last, around)) => (*last, around.get(named..).unwrap_or_default()),
        None => return false,
    };
    is_secret_name(last) || around.iter().any(|key| is_secret_name(key))
}

/// Whether a string contains a password: `scheme://user:password@host`.
pub(super) fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or("");
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') && !user.ends_with(':'))
    })
}

/// `value` with every string and number masked. A string that only refers to others (`${file:…}`) stays,
/// because it reveals nothing.
pub(super) fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if is_reference(text) => value.clone(),
        Value::String(_) | Value::Number(_) => MASK.into(),
        Value::Array(list) => list.iter().map(masked).collect(),
        Value::Object(table) => table.iter().map(|(key, value)| (key.clone(), masked(value))).collect(),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

/// `value` with every string that contains a password masked, and every value of a key named like a secret.
pub(super) fn masked_parts(value: &Value) -> Value {
    match value {
        Value::String(text) if has_password(text) => MASK.into(),
        Value::Array(list) => list.iter().map(masked_parts).collect(),
        Value::Object(table) => {
            let part = |(key, value): (&String, &Value)| {
                let value = if is_secret_name(key) { masked(value) } else { masked_parts(value) };
                (key.clone(), value)
            };
            table.iter().map(part).collect()
        }
        _ => value.clone(),
    }
}

/// Whether `text` is exactly one `${…}` without a default.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| !inner.contains(['{', '}']) && !inner.contains(":-"))
}

/// Guesses where the value of a secret starts in a line of broken TOML: after the first `=` or `:` that
/// follows a key named like a secret.
pub(super) fn starts_in_line(line: &str) -> Option<usize> {
    for (at, _) in line.match_indices(['=', ':']) {
        let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let word = name.rsplit(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).next();
        if word.is_some_and(is_secret_name) {
            let value = line[at + 1..].trim_start();
            return Some(line.len() - value.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["password", "API_KEY", "cookie_secrets", "token", "signing-key"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["keyboard", "key_file", "token_ttl_secs", "monkey", "listen"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn passwords_in_urls() {
        assert!(has_password("postgres://ann:p@ss@db/x"));
        assert!(!has_password("http://[::1]:80/a:b@c"));
        assert!(!has_password("http://ann@host"));
    }

    #[test]
    fn broken_lines() {
        assert_eq!(starts_in_line("password = \"abc"), Some(11));
        assert_eq!(starts_in_line("{ name = \"x\", \"token\" = 'y"), Some(24));
        assert_eq!(starts_in_line("name = \"x"), None);
    }
}
