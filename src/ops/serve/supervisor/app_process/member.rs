//! A process that is not started yet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;

use super::group::{CurrentProcess, ProcessSlot, StacksWanted};
use crate::app::process::{AddressKind, Endpoint, EndpointUsers};
use crate::ops::serve::supervisor::side_process::{log_of, make_log};

/// A process that is not started yet, and holds its port.
pub(super) struct UnstartedMember {
    index: usize,
    socket: PathBuf,
    endpoint: Endpoint,
}

impl UnstartedMember {
    /// Releases the port: the process starts now.
    pub(super) fn release(self) -> ProcessSlot {
        let (address, listener, reservation) = self.endpoint.release();
        let current = CurrentProcess {
            pid: 0,
            program: None,
            terminal: None,
            since: Instant::now(),
            restarts: 0,
            control: None,
            messages: None,
        };
        ProcessSlot {
            index: self.index,
            socket: self.socket,
            address,
            listener,
            _reservation: reservation,
            current: Mutex::new(current),
            stacks: StacksWanted::default(),
        }
    }
}

impl UnstartedMember {
    /// Makes the address, and the pipe for the log.
    pub(super) fn bind(
        folder: &Path,
        index: usize,
        address: AddressKind,
        users: EndpointUsers,
    ) -> io::Result<UnstartedMember> {
        let mut paths = (0..).map(|number| folder.join(format!("app{number}.sock")));
        let socket = paths.find(|path| !path.exists() && !log_of(path).exists()).unwrap_or_default();
        let endpoint = Endpoint::bind(address, &socket, users)?;
        make_log(&socket)?;
        Ok(UnstartedMember { index, socket, endpoint })
    }
}
