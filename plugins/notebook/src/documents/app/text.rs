//! Markdown as HTML. The page sanitizes it and sets its formulas, as it does with Markdown that it renders itself.

use pulldown_cmark::{Event, Parser, Tag};

use crate::export;
use crate::protocol::Object;

/// The HTML of a Markdown cell. It contains its images, but no comments.
pub(super) fn html(source: &str, attachments: Option<&Object>) -> String {
    let events = Parser::new_ext(source, export::markdown_options()).map(|event| match event {
        Event::InlineMath(formula) => Event::InlineHtml(math(&formula, false).into()),
        Event::DisplayMath(formula) => Event::InlineHtml(math(&formula, true).into()),
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let dest_url = export::attached_image(attachments, &dest_url).map_or(dest_url, Into::into);
            Event::Start(Tag::Image { link_type, dest_url, title, id })
        }
        event => event,
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    without_comments(&html)
}

/// A formula in the form that the page sets.
fn math(formula: &str, is_display: bool) -> String {
    let display = if is_display { "1" } else { "0" };
    format!(
        "<span class=\"math\" data-tex=\"{}\" data-display=\"{display}\"></span>",
        export::escape(formula)
    )
}

/// Removes comments of HTML. In text and attributes, `<` is escaped.
fn without_comments(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, comment)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html_without_comments() {
        let attachments = serde_json::json!({"a.png": {"image/png": "QUJD"}});
        for (source, expected) in [
            ("# A *title*", "<h1>A <em>title</em></h1>\n"),
            ("a <!-- secret --> b", "<p>a  b</p>\n"),
            ("<!--\nsecret\n\nmore\n-->\n\ntext", "\n<p>text</p>\n"),
            ("text <!-- never ended", "<p>text &lt;!-- never ended</p>\n"),
            ("`<!-- code -->`", "<p><code>&lt;!-- code --&gt;</code></p>\n"),
            ("[//]: # (secret)\n\ntext", "<p>text</p>\n"),
            ("![x](attachment:a.png)", "<p><img src=\"data:image/png;base64,QUJD\" alt=\"x\" /></p>\n"),
            ("$a<b$", "<p><span class=\"math\" data-tex=\"a&lt;b\" data-display=\"0\"></span></p>\n"),
        ] {
            assert_eq!(html(source, attachments.as_object()), expected, "{source}");
        }
    }
}
