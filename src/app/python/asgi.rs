//! `asgi`: applications on an event loop.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::kind::{Interface, NamedApplication, PythonKind, PythonOptions};
use crate::config::Table;
use crate::error::Error;

/// Options of an `[app.NAME]` table with `use = "asgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct AsgiOptions {
    #[serde(flatten)]
    named: NamedApplication,
    #[serde(flatten)]
    common: PythonOptions,
    #[serde(flatten)]
    event_loop: LoopOptions,
}

/// Options of applications on an event loop.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct LoopOptions {
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

impl LoopOptions {
    /// Maximum number of requests and WebSockets from one worker per process. The loop takes them all at once.
    pub(super) const IN_FLIGHT: usize = 1000;

    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let choice = match self.event_loop {
            EventLoop::Auto => "auto",
            EventLoop::Asyncio => "asyncio",
            EventLoop::Uvloop => "uvloop",
        };
        vec![("loop".to_owned(), choice.to_owned())]
    }
}

impl PythonKind for AsgiOptions {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        Interface::Asgi
    }

    fn folder(&self) -> (&'static str, Option<&Path>) {
        ("working_dir", self.named.working_dir.as_deref())
    }

    fn application(&self, _: &Table, _: &Path, _: bool) -> String {
        self.named.application.trim().to_owned()
    }

    fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        self.named.check(table, errors);
    }

    fn in_flight(&self) -> usize {
        LoopOptions::IN_FLIGHT
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.event_loop.settings()
    }
}
