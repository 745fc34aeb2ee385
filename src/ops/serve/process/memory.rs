//! Memory usage of a process.

/// The proportional set size of a process in bytes: a shared page is divided among its processes, so that the
/// sum over all processes is their total usage. `None` if it cannot be read.
pub(crate) fn of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_own() {
        let own = super::of(std::process::id()).unwrap();
        assert!((100 << 10..100 << 30).contains(&own), "{own}");
        assert_eq!(super::of(u32::MAX), None);
    }
}
