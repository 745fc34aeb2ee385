//! The text from which a notebook was read. Unchanged parts are written back byte for byte.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::lenient::Layout;
use super::write::{Style, cell_json, put, sorted};
use super::{FileCell, NotebookFile};
use crate::protocol::Object;

/// The text of a notebook, and where its parts are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Original {
    text: Arc<str>,
    style: Style,
    /// By id: the number and the hash of each cell.
    cells: HashMap<String, (usize, [u8; 32])>,
    places: Vec<Place>,
    /// The list `cells`.
    list: Range<usize>,
    metadata: Range<usize>,
    metadata_hash: [u8; 32],
    minor: Range<usize>,
    minor_is: u64,
}

/// A cell in the text.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    range: Range<usize>,
    id: IdPlace,
}

/// Where the id of a cell comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdPlace {
    /// From the text, or it is not written.
    Text,
    /// The text has none.
    Missing,
    /// The one in the text is not valid, or another cell has it.
    Replaced,
}

fn hash(value: &Value) -> [u8; 32] {
    let mut text = String::new();
    put(&mut text, value, &Style::COMPACT, 0);
    Sha256::digest(text).into()
}

fn cell_hash(cell: &FileCell) -> [u8; 32] {
    let mut cell = cell.clone();
    cell.id = None;
    hash(&sorted(cell_json(&cell, false)))
}

fn object_hash(object: &Object) -> [u8; 32] {
    hash(&sorted(object.clone().into()))
}

impl Original {
    /// Remembers the text of `notebook`. `ids` tells where the ids come from. `None` if the text has a different structure and
    /// must be rewritten.
    pub(super) fn new(
        text: &str,
        layout: Layout,
        notebook: &NotebookFile,
        ids: &[IdPlace],
    ) -> Option<Original> {
        let member = |name: &str| {
            let mut found = layout.members.iter().filter(|(key, _)| key == name);
            // A key that comes twice is not what it seems.
            found.next().filter(|_| found.next().is_none()).map(|(_, range)| range.clone())
        };
        if layout.cells.len() != notebook.cells.len() || ids.len() != notebook.cells.len() {
            return None;
        }
        let cells = notebook.cells.iter().enumerate().filter(|(at, _)| ids[*at] != IdPlace::Replaced);
        Some(Original {
            style: Style::of(text),
            list: member("cells")?,
            metadata: member("metadata")?,
            metadata_hash: object_hash(&notebook.metadata),
            minor: member("nbformat_minor")?,
            minor_is: notebook.minor,
            cells: cells
                .map(|(at, cell)| Some((cell.id.clone()?, (at, cell_hash(cell)))))
                .collect::<Option<_>>()?,
            places: layout.cells.into_iter().zip(ids).map(|(range, id)| Place { range, id: *id }).collect(),
            text: text.into(),
        })
    }

    /// The text of `notebook`, with its unchanged parts preserved.
    pub(super) fn write(&self, notebook: &NotebookFile) -> String {
        let mut parts = vec![(self.list.clone(), self.write_cells(&notebook.cells))];
        if object_hash(&notebook.metadata) != self.metadata_hash {
            let mut text = String::new();
            put(&mut text, &sorted(notebook.metadata.clone().into()), &self.style, 1);
            parts.push((self.metadata.clone(), text));
        }
        if notebook.minor != self.minor_is {
            parts.push((self.minor.clone(), notebook.minor.to_string()));
        }
        parts.sort_by_key(|(range, _)| range.start);
        let (mut out, mut at) = (String::with_capacity(self.text.len()), 0);
        for (range, text) in parts {
            out.push_str(&self.text[at..range.start]);
            out.push_str(&text);
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn write_cells(&self, cells: &[FileCell]) -> String {
        let (Some(first), Some(last)) = (self.places.first(), self.places.last()) else {
            let list: Vec<Value> = cells.iter().map(|cell| sorted(cell_json(cell, true))).collect();
            let mut text = String::new();
            put(&mut text, &list.into(), &self.style, 1);
            return text;
        };
        if cells.is_empty() {
            return "[]".to_owned();
        }
        let between = |first: &Place, second: &Place| &self.text[first.range.end..second.range.start];
        let usual = match &self.places[..] {
            [first, second, ..] => between(first, second).to_owned(),
            _ => format!(",{}", self.style.line(2)),
        };
        let mut out = self.text[self.list.start..first.range.start].to_owned();
        let mut previous: Option<usize> = None;
        for (number, cell) in cells.iter().enumerate() {
            let known = cell.id.as_ref().and_then(|id| self.cells.get(id));
            let own = known.map(|(at, _)| *at);
            if number > 0 {
                match previous.zip(own) {
                    Some((before, own)) if own == before + 1 => {
                        out.push_str(between(&self.places[before], &self.places[own]));
                    }
                    _ => out.push_str(&usual),
                }
            }
            previous = own;
            match known.filter(|(_, hash)| *hash == cell_hash(cell)) {
                Some((at, _)) => out.push_str(&self.as_it_was(&self.places[*at], cell.id.as_deref())),
                None => put(&mut out, &sorted(cell_json(cell, true)), &self.style, 2),
            }
        }
        out.push_str(&self.text[last.range.end..self.list.end]);
        out
    }

    /// A cell's text, with its id.
    fn as_it_was(&self, place: &Place, id: Option<&str>) -> String {
        let text = &self.text[place.range.clone()];
        match (place.id, id, text.strip_prefix('{')) {
            (IdPlace::Missing, Some(id), Some(rest)) => {
                let space = &rest[..rest.len() - rest.trim_start().len()];
                let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
                format!("{{{space}\"id\": \"{id}\"{comma}{rest}")
            }
            _ => text.to_owned(),
        }
    }
}
