//! The page: HTML without a template engine.

use crate::Note;

/// The whole page. Links begin with `base`.
pub(crate) fn render(title: &str, base: &str, notes: &[Note]) -> String {
    let (title, base) = (escape(title), escape(base));
    let style = include_str!("style.css");
    let notes = if notes.is_empty() {
        "<p class=\"empty\">Nothing here yet. Write the first note.</p>".to_owned()
    } else {
        let items: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(&note.text))).collect();
        format!("<ul>\n{items}</ul>")
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <style>{style}</style>
</head>
<body>
  <main>
    <h1>{title}</h1>
    <form method="post" action="{base}/notes">
      <label for="text">A note</label>
      <input id="text" name="text" maxlength="280" required autofocus autocomplete="off">
      <button>Add</button>
    </form>
    {notes}
  </main>
  <footer>Edit <code>src/page.rs</code> and watch this page change.</footer>
</body>
</html>
"#
    )
}

/// Text escaped for HTML, including quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            _ => safe.push(c),
        }
    }
    safe
}
