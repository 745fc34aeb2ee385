//! HTML pages: blocks `<pre>` with examples become code, everything else stays HTML in Markdown cells.

use super::prompts;
use super::{NewCell, NewCell as Cell};

/// The title and the cells of a page.
pub(super) fn cells(page: &str) -> (Option<String>, Vec<Cell>) {
    let title = between(page, "<title", "</title>")
        .map(|text| unescape(text).trim().to_owned())
        .filter(|title| !title.is_empty());
    let body = between(page, "<body", "</body>").unwrap_or(page);
    let (mut cells, mut rest) = (Vec::new(), body);
    let mut words = String::new();
    while let Some(start) = find(rest, "<pre") {
        let Some(open) = rest[start..].find('>').map(|at| start + at + 1) else { break };
        let end = find(&rest[open..], "</pre>").map_or(rest.len(), |at| open + at);
        let text = unescape(&without_tags(&rest[open..end]));
        words.push_str(&rest[..start]);
        let next = (end + "</pre>".len()).min(rest.len());
        if [">>> ", "sage: "].iter().any(|prompt| text.trim_start().starts_with(prompt)) {
            finish(&mut cells, &mut words);
            cells.extend(prompts::text(text.trim_matches('\n')));
        } else {
            words.push_str(&rest[start..next]);
        }
        rest = &rest[next..];
    }
    words.push_str(rest);
    finish(&mut cells, &mut words);
    (title, cells)
}

fn finish(cells: &mut Vec<NewCell>, words: &mut String) {
    let text = std::mem::take(words);
    let text = text.trim();
    if !without_tags(text).trim().is_empty() || find(text, "<img").is_some() {
        cells.push(NewCell::markdown(text));
    }
}

/// The position of an ASCII text, ignoring case.
fn find(text: &str, part: &str) -> Option<usize> {
    text.as_bytes().windows(part.len()).position(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// What is in the first element that begins with `open`.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let start = find(text, open)?;
    let start = start + text[start..].find('>')? + 1;
    let end = find(&text[start..], close).map_or(text.len(), |at| start + at);
    Some(&text[start..end])
}

fn without_tags(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter(|c| match c {
            '<' => {
                inside = true;
                false
            }
            '>' if inside => {
                inside = false;
                false
            }
            _ => !inside,
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    named.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::super::import;
    use super::super::tests::shown;

    #[test]
    fn examples_become_code() {
        let page = "<html><head><title>A &amp; B</title></head><BODY class=x><h1>A</h1><p>words</p>\
            <div class=highlight><pre><span>sage: </span>1 &lt; 2\nTrue\n</pre></div><PRE>plain</PRE></BODY></html>";
        let imported = import(".html", page.as_bytes()).unwrap();
        assert_eq!(imported.title.as_deref(), Some("A & B"));
        assert_eq!(
            shown(&imported.notebook),
            ["m <h1>A</h1><p>words</p><div class=highlight>", "c 1 < 2 -> True", "m </div><PRE>plain</PRE>"]
        );
        assert_eq!(shown(&import(".htm", b"no tags").unwrap().notebook), ["m no tags"]);
    }
}
