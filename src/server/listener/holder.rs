//! Finds the process that holds an address that cannot be bound.

use std::net::SocketAddr;
use std::path::Path;

/// The socket that listens on an address, or on its port at another address, as `/proc` names it.
fn listening(address: SocketAddr) -> Option<String> {
    let hex = |word: &[u8; 4]| format!("{:08X}", u32::from_ne_bytes(*word));
    let host = match address.ip() {
        std::net::IpAddr::V4(ip) => hex(&ip.octets()),
        std::net::IpAddr::V6(ip) => ip.octets().as_chunks().0.iter().map(hex).collect(),
    };
    let port = format!(":{:04X}", address.port());
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let found = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let at = local.strip_suffix(&port).filter(|_| *state == "0A")?;
        Some((at != host, format!("socket:[{inode}]")))
    });
    found.min_by_key(|(elsewhere, _)| *elsewhere).map(|(_, inode)| inode)
}

/// The process that listens on an address.
pub(super) enum PortHolder {
    /// This process.
    Us,
    /// Another process: its name and process id.
    Other(String),
}

/// The process that listens on an address, as far as `/proc` shows it to us.
pub(super) fn holder(address: SocketAddr) -> Option<PortHolder> {
    // The table is read in pieces while others change it, so a line may be missed.
    let inode = (0..5).find_map(|_| listening(address))?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&inode));
        if descriptors.flatten().any(holds) {
            if name.to_string_lossy() == std::process::id().to_string() {
                return Some(PortHolder::Us);
            }
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let described = format!("`{}` (process {})", command.trim(), name.to_string_lossy());
            return Some(PortHolder::Other(described));
        }
    }
    None
}
