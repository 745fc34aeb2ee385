//! What a process inherits without wanting it.

/// Closes every descriptor but the three standard ones; to be called before anything is opened.
///
/// What the supervisor was started with (systemd's sockets, `fd:N`, a shell's lock) must stay open there over an
/// exec, so it has no close-on-exec flag and comes along to every process. Here nobody asked for it: a program that an
/// application starts could accept connections with it, or hold the address when the server has ended.
pub(super) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let numbers: Vec<_> = entries.flatten().filter_map(number).filter(|number| *number > 2).collect();
    for number in numbers {
        let _ = nix::unistd::close(number); // one of them was the listing itself
    }
}
