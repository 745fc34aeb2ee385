//! Removes from the texts of errors what must not be in an email: secrets, and quoted contents.

/// The longest text that is kept, in characters.
const LENGTH: usize = 300;
/// What replaces the rest.
const REMOVED: &str = "…";
/// The fields that describe an error. Others may contain anything.
const FIELDS: [&str; 13] = [
    "error", "problem", "document", "notebook", "path", "folder", "place", "kernel", "language", "method",
    "route", "schedule", "copy",
];
/// Parts of names whose values are secret.
const SECRET: [&str; 8] = ["token", "code", "password", "secret", "key", "xsrf", "signature", "auth"];
/// A word of letters and digits with this length may be a token.
const TOKEN: usize = 32;

/// The known fields of an event: `error: …; document: …`.
pub(super) fn fields(fields: &[(&'static str, String)]) -> String {
    let known = fields.iter().filter(|(name, _)| FIELDS.contains(name));
    let shown = known.map(|(name, value)| format!("{name}: {}", line(value)));
    cut(&shown.collect::<Vec<_>>().join("; "), 3 * LENGTH)
}

/// The place of a panic.
pub(super) fn places(fields: &[(&'static str, String)]) -> String {
    let place = fields.iter().find(|(name, _)| *name == "place");
    place.map(|(_, value)| format!("place: {}", cut(value, LENGTH))).unwrap_or_default()
}

/// The id of a request, which a client may have chosen.
pub(super) fn id(text: &str) -> String {
    cut(&text.chars().filter(|c| !c.is_control()).collect::<String>(), 80)
}

/// The first line of a text, without quoted contents and secrets.
pub(super) fn line(text: &str) -> String {
    let first = text.trim().lines().next().unwrap_or_default();
    let words = without_quoted(first);
    let words: Vec<String> = words.split(' ').map(word).collect();
    let clean: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    cut(&clean, LENGTH)
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((at, _)) => format!("{}{REMOVED}", &text[..at]),
        None => text.to_owned(),
    }
}

/// Parsers quote what they could not read.
fn without_quoted(text: &str) -> String {
    let mut parts = text.split('"');
    let mut clean = parts.next().unwrap_or_default().to_owned();
    while parts.next().is_some() {
        clean.push('"');
        clean.push_str(REMOVED);
        if let Some(after) = parts.next() {
            clean.push('"');
            clean.push_str(after);
        }
    }
    clean
}

fn word(word: &str) -> String {
    let word = without_login(word);
    let values = word.split_inclusive(['?', '&', ';', ',']).map(without_value);
    values.map(|part| without_tokens(&part)).collect()
}

/// `postgres://user:password@host` without the login.
fn without_login(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{REMOVED}{}", &rest[at..]),
        None => word.to_owned(),
    }
}

/// `token=value` without the value.
fn without_value(part: &str) -> String {
    let Some((name, value)) = part.split_once('=') else { return part.to_owned() };
    let lower = name.to_ascii_lowercase();
    if !SECRET.iter().any(|secret| lower.contains(secret)) {
        return part.to_owned();
    }
    let end = value.trim_end_matches(['?', '&', ';', ',']);
    format!("{name}={REMOVED}{}", &value[end.len()..])
}

/// Without words that look like a token: long, with letters and digits, and not a UUID.
fn without_tokens(part: &str) -> String {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut clean = String::new();
    let mut rest = part;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_inner(c)).unwrap_or(rest.len());
        let run = &rest[..end];
        let mixed =
            run.contains(|c: char| c.is_ascii_digit()) && run.contains(|c: char| c.is_ascii_alphabetic());
        let is_token =
            run.len() >= TOKEN && mixed && uuid::Uuid::parse_str(run).map_or(true, |_| run.len() == TOKEN);
        clean.push_str(if is_token { REMOVED } else { run });
        let after = rest[end..].chars().next().map_or(0, char::len_utf8);
        clean.push_str(&rest[end..end + after]);
        rest = &rest[end + after..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_quoted_contents_are_removed() {
        let token = "0123456789abcdef0123456789abcdef";
        for (text, clean) in [
            (
                "cannot write `ann/n.ipynb`: No space left on device (os error 28)",
                "cannot write `ann/n.ipynb`: No space left on device (os error 28)",
            ),
            ("postgres://nb:pass@word@db.example.org/nb refused", "postgres://…@db.example.org/nb refused"),
            (
                "GET https://kg.example/api?token=abc&x=1 failed",
                "GET https://kg.example/api?token=…&x=1 failed",
            ),
            (
                "invalid type: string \"my diary\", expected a map",
                "invalid type: string \"…\", expected a map",
            ),
            ("open \"and so on", "open \"…"),
            (&format!("bearer {token}, {token}."), "bearer …, …."),
            (
                "the kernel 5f3c0a52-8d0c-4f2e-9a55-0a1b2c3d4e5f ended",
                "the kernel 5f3c0a52-8d0c-4f2e-9a55-0a1b2c3d4e5f ended",
            ),
            ("first\nsecond", "first"),
        ] {
            assert_eq!(line(text), clean, "{text}");
        }
        assert!(line(&"é".repeat(1000)).chars().count() == LENGTH + 1);
    }

    #[test]
    fn only_known_fields_are_kept() {
        let all = [
            ("error", "no\nx".to_owned()),
            ("source", "print(1)".to_owned()),
            ("document", "a.ipynb".to_owned()),
        ];
        assert_eq!(fields(&all), "error: no; document: a.ipynb");
        assert_eq!(places(&[("place", "src/a.rs:1:2".to_owned())]), "place: src/a.rs:1:2");
        assert_eq!(id("a\u{1b}[31mb"), "a[31mb");
    }
}
