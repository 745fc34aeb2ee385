//! `wsgi`: threads.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{PythonKind, PythonOptions};
use crate::app::upstream::secs;

/// Options of an `[app.NAME]` table with `use = "wsgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct WsgiOptions {
    #[serde(flatten)]
    common: PythonOptions,
    /// Threads per process that run the application. 1: for an application that is not thread safe.
    #[serde(default = "four")]
    threads: NonZeroU32,
}

fn four() -> NonZeroU32 {
    secs(4)
}

impl PythonKind for WsgiOptions {
    const WEBSOCKETS: bool = false;

    fn common(&self) -> &PythonOptions {
        &self.common
    }

    /// With several processes, a request waits here until a thread is free. With one, the next requests are at hand when a
    /// thread has ended one.
    fn in_flight(&self) -> usize {
        let threads = self.threads.get() as usize;
        if self.common.workers.get() > 1 { threads } else { threads * 2 + 4 }
    }

    fn settings(&self) -> Vec<(String, String)> {
        vec![("threads".to_owned(), self.threads.to_string())]
    }
}
