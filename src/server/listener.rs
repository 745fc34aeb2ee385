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

/// The first descriptor that systemd passes, sd_listen_fds(3).
const FIRST_PASSED: i32 = 3;

/// One entry of `listen = [...]`: `host:port`, `unix:PATH`, `fd:N`, `systemd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket's path, and who may connect.
    Unix(PathBuf, Access),
    /// An inherited descriptor.
    Fd(i32),
    /// The sockets that systemd has passed, all or those of that name (`FileDescriptorName=`).
    Systemd(Option<String>),
}

/// Who may connect to a Unix socket: `,mode=660,user=app,group=www-data` behind its path. What is not said is as the
/// process's umask, user and group make it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner, by name or number.
    pub user: Option<String>,
    /// Group, by name or number.
    pub group: Option<String>,
}

impl Access {
    /// Takes the options off the end of `text`.
    fn parse(mut text: &str) -> Result<(&str, Access), Error> {
        let mut access = Access::default();
        while let Some((before, option)) = text.rsplit_once(',') {
            let Some((name, value)) = option.split_once('=') else { break };
            let twice = match name {
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
                    let mode = mode.ok_or_else(|| {
                        Error::config(format!("`{option}` is no mode")).help("write it in octal: `mode=660`")
                    })?;
                    access.mode.replace(mode).is_some()
                }
                "user" => access.user.replace(value.to_owned()).is_some(),
                "group" => access.group.replace(value.to_owned()).is_some(),
                _ => break, // part of the path
            };
            if twice {
                return Err(Error::config(format!("`{name}` is said twice")));
            }
            text = before;
        }
        Ok((text, access))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.map_or(Ok(()), |mode| write!(f, ",mode={mode:o}"))?;
        self.user.iter().try_for_each(|user| write!(f, ",user={user}"))?;
        self.group.iter().try_for_each(|group| write!(f, ",group={group}"))
    }
}

impl Listen {
    /// Reads one entry; a host name is resolved, IPv4 first.
    /// # Errors
    /// Says what the entry should look like.
    pub fn parse(text: &str) -> Result<Listen, Error> {
        let form = "write `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `fd:3` or `systemd`";
        if let Some(path) = text.strip_prefix("unix:") {
            let (path, access) = Access::parse(path)?;
            if path.is_empty() {
                return Err(Error::config(format!("`{text}` names no path")).help(form));
            }
            return Ok(Listen::Unix(path.into(), access));
        }
        if text == "systemd" {
            return Ok(Listen::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return match name {
                "" => Err(Error::config(format!("`{text}` names no socket")).help(form)),
                name => Ok(Listen::Systemd(Some(name.to_owned()))),
            };
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

impl Listen {
    /// Whether both are the same place, whoever may connect there.
    pub fn is_at(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::Unix(one, _), Listen::Unix(other, _)) => one == other,
            (one, other) => one == other,
        }
    }
}

/// The entries that `systemd` stands for in this process; any other stands for itself.
/// # Errors
/// When systemd has passed none, or none of that name.
/// # Source
/// sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`.
pub fn expand(listen: &Listen) -> Result<Vec<Listen>, Error> {
    let Listen::Systemd(name) = listen else { return Ok(vec![listen.clone()]) };
    let set = |name: &str| std::env::var(name).ok();
    of_environment(std::process::id(), name.as_deref(), set)
}

fn of_environment(
    pid: u32,
    name: Option<&str>,
    set: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Listen>, Error> {
    // Descriptors that were passed to a parent are not ours.
    let ours = set("LISTEN_PID").is_some_and(|text| text.parse() == Ok(pid));
    let count = set("LISTEN_FDS").and_then(|text| text.parse::<i32>().ok()).filter(|_| ours).unwrap_or(0);
    if count <= 0 {
        return Err(Error::new("systemd has passed no socket")
            .help("start it by a socket unit (`.socket` beside `.service`), or list addresses"));
    }
    let names = set("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let of_index = |index: i32| usize::try_from(index).ok().and_then(|index| names.get(index).copied());
    let wanted = |index: &i32| name.is_none_or(|name| of_index(*index) == Some(name));
    let found: Vec<Listen> =
        (0..count).filter(wanted).map(|index| Listen::Fd(FIRST_PASSED + index)).collect();
    match (found.is_empty(), name) {
        (true, Some(name)) => Err(Error::new(format!("systemd has passed no socket named `{name}`"))
            .help(format!("it has passed: {}", names.join(", ")))),
        _ => Ok(found),
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
        Listen::Unix(path, access) => bind_unix(path, access)?,
        Listen::Fd(number) => inherited(*number)?,
        Listen::Systemd(_) => return Err(Error::new(format!("`{listen}` stands for several sockets")).into()),
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
            io::ErrorKind::AddrInUse => match holder(address) {
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

/// Lets those connect to a socket that is bound already whom its entry names.
/// # Errors
/// Names the path, and what is missing.
pub fn grant(listen: &Listen) -> Result<()> {
    match listen {
        Listen::Unix(path, access) => give(path, access).map_err(Into::into),
        _ => Ok(()),
    }
}

/// Sets owner, group and mode of a path, in the order in which nobody gets more than asked for.
fn give(path: &Path, access: &Access) -> Result<(), Error> {
    let failed = |what: &str, cause: io::Error| {
        let error = Error::new(format!("cannot set the {what} of the Unix socket `{}`", path.display()));
        let error = match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                error.help("only root may give a socket away; a user may choose among the own groups")
            }
            _ => error,
        };
        error.because(cause)
    };
    let number = |name: &Option<String>, file: &str, what: &str| match name {
        None => Ok(None),
        Some(name) => match name.parse().ok().or_else(|| number_of(name, file)) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::new(format!("there is no {what} `{name}`"))),
        },
    };
    let user = number(&access.user, "/etc/passwd", "user")?;
    let group = number(&access.group, "/etc/group", "group")?;
    if user.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, user, group).map_err(|cause| failed("owner", cause))?;
    }
    if let Some(mode) = access.mode {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).map_err(|cause| failed("mode", cause))?;
    }
    Ok(())
}

