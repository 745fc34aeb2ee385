//! Turns a span of bytes in a source's text into the [`Origin`] that errors show.

use std::ops::Range;
use std::sync::Arc;

use super::secret::{MASK, starts_in_line};
use crate::error::{Origin, Source};

/// The longest excerpt of a line in an origin, in characters. Longer lines are cut around the mark.
const EXCERPT_CHARS: usize = 400;

/// The text of one source, prepared for finding places in it.
pub(super) struct Text {
    source: Source,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
    /// The lines that need no masking or cutting, created when they are first marked.
    whole: Vec<Option<Arc<str>>>,
    /// Spans of the values that must not be shown, in order.
    secrets: Vec<Range<usize>>,
    /// A byte offset, and the number of characters before it on its line. Places mostly come in order, and a
    /// line may be long.
    counted: (usize, usize),
}

impl Text {
    pub(super) fn new(source: Source, text: String) -> Self {
        let lines: Vec<_> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let whole = vec![None; lines.len()];
        Text { source, text, lines, whole, secrets: Vec::new(), counted: (0, 0) }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Keeps the bytes of `span` out of all excerpts.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        let at = self.secrets.partition_point(|other| other.start < span.start);
        self.secrets.insert(at, span);
    }

    /// In text that is not valid TOML, hides what looks like a secret's value: on the line of `at`, and on
    /// lines above that the value may continue from.
    pub(super) fn hide_by_look(&mut self, at: usize) {
        let line = self.line_of(at);
        let range = self.line_range(line);
        match starts_in_line(&self.text[range.clone()]) {
            Some(start) => self.hide(range.start + start..range.end),
            // A line without a key continues the value of the last line that has one.
            None if !self.text[range.clone()].contains('=') => {
                let above = (0..line).rev().map(|line| self.line_range(line));
                let mut keyed = above.filter(|range| self.text[range.clone()].contains('='));
                if keyed.next().is_some_and(|above| starts_in_line(&self.text[above]).is_some()) {
                    self.hide(range);
                }
            }
            None => {}
        }
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The line's bytes without the line end.
    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines[line];
        let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
        start..start + self.text[start..end].trim_end_matches(['\n', '\r']).len()
    }

    /// The place of `span`. If it covers several lines, the first one.
    pub(super) fn origin(&mut self, span: Range<usize>) -> Origin {
        let start = span.start.min(self.text.len());
        let start = (0..=start).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let number = self.line_of(start);
        let line = self.line_range(number);
        let start = start.min(line.end);
        let end = span.end.clamp(start, line.end);
        let (from, counted) = match self.counted {
            (at, count) if (line.start..=start).contains(&at) => (at, count),
            _ => (line.start, 0),
        };
        self.counted = (start, counted + self.text[from..start].chars().count());
        let column = self.counted.1 + 1;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let secret = self.secrets.iter().any(|secret| secret.start < line.end && secret.end > line.start);
        let (text, mark, width) = if !secret && line.len() <= EXCERPT_CHARS {
            let text = &self.text[line];
            let text = self.whole[number].get_or_insert_with(|| text.into()).clone();
            (text, column - 1, self.text.get(start..end).map_or(1, |part| part.chars().count()))
        } else {
            self.excerpt(line, start..end)
        };
        Origin {
            source: self.source.clone(),
            line: count(number + 1),
            column: count(column),
            width: count(width.max(1)),
            text,
            mark: count(mark),
        }
    }

