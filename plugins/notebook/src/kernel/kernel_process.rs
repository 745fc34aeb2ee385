//! What runs a kernel: a process of this machine, or a gateway.

use std::time::Duration;

use rustix::process::Signal;

use super::gateway::RemoteKernel;
use super::process::Process;

/// What runs a kernel.
pub(super) enum KernelProcess {
    /// A process of this machine.
    Local(Process),
    /// A gateway.
    Remote(RemoteKernel),
}

impl KernelProcess {
    /// Its process id, which is also its group's id; `None` if it is not on this machine.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            KernelProcess::Local(process) => Some(process.id()),
            KernelProcess::Remote(_) => None,
        }
    }

    /// Whether it must be asked to end before it is ended. A gateway does that itself, and would restart a kernel that someone
    /// else has asked to end.
    pub(super) fn is_asked_to_end(&self) -> bool {
        matches!(self, KernelProcess::Local(_))
    }

    /// Sends a signal to its whole group.
    pub(super) fn signal(&self, signal: Signal) {
        match self {
            KernelProcess::Local(process) => process.signal(signal),
            KernelProcess::Remote(kernel) => kernel.signal(signal),
        }
    }

    /// Waits for its end, and describes it for users. May be cancelled and called again.
    pub(super) async fn ended(&mut self) -> String {
        match self {
            KernelProcess::Local(process) => process.ended().await,
            KernelProcess::Remote(kernel) => kernel.ended().await,
        }
    }

    /// Waits for its end. May be cancelled and called again.
    pub(super) async fn exited(&mut self) {
        match self {
            KernelProcess::Local(process) => process.exited().await,
            KernelProcess::Remote(kernel) => drop(kernel.ended().await),
        }
    }

    /// Waits at most `grace` for its end, then ends it and what it has started.
    pub(super) async fn end_within(&mut self, grace: Duration) {
        match self {
            KernelProcess::Local(process) => process.end_within(grace).await,
            KernelProcess::Remote(kernel) => kernel.end().await,
        }
    }
}
