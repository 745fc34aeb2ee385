//! Requests to the kernel whose reply one page waits for: completion and inspection.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Actor, new_msg_id};
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Message};
use crate::protocol::{Completion, KernelState, Reply};

/// How long such a request may take. IPython's first completion takes 4 s, on a loaded machine 15 s. A page
/// that has sent another request since ignores a late reply.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Question {
    client: u64,
    id: u32,
    deadline: Instant,
    code: String,
    kind: Asked,
}

#[derive(Clone, Copy)]
pub(super) enum Asked {
    Completion,
    Inspection,
}

impl Actor {
    pub(super) fn ask(
        &mut self,
        client: u64,
        id: u32,
        msg_type: &str,
        content: Value,
        code: String,
        kind: Asked,
    ) -> Option<Result<Reply, String>> {
        let ready = matches!(self.engine.kernel.state, KernelState::Idle | KernelState::Busy)
            && self.engine.writer.is_some();
        if !ready || self.engine.questions.len() > 100 {
            return Some(Ok(nothing(kind)));
        }
        let msg_id = new_msg_id("ask");
        self.engine.send(Message::new(Channel::Shell, msg_type, &msg_id, DOCUMENT_SESSION, &content));
        self.engine
            .questions
            .insert(msg_id, Question { client, id, deadline: Instant::now() + PATIENCE, code, kind });
        None
    }

    pub(super) fn answer_question(&mut self, msg_id: &str, content: Option<&Value>) {
        let Some(question) = self.engine.questions.remove(msg_id) else { return };
        let reply = content.map_or_else(|| nothing(question.kind), |content| read_answer(&question, content));
        self.answer(question.client, question.id, Ok(reply));
    }

    /// Sends empty replies to requests that a busy kernel did not answer in time.
    pub(in crate::documents) fn expire_questions(&mut self) {
        let now = Instant::now();
        let late: Vec<String> = self
            .engine
            .questions
            .iter()
            .filter(|(_, question)| question.deadline < now)
            .map(|(msg_id, _)| msg_id.clone())
            .collect();
        late.iter().for_each(|msg_id| self.answer_question(msg_id, None));
    }
}

fn nothing(kind: Asked) -> Reply {
    match kind {
        Asked::Completion => Reply::Completions { matches: Vec::new(), start: 0, end: 0 },
        Asked::Inspection => Reply::Inspection { data: None },
    }
}

fn read_answer(question: &Question, content: &Value) -> Reply {
    if content["status"] != "ok" {
        return nothing(question.kind);
    }
    match question.kind {
        Asked::Inspection => {
            let found = content["found"].as_bool().unwrap_or_default();
            Reply::Inspection {
                data: content["data"].as_object().filter(|data| found && !data.is_empty()).cloned(),
            }
        }
        Asked::Completion => {
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
                content[key].as_u64().map_or(0, |place| utf16_units(&question.code, place as usize))
            };
            Reply::Completions { matches, start: place("cursor_start"), end: place("cursor_end") }
        }
    }
}

/// Jupyter counts characters; browsers count UTF-16 units.
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
