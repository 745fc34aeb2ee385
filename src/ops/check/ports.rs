//! Addresses of the servers at which another process listens already, from `/proc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::Serialize;

use crate::ops::control;
use crate::server::Server;
use crate::server::listener::Listen;

/// An address that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenAddress {
    /// The `[server.NAME]` that is to listen there.
    pub server: String,
    /// The address, as paster writes it.
    pub address: String,
    /// The process that listens, if it may be seen.
    pub pid: Option<u32>,
    /// Its name.
    pub process: Option<String>,
}

impl TakenAddress {
    /// The message for the user.
    pub fn note(&self) -> String {
        let TakenAddress { server, address, .. } = self;
        let by = match (self.pid, &self.process) {
            (Some(pid), Some(name)) => format!("process {pid} ({name})"),
            (Some(pid), None) => format!("process {pid}"),
            (None, _) => "another process".to_owned(),
        };
        format!("`[server.{server}]`: {by} already listens on {address}")
    }
}

/// The addresses that are taken, but not by the server that runs with the config `file`.
pub(super) fn taken<'s>(
    servers: impl Iterator<Item = (&'s str, &'s dyn Server)>,
    file: Option<PathBuf>,
) -> Vec<TakenAddress> {
    let listening = listening();
    let mut found = Vec::new();
    for (server, listen) in
        servers.flat_map(|(name, server)| server.listen().iter().map(move |listen| (name, listen)))
    {
        let inode = match listen {
            Listen::Tcp(address) if address.port() != 0 => {
                match listening.iter().find(|(other, _)| meets(*address, *other)) {
                    Some((_, inode)) => Some(*inode),
                    None => continue,
                }
            }
            Listen::Unix(path, _) if UnixStream::connect(path).is_ok() => None,
            _ => continue,
        };
        let pids = inode.map(holders).unwrap_or_default();
        found.push((server.to_owned(), listen.to_string(), pids));
    }
    if found.is_empty() {
        return Vec::new();
    }
    // Asked only if there is something to explain.
    let own = control::running().into_iter().filter(|one| one.hello.config == file && file.is_some());
    let own: Vec<u32> = own.map(|one| one.hello.pid).collect();
    let others = found.into_iter().filter(|(.., pids)| {
        let unknown_unix = pids.is_empty() && !own.is_empty();
        !unknown_unix && !pids.iter().any(|pid| own.contains(pid))
    });
    let taken = others.map(|(server, address, pids)| {
        let pid = pids.first().copied();
        let name = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        TakenAddress { server, address, pid, process: name.map(|name| name.trim().to_owned()) }
    });
    taken.collect()
}

/// Whether two sockets cannot both listen.
fn meets(own: SocketAddr, other: SocketAddr) -> bool {
    let every = |address: SocketAddr| address.ip().is_unspecified();
    let family = own.is_ipv4() == other.is_ipv4();
    own.port() == other.port()
        && (own.ip() == other.ip()
            || (every(own) || every(other)) && family
            || own.is_ipv4() && other.is_ipv6() && every(other))
}

/// The TCP sockets that listen, with their inodes.
fn listening() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts = tables.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().skip(1).filter_map(row).collect::<Vec<_>>()).collect()
}

/// A row of `/proc/net/tcp` whose state is `LISTEN` (proc(5)).
fn row(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != "0A" {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    // Words of 32 bits in the order of this machine.
    let words: Option<Vec<u32>> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => Ipv4Addr::from(bytes).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into(),
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), inode.parse().ok()?))
}

/// The processes that have the socket open, as far as this user may see.
fn holders(inode: u64) -> Vec<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let holds = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| target == wanted)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut pids: Vec<u32> =
        processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_conflicts() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        assert_eq!(row(line), Some(("127.0.0.1:8080".parse().unwrap(), 12345)));
        assert_eq!(row(&line.replace(" 0A ", " 01 ")), None);
        let six = "   0: 00000000000000000000000001000000:0050 0:0 0A 0 0 0 0 0 7 1";
        assert_eq!(row(six), Some(("[::1]:80".parse().unwrap(), 7)));
        let check = |own: &str, other: &str, expected| {
            assert_eq!(meets(own.parse().unwrap(), other.parse().unwrap()), expected, "{own} {other}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "0.0.0.0:80", true);
        check("127.0.0.1:80", "[::]:80", true);
        check("127.0.0.1:80", "[::1]:80", false);
        check("[::]:80", "[::1]:80", true);
    }
}
