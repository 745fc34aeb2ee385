//! Limits for a kernel and its child processes, with a separate cgroup below a directory that is delegated to the server.
//!
//! # Source
//! The Linux kernel's `Documentation/admin-guide/cgroup-v2.rst`, sections "Delegation", "No Internal Process Constraint" and
//! "Core Interface Files"; systemd's "Control Group APIs and Delegation" (the extended attribute `user.delegate`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wire::KernelLimits;

/// What `cpu.max` counts over, in microseconds.
const PERIOD: u64 = 100_000;
/// How long a cgroup may stay busy after its processes were killed.
const ENDING: Duration = Duration::from_secs(10);

/// The folder that was delegated to this process by systemd (`Delegate=yes` with `DelegateSubgroup=`), if there is one.
pub fn delegated() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    // Our own cgroup has processes, and so cannot have children with limits.
    let folder = own.parent().filter(|folder| folder.starts_with("/sys/fs/cgroup/"))?;
    let mut value = [0; 8];
    let names = ["user.delegate", "trusted.delegate"];
    let is_delegated = names.iter().any(|name| {
        rustix::fs::getxattr(folder, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    is_delegated.then(|| folder.to_owned())
}

/// Whether kernels can have cgroups with these limits in `folder`.
/// # Errors
/// Why not, for the person who set it up.
pub fn probe(folder: &Path, limits: &KernelLimits) -> Result<(), String> {
    let controllers = needed(limits);
    let list: String = controllers.iter().map(|name| format!("+{name} ")).collect();
    if !list.is_empty() {
        // This fails if they are already enabled and cannot be enabled again; the files show whether they are.
        let _ = std::fs::write(folder.join("cgroup.subtree_control"), list.trim());
    }
    let cgroup = Cgroup::make(folder, "probe", limits).map_err(|error| {
        format!(
            "cannot create a cgroup with limits for {} in `{}`: {error}",
            controllers.join(", "),
            folder.display()
        )
    })?;
    let entered = std::process::Command::new("sh")
        .args(cgroup.enter(&["true".to_owned()]).get(1..).unwrap_or_default())
        .output();
    match entered {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "cannot move a process into a cgroup in `{}`: {}",
            folder.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("cannot run `sh`: {error}")),
    }
}

/// The controllers that limits need.
fn needed(limits: &KernelLimits) -> Vec<&'static str> {
    let all = [
        ("memory", limits.memory_bytes.is_some()),
        ("pids", limits.processes.is_some()),
        ("cpu", limits.cpu_percent.is_some()),
    ];
    all.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// A cgroup. When it is dropped, what runs in it is killed, and it is removed.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one in `folder`, with limits.
    pub(super) fn make(folder: &Path, name: &str, limits: &KernelLimits) -> io::Result<Cgroup> {
        let path = folder.join(format!("kernel-{name}-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path)?;
        let cgroup = Cgroup { path };
        let set = |file: &str, value: String| {
            std::fs::write(cgroup.path.join(file), value)
                .map_err(|error| io::Error::new(error.kind(), format!("`{file}`: {error}")))
        };
        if let Some(bytes) = limits.memory_bytes {
            set("memory.max", bytes.to_string())?;
            // Some systems do not count swap.
            let _ = set("memory.swap.max", "0".to_owned());
            let _ = set("memory.oom.group", "0".to_owned());
        }
        if let Some(processes) = limits.processes {
            set("pids.max", processes.to_string())?;
        }
        if let Some(percent) = limits.cpu_percent {
            set("cpu.max", format!("{} {PERIOD}", u64::from(percent.max(1)) * PERIOD / 100))?;
        }
        Ok(cgroup)
    }

    /// The command that runs `argv` in it. The process enters first, so that nothing that it starts is outside.
    pub(super) fn enter(&self, argv: &[String]) -> Vec<String> {
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        let procs = self.path.join("cgroup.procs").to_string_lossy().into_owned();
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned(), procs];
        command.extend(argv.iter().cloned());
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
        let path = std::mem::take(&mut self.path);
        if std::fs::remove_dir(&path).is_ok() {
            return;
        }
        // Processes that were killed are there until they are reaped.
        let spawned = std::thread::Builder::new().name("cgroup".to_owned()).spawn(move || {
            let started = std::time::Instant::now();
            while let Err(error) = std::fs::remove_dir(&path) {
                if error.kind() == io::ErrorKind::NotFound || started.elapsed() > ENDING {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot remove a kernel's cgroup");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_has_the_limits_and_the_process() {
        // A folder that is no cgroup file system: what is written can be read.
        let folder = tempfile::tempdir().unwrap();
        let limits = KernelLimits {
            memory_bytes: Some(1 << 30),
            processes: Some(50),
            cpu_percent: Some(150),
            ..KernelLimits::default()
        };
        let cgroup = Cgroup::make(folder.path(), "k", &limits).unwrap();
        let read = |name: &str| std::fs::read_to_string(cgroup.path.join(name)).unwrap();
        assert_eq!(
            (read("memory.max").as_str(), read("pids.max").as_str(), read("cpu.max").as_str()),
            ("1073741824", "50", "150000 100000")
        );
        let argv = cgroup.enter(&["sh", "-c", "echo $$"].map(str::to_owned));
        let output = std::process::Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), read("cgroup.procs"));
        assert!(probe(&folder.path().join("missing"), &limits).is_err());
        assert_eq!(needed(&KernelLimits::default()), Vec::<&str>::new());
    }
}
