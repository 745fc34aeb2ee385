//! The address at which a process listens.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::ProcessAddress;

/// How a process gets the address at which it listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AddressKind {
    /// It inherits a listening Unix socket.
    #[default]
    Descriptor,
    /// A free TCP port of 127.0.0.1.
    Port,
    /// A path for a Unix socket, which it creates itself.
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
    reservation: Option<PortReservation>,
}

/// Reserves a port among the paster servers of this machine, for as long as a process may use it. Between the start of the process and
/// its `bind`, the port is free, and another server could give it to one of its processes. The reservation is an abstract Unix
/// socket with the number of the port in its name. Such sockets belong to a network namespace, as ports do (unix(7)).
#[derive(Debug)]
pub struct PortReservation {
    _socket: UnixListener,
}

/// How many ports are tried until one is not reserved.
const ATTEMPTS: usize = 100;

/// The users and groups on both sides of an address, if they differ from those of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointUsers {
    /// The process that listens.
    pub process: Option<(u32, u32)>,
    /// The workers that connect.
    pub workers: Option<(u32, u32)>,
}

impl Endpoint {
    /// Creates an address. `path` must be free for a socket, in a directory that belongs to this process.
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
                // Processes that share the socket must not block when another one has accepted the connection.
                listener.set_nonblocking(true)?;
                match process == workers {
                    true => own(path, 0o600, user, group)?,
                    // The readiness check connects as the process's user.
                    false => own(path, 0o660, process.map(|(user, _)| user), group)?,
                }
                let address = Some(ProcessAddress::Unix(path.to_owned()));
                Ok(Endpoint { address, listener: Some(listener.into()), ..Endpoint::default() })
            }
            AddressKind::Socket => {
                let folder = path.with_extension("d");
                std::fs::create_dir(&folder)?;
                own(&folder, 0o710, process.map(|(user, _)| user), group)?;
                let address = Some(ProcessAddress::Unix(folder.join("socket")));
                Ok(Endpoint { address, ..Endpoint::default() })
            }
            AddressKind::Port => Endpoint::port(),
        }
    }

    /// A port that no other server has reserved.
    fn port() -> io::Result<Endpoint> {
        // Ports that others have reserved stay bound, so that the system chooses another one.
        let mut others = Vec::new();
        while others.len() < ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = port.local_addr()?.port();
            match reserve(number) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => others.push(port),
                // A system that forbids such sockets has no reservations.
                reserved => {
                    let address = Some(ProcessAddress::Tcp(number));
                    let reservation = reserved.ok();
                    return Ok(Endpoint { address, listener: None, _port: Some(port), reservation });
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{ATTEMPTS} free ports are reserved by other servers"),
        ))
    }

    /// Releases the port for the process that starts now. Returns the address, the inherited socket, and the reservation of the
    /// port, which lasts as long as the process may use it.
    pub fn release(self) -> (Option<ProcessAddress>, Option<OwnedFd>, Option<PortReservation>) {
        (self.address, self.listener, self.reservation)
    }

    /// Removes the socket that [`Endpoint::bind`] has created at `path`.
    pub fn remove(path: &Path) {
        let _ = std::fs::remove_file(path); // its directory may no longer exist
        let _ = std::fs::remove_dir_all(path.with_extension("d")); // there may be none
    }
}

impl PortReservation {
    /// Reserves the port of a process that another program has started; `None` if it has no port, or if that program still has
    /// the reservation.
    pub fn of(address: &ProcessAddress) -> Option<PortReservation> {
        match address {
            ProcessAddress::Tcp(port) => reserve(*port).ok(),
            ProcessAddress::Unix(_) => None,
        }
    }
}

/// Takes the reservation of a port.
fn reserve(port: u16) -> io::Result<PortReservation> {
    let name = SocketAddr::from_abstract_name(format!("paster-port-{port}"))?;
    Ok(PortReservation { _socket: UnixListener::bind_addr(&name)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_reserved_until_the_process_has_ended() {
        let (address, _, reservation) = Endpoint::port().unwrap().release();
        let Some(ProcessAddress::Tcp(number)) = address else { panic!("{address:?}") };
        assert!(reservation.is_some());
        assert_eq!(reserve(number).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // The process itself can use the port.
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap());
        drop(reservation);
        reserve(number).unwrap();
    }
}
