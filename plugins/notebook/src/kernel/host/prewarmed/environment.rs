//! What a kernel's process takes from the file system when it starts. If it changes, a kernel that was started before is ended
//! instead of used.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::kernel::sandbox;
use crate::kernel::wire::Launch;

/// The interpreter, its packages, the kernelspec, and the folders that the kernel sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EnvironmentState(Vec<(PathBuf, Option<FileState>)>);

/// Device, inode, and the time of the last change in nanoseconds.
type FileState = (u64, u64, i128);

impl EnvironmentState {
    /// The state for a kernel that is started next. Creates the home that the kernel would create.
    pub(super) fn prepare(launch: &Launch) -> EnvironmentState {
        if let Some(sandbox) = &launch.sandbox {
            // If this fails, so does the start of the kernel, which reports it.
            let _ = std::fs::create_dir_all(&sandbox.home);
        }
        EnvironmentState::of(launch)
    }

    /// The present state.
    pub(super) fn of(launch: &Launch) -> EnvironmentState {
        let mut states = Vec::new();
        // Files in these folders may change. But another folder at the same path may belong to another user.
        let home = launch.sandbox.as_ref().map(|sandbox| sandbox.home.as_str());
        for folder in [Some(launch.folder.as_str()), home].into_iter().flatten() {
            states
                .push((folder.into(), state(Path::new(folder)).map(|(device, inode, _)| (device, inode, 0))));
        }
        let mut add = |path: PathBuf| states.push((path.clone(), state(&path)));
        if !launch.resource_dir.is_empty() {
            add(Path::new(&launch.resource_dir).join("kernel.json"));
        }
        if let Some(program) = launch.argv.first().and_then(|program| sandbox::find(program)) {
            let real = program.canonicalize().ok();
            for path in [Some(program), real].into_iter().flatten() {
                let prefix = path.parent().and_then(Path::parent).map(Path::to_owned);
                add(path);
                let Some(prefix) = prefix else { continue };
                add(prefix.join("pyvenv.cfg"));
                packages(&prefix).into_iter().for_each(&mut add);
            }
        }
        EnvironmentState(states)
    }
}

fn state(path: &Path) -> Option<FileState> {
    let facts = std::fs::metadata(path).ok()?;
    let changed = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
    Some((facts.dev(), facts.ino(), changed))
}

/// The folders with the packages of a Python at `prefix`. They change when a package is installed or removed.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let versions = prefix.join("lib").read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let versions = versions
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python")));
    let mut found: Vec<_> = versions
        .flat_map(|path| [path.join("site-packages"), path.join("dist-packages")])
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}
