//! A notebook as slides: one HTML file. Keys turn the slides, and printing shows all of them, each on a page.
//!
//! # Source
//! nbconvert, `exporters/slides.py`, for the metadata `slideshow.slide_type`.

use std::fmt::Write;

use super::{html, script};
use crate::format::{FileCell, NotebookFile};
use crate::protocol::CellType;

const STYLE: &str = include_str!("slides.css");
const SCRIPT: &str = include_str!("slides.js");

/// What a cell is in a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlideType {
    /// It begins a slide.
    Slide,
    /// It appears with the next key.
    Fragment,
    /// It belongs to the part before it.
    Continued,
    /// It is not shown.
    Skip,
    /// It is for the speaker.
    Notes,
}

impl SlideType {
    /// The slide type in the metadata of a cell.
    fn of(cell: &FileCell) -> SlideType {
        match cell.metadata.get("slideshow").and_then(|slideshow| slideshow.get("slide_type")?.as_str()) {
            Some("slide" | "subslide") => SlideType::Slide,
            Some("fragment") => SlideType::Fragment,
            Some("skip") => SlideType::Skip,
            Some("notes") => SlideType::Notes,
            _ => SlideType::Continued,
        }
    }
}

/// Whether a cell is a heading of the first or second level.
fn is_heading(cell: &FileCell) -> bool {
    let text = cell.source.trim_start();
    cell.cell_type == CellType::Markdown && (text.starts_with("# ") || text.starts_with("## "))
}

/// What each cell is. If the author marked no slides, each heading of the first two levels begins one.
fn types(cells: &[FileCell]) -> Vec<SlideType> {
    let mut types: Vec<SlideType> = cells.iter().map(SlideType::of).collect();
    if !types.contains(&SlideType::Slide) {
        for (kind, cell) in types.iter_mut().zip(cells) {
            if *kind == SlideType::Continued && is_heading(cell) {
                *kind = SlideType::Slide;
            }
        }
    }
    types
}

/// The whole page.
pub(super) fn page(notebook: &NotebookFile, title: &str, sanitize: bool) -> String {
    let title = html::escape(title);
    let language = html::escape(script::language(notebook).unwrap_or("python"));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{}{STYLE}</style></head>\n<body>\n",
        html::STYLE
    );
    let mut open_part = None;
    for (cell, kind) in notebook.cells.iter().zip(types(&notebook.cells)) {
        if kind == SlideType::Skip {
            continue;
        }
        if kind == SlideType::Slide || open_part.is_none() {
            close(&mut out, &mut open_part, true);
            out.push_str("<article>\n");
        }
        // What continues a fragment appears with it.
        if kind != SlideType::Continued || !matches!(open_part, Some(SlideType::Slide | SlideType::Fragment))
        {
            close(&mut out, &mut open_part, false);
            let class = match kind {
                SlideType::Fragment => "fragment",
                SlideType::Notes => "notes",
                _ => "part",
            };
            let _ = write!(out, "<div class=\"{class}\">");
            open_part = Some(if kind == SlideType::Continued { SlideType::Slide } else { kind });
        }
        html::write_cell(&mut out, cell, &language, sanitize);
    }
    close(&mut out, &mut open_part, true);
    let _ = write!(
        out,
        "<nav><button id=\"back\" aria-label=\"Back\">&larr;</button><output id=\"place\" aria-live=\"polite\"></output>\
         <button id=\"on\" aria-label=\"Next\">&rarr;</button></nav>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    out
}

/// Ends the open part of a slide, and the slide if `slide` is set.
fn close(out: &mut String, open_part: &mut Option<SlideType>, slide: bool) {
    if open_part.take().is_some() {
        out.push_str(if slide { "</div>\n</article>\n" } else { "</div>\n" });
    }
}
