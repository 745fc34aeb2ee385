//! Places in a skeleton's own files, for errors.

use std::ops::Range;

use crate::error::{Origin, Source};

/// The most characters of a line that are shown.
const EXCERPT_CHARS: usize = 400;

/// The place of the bytes `span` of `text`, from the file `name`.
pub(crate) fn of_span(name: &str, text: &str, span: &Range<usize>) -> Origin {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let marked = text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    of_line(name, text, line, before[line_start..].chars().count() + 1, marked.chars().count())
}

/// The place at `line` and `column` of `text`, both counted from 1, with a mark of `width` characters.
pub(super) fn of_line(name: &str, text: &str, line: usize, column: usize, width: usize) -> Origin {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let whole = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let before = column.saturating_sub(1);
    let cut =
        if whole.chars().count() > EXCERPT_CHARS { before.saturating_sub(EXCERPT_CHARS / 2) } else { 0 };
    Origin {
        source: Source::File(name.into()),
        line: number(line),
        column: number(column.max(1)),
        width: number(width.max(1)),
        text: whole.chars().skip(cut).take(EXCERPT_CHARS).collect::<String>().into(),
        mark: number(before - cut),
    }
}
