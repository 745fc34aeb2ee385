//! `wsgi`: applications on threads.

use std::num::NonZeroU32;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::kind::{Interface, NamedApplication, PythonKind, PythonOptions};
use crate::app::upstream::secs;
use crate::config::Table;
use crate::error::Error;

/// Options of an `[app.NAME]` table with `use = "wsgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct WsgiOptions {
    #[serde(flatten)]
    named: NamedApplication,
    #[serde(flatten)]
    common: PythonOptions,
    #[serde(flatten)]
    threads: ThreadOptions,
}

/// Options of applications on threads.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ThreadOptions {
    /// Threads per process that run the application. Set 1 for an application that is not thread-safe.
    #[serde(default = "four")]
    threads: NonZeroU32,
}

fn four() -> NonZeroU32 {
    secs(4)
}

impl ThreadOptions {
    /// With several processes, requests wait in the worker until a thread is free. With one process, a thread finds the next
    /// requests as soon as it has ended one, so that their responses are sent together.
    pub(super) fn in_flight(&self, common: &PythonOptions) -> usize {
        in_flight(self.threads, common)
    }

    pub(super) fn settings(&self) -> Vec<(String, String)> {
        vec![("threads".to_owned(), self.threads.to_string())]
    }
}

/// Maximum number of requests from one worker for a process with so many threads.
pub(super) fn in_flight(threads: NonZeroU32, common: &PythonOptions) -> usize {
    let threads = threads.get() as usize;
    if common.workers.get() > 1 { threads } else { threads * 2 + 28 }
}

impl PythonKind for WsgiOptions {
    fn common(&self) -> &PythonOptions {
        &self.common
    }

    fn interface(&self) -> Interface {
        Interface::Wsgi
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
        self.threads.in_flight(&self.common)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.threads.settings()
    }
}
