//! One entry of `listen`, as written in the config.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};

use crate::error::Error;

/// One entry of `listen = [...]`: `host:port`, `:port` (every address), `unix:PATH`, `fd:N`, `systemd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket's path, and who may connect.
    Unix(PathBuf, SocketAccess),
    /// An inherited descriptor.
    Fd(i32),
    /// The sockets that systemd passed: all of them, or those with this name (`FileDescriptorName=`).
    Systemd(Option<String>),
}

/// Who may connect to a Unix socket: `,mode=660,user=app,group=www-data` after its path. What is not given
/// follows from the process's umask, user and group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner, by name or number.
    pub user: Option<String>,
    /// Group, by name or number.
    pub group: Option<String>,
}

impl SocketAccess {
    /// Splits the options off the end of `text`.
    fn parse(mut text: &str) -> Result<(&str, SocketAccess), Error> {
        let mut access = SocketAccess::default();
        while let Some((before, option)) = text.rsplit_once(',') {
            let Some((name, value)) = option.split_once('=') else { break };
            let twice = match name {
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
                    let mode = mode.ok_or_else(|| {
                        Error::config(format!("`{option}` is not a mode"))
                            .help("write it in octal: `mode=660`")
                    })?;
                    access.mode.replace(mode).is_some()
                }
                "user" => access.user.replace(value.to_owned()).is_some(),
                "group" => access.group.replace(value.to_owned()).is_some(),
                _ => break, // part of the path
            };
            if twice {
                return Err(Error::config(format!("`{name}` is given twice")));
            }
            text = before;
        }
        Ok((text, access))
    }
}

impl fmt::Display for SocketAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.map_or(Ok(()), |mode| write!(f, ",mode={mode:o}"))?;
        self.user.iter().try_for_each(|user| write!(f, ",user={user}"))?;
        self.group.iter().try_for_each(|group| write!(f, ",group={group}"))
    }
}

impl Listen {
    /// Parses one entry. A host name is resolved, IPv4 first. An IPv6 address may have a zone (RFC 4007,
    /// section 11), by name or number: `[fe80::1%eth0]:8080`. Without a host it is every address of this machine.
    /// # Errors
    /// Shows what the entry should look like.
    pub fn parse(text: &str) -> Result<Listen, Error> {
        let form = "write `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `fd:3` or `systemd`";
        if let Some(path) = text.strip_prefix("unix:") {
            let (path, access) = SocketAccess::parse(path)?;
            if path.is_empty() {
                return Err(Error::config(format!("`{text}` does not name a path")).help(form));
            }
            return Ok(Listen::Unix(path.into(), access));
        }
        if text == "systemd" {
            return Ok(Listen::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return match name {
                "" => Err(Error::config(format!("`{text}` does not name a socket")).help(form)),
                name => Ok(Listen::Systemd(Some(name.to_owned()))),
            };
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return match number.parse() {
                Ok(number @ 0..) => Ok(Listen::Fd(number)),
                _ => Err(Error::config(format!("`{number}` is not a descriptor")).help(form)),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Listen::Tcp(address));
        }
        let error = |message: String| Error::config(message).help(form);
        match text.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_err() => {
                Err(error(format!("`{text}` has no port from 0 to 65535")))
            }
            Some(("", port)) => Ok(Listen::Tcp(every_address(port.parse().unwrap_or(0)))),
            None => Err(error(format!("`{text}` has no port"))),
            Some(_) => {
                let found: Vec<_> = host_and_port(text)
                    .and_then(|host_and_port| host_and_port.to_socket_addrs())
                    .map_err(|cause| error(format!("cannot resolve `{text}`")).because(cause))?
                    .collect();
                let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
                first.copied().map(Listen::Tcp).ok_or_else(|| error(format!("`{text}` has no address")))
            }
        }
    }
}

