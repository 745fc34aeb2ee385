//! Comms: channels between an object of the kernel and its view in pages, as of ipywidgets.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", section "Custom Messages"; ipywidgets, "Model state", "Jupyter widget messaging protocol 2".

use serde::{Deserialize, Serialize};

use super::Object;

/// An open comm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Comm {
    /// Its id, chosen by the kernel.
    pub comm_id: String,
    /// What it is for, for example `jupyter.widget`.
    pub target_name: String,
    /// The data of its `comm_open`, with the widget's present state.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub data: Object,
    /// The metadata of its `comm_open`.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub metadata: Object,
    /// Binary parts of the state in base64, one for each of `data.buffer_paths`.
    pub buffers: Vec<String>,
}

/// One message of a comm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct CommMessage {
    /// The comm.
    pub comm_id: String,
    /// What happens to it.
    pub kind: CommKind,
    /// What it is for; only of `open`.
    #[serde(default)]
    pub target_name: Option<String>,
    /// Anything. A widget's is `{"method", "state", "buffer_paths"}` or `{"method": "custom", "content"}`.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub data: Object,
    /// Anything.
    #[serde(default)]
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub metadata: Object,
    /// Binary parts in base64.
    #[serde(default)]
    pub buffers: Vec<String>,
    /// From a page: an id for this message (`[A-Za-z0-9_-]{1,64}`), or null. From the kernel: the id of the message that it is
    /// about. A widget recognizes the echo of its own change by it.
    #[serde(default)]
    pub request: Option<String>,
}

/// What a message does with its comm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CommKind {
    /// Creates it.
    Open,
    /// Uses it.
    Message,
    /// Ends it.
    Close,
}