/// The number of a name in `/etc/passwd` or `/etc/group`.
fn number_of(name: &str, file: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn bind_unix(path: &Path, access: &Access) -> Result<OwnedFd> {
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
        Ok(socket)
    };
    let socket = bound().map_err(|cause| {
        let missing = cause.kind() == io::ErrorKind::NotFound;
        let error = failed("listen on", cause);
        if missing { error.help("its folder does not exist: create it first") } else { error }
    })?;
    // Nobody can connect before `listen`: until then it does not matter what the umask has left open.
    let granted =
        give(path, access).and_then(|()| socket.listen(BACKLOG).map_err(|cause| failed("listen on", cause)));
    if let Err(error) = granted {
        let _ = std::fs::remove_file(path); // it is of no use to anybody
        return Err(error.into());
    }
    Ok(socket.into())
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

/// The socket that listens on an address, or on its port at another, as `/proc` names it.
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

/// Who listens on an address, as far as `/proc` shows it to us.
fn holder(address: SocketAddr) -> Option<String> {
    // The table is read in pieces while others change it: a line may be missed.
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
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
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
        check("unix:/tmp/a,mode=0660,group=www-data", "unix:/tmp/a,mode=660,group=www-data");
        check("unix:/tmp/a,user=0,mode=600", "unix:/tmp/a,mode=600,user=0");
        check("unix:/tmp/a,b=c", "unix:/tmp/a,b=c");
        check("unix:/tmp/a,mode=8", "`mode=8` is no mode");
        check("unix:/tmp/a,mode=1777", "`mode=1777` is no mode");
        check("unix:/tmp/a,mode=600,mode=666", "`mode` is said twice");
        check("unix:,mode=600", "`unix:,mode=600` names no path");
        check("systemd", "systemd");
        check("systemd:web", "systemd:web");
        check("systemd:", "`systemd:` names no socket");
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
        let listen = Listen::Unix(folder.path().join("a.sock"), Access::default());
        let first = bind(&listen).unwrap();
        assert!(bind(&listen).unwrap_err().to_string().contains("another program listens"));
        drop(first);
        bind(&listen).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let errors = bind(&Listen::Unix(folder.path().join("file"), Access::default())).unwrap_err();
        assert!(errors.to_string().contains("is no socket"));
    }

    #[test]
    fn systemds_sockets_are_ours_alone() {
        let passed = |pid: u32, name: Option<&str>| {
            let set = |name: &str| {
                let value = match name {
                    "LISTEN_PID" => "7",
                    "LISTEN_FDS" => "3",
                    _ => "web:admin:web",
                };
                Some(value.to_owned())
            };
            of_environment(pid, name, set).map_err(|error| error.to_string())
        };
        assert_eq!(passed(7, None), Ok(vec![Listen::Fd(3), Listen::Fd(4), Listen::Fd(5)]));
        assert_eq!(passed(7, Some("web")), Ok(vec![Listen::Fd(3), Listen::Fd(5)]));
        assert_eq!(passed(7, Some("x")), Err("systemd has passed no socket named `x`".into()));
        assert_eq!(passed(8, None), Err("systemd has passed no socket".into()));
    }

    #[test]
    fn a_unix_socket_has_the_mode_that_is_asked_for() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        for mode in [0o600, 0o666] {
            let listen = Listen::parse(&format!("unix:{},mode={mode:o}", path.display())).unwrap();
            let bound = bind(&listen).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            drop(bound);
        }
        let nobody = Listen::parse(&format!("unix:{},user=no-such-user", path.display())).unwrap();
        assert!(bind(&nobody).unwrap_err().to_string().contains("there is no user `no-such-user`"));
        assert!(!path.exists(), "what could not be made as asked for is not left open");
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
