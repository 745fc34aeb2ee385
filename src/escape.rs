//! Escapes characters of untrusted text that must not reach a log or a terminal.

/// Whether a character could end a line, move a terminal's cursor or change the direction of the text after
/// it: control characters (C0, DEL and C1), line and paragraph separators, and bidirectional formatting
/// characters.
///
/// # Source
/// Unicode Technical Report 36, section 3.1; <https://trojansource.codes>.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text contains none of them. Most texts do not, and one pass over their bytes confirms that.
fn is_harmless(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte))
        || !text.chars().any(is_harmful)
}

/// Writes such characters of a JSON document as `\uXXXX`. They only occur within strings, because a JSON
/// writer has already escaped those below the space. The document must be on one line.
pub fn json(document: String) -> String {
    escaped(document, |c, out| *out += &format!("\\u{:04x}", c as u32))
}

/// Writes such characters in text for people as Rust does: `\n`, `\u{9b}`.
pub fn text(text: String) -> String {
    escaped(text, |c, out| out.extend(c.escape_default()))
}

fn escaped(text: String, escape: impl Fn(char, &mut String)) -> String {
    if is_harmless(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) { escape(c, &mut out) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_harm_is_escaped_and_reads_the_same() {
        let value = serde_json::json!("a\n\u{7f}\u{9b}31m\u{2028}\u{202e}ä\u{10ffff}");
        let document = json(value.to_string());
        assert_eq!(document, "\"a\\n\\u007f\\u009b31m\\u2028\\u202eä\u{10ffff}\"");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&document).unwrap(), value);
        assert_eq!(text("a\r\nb\u{1b}[2J\u{9b}ä".into()), "a\\r\\nb\\u{1b}[2J\\u{9b}ä");
        assert_eq!(text("plain".into()), "plain");
    }
}
