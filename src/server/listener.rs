//! Addresses to listen on, and the bound sockets that generations inherit.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};

use crate::error::{Error, Result};

/// Connections that the kernel keeps for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// One entry of `listen = [...]`: `host:port`, `unix:PATH`, `fd:N`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
    /// An inherited descriptor.
    Fd(i32),
}

impl Listen {
    /// Reads one entry; a host name is resolved, IPv4 first.
    /// # Errors
    /// Says what the entry should look like.
    pub fn parse(text: &str) -> Result<Listen, Error> {
        let form = "write `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock` or `fd:3`";
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(Error::config(format!("`{text}` names no path")).help(form));
            }
            return Ok(Listen::Unix(path.into()));
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return match number.parse() {
                Ok(number @ 0..) => Ok(Listen::Fd(number)),
                _ => Err(Error::config(format!("`{number}` is no descriptor")).help(form)),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Listen::Tcp(address));
        }
        let error = |message: String| Error::config(message).help(form);
        match text.rsplit_once(':') {
            Some(("", port)) => Err(error(format!("`{text}` has no host")).help(format!(
                "`0.0.0.0:{port}` listens on every IPv4 address, `127.0.0.1:{port}` on this machine only"
            ))),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                Err(error(format!("`{text}` has no port from 0 to 65535")))
            }
            None => Err(error(format!("`{text}` has no port"))),
            Some(_) => {
                let found: Vec<_> = text
                    .to_socket_addrs()
                    .map_err(|cause| error(format!("cannot resolve `{text}`")).because(cause))?
                    .collect();
                let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
                first.copied().map(Listen::Tcp).ok_or_else(|| error(format!("`{text}` has no address")))
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Fd(number) => write!(f, "fd:{number}"),
        }
    }
}

/// A bound and listening socket.
#[derive(Debug)]
pub struct Socket {
    /// What it was bound for.
    pub listen: Listen,
    /// The descriptor, close-on-exec, non-blocking.
    pub fd: OwnedFd,
}

impl Socket {
    /// The address that it is really bound to, as [`Environ::listen`](crate::environ::Environ::listen) has it.
    pub fn address(&self) -> String {
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

    /// Another descriptor of the same socket.
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(Socket { listen: self.listen.clone(), fd: self.fd.try_clone()? })
    }
}

/// Binds and listens.
///
/// A Unix socket's file is replaced when nobody answers on it any more. `SO_REUSEADDR` is set, `SO_REUSEPORT` is
/// not: generations share one socket, as a socket of its own for each would lose what its queue holds.
/// # Errors
/// Names the address, what holds it where that can be seen, and how to mend it.
pub fn bind(listen: &Listen) -> Result<Socket> {
    let fd = match listen {
        Listen::Tcp(address) => bind_tcp(*address)?,
        Listen::Unix(path) => bind_unix(path)?,
        Listen::Fd(number) => inherited(*number)?,
    };
    Ok(Socket { listen: listen.clone(), fd })
}

fn bind_tcp(address: SocketAddr) -> Result<OwnedFd> {
    let bound = || -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bound().map(OwnedFd::from).map_err(|cause| {
        let error = Error::new(format!("cannot listen on `{address}`"));
        let error = match cause.kind() {
            io::ErrorKind::AddrInUse => match holder(address.port()) {
                Some(holder) => {
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

fn bind_unix(path: &Path) -> Result<OwnedFd> {
    let failed = |what: &str, cause: io::Error| {
        Error::new(format!("cannot {what} the Unix socket `{}`", path.display())).because(cause)
    };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(Error::new(format!("`{}` exists and is no socket", path.display()))
                .help("choose another path, or move the file away")
                .into());
        }
        match UnixStream::connect(path) {
            Ok(_) => {
                return Err(Error::new(format!("another program listens on `{}`", path.display()))
                    .help("stop it, or choose another path")
                    .into());
            }
            Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|cause| failed("replace", cause))?;
            }
            Err(cause) => return Err(failed("replace", cause).into()),
        }
    }
    let bound = || -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bound().map(OwnedFd::from).map_err(|cause| {
        let missing = cause.kind() == io::ErrorKind::NotFound;
        let error = failed("listen on", cause);
        if missing { error.help("its folder does not exist: create it first").into() } else { error.into() }
    })
}

/// Takes a copy of an inherited descriptor; the number itself stays open.
fn inherited(number: i32) -> Result<OwnedFd> {
    let failed = |cause: io::Error| {
        Error::new(format!("cannot listen on `fd:{number}`"))
            .because(cause)
            .help("the parent process must pass a bound TCP or Unix socket under that number")
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
/// The kernel duplicates by number through the process's own pidfd, so that no raw descriptor has to be trusted.
/// # Errors
/// When `number` is not open.
pub fn copy_of(number: i32) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this.as_fd(), number, PidfdGetfdFlags::empty())?)
}

/// Who listens on a TCP port, as far as `/proc` shows it to us.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let listens = *state == "0A" && local.ends_with(&format!(":{port:04X}"));
            listens.then(|| format!("socket:[{inode}]"))
        })
    })?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&inode));
        if descriptors.flatten().any(holds) {
            let command = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("`{}` (process {})", command.trim(), name.to_string_lossy()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match Listen::parse(text) {
            Ok(listen) => listen.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn entries() {
        check("127.0.0.1:0", "127.0.0.1:0");
        check("[::1]:8080", "[::1]:8080");
        check("unix:/tmp/a b", "unix:/tmp/a b");
        check("unix:", "`unix:` names no path");
        check("fd:3", "fd:3");
        check("fd:-1", "`-1` is no descriptor");
        check(":80", "`:80` has no host");
        check("8080", "`8080` has no port");
        check("localhost:99999", "`localhost:99999` has no port from 0 to 65535");
        check("localhost:81", "127.0.0.1:81");
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let first = bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
        let errors = bind(&Listen::parse(&first.address()).unwrap()).unwrap_err();
        let error = errors.iter().next().unwrap();
        assert!(error.helps[0].contains(&format!("(process {})", std::process::id())), "{:?}", error.helps);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(folder.path().join("a.sock"));
        let first = bind(&listen).unwrap();
        assert!(bind(&listen).unwrap_err().to_string().contains("another program listens"));
        drop(first);
        bind(&listen).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let errors = bind(&Listen::Unix(folder.path().join("file"))).unwrap_err();
        assert!(errors.to_string().contains("is no socket"));
    }

    #[test]
    fn an_inherited_descriptor_is_copied() {
        use std::os::fd::AsRawFd;
        let first = bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
        let copy = bind(&Listen::Fd(first.fd.as_raw_fd())).unwrap();
        assert_eq!(first.address(), copy.address());
        assert!(bind(&Listen::Fd(9999)).is_err());
    }
}
