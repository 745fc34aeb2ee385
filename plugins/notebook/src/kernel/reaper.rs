//! Kills every kernel when the host ends, however it ends: a shell that waits for the end of a pipe.
//!
//! `PR_SET_PDEATHSIG` would need code between fork and exec, and would not reach a kernel's own children.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;

/// Reads `+ GROUP` and `- GROUP` lines. At the end, kills the groups that are left and removes the private
/// folder.
const SCRIPT: &str = r#"trap '' INT TERM HUP QUIT
groups=" "
while read -r sign group; do
  case $sign in
    +) groups="$groups$group " ;;
    -) left=" "; for one in $groups; do [ "$one" = "$group" ] || left="$left$one "; done; groups=$left ;;
  esac
done
for one in $groups; do kill -KILL "-$one" 2>/dev/null; done
rm -rf -- "$1"
"#;

/// The waiting shell.
pub(super) struct Reaper {
    child: Mutex<Child>,
}

impl Reaper {
    /// Starts it; `private` is removed at the end.
    pub(super) fn start(private: &Path) -> std::io::Result<Reaper> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "paster-kernel-reaper"])
            .arg(private)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Its own group, so that a signal to the host's group does not end it first.
            .process_group(0)
            .spawn()?;
        Ok(Reaper { child: Mutex::new(child) })
    }

    /// Adds `group`, which must be killed at the end.
    pub(super) fn add(&self, group: u32) {
        self.tell(&format!("+ {group}\n"));
    }

    /// Removes `group`, which has ended.
    pub(super) fn remove(&self, group: u32) {
        self.tell(&format!("- {group}\n"));
    }

    fn tell(&self, line: &str) {
        let mut child = self.child.lock();
        if let Some(stdin) = &mut child.stdin
            && let Err(error) = stdin.write_all(line.as_bytes())
        {
            tracing::warn!(%error, "the kernel reaper has ended: kernels may outlive a killed kernel host");
        }
    }

    /// Lets the shell finish, and waits for it.
    pub(super) fn finish(&self) {
        let mut child = self.child.lock();
        drop(child.stdin.take());
        let _ = child.wait();
    }
}
