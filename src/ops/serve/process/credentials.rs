//! The user and the limits that workers and side processes run with.
//!
//! The supervisor resolves the names once and keeps its own user. Each process drops its privileges itself,
//! before it loads anything of an application.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::app::process::{ProcessSpec, ResourceLimits};
use crate::config::{Config, Purpose, Table};
use crate::error::{Error, Errors, Result};
use crate::ops::sections::process::Process;

/// Informs a new program, by its process id, that it takes over. No process that is started may inherit it.
pub(crate) const PREDECESSOR: &str = "PASTER_PREDECESSOR";

/// What a process takes on before it does anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    who: Option<Who>,
    umask: Option<u32>,
    limits: ResourceLimits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Who {
    uid: u32,
    gid: u32,
    /// All groups.
    groups: Vec<u32>,
    name: String,
    home: PathBuf,
}

impl Credentials {
    /// Resolves what `process` asks for.
    /// # Errors
    /// When a name does not exist, this process may not become the user, or the umask is invalid.
    pub(crate) fn of(process: &Process, config: &Config) -> Result<Credentials> {
        let credentials = Credentials::named(process, config)?;
        if let Err((key, error)) = credentials.may_be_taken(process) {
            let place = config.section("process").and_then(|table| table.origin(key));
            return Err(error.at(place).into());
        }
        // Without root, the process already runs as that user.
        let who = credentials.who.filter(|_| nix::unistd::geteuid().is_root());
        Ok(Credentials { who, ..credentials })
    }

    /// Those of the processes of `table`, where `spec` departs from these.
    /// # Errors
    /// When a name does not exist, or this process may not become the user.
    pub(crate) fn of_processes(&self, spec: &ProcessSpec, table: &Table) -> Result<Credentials> {
        let limits = spec.resources.or(&self.limits);
        if spec.user.is_none() && spec.group.is_none() {
            return Ok(Credentials { limits, ..self.clone() });
        }
        let (user, group) = (spec.user.clone(), spec.group.clone());
        let process = Process { user, group, ..Process::default() };
        let located = |(key, error): (&'static str, Error)| error.at(table.origin(key));
        let who = who(&process).map_err(located)?;
        let credentials = Credentials { who, umask: self.umask, limits };
        credentials.may_be_taken(&process).map_err(located)?;
        let who = credentials.who.filter(|_| nix::unistd::geteuid().is_root());
        Ok(Credentials { who, ..credentials })
    }

    /// Whether this process may take on these credentials.
    fn may_be_taken(&self, process: &Process) -> Result<(), (&'static str, Error)> {
        let Some(who) = &self.who else { return Ok(()) };
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        if uid.is_root() || (uid.as_raw(), gid.as_raw()) == (who.uid, who.gid) {
            return Ok(());
        }
        let key = if process.user.is_some() { "user" } else { "group" };
        let error = Error::config(format!("only root can run its workers as user `{}`", who.name));
        Err((key, error.help("start paster as root, or omit `user` and `group`")))
    }

    /// The same, even if this process may not take the credentials on. The second value is the reason then.
    /// # Errors
    /// When a name does not exist, or the umask is invalid.
    pub(crate) fn check(process: &Process, config: &Config) -> Result<(Credentials, Option<String>)> {
        let credentials = Credentials::named(process, config)?;
        let refused = credentials.may_be_taken(process).err().map(|(_, error)| error.message);
        Ok((credentials, refused))
    }

    fn named(process: &Process, config: &Config) -> Result<Credentials> {
        let mut errors = Vec::new();
        let place = |key: &str| config.section("process").and_then(|table| table.origin(key));
        let mut keep = |key: &str, error: Error| errors.push(error.at(place(key)));
        let who = who(process).unwrap_or_else(|(key, error)| {
            keep(key, error);
            None
        });
        let umask = process.umask.as_deref().and_then(|text| {
            let mask = u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777);
            if mask.is_none() {
                let error = Error::config(format!("`{text}` is not a file mode creation mask"));
                keep("umask", error.help("write three octal digits, such as \"027\""));
            }
            mask
        });
        Errors::check(errors)?;
        Ok(Credentials { who, umask, limits: process.limits.clone() })
    }

