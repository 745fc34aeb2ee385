//! What the formats of a line have in common.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inflight::TraceIds;

/// The format of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LineFormat {
    /// The common log format.
    Common,
    /// The common format plus referer and user agent.
    #[default]
    Combined,
    /// A JSON object, which also has the duration and the request id.
    Json,
}

/// The values of the response.
pub(super) struct Answered<'a> {
    /// As reported on the response by an inner middleware that authenticates the user.
    pub(super) user: Option<Arc<str>>,
    pub(super) id: Option<Arc<str>>,
    pub(super) trace: Option<TraceIds>,
    pub(super) status: u16,
    pub(super) bytes: u64,
    /// Why the server itself answered.
    pub(super) reason: Option<&'a str>,
    /// The values of the response's fields that the config chooses.
    pub(super) chosen: Vec<Option<String>>,
}

impl Default for Answered<'_> {
    fn default() -> Self {
        // nginx's 499 remains if the client leaves before there is a response.
        Answered {
            user: None,
            id: None,
            trace: None,
            status: 499,
            bytes: 0,
            reason: None,
            chosen: Vec::new(),
        }
    }
}
