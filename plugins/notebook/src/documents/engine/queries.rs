//! Requests of pages that the kernel answers: completion and inspection.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", sections "Completion", "Introspection" and "cursor_pos and unicode offsets".

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Effect;
use super::debugger::read_response;
use super::variables::read_variables;
use crate::protocol::{Completion, Object, Reply};

/// How long such a request may take. IPython's first completion takes 4 s, on a loaded machine 15 s. A page
/// that has sent another request since ignores a late reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many requests may wait for the kernel. Further ones get an empty reply at once.
const MAX_WAITING: usize = 100;

/// A page's query.
#[derive(Debug)]
pub(super) struct Query {
    client: u64,
    id: u32,
    deadline: Instant,
    code: String,
    kind: QueryKind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum QueryKind {
    Completion,
    Inspection,
    Variables,
    Debug,
}

impl Query {
    pub(super) fn new(client: u64, id: u32, code: String, kind: QueryKind) -> Query {
        Query { client, id, deadline: Instant::now() + PATIENCE, code, kind }
    }

    /// The reply to the page, from the content of the kernel's reply; `None`: an empty one.
    pub(super) fn answer(&self, content: Option<&Value>) -> Effect {
        // A response of the debugger has no status.
        let is_answer = |content: &&Value| content["status"] == "ok" || matches!(self.kind, QueryKind::Debug);
        let reply = match content.filter(is_answer) {
            Some(content) => self.read(content),
            None => self.nothing(),
        };
        Effect::Answer { client: self.client, id: self.id, result: Ok(reply) }
    }

    fn nothing(&self) -> Reply {
        match self.kind {
            QueryKind::Completion => Reply::Completions { matches: Vec::new(), start: 0, end: 0 },
            QueryKind::Inspection => Reply::Inspection { data: None },
            QueryKind::Variables => Reply::Variables { variables: None },
            QueryKind::Debug => Reply::Debug { success: false, message: None, body: Object::new() },
        }
    }

    fn read(&self, content: &Value) -> Reply {
        match self.kind {
            QueryKind::Variables => Reply::Variables { variables: read_variables(content) },
            QueryKind::Debug => read_response(content),
            QueryKind::Inspection => {
                let found = content["found"].as_bool().unwrap_or_default();
                let data = content["data"].as_object().filter(|data| found && !data.is_empty());
                Reply::Inspection { data: data.cloned() }
            }
            QueryKind::Completion => {
                let kinds = content["metadata"]["_jupyter_types_experimental"].as_array();
                let kind_of = |text: &str| {
                    let entry = kinds?.iter().find(|entry| entry["text"] == text)?;
                    entry["type"].as_str().filter(|kind| *kind != "<unknown>").map(str::to_owned)
                };
                let matches = content["matches"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let matches = matches
                    .take(1000)
                    .map(|text| Completion { text: text.to_owned(), kind: kind_of(text) })
                    .collect();
                let place = |key: &str| {
                    content[key].as_u64().map_or(0, |place| utf16_units(&self.code, place as usize))
                };
                Reply::Completions { matches, start: place("cursor_start"), end: place("cursor_end") }
            }
        }
    }
}

/// The requests that wait, by the id of the message to the kernel.
#[derive(Debug, Default)]
pub(super) struct Queries(HashMap<String, Query>);

impl Queries {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MAX_WAITING
    }

    pub(super) fn has(&self, msg_id: &str) -> bool {
        self.0.contains_key(msg_id)
    }

    pub(super) fn add(&mut self, msg_id: String, query: Query) {
        self.0.insert(msg_id, query);
    }

    /// Handles the kernel's reply.
    pub(super) fn answer(&mut self, msg_id: &str, content: &Value) -> Option<Effect> {
        Some(self.0.remove(msg_id)?.answer(Some(content)))
    }

    /// Ends the requests that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Effect> {
        self.0.extract_if(|_, query| query.deadline < now).map(|(_, query)| query.answer(None)).collect()
    }

    /// Ends all requests.
    pub(super) fn give_up(&mut self) -> Vec<Effect> {
        self.0.drain().map(|(_, query)| query.answer(None)).collect()
    }
}

/// Converts a position: Jupyter counts characters, browsers count UTF-16 units.
pub(super) fn code_points(text: &str, utf16: usize) -> usize {
    let mut units = 0;
    text.chars()
        .take_while(|letter| {
            units += letter.len_utf16();
            units <= utf16
        })
        .count()
}

fn utf16_units(text: &str, code_points: usize) -> usize {
    text.chars().take(code_points).map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_both_ways() {
        let text = "é😀x";
        for (units, points) in [(0, 0), (1, 1), (3, 2), (4, 3)] {
            assert_eq!(code_points(text, units), points);
            assert_eq!(utf16_units(text, points), units);
        }
        assert_eq!((code_points(text, 99), utf16_units(text, 99)), (3, 4));
    }
}
