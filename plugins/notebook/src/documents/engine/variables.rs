//! The variables of a Python kernel, which a silent run lists with a user expression.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", sections "Execute" and "Execution results" (`user_expressions`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::queries::{Query, QueryKind};
use super::{Effect, Engine};
use crate::kernel::message::Channel;
use crate::protocol::Variable;

/// A Python expression whose value is a base64-encoded JSON list with an entry per variable: name, type, size and value, as
/// text.
const EXPRESSION: &str = include_str!("variables.py");
/// Its name in the request.
const NAME: &str = "variables";

impl Engine {
    /// Asks the kernel for its variables. A busy kernel answers when it is idle.
    pub(in crate::documents) fn list_variables(&mut self, client: u64, id: u32) -> Vec<Effect> {
        let query = Query::new(client, id, String::new(), QueryKind::Variables);
        if self.kernel.language.as_deref() != Some("python") {
            self.effects.push(query.answer(None));
            return self.take_effects();
        }
        let content = json!({
            "code": "", "silent": true, "store_history": false, "user_expressions": {NAME: EXPRESSION.trim()},
            "allow_stdin": false, "stop_on_error": false,
        });
        self.ask(Channel::Shell, "execute_request", &content, query)
    }
}

/// The variables in the content of the kernel's reply; `None` if they could not be listed.
pub(super) fn read_variables(content: &Value) -> Option<Vec<Variable>> {
    let text = content["user_expressions"][NAME]["data"]["text/plain"].as_str()?;
    let json = STANDARD.decode(text.trim_matches(['\'', '"'])).ok()?;
    let rows: Vec<(String, String, String, String)> = serde_json::from_slice(&json).ok()?;
    Some(rows.into_iter().map(|(name, kind, size, value)| Variable { name, kind, size, value }).collect())
}
