//! Unix sockets: their files, and who may connect.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, SockAddr, Type};

use super::{BACKLOG, SocketAccess};
use crate::error::{Error, Result};
use crate::socket_path::SocketPath;

/// Sets owner, group and mode of a path, in an order that never grants more than was asked for.
pub(super) fn give(path: &Path, access: &SocketAccess) -> Result<(), Error> {
    let failed = |what: &str, cause: io::Error| {
        let error = Error::new(format!("cannot set the {what} of the Unix socket `{}`", path.display()));
        let error = match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                error.help("only root may change the owner; a user may only choose a group they belong to")
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

pub(super) fn bind_unix(path: &Path, access: &SocketAccess) -> Result<OwnedFd> {
    let failed = |what: &str, cause: io::Error| {
        Error::new(format!("cannot {what} the Unix socket `{}`", path.display())).because(cause)
    };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(Error::new(format!("`{}` exists and is not a socket", path.display()))
                .help("choose another path, or move the file away")
                .into());
        }
        match connect(path) {
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
        socket.bind(&SockAddr::unix(&*SocketPath::new(path)?)?)?;
        Ok(socket)
    };
    let socket = bound().map_err(|cause| {
        let missing = cause.kind() == io::ErrorKind::NotFound;
        let error = failed("listen on", cause);
        if missing { error.help("its directory does not exist: create it first") } else { error }
    })?;
    // Nobody can connect before `listen`, so the umask does not matter until then.
    let granted =
        give(path, access).and_then(|()| socket.listen(BACKLOG).map_err(|cause| failed("listen on", cause)));
    if let Err(error) = granted {
        let _ = std::fs::remove_file(path); // nobody can use it
        return Err(error.into());
    }
    Ok(socket.into())
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&*SocketPath::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::super::{Listen, Socket, bind};
    use super::*;

    fn bind_entry(listen: &Listen) -> Result<Socket> {
        bind(listen, false)
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(folder.path().join("a.sock"), SocketAccess::default());
        let first = bind_entry(&listen).unwrap();
        assert!(bind_entry(&listen).unwrap_err().to_string().contains("another program listens"));
        drop(first);
        bind_entry(&listen).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let errors =
            bind_entry(&Listen::Unix(folder.path().join("file"), SocketAccess::default())).unwrap_err();
        assert!(errors.to_string().contains("is not a socket"));
    }

    #[test]
    fn a_unix_socket_has_the_mode_that_is_asked_for() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        for mode in [0o600, 0o666] {
            let listen = Listen::parse(&format!("unix:{},mode={mode:o}", path.display())).unwrap();
            let bound = bind_entry(&listen).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            drop(bound);
        }
        let nobody = Listen::parse(&format!("unix:{},user=no-such-user", path.display())).unwrap();
        assert!(bind_entry(&nobody).unwrap_err().to_string().contains("there is no user `no-such-user`"));
        assert!(!path.exists(), "a socket without the requested access is removed");
    }

    #[test]
    fn a_path_that_is_too_long_for_an_address_is_bound_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let listen = Listen::Unix(deep.join("a.sock"), SocketAccess::default());
        let bound = bind_entry(&listen).unwrap();
        assert_eq!(bound.address(), format!("unix:{}", deep.join("a.sock").display()));
        assert!(bind_entry(&listen).unwrap_err().to_string().contains("another program listens"));
        drop(bound);
        bind_entry(&listen).unwrap();
        let errors =
            bind_entry(&Listen::Unix(deep.join("f".repeat(120)), SocketAccess::default())).unwrap_err();
        assert!(
            std::error::Error::source(errors.iter().next().unwrap())
                .unwrap()
                .to_string()
                .contains("80 bytes")
        );
    }
}
