//! `asgi`: an event loop.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{PythonKind, PythonOptions};

/// Options of an `[app.NAME]` table with `use = "asgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct AsgiOptions {
    #[serde(flatten)]
    common: PythonOptions,
    /// The event loop. "auto": uvloop if the environment has it, otherwise asyncio's own.
    #[serde(default)]
    event_loop: EventLoop,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum EventLoop {
    #[default]
    Auto,
    Asyncio,
    Uvloop,
}

/// Requests and WebSockets that a process may have of one worker. The loop takes them all at once.
const IN_FLIGHT: usize = 1000;

impl PythonKind for AsgiOptions {
    const WEBSOCKETS: bool = true;

    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn in_flight(&self) -> usize {
        IN_FLIGHT
    }

    fn settings(&self) -> Vec<(String, String)> {
        let choice = match self.event_loop {
            EventLoop::Auto => "auto",
            EventLoop::Asyncio => "asyncio",
            EventLoop::Uvloop => "uvloop",
        };
        vec![("loop".to_owned(), choice.to_owned())]
    }
}
