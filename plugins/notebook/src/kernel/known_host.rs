//! What the link knows about the kernel host, to report its end.

use serde_json::Value;

use super::wire::Problem;

/// The host that the link was connected to last.
#[derive(Default)]
pub(super) struct KnownHost {
    /// Its process.
    pid: Option<u64>,
    /// Whether it was reported that it cannot be reached.
    away: bool,
}

impl KnownHost {
    /// A host has answered with `welcome`.
    pub(super) fn is_connected(&mut self, welcome: &Value) {
        let pid = welcome["pid"].as_u64();
        if self.pid.is_some() && self.pid != pid {
            tracing::error!(
                "the kernel host ended and was started again: its kernels and their variables are gone"
            );
        }
        *self = KnownHost { pid, away: false };
    }

    /// The host cannot be reached. Reported once.
    pub(super) fn is_away(&mut self, problem: &Problem) {
        if !self.away {
            self.away = true;
            tracing::error!(%problem, "kernels cannot be used");
        }
    }
}