    /// User and group of the processes, if they run as another user: they need access to what the supervisor
    /// keeps for them.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        self.who.as_ref().map(|who| (who.uid, who.gid))
    }

    /// The name of the other user, if they run as one.
    pub(crate) fn user(&self) -> Option<&str> {
        self.who.as_ref().map(|who| &*who.name)
    }

    /// Whether they may open a file or use a directory, according to the permission bits of the path.
    /// # Errors
    /// When it does not exist.
    pub(crate) fn may_open(&self, path: &Path, purpose: Purpose) -> io::Result<bool> {
        let Some(who) = &self.who else { return Ok(true) };
        let may = |path: &Path, wanted: u32| -> io::Result<bool> {
            let meta = std::fs::metadata(path)?;
            let shift = match (meta.uid() == who.uid, who.groups.contains(&meta.gid())) {
                (true, _) => 6,
                (_, true) => 3,
                _ => 0,
            };
            Ok(who.uid == 0 || meta.mode() >> shift & wanted == wanted)
        };
        let (read, write, enter) = (4, 2, 1);
        let whole = match path.canonicalize() {
            Err(_) if purpose == Purpose::Append => {
                // The file would be created.
                let folder = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
                let enters = folder
                    .ancestors()
                    .try_fold(true, |all, at| Ok::<_, io::Error>(all && may(at, enter)?))?;
                return Ok(enters && may(&folder, write)?);
            }
            whole => whole?,
        };
        let folders = whole.ancestors().skip(1);
        let enters =
            folders.into_iter().try_fold(true, |all, at| Ok::<_, io::Error>(all && may(at, enter)?))?;
        let wanted = match purpose {
            Purpose::Append => write,
            Purpose::Read => read,
        };
        let wanted = if whole.is_dir() { wanted | enter } else { wanted };
        Ok(enters && may(&whole, wanted)?)
    }

    /// Whether applications run as root.
    pub(crate) fn is_root(&self) -> bool {
        match &self.who {
            Some(who) => who.uid == 0,
            None => rustix::process::geteuid().is_root(),
        }
    }

    /// Prepares the environment of a process that will take on these credentials.
    pub(crate) fn apply_to(&self, command: &mut Command) {
        command.env_remove(PREDECESSOR);
        // systemd talks only to the supervisor, and has passed its sockets to no other process.
        let told = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
        let passed = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"];
        for name in told.into_iter().chain(passed) {
            command.env_remove(name);
        }
        if let Some(who) = &self.who {
            command.env("HOME", &who.home).env("USER", &who.name).env("LOGNAME", &who.name);
        }
    }

    /// Takes on these credentials. Call this while the process has one thread and has loaded nothing.
    /// # Errors
    /// When the system refuses; the process must end then.
    pub(crate) fn drop_privileges(&self) -> Result<(), Error> {
        self.limit()?;
        if let Some(mask) = self.umask {
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
        let Some(who) = &self.who else { return Ok(()) };
        let failed = |what: &str, cause: nix::Error| {
            Error::new(format!("cannot run as user `{}`: {what}", who.name)).because(cause)
        };
        let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
        // The order matters: without root, groups cannot be changed.
        nix::unistd::setgroups(&groups).map_err(|cause| failed("setting its groups", cause))?;
        nix::unistd::setgid(Gid::from_raw(who.gid)).map_err(|cause| failed("setting its group", cause))?;
        nix::unistd::setuid(Uid::from_raw(who.uid)).map_err(|cause| failed("setting its id", cause))?;
        // Check that it worked: nothing after this may run as root by mistake.
        let back = who.uid != 0 && nix::unistd::setuid(Uid::from_raw(0)).is_ok();
        if back
            || rustix::process::geteuid().as_raw() != who.uid
            || rustix::process::getegid().as_raw() != who.gid
        {
            return Err(Error::new(format!("the process could not become user `{}` permanently", who.name)));
        }
        Ok(())
    }

    fn limit(&self) -> Result<(), Error> {
        // Each connection is a descriptor, and the usual soft limit of 1,024 exists only for old programs.
        let open = rustix::process::getrlimit(Resource::Nofile);
        let open = self.limits.open_files.or(open.maximum);
        set(Resource::Nofile, open, "open_files")?;
        const MIB: u64 = 1 << 20;
        if let Some(core) = self.limits.core_mib {
            set(Resource::Core, core.checked_mul(MIB), "core_mib")?;
        }
        if let Some(space) = self.limits.address_space_mib {
            set(Resource::As, space.checked_mul(MIB), "address_space_mib")?;
        }
        Ok(())
    }
}

/// Sets the soft and the hard limit: programs such as Node raise their soft limit to the hard one.
fn set(resource: Resource, wanted: Option<u64>, key: &str) -> Result<(), Error> {
    let limit = Rlimit { current: wanted, maximum: wanted };
    rustix::process::setrlimit(resource, limit).map_err(|cause| {
        Error::new(format!("cannot set the limit `{key}` of `[process]`"))
            .because(cause)
            .help("only root can exceed the hard limit that paster was started with")
    })
}

/// # Errors
/// With the key that is wrong.
fn who(process: &Process) -> Result<Option<Who>, (&'static str, Error)> {
    let user = match (&process.user, &process.group) {
        (Some(user), _) => find_user(user).map_err(|error| ("user", error))?,
        (None, Some(_)) => {
            let us = User::from_uid(nix::unistd::geteuid()).ok().flatten();
            let unnamed = || ("group", Error::config("the current user has no user entry: set `user` too"));
            us.ok_or_else(unnamed)?
        }
        (None, None) => return Ok(None),
    };
    let gid = match &process.group {
        Some(group) => find_group(group).map_err(|error| ("group", error))?,
        None => user.gid,
    };
    let name = CString::new(user.name.clone()).unwrap_or_default();
    let mut groups = nix::unistd::getgrouplist(&name, gid).unwrap_or_default();
    if !groups.contains(&gid) {
        groups.push(gid);
    }
    Ok(Some(Who {
        uid: user.uid.as_raw(),
        gid: gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        name: user.name,
        home: user.dir,
    }))
}

fn find_user(text: &str) -> Result<User, Error> {
    let found = match text.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(text),
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(Error::config(format!("this machine has no user `{text}`"))),
        Err(cause) => Err(Error::config(format!("cannot look up the user `{text}`")).because(cause)),
    }
}

fn find_group(text: &str) -> Result<Gid, Error> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Error::config(format!("this machine has no group `{text}`"))),
        Err(cause) => Err(Error::config(format!("cannot look up the group `{text}`")).because(cause)),
    }
}
