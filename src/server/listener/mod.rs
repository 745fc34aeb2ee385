//! Addresses to listen on, and the bound sockets that generations inherit.
//!
//! - `address`: one entry of `listen`; `systemd`: the sockets that an entry can stand for;
//! - here: binding; `unix`: the files of Unix sockets; `holder`: the process that holds an address.

mod address;
mod holder;
mod systemd;
mod unix;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, SockAddr, Type};

pub use self::address::{Listen, SocketAccess};
use self::holder::PortHolder;
pub use self::systemd::expand;
use crate::error::{Error, Result};

/// Connections that the kernel queues until they are accepted; the kernel limits this to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound and listening socket.
#[derive(Debug)]
pub struct Socket {
    /// The entry that it was bound for.
    pub listen: Listen,
    /// The descriptor, close-on-exec, non-blocking.
    pub fd: OwnedFd,
}

impl Socket {
    /// The address that it is actually bound to, in the form of
    /// [`Environ::listen`](crate::environ::Environ::listen).
    pub fn address(&self) -> String {
        // The system may know it by a shorter path.
        if let Listen::Unix(path, _) = &self.listen {
            return format!("unix:{}", path.display());
        }
        let bound = socket2::SockRef::from(&self.fd).local_addr();
        match bound.ok().as_ref().map(|bound| (bound.as_socket(), bound.as_pathname())) {
            Some((Some(address), _)) => address.to_string(),
            Some((_, Some(path))) => format!("unix:{}", path.display()),
            _ => self.listen.to_string(),
        }
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        socket2::SockRef::from(&self.fd).local_addr().is_ok_and(|bound| bound.is_unix())
    }

    /// Whether it takes IPv6 connections only.
    pub fn is_only_v6(&self) -> bool {
        socket2::SockRef::from(&self.fd).only_v6().unwrap_or(false)
    }

    /// Another descriptor of the same socket.
    /// # Errors
    /// If the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(Socket { listen: self.listen.clone(), fd: self.fd.try_clone()? })
    }
}

/// Binds and listens.
///
/// A Unix socket's file is replaced if no process listens on it. `SO_REUSEADDR` is set, `SO_REUSEPORT` is
/// not: generations share one socket, because separate sockets would lose what is in their queues. `only_v6`
/// keeps an IPv6 socket from taking IPv4 connections, so that another socket can take them (`IPV6_V6ONLY`,
/// RFC 3493, section 5.3).
/// # Errors
/// Names the address, the process that holds it if known, and a fix.
pub fn bind(listen: &Listen, only_v6: bool) -> Result<Socket> {
    let fd = match listen {
        Listen::Tcp(address) => bind_tcp(*address, only_v6)?,
        Listen::Unix(path, access) => unix::bind_unix(path, access)?,
        Listen::Fd(number) => inherited(*number)?,
        Listen::Systemd(_) => return Err(Error::new(format!("`{listen}` stands for several sockets")).into()),
    };
    Ok(Socket { listen: listen.clone(), fd })
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> Result<OwnedFd> {
    let bound = || -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?; // regardless of `net.ipv6.bindv6only`
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bound().map(OwnedFd::from).map_err(|cause| {
        let error = Error::new(format!("cannot listen on `{address}`"));
        let error = match cause.kind() {
            io::ErrorKind::AddrInUse => match holder::holder(address) {
                Some(PortHolder::Us) => error.help(format!(
                    "this paster (process {}) already listens there: another entry of `listen` covers that address",
                    std::process::id()
                )),
                Some(PortHolder::Other(holder)) => {
                    error.help(format!("{holder} listens there: stop it, or choose another port"))
                }
                None => error.help("another program listens there: stop it, or choose another port"),
            },
            io::ErrorKind::PermissionDenied => {
                error.help("a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => {
                error.help("no network interface of this machine has that address; `ip addr` lists them")
            }
            _ => error,
        };
        error.because(cause).into()
    })
}

/// Sets the owner, group and mode of an already bound Unix socket according to its entry.
/// # Errors
/// Names the path and the fault.
pub fn grant(listen: &Listen) -> Result<()> {
    match listen {
        Listen::Unix(path, access) => unix::give(path, access).map_err(Into::into),
        _ => Ok(()),
    }
}

/// Duplicates an inherited descriptor; the number itself stays open.
fn inherited(number: i32) -> Result<OwnedFd> {
    let failed = |cause: io::Error| {
        Error::new(format!("cannot listen on `fd:{number}`"))
            .because(cause)
            .help("the parent process must pass a bound TCP or Unix socket with that number")
    };
    let fd = copy_of(number).map_err(failed)?;
    let socket = socket2::SockRef::from(&fd);
    socket.local_addr().map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(fd)
}

/// A close-on-exec copy of the process's descriptor `number`.
///
/// The kernel duplicates by number through the process's own pidfd, so no raw descriptor has to be trusted.
/// # Errors
/// If `number` is not open.
pub fn copy_of(number: i32) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this.as_fd(), number, PidfdGetfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let first = bind(&Listen::Tcp(([127, 0, 0, 1], 0).into()), false).unwrap();
        let errors = bind(&Listen::parse(&first.address()).unwrap(), false).unwrap_err();
        let error = errors.iter().next().unwrap();
        assert!(error.helps[0].contains(&format!("(process {})", std::process::id())), "{:?}", error.helps);
    }

    #[test]
    fn an_inherited_descriptor_is_copied() {
        use std::os::fd::AsRawFd;
        let first = bind(&Listen::Tcp(([127, 0, 0, 1], 0).into()), false).unwrap();
        let copy = bind(&Listen::Fd(first.fd.as_raw_fd()), false).unwrap();
        assert_eq!(first.address(), copy.address());
        assert!(bind(&Listen::Fd(9999), false).is_err());
    }
}
