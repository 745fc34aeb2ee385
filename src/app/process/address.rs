//! Where a process listens.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::ProcessAddress;

/// How a process gets the address at which it listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AddressKind {
    /// It inherits a Unix socket that listens already.
    #[default]
    Descriptor,
    /// A free TCP port of 127.0.0.1.
    Port,
    /// A path for a Unix socket, which it makes itself.
    Socket,
    /// It does not listen.
    #[serde(skip)]
    None,
}

/// The address of one process.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// The address; `None` if it does not listen.
    pub address: Option<ProcessAddress>,
    /// The socket that it inherits.
    pub listener: Option<OwnedFd>,
    /// Holds the port until the process starts.
    _port: Option<TcpListener>,
}

/// User and group of those who use an address, if they are not those of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointUsers {
    /// The process that listens.
    pub process: Option<(u32, u32)>,
    /// The workers that connect.
    pub workers: Option<(u32, u32)>,
}

impl Endpoint {
    /// Makes an address; `path` is free for a socket, and its directory belongs to this process.
    /// # Errors
    /// When there is no free port or descriptor, or the directory cannot be written.
    pub fn bind(kind: AddressKind, path: &Path, users: EndpointUsers) -> io::Result<Endpoint> {
        let own = |path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            chown(path, owner, group)
        };
        let EndpointUsers { process, workers } = users;
        let (user, group) = (workers.map(|(user, _)| user), workers.map(|(_, group)| group));
        match kind {
            AddressKind::None => Ok(Endpoint::default()),
            AddressKind::Descriptor => {
                let listener = UnixListener::bind(path)?;
                // Processes that share it must not wait for a connection that another one has accepted.
                listener.set_nonblocking(true)?;
                match process == workers {
                    true => own(path, 0o600, user, group)?,
                    // What asks whether the process is ready connects as the process's user.
                    false => own(path, 0o660, process.map(|(user, _)| user), group)?,
                }
                let address = Some(ProcessAddress::Unix(path.to_owned()));
                Ok(Endpoint { address, listener: Some(listener.into()), _port: None })
            }
            AddressKind::Socket => {
                let folder = path.with_extension("d");
                std::fs::create_dir(&folder)?;
                own(&folder, 0o710, process.map(|(user, _)| user), group)?;
                let address = Some(ProcessAddress::Unix(folder.join("socket")));
                Ok(Endpoint { address, ..Endpoint::default() })
            }
            AddressKind::Port => {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let address = Some(ProcessAddress::Tcp(port.local_addr()?.port()));
                Ok(Endpoint { address, listener: None, _port: Some(port) })
            }
        }
    }

    /// Releases the port, for the process that starts now. Returns the address, and the socket that it inherits.
    pub fn release(self) -> (Option<ProcessAddress>, Option<OwnedFd>) {
        (self.address, self.listener)
    }

    /// Removes what [`Endpoint::bind`] has made at `path`.
    pub fn remove(path: &Path) {
        let _ = std::fs::remove_file(path); // its directory may be gone
        let _ = std::fs::remove_dir_all(path.with_extension("d")); // there may be none
    }
}