    /// The line with its secrets masked, cut to a readable length: its text, and the start and width of the
    /// mark in it.
    fn excerpt(&self, line: Range<usize>, span: Range<usize>) -> (Arc<str>, usize, usize) {
        // In a very long line only the part near the mark is examined. A secret that begins before it is
        // masked as a whole.
        let reach = EXCERPT_CHARS;
        let near = self.text.floor_char_boundary(span.start.saturating_sub(reach)).max(line.start);
        let far = self.text.ceil_char_boundary(span.start + reach).min(line.end);
        let secrets: Vec<_> =
            self.secrets.iter().filter(|other| other.start < far && other.end > near).collect();
        let mut shown: Vec<char> = Vec::new();
        let (mut mark, mut end) = (None, None);
        let mut hidden = 0;
        for (at, c) in self.text[near..far].char_indices().map(|(at, c)| (near + at, c)) {
            if at >= span.start {
                mark.get_or_insert(shown.len());
            }
            if at >= span.end {
                end.get_or_insert(shown.len());
            }
            match secrets.iter().find(|secret| secret.contains(&at)) {
                Some(secret) if at < hidden || secret.end == hidden => {}
                Some(secret) => {
                    shown.extend(MASK.chars());
                    hidden = secret.end;
                }
                None => shown.push(c),
            }
        }
        let mark = mark.unwrap_or(shown.len());
        let width = end.unwrap_or(shown.len()).saturating_sub(mark);
        let (mut from, mut to) = (0, shown.len());
        if shown.len() > EXCERPT_CHARS {
            from = mark.saturating_sub(EXCERPT_CHARS / 4).min(shown.len() - EXCERPT_CHARS);
            to = from + EXCERPT_CHARS;
        }
        let before = if from > 0 || near > line.start { "…" } else { "" };
        let after = if to < shown.len() || far < line.end { "…" } else { "" };
        let text = format!("{before}{}{after}", shown[from..to].iter().collect::<String>());
        let width = width.min(to.saturating_sub(mark));
        (text.into(), mark - from + before.chars().count(), width)
    }
}

/// The same place, but with only the first occurrence of `part` marked, if the excerpt shows it.
pub(super) fn narrowed(origin: Option<Origin>, part: &str) -> Option<Origin> {
    let mut origin = origin?;
    let marked: String = origin.text.chars().skip(origin.mark as usize).take(origin.width as usize).collect();
    if let Some(at) = marked.find(part) {
        let before = u32::try_from(marked[..at].chars().count()).unwrap_or(0);
        origin.mark += before;
        origin.column += if origin.line > 0 { before } else { 0 };
        origin.width = u32::try_from(part.chars().count()).unwrap_or(1).max(1);
    }
    Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str, part: &str, secret: Option<&str>) -> (u32, String, String) {
        let mut text = Text::new(Source::Default, text.into());
        let find = |part: &str| text.text().find(part).map(|at| at..at + part.len());
        let (span, secret) = (find(part).unwrap(), secret.and_then(find));
        if let Some(secret) = secret {
            text.hide(secret);
        }
        let origin = text.origin(span);
        let marked = origin.text.chars().skip(origin.mark as usize).take(origin.width as usize).collect();
        (origin.column, origin.text.to_string(), marked)
    }

    #[test]
    fn counts_characters() {
        assert_eq!(
            mark("a = 1\nschlüssel = 'ß' # x\r\n", "'ß'", None),
            (13, "schlüssel = 'ß' # x".into(), "'ß'".into())
        );
    }

    #[test]
    fn masks_secrets() {
        let line = "a = { token = \"s3cret-and-long\", user = 1 }";
        let shown = "a = { token = \"********\", user = 1 }";
        assert_eq!(mark(line, "user", Some("s3cret-and-long")), (34, shown.into(), "user".into()));
        assert_eq!(
            mark(line, "\"s3cret-and-long\"", Some("s3cret-and-long")),
            (15, shown.into(), "\"********\"".into())
        );
    }

    #[test]
    fn cuts_long_lines() {
        let line = format!("a = \"{}\", here = 1, {}", "x".repeat(5000), "y".repeat(5000));
        let (column, text, marked) = mark(&line, "here", None);
        assert_eq!((column, marked.as_str()), (5009, "here"));
        assert!(text.starts_with("…x") && text.ends_with("y…") && text.chars().count() == EXCERPT_CHARS + 2);
    }
}