/// Every address of this machine: of IPv6, which takes IPv4 connections too, unless the kernel has none.
fn every_address(port: u16) -> SocketAddr {
    match Socket::new(Domain::IPV6, Type::STREAM, None) {
        Ok(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        Err(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
    }
}

/// Splits at the last colon. Removes the brackets of an IPv6 address, so that the resolver understands its
/// zone.
fn host_and_port(text: &str) -> io::Result<(&str, u16)> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let port = port.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (inner, inner.and_then(|inner| inner.split_once('%'))) {
        (Some(_), Some((_, zone))) if !has_interface(zone) => {
            Err(io::Error::other(format!("this machine has no network interface `{zone}`")))
        }
        (inner, _) => Ok((inner.unwrap_or(host), port)),
    }
}

/// Whether `zone` is the name of a network interface, or a number.
fn has_interface(zone: &str) -> bool {
    let is_name = !zone.is_empty() && !zone.contains('/') && zone != "." && zone != "..";
    zone.parse::<u32>().is_ok() || (is_name && Path::new("/sys/class/net").join(zone).exists())
}

impl Listen {
    /// The same with an absolute path; a relative one starts at the working directory.
    pub fn absolute(self) -> Listen {
        match self {
            Listen::Unix(path, access) => {
                let whole = std::path::absolute(&path).unwrap_or(path); // no working directory
                Listen::Unix(whole, access)
            }
            other => other,
        }
    }

    /// Whether it is every IPv6 address with a fixed port. By default this also takes IPv4 connections.
    pub fn is_dual_stack(&self) -> bool {
        matches!(self, Listen::Tcp(SocketAddr::V6(at)) if at.ip().is_unspecified() && at.port() != 0)
    }

    /// Whether `other` is an IPv4 entry with the same port, so that this one must not take IPv4 connections.
    pub fn meets(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::Tcp(own), Listen::Tcp(other)) => other.is_ipv4() && own.port() == other.port(),
            _ => false,
        }
    }

    /// Whether both are the same address or path, regardless of who may connect.
    pub fn is_at(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::Unix(one, _), Listen::Unix(other, _)) => one == other,
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path, access) => write!(f, "unix:{}{access}", path.display()),
            Listen::Fd(number) => write!(f, "fd:{number}"),
            Listen::Systemd(None) => f.write_str("systemd"),
            Listen::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
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
        check("unix:", "`unix:` does not name a path");
        check("unix:/tmp/a,mode=0660,group=www-data", "unix:/tmp/a,mode=660,group=www-data");
        check("unix:/tmp/a,user=0,mode=600", "unix:/tmp/a,mode=600,user=0");
        check("unix:/tmp/a,b=c", "unix:/tmp/a,b=c");
        check("unix:/tmp/a,mode=8", "`mode=8` is not a mode");
        check("unix:/tmp/a,mode=1777", "`mode=1777` is not a mode");
        check("unix:/tmp/a,mode=600,mode=666", "`mode` is given twice");
        check("unix:,mode=600", "`unix:,mode=600` does not name a path");
        check("systemd", "systemd");
        check("systemd:web", "systemd:web");
        check("systemd:", "`systemd:` does not name a socket");
        check("fd:3", "fd:3");
        check("fd:-1", "`-1` is not a descriptor");
        check(":99999", "`:99999` has no port from 0 to 65535");
        assert!(["[::]:80", "0.0.0.0:80"].contains(&&*Listen::parse(":80").unwrap().to_string()));
        check("8080", "`8080` has no port");
        check("localhost:99999", "`localhost:99999` has no port from 0 to 65535");
        check("localhost:81", "127.0.0.1:81");
        // On every machine the first interface is the loopback.
        check("[fe80::1%lo]:8099", "[fe80::1%1]:8099");
        check("[fe80::1%1]:8099", "[fe80::1%1]:8099");
        check("[fe80::1%no-such]:8099", "cannot resolve `[fe80::1%no-such]:8099`");
    }
}
