//! Errors as a user reads them: the message, the marked source line, the causes, the help.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::{Error, Errors, Origin, Source, shown};

/// Widest excerpt of a source line, in terminal columns.
const EXCERPT_COLUMNS: usize = 100;

/// Prints every error to standard error.
pub(super) fn errors<'a>(errors: impl IntoIterator<Item = &'a Error>) {
    let colour = coloured(&std::io::stderr());
    let text: Vec<String> = errors.into_iter().map(|error| render(error, colour)).collect();
    // Nothing can be reported if standard error is closed.
    let _ = write!(std::io::stderr().lock(), "{}", text.join("\n"));
}

/// Whether `stream` is a terminal whose user wants colours.
pub(super) fn coloured(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// A place in the form that terminals turn into links: `conf/server.toml:3:9`.
pub(super) fn place(origin: &Origin) -> String {
    match &origin.source {
        Source::File(path) if origin.line > 0 => {
            format!("{}:{}:{}", shown(path), origin.line, origin.column)
        }
        Source::File(path) => shown(path),
        other => other.to_string(),
    }
}

/// The errors as JSON: a list of objects with `message`, `file`, `line`, `column`, `helps` and `causes`.
pub(super) fn values(errors: &Errors) -> Value {
    let value = |error: &Error| {
        let mut value = match &error.origin {
            Some(origin) => origin_value(origin),
            None => json!({ "source": null, "file": null, "line": null, "column": null }),
        };
        let causes: Vec<&str> = error.causes().collect();
        value["message"] = error.message.clone().into();
        value["helps"] = error.helps.clone().into();
        value["causes"] = causes.into();
        value
    };
    errors.iter().map(value).collect()
}

/// A place as JSON.
pub(super) fn origin_value(origin: &Origin) -> Value {
    let number = |number: u32| if number > 0 { Value::from(number) } else { Value::Null };
    let file = match &origin.source {
        Source::File(path) => path.display().to_string().into(),
        _ => Value::Null,
    };
    json!({
        "source": place(origin),
        "file": file,
        "line": number(origin.line),
        "column": number(origin.column),
    })
}

/// The output of the program that has failed, if there is one; the error with its excerpt, causes and
/// helps.
pub(super) fn render(error: &Error, colour: bool) -> String {
    let paint = |style: &str, text: &str| match colour {
        true => format!("\x1b[{style}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let (red, blue, cyan, bold) = ("1;31", "1;34", "1;36", "1");
    let message = bare(&error.message);
    let mut text = if error.output.is_empty() { String::new() } else { format!("{}\n\n", error.output) };
    text += &format!("{}{}\n", paint(red, "error"), paint(bold, &format!(": {message}")));
    let number = match &error.origin {
        Some(origin) if origin.line > 0 => origin.line.to_string(),
        _ => String::new(),
    };
    let gutter = " ".repeat(number.len().max(1));
    if let Some(origin) = &error.origin {
        text += &format!("{gutter}{} {}\n", paint(blue, "-->"), place(origin));
        let (line, before, width) = excerpt(origin);
        if !line.trim().is_empty() {
            let bar = paint(blue, "|");
            let number = paint(blue, &format!("{number:<count$}", count = gutter.len()));
            let carets = paint(red, &"^".repeat(width));
            let _ = writeln!(
                text,
                "{gutter} {bar}\n{number} {bar} {line}\n{gutter} {bar} {}{carets}",
                " ".repeat(before)
            );
        }
    }
    for cause in error.causes() {
        // A message of several lines keeps its lines, each indented under the first.
        let cause = bare(cause).trim_end().replace('\n', &format!("\n{gutter}   "));
        text += &format!("{gutter} {} {cause}\n", paint(blue, "= caused by:"));
    }
    for help in &error.helps {
        text += &format!("{gutter} {} {}\n", paint(cyan, "= help:"), bare(help));
    }
    text
}

/// `text` without control characters, which could change what the terminal shows; newlines and tabs stay.
fn bare(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// The marked line, cut to the part around the mark; the number of columns before the mark; the mark's width.
fn excerpt(origin: &Origin) -> (String, usize, usize) {
    // Tabs are printed as four spaces, regardless of the terminal's tab width.
    let cell = |c: char| match c {
        '\t' => "    ".to_owned(),
        c if c.is_control() => "\u{fffd}".to_owned(),
        c => c.to_string(),
    };
    let cells: Vec<String> = origin.text.chars().map(cell).collect();
    let columns = |cells: &[String]| cells.iter().map(|cell| cell.width()).sum::<usize>();
    let start = (origin.mark as usize).min(cells.len());
    let end = (start + origin.width as usize).min(cells.len());
    let (mut from, mut to) = (0, cells.len());
    if columns(&cells) > EXCERPT_COLUMNS {
        from = start;
        let room = EXCERPT_COLUMNS.saturating_sub(columns(&cells[start..end]).min(EXCERPT_COLUMNS));
        while from > 0 && columns(&cells[from - 1..start]) <= room / 3 {
            from -= 1;
        }
        to = from;
        while to < cells.len() && columns(&cells[from..=to]) <= EXCERPT_COLUMNS {
            to += 1;
        }
    }
    let head = if from > 0 { "…" } else { "" };
    let tail = if to < cells.len() { "…" } else { "" };
    let line = format!("{head}{}{tail}", cells[from..to].concat());
    let before = columns(&cells[from..start.max(from)])
        + head.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
    let width = columns(&cells[start..end.clamp(start, to.max(start))]).max(1);
    (line.trim_end().to_owned(), before, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, mark: u32, width: u32) -> String {
        let origin = Origin { source: Source::Default, line: 7, column: 1, width, text: text.into(), mark };
        render(&Error::new("no").at(origin), false)
    }

    #[test]
    fn marks_tabs_and_wide_characters() {
        assert_eq!(
            rendered("\tname = \"日本\" # x", 8, 4),
            "error: no\n --> default\n  |\n7 |     name = \"日本\" # x\n  |            ^^^^^^\n"
        );
    }

    #[test]
    fn cuts_long_lines_around_the_mark() {
        let line = format!("{}here{}", "a".repeat(300), "b".repeat(300));
        let text = rendered(&line, 300, 4);
        let lines: Vec<&str> = text.lines().collect();
        let at = lines[3].find("here").unwrap();
        assert!(lines[3].starts_with("7 | …a") && lines[3].ends_with("b…"), "{text}");
        // `…` takes three bytes and one column.
        assert_eq!(lines[4].find("^^^^"), Some(at - 2), "{text}");
    }

    #[test]
    fn no_control_characters() {
        let text = render(&Error::new("a\x1b[31mb").at(None), false);
        assert!(!text.contains('\x1b'));
    }
}
