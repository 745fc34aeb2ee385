//! Converts the terminal colors in text to HTML, or removes them.
//!
//! # Source
//! ECMA-48, section 8.3.117 (SGR).

use std::fmt::Write;

/// One part of a text.
enum Part<'a> {
    Text(&'a str),
    /// The numbers of an SGR sequence.
    Style(&'a str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.find("\x1b[").unwrap_or(rest.len());
        if at > 0 {
            let (before, after) = rest.split_at(at);
            rest = after;
            return Some(Part::Text(before));
        }
        let body = &rest[2..];
        let end = body.find(|c: char| ('@'..='~').contains(&c));
        let (numbers, after, last) = match end {
            Some(end) => (&body[..end], &body[end + 1..], &body[end..=end]),
            None => ("", "", ""),
        };
        rest = after;
        // Other sequences move the cursor, which means nothing here.
        Some(if last == "m" { Part::Style(numbers) } else { Part::Text("") })
    })
}

/// Without colors.
pub(super) fn plain(text: &str) -> String {
    parts(text).filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).collect()
}

/// As HTML, with a class for each color and weight.
pub(super) fn html(text: &str) -> String {
    let (mut out, mut bold, mut color) = (String::new(), false, None);
    for part in parts(text) {
        match part {
            Part::Text(text) if bold || color.is_some() => {
                let weight = if bold { "ansi-bold " } else { "" };
                let color = color.map_or(String::new(), |color: u8| format!("ansi-{color}"));
                let _ = write!(out, "<span class=\"{weight}{color}\">{}</span>", super::html::escape(text));
            }
            Part::Text(text) => out.push_str(&super::html::escape(text)),
            Part::Style(numbers) => {
                for number in numbers.split(';') {
                    match number.parse().unwrap_or(0) {
                        0 => (bold, color) = (false, None),
                        1 => bold = true,
                        22 => bold = false,
                        number @ 30..=37 => color = Some(number - 30),
                        39 => color = None,
                        number @ 90..=97 => color = Some(number - 82),
                        // What follows are the parts of a color.
                        38 | 48 => break,
                        _ => {}
                    }
                }
            }
        }
    }
    out
}
