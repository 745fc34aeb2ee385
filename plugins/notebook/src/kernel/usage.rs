//! What processes use: memory and CPU time of a process and of everything that it has started.
//!
//! # Source
//! Linux, proc_pid_stat(5). Elsewhere nothing is known.

use std::collections::HashMap;

/// What a process and its descendants use.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Usage {
    /// Resident memory. What processes share is counted for each of them.
    pub memory_bytes: u64,
    /// CPU time of the processes that still exist.
    pub cpu_secs: f64,
}

/// What all processes of this machine use at one moment.
#[derive(Debug, Default)]
pub struct ProcessTable {
    own: HashMap<u32, Usage>,
    children: HashMap<u32, Vec<u32>>,
}

impl ProcessTable {
    /// Reads the table. Blocks for some milliseconds.
    pub fn read() -> ProcessTable {
        let mut table = ProcessTable::default();
        let page = rustix::param::page_size() as u64;
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat"));
            let Some((parent, used)) = stat.ok().and_then(|stat| parse_stat(&stat, page, ticks)) else {
                continue;
            };
            table.own.insert(pid, used);
            table.children.entry(parent).or_default().push(pid);
        }
        table
    }

    /// What the process `pid` and its descendants use; `None` if it is not known.
    pub fn of(&self, pid: u32) -> Option<Usage> {
        let mut sum = *self.own.get(&pid)?;
        for child in self.children.get(&pid).into_iter().flatten().filter(|child| **child != pid) {
            let used = self.of(*child).unwrap_or_default();
            sum.memory_bytes += used.memory_bytes;
            sum.cpu_secs += used.cpu_secs;
        }
        Some(sum)
    }
}

/// The parent and the use in the text of `/proc/PID/stat`.
fn parse_stat(stat: &str, page: u64, ticks: u64) -> Option<(u32, Usage)> {
    // The name may have spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // utime, stime, rss: fields 14, 15 and 24, of which the first here is field 3.
    let cpu_secs = (number(11)? + number(12)?) as f64 / ticks as f64;
    Some((number(1)?.try_into().ok()?, Usage { memory_bytes: number(21)? * page, cpu_secs }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_also_if_the_name_is_odd() {
        let line =
            "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 0 0 150 50 0 0 20 0 1 0 99 1000 25 18446744073709551615 1";
        assert_eq!(parse_stat(line, 4096, 100), Some((3, Usage { memory_bytes: 102_400, cpu_secs: 2.0 })));
        assert_eq!(parse_stat("7 (a", 4096, 100), None);
    }

    #[test]
    fn descendants_are_counted() {
        let used = |memory_bytes| Usage { memory_bytes, cpu_secs: 1.0 };
        let own = HashMap::from([(1, used(1)), (2, used(2)), (3, used(4)), (4, used(8))]);
        let children = HashMap::from([(1, vec![2, 4]), (2, vec![3])]);
        let table = ProcessTable { own, children };
        assert_eq!(table.of(2), Some(Usage { memory_bytes: 6, cpu_secs: 2.0 }));
        assert_eq!(table.of(1), Some(Usage { memory_bytes: 15, cpu_secs: 4.0 }));
        assert_eq!(table.of(9), None);
    }
}
