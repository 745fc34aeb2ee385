//! Explains why files cannot be watched, and how to fix it.

use notify::ErrorKind;
use rustix::io::Errno;

/// The cause and the fix, for a warning on one line.
pub(super) fn reason(error: &notify::Error) -> String {
    let code = match &error.kind {
        ErrorKind::Io(cause) => cause.raw_os_error(),
        ErrorKind::MaxFilesWatch => Some(Errno::NOSPC.raw_os_error()),
        _ => None,
    };
    let (what, mending) = match code {
        Some(code) if code == Errno::NOSPC.raw_os_error() => (
            "this user has no inotify watch left",
            "raise the limit, for example with `sysctl fs.inotify.max_user_watches=524288`",
        ),
        // Two limits give the same error: if another file can be opened, it is not the limit of open files.
        Some(code) if code == Errno::MFILE.raw_os_error() && std::fs::File::open("/dev/null").is_ok() => (
            "this user has no inotify instance left",
            "raise the limit, for example with `sysctl fs.inotify.max_user_instances=1024`",
        ),
        Some(code) if code == Errno::MFILE.raw_os_error() => {
            ("this process has too many open files", "raise the limit, for example with `ulimit -n 65536`")
        }
        _ => return error.to_string(),
    };
    format!("{what}; {mending}, or serve with `--no-reload`")
}
